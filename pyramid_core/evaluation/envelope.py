"""Single models beside a pyramid: nobody should pay for a crowd and an oracle where one model is cheaper and better.

A coin can mix two models, so what single models offer is the upper hull of their (cost, accuracy) points. An operating
point under that hull is *dominated* (Bouchard, Is Escalation Worth It?, 2026: many cascades lie under the envelope of
single models and pairs). Costs are in USD where they are known of every answer, else in oracle calls, the stated cost
of the crowd shared evenly among its members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.evaluation.sheet import Sheet

Floats = npt.NDArray[np.float64]

_EQUAL = 1e-9


def mark_dominated(
    told: dict[str, Any],
    sheet: Sheet,
    weight: Floats,
    *,
    crowd: Sequence[str],
    oracle: str,
    crowd_cost: float,
) -> None:
    """Write `singles` (model, accuracy, cost in oracle calls, usd a query) into a report, and `dominated` into its points.

    Args:
        told: a report with `profile` and `operating_points`; where these are missing nothing is marked.
        sheet: of the same queries.
        weight: [n] of each query; 0 for those that the profile leaves out.
        crowd: the members, in the sheet's order.
        oracle: the oracle's name.
        crowd_cost: of the whole crowd, in oracle calls.
    """
    singles = _singles(sheet, weight, crowd=crowd, oracle=oracle, crowd_cost=crowd_cost)
    told["singles"] = singles
    unit = "usd" if singles and all(one["usd"] is not None for one in singles) else "cost"
    points = [*(told.get("profile") or ()), *(told.get("operating_points") or {}).values()]
    for point in points:
        spent, accuracy = point.get(unit), point.get("accuracy")
        known = spent is not None and accuracy is not None and singles
        point["dominated"] = (
            hull([(one[unit], one["accuracy"]) for one in singles], spent) > (accuracy + _EQUAL)
            if known
            else None
        )


def hull(models: Sequence[tuple[float, float]], cost: float) -> float:
    """The best accuracy that a mixture of single models, each (cost, accuracy), has at no more than `cost`.

    Minus infinity where none of them is so cheap.
    """
    corners: list[tuple[float, float]] = []
    for spent, accuracy in sorted(models, key=lambda model: (model[0], -model[1])):
        if corners and accuracy <= corners[-1][1]:
            continue
        while len(corners) > 1 and _below(corners[-2], corners[-1], (spent, accuracy)):
            corners.pop()
        corners.append((spent, accuracy))
    costs, accuracies = zip(*corners, strict=True)
    if cost < costs[0] - _EQUAL:
        return -np.inf
    return float(np.interp(cost, costs, accuracies))


def _below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether `middle` lies on or under the line between its neighbours."""
    across = (middle[0] - left[0]) * (right[1] - left[1]) - (right[0] - left[0]) * (middle[1] - left[1])
    return across >= 0


def _singles(
    sheet: Sheet, weight: Floats, *, crowd: Sequence[str], oracle: str, crowd_cost: float
) -> list[dict[str, Any]]:
    if not weight.sum() > 0:
        return []
    members = sheet.member_usd
    found = []
    for place, name in enumerate((*crowd, oracle)):
        last = place == len(crowd)
        right = sheet.oracle_right if last else sheet.singles[:, place]
        usd = sheet.oracle_usd if last else None if members is None else members[:, place]
        accuracy, spent = _mean(right, weight), None if usd is None else _mean(usd, weight, whole=True)
        if accuracy is not None:
            cost = 1.0 if last else crowd_cost / len(crowd)
            found.append({"model": name, "accuracy": accuracy, "cost": cost, "usd": spent})
    return found


def _mean(values: Floats, weight: Floats, *, whole: bool = False) -> float | None:
    """The weighted mean of what is known; None where nothing is, or, with `whole`, where anything is missing."""
    known = (weight > 0) & ~np.isnan(values)
    if not known.any() or (whole and known.sum() < (weight > 0).sum()):
        return None
    return round(float(np.average(values[known], weights=weight[known])), 9)
