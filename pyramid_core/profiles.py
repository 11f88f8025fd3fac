"""The performance profile: accuracy against the share of queries that are escalated (Section 2.5; Zilberstein 1996).

Queries are ordered by a score, the ones most worth an oracle first. Queries with equal scores are one block: a rule
cannot split them, so inside a block the curve is a straight line (what a coin would give) and only its ends are
points that a threshold reaches.

    apgr = integral over r in [0, 1] of (accuracy(r) - weak) / (oracle - weak)
    cpt(x) = the smallest r at which accuracy(r) >= weak + x (oracle - weak)

Source of both figures: RouteLLM (Ong et al. 2024), there over ten thresholds, here exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pyramid_core.errors import InputError

Floats = npt.NDArray[np.float64]

_EQUAL = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Accuracy against escalation rate, at the ends of blocks of equal scores.

    Attributes:
        scores: [blocks] the scores, falling.
        rates: [blocks + 1] the share of queries that is escalated, from 0 to 1.
        accuracies: [blocks + 1] the share that is answered right.
    """

    scores: Floats
    rates: Floats
    accuracies: Floats

    @classmethod
    def of(
        cls,
        *,
        score: npt.ArrayLike,
        stands: npt.ArrayLike,
        after: npt.ArrayLike,
        weight: npt.ArrayLike | None = None,
    ) -> Curve:
        """The curve of queries that are escalated from the highest score downward.

        Args:
            score: [n] what queries are ordered by; NaN is above every number (an unknown is escalated first).
            stands: [n] whether (or with what probability) the answer that stands without the oracle is right.
            after: [n] whether the answer after asking it is right.
            weight: [n] of each query; 1 by default.

        Raises:
            InputError: the lengths differ, or there is no query.
        """
        scores, before, later = (np.asarray(x, dtype=float) for x in (score, stands, after))
        weights = np.ones_like(scores) if weight is None else np.asarray(weight, dtype=float)
        if scores.size == 0 or not scores.shape == before.shape == later.shape == weights.shape:
            raise InputError("a curve needs as many scores as outcomes, at least one of each")
        scores = np.where(np.isnan(scores), np.inf, scores)
        values, block = np.unique(-scores, return_inverse=True)
        total = weights.sum()
        mass = np.bincount(block, weights=weights)
        gain = np.bincount(block, weights=weights * (later - before))
        start = float(weights @ before / total)
        return cls(
            scores=-values,
            rates=np.concatenate([[0.0], np.cumsum(mass) / total]),
            accuracies=np.concatenate([[start], start + np.cumsum(gain) / total]),
        )

    def at(self, rate: float) -> float:
        """The accuracy at an escalation rate, by linear interpolation."""
        return float(np.interp(rate, self.rates, self.accuracies))

    @property
    def best(self) -> float:
        """The best accuracy that a threshold reaches."""
        return float(self.accuracies.max())

    def rate_to(self, accuracy: float) -> float:
        """The smallest rate at which the curve has `accuracy`, by linear interpolation; NaN where it never has."""
        reached = np.flatnonzero(self.accuracies >= accuracy - _EQUAL)
        if not len(reached):
            return math.nan
        end = int(reached[0])
        if end == 0:
            return 0.0
        low, high = self.accuracies[end - 1], self.accuracies[end]
        share = (accuracy - low) / (high - low)
        return float(self.rates[end - 1] + share * (self.rates[end] - self.rates[end - 1]))

    def threshold_to(self, accuracy: float) -> float:
        """The t for "escalate where the score is above t" with the smallest rate that reaches `accuracy`.

        It lies half way to the next block, so that a score that differs in the last bit falls on the same side;
        infinite where nobody need be escalated, below every score where only everybody (or nobody) will do.
        """
        reached = np.flatnonzero(self.accuracies >= accuracy - _EQUAL)
        return self.threshold(int(reached[0]) if len(reached) else len(self.scores))

    def threshold(self, blocks: int) -> float:
        """The t that escalates exactly the first `blocks` blocks; see `threshold_to`."""
        if blocks == 0:
            return math.inf
        if blocks == len(self.scores):
            return -math.inf
        above, below = self.scores[blocks - 1], self.scores[blocks]
        return float(below if math.isinf(above) else (above + below) / 2)


Accuracy = TypeVar("Accuracy", float, Floats)


def target(*, weak: Accuracy, oracle: Accuracy, share: float) -> Accuracy:
    """The accuracy that recovers `share` of the gap between the crowd and the oracle; of each query, or of all."""
    return weak + share * (oracle - weak)


def apgr(curve: Curve, *, weak: float, oracle: float) -> float:
    """The average performance gap recovered, integrated exactly; NaN where there is no gap.

    Args:
        curve: of the router.
        weak: accuracy of the crowd's vote, or of the model that stands for it.
        oracle: accuracy of the oracle alone.
    """
    if abs(oracle - weak) < _EQUAL:
        return math.nan
    area = _area(curve.accuracies, curve.rates)
    return (area - weak) / (oracle - weak)


def apgr_ten_point(curve: Curve, *, weak: float, oracle: float) -> float:
    """As `apgr`, by the trapezoid over ten equal-mass thresholds, as RouteLLM's evaluation has it."""
    if abs(oracle - weak) < _EQUAL:
        return math.nan
    rates = np.linspace(0.0, 1.0, 11)
    area = _area(np.array([curve.at(rate) for rate in rates]), rates)
    return (area - weak) / (oracle - weak)


def cpt(curve: Curve, *, weak: float, oracle: float, share: float) -> float:
    """The call-performance threshold: the smallest rate that recovers `share` of the gap; NaN where none does."""
    return curve.rate_to(target(weak=weak, oracle=oracle, share=share))


def match_rate(curve: Curve, *, oracle: float) -> float:
    """The smallest rate at which the pyramid is as accurate as the oracle; NaN where it never is."""
    return curve.rate_to(oracle)


def _area(heights: Floats, places: Floats) -> float:
    return float(np.sum((heights[1:] + heights[:-1]) * np.diff(places)) / 2)
