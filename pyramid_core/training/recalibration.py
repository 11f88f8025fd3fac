"""A finished router on new traffic: its calibration, what it says of the oracle, and its thresholds, without new trees.

A hundred traces are too few for trees and enough for the three parameters of a calibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pyramid_core.calibration import brier
from pyramid_core.errors import InputError
from pyramid_core.evidence import RecordedEvidence
from pyramid_core.routers import LearnedRouter
from pyramid_core.routers.card import CARD, Card
from pyramid_core.training.examples import COMPLETE, Examples, Setting, examples_of
from pyramid_core.training.heldout import (
    HeldOut,
    Scores,
    calibrated,
    calibrations,
    known_queries,
    stand,
)
from pyramid_core.training.points import RECALL, Standing, operating_points, recall_point
from pyramid_core.types import OperatingPoint, Trace

ENOUGH = 100
"""Graded queries below which nothing is refitted."""


def recalibrated(
    router: LearnedRouter,
    records: Iterable[Mapping[str, Any] | Trace],
    *,
    crowd: Sequence[str] | None = None,
    oracle: str | None = None,
    grade: str = "correct",
    data: Mapping[str, Any] | None = None,
    evidence: RecordedEvidence | None = None,
) -> LearnedRouter:
    """`router` with calibration, oracle's prior and operating points refitted; its trees and its selection stay.

    Args:
        router: a learned router.
        records: at least `ENOUGH` records with graded answers of the crowd.
        crowd: the members; None: the card's.
        oracle: whose prior is learned; None: the card's. The router then knows this oracle.
        grade: the key of a response that says whether it is right.
        data: `file` and `sha256` of the records, for the card.
        evidence: what is gathered for the answers of each record; None: nothing is.

    Raises:
        InputError: no crowd is known, or there are too few graded records.
        RouterError: the card sets another crowd.
    """
    members = tuple(crowd or router.card.crowd or ())
    if not members:
        raise InputError("the card names no crowd: name the members whose answers the records hold")
    router.for_crowd(members)
    name = oracle or router.card.oracle
    setting = Setting(
        crowd=members,
        oracle=name,
        features=router.features,
        grade=grade,
        least=router.min_members,
        evidence=evidence,
    )
    card = _refitted(router, examples_of(records, setting), data or {})
    files = {**router.files, CARD: replace(card, oracle=name).as_json()}
    return LearnedRouter.parse(files, where="the router just recalibrated")


def _refitted(router: LearnedRouter, examples: Examples, data: Mapping[str, Any]) -> Card:
    """The router's card with calibration, thresholds and the oracle's accuracy of these examples."""
    old = router.card
    after = np.full(len(examples.rows), np.nan)
    if router.after is not None:
        after = router.after.probabilities(examples.rows)
    raw = Scores(wrong=router.fail.probabilities(examples.rows), after=after)
    select = router.selects(examples.rows)
    before = stand(examples, calibrated(raw, old.calibration), view=COMPLETE, select=select)
    graded = ~np.isnan(before.right)
    if int(graded.sum()) < ENOUGH:
        raise InputError(
            f"{int(graded.sum())} graded queries are too few to recalibrate on: give {ENOUGH} or more"
        )
    fitted = dict(old.calibration) | calibrations(examples, raw, select=select)
    scores = calibrated(raw, fitted)
    standing = stand(examples, scores, view=COMPLETE, select=select)
    held = HeldOut(
        scores=scores,
        standing=standing,
        raw=np.where(standing.row >= 0, raw.wrong[standing.row], 1.0),
        vote=stand(examples, scores, view=COMPLETE, select=False).right,
        selecting=(select,),
    )
    known = known_queries(examples, held)
    points = {name: _moved(point, before, standing) for name, point in old.operating_points.items()}
    metrics = dict(old.metrics)
    if known.any():
        points = operating_points(
            held.standing, held.vote, examples.oracle_right, known, spare=0.0, weight=examples.weight
        )
        mean = np.average(examples.oracle_right[known], weights=examples.weight[known])
        metrics["oracle_accuracy"] = round(float(mean), 5)
    recall = recall_point(standing, np.ones(examples.queries, dtype=bool))
    if recall is not None:
        points[RECALL] = recall
    wrong = 1.0 - held.standing.right[graded]
    metrics["recalibrated"] = {
        **data,
        "n": int(graded.sum()),
        "brier_before": round(brier(p=before.p_fail[graded], outcome=wrong), 5),
        "brier_after": round(brier(p=held.standing.p_fail[graded], outcome=wrong), 5),
        "on": "the records it was refitted on",
    }
    return replace(old, calibration=fitted, operating_points=points, metrics=metrics)


def _moved(point: OperatingPoint, before: Standing, standing: Standing) -> OperatingPoint:
    """The threshold that splits these queries as it did before: where no oracle has answered, nothing better is known."""
    if point.threshold in (0.0, 1.0):
        return replace(point, barrier=None)
    above = before.p_fail > point.threshold
    low = standing.p_fail[~above].max() if not above.all() else 0.0
    high = standing.p_fail[above].min() if above.any() else 1.0
    return OperatingPoint(threshold=float(np.clip((low + high) / 2, 0.0, 1.0)))
