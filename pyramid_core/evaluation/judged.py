"""How one router judges each query of a file: cross-validated (nested, by question), zero-shot, or by agreement alone.

In cross-validation everything that is fitted or chosen for a fold comes from the other folds: the order that decides
ties, trees, calibration, vote or selection (by inner folds), and the thresholds of the operating points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pyramid_core.calibration import Calibration, shifted
from pyramid_core.errors import InputError
from pyramid_core.evaluation.sheet import Sheet
from pyramid_core.routers import LearnedRouter
from pyramid_core.routers.card import BY_VALUE
from pyramid_core.training.boosting import Growth, grow_after, grow_fail
from pyramid_core.training.examples import COMPLETE, FUSED, Examples
from pyramid_core.training.folds import folds_of
from pyramid_core.training.heldout import (
    Scores,
    both_kinds,
    calibrated,
    calibrations,
    held_out,
    judge,
    known_queries,
    selects,
    stand,
)
from pyramid_core.training.points import RECALL, SHARES, Standing, operating_points, recall_point
from pyramid_core.types import OperatingPoint

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Tables = Callable[[tuple[str, ...]], Examples]
"""The rows of all queries, for a crowd in the order that decides ties."""

LEAST = 20
"""Fewer questions, or right, or wrong answers than this in a training fold: nothing is learned from it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """One judgement of every query; NaN is not known.

    Attributes:
        p_fail: [n] of the answer that stands; 1 where none does.
        p_raw: [n] the same before calibration.
        p_after: [n] of the oracle; 1 where nothing is said of it.
        right: [n] whether the answer that stands is right.
        vote: [n] whether the vote's is, ties to the member that is most accurate in the training folds.
        disagreement: [n] one minus the share of the crowd that gave the vote's answer.
        best_member: [n] whether the member that is most accurate in the training folds is right.
        first_passing: [n] whether the first member is right, most accurate first, whose program passes the question's own
            examples (the first of all where none does); None where no program was run.
        fused: [n] whether the answer is right that stands once the oracle's has joined the classes; None: not fused.
        asked: by operating point, [n] whether the query is escalated there.
        selecting: by fold, whether selection stood.
        notes: what a reader must know, in words.
    """

    p_fail: Floats
    p_raw: Floats
    p_after: Floats
    right: Floats
    vote: Floats
    disagreement: Floats
    best_member: Floats
    fused: Floats | None
    asked: Mapping[str, Flags]
    selecting: tuple[bool, ...]
    notes: tuple[str, ...] = ()
    first_passing: Floats | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taught:
    """What a training fold gives: predictions, calibration, whether to select, thresholds."""

    predict: Callable[[Examples], Scores]
    calibration: Mapping[str, Calibration]
    select: bool
    points: Mapping[str, OperatingPoint]
    note: str = ""


def cross_validated(
    tables: Tables,
    sheet: Sheet,
    crowd: tuple[str, ...],
    *,
    kind: str,
    folds: int = 5,
    seed: int = 0,
    growth: Growth | None = None,
    lessons: Tables | None = None,
    step: Callable[[], None] = lambda: None,
) -> Judged:
    """Every query as a router of this kind judges it that was trained on the other folds.

    Args:
        tables: rows by order of the crowd.
        sheet: of the same queries.
        crowd: the members, in the order given.
        kind: consensus, anytime, value, tools, or agreement, which trains nothing.
        folds: how many, outer and inner.
        seed: of folds and trees.
        growth: how trees are grown; None: by the number of queries.
        lessons: the rows that are trained on, where their labels are others than those that are judged by.
        step: called once a fold.

    Raises:
        InputError: there are fewer questions than folds.
    """
    if sheet.questions < folds:
        raise InputError(
            f"{folds} folds need {folds} different questions, and there are {sheet.questions}: use fewer folds or more records"
        )
    fold = folds_of(sheet.keys, folds=folds, seed=seed)
    parts: list[tuple[Flags, Judged]] = []
    passing = None if sheet.passing is None else np.full(len(sheet.keys), np.nan)
    for number in range(folds):
        mine = fold == number
        order = sheet.order(crowd, ~mine)
        examples = tables(order)
        best = sheet.singles[mine, crowd.index(order[0])]
        if passing is not None:
            passing[mine] = sheet.first_passing(crowd, order)[mine]
        if kind == "agreement":
            parts.append((mine, _by_agreement(of_queries(examples, mine), len(crowd), best)))
        else:
            taught = _taught(
                of_queries((lessons or tables)(order), ~mine),
                kind=kind,
                folds=folds,
                seed=seed,
                growth=growth,
            )
            parts.append((mine, _judged(of_queries(examples, mine), taught, kind, len(crowd), best)))
        step()
    return replace(_joined(parts, len(sheet.keys)), first_passing=passing)


