"""What routers and rules see and say: observations, assessments, decisions, and the two protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from pyramid_core.types.answers import NAN, Query, Reply
from pyramid_core.types.settings import Context

T = TypeVar("T")


class _Missing:
    """Nothing is cached; any value, None too, may be."""


_MISSING = _Missing()


class Verdict(StrEnum):
    """What a rule can say."""

    ACCEPT = "accept"
    ESCALATE = "escalate"
    WAIT = "wait"
    ABSTAIN = "abstain"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The query and what has been answered so far: all that a router may look at.

    Attributes:
        query: what was asked.
        crowd: the names of the whole crowd in its order, answered or not; its length is the crowd's size.
        replies: what came, in call order: the crowd's, and those of oracles that a verdict has asked for.
        pending: members of the crowd whose answers may still come.
        oracles: the names of all oracles, asked or not.
        fused: whether an oracle's answer joins the classes (section 5 of the design) or stands by itself.
        evidence: what was gathered, by kind; absent where it failed or came late.
        cache: work shared between those who look, filled through `shared`.
        kept: work on single answers, by call, that later observations of the same query find done.
    """

    query: Query
    crowd: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    pending: tuple[str, ...] = ()
    oracles: tuple[str, ...] = ()
    fused: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def shared(self, key: Any, compute: Callable[[], T]) -> T:
        """The value under `key`, computed once for this observation."""
        found: T | _Missing = self.cache.get(key, _MISSING)
        if isinstance(found, _Missing):
            found = self.cache[key] = compute()
        return found


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """A class of equivalent answers: its calls, in call order, and the probability that it is right."""

    calls: tuple[int, ...]
    p_right: float


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A router's opinion of an observation.

    Attributes:
        chosen: the call whose answer would stand now; None where nothing can.
        p_fail: one minus the probability that the chosen answer is right; NaN where it cannot be said.
        p_right: one score a class.
        p_after: for each oracle the probability that the answer returned after asking it is right; an oracle
            that is missing here is taken to be always right.
        features: what was seen, by name (the query-level row, or the chosen class's).
        router: the router's id.
        notes: what a reader must know, in words (an assumed prior, clipped texts).
    """

    chosen: int | None
    p_fail: float
    p_right: tuple[ClassScore, ...] = ()
    p_after: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)
    router: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a rule may choose from at this moment.

    Attributes:
        oracles: those that are open.
        may_wait: whether answers may still come.
        context: of the query.
        replies: what came so far, for a rule that must know what it would accept.
    """

    oracles: tuple[str, ...]
    may_wait: bool
    context: Context = field(default_factory=Context)
    replies: tuple[Reply, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A verdict and how it came about; Eq. 4's utilities and Eq. 5's barriers are always there.

    Attributes:
        verdict: what to do.
        oracle: whom to ask, where the verdict is ESCALATE.
        u_stop: E[U_stop] of Eq. 4.
        u_esc: E[U_esc] of Eq. 4, of the best oracle that is open (-inf where none is).
        cost_barrier: C_esc / U_correct.
        imperfection_barrier: 1 - P_oracle. All four are NaN where no rule was asked, since time was up or the reader
            had seen enough.
        reason: in words.
        rule: the rule's name.
    """

    verdict: Verdict
    oracle: str | None = None
    u_stop: float = NAN
    u_esc: float = NAN
    cost_barrier: float = NAN
    imperfection_barrier: float = NAN
    reason: str = ""
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """A verdict that the complete crowd may lead to; `same` is False where another class would stand."""

    verdict: Verdict
    oracle: str | None = None
    same: bool = True


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A named threshold of a router's card, chosen on held-out folds.

    Attributes:
        threshold: on p_fail; 1 is "never", 0 with agreement is "unless unanimous".
        barrier: on p_fail + p_after - 1, the cost barrier of Eq. 5 in units of U_correct; None where unknown.
    """

    threshold: float
    barrier: float | None = None


class Router(Protocol):
    """Predicts from an observation whether the answer that would stand is right.

    Attributes:
        id: name and version, for records.
        evidence: kinds of evidence that must be gathered before `assess` (see `Gather`).
        fuses: whether an oracle's answer may join the classes.
        operating_points: by name; `baseline-match` is every rule's default.
        crowd: the crowd it was trained for; None: any.
        min_members: answers below which it cannot say anything.
    """

    @property
    def id(self) -> str:
        """The name and version, for records."""
        ...

    @property
    def evidence(self) -> tuple[str, ...]:
        """The kinds of evidence to gather first."""
        ...

    @property
    def fuses(self) -> bool:
        """Whether an oracle may join the classes."""
        ...

    @property
    def operating_points(self) -> Mapping[str, OperatingPoint]:
        """Thresholds by name."""
        ...

    @property
    def crowd(self) -> tuple[str, ...] | None:
        """The crowd it was trained for; None: any."""
        ...

    @property
    def min_members(self) -> int:
        """The fewest answers it can judge."""
        ...

    def assess(self, observation: Observation) -> Assessment:
        """The answer that would stand now, and how likely it is wrong. Without replies: a forecast (or NaN)."""
        ...

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        """How the complete crowd may be judged, with probabilities; empty where nothing can be said."""
        ...


class Rule(Protocol):
    """Turns one assessment into a verdict."""

    def resolved(self, router: Router) -> Rule:
        """This rule with what the user left open taken from the router's card."""
        ...

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        """The verdict; never WAIT where nothing may come, never ESCALATE to an oracle that is not open."""
        ...
