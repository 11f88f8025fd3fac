"""A profile of tool calls: the baseline of whoever declines, and a router of kind tools trained in folds."""

import numpy as np
import pytest

from pyramid_core.evaluation.profile import Plan, profile
from pyramid_core.evaluation.sheet import Wanted, sheet_of
from pyramid_core.features import FeatureSet
from pyramid_core.training import Setting, default_features, examples_of
from pyramid_core.training.examples import OTHER, other_crowds
from pyramid_core.training.fitting import fit

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "book",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
CITIES = ("Rome", "Oslo", "Bonn", "Lima", "Cork")
FEATURES = FeatureSet("class", default_features("tools"), "tool_calls")
WANTED = Wanted(crowd=("a", "b", "c"), oracle="o")


def response(model, city, *, correct):
    calls = [] if city is None else [{"name": "book", "arguments": {"city": city}}]
    text = "No tool fits." if city is None else ""
    return {"model": model, "text": text, "tool_calls": calls, "correct": correct}


def record(number, rng):
    """A question that a call of its city answers, or one that none does; each member errs now and then."""
    city = CITIES[number % len(CITIES)] if rng.random() < 0.7 else None
    said = []
    for model, skill in (("a", 0.7), ("b", 0.75), ("c", 0.8), ("d", 0.7), ("o", 0.95)):
        right = rng.random() < skill
        wrong = "Nowhere" if city is None or rng.random() < 0.8 else None
        said.append(response(model, city if right else wrong, correct=right))
    return {
        "id": str(number),
        "query": f"Question {number}: a flight to {city or 'the moon'}?",
        "tools": TOOLS,
        "responses": said,
    }


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(5)
    return [record(number, rng) for number in range(120)]


def test_whoever_declines_decides_in_the_baseline(made):
    sheet = sheet_of(made, WANTED)
    vote = np.full(len(made), 0.5)
    first = next(n for n, one in enumerate(made) if any(not r["tool_calls"] for r in one["responses"][:3]))
    decliner = next(r for r in made[first]["responses"] if not r["tool_calls"])
    found = sheet.any_refusal(vote)
    assert found[first] == float(decliner["correct"])
    nobody = [n for n, one in enumerate(made) if all(r["tool_calls"] for r in one["responses"][:3])]
    assert set(found[nobody]) == {0.5}


def test_without_tools_there_is_no_such_baseline(made):
    assert sheet_of([{**one, "tools": None} for one in made], WANTED).any_refusal(np.zeros(len(made))) is None


def test_a_profile_of_kind_tools_has_the_baseline_and_the_paired_interval(made):
    told = profile(lambda: made, Plan(wanted=WANTED, kind="tools", folds=3, resamples=20))
    assert told["router"] == "tools"
    assert told["crowd_accuracy"] > told["vote_accuracy"]
    above = told["crowd_accuracy"] - told["baselines"]["any_refusal"]["accuracy"]
    assert told["crowd_accuracy_above_any_refusal"] == pytest.approx(above, abs=1e-6)
    low, high = told["crowd_accuracy_above_any_refusal_ci"]
    assert low <= above <= high


def test_other_crowds_are_drawn_from_all_but_the_oracle_and_always_the_same(made):
    setting = Setting(crowd=("a", "b", "c"), oracle="o", features=FEATURES, others=3)
    drawn = other_crowds(made[0], setting)
    assert drawn == other_crowds(made[0], setting)
    assert {name for crowd in drawn for name in crowd} <= {"a", "b", "c", "d"}
    assert all(2 <= len(crowd) <= 4 for crowd in drawn)
    assert (examples_of(made[:5], setting).view == OTHER).any()


def test_where_nobody_else_has_answered_no_other_crowd_is_drawn(made):
    setting = Setting(crowd=("a", "b", "c", "d"), oracle="o", features=FEATURES, others=3)
    assert other_crowds(made[0], setting) == []


def test_a_trained_tools_router_serves_any_crowd_and_compares_calls(made):
    router = fit(made, crowd=("a", "b", "c"), oracle="o", kind="tools", any_crowd=True, folds=3)
    assert (router.card.kind, router.card.level, router.card.crowd) == ("tools", "class", None)
    assert router.features.equivalence == "tool_calls"
    assert not any("[" in name for name in router.features.names)
