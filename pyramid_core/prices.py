"""What tokens cost, and the one rule of the bill: what is not known is never zero.

    cost = input_tokens * input + output_tokens * output          (USD)

Tokens of the prompt that come from the provider's cache, or are put into it, have prices of their own:

    input_tokens * input  becomes  (input_tokens - cached - written) * input + cached * cached_read + written * cache_write

A call whose usage is unknown, or a model without a price, makes every sum it enters a lower bound
(`Cost.complete` is False).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyramid_core.errors import InputError
from pyramid_core.types import UNKNOWN_COST, Cost, Usage
from pyramid_core.types.given import shown
from pyramid_core.types.numbers import is_number


@dataclass(frozen=True, kw_only=True)
class Price:
    """A model's price.

    Attributes:
        input: USD for one token read.
        output: USD for one token written.
        cached_read: USD for one token read from the prompt cache; None: as any token read.
        cache_write: USD for one token put into the prompt cache; None: as any token read.
        request: USD for the call itself.
        above: prices that hold for the whole call when its prompt has more than so many tokens, by that number.
        source: who says so (a price list, or "parameters times tokens" for models without one).
        date: when it was read, as YYYY-MM-DD; prices change.

    Raises:
        InputError: a price is below zero or not a finite number.
    """

    input: float
    output: float
    cached_read: float | None = None
    cache_write: float | None = None
    request: float = 0.0
    above: tuple[tuple[int, Price], ...] = ()
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_read", "cache_write", "request"):
            value = getattr(self, name)
            if value is None and name.startswith("cache"):
                continue
            if not is_number(value):
                raise InputError(f"the {name} price must be a finite number of USD per token, not {value!r}")
            if value < 0:
                raise InputError(f"the {name} price is below zero ({value!r} USD per token): give 0 or more")

    @classmethod
    def per_million(
        cls,
        *,
        input: float,  # noqa: A002 - as the attributes are named
        output: float,
        cached_read: float | None = None,
        cache_write: float | None = None,
        source: str = "",
        date: str = "",
    ) -> Price:
        """The price from USD per million tokens, as price lists state it."""
        return cls(
            input=input / 1e6,
            output=output / 1e6,
            cached_read=None if cached_read is None else cached_read / 1e6,
            cache_write=None if cache_write is None else cache_write / 1e6,
            source=source,
            date=date,
        )

    def cost(self, usage: Usage | None) -> Cost:
        """What a call cost, in USD; a lower bound where a count is unknown (`UNKNOWN_COST` where all are).

        Where nothing is said about a cache, all of the prompt is priced as read anew.

        Raises:
            InputError: a token count is below zero.
        """
        if usage is None:
            return UNKNOWN_COST
        price, prompt = self._for(usage.input_tokens), usage.input_tokens
        cached, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
        if prompt is not None and prompt >= cached + written:  # else they are counted beside the prompt
            prompt -= cached + written
        usd, complete = price.request, True
        for tokens, each in (
            (prompt, price.input),
            (cached, price.input if price.cached_read is None else price.cached_read),
            (written, price.input if price.cache_write is None else price.cache_write),
            (usage.output_tokens, price.output),
        ):
            if tokens is None:
                complete = complete and each == 0
            elif tokens < 0:
                raise InputError(f"a token count is below zero: {usage!r}")
            else:
                usd += tokens * each
        return Cost(usd=usd, complete=complete)

    def _for(self, prompt: int | None) -> Price:
        """The price that holds for a prompt of so many tokens."""
        return next((price for start, price in reversed(self.above) if (prompt or 0) > start), self)


def check_prices(prices: Mapping[str, Price], members: Iterable[str], *, others: Iterable[str] = ()) -> None:
    """Raise unless every price is one and is somebody's.

    Args:
        prices: by the name of a member.
        members: their names.
        others: further names that they go by.

    Raises:
        InputError: says which price it is.
    """
    if not isinstance(prices, Mapping):
        raise InputError(f"prices must be a dict of Price by model name, not {shown(prices)}")
    names = list(members)
    known = {*names, *others}
    for name, price in prices.items():
        if not isinstance(price, Price):
            raise InputError(f"the price of {name!r} must be a pyramid_core.Price, not {price!r}")
        if name not in known:
            raise InputError(f"prices has {name!r}, which is no member: they are {names}")
