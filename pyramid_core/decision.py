"""The decision: is asking an oracle worth it? Eq. 4 and Eq. 5 live here, and nowhere else.

    Eq. 4   E[U_stop] = (1 - P_fail) U_correct        E[U_esc] = P_oracle U_correct - C_esc
    Eq. 5   escalate iff P_fail > C_esc / U_correct + (1 - P_oracle)
                                  the cost barrier    the imperfection barrier

Eq. 5 is Eq. 4's argmax with both sides divided by U_correct; an equality within `TOLERANCE` means "stop" in both,
because binary fractions would otherwise escalate where the two utilities are equal (.2 > .1 + (1 - .9) is True).
A threshold t on P_fail is Eq. 5 with two barriers that sum to t, so both rules speak the same language.

Source: Pyramid MoA, section 2.4, after Hansen & Zilberstein, Monitoring and control of anytime algorithms,
Artificial Intelligence 126 (2001), and Russell & Wefald's value of computation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

from pyramid_core.errors import InputError
from pyramid_core.types import Assessment, Decision, OperatingPoint, Options, Router, Verdict
from pyramid_core.types.numbers import check_number

TOLERANCE = 1e-12
"""Utilities closer than this (in units of U_correct) are equal, and equal means stop."""

NAME = "pyramid"
"""What a pyramid is called where a framework wants a model's name."""

BASELINE_MATCH = "baseline-match"
"""The operating point that every rule takes where the user names none."""


def utilities(p_fail: float, p_oracle: float, c_esc: float, u_correct: float = 1.0) -> tuple[float, float]:
    """Eq. 4: the expected utilities of stopping and of escalating, (E[U_stop], E[U_esc]).

    Args:
        p_fail: probability that the standing answer is wrong, 0 to 1 or NaN.
        p_oracle: probability that the answer returned after asking the oracle is right, 0 to 1.
        c_esc: cost of escalating, in the unit of `u_correct` (USD, say).
        u_correct: what a right answer is worth, above zero.
    """
    return (1.0 - p_fail) * u_correct, p_oracle * u_correct - c_esc


def barriers(p_oracle: float, c_esc: float, u_correct: float = 1.0) -> tuple[float, float]:
    """Eq. 5's two barriers: (C_esc / U_correct, 1 - P_oracle), both in units of probability."""
    return c_esc / u_correct, 1.0 - p_oracle


def escalates(p_fail: float, cost_barrier: float, imperfection_barrier: float) -> bool:
    """Eq. 5: whether P_fail is above the sum of the barriers, by more than `TOLERANCE`. False where NaN."""
    return p_fail > cost_barrier + imperfection_barrier + TOLERANCE


@dataclass(frozen=True)
class ThresholdRule:
    """Escalate iff p_fail > t, the paper's threshold t, to the first oracle that is open.

    In Eq. 5's words: the imperfection barrier is one minus the router's p_after (zero where it has none), and the
    cost barrier is what the threshold implies, t minus the imperfection barrier; it is negative where the
    threshold asks the oracle more readily than its accuracy justifies.

    Attributes:
        threshold: t, 0 ("unless it is certain") to 1 ("never"); None: from the router's card.
        operating_point: which of the card's points to take where `threshold` is None.

    Raises:
        InputError: the threshold is not a number between 0 and 1.
    """

    threshold: float | None = None
    _: KW_ONLY
    operating_point: str = BASELINE_MATCH

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_number("threshold", self.threshold, low=0.0, high=1.0)

    def resolved(self, router: Router) -> ThresholdRule:
        """This rule with the threshold of the card's operating point, where the user gave none.

        Raises:
            InputError: the router's card has no such operating point.
        """
        if self.threshold is not None:
            return self
        return replace(self, threshold=_point_of(router, self.operating_point).threshold)

    @cached_property
    def name(self) -> str:
        """The rule and its settings on one line."""
        return repr(self)

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        """Eq. 5 for the first open oracle; see `Rule.decide`."""
        threshold = self.threshold
        if threshold is None:
            raise _unresolved("threshold", self)
        if not options.oracles:
            return _without_oracle(assessment, options, u_correct=1.0, rule=self.name)
        oracle = options.oracles[0]
        p_oracle = _p_after(assessment, oracle)
        return _weigh(
            assessment,
            options,
            oracle=oracle,
            p_oracle=p_oracle,
            c_esc=threshold - (1.0 - p_oracle),
            u_correct=1.0,
            rule=self.name,
        )


