"""A pyramid that runs leaves traces that say nothing of most queries: what exploring and weighing make of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pyramid_core import AgreementRouter, Policy, Pyramid, Recorded, ThresholdRule
from pyramid_core.errors import InputError
from pyramid_core.evaluation.judged import zero_shot
from pyramid_core.evaluation.profile import Plan, profile
from pyramid_core.evaluation.sheet import Wanted, sheet_of
from pyramid_core.evaluation.theorem import table
from pyramid_core.features import FeatureSet
from pyramid_core.records import trace_to_record
from pyramid_core.training import Setting, examples_of, fit
from pyramid_core.training.chances import chance_of, weighed
from tests.core.test_profile import CROWD, made

TRAFFIC = made(2_000)
TRUTH = sum(line["responses"][-1]["correct"] for line in TRAFFIC) / len(TRAFFIC)
WANTED = Wanted(crowd=CROWD, oracle="big")


def production(*, explore: float) -> Iterator[dict[str, Any]]:
    """The traces of a pyramid that escalates unless its crowd is unanimous, graded as the recorded answers were."""
    pyramid = Pyramid(
        crowd=[Recorded(name) for name in CROWD],
        oracle=Recorded("big"),
        router=AgreementRouter("numeric"),
        rule=ThresholdRule(0.0),
        policy=Policy(early_stop=None),
    )
    draw = random.Random(5)
    for line in TRAFFIC:
        drawn = draw.random() < explore
        outcome = pyramid.replay(line, explore=drawn, propensity=explore or None)
        grades = {answer["model"]: answer["correct"] for answer in line["responses"]}
        told = trace_to_record(outcome.trace)
        yield {
            **told,
            "id": line["id"],
            "responses": [{**r, "correct": grades[r["model"]]} for r in told["responses"]],
        }


@pytest.fixture(scope="module")
def explored() -> list[dict[str, Any]]:
    return list(production(explore=0.2))


def as_if_recorded(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same answers without a word on how the oracle's came about."""
    return [
        {
            **{key: value for key, value in line.items() if key != "deliberation"},
            "responses": [
                {k: v for k, v in answer.items() if k not in ("asked", "propensity")}
                for answer in line["responses"]
            ],
        }
        for line in lines
    ]


def figures(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return profile(lambda: iter(lines), Plan(wanted=WANTED, kind="agreement", resamples=2))


def test_traces_weighed_by_inverse_propensity_give_the_figures_of_the_whole_traffic(explored):
    whole, weighed_ = figures(TRAFFIC), figures(explored)
    for key in ("oracle_accuracy", "vote_accuracy"):
        assert weighed_[key] == pytest.approx(whole[key], abs=0.02)
    rates = [told["baselines"]["unanimous"]["escalation_rate"] for told in (whole, weighed_)]
    assert rates[1] == pytest.approx(rates[0], abs=0.03)


def test_the_same_answers_taken_as_they_come_make_the_crowd_look_far_worse(explored):
    whole, naive = figures(TRAFFIC), figures(as_if_recorded(explored))
    assert naive["vote_accuracy"] < whole["vote_accuracy"] - 0.05


def test_training_learns_the_oracle_s_accuracy_on_the_whole_traffic(explored):
    told = fit(explored, crowd=CROWD, oracle="big").card.metrics
    assert told["oracle_accuracy"] == pytest.approx(TRUTH, abs=0.02)
    assert told["vote_accuracy"] == pytest.approx(figures(TRAFFIC)["vote_accuracy"], abs=0.01)


def test_theorem_s_shares_are_those_of_the_whole_traffic(explored):
    def escalated(lines):
        sheet = sheet_of(iter(lines), WANTED)
        setting = Setting(crowd=CROWD, oracle="big", features=FeatureSet.named("query", [["agreement", 1]]))
        judged = zero_shot(examples_of(lines, setting), sheet, CROWD, None, oracle="big")
        return table(sheet, judged, (0.0,), resamples=2)[0]["p_R"]

    assert escalated(explored) == pytest.approx(escalated(TRAFFIC), abs=0.03)


@pytest.mark.parametrize("ask", [lambda lines: fit(lines, crowd=CROWD, oracle="big"), figures])
def test_traces_of_a_pyramid_that_explores_nothing_are_refused_with_the_remedy(ask):
    with pytest.raises(InputError, match="explore="):
        ask(list(production(explore=0.0)))


def test_an_answer_counts_as_often_as_its_draw_was_rare():
    context = {"deliberation": {"context": {"explore": True, "propensity": 0.25}}}
    chances = [
        chance_of(context, {"asked": "exploration"}),
        chance_of(context, {"asked": "policy"}),
        chance_of({"deliberation": {"context": {"propensity": 0.25}}}, None),
        chance_of({}, {"propensity": 0.5}),
    ]
    right, weight = weighed(np.array([1.0, 0.0, float("nan"), 1.0]), chances)
    assert right.tolist()[:2] == [1.0, 0.0]
    assert weight.tolist() == [4.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("propensity", [0.0, -0.5, 1.5])
def test_a_propensity_that_is_no_probability_is_refused(propensity):
    with pytest.raises(InputError, match="propensity"):
        weighed(np.ones(1), [chance_of({}, {"propensity": propensity})])
