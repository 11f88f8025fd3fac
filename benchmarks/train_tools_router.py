"""Trains the router of tool calls that ships, and says how it does on questions and models that it has not seen.

    python benchmarks/train_tools_router.py              train, judge, write the router and the tables' figures
    python benchmarks/train_tools_router.py --tables     the tables of what was judged

It is trained on crowds of two to four among the six cheaper models of the recorded tool calls, each question seen with
several of them and with either of the two oracles; members are called by their places. The recorded calls are looked for
in PYRAMID_DATA, else beside the project. Twice the same command writes the same files.

How it does is judged three times on the sets tools-a, tools-b and tools-c, always on questions that were not trained on
(five folds): trained on crowds of all six models; on crowds of the three that are not in the set's crowd, so that
neither question nor model was seen; and by the router as it ships, which has seen both and is there to compare.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from recorded import ROOT, SETS, number, print_table

from pyramid_core.calibration import Calibration, auroc, ece, ece_limit
from pyramid_core.evaluation.judged import of_queries
from pyramid_core.features import FeatureSet
from pyramid_core.profiles import Curve
from pyramid_core.records import read_records
from pyramid_core.routers import LearnedRouter
from pyramid_core.routers.card import CARD
from pyramid_core.routers.loading import SHIPPED
from pyramid_core.routers.trees import Forest
from pyramid_core.training import Examples, Growth, Setting, default_features, examples_of, folds_of
from pyramid_core.training.boosting import grow
from pyramid_core.training.examples import COMPLETE
from pyramid_core.training.fitting import fit_rows
from pyramid_core.training.heldout import Scores, calibrations, held_out, judge, known_queries, stand
from pyramid_core.training.points import operating_points
from pyramid_core.training.pooling import ORACLE, members_of, pooled

FILE = "bfcl_tool_calls"
CHEAP = (
    "gpt-4o-mini-2024-07-18-FC",
    "claude-3-haiku-20240307-FC",
    "open-mistral-nemo-2407-FC-Auto",
    "firefunction-v2-FC",
    "meetkai_functionary-small-v3.2-FC",
    "gpt-3.5-turbo-0125-FC",
)
ORACLES = ("gpt-4-0125-preview-FC", "gpt-4o-2024-08-06-FC")
NAMES = ("tools-a", "tools-b", "tools-c")
SIZES = (2, 3, 4)
FEATURES = FeatureSet("class", default_features("tools"), "tool_calls")
GROWTH = Growth(trees=150, depth=4, rate=0.06, columns=0.4, least=6.0)
FOLDS, SEED, SPARE = 5, 3, 1.0


def main() -> None:
    """Train, judge and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=8, help="crowds that each question is seen with")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "tools-router")
    parser.add_argument("--to", type=Path, default=SHIPPED / "tools")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    asked = parser.parse_args()
    kept = asked.work / "judged.json"
    if not asked.tables:
        path = Path(os.environ.get("PYRAMID_DATA") or ROOT.parent / "shared" / "data") / f"{FILE}.jsonl.gz"
        if not path.is_file():
            sys.exit(f"the recorded calls are not at {path}: set PYRAMID_DATA to their folder")
        asked.work.mkdir(parents=True, exist_ok=True)
        records = list(read_records(path))
        rows = rows_of(records, CHEAP, turns=asked.turns)
        router = trained(rows, path, turns=asked.turns)
        told = judged(records, router, rows, turns=asked.turns)
        metrics = {**router.card.metrics, "unseen": told, "scope": SCOPE}
        files = {**router.files, CARD: replace(router.card, metrics=metrics).as_json()}
        LearnedRouter.parse(files, where=str(asked.to)).save(asked.to)
        say(f"{sum(map(len, files.values())):,} bytes in {asked.to}")
        kept.write_text(json.dumps(told, indent=1, allow_nan=False), "utf-8")
    print_tables(json.loads(kept.read_text("utf-8")))


SCOPE = (
    "whether a tool is called and how, by single questions in English with one to four tools; where nobody calls, not "
    "which words answer best"
)


def rows_of(records: Sequence[Mapping[str, Any]], models: Sequence[str], *, turns: int) -> Examples:
    """The rows of every question with `turns` crowds among `models`, every crowd of two to four as likely."""
    sizes = [size for size in SIZES if size <= len(models)]
    crowds = [crowd for size in sizes for crowd in itertools.combinations(models, size)]
    cast: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        draw = random.Random(f"{SEED} {record['id']}")
        for turn in range(turns):
            crowd = list(draw.choice(crowds))
            draw.shuffle(crowd)
            cast.setdefault(len(crowd), []).append(renamed(record, crowd, draw.choice(ORACLES), turn))
    return pooled(
        [
            examples_of(
                cast[size],
                Setting(crowd=members_of(size), oracle=ORACLE, features=FEATURES, least=2, seed=SEED),
            )
            for size in sorted(cast)
        ]
    )


def renamed(record: Mapping[str, Any], crowd: Sequence[str], oracle: str, turn: int) -> dict[str, Any]:
    """A record of a crowd and an oracle, called by their places."""
    responses = {response["model"]: response for response in record["responses"]}
    told = [
        {**responses[name], "model": place} for name, place in zip(crowd, members_of(len(crowd)), strict=True)
    ]
    return {
        **record,
        "id": f"{record['id']} {turn}",
        "responses": [*told, {**responses[oracle], "model": ORACLE}],
    }


