"""Putting a router together: trees on all rows, calibration and operating points from held-out folds, the card."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from pyramid_core.calibration import Calibration
from pyramid_core.errors import InputError
from pyramid_core.evidence import RecordedEvidence
from pyramid_core.features import (
    BEHAVIOUR_CLASS_FEATURES,
    BEHAVIOUR_FEATURES,
    DEFAULT_CLASS_FEATURES,
    DEFAULT_QUERY_FEATURES,
    PROGRAM_FEATURES,
    TOOL_FEATURES,
    Feature,
    FeatureSet,
    Level,
    member_features,
)
from pyramid_core.routers import Card, LearnedRouter
from pyramid_core.routers.card import BY_VALUE, CARD, FORMAT, KINDS
from pyramid_core.routers.learned import AFTER, FAIL
from pyramid_core.training.boosting import Growth, grow_after, grow_fail
from pyramid_core.training.examples import FUSED, Examples, Setting, examples_of
from pyramid_core.training.extra import xgboost
from pyramid_core.training.heldout import (
    both_kinds,
    calibrations,
    figures,
    held_out,
    judge,
    known_queries,
    risks,
    selects,
)
from pyramid_core.training.importance import importance
from pyramid_core.training.points import RECALL, operating_points, recall_point
from pyramid_core.types import OperatingPoint, Trace

OTHERS: Mapping[str, int] = {"tools": 4}
"""How many other crowds each query is seen with, for kinds whose features name no member."""

SCOPE = "closed-form answers only"
"""What figures on a card hold for: open-ended answers have not been measured."""

_TOO_FEW = 20
"""Fewer questions (or right, or wrong answers of an oracle) than this say nothing when they are cut into folds."""


def fit(
    records: Iterable[Mapping[str, Any] | Trace],
    *,
    crowd: Sequence[str],
    oracle: str | None,
    kind: str = "value",
    equivalence: str = "auto",
    features: Sequence[Feature] | None = None,
    any_crowd: bool = False,
    grade: str = "correct",
    growth: Growth | None = None,
    spare: float = 0.0,
    folds: int = 5,
    seed: int = 0,
    data: Mapping[str, Any] | None = None,
    evidence: RecordedEvidence | None = None,
) -> LearnedRouter:
    """A router trained on graded records; the same arguments give the same router.

    Args:
        records: records or traces with the crowd's and the oracle's answers, graded.
        crowd: the members' names in order.
        oracle: the oracle's; None: none, so that there are no operating points.
        kind: consensus (agreement first), anytime (log-probabilities first), value or tools (score each class).
        equivalence: which answers are the same.
        features: the columns that are looked at where they vary; None: the kind's own.
        any_crowd: let it serve other crowds: no feature names a member, and the card sets none.
        grade: the key that says whether a response is right: `correct`, or one of its `grades`.
        growth: how trees are grown; None: by the number of queries.
        spare: standard errors by which an operating point must pass its target; 0: it touches it.
        folds: how many, by question.
        seed: of folds, drawn crowds and trees.
        data: `file` and `sha256`, for the card.
        evidence: what is gathered for the answers of each record.

    Raises:
        InputError: an argument or the records cannot be used.
        MissingExtra: xgboost is not installed.
    """
    _check(crowd, oracle, kind, folds)
    setting = Setting(
        crowd=tuple(crowd),
        oracle=oracle,
        features=_columns(kind, features, crowd, equivalence, any_crowd=any_crowd, evidence=evidence),
        grade=grade,
        least=max(1, math.ceil(len(crowd) / 2)),
        seed=seed,
        evidence=evidence,
        others=OTHERS.get(kind, 0),
    )
    return fit_rows(
        examples_of(records, setting),
        setting,
        kind=kind,
        any_crowd=any_crowd,
        growth=growth,
        spare=spare,
        folds=folds,
        data=data,
    )


def fit_rows(
    examples: Examples,
    setting: Setting,
    *,
    kind: str,
    any_crowd: bool = False,
    growth: Growth | None = None,
    spare: float = 0.0,
    folds: int = 5,
    data: Mapping[str, Any] | None = None,
) -> LearnedRouter:
    """A router trained on rows that have been made, of one set or of several; arguments as of `fit`.

    Raises:
        InputError: there are too few questions, or nothing to learn from.
        MissingExtra: xgboost is not installed.
    """
    if len(set(examples.keys)) < max(_TOO_FEW, folds):
        raise InputError(
            f"{len(set(examples.keys))} different questions are too few to train on: give {_TOO_FEW} or more"
        )
    setting, examples = _varying(setting, examples)
    if setting.evidence is not None:
        growth = growth or Growth.for_queries(examples.queries, programs=True)
    growth = growth or Growth.for_kind(kind, examples.queries)
    trained = _train(examples, kind=kind, growth=growth, spare=spare, folds=folds, seed=setting.seed)
    names = setting.features.names
    metrics = {
        **trained.metrics,
        "scope": SCOPE,
        "records": _records(examples, setting),
        "importance": importance(examples, names, growth=growth, folds=folds, seed=setting.seed),
    }
    trained = replace(trained, metrics=metrics)
    card = _card(setting, examples, trained, kind=kind, any_crowd=any_crowd, data=data or {})
    return LearnedRouter.parse({**trained.trees, CARD: card.as_json()}, where="the router just trained")


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """Trees by file name, and what held-out folds say."""

    trees: Mapping[str, bytes]
    calibration: Mapping[str, Calibration]
    points: Mapping[str, OperatingPoint]
    metrics: Mapping[str, Any]


def _train(examples: Examples, *, kind: str, growth: Growth, spare: float, folds: int, seed: int) -> _Trained:
    with_after = kind in BY_VALUE and both_kinds(examples.oracle_right, least=_TOO_FEW)
    may_select = examples.by_class
    raw = held_out(examples, growth=growth, folds=folds, seed=seed, with_after=with_after)
    select = may_select and selects(examples, raw)
    held = judge(examples, raw, folds=folds, seed=seed, may_select=may_select)
    metrics = figures(examples, held, folds=folds, seed=seed, spare=spare)
    known = known_queries(examples, held)
    points: dict[str, OperatingPoint] = {}
    if known.any():
        points = operating_points(
            held.standing, held.vote, examples.oracle_right, known, spare=spare, weight=examples.weight
        )
        recall = recall_point(held.standing, np.ones(examples.queries, dtype=bool))
        if recall is not None:
            points[RECALL] = recall
        metrics["early_stop"] = risks(examples, held, threshold=points["baseline-match"].threshold)
    metrics["fused"] = bool((examples.view == FUSED).any())
    if may_select:
        metrics["selection"] = "class" if select else "vote"
    every = np.ones(len(examples.rows), dtype=bool)
    trees = {FAIL: grow_fail(examples, every, growth=growth, seed=seed).content}
    if with_after:
        trees[AFTER] = grow_after(examples, every, growth=growth, seed=seed).content
    return _Trained(
        trees=trees,
        calibration=calibrations(examples, raw, select=select),
        points=points,
        metrics=metrics,
    )


def _records(examples: Examples, setting: Setting) -> dict[str, Any]:
    """How often each member of the crowd, and the oracle, is right by itself, where it is graded."""
    alone = {
        name: round(float(np.nanmean(right)), 5)
        for name, right in zip(setting.crowd, examples.singles.T, strict=False)
        if not np.isnan(right).all()
    }
    known = ~np.isnan(examples.oracle_right)
    mean = np.average(examples.oracle_right[known], weights=examples.weight[known]) if known.any() else None
    oracle = None if mean is None else round(float(mean), 5)
    return {"crowd": alone, "oracle": oracle}


def _card(
    setting: Setting,
    examples: Examples,
    trained: _Trained,
    *,
    kind: str,
    any_crowd: bool,
    data: Mapping[str, Any],
) -> Card:
    versions = {name: _version(name) for name in ("pyramid-moa", "numpy")}
    return Card(
        format=FORMAT,
        kind=kind,
        level=setting.features.level,
        features=tuple((feature.name, feature.version) for feature in setting.features.features),
        fingerprint=setting.features.fingerprint(),
        calibration=trained.calibration,
        crowd=None if any_crowd else setting.crowd,
        oracle=setting.oracle,
        operating_points=trained.points,
        min_members=setting.least,
        data={
            "file": None,
            "sha256": None,
            **data,
            "n": examples.queries,
            "equivalence": setting.features.equivalence,
        },
        metrics=trained.metrics,
        seed=setting.seed,
        versions={**versions, "xgboost": xgboost().__version__},
    )


def _columns(
    kind: str,
    features: Sequence[Feature] | None,
    crowd: Sequence[str],
    equivalence: str,
    *,
    any_crowd: bool,
    evidence: RecordedEvidence | None,
) -> FeatureSet:
    programs = evidence is not None
    chosen = features or default_features(kind, None if any_crowd else crowd, programs=programs)
    return FeatureSet(level_of(kind, programs=programs), tuple(chosen), equivalence_of(kind, equivalence))


def equivalence_of(kind: str, equivalence: str) -> str:
    """How a kind compares answers unless it is told: a tools router, who calls what; all words alike are no call."""
    return "tool_calls" if kind == "tools" and equivalence == "auto" else equivalence


def level_of(kind: str, *, programs: bool = False) -> Level:
    """The level of a kind's rows. Where programs are run, a consensus router scores each class: what they do on the
    question's examples says which of them should stand, not only whether the largest class should.
    """
    return "class" if programs and "class" in KINDS[kind] else KINDS[kind][0]


def default_features(
    kind: str, crowd: Sequence[str] | None = None, *, programs: bool = False
) -> tuple[Feature, ...]:
    """The columns of a kind of router; those that name a member only where a crowd is given."""
    if kind == "tools":
        return TOOL_FEATURES
    level = level_of(kind, programs=programs)
    if kind == "consensus" and programs:
        return PROGRAM_FEATURES + (member_features(crowd, level) if crowd else ())
    members = member_features(crowd, level, signals=True) if crowd else ()
    if level == "class":
        chosen = DEFAULT_CLASS_FEATURES + (BEHAVIOUR_CLASS_FEATURES if programs else ())
    else:
        chosen = DEFAULT_QUERY_FEATURES + (BEHAVIOUR_FEATURES if programs else ())
    if kind == "consensus":
        return tuple(f for f in chosen + members if f.family != "logprob")
    if kind == "anytime":
        chosen = tuple(sorted(chosen, key=lambda f: f.family != "logprob"))
    return chosen + members


def _check(crowd: Sequence[str], oracle: str | None, kind: str, folds: int) -> None:
    if isinstance(crowd, str) or not crowd or len(set(crowd)) != len(crowd):
        raise InputError(f"crowd must be a list of different names, at least one, not {crowd!r}")
    if oracle in crowd:
        raise InputError(
            f"the oracle {oracle!r} is in the crowd: a router is trained with an oracle outside it"
        )
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if folds < 2:
        raise InputError(f"folds must be at least 2, not {folds!r}")
    xgboost()


def _varying(setting: Setting, examples: Examples) -> tuple[Setting, Examples]:
    """Without the columns that are always missing or always the same: trees cannot use them."""
    missing = np.isnan(examples.rows)
    some = np.where(missing, np.inf, examples.rows)
    high = np.where(missing, -np.inf, examples.rows).max(axis=0)
    varies = (high > some.min(axis=0)) | (missing.any(axis=0) & ~missing.all(axis=0))
    if not varies.any():
        raise InputError("no feature varies over these records: there is nothing to learn from")
    features = replace(
        setting.features,
        features=tuple(f for f, kept in zip(setting.features.features, varies, strict=True) if kept),
    )
    return replace(setting, features=features), replace(examples, rows=examples.rows[:, varies])


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
