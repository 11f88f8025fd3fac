"""What the support of an answer by its context is worth: small models read short passages, and some are the wrong ones.

    python benchmarks/rag_context.py ask OUT.jsonl MODEL=URL[@TEMPERATURE] ...    ask OpenAI-compatible servers
    python benchmarks/rag_context.py tell OUT.jsonl                               the figures
    python benchmarks/rag_context.py tell benchmarks/rag_context.jsonl.gz         those of docs/rag.md

The corpus is written for this: ten islands with ten facts each, in prose of some sixty words an island. A hundred
questions come with the island's passage and another's; sixty come with the passages of other islands, as where a
retriever has missed, and right is who says so. `tell` gives the AUROC of each feature of `pyramid_core.features.context`
against an answer's being wrong, that of how many others agree, and that of all together, fitted on other islands.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyramid_core.features import CONTEXT_FEATURES, View
from pyramid_core.types import Answer, Observation, Query, Reply

ISLANDS = ("Arla", "Brim", "Cove", "Dunn", "Esk", "Fern", "Gull", "Holm", "Innis", "Jura")
FACTS: Mapping[str, str] = {
    "lighthouses": "{n} lighthouses stand on the cliffs of {island}",
    "ferries": "{n} ferries connect {island} with the mainland",
    "harbours": "the coast of {island} has {n} harbours",
    "windmills": "visitors to {island} can climb {n} windmills",
    "bakeries": "{island} keeps {n} bakeries in business",
    "beaches": "{n} beaches of {island} are open in summer",
    "bridges": "the roads of {island} cross {n} bridges",
    "towers": "{n} towers remain of the walls of {island}",
    "wells": "the people of {island} draw water from {n} wells",
    "schools": "children of {island} attend {n} schools",
}
PROMPT = (
    "Context information is below.\n---------------------\n{context}\n---------------------\n"
    "Given the context information and not prior knowledge, answer the query. Answer in one short sentence, and say "
    "so where the context does not tell.\nQuery: {question}\nAnswer: "
)
LACKING = re.compile(
    r"not (?:say|tell|mention|provide|specif|contain|state|given|include)|no information|unknown|n't",
    re.IGNORECASE,
)


def count(island: str, fact: str) -> int:
    """How many there are."""
    return 2 + (7 * ISLANDS.index(island) + 3 * list(FACTS).index(fact)) % 23


def passage(island: str) -> str:
    """An island in prose; the facts' order is its own."""
    names = random.Random(island).sample(list(FACTS), len(FACTS))
    told = [FACTS[name].format(n=count(island, name), island=island) for name in names]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in told)


def questions() -> Iterator[dict[str, Any]]:
    """160 of them, with their passages; `reference` is None where the passages do not tell."""
    for place, island in enumerate(ISLANDS):
        pair = [island, ISLANDS[(place + 1) % len(ISLANDS)]]
        random.Random(place).shuffle(pair)
        context = [passage(each) for each in pair]
        absent = ISLANDS[(place + 5) % len(ISLANDS)]
        asked = [(island, fact) for fact in FACTS] + [(absent, fact) for fact in list(FACTS)[::2]]
        asked += [(absent, list(FACTS)[1 + 2 * (place % 5)])]
        for number, (of, fact) in enumerate(asked):
            yield {
                "id": f"{island}-{number}",
                "fold": island,
                "query": f"How many {fact} does {of} have?",
                "context": context,
                "reference": count(of, fact) if of == island else None,
            }


def is_right(text: str, reference: int | None) -> bool:
    """Whether the last number is the reference; where there is none, whether the answer says so and has no number."""
    numbers = re.findall(r"\d+", text)
    if reference is None:
        return bool(LACKING.search(text)) and not numbers
    return bool(numbers) and int(numbers[-1]) == reference


