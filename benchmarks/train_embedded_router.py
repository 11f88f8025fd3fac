"""Trains the router that ships for the embedded models, and says how it does on problems that it has not seen.

    python benchmarks/train_embedded_router.py [--problems 8000] [--fresh 4000] [--kind value] [--out FOLDER]

The embedded crowd and oracle answer problems of the split "router"; their graded answers are written as records, one a
line, and a router is trained on them. It is then judged on further problems of the same split, drawn with another
seed, none of which was trained on. The split "test" is never touched: neither here nor in choosing anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from pyramid_core.embedded import embedded_crowd, embedded_oracle
from pyramid_core.embedded.members import CROWD, ORACLE
from pyramid_core.embedded.problems import Problem, stream
from pyramid_core.features import Feature
from pyramid_core.records import FORMAT, read_records, response_of, write_record
from pyramid_core.routers import LearnedRouter
from pyramid_core.routers.card import KINDS, check_writable
from pyramid_core.text import Reading, number_form
from pyramid_core.training import Growth, default_features, fit, observation_of
from pyramid_core.types import Query

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "pyramid_core" / "routers" / "shipped" / "embedded"
REFERENCE = ROOT / "tests" / "core" / "data" / "embedded_router.json"
RECORDS = ROOT / "build" / "embedded-router"
LEFT_OUT = ("final_overlap", "class_final_overlap", "class_final_words", "class_final_asked")
"""Default features about words in final answers; here final answers are numbers."""


def answered(problem: Problem) -> dict[str, Any]:
    """The record of one problem, with the graded answers of all four models."""
    responses = []
    for member in (*embedded_crowd(), embedded_oracle()):
        answer = member.ask(Query(text=problem.question))
        reading = Reading(answer.text, cut=answer.finish_reason == "length")
        responses.append(
            response_of(answer, model=member.name)
            | {
                "role": "oracle" if member.name == ORACLE else "crowd",
                "correct": reading.number == number_form(str(problem.answer)),
            }
        )
    return {
        "format": FORMAT,
        "id": hashlib.sha256(problem.question.encode()).hexdigest()[:16],
        "query": problem.question,
        "reference": str(problem.answer),
        "split": problem.split,
        "benchmark": "embedded",
        "responses": responses,
    }


def collect(path: Path, *, seed: int, count: int, but: frozenset[str] = frozenset()) -> frozenset[str]:
    """Write the records of `count` problems, none of which asks a question in `but`; the questions asked.

    A file of so many records is taken as it is, so that training again costs no answers; delete it after the models
    have changed.
    """
    if not path.is_file() or sum(1 for _ in read_records(path)) != count:
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = (problem for problem in stream(seed, split="router") if problem.question not in but)
        for number, problem in zip(range(count), drawn, strict=False):
            write_record(part, answered(problem))
            if number % 500 == 499:
                print(f"{path.name}: {number + 1} of {count} problems", flush=True)
        part.rename(path)
    return frozenset(record["query"] for record in read_records(path))


def features(kind: str) -> tuple[Feature, ...]:
    """The default features but those that the embedded models' short sums do not need: who said what is enough."""
    left = default_features(kind, CROWD)
    return tuple(
        feature
        for feature in left
        if feature.name not in LEFT_OUT and ("[" not in feature.name or "by[" in feature.name)
    )


def judged(router: LearnedRouter, path: Path) -> dict[str, Any]:
    """What the router makes of the records in `path`: arrays over the queries."""
    rows = []
    for record in read_records(path):
        right = {response["model"]: response["correct"] for response in record["responses"]}
        found = router.assess(observation_of(record, crowd=CROWD, oracle=ORACLE))
        stands = found.chosen is not None and right[CROWD[found.chosen]]
        rows.append(
            (found.p_fail, found.p_after[ORACLE], stands, right[ORACLE], *(right[name] for name in CROWD))
        )
    columns = np.array(rows, dtype=float).T
    names = ("p_fail", "p_after", "stands", "oracle", *CROWD)
    return dict(zip(names, columns, strict=True))


def report(router: LearnedRouter, path: Path, *, size: int = 500) -> None:
    """Print each operating point on the fresh records, as a whole and in runs of `size`."""
    seen = judged(router, path)
    singles = ", ".join(f"{name} {seen[name].mean():.3f}" for name in CROWD)
    print(f"fresh problems: {len(seen['oracle'])}; {singles}; standing {seen['stands'].mean():.3f}, ", end="")
    print(f"oracle {seen['oracle'].mean():.3f}")
    for name, point in router.operating_points.items():
        asked = seen["p_fail"] > point.threshold
        right = np.where(asked, seen["oracle"], seen["stands"])
        behind = [
            right[at : at + size].mean() - seen["oracle"][at : at + size].mean()
            for at in range(0, len(right) - size + 1, size)
        ]
        print(
            f"  {name:15} t {point.threshold:.3f}: escalated {asked.mean():.3f}, right {right.mean():.4f}, "
            f"against the oracle {right.mean() - seen['oracle'].mean():+.4f}, "
            f"in runs of {size}: {', '.join(f'{gap:+.3f}' for gap in behind)}"
        )


def write_reference(router: LearnedRouter, path: Path, *, count: int = 4) -> None:
    """Write a few fresh records with what the router says of them, by which a test sees that it still says so."""
    kept = []
    for record, _ in zip(read_records(path), range(count), strict=False):
        found = router.assess(observation_of(record, crowd=CROWD, oracle=ORACLE))
        for response in record["responses"]:
            response.pop("top_logprobs", None)
        kept.append(
            {"record": record, "chosen": found.chosen, "p_fail": found.p_fail, "p_after": found.p_after}
        )
    REFERENCE.write_text(json.dumps(kept, indent=1) + "\n")


def main() -> None:
    """Collect, train, judge, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=8000, help="to train on")
    parser.add_argument("--fresh", type=int, default=4000, help="to judge on")
    parser.add_argument("--kind", choices=list(KINDS), default="value")
    parser.add_argument(
        "--spare", type=float, default=3.0, help="standard errors to spare at operating points"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder for the records")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder for the router")
    options = parser.parse_args()
    check_writable(options.out)
    train, fresh = options.records / "train.jsonl", options.records / "fresh.jsonl"
    asked = collect(train, seed=1000 + options.seed, count=options.problems)
    collect(fresh, seed=2000 + options.seed, count=options.fresh, but=asked)
    router = fit(
        read_records(train),
        crowd=CROWD,
        oracle=ORACLE,
        kind=options.kind,
        features=features(options.kind),
        growth=Growth(),
        spare=options.spare,
        seed=options.seed,
        data={"file": train.name, "sha256": hashlib.sha256(train.read_bytes()).hexdigest()},
    )
    for name, value in router.card.metrics.items():
        print(f"{name}: {value}")
    report(router, fresh)
    router.save(options.out)
    if options.out == SHIPPED:
        write_reference(router, fresh)
    print(f"saved in {options.out}")


if __name__ == "__main__":
    main()
