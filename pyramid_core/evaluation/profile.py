"""`pyramid profile`: what a router is worth on a file of recorded answers, each figure with its interval.

Intervals are 95 % percentile bootstrap over questions (twins of a question are drawn together), the router fixed as it
was trained; over several seeds the mean is reported, and resampled as a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.calibration import ece, ece_limit
from pyramid_core.errors import InputError
from pyramid_core.evaluation.bootstrap import LEVEL, RESAMPLES
from pyramid_core.evaluation.envelope import mark_dominated
from pyramid_core.evaluation.judged import Judged, Tables, cross_validated, zero_shot
from pyramid_core.evaluation.measures import BENDS, THRESHOLDS, Figures, Measured, Path
from pyramid_core.evaluation.sheet import Sheet, Wanted, sheet_of
from pyramid_core.evidence import RecordedEvidence
from pyramid_core.features import FeatureSet
from pyramid_core.features.catalogue import named
from pyramid_core.routers import AgreementRouter, LearnedRouter
from pyramid_core.routers.card import BY_VALUE, KINDS
from pyramid_core.training import (
    OTHERS,
    Examples,
    Growth,
    Setting,
    default_features,
    equivalence_of,
    examples_of,
    level_of,
)
from pyramid_core.types import Router

Floats = npt.NDArray[np.float64]
Records = Callable[[], Iterable[Mapping[str, Any]]]
"""The stream of records, from its beginning each time it is called."""

_UNSURE = ("match_rate", "cpt50", "cpt80")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a profile is made.

    Attributes:
        wanted: whose answers are looked at.
        kind: of the router that is trained inside each fold; None where `router` is applied as it is.
        router: a finished router.
        folds: how many.
        seeds: how many, from 0.
        equivalence: which answers are the same.
        without: families of features that are left out.
        any_crowd: whether features that name a member are left out.
        fusion: whether fused figures are reported.
        crowd_cost: the whole crowd, in oracle calls.
        oracle_accuracy: the user's prior for an oracle that a finished router was not trained with.
        resamples: of the bootstrap.
        evidence: what is gathered for the answers of a record (programs run); None: nothing is.
    """

    wanted: Wanted
    kind: str | None = "value"
    router: Router | None = None
    folds: int = 5
    seeds: int = 1
    equivalence: str = "auto"
    without: tuple[str, ...] = ()
    any_crowd: bool = False
    fusion: bool = False
    crowd_cost: float = 0.0
    oracle_accuracy: float | None = None
    resamples: int = RESAMPLES
    evidence: RecordedEvidence | None = None

    def __post_init__(self) -> None:
        if (self.kind is None) == (self.router is None):
            raise InputError("a profile is of a kind that is trained in folds, or of a finished router")
        if self.kind is not None and self.kind not in (*KINDS, "agreement"):
            raise InputError(
                f"unknown kind {self.kind!r}: with --cv use one of {', '.join(KINDS)}, agreement"
            )
        if self.folds < 2 or self.seeds < 1 or self.resamples < 1:
            raise InputError("folds must be 2 or more, seeds and resamples 1 or more")
        if not (math.isfinite(self.crowd_cost) and self.crowd_cost >= 0):
            raise InputError(f"the crowd's cost must be 0 or more oracle calls, not {self.crowd_cost!r}")

    @property
    def by_value(self) -> bool:
        """Whether queries are ordered by p_fail + p_after - 1."""
        learned = isinstance(self.router, LearnedRouter) and self.router.card.kind in BY_VALUE
        return self.kind in BY_VALUE or learned


def tables_of(records: Records, plan: Plan) -> Tables:
    """The rows of all queries for a crowd in some order, each order made once."""
    wanted, features = plan.wanted, features_of(plan)
    made: dict[tuple[str, ...], Examples] = {}

    def tables(order: tuple[str, ...]) -> Examples:
        if order not in made:
            setting = Setting(
                crowd=order,
                oracle=wanted.oracle,
                features=features,
                grade=wanted.grade,
                least=max(1, math.ceil(len(order) / 2)),
                evidence=plan.evidence,
                others=OTHERS.get(plan.kind or "", 0),
            )
            made[order] = examples_of(records(), setting)
        return made[order]

    return tables