@dataclass(frozen=True, kw_only=True)
class EscalationRule:
    """Eq. 5 in full: what escalating costs, what a right answer is worth, how good the oracle is.

    Of several open oracles it weighs the one with the largest expected utility (the first of equals). A shadow
    price in the context is added to the cost.

    Attributes:
        c_esc: cost of escalating in the unit of `u_correct`, or one cost for each oracle by name; None: the cost
            barrier of the card's operating point (or the one that its threshold implies, where it has none).
        u_correct: what a right answer is worth, above zero.
        p_oracle: the oracle's accuracy; None: the router's p_after for this query, and 1 where it has none.
        operating_point: which of the card's points to take where `c_esc` is None.
        point: the point taken from the card; filled in by `resolved`.
        c_warm: the cost, or one for each oracle by name, where the oracle's prompt cache is warm (`Context.warm`): what
            is read from it costs a fraction, so the marginal cost of escalating within a conversation is another than
            that of its first turn; None, or an oracle that is missing: as cold.

    Raises:
        InputError: a number is out of its range or no number.
    """

    c_esc: float | Mapping[str, float] | None = None
    u_correct: float = 1.0
    p_oracle: float | None = None
    operating_point: str = BASELINE_MATCH
    point: OperatingPoint | None = None
    c_warm: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_number("u_correct", self.u_correct, low=0.0, above=True)
        if self.p_oracle is not None:
            check_number("p_oracle", self.p_oracle, low=0.0, high=1.0)
        for name in ("c_esc", "c_warm"):
            costs = getattr(self, name)
            if isinstance(costs, Mapping):
                object.__setattr__(self, name, dict(costs))
                for oracle, cost in costs.items():
                    check_number(f"{name} of {oracle!r}", cost, low=0.0)
            elif costs is not None:
                check_number(name, costs, low=0.0)

    def __hash__(self) -> int:
        costs = [tuple(sorted(c.items())) if isinstance(c, Mapping) else c for c in (self.c_esc, self.c_warm)]
        return hash((*costs, self.u_correct, self.p_oracle, self.operating_point, self.point))

    def __repr__(self) -> str:
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.c_warm is None:
            del told["c_warm"]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def resolved(self, router: Router) -> Self:
        """This rule with the cost barrier of the card's operating point, where the user gave no cost.

        Raises:
            InputError: the router's card has no such operating point.
        """
        if self.c_esc is not None or self.point is not None:
            return self
        return replace(self, point=_point_of(router, self.operating_point))

    @cached_property
    def name(self) -> str:
        """The rule and its settings on one line."""
        return repr(self)

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        """Eq. 5 for the open oracle with the largest expected utility; see `Rule.decide`."""
        if not options.oracles:
            return _without_oracle(assessment, options, u_correct=self.u_correct, rule=self.name)
        best: tuple[float, str, float, float] | None = None
        for oracle in options.oracles:
            p_oracle = _p_after(assessment, oracle) if self.p_oracle is None else self.p_oracle
            warm = oracle in options.context.warm
            c_esc = self._cost(oracle, p_oracle, warm=warm) + options.context.shadow_price
            gain = p_oracle * self.u_correct - c_esc
            if best is None or gain > best[0] + TOLERANCE * self.u_correct:
                best = gain, oracle, p_oracle, c_esc
        assert best is not None
        _, oracle, p_oracle, c_esc = best
        note = "" if self.p_oracle is not None or oracle in assessment.p_after else _ASSUMED
        return _weigh(
            assessment,
            options,
            oracle=oracle,
            p_oracle=p_oracle,
            c_esc=c_esc,
            u_correct=self.u_correct,
            rule=self.name,
            note=note,
        )

    def check(self, oracles: Sequence[str]) -> None:
        """Raise InputError where `c_esc` has no cost for one of `oracles`, before anybody is asked."""
        if isinstance(self.c_esc, Mapping):
            for oracle in oracles:
                self._cost(oracle, 1.0)

    def _cost(self, oracle: str, p_oracle: float, *, warm: bool = False) -> float:
        """C_esc of asking `oracle`, without the shadow price."""
        if warm and self.c_warm is not None:
            cost = self.c_warm.get(oracle) if isinstance(self.c_warm, Mapping) else self.c_warm
            if cost is not None:
                return cost
        if self.c_esc is None:
            if self.point is None:
                raise _unresolved("c_esc", self)
            if self.point.barrier is not None:
                return self.point.barrier * self.u_correct
            return (self.point.threshold - (1.0 - p_oracle)) * self.u_correct
        if isinstance(self.c_esc, Mapping):
            try:
                return self.c_esc[oracle]
            except KeyError:
                raise InputError(
                    f"c_esc has no cost for the oracle {oracle!r}, only for {_listed(self.c_esc)}: add it"
                ) from None
        return self.c_esc


