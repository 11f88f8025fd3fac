"""Prices out of lists: found within a provider that is known, or not found."""

import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pyramid_core.price_lists import Listing, find_price
from pyramid_core.prices import Price
from pyramid_core.records import answer_of, response_of
from pyramid_core.types import Answer, Cost, Priced, Usage

genai_prices = pytest.importorskip("genai_prices")
OPENAI = "https://api.openai.com/v1"


class TestFinding:
    @pytest.mark.parametrize(
        ("model", "where", "found"),
        [
            ("gpt-4o-mini", {"base_url": OPENAI}, ("openai", "gpt-4o-mini")),
            ("gpt-4o-mini-2024-07-18", {"base_url": OPENAI}, ("openai", "gpt-4o-mini")),
            ("gpt-4o-mini", {"provider": "openai"}, ("openai", "gpt-4o-mini")),
            (
                "gpt-4o-mini",
                {"provider": "openai", "base_url": "http://localhost:1/v1"},
                ("openai", "gpt-4o-mini"),
            ),
        ],
    )
    def test_a_model_is_found_within_its_provider(self, model, where, found):
        listing = find_price(model, **where)
        assert (listing.provider, listing.matched, listing.asked) == (*found, model)

    @pytest.mark.parametrize(
        ("model", "where"),
        [
            ("gpt-4o-mini", {}),
            ("gpt-4o-mini", {"base_url": "http://localhost:8000/v1"}),
            ("gpt-4o-mini", {"base_url": "http://127.0.0.1:8000/v1"}),
            ("gpt-4o-mini", {"base_url": "https://llm.my-company.example/v1"}),
            ("no-such-model", {"base_url": OPENAI}),
            ("gpt-4o-mini", {"provider": "no-such-provider"}),
        ],
    )
    def test_without_a_provider_or_a_match_it_is_unknown(self, model, where):
        assert find_price(model, **where) is None

    def test_ones_own_table_goes_first(self):
        own = Price(input=1.0, output=2.0, source="contract", date="2026-11-01")
        listing = find_price("gpt-4o-mini", base_url=OPENAI, table={"gpt-4o-mini": own})
        assert (listing.price, listing.told) == (
            own,
            Priced(asked="gpt-4o-mini", matched="gpt-4o-mini", source="contract", date="2026-11-01"),
        )

    def test_a_model_that_the_table_lacks_is_looked_up(self):
        assert find_price("gpt-4o-mini", base_url=OPENAI, table={}).provider == "openai"

    def test_without_the_extra_it_is_unknown(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "genai_prices", None)
        assert find_price("gpt-4o-mini", base_url=OPENAI) is None

    def test_the_record_says_where_it_came_from(self):
        told = find_price("gpt-4o-mini-2024-07-18", base_url=OPENAI).told
        assert (told.asked, told.matched, told.provider) == (
            "gpt-4o-mini-2024-07-18",
            "gpt-4o-mini",
            "openai",
        )
        assert told.source == f"genai-prices {genai_prices.__version__}"


def listed(**prices):
    """A listing of a model with these prices, as the list has them."""
    model = genai_prices.types.ModelInfo(
        id="m",
        match=genai_prices.types.ClauseEquals("m"),
        prices=genai_prices.types.ModelPrice(**prices),
    )
    return Listing(asked="m", matched="m", _model=model)


def tiered(base, *tiers):
    from decimal import Decimal

    return genai_prices.types.TieredPrices(
        base=Decimal(base),
        tiers=[genai_prices.types.Tier(start=start, price=Decimal(price)) for start, price in tiers],
    )


class TestReading:
    @pytest.mark.parametrize(
        ("model", "url"),
        [
            ("gpt-4o-mini", OPENAI),
            ("claude-sonnet-4-5", "https://api.anthropic.com/v1"),
            ("gemini-2.5-pro", "https://generativelanguage.googleapis.com/v1beta/openai"),
            ("deepseek-chat", "https://api.deepseek.com"),
        ],
    )
    @pytest.mark.parametrize("prompt", [1000, 200_000, 200_001, 900_000])
    def test_a_call_costs_what_the_list_itself_computes(self, model, url, prompt):
        usage = Usage(input_tokens=prompt, output_tokens=50, cached_tokens=prompt // 2)
        theirs = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=prompt, output_tokens=50, cache_read_tokens=prompt // 2),
            model,
            provider_api_url=url,
            genai_request_timestamp=datetime.now(tz=UTC),
        )
        ours = find_price(model, base_url=url).price.cost(usage)
        assert ours == Cost(usd=pytest.approx(float(theirs.total_price)), complete=True)

    def test_each_kind_of_token_has_its_price(self):
        from decimal import Decimal

        price = listed(
            input_mtok=Decimal(4),
            output_mtok=Decimal(8),
            cache_read_mtok=Decimal(1),
            cache_write_mtok=Decimal(5),
        ).price
        assert price == Price.per_million(input=4, output=8, cached_read=1, cache_write=5)

    def test_a_tier_holds_for_the_whole_call(self):
        price = listed(
            input_mtok=tiered("2", (100, "4"), (1000, "6")), output_mtok=tiered("10", (100, "20"))
        ).price
        cost = [price.cost(Usage(input_tokens=n, output_tokens=1)).usd * 1e6 for n in (100, 101, 1001)]
        assert cost == pytest.approx([2 * 100 + 10, 4 * 101 + 20, 6 * 1001 + 20])

    def test_a_list_that_does_not_price_tokens_has_no_price(self):
        from decimal import Decimal

        assert listed(input_mtok=Decimal(4)).price is None


class TestCache:
    PRICE = Price(input=10.0, output=1.0, cached_read=1.0, cache_write=12.0)

    @pytest.mark.parametrize(
        ("usage", "usd"),
        [
            (Usage(input_tokens=10, output_tokens=0), 100.0),
            (Usage(input_tokens=10, output_tokens=0, cached_tokens=8), 28.0),
            (Usage(input_tokens=10, output_tokens=0, cached_tokens=4, cache_write_tokens=5), 74.0),
            (Usage(input_tokens=2, output_tokens=0, cached_tokens=8), 28.0),
        ],
        ids=["nothing said", "read", "read and written", "counted beside the prompt"],
    )
    def test_tokens_of_the_cache_are_priced_as_such(self, usage, usd):
        assert self.PRICE.cost(usage) == Cost(usd=usd, complete=True)

    def test_without_prices_of_their_own_they_are_read_like_any(self):
        price = replace(self.PRICE, cached_read=None, cache_write=None)
        assert price.cost(Usage(input_tokens=10, output_tokens=0, cached_tokens=8)).usd == 100.0

    def test_a_call_may_cost_something_itself(self):
        assert replace(self.PRICE, request=0.5).cost(Usage(input_tokens=0, output_tokens=0)).usd == 0.5


def test_a_record_keeps_what_the_cache_gave_and_where_the_price_came_from():
    answer = Answer(
        text="4",
        member="m",
        usage=Usage(input_tokens=10, output_tokens=1, cached_tokens=8, cache_write_tokens=0),
        cost=Cost(usd=0.5),
        priced=Priced(asked="a", matched="b", provider="p", source="s", date="2026-11-01"),
    )
    found = answer_of(response_of(answer, model="m"))
    assert replace(found, elapsed=0.0) == replace(answer, elapsed=0.0)
