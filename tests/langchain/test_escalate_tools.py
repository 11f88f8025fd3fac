"""Tools whose calls are the oracle's to make."""

import asyncio

import pytest

from pyramid_core.decision import ThresholdRule
from pyramid_core.errors import InputError, PyramidAbstained
from pyramid_core.guarding import EscalateTools
from pyramid_core.types import Answer, Assessment, Options, Policy, Reply, ToolCall, Verdict
from tests.langchain.scripted import Scripted, pyramid
from tests.langchain.test_tools import add, call, sub

GUARDED = {"escalate_tools": {"add"}}


class TestGuardedTools:
    async def test_a_unanimous_call_goes_to_the_oracle(self):
        llm = pyramid(call(a=1, b=2), call(a=1, b=2), oracle=call(a=5, b=5), **GUARDED).bind_tools([add])
        for message in (llm.invoke("1 + 2?"), await llm.ainvoke("1 + 2?")):
            assert message.tool_calls[0]["args"] == {"a": 5, "b": 5}
            assert message.response_metadata["pyramid"]["answered_by"] == "big"

    def test_so_does_one_among_several_calls(self):
        both = call("sub", a=1)
        both.tool_calls += call(a=1, b=2).tool_calls
        message = pyramid(both, both, oracle="no", **GUARDED).bind_tools([add, sub]).invoke("1 + 2?")
        assert message.text == "no"

    @pytest.mark.parametrize("answer", ["it is 3", call("sub", a=1)])
    def test_what_calls_none_of_them_is_accepted_as_ever(self, answer):
        message = pyramid(answer, answer, **GUARDED).bind_tools([add, sub]).invoke("1 + 2?")
        assert message.response_metadata["pyramid"]["verdict"] == "accept"

    def test_where_the_oracle_fails_nobody_calls(self):
        llm = pyramid(call(a=1, b=2), call(a=1, b=2), oracle=Scripted("big", ConnectionError()), **GUARDED)
        with pytest.raises(PyramidAbstained, match="the crowd calls add, which only an oracle may"):
            llm.bind_tools([add]).invoke("1 + 2?")

    def test_the_names_are_part_of_what_identifies_a_pyramid(self):
        assert "'add'" in pyramid("4", **GUARDED)._identifying_params["rule"]

    @pytest.mark.parametrize("tools", ["add", [3]])
    def test_what_are_no_names_is_refused(self, tools):
        with pytest.raises(InputError, match="tools must be a set of tool names"):
            pyramid("4", escalate_tools=tools)


class TestWithoutTime:
    """A deadline, or a reader who has seen enough, takes the best so far; never a guarded call of the crowd's."""

    async def test_a_deadline_while_the_crowd_is_cut_short_hands_no_call_out(self):
        slow = Scripted("slow", call(a=1, b=2), gate=asyncio.Event())
        llm = pyramid(call(a=1, b=2), slow, policy=Policy(early_stop=None), **GUARDED).bind_tools([add])
        with pytest.raises(
            PyramidAbstained, match="which only an oracle may, and there is no time to ask one"
        ):
            await llm.ainvoke("1 + 2?", timeout=0.05)

    async def test_nor_while_the_oracle_is_awaited(self):
        oracle = Scripted("big", call(a=1, b=2), gate=asyncio.Event())
        llm = pyramid(call(a=1, b=2), call(a=1, b=2), oracle=oracle, **GUARDED).bind_tools([add])
        with pytest.raises(PyramidAbstained, match="no time to ask one"):
            await llm.ainvoke("1 + 2?", timeout=0.05)

    async def test_what_calls_none_of_them_comes_back_at_the_deadline_as_ever(self):
        slow = Scripted("slow", "it is 3", gate=asyncio.Event())
        message = await pyramid("it is 3", slow, **GUARDED).bind_tools([add]).ainvoke("1 + 2?", timeout=0.05)
        assert message.response_metadata["pyramid"]["ended"] == "deadline"

    def test_a_watcher_is_not_offered_one(self):
        llm = pyramid(call(a=1, b=2), call(a=1, b=2), oracle=call(a=5, b=5), **GUARDED)
        *offers, outcome = llm.pyramid.solutions("1 + 2?")
        assert [offer.answer.member for offer in offers] == ["big"]
        assert outcome.answer.tool_calls[0].arguments == {"a": 5, "b": 5}

    def test_an_answer_instead_of_abstaining_is_refused(self):
        with pytest.raises(InputError, match="on_abstain='answer' would hand out what EscalateTools"):
            pyramid("4", policy=Policy(on_abstain="answer"), **GUARDED)


class TestFused:
    """Where an oracle's answer joins the classes, a guarded call stands only if an oracle has made the same."""

    def bars(self, standing, *oracle):
        crowd = Reply(call=0, role="crowd", who="m0", result=Answer(text="", tool_calls=(standing,)))
        heard = Reply(call=1, role="oracle", who="big", result=Answer(text="", tool_calls=oracle))
        options = Options(oracles=(), may_wait=False, replies=(crowd, heard))
        rule = EscalateTools(ThresholdRule(0.5), {"add"})
        return rule.decide(Assessment(chosen=0, p_fail=0.0), options).verdict is Verdict.ABSTAIN

    def test_the_same_call_may_stand(self):
        made = ToolCall(name="add", arguments={"a": 1})
        assert not self.bars(made, ToolCall(name="add", arguments={"a": 1}, id="another"))

    def test_another_or_none_may_not(self):
        made = ToolCall(name="add", arguments={"a": 1})
        assert self.bars(made, ToolCall(name="add", arguments={"a": 2}))
        assert self.bars(made)
