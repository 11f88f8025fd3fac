"""The tables of docs/evidence.md from the recorded answers: one JSON file a set, so that an interrupted run goes on.

    python benchmarks/recorded.py --out build/recorded             every set that is not there yet, then the tables
    python benchmarks/recorded.py --out build/recorded mmlu-paper  these sets
    python benchmarks/recorded.py --out build/recorded ablation labels production  these further tables
    python benchmarks/recorded.py --out build/recorded --tables    the tables of what is there

The recorded sets are looked for in PYRAMID_DATA, else beside the project. Twice the same command, twice the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recorded_more

from pyramid_core.evaluation.profile import Plan, Records, profile
from pyramid_core.evaluation.sheet import Wanted
from pyramid_core.evidence import BehaviourCache, BehaviourGatherer, RecordedBehaviour
from pyramid_core.records import read_records
from pyramid_core.routers.card import BY_VALUE

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One set: whose answers, which router, and what must be reached."""

    file: str
    crowd: tuple[str, ...]
    oracle: str
    kind: str = "value"
    weak: str | None = None
    without: tuple[str, ...] = ()
    grade: str = "correct"
    run_code: bool = False
    targets: Mapping[str, float] | None = None


GSM = ("gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct")
PRO = ("Meta-Llama-3.1-8B-Instruct", "mathstral-7B", "Phi-3-mini-4k-instruct")
PAPER = ("Meta-Llama-3.1-8B-Instruct-Turbo", "Qwen2.5-7B-Instruct", "gemma-2-9b-it")
TODAY = ("gpt-4o-mini-2024-07-18", "gemini-1.5-flash-8b", "Qwen3-14B")
REASONING = ("gpt-4.1-mini", "gemini-2.0-flash", "Llama-4-Maverick-17B-128E-Instruct-FP8")
DEEPSEEK = ("gemini-2.0-flash", "Llama-4-Maverick-17B-128E-Instruct-FP8", "Qwen3-235B-A22B-fp8-tput")
NQ = ("gemma-2-9b-it", "Meta-Llama-3-8B-Instruct", "Phi-3.5-mini-instruct")
STATED = ("gemma-2-9b-it", "Meta-Llama-3-8B-Instruct", "Llama-2-7b-chat-hf")
ROUTELLM = (
    "Mixtral-8x7B-Instruct-v0.1 (RouteLLM 8-shot)",
    "openai-gpt3-175b_verification",
    "openai-gpt3-175b_finetuning",
)
CRUX = ("Qwen2.5-7B-Instruct", "gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct")
MBPP = ("CodeQwen1.5-7B-Chat", "DeepSeek-Coder-V2-Lite-Instruct", "StarCoder2-15B")
LLAMA = "Meta-Llama-3.1-70B-Instruct"
CONFIDENCE = "mmlu_pro_confidence"

