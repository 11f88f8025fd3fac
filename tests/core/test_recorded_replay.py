"""Recorded answers of real models, replayed through a pyramid: what it would have done with them."""

from __future__ import annotations

from typing import Any

import pytest

from pyramid_core import AgreementRouter, Pyramid, Recorded, ThresholdRule
from tests.core.recorded import correct, records

CROWD = ("gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct")
ORACLE = "Meta-Llama-3.1-70B-Instruct"


def from_text_alone(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what the source had made of the texts."""
    said = [
        {**r, "answer": None, "correct": None} for r in record["responses"] if r["model"] in {*CROWD, ORACLE}
    ]
    return {**record, "responses": said}


@pytest.fixture(scope="module")
def gsm8k() -> tuple[list[bool], list[bool], list[bool]]:
    """For each question: escalated, right, and whether the oracle alone is right."""
    pyramid = Pyramid(
        crowd=[Recorded(name) for name in CROWD],
        oracle=Recorded(ORACLE),
        router=AgreementRouter("numeric"),
        rule=ThresholdRule(0.0),
    )
    escalated, right, alone = [], [], []
    for record in records("gsm8k_zeroeval"):
        outcome = pyramid.replay(from_text_alone(record))
        answered = outcome.answer.member
        escalated.append(answered == ORACLE)
        right.append(correct(record, answered))
        alone.append(correct(record, ORACLE))
    return escalated, right, alone


def test_escalate_unless_unanimous_asks_the_oracle_401_times(gsm8k: Any) -> None:
    escalated, _, _ = gsm8k
    assert len(escalated) == 1319
    assert sum(escalated) == pytest.approx(401, abs=5)


def test_escalate_unless_unanimous_is_more_accurate_than_the_oracle(gsm8k: Any) -> None:
    _, right, alone = gsm8k
    assert sum(right) / len(right) == pytest.approx(0.946, abs=0.002)
    assert sum(alone) / len(alone) == pytest.approx(0.942, abs=0.0005)
