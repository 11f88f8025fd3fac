"""What tokens cost, and the one rule of the bill: what is not known is never zero.

    cost = input_tokens * input + output_tokens * output          (USD)

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
        source: who says so (a price list, or "parameters times tokens" for models without one).
        date: when it was read, as YYYY-MM-DD; prices change.

    Raises:
        InputError: a price is below zero or not a finite number.
    """

    input: float
    output: float
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            value = getattr(self, name)
            if not is_number(value):
                raise InputError(f"the {name} price must be a finite number of USD per token, not {value!r}")
            if value < 0:
                raise InputError(f"the {name} price is below zero ({value!r} USD per token): give 0 or more")

    @classmethod
    def per_million(cls, *, input: float, output: float, source: str = "", date: str = "") -> Price:  # noqa: A002 - as the attributes are named
        """The price from USD per million tokens, as price lists state it."""
        return cls(input=input / 1e6, output=output / 1e6, source=source, date=date)

    def cost(self, usage: Usage | None) -> Cost:
        """What a call cost, in USD; a lower bound where a count is unknown (`UNKNOWN_COST` where all are).

        Raises:
            InputError: a token count is below zero.
        """
        if usage is None:
            return UNKNOWN_COST
        usd, complete = 0.0, True
        for tokens, each in ((usage.input_tokens, self.input), (usage.output_tokens, self.output)):
            if tokens is None:
                complete = complete and each == 0
            elif tokens < 0:
                raise InputError(f"a token count is below zero: {usage!r}")
            else:
                usd += tokens * each
        return Cost(usd=usd, complete=complete)


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