SETS: dict[str, Row] = {
    "gsm8k-llama": Row(
        file="gsm8k_zeroeval", crowd=GSM, oracle=LLAMA, targets={"auroc": 0.88, "best_accuracy": 0.948}
    ),
    "gsm8k-405b": Row(file="gsm8k_zeroeval", crowd=GSM, oracle="Llama-3.1-405B-Inst", targets={"apgr": 0.94}),
    "gsm8k-routellm": Row(
        file="gsm8k_openai_routellm",
        crowd=ROUTELLM,
        oracle="gpt-4-1106-preview (RouteLLM 8-shot)",
        weak=ROUTELLM[0],
        targets={"apgr": 0.86, "cpt80": 0.31, "best_accuracy": 0.875},
    ),
    "mmlu-pro": Row(file="mmlu_pro", crowd=PRO, oracle=LLAMA, targets={"auroc": 0.80, "apgr": 0.72}),
    "mmlu-paper": Row(
        file=CONFIDENCE,
        crowd=PAPER,
        oracle="Meta-Llama-3.1-70B-Instruct-Turbo",
        targets={
            "auroc": 0.78,
            "apgr": 1.10,
            "crowd_accuracy": 0.552,
            "match_rate": 0.28,
            "fused_accuracy": 0.640,
        },
    ),
    "mmlu-paper-405b": Row(file=CONFIDENCE, crowd=PAPER, oracle="Meta-Llama-3.1-405B-Instruct-Turbo"),
    "mmlu-today": Row(file=CONFIDENCE, crowd=TODAY, oracle="gpt-4.1", targets={"auroc": 0.83, "apgr": 0.80}),
    "mmlu-reasoning": Row(
        file=CONFIDENCE,
        crowd=REASONING,
        oracle="o4-mini-2025-04-16",
        targets={"accuracy at .1": 0.821, "accuracy at .2": 0.826, "fused_accuracy": 0.832},
    ),
    "mmlu-deepseek": Row(
        file=CONFIDENCE,
        crowd=DEEPSEEK,
        oracle="deepseek-reasoner",
        targets={"accuracy at .2": 0.843, "fused_accuracy": 0.849},
    ),
    "nq": Row(
        file="nq_logprobs",
        crowd=NQ,
        oracle=LLAMA,
        kind="anytime",
        targets={"auroc": 0.81, "apgr": 0.72},
    ),
    "nq-without-logprobs": Row(
        file="nq_logprobs", crowd=NQ, oracle=LLAMA, kind="anytime", without=("logprob",)
    ),
    "nq-gold": Row(file="nq_logprobs", crowd=NQ, oracle=LLAMA, kind="anytime", grade="matches_gold"),
    "nq-value": Row(file="nq_logprobs", crowd=NQ, oracle=LLAMA),
    "nq-stated": Row(file="nq_stated_logprobs", crowd=STATED, oracle=LLAMA, kind="anytime"),
    "cruxeval": Row(
        file="cruxeval_zeroeval",
        crowd=CRUX,
        oracle="gpt-4o-2024-08-06",
        targets={"auroc": 0.815, "apgr": 0.68},
    ),
    "mbpp-text": Row(
        file="mbpp_ldb_mgdebugger", crowd=MBPP, oracle="gpt-4 (reflexion simple)", kind="consensus"
    ),
    "mbpp": Row(
        file="mbpp_ldb_mgdebugger",
        crowd=MBPP,
        oracle="gpt-4 (reflexion simple)",
        kind="consensus",
        run_code=True,
        targets={"crowd_accuracy_all": 0.795, "crowd_accuracy": 0.855, "auroc": 0.86, "recall": 0.816},
    ),
    "mbpp-without-expected-value": Row(
        file="mbpp_ldb_mgdebugger",
        crowd=MBPP,
        oracle="gpt-4 (reflexion simple)",
        kind="consensus",
        run_code=True,
        without=("expected-value",),
        targets={"auroc": 0.78},
    ),
}
NEMO, FIRE, SMALL = (
    "open-mistral-nemo-2407-FC-Auto",
    "firefunction-v2-FC",
    "meetkai_functionary-small-v3.2-FC",
)
SETS |= {
    "tools-a": Row(
        file="bfcl_tool_calls",
        crowd=(NEMO, FIRE, "gpt-3.5-turbo-0125-FC"),
        oracle="gpt-4-0125-preview-FC",
        kind="tools",
        targets={
            "crowd_accuracy": 0.890,
            "auroc": 0.85,
            "accuracy at .05": 0.918,
            "best_accuracy": 0.932,
        },
    ),
    "tools-b": Row(
        file="bfcl_tool_calls",
        crowd=(NEMO, FIRE, SMALL),
        oracle="gpt-4-0125-preview-FC",
        kind="tools",
        targets={"crowd_accuracy": 0.895, "auroc": 0.86, "best_accuracy": 0.932},
    ),
    "tools-c": Row(
        file="bfcl_tool_calls",
        crowd=("gpt-4o-mini-2024-07-18-FC", FIRE, SMALL),
        oracle="gpt-4o-2024-08-06-FC",
        kind="tools",
        targets={"crowd_accuracy": 0.915, "auroc": 0.83, "best_accuracy": 0.926},
    ),
}
FALLING = ("match_rate", "cpt50", "cpt80")


