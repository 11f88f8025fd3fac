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
from pyramid_core.routers import LearnedRouter, load_router, shipped
from pyramid_core.text import Reading
from pyramid_core.training.examples import observation_of
from pyramid_core.types import Answer, Observation, Policy, Query, Reply

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


ANY_CROWD = tuple(name for name in ("value", "consensus", "anytime") if name in shipped())


@pytest.mark.parametrize("name", ANY_CROWD)
class TestForAnyCrowd:
    """The routers that ship for crowds and oracles that they have never seen."""

    def test_it_is_small_and_names_no_member(self, name: str) -> None:
        router = load_router(name, crowd=("new-a", "new-b"))
        assert isinstance(router, LearnedRouter)
        assert router.crowd is None
        assert router.card.oracle is None
        assert sum(map(len, router.files.values())) < 420_000
        assert not [feature for feature, _ in router.card.features if "[" in feature]

    def test_its_card_says_what_it_was_trained_on_and_how_it_did(self, name: str) -> None:
        router = load_router(name)
        assert isinstance(router, LearnedRouter)
        card = router.card
        assert card.data["sha256"]
        assert card.metrics["scope"] == "closed-form answers only"
        assert {"economy", "balanced", "baseline-match", "recall"} <= set(card.operating_points)
        assert {"1", "2", "3", "4", "5"} <= set(card.metrics["by_crowd_size"])
        for figures in card.metrics["by_crowd_size"].values():
            assert figures["auroc_ci"][0] <= figures["auroc"] <= figures["auroc_ci"][1]
        for figures in card.metrics["zero_shot"].values():
            assert figures["brier_after_calibration"] in {"lower", "equal", "higher"}
        gains = [one["gain"] for one in card.metrics["importance"].values()]
        assert sum(gains) == pytest.approx(1, abs=0.01)

    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_it_judges_a_crowd_of_any_size_whose_members_give_nothing_but_text(
        self, name: str, size: int
    ) -> None:
        crowd = tuple(f"new-{place}" for place in range(size))
        answers = ["The answer is 12.", "The answer is 12.", "The answer is 7.", "12", "I do not know."]
        seen = Observation(
            query=Query(text="How many eggs are in a dozen?"),
            crowd=crowd,
            replies=tuple(
                Reply(call=call, role="crowd", who=who, result=Answer(text=answers[call]))
                for call, who in enumerate(crowd)
            ),
            oracles=("big",),
        )
        found = load_router(name, oracle_accuracy=0.9).assess(seen)
        assert found.chosen == 0
        assert 0 < found.p_fail < 1
        assert 0 < found.p_after["big"] < 1

    def test_disagreement_is_more_likely_to_fail_than_agreement(self, name: str) -> None:
        def p_fail(*texts: str) -> float:
            crowd = ("a", "b", "c")
            replies = [
                Reply(call=call, role="crowd", who=who, result=Answer(text=text))
                for call, (who, text) in enumerate(zip(crowd, texts, strict=True))
            ]
            seen = Observation(query=Query(text="How many?"), crowd=crowd, replies=tuple(replies))
            return load_router(name).assess(seen).p_fail

        same, split = ["The answer is 12."] * 3, ["The answer is 12.", "The answer is 7.", "The answer is 9."]
        assert p_fail(*split) > p_fail(*same) + 0.1

    def test_a_pyramid_takes_it_by_name(self, name: str) -> None:
        pyramid = Pyramid(crowd=embedded_crowd(), oracle=embedded_oracle(), router=name)
        outcome = pyramid.ask(problems(70_002, 1, split="router")[0].question)
        assert outcome.trace.judgements[0].assessment.router.startswith(f"{name}/")
