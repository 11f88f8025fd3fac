"""Further tables of docs/evidence.md, each of one seed: families left out, no gold labels, traces of a running pyramid.

Run by `recorded.py` under the names ablation, labels, production and alike; figures are those of `pyramid profile`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pyramid_core import AgreementRouter, Policy, Pyramid, Recorded, ThresholdRule
from pyramid_core.calibration import auroc
from pyramid_core.evaluation.judged import cross_validated
from pyramid_core.evaluation.measures import Measured
from pyramid_core.evaluation.profile import Plan, Records, profile, tables_of
from pyramid_core.evaluation.sheet import sheet_of
from pyramid_core.features import FeatureSet
from pyramid_core.features.catalogue import named
from pyramid_core.records import trace_to_record
from pyramid_core.training import Setting, examples_of, fit
from pyramid_core.training.examples import COMPLETE, responses_of
from pyramid_core.training.labels import ORACLE_AGREEMENT, agreeing_with_oracle

FAMILIES = ("agreement", "length", "confidence", "logprob", "text", "options", "query", "member")
EXPLORE = 0.1
MEASURES = {
    "agreement": "strict",
    "final_overlap": "words in common",
    "final_similarity": "letters in common",
}
KEPT = ("crowd_accuracy", "auroc", "apgr", "match_rate", "best_accuracy")

Sets = Mapping[str, tuple[Records, Plan]]
"""What is read and how it is profiled, by the set's name."""


def ablation(sets: Sets) -> list[dict[str, Any]]:
    """What is lost without each family of features; nothing where the set's router has none of it."""
    found = []
    for name, (records, plan) in sets.items():
        tables = tables_of(records, plan)
        sheet = sheet_of(records(), plan.wanted)
        order = plan.wanted.crowd
        its_family = {feature.name: feature.family for feature in features(plan)}
        for family in (None, *FAMILIES):
            if family is not None and family not in its_family.values():
                continue
            kept = np.array([family is None or its != family for its in its_family.values()])
            judged = cross_validated(
                lambda given, kept=kept, tables=tables: _columns(tables(given), kept),
                sheet,
                order,
                kind=str(plan.kind),
                folds=plan.folds,
            )
            told = _figures(judged, sheet, plan)
            found.append({"set": name, "without": family, **told})
    return found


def labels(sets: Sets) -> list[dict[str, Any]]:
    """What a router loses that learned from agreement with the oracle instead of references; both judged by references."""
    found = []
    for name, (records, plan) in sets.items():
        crowd, oracle = plan.wanted.crowd, plan.wanted.oracle
        sheet, tables = sheet_of(records(), plan.wanted), tables_of(records, plan)
        agreeing = replace(plan, wanted=replace(plan.wanted, grade=ORACLE_AGREEMENT))

        def relabelled(
            records: Records = records, crowd: Sequence[str] = crowd, oracle: str = oracle
        ) -> Iterator[dict[str, Any]]:
            return agreeing_with_oracle(records(), crowd=crowd, oracle=oracle)

        taught = {"reference": tables, ORACLE_AGREEMENT: tables_of(relabelled, agreeing)}
        for label, lessons in taught.items():
            judged = cross_validated(
                tables, sheet, crowd, kind=str(plan.kind), folds=plan.folds, lessons=lessons
            )
            found.append({"set": name, "label": label, **_figures(judged, sheet, plan)})
    return found


def alike(sets: Sets) -> list[dict[str, Any]]:
    """How well agreement alone ranks the vote's failures where it is strict, and where words in common count as well."""
    found = []
    for name, (records, plan) in sets.items():
        wanted = plan.wanted
        sheet = sheet_of(records(), wanted)
        order = sheet.order(wanted.crowd, np.ones(len(sheet.keys), dtype=bool))
        setting = Setting(
            crowd=order,
            oracle=wanted.oracle,
            features=FeatureSet("query", named(*MEASURES), plan.equivalence),
            grade=wanted.grade,
        )
        examples = examples_of(records(), setting)
        whole = (examples.view == COMPLETE) & ~np.isnan(examples.wrong)
        rows, wrong = np.nan_to_num(examples.rows[whole]).astype(float), examples.wrong[whole]
        scores = {what: rows[:, place] for place, what in enumerate(MEASURES.values())}
        scores["strict, then words"] = scores["strict"] + scores["words in common"] / 10
        scores["strict and words"] = scores["strict"] + scores["words in common"]
        told = {what: round(auroc(score=-score, outcome=wrong), 6) for what, score in scores.items()}
        found.append({"set": name, "vote wrong": round(float(wrong.mean()), 6), **told})
    return found


