"""Theorem 1 on recorded answers, as Table 3 of the paper has it: does the oracle beat the crowd where it is asked?

    R = {x : p_fail(x) > t}      gap = alpha_L2(R) - alpha_L1(R)      delta accuracy = p_R * gap      satisfied: gap >= 0

Intervals are 95 % percentile bootstrap over questions. McNemar's exact test (1947) asks whether, of the queries in R that
only one of the two answers right, more are the oracle's than a fair coin would give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyramid_core.errors import InputError
from pyramid_core.evaluation.bootstrap import LEVEL, RESAMPLES
from pyramid_core.evaluation.judged import Judged
from pyramid_core.evaluation.sheet import Sheet


def table(
    sheet: Sheet, judged: Judged, thresholds: Sequence[float], *, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """One row of Table 3 for each threshold.

    Returns:
        Rows of `threshold`, `n` (queries with the oracle's grade), `escalated`, `p_R`, `alpha_L1_R`, `alpha_L2_R`, `gap`,
        `delta_accuracy`, their intervals under `<key>_ci`, `satisfied`, `oracle_only` and `crowd_only` (queries in R that
        only one answers right) and `mcnemar_p`. What is not defined because R is empty is None.

    Raises:
        InputError: a threshold is not between 0 and 1.
    """
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            raise InputError(f"a threshold is a p_fail between 0 and 1, not {threshold!r}")
    known = ~(np.isnan(judged.right) | np.isnan(sheet.oracle_right))
    if not known.any():
        raise InputError(
            "no query has both the crowd's and the oracle's answer graded: there is nothing to verify"
        )
    right, oracle = np.nan_to_num(judged.right), np.nan_to_num(sheet.oracle_right)
    weight = known / sheet.propensity
    _, group = np.unique(np.asarray(sheet.keys, dtype=object), return_inverse=True)
    questions = int(group.max()) + 1
    rows = []
    for threshold in thresholds:
        asked = judged.p_fail > threshold
        columns = np.stack([weight, weight * asked, weight * asked * right, weight * asked * oracle])
        # Summed by question first: a resample is then one product.
        sums = np.stack([np.bincount(group, weights=column, minlength=questions) for column in columns])
        random = np.random.default_rng(0)
        drawn = [
            _row(*sums[:, random.integers(0, questions, questions)].sum(axis=1)) for _ in range(resamples)
        ]
        told: dict[str, Any] = {
            "threshold": threshold,
            "n": int(known.sum()),
            "escalated": int((known & asked).sum()),
        }
        for key, value in _row(*sums.sum(axis=1)).items():
            sample = np.array([row[key] for row in drawn])
            sample = sample[np.isfinite(sample)]
            told[key] = _finite(value)
            told[f"{key}_ci"] = (
                [_finite(float(q)) for q in np.quantile(sample, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))]
                if len(sample)
                else None
            )
        here = known & asked
        told["satisfied"] = None if told["gap"] is None else told["gap"] >= 0
        told["oracle_only"] = int((here & (oracle > right)).sum())
        told["crowd_only"] = int((here & (right > oracle)).sum())
        told["mcnemar_p"] = mcnemar(told["oracle_only"], told["crowd_only"])
        rows.append(told)
    return rows


def mcnemar(one: int, other: int) -> float:
    """The two-sided exact p of so many against so many discordant pairs under a fair coin; 1 where there are none."""
    n, least = one + other, min(one, other)
    if n == 0:
        return 1.0
    # In logarithms: with thousands of pairs the binomial coefficients exceed a float.
    terms = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(least + 1)]
    tail = sum(math.exp(term - n * math.log(2)) for term in terms)
    return min(1.0, 2 * tail)


def _row(total: float, asked: float, right: float, oracle: float) -> dict[str, float]:
    empty = not asked > 0
    crowd, after = (math.nan, math.nan) if empty else (right / asked, oracle / asked)
    return {
        "p_R": asked / total if total > 0 else math.nan,
        "alpha_L1_R": crowd,
        "alpha_L2_R": after,
        "gap": after - crowd,
        "delta_accuracy": 0.0 if empty else (oracle - right) / total,
    }


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
