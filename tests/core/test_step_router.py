"""The router of queries with tools bound where nobody has chosen one."""

from pathlib import Path

import pytest

from pyramid_core import Pyramid, Recorded, ThresholdRule
from pyramid_core.decision import EscalationRule
from pyramid_core.routers import LearnedRouter, load_router, shipped
from pyramid_core.routers.steps import StepRouter, ends_in_words, with_tools
from pyramid_core.types import Answer, Decision, Failure, Observation, Query, Reply, ToolCall, Verdict

CROWD = ("a", "b", "c")
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ASKED = Query(text="What is the weather in Oslo?", tools=(TOOL,))
AFTER_A_TOOL = Query(
    text="What is the weather in Oslo?",
    tools=(TOOL,),
    messages=(
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "tool", "content": "4 degrees"},
    ),
)
OSLO = Answer(text="", tool_calls=(ToolCall(name="get_weather", arguments={"city": "Oslo"}),))
CAIRO = Answer(text="", tool_calls=(ToolCall(name="get_weather", arguments={"city": "Cairo"}),))


def observed(*said, query=ASKED):
    replies = tuple(Reply(call=n, role="crowd", who=CROWD[n], result=one) for n, one in enumerate(said))
    return Observation(query=query, crowd=CROWD, replies=replies, oracles=("o",))


@pytest.fixture(scope="module")
def tools():
    return load_router("tools")


def pyramid(**more):
    return Pyramid(crowd=[Recorded(name) for name in CROWD], oracle=Recorded("o"), **more)


def record(*said, query=ASKED):
    names = (*CROWD, "o")
    responses = []
    for name, one in zip(names, said, strict=True):
        calls = [{"name": c.name, "arguments": c.arguments} for c in one.tool_calls]
        responses.append({"model": name, "text": one.text, "tool_calls": calls, "latency": 1.0})
    return {
        "id": "1",
        "query": query.text,
        "messages": list(query.messages),
        "tools": list(query.tools),
        "responses": responses,
    }


def test_the_router_of_tool_calls_ships_for_any_crowd_and_any_oracle(tools):
    assert "tools" in shipped()
    assert (tools.card.kind, tools.card.crowd, tools.card.oracle, tools.card.min_members) == (
        "tools",
        None,
        None,
        2,
    )
    assert set(tools.operating_points) >= {"economy", "balanced", "baseline-match"}


def test_agreement_on_a_grounded_call_is_trusted_and_a_call_from_nowhere_is_not(tools):
    sure, unsure = tools.assess(observed(OSLO, OSLO, OSLO)), tools.assess(observed(CAIRO, CAIRO, OSLO))
    assert sure.p_fail < 0.1 < unsure.p_fail


def test_a_grounded_call_can_stand_against_two_from_nowhere(tools):
    found = {
        tuple(score.calls): score.p_right for score in tools.assess(observed(CAIRO, CAIRO, OSLO)).p_right
    }
    alone = {tuple(score.calls): score.p_right for score in tools.assess(observed(CAIRO, OSLO, OSLO)).p_right}
    assert found[0, 1] < alone[1, 2]


def test_it_does_not_depend_on_who_is_called_what(tools):
    swapped = Observation(
        query=ASKED,
        crowd=("x", "y", "z"),
        replies=tuple(
            Reply(call=n, role="crowd", who=who, result=one)
            for n, (who, one) in enumerate(zip(("x", "y", "z"), (OSLO, CAIRO, OSLO), strict=True))
        ),
        oracles=("o",),
    )
    assert tools.assess(swapped).p_fail == tools.assess(observed(CAIRO, OSLO, OSLO)).p_fail


def test_a_pyramid_without_a_router_takes_it_where_tools_are_bound():
    outcome = pyramid().replay(record(OSLO, OSLO, OSLO, OSLO))
    assert outcome.trace.router.startswith("tools/")
    assert outcome.trace.judgements[-1].decision.verdict is Verdict.ACCEPT


def test_without_tools_it_takes_agreement():
    plain = {**record(OSLO, OSLO, OSLO, OSLO), "tools": None}
    assert pyramid().replay(plain).trace.router == "agreement"


def test_a_router_that_was_given_stays():
    assert pyramid(router="agreement").replay(record(OSLO, OSLO, OSLO, OSLO)).trace.router == "agreement"


