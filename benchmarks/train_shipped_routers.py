"""Train the routers that ship: `value`, `consensus`, `anytime`, for crowds and oracles that they have never seen.

    python benchmarks/train_shipped_routers.py                    all three, then the zero-shot table
    python benchmarks/train_shipped_routers.py value              one of them
    python benchmarks/train_shipped_routers.py --tables           the zero-shot table of what is there

Each is trained on crowds that are drawn from the recorded sets (`pyramid_core.training.pooling`). The zero-shot table
judges every set by a router that was trained without it and its twins, on the set's own crowd; it goes into the card
too. Rows and routers are kept in `build/shipped`, so that an interrupted run goes on; twice the same command gives the
same files. The recorded sets are looked for in PYRAMID_DATA, else beside the project; consensus runs their programs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from recorded import ROOT, SETS, Row, interval, number, print_table

from pyramid_core.evaluation.bootstrap import RESAMPLES
from pyramid_core.evaluation.profile import Plan, judgements, report
from pyramid_core.evaluation.sheet import Wanted
from pyramid_core.evidence import BehaviourCache, BehaviourGatherer, RecordedBehaviour
from pyramid_core.features import FeatureSet, Level
from pyramid_core.records import read_records
from pyramid_core.routers import LearnedRouter
from pyramid_core.routers.card import CARD
from pyramid_core.routers.loading import SHIPPED
from pyramid_core.training import Examples, Growth, Setting, default_features, examples_of
from pyramid_core.training.examples import FUSED
from pyramid_core.training.fitting import fit_rows
from pyramid_core.training.pooling import ORACLE, Casting, accuracies, drawn, members_of, pooled

SEED = 11
MOST_JUDGED = 3_000
"""Of a larger set every second or third question is judged."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of recorded answers in a recipe: `turns` crowds are drawn from each of its questions."""

    file: str
    group: str
    turns: int
    programs: bool = False


GSM = Source(file="gsm8k_zeroeval", group="gsm8k", turns=4)
ROUTELLM = Source(file="gsm8k_openai_routellm", group="gsm8k", turns=2)
PRO = Source(file="mmlu_pro", group="mmlu", turns=1)
CONFIDENCE = Source(file="mmlu_pro_confidence", group="mmlu", turns=1)
NQ = Source(file="nq_logprobs", group="nq", turns=1)
CRUX = Source(file="cruxeval_zeroeval", group="cruxeval", turns=2)
MBPP = Source(file="mbpp_ldb_mgdebugger", group="mbpp", turns=2)
RECIPES: Mapping[str, Sequence[Source]] = {
    "value": (GSM, ROUTELLM, PRO, CONFIDENCE, NQ, CRUX, MBPP),
    "consensus": (GSM, ROUTELLM, PRO, NQ, CRUX, MBPP, replace(MBPP, programs=True)),
    "anytime": (replace(NQ, turns=3), CONFIDENCE),
}
GROUPS: Mapping[str, str] = {
    "gsm8k_zeroeval": "gsm8k",
    "gsm8k_openai_routellm": "gsm8k",
    "mmlu_pro": "mmlu",
    "mmlu_pro_confidence": "mmlu",
    "nq_logprobs": "nq",
    "nq_stated_logprobs": "nq",
    "cruxeval_zeroeval": "cruxeval",
    "mbpp_ldb_mgdebugger": "mbpp",
    "mbpp_local_logprobs": "mbpp",
    "bfcl_tool_calls": "tools",
}
JUDGED: Mapping[str, Sequence[str]] = {
    "value": (
        "gsm8k-llama",
        "gsm8k-routellm",
        "mmlu-pro",
        "mmlu-paper",
        "mmlu-today",
        "mmlu-reasoning",
        "nq",
        "cruxeval",
        "mbpp-text",
        "tools-a",
        "tools-c",
    ),
    "consensus": (
        "gsm8k-llama",
        "gsm8k-routellm",
        "mmlu-pro",
        "nq",
        "cruxeval",
        "mbpp-text",
        "mbpp",
        "tools-a",
    ),
    "anytime": ("nq", "nq-stated", "mmlu-paper", "mmlu-today", "mbpp-local"),
}
TOOLS = "gpt-4o-2024-08-06-FC"
MORE: Mapping[str, Row] = {
    "mbpp": replace(SETS["mbpp-text"], kind="consensus"),
    "mbpp-local": Row(
        file="mbpp_local_logprobs",
        crowd=("qwen2.5-coder-0.5b-instruct-q4_k_m", "smollm2-135m-instruct-q4_1"),
        oracle="qwen2.5-coder-1.5b-instruct-q4_k_m",
        kind="anytime",
    ),
    "tools-a": Row(
        file="bfcl_tool_calls",
        crowd=("open-mistral-nemo-2407-FC-Auto", "firefunction-v2-FC", "gpt-3.5-turbo-0125-FC"),
        oracle="gpt-4-0125-preview-FC",
    ),
    "tools-c": Row(
        file="bfcl_tool_calls",
        crowd=(
            "gpt-4o-mini-2024-07-18-FC",
            "firefunction-v2-FC",
            "meetkai_functionary-small-v3.2-FC",
        ),
        oracle=TOOLS,
    ),
}
GROWTH = Growth(trees=90, depth=4, rate=0.08, least=20.0)
"""Fewer, faster trees than in training for one crowd: a router that ships is to be small."""


