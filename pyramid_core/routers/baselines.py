"""Routers that every report includes because a router that does not beat them is worth nothing."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from pyramid_core.errors import InputError
from pyramid_core.routers.standing import (
    Untrained,
    after_oracle,
    foresee_votes,
    is_probability,
    plurality,
    points,
)
from pyramid_core.types import Assessment, Decision, Foreseen, Observation, OperatingPoint


class _Blind(Untrained, ABC):
    """A router whose p_fail does not look at the answers; the plurality's answer stands."""

    equivalence = "auto"

    @property
    @abstractmethod
    def id(self) -> str: ...

    @property
    def operating_points(self) -> Mapping[str, OperatingPoint]:
        """Escalating at random recovers the share of the gap that it escalates: 50, 80 and 100 %."""
        return points(economy=0.5, balanced=0.2, baseline_match=0.0)

    @property
    def min_members(self) -> int:
        """None need have answered."""
        return 0

    @abstractmethod
    def p_fail(self, observation: Observation) -> float:
        """The probability that is said, whatever was answered."""

    def assess(self, observation: Observation) -> Assessment:
        """The plurality's answer; before any reply the same p_fail as a forecast."""
        return after_oracle(observation, self._judged(observation, plurality(observation, self.equivalence)))

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        """The verdict is known beforehand; which answer it would accept is not."""
        return foresee_votes(
            observation,
            decide,
            equivalence=self.equivalence,
            judge=lambda chosen, _: self._judged(observation, chosen),
        )

    def _judged(self, observation: Observation, chosen: int | None) -> Assessment:
        return Assessment(chosen=chosen, p_fail=self.p_fail(observation), router=self.id)


class ConstantRouter(_Blind):
    """The same p_fail for every query.

    Args:
        p_fail: the crowd's error rate, say; 0 to 1.

    Raises:
        InputError: it is not between 0 and 1.
    """

    def __init__(self, p_fail: float) -> None:
        if not is_probability(p_fail):
            raise InputError(f"p_fail must be between 0 and 1, not {p_fail!r}")
        self._p_fail = float(p_fail)

    @property
    def id(self) -> str:
        """`constant` and its p_fail."""
        return f"constant/{self._p_fail:g}"

    def p_fail(self, observation: Observation) -> float:
        """The constant."""
        return self._p_fail


class RandomRouter(_Blind):
    """A p_fail drawn uniformly from 0 to 1, from the seed and the query's text alone.

    The same query gets the same number from every driver, in every process and at every moment of a deliberation.

    Args:
        seed: another seed is another draw.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @property
    def id(self) -> str:
        """`random` and its seed."""
        return f"random/{self.seed}"

    def p_fail(self, observation: Observation) -> float:
        """The draw for this query."""
        said = f"{self.seed}\n{observation.query.text}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(said, digest_size=7).digest()) / 2**56