@pytest.mark.parametrize("rule", [ThresholdRule(0.3), EscalationRule(c_esc=0.01, u_correct=1.0)])
def test_the_rule_that_was_given_stays(rule):
    trace = pyramid(rule=rule).replay(record(OSLO, OSLO, OSLO, OSLO)).trace
    assert type(rule).__name__ in trace.judgements[-1].decision.rule


@pytest.mark.parametrize(
    ("query", "crowd", "fits"),
    [
        (ASKED, CROWD, True),
        (ASKED, ("a",), False),
        (Query(text="?"), CROWD, False),
        (Query(text="?", tools=(TOOL,), answer_type="fields"), CROWD, False),
        (Query(text="?", tools=(TOOL,), answer_type="tool_calls"), CROWD, True),
        (Query(text="?", tools=(TOOL,), tool_choice="auto"), CROWD, True),
        (Query(text="?", tools=(TOOL,), tool_choice="required"), CROWD, False),
    ],
)
def test_which_queries_it_is_for(query, crowd, fits):
    assert with_tools(query, crowd) is fits


def test_final_words_after_a_tool_are_judged_by_agreement(tools):
    router, words = StepRouter(tools), Answer(text="It is 4 degrees.")
    assert ends_in_words(observed(words, words, query=AFTER_A_TOOL))
    assert router.assess(observed(words, words, words, query=AFTER_A_TOOL)).router == "agreement"
    assert router.assess(observed(words, OSLO, words, query=AFTER_A_TOOL)).router == router.id
    assert router.assess(observed(words, words, words)).router == "agreement/tool_calls"


def test_nothing_is_foreseen_of_final_words_while_a_member_may_yet_call(tools):
    def decide(assessment):
        return Decision(verdict=Verdict.ACCEPT)

    words = Answer(text="It is 4 degrees.")
    router = StepRouter(tools)
    assert router.foresee(observed(words, words, query=AFTER_A_TOOL), decide) == {}


@pytest.mark.parametrize(
    ("said", "by"),
    [
        ((OSLO, OSLO, OSLO), "agreement/tool_calls"),
        ((CAIRO, CAIRO, CAIRO), "agreement/tool_calls"),
        ((Answer(text="I cannot."), Answer(text="Sorry."), Answer(text="No tool.")), "agreement/tool_calls"),
        ((OSLO, CAIRO, Answer(text="No tool.")), "agreement/tool_calls"),
        ((OSLO, CAIRO, OSLO), "tools"),
        ((OSLO, Failure(kind="E"), OSLO), "tools"),
    ],
)
def test_votes_decide_where_all_or_no_two_agree_and_learning_between(tools, said, by):
    assert StepRouter(tools).assess(observed(*said)).router.startswith(by)


def test_a_part_of_the_crowd_is_not_the_crowd(tools):
    two = observed(OSLO, OSLO)
    waiting = Observation(query=two.query, crowd=CROWD, replies=two.replies, pending=("c",), oracles=("o",))
    assert StepRouter(tools).assess(waiting).router == tools.id


def test_the_record_says_which_arguments_differ(tools):
    assert "members differ in get_weather(city)" in tools.assess(observed(OSLO, CAIRO, OSLO)).notes
    assert not any("differ" in note for note in tools.assess(observed(OSLO, OSLO)).notes)


def test_the_record_says_that_words_were_not_compared(tools):
    no, sorry = Answer(text="I cannot."), Answer(text="Sorry.")
    assert any("their words were not compared" in note for note in tools.assess(observed(no, sorry)).notes)


def test_the_guide_s_example_runs(capsys):
    guide = (Path(__file__).resolve().parents[2] / "docs" / "tools.md").read_text("utf-8")
    exec(guide.partition("```python\n")[2].partition("```")[0], {})
    assert "members differ in get_weather(city)" in capsys.readouterr().out


def test_a_step_router_is_the_router_of_calls_to_the_outside(tools):
    router = StepRouter(tools)
    assert isinstance(router.calls, LearnedRouter)
    told = (
        router.id,
        router.evidence,
        router.fuses,
        router.operating_points,
        router.crowd,
        router.min_members,
    )
    assert told == (
        tools.id,
        tools.evidence,
        tools.fuses,
        tools.operating_points,
        tools.crowd,
        tools.min_members,
    )
