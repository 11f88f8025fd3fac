"""Operating points: the thresholds at which held-out queries reach a target, chosen without the queries they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyramid_core.profiles import Curve, target
from pyramid_core.types import OperatingPoint

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SHARES: Mapping[str, float] = {"economy": 0.5, "balanced": 0.8, "baseline-match": 1.0}
"""What share of the gap between the crowd's vote and the oracle each operating point recovers."""

RECALL, RECALLED = "recall", 0.816
"""The point that lets the oracle see so many of the wrong answers: what the paper reports for its Consensus router."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """What stands in one view of each query.

    Attributes:
        row: [queries] the row of the class that stands; -1 where there is none.
        p_fail: [queries] 1 where nothing stands.
        right: [queries] whether what stands is right: 0 where nothing does, NaN where that is not known.
        p_after: [queries] NaN where there is no prediction.
    """

    row: npt.NDArray[np.int64]
    p_fail: Floats
    right: Floats
    p_after: Floats


def operating_points(
    standing: Standing,
    vote: Floats,
    oracle_right: Floats,
    among: Flags,
    *,
    spare: float,
    weight: Floats | None = None,
) -> dict[str, OperatingPoint]:
    """The thresholds that recover each of `SHARES` of the gap on the queries `among`, by p_fail and by value.

    The first point of a curve that touches a target does so by luck as much as by merit, so that fresh queries fall
    a little short of it. With `spare` the target must be passed by so many standard errors of the paired difference
    (after Breiman et al.'s one-standard-error rule, 1984); at a high rate that is little, and escalating everybody
    always matches the oracle. A threshold of 1 (a barrier of 1) never escalates: the crowd is already there.
    """
    p_after = np.where(np.isnan(standing.p_after), 1.0, standing.p_after)
    counts = None if weight is None else weight[among]
    found = {}
    for name, share in SHARES.items():
        wanted = target(weak=vote, oracle=oracle_right, share=share)[among]
        threshold, barrier = (
            _sure_threshold(
                score[among],
                standing.right[among] - wanted,
                oracle_right[among] - wanted,
                counts,
                spare=spare,
            )
            for score in (standing.p_fail, standing.p_fail + p_after - 1.0)
        )
        found[name] = OperatingPoint(
            threshold=float(np.clip(threshold, 0.0, 1.0)), barrier=float(np.clip(barrier, -1.0, 1.0))
        )
    return found


def recall_point(standing: Standing, among: Flags) -> OperatingPoint | None:
    """The highest threshold on p_fail above which `RECALLED` of the wrong answers lie, and one standard error more.

    The standard error is that of a share of so many wrong answers; without it fresh queries would fall short of the
    target every other time. None where no standing answer among these queries is known to be wrong.
    """
    known = among & ~np.isnan(standing.right)
    wrong = np.sort(standing.p_fail[known & (standing.right == 0)])
    if not len(wrong):
        return None
    wanted = min(1.0, RECALLED + float(np.sqrt(RECALLED * (1 - RECALLED) / len(wrong))))
    lowest = float(wrong[len(wrong) - int(np.ceil(wanted * len(wrong)))])
    below = standing.p_fail[known & (standing.p_fail < lowest)]
    threshold = (lowest + float(below.max())) / 2 if len(below) else 0.0
    return OperatingPoint(threshold=float(np.clip(threshold, 0.0, 1.0)))


def _sure_threshold(
    score: Floats, stands: Floats, after: Floats, weight: Floats | None, *, spare: float
) -> float:
    """The threshold with the smallest rate at which the mean of what is gained is `spare` standard errors above 0."""
    mean = Curve.of(score=score, stands=stands, after=after, weight=weight)
    square = Curve.of(score=score, stands=stands**2, after=after**2, weight=weight)
    error = np.sqrt(np.maximum(square.accuracies - mean.accuracies**2, 0.0) / len(score))
    reached = np.flatnonzero(mean.accuracies >= spare * error - 1e-12)
    return mean.threshold(int(reached[0]) if len(reached) else len(mean.scores))
