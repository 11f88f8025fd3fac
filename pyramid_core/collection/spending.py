"""What a collection may cost: a question is asked only while the dearest one so far would still fit in.

What a call costs is known afterwards, so a limit cannot be kept to the cent; a question that costs more than every one
before it may go beyond. Until one question's cost is known, questions are asked one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from pyramid_core.errors import InputError
from pyramid_core.types import Cost
from pyramid_core.types.numbers import check_number


class Spending:
    """The bill so far, and whether the next question still fits.

    Args:
        limit: in USD; None: none.
        members: (name, member) of all who will be asked.

    Attributes:
        total: of all that was asked; a lower bound where a call failed or tells no usage.

    Raises:
        InputError: the limit is no amount, or a member's price is unknown, so that it could not be kept.
    """

    def __init__(self, limit: float | None, members: Iterable[tuple[str, Any]]) -> None:
        self.limit = limit
        self.total = Cost()
        self._dearest: float | None = None
        self._under_way = 0
        self._of: dict[str, Cost] = {}
        self._unknown = ""
        self._changed = asyncio.Event()
        if limit is None:
            return
        check_number("max_cost", limit, low=0.0, above=True, unit="USD")
        for name, member in members:
            if price_known(member) is False:
                raise InputError(
                    f"the price of {name} is not known, so max_cost cannot be kept: give its price under [prices], "
                    "or leave the limit out"
                )

    def add(self, question: str, response: Mapping[str, Any], *, by: str) -> None:
        """Put one call on the bill."""
        cost = _cost(response)
        self.total += cost
        self._of[question] = self._of.get(question, Cost()) + cost
        if not cost.complete and response.get("error") is None:
            self._unknown = self._unknown or by

    def add_record(self, responses: Iterable[Mapping[str, Any]]) -> None:
        """Put the calls of an earlier run on the bill."""
        cost = Cost()
        for response in responses:
            cost += _cost(response) + (_cost(response["judged"]) if response.get("judged") else Cost())
        self.total += cost
        self._learn(cost)

    async def turn(self) -> str:
        """Wait until a question may be asked, and count it as under way; else say why none may be.

        Whoever had a turn must say when it is `done`.
        """
        while True:
            verdict = self._verdict()
            if verdict is not None:
                self._under_way += 1
                return verdict
            await self._changed.wait()

    def done(self, question: str | None) -> None:
        """A turn is over; `question` was asked in it."""
        self._under_way -= 1
        if question is not None and question in self._of:
            self._learn(self._of.pop(question))
        self._changed.set()
        self._changed = asyncio.Event()

    def _verdict(self) -> str | None:
        """Empty where a question may be asked, a reason where none may, None where that will turn out."""
        if self.limit is None:
            return ""
        if self._unknown:
            return f"what {self._unknown} costs is not known, so max_cost cannot be kept"
        if self._dearest is None:
            return None if self._under_way else ""
        needed = self.total.usd + (self._under_way + 1) * self._dearest
        if needed <= self.limit:
            return ""
        if self._under_way:
            return None
        return (
            f"max_cost: {self.total} of ${self.limit:g} are spent, and the dearest question cost "
            f"${self._dearest:.3g}"
        )

    def _learn(self, cost: Cost) -> None:
        if cost.complete:
            self._dearest = max(self._dearest or 0.0, cost.usd)


def price_known(member: Any) -> bool | None:
    """Whether the price of a member's tokens is known; None where it does not say."""
    for name in ("listing", "price"):
        if hasattr(member, name):
            return getattr(member, name) is not None
    return None


def _cost(response: Mapping[str, Any]) -> Cost:
    usd = response.get("cost")
    if not isinstance(usd, int | float):
        return Cost(complete=False)
    return Cost(usd=usd, complete=bool(response.get("cost_complete", True)))
