"""Semantic agreement: texts that mean the same are one vote, by the likeness of their embeddings.

    p_fail = 1 - votes of the largest class / size of the crowd

as under `AgreementRouter`, but classes of free texts whose members are all alike (cosine of at least `threshold`) are one
class: complete linkage, so that a chain of small steps does not join two opposites. Answers that have an exact form
(numbers, choices, calls, fields) are compared as ever. Which threshold tells "the same" depends on the embedding; the
default is a convention and was measured on nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyramid_core.equivalence import AnswerClass, classes, kind_of
from pyramid_core.routers.agreement import accuracy_of, checked_accuracy
from pyramid_core.routers.standing import Untrained, after_oracle, points, spokesman
from pyramid_core.types import NAN, Answer, Assessment, Decision, Foreseen, Observation, OperatingPoint
from pyramid_core.types.numbers import check_number

SIMILARITY = "similarity"
"""The kind of evidence: {"cosines": one row an answer, in the order of calls}, or {"same": True}."""


class SemanticRouter(Untrained):
    """Votes of the largest class of texts that mean the same; it escalates unless the crowd is unanimous.

    Args:
        threshold: the least cosine of two texts that mean the same, -1 to 1.
        oracle_accuracy: as in `AgreementRouter`.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self, threshold: float = 0.85, *, oracle_accuracy: float | Mapping[str, float] | None = None
    ) -> None:
        check_number("threshold", threshold, low=-1.0, high=1.0)
        self.threshold = threshold
        self._accuracy = checked_accuracy(oracle_accuracy)

    @property
    def evidence(self) -> tuple[str, ...]:
        """How alike the answers are."""
        return (SIMILARITY,)

    @property
    def id(self) -> str:
        """`semantic` and its threshold."""
        return f"semantic/{self.threshold:g}"

    @property
    def operating_points(self) -> Mapping[str, OperatingPoint]:
        """All are "escalate unless unanimous"."""
        return points(economy=0.0, balanced=0.0, baseline_match=0.0)

    @property
    def min_members(self) -> int:
        """One, as for agreement."""
        return 1

    def assess(self, observation: Observation) -> Assessment:
        """The answer of the largest class, and its share of the whole crowd; NaN before the first reply."""
        groups: Sequence[AnswerClass] = classes(observation)
        notes: tuple[str, ...] = ()
        if len(groups) > 1 and kind_of(observation) == "exact":
            alike = _alike(observation, self.threshold)
            groups = groups if alike is None else merged(groups, alike)
            notes = (
                ("how alike the texts are is not known: they were compared as texts",)
                if alike is None
                else ()
            )
        share = groups[0].votes / max(len(observation.crowd), 1) if groups else 0.0
        assessment = Assessment(
            chosen=spokesman(observation, groups[0]) if groups else None,
            p_fail=1.0 - share if groups or observation.replies else NAN,
            p_after=accuracy_of(self._accuracy, observation.oracles),
            features={"agreement": share},
            router=self.id,
            notes=notes,
        )
        return after_oracle(observation, assessment)

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        """Nothing: how alike the missing answers will be is not known before they come."""
        return {}


def merged(groups: Sequence[AnswerClass], alike: Callable[[int, int], bool]) -> list[AnswerClass]:
    """The classes, largest first, with those put together in which every call is alike to every other.

    Args:
        groups: classes of equal answers, most votes first.
        alike: whether two calls' answers mean the same.
    """
    found: list[AnswerClass] = []
    for group in groups:
        place = next(
            (n for n, one in enumerate(found) if all(alike(a, b) for a in one.calls for b in group.calls)),
            None,
        )
        if place is None:
            found.append(group)
        else:
            one = found[place]
            found[place] = AnswerClass(
                calls=one.calls + group.calls, members=one.members + group.members, key=one.key
            )
    return sorted(found, key=lambda group: group.votes, reverse=True)


def _alike(observation: Observation, threshold: float) -> Callable[[int, int], bool] | None:
    """What the evidence says of two calls; None where there is none that fits."""
    told: Any = observation.evidence.get(SIMILARITY)
    calls = [reply.call for reply in observation.replies if isinstance(reply.result, Answer)]
    cosines = told.get("cosines") if isinstance(told, Mapping) else None
    if cosines is None or len(cosines) != len(calls):
        return None
    row = {call: place for place, call in enumerate(calls)}
    return lambda a, b: cosines[row[a]][row[b]] >= threshold
