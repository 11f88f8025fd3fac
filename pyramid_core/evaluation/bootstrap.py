"""How sure a figure is: percentile bootstrap over questions, and the baseline that escalates at random.

    accuracy of escalating k of n at random = (1 - k/n) vote + (k/n) oracle          (its expectation, exactly)

Questions are what is drawn: everything known of a question stays together, and whatever was trained or chosen before
stays as it is. The interval of the random baseline holds both the draw of the questions and the draw of the k.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyramid_core.errors import InputError

Floats = npt.NDArray[np.float64]

RESAMPLES = 1_000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its bootstrap interval, from `low` to `high`."""

    value: float
    low: float
    high: float


def mean_with_interval(
    values: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Estimate:
    """The mean of one value a question, with its interval.

    Args:
        values: [n] one for each question: 1 where the answer is right, 0 where it is wrong, for an accuracy.
        seed: of the resamples; the same values and seed give the same interval.
        resamples: how many.
        level: the interval's confidence, above 0 and below 1.

    Raises:
        InputError: there is no question, a value is NaN, or a setting is out of range.
    """
    scores = _scores("values", values)

    def mean_of(drawn: npt.NDArray[np.intp]) -> float:
        return float(scores[drawn].mean())

    low, high = _interval(mean_of, len(scores), seed=seed, resamples=resamples, level=level)
    return Estimate(value=float(scores.mean()), low=low, high=high)


def random_escalation(
    *,
    crowd: npt.ArrayLike,
    oracle: npt.ArrayLike,
    escalated: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """The accuracy of a router that knows nothing and escalates as many questions, chosen at random.

    Args:
        crowd: [n] whether the crowd's answer to each question is right, 1 or 0.
        oracle: [n] whether the oracle's is.
        escalated: how many of the n are escalated.
        seed: of the resamples.
        resamples: how many.
        level: the interval's confidence, above 0 and below 1.

    Raises:
        InputError: the lengths differ, `escalated` is not between 0 and n, or as `mean_with_interval`.
    """
    stands, after = _scores("crowd", crowd), _scores("oracle", oracle)
    n = len(stands)
    if len(after) != n:
        raise InputError(
            f"crowd and oracle must be about the same questions, not {n} and {len(after)} of them"
        )
    if not 0 <= escalated <= n:
        raise InputError(f"escalated must be between 0 and the {n} questions there are, not {escalated!r}")

    def accuracy_of(drawn: npt.NDArray[np.intp]) -> float:
        # What is drawn comes in random order, so its first k are k chosen at random.
        right = after[drawn[:escalated]].sum() + stands[drawn[escalated:]].sum()
        return float(right / n)

    low, high = _interval(accuracy_of, n, seed=seed, resamples=resamples, level=level)
    expected = ((n - escalated) * stands.sum() + escalated * after.sum()) / n**2
    return Estimate(value=float(expected), low=low, high=high)


def _scores(name: str, values: npt.ArrayLike) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or len(scores) == 0:
        raise InputError(
            f"{name} must hold one value for each question, at least one, not shape {scores.shape}"
        )
    if np.isnan(scores).any():
        raise InputError(
            f"{name} has NaN at question {int(np.isnan(scores).argmax())}: leave such questions out"
        )
    return scores


def _interval(
    statistic: Callable[[npt.NDArray[np.intp]], float], n: int, *, seed: int, resamples: int, level: float
) -> tuple[float, float]:
    if resamples < 1:
        raise InputError(f"resamples must be 1 or more, not {resamples!r}")
    if not 0 < level < 1:
        raise InputError(f"level must be above 0 and below 1, not {level!r}")
    draws = np.random.default_rng(seed)
    found = [statistic(draws.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.quantile(found, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
