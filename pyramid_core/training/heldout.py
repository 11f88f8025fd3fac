"""What a router would have said of queries that it has not seen: predictions, calibration, selection, figures.

Everything fitted or chosen for a fold comes from the other folds: trees, calibration, vote or selection, thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.calibration import Calibration, auroc, brier, ece
from pyramid_core.profiles import Curve, apgr, match_rate
from pyramid_core.training.boosting import Growth, grow_after, grow_fail
from pyramid_core.training.examples import COMPLETE, FUSED, PARTIAL, Examples
from pyramid_core.training.folds import folds_of
from pyramid_core.training.points import Standing, operating_points

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LEAST_OF_A_SIZE = 50
"""Fewer queries than this say nothing of crowds of a size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Predictions, one for each row: `wrong` of its answer, `after` of the oracle's (NaN where there are no trees)."""

    wrong: Floats
    after: Floats


def held_out(examples: Examples, *, growth: Growth, folds: int, seed: int, with_after: bool) -> Scores:
    """Raw predictions of trees that were grown without the query's question.

    Raises:
        InputError: a fold has nothing to learn from.
        MissingExtra: xgboost is not installed.
    """
    fold = folds_of(examples.keys, folds=folds, seed=seed)[examples.query]
    wrong = np.full(len(fold), np.nan)
    after = np.full(len(fold), np.nan)
    for number in range(folds):
        out = fold == number
        if not out.any():
            continue
        wrong[out] = grow_fail(examples, ~out, growth=growth, seed=seed).forest.probabilities(
            examples.rows[out]
        )
        if with_after:
            label = examples.oracle_right[examples.query][~out & examples.leads & (examples.view != FUSED)]
            if both_kinds(label):
                trees = grow_after(examples, ~out, growth=growth, seed=seed).forest
                after[out] = trees.probabilities(examples.rows[out])
            else:
                after[out] = np.nanmean(label)
    return Scores(wrong=wrong, after=after)


def both_kinds(label: Floats, *, least: int = 1) -> bool:
    """Whether at least so many labels are 1, and as many 0."""
    return min(int((label == kind).sum()) for kind in (0.0, 1.0)) >= least


def stand(examples: Examples, scores: Scores, *, view: int, select: bool) -> Standing:
    """The class that stands in each query: the least likely wrong one (`select`), or that with most votes."""
    rows = np.flatnonzero(examples.view == view)
    if not select:
        rows = rows[examples.leads[rows]]
    # Rows of a query come with most votes first, and a stable sort keeps them so where scores are equal.
    order = rows[np.lexsort((np.arange(len(rows)), scores.wrong[rows], examples.query[rows]))]
    queries, first = np.unique(examples.query[order], return_index=True)
    row = np.full(examples.queries, -1, dtype=np.int64)
    row[queries] = order[first]
    there = row >= 0
    p_fail, right, p_after = np.ones(len(row)), np.zeros(len(row)), np.full(len(row), np.nan)
    p_fail[there] = scores.wrong[row[there]]
    right[there] = 1.0 - examples.wrong[row[there]]
    leading = rows[examples.leads[rows]]
    p_after[examples.query[leading]] = scores.after[leading]
    return Standing(row=row, p_fail=p_fail, right=right, p_after=p_after)


def calibrations(
    examples: Examples, raw: Scores, *, select: bool, among: Flags | None = None
) -> dict[str, Calibration]:
    """Calibration of the standing answers' p_fail and of p_after, on the complete crowds of the queries `among`."""
    standing = stand(examples, raw, view=COMPLETE, select=select)
    within = (standing.row >= 0) & (np.ones(examples.queries, dtype=bool) if among is None else among)
    graded = within & ~np.isnan(standing.right)
    found = {"fail": Calibration.fit(p=standing.p_fail[graded], outcome=1.0 - standing.right[graded])}
    known = within & ~np.isnan(examples.oracle_right) & ~np.isnan(standing.p_after)
    if known.any():
        found["after"] = Calibration.fit(
            p=standing.p_after[known], outcome=examples.oracle_right[known], weight=examples.weight[known]
        )
    return found


def calibrated(raw: Scores, by: Mapping[str, Calibration]) -> Scores:
    """`raw` after calibration."""
    after = by["after"].of(raw.after) if "after" in by else raw.after
    return Scores(wrong=by["fail"].of(raw.wrong), after=after)


