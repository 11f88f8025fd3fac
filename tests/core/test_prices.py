from __future__ import annotations

import math

import pytest

from pyramid_core.errors import InputError
from pyramid_core.prices import Price
from pyramid_core.types import UNKNOWN_COST, Cost, Usage


def test_a_call_costs_its_tokens_times_their_prices() -> None:
    price = Price(input=0.001, output=0.01)
    assert price.cost(Usage(input_tokens=10, output_tokens=2)) == Cost(usd=0.03, complete=True)


def test_a_price_per_million_is_a_millionth_per_token() -> None:
    assert Price.per_million(input=2.0, output=8.0, source="list", date="2026-01-01") == Price(
        input=2e-6, output=8e-6, source="list", date="2026-01-01"
    )


def test_unknown_usage_is_an_unknown_cost() -> None:
    assert Price(input=1.0, output=1.0).cost(None) == UNKNOWN_COST


def test_usage_without_counts_is_an_unknown_cost() -> None:
    assert Price(input=1.0, output=1.0).cost(Usage()) == UNKNOWN_COST


def test_half_known_usage_is_a_lower_bound() -> None:
    assert Price(input=1.0, output=1.0).cost(Usage(input_tokens=3)) == Cost(usd=3.0, complete=False)


def test_an_unknown_count_of_free_tokens_changes_nothing() -> None:
    assert Price(input=1.0, output=0.0).cost(Usage(input_tokens=3)) == Cost(usd=3.0, complete=True)


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, "0.1", None, True])
@pytest.mark.parametrize("name", ["input", "output"])
def test_an_impossible_price_is_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"the {name} price"):
        Price(**{"input": 1.0, "output": 1.0, name: value})  # type: ignore[arg-type]


def test_a_negative_token_count_is_refused() -> None:
    with pytest.raises(InputError, match="below zero"):
        Price(input=1.0, output=1.0).cost(Usage(input_tokens=-1, output_tokens=1))