def trained(rows: Examples, path: Path, *, turns: int) -> LearnedRouter:
    """The router of these rows, for any crowd and any oracle."""
    setting = Setting(crowd=members_of(max(SIZES)), oracle=ORACLE, features=FEATURES, least=2, seed=SEED)
    data = {
        "file": f"{path.name}: {turns} crowds of two to four of six models each",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "label": "reference",
    }
    began = time.perf_counter()
    router = fit_rows(
        rows, setting, kind="tools", any_crowd=True, growth=GROWTH, folds=FOLDS, spare=SPARE, data=data
    )
    say(f"{rows.queries:,} crowds, {len(rows.rows):,} rows, {time.perf_counter() - began:.0f} s")
    card = replace(router.card, oracle=None)
    return LearnedRouter.parse({**router.files, CARD: card.as_json()}, where="the router just trained")


def judged(
    records: Sequence[Mapping[str, Any]], router: LearnedRouter, rows: Examples, *, turns: int
) -> dict[str, Any]:
    """Each set's figures, by how much of it the router has seen."""
    told: dict[str, Any] = {}
    shipped = Lesson.of(router)
    seen = lessons(rows)
    for name in NAMES:
        crowd, oracle = SETS[name].crowd, SETS[name].oracle
        setting = Setting(crowd=crowd, oracle=oracle, features=FEATURES, least=2)
        full = examples_of(records, setting)
        others = rows_of(records, [model for model in CHEAP if model not in crowd], turns=turns)
        told[name] = {
            "questions": figures(seen, full),
            "questions and models": figures(lessons(others), full),
            "nothing": figures([shipped] * FOLDS, full),
        }
        say(f"{name}: {told[name]}")
    return told


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is learned from some rows: trees on some columns, their calibration, and a threshold on p_fail."""

    columns: Sequence[int]
    trees: Forest
    calibration: Calibration
    threshold: float

    @staticmethod
    def of(router: LearnedRouter) -> Lesson:
        """What a finished router has learned."""
        return Lesson(
            columns=[FEATURES.names.index(name) for name in router.features.names],
            trees=router.fail,
            calibration=router.card.calibration["fail"],
            threshold=router.operating_points["baseline-match"].threshold,
        )


def lessons(rows: Examples) -> list[Lesson]:
    """What is learned from all folds but one, for each; calibration and threshold from three folds inside those."""
    fold = folds_of(rows.keys, folds=FOLDS, seed=SEED)
    found = []
    for out in range(FOLDS):
        some = of_queries(rows, fold != out)
        raw = held_out(some, growth=GROWTH, folds=3, seed=SEED, with_after=False)
        calibration = calibrations(some, raw, select=True)
        held = judge(some, raw, folds=3, seed=SEED, may_select=True)
        known = known_queries(some, held)
        points = operating_points(held.standing, held.vote, some.oracle_right, known, spare=SPARE)
        found.append(
            Lesson(
                columns=range(some.rows.shape[1]),
                trees=grow(some.rows, some.wrong, growth=GROWTH, seed=SEED).forest,
                calibration=calibration["fail"],
                threshold=points["baseline-match"].threshold,
            )
        )
    return found


def figures(learned: Sequence[Lesson], full: Examples) -> dict[str, float]:
    """What each fold's lesson makes of the fold's queries: at its own operating point, nothing read off afterwards."""
    fold = folds_of(full.keys, folds=FOLDS, seed=SEED)
    p_fail, right, vote, asked = (np.full(full.queries, np.nan) for _ in range(4))
    for out, lesson in enumerate(learned):
        among = fold == out
        some = of_queries(full, among)
        wrong = lesson.calibration.of(lesson.trees.probabilities(some.rows[:, list(lesson.columns)]))
        scores = Scores(wrong=wrong, after=np.full(len(wrong), np.nan))
        stands = stand(some, scores, view=COMPLETE, select=True)
        p_fail[among], right[among] = stands.p_fail, stands.right
        vote[among] = stand(some, scores, view=COMPLETE, select=False).right
        asked[among] = stands.p_fail > lesson.threshold
    oracle = full.oracle_right
    curve = Curve.of(score=p_fail, stands=right, after=oracle)
    told = {
        "vote": vote.mean(),
        "chosen": right.mean(),
        "oracle": oracle.mean(),
        "auroc": auroc(score=p_fail, outcome=1.0 - right),
        "ece": ece(p=p_fail, outcome=1.0 - right),
        "ece_limit": ece_limit(p=p_fail),
        "accuracy": np.where(asked > 0, oracle, right).mean(),
        "rate": asked.mean(),
        "at_five_percent": np.interp(0.05, curve.rates, curve.accuracies),
    }
    return {name: round(float(value), 4) for name, value in told.items()}


def print_tables(told: Mapping[str, Any]) -> None:
    """Markdown: a line for each set and for how much of it was seen."""
    headings = (
        "set",
        "unseen",
        "vote",
        "chosen",
        "oracle",
        "AUROC",
        "ECE",
        "limit",
        "baseline-match",
        "at",
        "at .05",
    )
    keys = ("vote", "chosen", "oracle", "auroc", "ece", "ece_limit", "accuracy", "rate", "at_five_percent")
    lines = [
        (name, seen, *(number(one[key]) for key in keys))
        for name, by in told.items()
        for seen, one in by.items()
    ]
    print_table("The tools router that ships", headings, lines)


def say(words: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