def zero_shot(
    examples: Examples,
    sheet: Sheet,
    crowd: tuple[str, ...],
    router: LearnedRouter | None,
    *,
    oracle: str,
    oracle_accuracy: float | None = None,
) -> Judged:
    """Every query as a finished router judges it; None is agreement.

    Ties are the crowd's order as given. An oracle that the router was not trained with takes the user's prior as a
    shift of the logit; without one nothing is said of it.
    """
    best = sheet.singles[:, int(np.nanargmax(np.nan_to_num(np.nanmean(sheet.singles, axis=0))))]
    passing = None if sheet.passing is None else sheet.first_passing(crowd, crowd)
    if router is None:
        return replace(_by_agreement(examples, len(crowd), best), first_passing=passing)
    card = router.card

    def predict(some: Examples) -> Scores:
        after = np.full(len(some.rows), np.nan)
        base = card.metrics.get("oracle_accuracy")
        if oracle == card.oracle or oracle_accuracy is not None:
            if router.after is not None:
                after = router.after.probabilities(some.rows)
            elif base is not None:
                after = np.full(len(some.rows), float(base))
        return Scores(wrong=router.fail.probabilities(some.rows), after=after)

    points = dict(card.operating_points)
    select = router.selects(examples.rows)
    taught = _Taught(predict=predict, calibration=card.calibration, select=select, points=points)
    found = replace(_judged(examples, taught, card.kind, len(crowd), best), first_passing=passing)
    if not router.fuses:
        found = replace(found, fused=None)
    silent = [f"no answer gives {words}, which the router looks at" for words in router.silent(examples.rows)]
    found = replace(found, notes=(*found.notes, *silent))
    if oracle == card.oracle:
        return found
    if oracle_accuracy is None:
        note = f"the router was not trained with the oracle {oracle}: taken to be always right; give its accuracy"
        certain = np.ones_like(found.p_after)
        asked = _asked(points, found.p_fail, certain, by_value=False)
        return replace(found, p_after=certain, asked=asked, notes=(*found.notes, note))
    moved = _moved(found.p_after, base=card.metrics.get("oracle_accuracy"), to=oracle_accuracy)
    asked = _asked(points, found.p_fail, moved, by_value=card.kind in BY_VALUE)
    return replace(found, p_after=moved, asked=asked)


def _asked(
    points: Mapping[str, OperatingPoint], p_fail: Floats, p_after: Floats, *, by_value: bool
) -> dict[str, Flags]:
    """By operating point, whether each query is escalated: by its barrier, where something is known of the oracle."""
    return {
        name: p_fail + p_after - 1.0 > point.barrier
        if by_value and point.barrier is not None
        else p_fail > point.threshold
        for name, point in points.items()
    }


def _moved(p_after: Floats, *, base: float | None, to: float) -> Floats:
    """`p_after` for an oracle of another accuracy; that accuracy itself where there is nothing to shift."""
    if base is None or not 0 < base < 1 or not 0 < to < 1:
        return np.full_like(p_after, to)
    return np.asarray([shifted(p, base=base, to=to) for p in p_after.tolist()])


def of_queries(examples: Examples, among: Flags) -> Examples:
    """The rows of some queries, numbered anew."""
    kept = among[examples.query]
    number = np.cumsum(among) - 1
    return replace(
        examples,
        rows=examples.rows[kept],
        wrong=examples.wrong[kept],
        query=number[examples.query[kept]],
        view=examples.view[kept],
        leads=examples.leads[kept],
        members=examples.members[kept],
        calls=examples.calls[kept],
        keys=tuple(np.asarray(examples.keys, dtype=object)[among]),
        oracle_right=examples.oracle_right[among],
        oracle_weight=None if examples.oracle_weight is None else examples.oracle_weight[among],
        singles=examples.singles[among],
    )


