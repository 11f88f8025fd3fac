"""Answers that nobody could use are failed answers of the crowd, and the caller's own affair where they are the oracle's."""

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel, field_validator

from pyramid_core.errors import InputError
from pyramid_core.types import Policy
from tests.langchain.scripted import Scripted, pyramid
from tests.langchain.test_tools import add, call

ALL = Policy(early_stop=None)


def errors(message):
    calls = message.response_metadata["pyramid"]["calls"]
    return {c["member"]: c["error"]["type"] for c in calls if c["error"]}


class TestCalls:
    def test_arguments_that_the_tool_refuses_are_no_vote(self):
        wrong = call(a="one", b=2)
        llm = pyramid(wrong, wrong, call(a=1, b=2), oracle=call(a=5, b=5), policy=ALL).bind_tools([add])
        message = llm.invoke("1 + 2?")
        assert errors(message) == {"m0": "Unusable", "m1": "Unusable"}
        assert message.tool_calls[0]["args"] == {"a": 5, "b": 5}

    def test_nor_are_arguments_that_are_no_json(self):
        torn = AIMessage(
            "", invalid_tool_calls=[{"name": "add", "args": '{"a": ', "id": "1", "error": "torn"}]
        )
        message = pyramid(torn, torn, oracle=call(a=5, b=5), policy=ALL).bind_tools([add]).invoke("1 + 2?")
        assert errors(message) == {"m0": "Unusable", "m1": "Unusable"}

    def test_nor_is_a_tool_that_nobody_has_bound(self):
        other = call("delete", path="/")
        message = pyramid(other, other, oracle=call(a=5, b=5), policy=ALL).bind_tools([add]).invoke("1 + 2?")
        assert errors(message) == {"m0": "Unusable", "m1": "Unusable"}

    def test_nor_is_a_text_where_a_call_was_demanded(self):
        llm = pyramid("3", "3", oracle=call(a=1, b=2), policy=ALL).bind_tools([add], tool_choice="any")
        message = llm.invoke("1 + 2?")
        assert errors(message) == {"m0": "Unusable", "m1": "Unusable"}
        assert message.tool_calls

    @pytest.mark.parametrize("choice", [None, "auto"])
    def test_a_text_is_an_answer_where_none_was(self, choice):
        message = pyramid("3", "3").bind_tools([add], tool_choice=choice).invoke("1 + 2?")
        assert (message.text, errors(message)) == ("3", {})

    def test_numbers_in_quotes_are_what_they_say(self):
        message = pyramid(call(a="1", b=2), call(a=1, b=2)).bind_tools([add]).invoke("1 + 2?")
        assert message.response_metadata["pyramid"]["verdict"] == "accept"

    async def test_what_the_oracle_calls_goes_out_as_it_is(self):
        wrong = call(a="one", b=2)
        llm = pyramid("3", call(a=1, b=2), oracle=wrong).bind_tools([add])
        assert llm.invoke("1 + 2?").tool_calls[0]["args"] == {"a": "one", "b": 2}
        whole = None
        async for chunk in llm.astream("1 + 2?"):
            whole = chunk if whole is None else whole + chunk
        assert whole.tool_calls[0]["args"] == {"a": "one", "b": 2}

    def test_a_call_where_nothing_was_bound_is_compared_as_any_answer(self):
        message = pyramid(call(a=1, b=2), call(a=1, b=2)).invoke("1 + 2?")
        assert message.response_metadata["pyramid"]["verdict"] == "accept"

    def test_what_a_failed_answer_used_is_in_the_sum(self):
        wrong = call(a="one", b=2)
        llm = pyramid(wrong, wrong, oracle=call(a=5, b=5), policy=ALL).bind_tools([add])
        message = llm.invoke("1 + 2?")
        assert message.usage_metadata["total_tokens"] == 15 + 15 + 150
        assert not message.response_metadata["pyramid"]["cost"]["complete"]


class Even(BaseModel):
    """An even number."""

    value: int

    @field_validator("value")
    @classmethod
    def even(cls, value):
        if value % 2:
            raise ValueError("odd")
        return value


class TestParsing:
    def test_what_only_the_class_refuses_escalates_too(self):
        odd = call("Even", value=3)
        llm = pyramid(odd, odd, oracle=call("Even", value=4), policy=ALL)
        found = llm.with_structured_output(Even, include_raw=True).invoke("An even number?")
        assert found["parsed"] == Even(value=4)
        assert errors(found["raw"]) == {"m0": "Unusable", "m1": "Unusable"}

    def test_the_schema_may_be_plain_json(self):
        schema = {
            "title": "Even",
            "description": "d",
            "type": "object",
            "properties": {"value": {"type": "integer"}},
        }
        llm = pyramid("four", call("Even", value="x"), oracle=call("Even", value=4), policy=ALL)
        assert llm.with_structured_output(schema).invoke("An even number?") == {"value": 4}


class TestTools:
    def test_a_tool_whose_schema_is_none_is_refused_by_name(self):
        broken = {"type": "function", "function": {"name": "bad", "parameters": {"type": "nonsense"}}}
        with pytest.raises(InputError, match="tool 'bad' has parameters"):
            pyramid("4").bind_tools([add, broken])

    @pytest.mark.parametrize("thing", [5, "add", {"no": "tool"}])
    def test_what_is_no_tool_is_refused_by_its_place(self, thing):
        with pytest.raises(InputError, match=r"tools\[1\] \(.*\) cannot be read as a tool"):
            pyramid("4").bind_tools([add, thing])

    def test_a_tool_without_arguments(self):
        @tool
        def now() -> str:
            """The time."""
            return "noon"

        message = pyramid(call("now"), call("now")).bind_tools([now]).invoke("What time is it?")
        assert message.tool_calls[0]["name"] == "now"

    def test_the_oracle_alone_may_lack_the_answer(self):
        llm = pyramid(Scripted("a", call(a=1, b=2)), Scripted("b", call(a=1, b=2))).bind_tools([add])
        assert llm.invoke("1 + 2?").response_metadata["pyramid"]["verdict"] == "accept"