def ask(path: Path, servers: Sequence[str]) -> None:
    """Ask every server that is not in the file yet, and write the file anew after each answer."""
    import httpx

    found = {record["id"]: record for record in _read(path)} if path.exists() else {}
    records = [found.get(q["id"], {**q, "responses": []}) for q in questions()]
    for server in servers:
        name, _, rest = server.partition("=")
        url, _, temperature = rest.partition("@")
        with httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
            for record in records:
                if any(response["model"] == name for response in record["responses"]):
                    continue
                prompt = PROMPT.format(context="\n\n".join(record["context"]), question=record["query"])
                body = {
                    "messages": [{"role": "user", "content": prompt}],
                    "temperature": float(temperature or 0),
                    "max_tokens": 32,
                    "seed": 1,
                }
                said = client.post("/v1/chat/completions", json=body).raise_for_status().json()
                text = said["choices"][0]["message"]["content"] or ""
                right = is_right(text, record["reference"])
                record["responses"].append({"model": name, "text": text, "correct": right})
                path.write_text("".join(json.dumps(each) + "\n" for each in records))


def tell(records: list[dict[str, Any]]) -> None:
    """AUROC of every signal against an answer's being wrong, of each model alone and of agreement beside it."""
    models = list(dict.fromkeys(r["model"] for record in records for r in record["responses"]))
    for model in models:
        rows = [(record, r) for record in records for r in record["responses"] if r["model"] == model]
        wrong = np.array([not r["correct"] for _, r in rows])
        signals = _signals(rows)
        names = [name for name, values in signals.items() if np.isfinite(values).all()]
        table = np.column_stack([signals[name] for name in names])
        folds = np.array([ISLANDS.index(record["fold"]) % 5 for record, _ in rows])
        print(f"{model}: {len(rows)} answers, {100 * wrong.mean():.0f}% wrong")
        for name in names:
            print(f"  {name:28}{auroc(-signals[name], wrong):6.3f}")
        print(f"  {'all of them, fitted':28}{auroc(_held_out(table, wrong, folds), wrong):6.3f}")


def _signals(rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, np.ndarray]:
    """The features of the context, and how many other models say the same, one value an answer."""
    features = [feature for feature in CONTEXT_FEATURES if feature.family == "context"]
    found: dict[str, list[float]] = {name: [] for name in ("others that agree", *(f.name for f in features))}
    for record, response in rows:
        query = Query(text=record["query"], context=tuple(record["context"]))
        reply = Reply(call=0, role="crowd", who="m", result=Answer(text=response["text"]))
        view = View(Observation(query=query, crowd=("m",), replies=(reply,)))
        for feature in features:
            value = feature.compute(view)
            # An answer without a final one has none that stands in the context.
            found[feature.name].append(0.0 if math.isnan(value) else value)
        others = [r["text"] for r in record["responses"] if r is not response]
        own = re.findall(r"\d+", response["text"])[-1:]
        found["others that agree"].append(
            float(np.mean([re.findall(r"\d+", text)[-1:] == own for text in others])) if others else math.nan
        )
    return {name: np.array(values) for name, values in found.items()}


def _held_out(table: np.ndarray, wrong: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Scores of a logistic regression, each fold's by the others."""
    scores = np.zeros(len(wrong))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        middle, scale = table[train].mean(0), table[train].std(0) + 1e-9
        seen = np.column_stack([(table - middle) / scale, np.ones(len(table))])
        weights = np.zeros(seen.shape[1])
        for _ in range(500):
            p = 1 / (1 + np.exp(-seen[train] @ weights))
            weights -= 0.5 * (seen[train].T @ (p - wrong[train]) / train.sum() + 0.01 * weights)
        scores[test] = seen[test] @ weights
    return scores


def auroc(scores: np.ndarray, wrong: np.ndarray) -> float:
    """How often a wrong answer scores above a right one, ties by half; NaN where all are the same."""
    higher, lower = scores[wrong], scores[~wrong]
    if not len(higher) or not len(lower):
        return math.nan
    above = (higher[:, None] > lower[None]).mean() + 0.5 * (higher[:, None] == lower[None]).mean()
    return float(above)


def _read(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in data.splitlines()]


def main() -> None:
    """Ask or tell."""
    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "ask":
        ask(path, sys.argv[3:])
    else:
        tell(_read(path))


if __name__ == "__main__":
    main()
