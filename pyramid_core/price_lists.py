"""Prices out of lists: what a provider charges for a model, found by the provider's own names and never guessed.

A model's name alone says nothing about its price: the same weights cost this at one provider, that at another, and
nothing on one's own machine. So a price is looked up within one provider, which is known by its address or by name, and
where there is no provider or no match, the price is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pyramid_core.prices import Price
from pyramid_core.types import Priced

_KEYS: Mapping[str, str] = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A price that was found, and where.

    Attributes:
        asked: the id that was looked up.
        matched: the id that the list has it under.
        provider: whose price it is; "" for one's own table.
        fixed: the price, where it never changes; None: it is read off the list, at the time of the call.
    """

    asked: str
    matched: str
    provider: str = ""
    fixed: Price | None = None
    _model: Any = field(default=None, repr=False, compare=False)
    _source: str = field(default="", repr=False, compare=False)
    _kept: dict[int, Price | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def price(self) -> Price | None:
        """The price now (there are providers whose nights are cheaper); None: the list does not price tokens."""
        if self.fixed is not None:
            return self.fixed
        minute = int(time.time() // 60)
        if minute not in self._kept:
            self._kept.clear()
            prices = self._model.get_prices(datetime.now(tz=UTC))
            self._kept[minute] = _price(prices, self._source)
        return self._kept.get(minute)

    @property
    def told(self) -> Priced:
        """What the record says of it."""
        price = self.price
        return Priced(
            asked=self.asked,
            matched=self.matched,
            provider=self.provider,
            source=price.source if price else "",
            date=price.date if price else "",
        )


def find_price(
    model: str,
    *,
    base_url: str | None = None,
    provider: str | None = None,
    table: Mapping[str, Price] | None = None,
) -> Listing | None:
    """The price of a model, or None where it is not known.

    Args:
        model: the provider's id for it.
        base_url: the address, which tells the provider where it is a well-known one.
        provider: the provider's name, which goes before the address.
        table: prices of one's own by model id, which go before any list.
    """
    if table is not None and model in table:
        return Listing(asked=model, matched=model, provider=provider or "", fixed=table[model])
    if provider is None and (base_url is None or _is_private(base_url)):
        return None
    try:
        import genai_prices
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    try:
        found, matched = get_snapshot().find_provider_model(
            model, None, provider, None if provider else base_url
        )
    except LookupError:
        return None
    return Listing(
        asked=model,
        matched=matched.id,
        provider=found.id,
        _model=matched,
        _source=f"genai-prices {genai_prices.__version__}",
    )


def _is_private(base_url: str) -> bool:
    """Whether an address is plainly no provider's, so that the list need not be loaded."""
    host = urlsplit(base_url).hostname or ""
    return (
        "." not in host
        or host.replace(".", "").isdigit()
        or host.endswith((".local", ".internal", ".localhost"))
    )


def _price(prices: Any, source: str) -> Price | None:
    """A list's price as ours; None where it does not price both directions by the token."""
    each = {name: getattr(prices, key) for name, key in _KEYS.items()}
    if each["input"] is None or each["output"] is None:
        return None
    call = prices.requests_kcount
    request = 0.0 if call is None else float(getattr(call, "base", call)) / 1000
    starts = sorted({tier.start for value in each.values() for tier in getattr(value, "tiers", ())})

    def at(prompt: int, above: tuple[tuple[int, Price], ...] = ()) -> Price:
        known = {name: None if value is None else _at(value, prompt) / 1e6 for name, value in each.items()}
        return Price(
            input=known["input"] or 0.0,
            output=known["output"] or 0.0,
            cached_read=known["cached_read"],
            cache_write=known["cache_write"],
            request=request,
            above=above,
            source=source,
        )

    return at(0, tuple((start, at(start + 1)) for start in starts))


def _at(value: Any, prompt: int) -> float:
    """A price, USD per million tokens, for a prompt of so many tokens; the tier it falls into holds for all of them."""
    tiers = [tier.price for tier in getattr(value, "tiers", ()) if prompt > tier.start]
    return float(tiers[-1] if tiers else getattr(value, "base", value))