def judgements(
    records: Records, plan: Plan, *, tables: Tables | None = None, step: Callable[[], None] = lambda: None
) -> tuple[Sheet, list[Judged]]:
    """Every query as judged under each seed.

    Args:
        records: the stream of records.
        plan: what is wanted.
        tables: of the same records and plan, where somebody else wants them too.
        step: called once a fold.

    Raises:
        InputError: the file or the plan cannot be used.
        TraceError: a record cannot be read.
    """
    wanted = plan.wanted
    sheet = sheet_of(records(), wanted, plan.evidence)
    tables = tables or tables_of(records, plan)
    if plan.kind is not None:
        programs = plan.evidence is not None
        growth = Growth.for_queries(len(sheet.keys), programs=True) if programs else None
        return sheet, [
            cross_validated(
                tables,
                sheet,
                wanted.crowd,
                kind=plan.kind,
                folds=plan.folds,
                seed=seed,
                growth=growth,
                step=step,
            )
            for seed in range(plan.seeds)
        ]
    router = plan.router
    if isinstance(router, LearnedRouter):
        router = router.for_crowd(wanted.crowd)
        if router.evidence and plan.evidence is None:
            raise InputError(
                f"the router {router.id} compares programs by what they do, so they have to be run: that is your "
                "decision (--run-code, or evidence=)"
            )
    elif not isinstance(router, AgreementRouter):
        raise InputError(f"a profile is of a learned router or of agreement, not of {router!r}")
    learned = router if isinstance(router, LearnedRouter) else None
    prior = plan.oracle_accuracy
    judged = zero_shot(
        tables(wanted.crowd), sheet, wanted.crowd, learned, oracle=wanted.oracle, oracle_accuracy=prior
    )
    return sheet, [judged]