def _p_after(assessment: Assessment, oracle: str) -> float:
    """The router's word on `oracle`; 1 where it has none, or only NaN."""
    p_after = assessment.p_after.get(oracle, 1.0)
    return 1.0 if math.isnan(p_after) else p_after


_ASSUMED = " (the router says nothing about this oracle: taken to be always right)"


def _weigh(
    assessment: Assessment,
    options: Options,
    *,
    oracle: str,
    p_oracle: float,
    c_esc: float,
    u_correct: float,
    rule: str,
    note: str = "",
) -> Decision:
    """The verdict on one open oracle."""
    p_fail = assessment.p_fail
    u_stop, u_esc = utilities(p_fail, p_oracle, c_esc, u_correct)
    cost_barrier, imperfection_barrier = barriers(p_oracle, c_esc, u_correct)
    asked: str | None = oracle
    if math.isnan(p_fail):
        # nan > x is False: without this branch an unknown would be accepted.
        if options.may_wait:
            verdict, asked, reason = Verdict.WAIT, None, "p_fail is unknown: wait for more answers"
        else:
            verdict, reason = Verdict.ESCALATE, "p_fail is unknown: ask the oracle"
    elif escalates(p_fail, cost_barrier, imperfection_barrier):
        verdict = Verdict.ESCALATE
        reason = f"p_fail {p_fail:.3f} is above the barriers' sum {cost_barrier + imperfection_barrier:.3f}"
    elif assessment.chosen is not None:
        verdict, asked = Verdict.ACCEPT, None
        reason = (
            f"p_fail {p_fail:.3f} is not above the barriers' sum {cost_barrier + imperfection_barrier:.3f}"
        )
    elif options.may_wait:
        verdict, asked, reason = Verdict.WAIT, None, "no answer stands yet: wait for one"
    else:
        verdict, reason = Verdict.ESCALATE, "no answer stands: ask the oracle"
    return Decision(
        verdict=verdict,
        oracle=asked,
        u_stop=u_stop,
        u_esc=u_esc,
        cost_barrier=cost_barrier,
        imperfection_barrier=imperfection_barrier,
        reason=reason + note if note else reason,
        rule=rule,
    )


def _without_oracle(assessment: Assessment, options: Options, *, u_correct: float, rule: str) -> Decision:
    """The verdict where no oracle can be asked: as if one were never right at an infinite cost."""
    unknown = assessment.chosen is None or math.isnan(assessment.p_fail)
    if unknown and options.may_wait:
        verdict, reason = Verdict.WAIT, "no oracle is open, and more answers may come"
    else:
        verdict, reason = Verdict.ACCEPT, "no oracle is open"
    return Decision(
        verdict=verdict,
        u_stop=(1.0 - assessment.p_fail) * u_correct,
        u_esc=-math.inf,
        cost_barrier=math.inf,
        imperfection_barrier=1.0,
        reason=reason,
        rule=rule,
    )


def _point_of(router: Router, name: str) -> OperatingPoint:
    """The router's operating point `name`."""
    points = router.operating_points
    try:
        return points[name]
    except KeyError:
        raise InputError(
            f"router {router.id!r} has no operating point {name!r}, only {_listed(points)}: "
            "name one of these, or give the rule its numbers"
        ) from None


def _unresolved(field: str, rule: object) -> InputError:
    return InputError(
        f"{rule!r} has no {field}: give one, or take the router's card's by rule.resolved(router)"
    )


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, names)) or "none"


def rule_of(model: str, rule: Any) -> Any:
    """What a user may write for a rule: a rule, a threshold as a number, or an operating point in the model's name.

    Args:
        model: `pyramid`, or `pyramid:<operating point>`.
        rule: a rule, a threshold on p_fail, or None.

    Returns:
        The rule; None where neither says anything.

    Raises:
        InputError: the name or the rule cannot be used.
    """
    name, colon, point = model.partition(":")
    if name != NAME or (colon and not point):
        raise InputError(f"model must be 'pyramid' or 'pyramid:<operating point>', not {model!r}")
    if point and rule is not None:
        raise InputError(f"model={model!r} and rule={rule!r} both say when to escalate: give one of them")
    if point:
        return ThresholdRule(operating_point=point)
    if isinstance(rule, (int, float)) and not isinstance(rule, bool):
        return ThresholdRule(float(rule))
    if rule is not None and not callable(getattr(rule, "decide", None)):
        raise InputError(f"rule must be a rule or a threshold between 0 and 1, not {rule!r}")
    return rule
