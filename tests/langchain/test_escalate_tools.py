"""Tools whose calls are the oracle's to make."""

import pytest

from pyramid_core.errors import InputError, PyramidAbstained
from tests.langchain.scripted import Scripted, pyramid
from tests.langchain.test_tools import add, call

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
        message = pyramid(both, both, oracle="no", **GUARDED).bind_tools([add]).invoke("1 + 2?")
        assert message.text == "no"

    @pytest.mark.parametrize("answer", ["it is 3", call("sub", a=1)])
    def test_what_calls_none_of_them_is_accepted_as_ever(self, answer):
        message = pyramid(answer, answer, **GUARDED).bind_tools([add]).invoke("1 + 2?")
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