def selects(examples: Examples, raw: Scores, among: Flags | None = None) -> bool:
    """Whether the scored class is right more often than the vote, on the queries `among`."""
    accuracies = []
    for select in (True, False):
        right = stand(examples, raw, view=COMPLETE, select=select).right
        accuracies.append(np.nanmean(right if among is None else right[among]))
    return bool(accuracies[0] > accuracies[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Each query as a router from the other folds would have judged it.

    Attributes:
        scores: calibrated, one a row.
        standing: in the complete crowd.
        vote: [queries] whether the vote is right.
        selecting: [folds] whether selection stood in that fold.
        raw: [queries] p_fail before calibration; 1 where nothing stands.
    """

    scores: Scores
    standing: Standing
    vote: Floats
    selecting: tuple[bool, ...]
    raw: Floats


def judge(examples: Examples, raw: Scores, *, folds: int, seed: int, may_select: bool) -> HeldOut:
    """Calibration and the choice of vote or selection for each fold, from the others."""
    fold = folds_of(examples.keys, folds=folds, seed=seed)
    wrong, after = raw.wrong.copy(), raw.after.copy()
    choices = []
    rows = np.full(examples.queries, -1, dtype=np.int64)
    for number in range(folds):
        others = fold != number
        select = may_select and selects(examples, raw, others)
        choices.append(select)
        mine = ~others[examples.query]
        one = calibrated(raw, calibrations(examples, raw, select=select, among=others))
        wrong[mine], after[mine] = one.wrong[mine], one.after[mine]
        rows[~others] = stand(examples, raw, view=COMPLETE, select=select).row[~others]
    scores = Scores(wrong=wrong, after=after)
    vote = stand(examples, scores, view=COMPLETE, select=False)
    there = rows >= 0
    p_fail, right = np.ones(len(rows)), np.zeros(len(rows))
    p_fail[there], right[there] = wrong[rows[there]], 1.0 - examples.wrong[rows[there]]
    standing = Standing(row=rows, p_fail=p_fail, right=right, p_after=vote.p_after)
    before = np.where(there, raw.wrong[rows], 1.0)
    return HeldOut(scores=scores, standing=standing, vote=vote.right, selecting=tuple(choices), raw=before)


def curves(standing: Standing, oracle_right: Floats, among: Flags, weight: Floats) -> tuple[Curve, Curve]:
    """The profile by p_fail, and by p_fail + p_after - 1 (equal where p_after says nothing)."""
    counts = weight[among]
    p_fail, right, after = standing.p_fail[among], standing.right[among], oracle_right[among]
    p_after = np.where(np.isnan(standing.p_after[among]), 1.0, standing.p_after[among])
    return (
        Curve.of(score=p_fail, stands=right, after=after, weight=counts),
        Curve.of(score=p_fail + p_after - 1.0, stands=right, after=after, weight=counts),
    )


def known_queries(examples: Examples, held: HeldOut) -> Flags:
    """The queries whose standing answer, vote and oracle are all graded: those that a profile is of."""
    known: Flags = ~(np.isnan(held.standing.right) | np.isnan(held.vote) | np.isnan(examples.oracle_right))
    return known


def risks(examples: Examples, held: HeldOut, *, threshold: float) -> dict[str, float]:
    """How often a partial crowd's verdict at `threshold` is not that of the complete crowd, by answers heard.

    Accepting another class is another verdict. By Laplace's rule, so that nothing is ever said to be certain.
    """
    partial = stand(examples, held.scores, view=PARTIAL, select=any(held.selecting))
    both = (partial.row >= 0) & (held.standing.row >= 0)
    heard = np.where(both, examples.members[partial.row], 0)
    escalate = partial.p_fail > threshold
    calls, complete = examples.calls[partial.row], examples.calls[held.standing.row]
    changed = escalate != (held.standing.p_fail > threshold)
    changed |= ~escalate & ((calls & complete) != calls)
    return {
        str(size): float((changed[both & (heard == size)].sum() + 1) / ((both & (heard == size)).sum() + 2))
        for size in sorted(set(heard[both].tolist()))
    }


def figures(examples: Examples, held: HeldOut, *, folds: int, seed: int, spare: float) -> dict[str, Any]:
    """What the card says of the router, on held-out queries, with 95 % bootstrap intervals over questions."""
    graded = ~np.isnan(held.standing.right)
    p, wrong = held.standing.p_fail[graded], 1.0 - held.standing.right[graded]
    told: dict[str, Any] = {
        "queries": int(graded.sum()),
        "vote_accuracy": _rounded(np.nanmean(held.vote)),
        "chosen_accuracy": _rounded(1.0 - wrong.mean()),
        "selection_folds": int(sum(held.selecting)),
    }
    measures: Mapping[str, Callable[[Floats, Floats], float]] = {
        "auroc": lambda p, wrong: auroc(score=p, outcome=wrong),
        "ece": lambda p, wrong: ece(p=p, outcome=wrong),
        "brier": lambda p, wrong: brier(p=p, outcome=wrong),
    }
    for name, measure in measures.items():
        told[name] = _rounded(measure(p, wrong))
        told[f"{name}_ci"] = _interval(measure, p, wrong, seed=seed)
    told |= _of_calibration(p, held.raw[graded], wrong, seed=seed)
    told["by_crowd_size"] = _by_size(examples, held, measures, seed=seed)
    known = known_queries(examples, held)
    if known.any():
        told |= _profile(examples, held, known, folds=folds, seed=seed, spare=spare)
    return told


def _of_calibration(p: Floats, raw: Floats, wrong: Floats, *, seed: int) -> dict[str, Any]:
    """The Brier score before calibration, and by a paired interval whether calibration lowers it."""

    def gain(p: Floats, raw: Floats, wrong: Floats) -> float:
        return float(np.mean((raw - wrong) ** 2 - (p - wrong) ** 2))

    between = _interval(gain, p, raw, wrong, seed=seed)
    low, high = between
    said = "lower" if low is not None and low > 0 else "higher" if high is not None and high < 0 else "equal"
    return {
        "brier_uncalibrated": _rounded(brier(p=raw, outcome=wrong)),
        "brier_gain": _rounded(gain(p, raw, wrong)),
        "brier_gain_ci": between,
        "brier_after_calibration": said,
    }


def _by_size(
    examples: Examples, held: HeldOut, measures: Mapping[str, Callable[[Floats, Floats], float]], *, seed: int
) -> dict[str, Any]:
    """The same figures by how many members have answered: of complete crowds, else of a part of a larger one."""
    found: dict[str, Any] = {}
    for size in sorted(set(examples.members.tolist())):
        for view in (COMPLETE, PARTIAL):
            rows = (examples.view == view) & (examples.members == size)
            among = np.bincount(examples.query[rows], minlength=examples.queries) > 0
            standing = stand(examples, held.scores, view=view, select=any(held.selecting))
            mine = among & (standing.row >= 0) & ~np.isnan(standing.right)
            wrong = 1.0 - standing.right[mine]
            if mine.sum() < LEAST_OF_A_SIZE or not both_kinds(wrong):
                continue
            told: dict[str, Any] = {"queries": int(mine.sum()), "complete": view == COMPLETE}
            for name, measure in measures.items():
                told[name] = _rounded(measure(standing.p_fail[mine], wrong))
                told[f"{name}_ci"] = _interval(measure, standing.p_fail[mine], wrong, seed=seed)
            found[str(size)] = told
            break
    return found


def _profile(
    examples: Examples, held: HeldOut, known: Flags, *, folds: int, seed: int, spare: float
) -> dict[str, Any]:
    counts = examples.weight[known]
    weak, oracle = (float(np.average(r[known], weights=counts)) for r in (held.vote, examples.oracle_right))
    by_fail, by_gain = curves(held.standing, examples.oracle_right, known, examples.weight)
    told: dict[str, Any] = {
        "profiled": int(known.sum()),
        "oracle_accuracy": _rounded(oracle),
        "apgr": _rounded(apgr(by_fail, weak=weak, oracle=oracle)),
        "apgr_value": _rounded(apgr(by_gain, weak=weak, oracle=oracle)),
        "match_rate": _rounded(match_rate(by_fail, oracle=oracle)),
        "match_rate_value": _rounded(match_rate(by_gain, oracle=oracle)),
        "best_accuracy": _rounded(max(by_fail.best, by_gain.best)),
    }
    fold = folds_of(examples.keys, folds=folds, seed=seed)
    reached: dict[str, list[tuple[Floats, Floats]]] = {}
    for number in range(folds):
        others, mine = known & (fold != number), known & (fold == number)
        if not others.any() or not mine.any():
            continue
        points = operating_points(
            held.standing, held.vote, examples.oracle_right, others, spare=spare, weight=examples.weight
        )
        for name, point in points.items():
            asked = held.standing.p_fail[mine] > point.threshold
            right = np.where(asked, examples.oracle_right[mine], held.standing.right[mine])
            reached.setdefault(name, []).append((asked.astype(float), right))
    fused = stand(examples, held.scores, view=FUSED, select=True)
    heard = known & (fused.row >= 0)
    if heard.any():
        told["fused_accuracy"] = _rounded(np.nanmean(fused.right[heard]))
    told["spare"] = spare
    told["operating_points"] = {
        name: {
            "rate": _rounded(np.concatenate([asked for asked, _ in parts]).mean()),
            "accuracy": _rounded(np.concatenate([right for _, right in parts]).mean()),
        }
        for name, parts in reached.items()
    }
    return told


def _interval(
    measure: Callable[..., float], *columns: Floats, seed: int, draws: int = 300
) -> list[float | None]:
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        sample = random.integers(0, len(columns[0]), len(columns[0]))
        drawn.append(measure(*(column[sample] for column in columns)))
    return [_rounded(np.nanquantile(drawn, q)) if np.isfinite(drawn).any() else None for q in (0.025, 0.975)]


def _rounded(value: float | np.floating[Any]) -> float | None:
    """Five digits, for a card; None for NaN."""
    return round(float(value), 5) if np.isfinite(value) else None