def _taught(examples: Examples, *, kind: str, folds: int, seed: int, growth: Growth | None) -> _Taught:
    whole = examples.wrong[examples.view == COMPLETE]
    if len(set(examples.keys)) < LEAST or not both_kinds(whole, least=LEAST // 2):
        return _untaught(whole)
    growth = growth or Growth.for_kind(kind, examples.queries)
    with_after = kind in BY_VALUE and both_kinds(examples.oracle_right, least=LEAST)
    may_select = examples.by_class
    raw = held_out(examples, growth=growth, folds=folds, seed=seed, with_after=with_after)
    held = judge(examples, raw, folds=folds, seed=seed, may_select=may_select)
    select = may_select and selects(examples, raw)
    known = known_queries(examples, held)
    points: dict[str, OperatingPoint] = {}
    if known.any():
        points = operating_points(
            held.standing, held.vote, examples.oracle_right, known, spare=0.0, weight=examples.weight
        )
    recall = recall_point(held.standing, np.ones(examples.queries, dtype=bool))
    if recall is not None:
        points[RECALL] = recall
    every = np.ones(len(examples.rows), dtype=bool)
    fail = grow_fail(examples, every, growth=growth, seed=seed).forest
    after = None
    if with_after:
        after = grow_after(examples, every, growth=growth, seed=seed).forest

    def predict(some: Examples) -> Scores:
        nothing = np.full(len(some.rows), np.nan)
        said = nothing if after is None else after.probabilities(some.rows)
        return Scores(wrong=fail.probabilities(some.rows), after=said)

    calibration = calibrations(examples, raw, select=select)
    return _Taught(predict=predict, calibration=calibration, select=select, points=points)


def _untaught(wrong: Floats) -> _Taught:
    """Where there is nothing to learn: the same p_fail for every query, by Laplace's rule."""
    known = wrong[~np.isnan(wrong)]
    base = float((known.sum() + 1) / (len(known) + 2))

    def predict(some: Examples) -> Scores:
        return Scores(wrong=np.full(len(some.rows), base), after=np.full(len(some.rows), np.nan))

    note = (
        f"a training fold had fewer than {LEAST} questions, or hardly any right or any wrong answer: "
        "nothing was learned there, and p_fail is the same for all"
    )
    return _Taught(
        predict=predict,
        calibration={"fail": Calibration()},
        select=False,
        points=dict.fromkeys((*SHARES, RECALL), OperatingPoint(threshold=0.0, barrier=-1.0)),
        note=note,
    )


def _judged(examples: Examples, taught: _Taught, kind: str, size: int, best: Floats) -> Judged:
    raw = taught.predict(examples)
    scores = calibrated(raw, taught.calibration)
    standing = stand(examples, scores, view=COMPLETE, select=taught.select)
    vote = stand(examples, scores, view=COMPLETE, select=False)
    there = standing.row >= 0
    p_raw = np.where(there, raw.wrong[standing.row], 1.0)
    p_after = np.where(np.isnan(vote.p_after), 1.0, vote.p_after)
    asked = _asked(taught.points, standing.p_fail, p_after, by_value=kind in BY_VALUE)
    return Judged(
        p_fail=standing.p_fail,
        p_raw=p_raw,
        p_after=p_after,
        right=standing.right,
        vote=vote.right,
        disagreement=_disagreement(examples, vote, size),
        best_member=best,
        fused=_fused(examples, scores),
        asked=asked,
        selecting=(taught.select,),
        notes=(taught.note,) if taught.note else (),
    )


def _by_agreement(examples: Examples, size: int, best: Floats) -> Judged:
    nothing = np.full(len(examples.rows), 0.5)
    vote = stand(examples, Scores(wrong=nothing, after=nothing), view=COMPLETE, select=False)
    p_fail = _disagreement(examples, vote, size)
    return Judged(
        p_fail=p_fail,
        p_raw=p_fail,
        p_after=np.ones_like(p_fail),
        right=vote.right,
        vote=vote.right,
        disagreement=p_fail,
        best_member=best,
        fused=None,
        asked=dict.fromkeys((*SHARES, RECALL), p_fail > 0),
        selecting=(False,),
    )


def _disagreement(examples: Examples, vote: Standing, size: int) -> Floats:
    votes = np.array([int(calls).bit_count() for calls in examples.calls[vote.row]])
    return np.where(vote.row >= 0, 1.0 - votes / size, 1.0)


def _fused(examples: Examples, scores: Scores) -> Floats | None:
    """With the oracle's answer among the classes; where nothing stands, nothing is right."""
    if not (examples.view == FUSED).any():
        return None
    fused = stand(examples, scores, view=FUSED, select=True)
    return np.where(np.isnan(examples.oracle_right), np.nan, fused.right)


def _joined(parts: list[tuple[Flags, Judged]], n: int) -> Judged:
    """The folds' judgements in the file's order."""

    def join(take: Callable[[Judged], Floats]) -> Floats:
        found = np.full(n, np.nan)
        for mine, one in parts:
            found[mine] = take(one)
        return found

    fuses = any(one.fused is not None for _, one in parts)
    asked = {}
    for name in (*SHARES, RECALL):
        flags = np.zeros(n, dtype=bool)
        for mine, one in parts:
            flags[mine] = one.asked.get(name, np.ones(int(mine.sum()), dtype=bool))
        asked[name] = flags
    return Judged(
        p_fail=join(lambda one: one.p_fail),
        p_raw=join(lambda one: one.p_raw),
        p_after=join(lambda one: one.p_after),
        right=join(lambda one: one.right),
        vote=join(lambda one: one.vote),
        disagreement=join(lambda one: one.disagreement),
        best_member=join(lambda one: one.best_member),
        fused=join(lambda one: np.full_like(one.right, np.nan) if one.fused is None else one.fused)
        if fuses
        else None,
        asked=asked,
        selecting=tuple(flag for _, one in parts for flag in one.selecting),
        notes=tuple(dict.fromkeys(note for _, one in parts for note in one.notes)),
    )
