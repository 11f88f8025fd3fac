"""What every router shares: which answer stands by votes, and what is said once an oracle has answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

from pyramid_core.calls import differing
from pyramid_core.equivalence import AnswerClass, classes, scene_of, voices
from pyramid_core.types import (
    Answer,
    Assessment,
    Decision,
    Foreseen,
    Observation,
    OperatingPoint,
    Reply,
    Verdict,
)
from pyramid_core.types.numbers import is_number


class Untrained:
    """What routers without training have in common: they serve any crowd and look at nothing but its answers."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """Nothing has to be gathered."""
        return ()

    @property
    def fuses(self) -> bool:
        """Never."""
        return False

    @property
    def crowd(self) -> tuple[str, ...] | None:
        """Any crowd."""
        return None


def is_probability(value: object) -> bool:
    """Whether `value` is a number from 0 to 1; NaN and booleans are none."""
    return is_number(value) and 0 <= value <= 1


def points(*, economy: float, balanced: float, baseline_match: float) -> Mapping[str, OperatingPoint]:
    """The three operating points that every card has, as thresholds on p_fail."""
    return {
        "economy": OperatingPoint(threshold=economy),
        "balanced": OperatingPoint(threshold=balanced),
        "baseline-match": OperatingPoint(threshold=baseline_match),
    }


def spokesman(observation: Observation, group: AnswerClass) -> int:
    """The call whose answer speaks for a class: of the first in the crowd's order, an oracle before all of them."""
    return next(voice.call for voice in voices(observation) if voice.call in group.calls)


def plurality(observation: Observation, equivalence: str) -> int | None:
    """The call that stands by votes; None where nobody has given an answer."""
    groups = classes(observation, equivalence)
    return spokesman(observation, groups[0]) if groups else None


def answered_oracle(observation: Observation) -> Reply | None:
    """The last oracle that has answered; None where none has."""
    heard = [r for r in observation.replies if r.role == "oracle" and isinstance(r.result, Answer)]
    return heard[-1] if heard else None


def after_oracle(observation: Observation, assessment: Assessment) -> Assessment:
    """`assessment` of the crowd, once an oracle has answered by itself: its answer stands.

    It is wrong with one minus the probability that the assessment gave for this oracle; an oracle of which it said
    nothing is taken to be right. Without an oracle's answer, or where it has joined the classes, nothing changes.
    """
    oracle = None if observation.fused else answered_oracle(observation)
    if oracle is None:
        return assessment
    return Assessment(
        chosen=oracle.call,
        p_fail=1.0 - assessment.p_after.get(oracle.who, 1.0),
        p_after=assessment.p_after,
        features=assessment.features,
        router=assessment.router,
        notes=assessment.notes,
    )


def foresee_votes(
    observation: Observation,
    decide: Callable[[Assessment], Decision],
    *,
    equivalence: str,
    judge: Callable[[int | None, int], Assessment],
) -> Mapping[Foreseen, float]:
    """How the complete crowd may be judged by a router that looks at the votes of the largest class alone.

    Without enumerating answers: j of the missing join the present leader, k of the others join its strongest rival
    (or form a class of their own), the rest is scattered or fails. Every (votes, class) that can come about is in the
    result, so that a probability of 1 is exact; where a tie would be decided by members' places that are still open,
    both outcomes are.

    The weights are a guess by Laplace's rule: each answer after the leader's first either joined it or did not, so the
    rate of joining is Beta(votes, others + 1), and j is beta-binomial; every k is equally likely.

    Args:
        observation: of a crowd of which members are pending.
        decide: turns an assessment into the rule's verdict.
        equivalence: which answers are the same.
        judge: the router's assessment, from the call that stands and the votes of its class.
    """
    groups = classes(observation, equivalence)
    tied, tied_later = _who_stands(observation, groups)
    chances = _chances(
        len(observation.pending),
        groups[0].votes if groups else 0,
        groups[1].votes if len(groups) > 1 else 0,
        sum([reply.role == "crowd" for reply in observation.replies]),
        tied,
        tied_later,
    )
    stands = spokesman(observation, groups[0]) if groups else None
    foreseen: dict[Foreseen, float] = {}
    for votes, ours, theirs in chances:
        # Whose answer another class would stand by does not matter to a rule, only that one stands.
        decision = decide(judge(stands if stands is not None else (0 if votes else None), votes))
        accepts = decision.verdict is Verdict.ACCEPT
        ways = ((True, ours), (False, theirs)) if accepts else ((True, ours + theirs),)
        for same, chance in ways:
            if chance:
                outcome = Foreseen(verdict=decision.verdict, oracle=decision.oracle, same=same)
                foreseen[outcome] = foreseen.get(outcome, 0.0) + chance
    return foreseen


def _who_stands(observation: Observation, groups: tuple[AnswerClass, ...]) -> tuple[float, float]:
    """How likely the present leader wins a tie, as things are and where answers to come have made it.

    Members' places decide: 1 or 0 where they are known, 1/2 where they are still open.
    """
    if not groups:
        return 1.0, 1.0
    places, last = {name: at for at, name in enumerate(observation.crowd)}, len(observation.crowd)
    first = min([places.get(name, last) for name in groups[0].members])
    before = [any(first >= places.get(name, last) for name in group.members) for group in groups[1:]]
    if any(
        earlier for earlier, group in zip(before, groups[1:], strict=True) if group.votes == groups[1].votes
    ):
        return 0.0, 0.5
    later = not any(before) and all(first < places.get(name, last) for name in observation.pending)
    return 1.0, 1.0 if later else 0.5


@lru_cache(maxsize=4096)
def _chances(
    missing: int, leader: int, rival: int, heard: int, tied: float, tied_later: float
) -> tuple[tuple[int, float, float], ...]:
    """How the votes may fall: (votes of the largest class, the probability that it is the leader's, that it is not).

    Args:
        missing: answers that may still come.
        leader: votes of the largest class, 0 where there is none.
        rival: votes of the second.
        heard: answers and failures that have come.
        tied: how likely the leader stands at a tie as things are.
        tied_later: at one that answers to come have made.
    """
    chances: dict[int, tuple[float, float]] = {}
    for joining in range(missing + 1):
        chance = _beta_binomial(joining, missing, max(leader, 1), max(heard - leader, 0) + 1)
        share = chance / (missing - joining + 1)
        for against in range(missing - joining + 1):
            ours, theirs = leader + joining, (rival + against if rival or against else 0)
            tie = tied_later if joining + against > 0 else tied
            stays = tie if ours == theirs else float(ours > theirs)
            stays = stays if leader > 0 else 0.0
            before = chances.get(max(ours, theirs), (0.0, 0.0))
            chances[max(ours, theirs)] = before[0] + share * stays, before[1] + share * (1.0 - stays)
    return tuple((votes, *ways) for votes, ways in chances.items())


def _beta_binomial(successes: int, trials: int, a: int, b: int) -> float:
    """The probability of `successes` in `trials` whose rate is Beta(a, b)."""

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return math.comb(trials, successes) * math.exp(
        log_beta(a + successes, b + trials - successes) - log_beta(a, b)
    )


def said_of_calls(observation: Observation) -> tuple[str, ...]:
    """What a reader must know of the crowd's calls: where they differ, or that there are none."""
    scene = scene_of(observation)
    answers = [voice.answer.tool_calls for voice in voices(observation)]
    if scene is None:
        return ()
    if not any(answers):
        return ("no member calls a tool: whether to call was judged, their words were not compared",)
    apart = differing(scene, [calls for calls in answers if calls])
    return (f"members differ in {', '.join(apart)}",) if apart else ()
