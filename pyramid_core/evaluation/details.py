"""What a report shows beside the figures: where p_fail is off, what a point catches, which queries went most wrong.

Nothing here is a new measurement: it is the same judgements, looked at one by one or in bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.evaluation.judged import LEAST, Judged, Tables
from pyramid_core.evaluation.measures import Measured, Ranked
from pyramid_core.evaluation.profile import Plan, Records, features_of
from pyramid_core.evaluation.sheet import Sheet, answered
from pyramid_core.records import query_of
from pyramid_core.routers import LearnedRouter
from pyramid_core.routers.card import KINDS
from pyramid_core.training import Growth
from pyramid_core.training.examples import responses_of
from pyramid_core.training.heldout import both_kinds
from pyramid_core.training.importance import importance

Floats = npt.NDArray[np.float64]

MOST_WRONG = 6
TEXT_CHARS = 280
CURVE_POINTS = 60
SHOWN = ("baseline-match", "balanced", "economy")
"""The operating points that a confusion matrix may be of, the first of them that is not "never" or "always"."""


def details(records: Records, plan: Plan, sheet: Sheet, judged: Judged, tables: Tables) -> dict[str, Any]:
    """Reliability, confusion, curves, importance and the worst queries of one judgement, in plain JSON types."""
    measured = Measured(judged=judged, sheet=sheet, by_value=plan.by_value, crowd_cost=plan.crowd_cost)
    return {
        "reliability": reliability(judged),
        "confusion": confusion(judged),
        "curves": curves(measured),
        "importance": _importance(plan, tables),
        "most_wrong": most_wrong(records(), judged, plan.wanted.crowd),
    }


def _importance(plan: Plan, tables: Tables) -> Mapping[str, Mapping[str, float]] | None:
    """Of a finished router what its card says; of a kind that is trained in folds, of trees grown on four of them."""
    if plan.router is not None:
        found = plan.router.card.metrics.get("importance") if isinstance(plan.router, LearnedRouter) else None
        return found if isinstance(found, Mapping) else None
    if plan.kind not in KINDS:
        return None
    examples = tables(plan.wanted.crowd)
    known = examples.wrong[~np.isnan(examples.wrong)]
    if not both_kinds(known, least=LEAST):
        return None
    growth = Growth.for_kind(str(plan.kind), examples.queries)
    return importance(examples, features_of(plan).names, growth=growth, folds=plan.folds, seed=0)


def reliability(judged: Judged, bins: int = 10) -> list[dict[str, float]]:
    """By bins of equal mass: mean p_fail, the share that was wrong, and its Wilson interval (1927)."""
    known = ~np.isnan(judged.right)
    p, wrong = judged.p_fail[known], 1.0 - judged.right[known]
    found = []
    for rows in np.array_split(np.argsort(p, kind="stable"), min(bins, len(p)) or 1):
        if not len(rows):
            continue
        low, high = _wilson(float(wrong[rows].sum()), len(rows))
        found.append(
            {
                "p_fail": float(p[rows].mean()),
                "wrong": float(wrong[rows].mean()),
                "low": low,
                "high": high,
                "n": len(rows),
            }
        )
    return found


def confusion(judged: Judged) -> dict[str, Any] | None:
    """Queries by whether the crowd's answer was wrong and whether an operating point asked the oracle (Figure 2a)."""
    known = ~np.isnan(judged.right)
    names = [name for name in SHOWN if name in judged.asked]
    useful = [name for name in names if 0 < judged.asked[name][known].mean() < 1]
    if not names or not known.any():
        return None
    name = (useful or names)[0]
    asked, wrong = judged.asked[name][known], judged.right[known] == 0
    return {
        "point": name,
        "wrong_asked": int((wrong & asked).sum()),
        "wrong_kept": int((wrong & ~asked).sum()),
        "right_asked": int((~wrong & asked).sum()),
        "right_kept": int((~wrong & ~asked).sum()),
    }


def curves(measured: Measured) -> dict[str, list[list[float]]]:
    """Accuracy against the share of queries that is escalated, of the router and of every baseline that has an order."""
    among = measured.profiled
    if not among.any():
        return {}
    judged, sheet = measured.judged, measured.sheet
    weight = 1.0 / sheet.propensity[among]
    oracle, right, vote = sheet.oracle_right[among], judged.right[among], judged.vote[among]
    orders = {
        "router": (measured.score[among], right),
        "agreement": (judged.disagreement[among], vote),
        "query length": (sheet.length[among], vote),
        "perfect router": (oracle - right, right),
    }
    found = {}
    for name, (score, stands) in orders.items():
        curve = Ranked(score).curve(weight, stands, oracle)
        rates, accuracies = curve.rates, curve.accuracies
        if len(rates) > CURVE_POINTS and name != "perfect router":
            grid = np.linspace(0.0, 1.0, CURVE_POINTS)
            rates, accuracies = grid, np.interp(grid, rates, accuracies)
        found[name] = [[float(rate), float(value)] for rate, value in zip(rates, accuracies, strict=True)]
    start, end = (float(weight @ values / weight.sum()) for values in (vote, oracle))
    found["random"] = [[0.0, start], [1.0, end]]
    return found


def most_wrong(
    records: Iterable[Mapping[str, Any]], judged: Judged, crowd: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The queries that the router got most wrong: trusted and wrong, and doubted though right; with their texts."""
    known = ~np.isnan(judged.right)
    wrong = known & (judged.right == 0)
    places = {
        "trusted": _first(judged.p_fail, wrong),
        "doubted": _first(-judged.p_fail, known & (judged.right == 1)),
    }
    wanted = {place for found in places.values() for place in found}
    texts: dict[int, Mapping[str, Any]] = {}
    place = 0
    for record in records:
        responses = responses_of(record)
        if not any(answered(responses.get(name)) for name in crowd):
            continue
        if place in wanted:
            texts[place] = _told(record, responses, crowd)
        place += 1
    return {
        kind: [{**texts[place], "p_fail": float(judged.p_fail[place])} for place in found if place in texts]
        for kind, found in places.items()
    }


def _first(score: Floats, among: npt.NDArray[np.bool_]) -> list[int]:
    rows = np.flatnonzero(among)
    return [int(row) for row in rows[np.argsort(score[rows], kind="stable")][:MOST_WRONG]]


def _told(
    record: Mapping[str, Any], responses: Mapping[str, Mapping[str, Any]], crowd: Sequence[str]
) -> dict[str, Any]:
    answers = {}
    for name in crowd:
        response = responses.get(name) or {}
        said = response.get("answer") or response.get("text") or ""
        answers[name] = _clipped(str(said), 60)
    return {
        "id": str(record.get("id") or ""),
        "query": _clipped(query_of(record).text, TEXT_CHARS),
        "answers": answers,
    }


def _clipped(text: str, chars: int) -> str:
    """The beginning and the end of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= chars else f"{line[: 2 * chars // 3]} … {line[-chars // 3 :]}"


def _wilson(count: float, n: int) -> tuple[float, float]:
    z = 1.96
    share = count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
