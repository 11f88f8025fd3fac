"""Made-up records with honest statistics: members that are right more often on easy questions, and know it a little."""

from __future__ import annotations

import random
from typing import Any

CROWD = ("small-a", "small-b", "small-c")
ORACLE = "big"


def record(number: int, *, seed: int = 0) -> dict[str, Any]:
    """One question with four graded answers."""
    draw = random.Random(f"{seed}/{number}")
    truth, ease = draw.randrange(100, 999), draw.random()
    responses = []
    for model in (*CROWD, ORACLE):
        skill = 0.9 if model == ORACLE else 0.25 + 0.7 * ease
        right = draw.random() < skill
        value = truth if right else draw.randrange(100, 999)
        sure = 0.05 + (0.15 if right else 0.6) * draw.random()
        logprobs = [-draw.random() * sure for _ in range(6)]
        responses.append(
            {
                "model": model,
                "text": f"I add {truth - 7} and 7. The answer is {value}.",
                "logprobs": logprobs,
                "correct": value == truth,
                "tokens": 9,
            }
        )
    return {
        "id": f"q{number}",
        "query": f"Question {number}: how many are {truth - 7} and 7?",
        "answer_type": "number",
        "responses": responses,
    }


def records(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """So many records; another seed gives other questions."""
    return [record(number + 1_000_000 * seed, seed=seed) for number in range(count)]
