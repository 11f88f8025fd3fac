"""Agreement needs no training: the more members say the same, the less likely the crowd is wrong.

    p_fail = 1 - votes of the largest class / size of the crowd

The size counts every member, asked or not, failed or silent: else the first of several members that answer one after
another would be unanimous with itself. It is an order, not a calibrated probability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Self

from pyramid_core.equivalence import BEHAVIOUR, checked_equivalence, classes
from pyramid_core.errors import InputError
from pyramid_core.routers.standing import (
    Untrained,
    after_oracle,
    foresee_votes,
    is_probability,
    points,
    spokesman,
)
from pyramid_core.types import NAN, Assessment, Decision, Foreseen, Observation, OperatingPoint


class AgreementRouter(Untrained):
    """Votes of the largest class; it escalates unless the crowd is unanimous at every operating point.

    It does not fuse: with an oracle's answer among the classes any pair of members would overrule it.

    Args:
        equivalence: which answers are the same (see `pyramid_core.equivalence`).
        oracle_accuracy: how often each oracle, or any of them, is right, where you know; by default nothing is said
            of it, and rules take it to be always right.

    Raises:
        InputError: there is no such equivalence, or an accuracy is not between 0 and 1.
    """

    def __init__(
        self, equivalence: str = "auto", *, oracle_accuracy: float | Mapping[str, float] | None = None
    ) -> None:
        self.equivalence = checked_equivalence(equivalence)
        self._accuracy = checked_accuracy(oracle_accuracy)
        self._gathered: tuple[str, ...] = ()

    def given(self, kinds: Iterable[str]) -> Self:
        """This router where these kinds of evidence can be gathered: programs then agree by what they do."""
        router = copy(self)
        router._gathered = tuple(kinds)  # noqa: SLF001 - of the same class
        return router

    @property
    def evidence(self) -> tuple[str, ...]:
        """What programs do, where that is the equivalence, or where it can be had and the equivalence is inferred."""
        wanted = self.equivalence == BEHAVIOUR or (self.equivalence == "auto" and BEHAVIOUR in self._gathered)
        return (BEHAVIOUR,) if wanted else ()

    @property
    def id(self) -> str:
        """`agreement`, and the equivalence where it was chosen."""
        return "agreement" if self.equivalence == "auto" else f"agreement/{self.equivalence}"

    @property
    def operating_points(self) -> Mapping[str, OperatingPoint]:
        """All are "escalate unless unanimous"."""
        return points(economy=0.0, balanced=0.0, baseline_match=0.0)

    @property
    def min_members(self) -> int:
        """One: alone it is no agreement, and p_fail says so unless it is the whole crowd."""
        return 1

    def assess(self, observation: Observation) -> Assessment:
        """The plurality's answer, ties by the members' places, and its share of the whole crowd.

        Nothing is said (NaN) before the first reply; replies without an answer are no votes.
        """
        groups = classes(observation, self.equivalence)
        if not groups and not observation.replies:
            return after_oracle(observation, self._judged(observation, None, 0, p_fail=NAN))
        chosen = spokesman(observation, groups[0]) if groups else None
        votes = groups[0].votes if groups else 0
        return after_oracle(observation, self._judged(observation, chosen, votes))

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        """Every way in which the votes may fall (see `foresee_votes`); nothing where they fall by what programs do."""
        if self.evidence:
            return {}
        return foresee_votes(
            observation,
            decide,
            equivalence=self.equivalence,
            judge=lambda chosen, votes: self._judged(observation, chosen, votes),
        )

    def _judged(
        self, observation: Observation, chosen: int | None, votes: int, *, p_fail: float | None = None
    ) -> Assessment:
        share = votes / max(len(observation.crowd), 1)
        return Assessment(
            chosen=chosen,
            p_fail=1.0 - share if p_fail is None else p_fail,
            p_after=accuracy_of(self._accuracy, observation.oracles),
            features={"agreement": share},
            router=self.id,
        )


def checked_accuracy(accuracy: float | Mapping[str, float] | None) -> float | dict[str, float] | None:
    """`accuracy`, of every oracle or by name, checked.

    Raises:
        InputError: one is not between 0 and 1.
    """
    if accuracy is None:
        return None
    by_name = dict(accuracy) if isinstance(accuracy, Mapping) else {"": accuracy}
    for value in by_name.values():
        if not is_probability(value):
            raise InputError(f"oracle_accuracy must be between 0 and 1, not {value!r}")
    return by_name if isinstance(accuracy, Mapping) else accuracy


def accuracy_of(accuracy: float | Mapping[str, float] | None, oracles: tuple[str, ...]) -> dict[str, float]:
    """What was said of the accuracy of each of `oracles`; those of whom nothing was said are missing."""
    if accuracy is None:
        return {}
    if isinstance(accuracy, Mapping):
        return {name: accuracy[name] for name in oracles if name in accuracy}
    return dict.fromkeys(oracles, accuracy)