def production(sets: Sets) -> list[dict[str, Any]]:
    """What the traces of a pyramid that escalates unless unanimous say of the traffic, and what weighing makes of it."""
    found = []
    for name, (records, plan) in sets.items():
        traces = list(running(records, plan))
        streams: dict[str, Records] = {
            "all answers of everybody": records,
            "traces as they come": lambda traces=traces: iter(map(forgetful, traces)),
            "traces, weighed": lambda traces=traces: iter(traces),
        }
        for what, stream in streams.items():
            told = profile(stream, replace(plan, kind="agreement", fusion=False))
            router = fit(stream(), crowd=plan.wanted.crowd, oracle=plan.wanted.oracle, kind=str(plan.kind))
            kept = {
                key: told[key]
                for stem in ("vote_accuracy", "oracle_accuracy")
                for key in (stem, f"{stem}_ci")
            }
            kept["escalation_rate"] = told["baselines"]["unanimous"]["escalation_rate"]
            kept["trained_oracle_accuracy"] = router.card.metrics.get("oracle_accuracy")
            found.append({"set": name, "from": what, "n": told["n_oracle"], **kept})
    return found


def running(records: Records, plan: Plan) -> Iterator[dict[str, Any]]:
    """The traces of a pyramid that escalates unless its crowd is unanimous and explores a share of the rest, graded."""
    crowd, oracle = plan.wanted.crowd, plan.wanted.oracle
    pyramid = Pyramid(
        crowd=[Recorded(name) for name in crowd],
        oracle=Recorded(oracle),
        router=AgreementRouter(),
        rule=ThresholdRule(0.0),
        policy=Policy(early_stop=None),
    )
    draw = random.Random(0)
    for record in records():
        outcome = pyramid.replay(record, explore=draw.random() < EXPLORE, propensity=EXPLORE)
        told = trace_to_record(outcome.trace)
        recorded = responses_of(record)
        answers = [{**a, "correct": recorded[a["model"]]["correct"]} for a in told["responses"]]
        yield {**told, "id": record["id"], "responses": answers}


def forgetful(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A trace without a word on how its answers came about."""
    answers = [{key: value for key, value in a.items() if key != "asked"} for a in trace["responses"]]
    return {key: value for key, value in trace.items() if key != "deliberation"} | {"responses": answers}


def features(plan: Plan) -> Sequence[Any]:
    from pyramid_core.evaluation.profile import features_of

    return features_of(plan).features


def _columns(examples: Any, kept: Any) -> Any:
    return replace(examples, rows=examples.rows[:, kept])


def _figures(judged: Any, sheet: Any, plan: Plan) -> dict[str, float | None]:
    measured = Measured(judged=judged, sheet=sheet, by_value=plan.by_value, crowd_cost=0.0)
    told = measured.figures(np.ones(len(sheet.keys)))
    return {key: _known(told.get((key,))) for key in KEPT}


def _known(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


TABLES: Mapping[str, Callable[[Sets], list[dict[str, Any]]]] = {
    "ablation": ablation,
    "ablation-options": ablation,
    "labels": labels,
    "production": production,
    "alike": alike,
}
OF: Mapping[str, tuple[str, ...]] = {
    "ablation": ("gsm8k-llama", "gsm8k-routellm", "nq", "cruxeval"),
    "ablation-options": ("mmlu-paper",),
    "labels": ("gsm8k-llama", "gsm8k-routellm", "cruxeval"),
    "production": ("gsm8k-llama", "gsm8k-routellm"),
    "alike": ("nq", "nq-gold", "nq-stated", "cruxeval"),
}
"""Which sets each table looks at."""
