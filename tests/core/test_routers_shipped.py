"""The router that ships for the embedded models: it loads, says what it said, and does what its card promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyramid_core.embedded import embedded_crowd, embedded_oracle
from pyramid_core.embedded.problems import problems
from pyramid_core.errors import RouterError
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers import load_router, shipped
from pyramid_core.text import Reading
from pyramid_core.training.examples import observation_of
from pyramid_core.types import Answer, Policy

CROWD = tuple(member.name for member in embedded_crowd())
ORACLE = embedded_oracle().name
REFERENCE = Path(__file__).parent / "data" / "embedded_router.json"


def test_it_is_found_by_name() -> None:
    assert "embedded" in shipped()


def test_it_is_for_the_embedded_crowd_and_no_other() -> None:
    assert load_router("embedded", crowd=CROWD).crowd == CROWD
    with pytest.raises(RouterError, match="trained for the crowd"):
        load_router("embedded", crowd=("gemma", "llama", "qwen"))


@pytest.mark.parametrize("kept", json.loads(REFERENCE.read_text()), ids=lambda kept: kept["record"]["id"])
def test_it_says_what_it_said_when_it_was_trained(kept: dict[str, Any]) -> None:
    found = load_router("embedded").assess(observation_of(kept["record"], crowd=CROWD, oracle=ORACLE))
    assert found.chosen == kept["chosen"]
    assert found.p_fail == pytest.approx(kept["p_fail"], abs=1e-6)
    assert found.p_after == pytest.approx(kept["p_after"], abs=1e-6)


def test_at_baseline_match_it_loses_nothing_and_saves_half_of_the_oracles_calls() -> None:
    # Problems of the split that routers are trained on, by a seed that no training has used.
    pyramid = Pyramid(
        crowd=embedded_crowd(), oracle=embedded_oracle(), router="embedded", policy=Policy(early_stop=None)
    )
    right = alone = escalated = 0
    drawn = problems(70_001, 150, split="router")
    for problem in drawn:
        outcome = pyramid.ask(problem.question)
        asked = [call for call in outcome.trace.calls if call.role == "oracle"]
        oracle = asked[0].result if asked else embedded_oracle().ask(outcome.trace.query)
        assert isinstance(oracle, Answer)
        right += Reading(outcome.answer.text).number == str(problem.answer)
        alone += Reading(oracle.text).number == str(problem.answer)
        escalated += bool(asked)
    assert right >= alone - 3
    assert 0.1 < escalated / len(drawn) < 0.5
