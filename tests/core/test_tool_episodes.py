"""The episodes of the benchmark: tools that act, requests with a right answer, mistakes that are mistakes."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tool_episodes import KINDS, World, answers, call, mistaken, step


@pytest.fixture(scope="module")
def steps():
    draw = random.Random(1)
    return [step(draw) for _ in range(200)]


def test_all_kinds_of_requests_occur(steps):
    assert {one.kind for one in steps} == set(KINDS)


def test_only_where_no_tool_fits_nothing_is_to_be_called(steps):
    assert all((one.kind == "relevance") == (not one.right) for one in steps)


def test_the_right_calls_change_the_world(steps):
    for one in steps:
        world = World()
        for made in one.right:
            if made.name != "cancel_event":
                world.carry_out(made)
        assert (world.state != World().state) is bool(one.right)


def test_mails_may_be_sent_in_any_order():
    one, other = call("send_mail", person="Ann", text="hi"), call("send_mail", person="Bob", text="hi")
    worlds = World(), World()
    for world, made in zip(worlds, ((one, other), (other, one)), strict=True):
        for each in made:
            world.carry_out(each)
    assert worlds[0].state == worlds[1].state


@pytest.mark.parametrize("arguments", ["no object", {}, {"person": 5}])
def test_a_call_that_cannot_be_done_does_no_harm(arguments):
    world = World()
    for name in ("send_mail", "fly"):
        world.carry_out(call(name, **(arguments if isinstance(arguments, dict) else {})))
    assert world.events == set()


def test_a_mistake_is_never_the_right_answer(steps):
    draw = random.Random(2)
    assert all(mistaken(one.right, draw).tool_calls != one.right for one in steps for _ in range(5))


def test_members_are_right_where_the_recorded_ones_were_and_wrong_together(steps):
    one = next(s for s in steps if s.kind == "simple")
    said = [("a", 1, True), ("b", 2, False), ("c", 2, False)]
    recorded = {
        "id": "1",
        "query": "?",
        "responses": [
            {
                "model": model,
                "text": "",
                "tool_calls": [{"name": "f", "arguments": {"x": x}}],
                "correct": right,
            }
            for model, x, right in said
        ],
    }
    found = answers(one, recorded, random.Random(3))
    assert found["a"].tool_calls == one.right
    assert found["b"] == found["c"] != found["a"]