def main() -> None:
    """Train, judge and print what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", help="value, consensus, anytime; all by default")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "shipped")
    parser.add_argument("--to", type=Path, default=SHIPPED, help="the folder of shipped routers")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    asked = parser.parse_args()
    folder = Path(os.environ.get("PYRAMID_DATA") or ROOT.parent / "shared" / "data")
    if not asked.tables:
        if not folder.is_dir():
            sys.exit(f"the recorded answers are not at {folder}: set PYRAMID_DATA to their folder")
        asked.work.mkdir(parents=True, exist_ok=True)
        for kind in asked.kinds or RECIPES:
            Training(kind, folder, asked.work).run(asked.to / kind)
    print_tables(asked.work, asked.kinds or list(RECIPES))


class Training:
    """One router's way from records to its folder."""

    def __init__(self, kind: str, folder: Path, work: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.work = work
        self.programs = any(source.programs for source in RECIPES[kind])
        self.level: Level = "class" if self.programs or kind == "value" else "query"
        columns = self.table(programs=self.programs).features
        if kind == "consensus":
            columns = tuple(feature for feature in columns if feature.family not in ("logprob", "confidence"))
        self.features = FeatureSet(self.level, columns, "auto")
        self.evidence = None
        if self.programs:
            cache = BehaviourCache(work / "behaviour.sqlite")
            self.evidence = RecordedBehaviour(BehaviourGatherer(run_code=True, cache=cache))

    def run(self, to: Path) -> None:
        """Train with and without each group, judge, write."""
        groups = sorted({source.group for source in RECIPES[self.kind]})
        routers = {group: self.router(without=group) for group in groups}
        whole = self.router(without=None)
        told = {name: self.judged(name, routers, whole) for name in JUDGED[self.kind]}
        (self.work / f"{self.kind}.json").write_text(json.dumps(told, indent=1, allow_nan=False), "utf-8")
        metrics = {
            **whole.card.metrics,
            "zero_shot": {name: brief(one) for name, one in told.items()},
        }
        files = {**whole.files, CARD: replace(whole.card, metrics=metrics).as_json()}
        LearnedRouter.parse(files, where=str(to)).save(to)
        say(f"{self.kind}: {sum(map(len, files.values())):,} bytes in {to}")

    def router(self, *, without: str | None) -> LearnedRouter:
        """The router of all sources but those of one group; kept."""
        kept = self.work / f"{self.kind}-without-{without or 'nothing'}"
        if kept.is_dir():
            return LearnedRouter.load(kept)
        sources = [source for source in RECIPES[self.kind] if source.group != without]
        rows = pooled([part for source in sources for part in self.parts(source)])
        say(f"{self.kind} without {without}: {rows.queries:,} queries, {len(rows.rows):,} rows")
        setting = Setting(crowd=members_of(5), oracle=ORACLE, features=self.features, least=1, seed=SEED)
        data = {
            "file": " + ".join(f"{source.file} ({source.turns} crowds each)" for source in sources),
            "sha256": {source.file: self.digest(source.file) for source in sources},
            "label": "reference",
        }
        folds = 5 if without is None else 2  # what only judges a set needs no figures of its own
        router = fit_rows(
            rows, setting, kind=self.kind, any_crowd=True, growth=GROWTH, folds=folds, data=data
        )
        card = replace(router.card, oracle=None)
        if card.metrics.get("selection") == "class":
            card = replace(card, metrics={**card.metrics, "selection": "programs"})
        router = LearnedRouter.parse({**router.files, CARD: card.as_json()}, where=str(kept))
        router.save(kept)
        return router

    def table(self, *, programs: bool) -> FeatureSet:
        """The columns that are worked out, the same for all routers of a level, so that rows are shared."""
        kind = "value" if self.level == "class" else "anytime"
        return FeatureSet(self.level, default_features(kind, programs=programs), "auto")

    def columns(self, examples: Examples, names: Sequence[str], *, programs: bool) -> Examples:
        """The rows with these columns; what was not worked out, because no program was run, is missing."""
        known = self.table(programs=programs).names
        rows = np.full((len(examples.rows), len(names)), np.nan, dtype=np.float32)
        for at, name in enumerate(names):
            if name in known:
                rows[:, at] = examples.rows[:, known.index(name)]
        return replace(examples, rows=rows)

    def parts(self, source: Source) -> Iterator[Examples]:
        """The rows of one source, by size of the crowd; kept."""
        casting = Casting(seed=SEED)
        table = self.table(programs=source.programs)
        mark = hashlib.sha256(
            f"{table.fingerprint()} {source} {casting} {self.digest(source.file)}".encode()
        ).hexdigest()
        path = self.folder / f"{source.file}.jsonl.gz"
        records: list[Mapping[str, Any]] = []
        skill: Mapping[str, float] = {}
        for size in sorted(set(casting.sizes)):
            kept = self.work / "rows" / f"{source.file}-{size}-{mark[:16]}.npz"
            if not kept.is_file():
                records = records or list(read_records(path))
                skill = skill or accuracies(records)
                if size >= max(len(record["responses"]) for record in records):
                    continue
                began = time.perf_counter()
                cast = [
                    {**record, "id": f"{record['id']} {turn}"}
                    for turn in range(source.turns)
                    for record in drawn(records, skill, size=size, turn=turn, casting=casting)
                ]
                if not cast:
                    continue
                setting = Setting(
                    crowd=members_of(size),
                    oracle=ORACLE,
                    features=table,
                    least=1,
                    seed=SEED,
                    evidence=self.evidence if source.programs else None,
                )
                keep(kept, examples_of(cast, setting))
                say(f"{source.file}: {len(cast):,} crowds of {size}, {time.perf_counter() - began:.0f} s")
            rows = self.columns(kept_rows(kept), self.features.names, programs=source.programs)
            yield rows if source.programs else voting(rows)

    def judged(self, name: str, routers: Mapping[str, LearnedRouter], whole: LearnedRouter) -> dict[str, Any]:
        """What `judge` says; kept for these very routers."""
        mark = hashlib.sha256("".join(one.id for one in (*routers.values(), whole)).encode()).hexdigest()
        kept = self.work / "judged" / f"{self.kind}-{name}-{mark[:12]}.json"
        if not kept.is_file():
            kept.parent.mkdir(exist_ok=True)
            told = self.judge(name, routers, whole)
            kept.write_text(json.dumps(told, indent=1, allow_nan=False), "utf-8")
        found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return found

    def judge(self, name: str, routers: Mapping[str, LearnedRouter], whole: LearnedRouter) -> dict[str, Any]:
        """One set, by a router that was trained without it, with and without a prior of the oracle."""
        row = MORE.get(name) or SETS[name]
        group = GROUPS[row.file]
        wanted = Wanted(crowd=row.crowd, oracle=row.oracle, weak=row.weak, grade=row.grade)
        evidence = self.evidence if name == "mbpp" else None
        every = list(read_records(self.folder / f"{row.file}.jsonl.gz"))
        records = every[:: max(1, round(len(every) / MOST_JUDGED))]
        setting = Setting(
            crowd=row.crowd,
            oracle=row.oracle,
            features=self.table(programs=evidence is not None),
            grade=row.grade,
            evidence=evidence,
        )
        rows = examples_of(records, setting)

        def of(router: LearnedRouter, prior: float | None, resamples: int = 100) -> dict[str, Any]:
            plan = Plan(
                wanted=wanted,
                kind=None,
                router=router,
                oracle_accuracy=prior,
                evidence=evidence,
                resamples=resamples,
            )
            mine = self.columns(rows, router.features.names, programs=evidence is not None)
            sheet, judged = judgements(lambda: records, plan, tables=lambda _order: mine)
            return report(sheet, judged, plan)

        router = routers.get(group, whole)
        told = of(router, None, RESAMPLES // 2)
        if self.kind == "value":
            told["with_prior"] = brief(of(router, told["oracle_accuracy"]))
        told["of_itself"] = brief(of(whole, None)) if group in routers else None
        say(f"{self.kind} on {name}: AUROC {told['auroc']}, APGR {told['apgr']}")
        return told

    def digest(self, file: str) -> str:
        """The hash of a file's content."""
        with (self.folder / f"{file}.jsonl.gz").open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()


def keep(path: Path, examples: Examples) -> None:
    """Write rows, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    told = {field.name: np.asarray(getattr(examples, field.name)) for field in fields(Examples)}
    np.savez_compressed(part, **{**told, "keys": np.asarray(examples.keys, dtype=np.str_)})
    part.replace(path)


def kept_rows(path: Path) -> Examples:
    """The rows that `keep` has written."""
    with np.load(path) as kept:
        found: dict[str, Any] = {name: kept[name] for name in kept.files}
    return Examples(**{**found, "keys": tuple(found["keys"].tolist()), "by_class": bool(found["by_class"])})


def voting(rows: Examples) -> Examples:
    """The rows without those of classes that lost the vote: on sets that a router has not seen selection has hurt.

    What an oracle has joined stays whole. Programs that are run are an exception: their examples tell classes apart.
    """
    kept = rows.leads | (rows.view == FUSED)
    names = ("rows", "wrong", "query", "view", "leads", "members", "calls")
    return replace(rows, **{name: getattr(rows, name)[kept] for name in names})


def brief(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says of a set."""
    point = (told.get("operating_points") or {}).get("baseline-match") or {}
    keys = ("auroc", "auroc_ci", "auroc_above_agreement_ci", "apgr", "apgr_above_agreement_ci")
    keys += ("vote_accuracy", "crowd_accuracy", "oracle_accuracy", "ece", "ece_limit")
    keys += ("brier", "brier_uncalibrated", "brier_gain_ci")
    low, high = told["brier_gain_ci"] or (None, None)
    said = "lower" if low is not None and low > 0 else "higher" if high is not None and high < 0 else "equal"
    return {
        **{key: told.get(key) for key in keys},
        "brier_after_calibration": said,
        "baseline_match": {key: point.get(key) for key in ("accuracy", "accuracy_ci", "escalation_rate")},
    }


def print_tables(work: Path, kinds: Sequence[str]) -> None:
    """Markdown: one table a router."""
    headings = (
        "set",
        "vote",
        "chosen",
        "oracle",
        "AUROC",
        "agreement",
        "above it",
        "APGR",
        "agreement",
        "baseline-match",
        "at",
        "unanimous",
        "at",
        "ECE",
        "limit",
        "Brier",
        "before",
        "gain",
    )
    for kind in kinds:
        kept = work / f"{kind}.json"
        if not kept.is_file():
            continue
        lines = []
        for name, told in json.loads(kept.read_text("utf-8")).items():
            base, point = told["baselines"], told["operating_points"]["baseline-match"]
            lines.append(
                (
                    name,
                    *(number(told[key]) for key in ("vote_accuracy", "crowd_accuracy", "oracle_accuracy")),
                    number(told["auroc"]),
                    number(base["agreement"]["auroc"]),
                    interval(told["auroc_above_agreement_ci"]),
                    number(told["apgr"]),
                    number(base["agreement"]["apgr"]),
                    number(point["accuracy"]),
                    number(point["escalation_rate"]),
                    number(base["unanimous"]["accuracy"]),
                    number(base["unanimous"]["escalation_rate"]),
                    number(told["ece"]),
                    number(told["ece_limit"]),
                    number(told["brier"]),
                    number(told["brier_uncalibrated"]),
                    interval(told["brier_gain_ci"], digits=4),
                )
            )
        print_table(f"Zero-shot: {kind}, trained without the set and its twins", headings, lines)


def say(words: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
