"""What is set for a pyramid (`Policy`) and what is frozen for one query (`Context`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyramid_core.errors import InputError
from pyramid_core.types.numbers import check_number


@dataclass(frozen=True, kw_only=True)
class Context:
    """What one query shares with others, frozen at its start and kept in its trace, so that a replay is exact.

    Attributes:
        deadline: seconds from the start, or None.
        shadow_price: what a budget adds to the cost of escalating, in USD, 0 or more.
        explore: the draw itself: ask an oracle even if the answer is accepted.
        propensity: the probability with which `explore` was drawn.
        pinned: the name of an oracle, or "crowd", that an earlier turn of the conversation settled on.
        warm: members whose prompt cache is warm.
        listening: somebody reads the tokens as they come.
        watching: somebody wants every better solution as it comes.

    Raises:
        InputError: a number is out of its range or no number.
    """

    deadline: float | None = None
    shadow_price: float = 0.0
    explore: bool = False
    propensity: float | None = None
    pinned: str | None = None
    warm: tuple[str, ...] = ()
    listening: bool = False
    watching: bool = False

    def __post_init__(self) -> None:
        # A NaN would make every comparison of Eq. 5 false, and so accept whatever stands.
        check_number("shadow_price", self.shadow_price, low=0.0, unit="USD")
        if self.deadline is not None:
            check_number("deadline", self.deadline, low=0.0, above=True, unit="seconds")
        if self.propensity is not None:
            check_number("propensity", self.propensity, low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When the rule is asked, and what runs meanwhile; one for a whole pyramid.

    Attributes:
        width: members of the crowd in flight at once; None: all, 1: one after another.
        early_stop: stop waiting for the crowd where the verdict would change with at most this probability;
            0: only where it cannot change; None: never.
        ask_before: let the rule decide from the query alone, before any call.
        speculate: start an oracle early where it will be asked with at least this probability; None: never.
        fuse: an oracle's answer joins the crowd's classes instead of standing by itself.
        fuse_streams: fuse even while somebody listens, which holds the oracle's tokens back.
        escalations: how many oracles may answer.
        patience: seconds after which a slow crowd is cut and the verdict falls without the missing, or None.
        gather_patience: seconds that gathered evidence may take.
        explore_patience: seconds after the end that an explored call may still take; then it counts as failed.
        on_abstain: "raise" or "answer" (with the best there is, marked).

    Raises:
        InputError: a value is out of its range; says which.
    """

    width: int | None = None
    early_stop: float | None = 0.0
    ask_before: bool = False
    speculate: float | None = None
    fuse: bool = False
    fuse_streams: bool = False
    escalations: int = 1
    patience: float | None = None
    gather_patience: float = 2.0
    explore_patience: float = 120.0
    on_abstain: Literal["raise", "answer"] = "raise"

    def __post_init__(self) -> None:
        for name in ("early_stop", "speculate"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low=0.0, high=1.0)
        if self.width is not None:
            check_number("width", self.width, low=1, whole=True)
        check_number("escalations", self.escalations, low=0, whole=True)
        if self.patience is not None:
            check_number("patience", self.patience, low=0.0, above=True, unit="seconds")
        for name in ("gather_patience", "explore_patience"):
            check_number(name, getattr(self, name), low=0.0, above=True, unit="seconds")
        if self.on_abstain not in ("raise", "answer"):
            raise InputError(f"on_abstain must be 'raise' or 'answer', not {self.on_abstain!r}")