def main() -> None:
    """Run what is asked for and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", help="names of sets; all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "recorded")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tables", action="store_true", help="run nothing")
    asked = parser.parse_args()
    folder = Path(os.environ.get("PYRAMID_DATA") or ROOT.parent / "shared" / "data")
    every = (*SETS, *recorded_more.TABLES)
    unknown = set(asked.sets) - set(every)
    if unknown:
        sys.exit(f"no set or table is called {', '.join(sorted(unknown))}: there are {', '.join(every)}")
    if not asked.tables:
        if not folder.is_dir():
            sys.exit(f"the recorded answers are not at {folder}: set PYRAMID_DATA to their folder")
        asked.out.mkdir(parents=True, exist_ok=True)
        for name in asked.sets or every:
            measure(name, folder, asked.out, seeds=asked.seeds)
    print_tables(asked.out)
    print_further(asked.out)


def measure(name: str, folder: Path, out: Path, *, seeds: int) -> None:
    """Profile one set, or make one further table, unless its file is there."""
    kept = out / f"{name}.json"
    if kept.is_file():
        return
    began = time.perf_counter()
    told: Any
    if name in SETS:
        told = profile(*planned(name, folder, out, seeds=seeds))
    else:
        wanted = {one: planned(one, folder, out, seeds=1) for one in recorded_more.OF[name]}
        told = recorded_more.TABLES[name](wanted)
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(told, indent=1, allow_nan=False), "utf-8")
    part.replace(kept)
    print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def planned(name: str, folder: Path, out: Path, *, seeds: int) -> tuple[Records, Plan]:
    """A set's records, and how it is profiled."""
    row = SETS[name]
    plan = Plan(
        wanted=Wanted(crowd=row.crowd, oracle=row.oracle, weak=row.weak, grade=row.grade),
        kind=row.kind,
        without=row.without,
        seeds=seeds,
        fusion=row.kind in BY_VALUE,
        evidence=programs_run(out) if row.run_code else None,
    )
    return lambda: read_records(folder / f"{row.file}.jsonl.gz"), plan


def programs_run(out: Path) -> RecordedBehaviour:
    """What runs programs, each once: what they did is kept beside the tables."""
    cache = BehaviourCache(out / "behaviour.sqlite")
    return RecordedBehaviour(BehaviourGatherer(run_code=True, cache=cache))