def profile(records: Records, plan: Plan, *, step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """All figures, in plain JSON types; what is not known or not defined is None.

    Raises:
        InputError: the file or the plan cannot be used.
        TraceError: a record cannot be read.
    """
    sheet, judged = judgements(records, plan, step=step)
    return report(sheet, judged, plan)


def report(sheet: Sheet, judged: Sequence[Judged], plan: Plan) -> dict[str, Any]:
    """The figures of judgements that have been made."""
    measured = [
        Measured(judged=one, sheet=sheet, by_value=plan.by_value, crowd_cost=plan.crowd_cost)
        for one in judged
    ]
    ones = np.ones(len(sheet.keys))
    by_seed = [one.figures(ones) | _calibration_error(one, ones) for one in measured]
    drawn = _resampled(measured, sheet.keys, plan.resamples)
    told: dict[str, Any] = {
        "n": len(sheet.keys),
        "n_oracle": int(measured[0].profiled.sum()),
        "questions": sheet.questions,
        "left_out": sheet.left_out,
        "ungraded": int((~measured[0].graded).sum()),
        "crowd": list(plan.wanted.crowd),
        "oracle": plan.wanted.oracle,
        "weak": plan.wanted.weak,
        "grade": plan.wanted.grade,
        "router": plan.kind if plan.router is None else plan.router.id,
        "folds": plan.folds if plan.kind else None,
        "seeds": len(judged),
        "without": list(plan.without),
        "crowd_cost": plan.crowd_cost,
        "selection_folds": [int(sum(one.selecting)) for one in judged],
        "ece_limit": _finite(np.mean([ece_limit(p=one.judged.p_fail[one.graded]) for one in measured])),
        "notes": sorted({note for one in judged for note in one.notes}),
    }
    _place_all(told, by_seed, drawn)
    _thresholds(told)
    mark_dominated(
        told,
        sheet,
        measured[0].profiled / sheet.propensity,
        crowd=plan.wanted.crowd,
        oracle=plan.wanted.oracle,
        crowd_cost=plan.crowd_cost,
    )
    bends = [[draw.get((BENDS, place), math.nan) for draw in drawn] for place in range(9)]
    told["concave"] = _concave(bends)
    told.pop(BENDS, None)
    if not plan.fusion:
        told["fused_accuracy"], told["fused_profile"] = None, None
    undefined = [name for name in ("auroc", "apgr") if told.get(name) is None]
    told["notes"] += [f"{name} is not defined: {_WHY[name]}" for name in undefined]
    return told


_WHY = {
    "auroc": "the answers that stand are all right or all wrong",
    "apgr": "the weak side and the oracle are equally accurate, or no oracle's answer is graded",
}


def features_of(plan: Plan) -> FeatureSet:
    """The columns that a plan's router looks at."""
    if isinstance(plan.router, LearnedRouter):
        return plan.router.features
    if plan.kind in (None, "agreement"):
        return FeatureSet("query", named("agreement"), plan.equivalence)
    kind = str(plan.kind)
    crowd = None if plan.any_crowd else plan.wanted.crowd
    programs = plan.evidence is not None
    chosen = default_features(kind, crowd, programs=programs)
    features = FeatureSet(level_of(kind, programs=programs), chosen, equivalence_of(kind, plan.equivalence))
    for family in plan.without:
        features = features.without(family)
    return features


def _resampled(measured: Sequence[Measured], keys: Sequence[str], resamples: int) -> list[Figures]:
    """The mean over seeds of all figures, for each resample of the questions."""
    _, group = np.unique(np.asarray(keys, dtype=object), return_inverse=True)
    questions = int(group.max()) + 1
    random = np.random.default_rng(0)
    drawn: list[Figures] = []
    for _ in range(resamples):
        counts = np.bincount(random.integers(0, questions, questions), minlength=questions)[group]
        each = [one.figures(counts.astype(float)) | _calibration_error(one, counts) for one in measured]
        drawn.append({path: float(np.mean([one[path] for one in each])) for path in each[0]})
    return drawn


def _calibration_error(measured: Measured, counts: npt.NDArray[Any]) -> Figures:
    rows = np.repeat(np.arange(len(counts)), (counts * measured.graded).astype(int))
    if not len(rows):
        return {("ece",): math.nan}
    return {("ece",): ece(p=measured.judged.p_fail[rows], outcome=1.0 - measured.judged.right[rows])}


def _place_all(told: dict[str, Any], by_seed: Sequence[Figures], drawn: Sequence[Figures]) -> None:
    """Each figure at its path, its interval under `<key>_ci`, and at the top the seeds under `<key>_by_seed`."""
    for path in by_seed[0]:
        values = [figures.get(path, math.nan) for figures in by_seed]
        sample = np.array([figures.get(path, math.nan) for figures in drawn])
        holder = _holder(told, path)
        key = str(path[-1])
        holder[key] = _finite(np.mean(values))
        if path[0] == "accuracy_at_rate":
            told.setdefault("accuracy_at_rate_ci", {})[key] = _interval(sample, unsure=False)
            continue
        holder[f"{key}_ci"] = _interval(sample, unsure=key in _UNSURE)
        if len(path) == 1:
            holder[f"{key}_by_seed"] = [_finite(value) for value in values]


def _holder(told: dict[str, Any], path: Path) -> dict[str, Any]:
    holder = told
    for step in path[:-1]:
        name = str(step)
        holder = holder.setdefault(name, {})
    return holder


def _thresholds(told: dict[str, Any]) -> None:
    """The figures by t as lists, lowest t first, and whether Theorem 1 holds at each."""
    for name in ("profile", "fused_profile", "monotone"):
        kept = told.get(name)
        if kept is None:
            told[name] = None
            continue
        told[name] = [{"threshold": t, **kept[str(place)]} for place, t in enumerate(THRESHOLDS)]
    for entry in told["monotone"] or ():
        entry["holds"] = None if entry["gap"] is None else entry["gap"] >= 0


def _concave(bends: list[list[float]]) -> bool | None:
    """Whether no tenth of the profile bends upward by more than chance explains."""
    if not bends or any(not np.isfinite(bend).any() for bend in map(np.array, bends)):
        return None
    low = [np.nanquantile(bend, (1 - LEVEL) / 2) for bend in bends]
    return bool(max(low) <= 0)


def _interval(sample: Floats, *, unsure: bool) -> list[float | None] | None:
    """The middle 95 %; a rate that is never reached lies above all others, what is not defined is left out."""
    known = np.where(np.isnan(sample), np.inf, sample) if unsure else sample[~np.isnan(sample)]
    if not len(known):
        return None
    low = np.quantile(known, (1 - LEVEL) / 2, method="lower")
    high = np.quantile(known, (1 + LEVEL) / 2, method="higher")
    return [_finite(low), _finite(high)]


def _finite(value: float | np.floating[Any]) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