def print_programs(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Markdown: the sets whose programs are run, beside the first that passes the question's example."""
    headings = (
        "set",
        "all 500",
        "first that passes",
        "235",
        "first that passes",
        "AUROC",
        "recall point",
        "at",
    )
    lines = []
    for name, told in found.items():
        first = told["baselines"].get("first_that_passes")
        if first is not None:
            point = told["operating_points"]["recall"]
            lines.append(
                (
                    name,
                    with_interval(told, "crowd_accuracy_all"),
                    number(first["accuracy_all"]),
                    with_interval(told, "crowd_accuracy"),
                    number(first["accuracy"]),
                    with_interval(told, "auroc"),
                    with_interval(point, "recall"),
                    with_interval(point, "escalation_rate"),
                )
            )
    print_table("Programs that are run", headings, lines)


def print_further(out: Path) -> None:
    """Markdown of the further tables that are there."""
    for name in recorded_more.TABLES:
        if not (out / f"{name}.json").is_file():
            continue
        lines = json.loads((out / f"{name}.json").read_text("utf-8"))
        headings = [key for key in lines[0] if not key.endswith("_ci")]
        cells = [
            tuple(with_interval(line, key) if isinstance(line[key], float) else line[key] for key in headings)
            for line in lines
        ]
        print_table(name.capitalize(), tuple(key.replace("_", " ") for key in headings), cells)


def print_tables(out: Path) -> None:
    """Markdown: quality, cost and calibration by set, then targets."""
    found = {
        name: json.loads((out / f"{name}.json").read_text("utf-8"))
        for name in SETS
        if (out / f"{name}.json").is_file()
    }
    headings = (
        "set",
        "seeds",
        "vote",
        "chosen",
        "oracle",
        "AUROC",
        "agreement",
        "above it",
        "APGR",
        "agreement",
        "above it",
    )
    lines = [
        (
            name,
            told["seeds"],
            number(told["vote_accuracy"]),
            number(told["crowd_accuracy"]),
            number(told["oracle_accuracy"]),
            with_interval(told, "auroc"),
            number(told["baselines"]["agreement"]["auroc"]),
            interval(told["auroc_above_agreement_ci"]),
            with_interval(told, "apgr"),
            number(told["baselines"]["agreement"]["apgr"]),
            interval(told["apgr_above_agreement_ci"]),
        )
        for name, told in found.items()
    ]
    print_table("Quality of routing", headings, lines)
    headings = (
        "set",
        "match rate",
        "cpt50",
        "cpt80",
        "best accuracy",
        ".05",
        ".1",
        ".2",
        ".3",
        ".5",
        "fused",
    )
    lines = [
        (
            name,
            *(with_interval(told, key) for key in ("match_rate", "cpt50", "cpt80", "best_accuracy")),
            *(number(value) for value in told["accuracy_at_rate"].values()),
            with_interval(told, "fused_accuracy"),
        )
        for name, told in found.items()
    ]
    print_table("Along the held-out curve (optimistic: read off afterwards)", headings, lines)
    headings = ("set", "point", "accuracy", "escalated")
    lines = [
        (name, point, with_interval(kept, "accuracy"), with_interval(kept, "escalation_rate"))
        for name, told in found.items()
        for point, kept in told["operating_points"].items()
    ]
    print_table("Operating points, chosen inside the training folds", headings, lines)
    headings = ("set", "ECE", "limit", "within", "Brier", "before", "gain", "concave", "selection stood")
    lines = [
        (
            name,
            with_interval(told, "ece"),
            number(told["ece_limit"]),
            "yes" if told["ece"] <= told["ece_limit"] else "no",
            number(told["brier"]),
            number(told["brier_uncalibrated"]),
            interval(told["brier_gain_ci"], digits=4),
            "yes" if told["concave"] else "no",
            "/".join(str(folds) for folds in told["selection_folds"]),
        )
        for name, told in found.items()
    ]
    print_table("Calibration", headings, lines)
    headings = (
        "set",
        "random APGR",
        "unanimous",
        "at",
        "query length APGR",
        "best model",
        "perfect APGR",
        "ceiling",
    )
    lines = [
        (
            name,
            number(told["baselines"]["random"]["apgr"]),
            number(told["baselines"]["unanimous"]["accuracy"]),
            number(told["baselines"]["unanimous"]["escalation_rate"]),
            number(told["baselines"]["query_length"]["apgr"]),
            number(told["baselines"]["best_model"]["accuracy"]),
            number(told["baselines"]["perfect"]["apgr"]),
            number(told["ceiling_accuracy"]),
        )
        for name, told in found.items()
    ]
    print_table("Baselines", headings, lines)
    print_programs(found)
    lines = [
        (
            name,
            key,
            f"{wanted:g}",
            f"{value:.4f}",
            interval(interval_of(told, key)),
            "yes" if reached(key, value, wanted) else "no",
        )
        for name, told in found.items()
        for key, wanted in (SETS[name].targets or {}).items()
        for value in (value_of(told, key),)
    ]
    print_table("Targets", ("set", "figure", "wanted", "measured", "95 %", "reached"), lines)


def value_of(told: Mapping[str, Any], key: str) -> float:
    if key == "recall":
        return float(told["operating_points"]["recall"]["recall"])
    if key.startswith("accuracy at "):
        return float(told["accuracy_at_rate"][f"{float(key.removeprefix('accuracy at ')):g}"])
    return float(told[key])


def interval_of(told: Mapping[str, Any], key: str) -> list[float] | None:
    found: list[float] | None
    if key == "recall":
        found = told["operating_points"]["recall"].get("recall_ci")
    elif key.startswith("accuracy at "):
        found = told["accuracy_at_rate_ci"][f"{float(key.removeprefix('accuracy at ')):g}"]
    else:
        found = told.get(f"{key}_ci")
    return found


def reached(key: str, value: float, wanted: float) -> bool:
    return value <= wanted if key in FALLING else value >= wanted


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def interval(ends: list[float] | None, digits: int = 3) -> str:
    return "" if ends is None else f"[{number(ends[0], digits)}, {number(ends[1], digits)}]"


def with_interval(told: Mapping[str, Any], key: str) -> str:
    return f"{number(told[key])} {interval(told.get(f'{key}_ci') if told[key] is not None else None)}".strip()


def print_table(title: str, headings: tuple[str, ...], lines: list[tuple[Any, ...]]) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))
    for line in lines:
        print("| " + " | ".join(str(cell) for cell in line) + " |")


if __name__ == "__main__":
    main()
