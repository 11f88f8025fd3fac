"""Tools and structured output: every member in its own schema, one answer out."""

import json

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from pyramid_core.types import Policy
from tests.langchain.scripted import Scripted, Tracer, pyramid


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def sub(a: int, b: int = 0) -> int:
    """Take one number from another."""
    return a - b


class Number(BaseModel):
    """A number."""

    value: int


def call(name="add", **arguments):
    return AIMessage(
        "", tool_calls=[{"name": name, "args": arguments, "id": f"{name}-{sorted(arguments.items())}"}]
    )


class TestTools:
    def test_equal_calls_are_accepted(self):
        message = pyramid(call(a=1, b=2), call(b=2, a=1)).bind_tools([add]).invoke("1 + 2?")
        assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}
        assert message.response_metadata["pyramid"]["verdict"] == "accept"

    @pytest.mark.parametrize("other", [call(a=1, b=3), call("sub", a=1, b=2), "I would rather not", call()])
    def test_a_different_call_or_none_goes_to_the_oracle(self, other):
        message = pyramid(call(a=1, b=2), other, oracle=call(a=5, b=5)).bind_tools([add]).invoke("1 + 2?")
        assert message.response_metadata["pyramid"]["answered_by"] == "big"
        assert message.tool_calls[0]["args"] == {"a": 5, "b": 5}

    def test_the_choice_of_tool_reaches_every_member(self):
        llm = pyramid(call(a=1, b=2), call(a=1, b=2))
        llm.bind_tools([add], tool_choice="any").invoke("1 + 2?")
        assert [member.calls[0][1]["choice"] for member in llm.crowd] == ["any", "any"]

    @pytest.mark.parametrize(
        "thing",
        [add, Number, {"title": "number", "description": "d", "type": "object", "properties": {}}],
        ids=["tool", "class", "schema"],
    )
    def test_tools_of_every_form_are_bound_in_openais_format(self, thing):
        bound = pyramid("4").bind_tools([thing])
        assert bound.kwargs["tools"][0]["type"] == "function"

    def test_the_core_sees_the_tools(self):
        traces = []
        pyramid(call(a=1, b=2), on_trace=traces.append).bind_tools([add]).invoke("1 + 2?")
        assert traces[0].query.tools[0]["function"]["name"] == "add"

    async def test_no_tools_may_be_bound(self):
        llm = pyramid("4", "4").bind_tools([])
        assert llm.invoke("2 + 2?").text == "4"
        assert (await llm.ainvoke("2 + 2?")).text == "4"

    def test_a_response_format_reaches_every_member(self):
        llm = pyramid("4", "4")
        llm.bind_tools([], response_format={"type": "json_object"}, temperature=0.1).invoke("2 + 2?")
        (_, settings), *_ = llm.crowd[0].calls
        assert settings["response_format"] == {"type": "json_object"}
        assert settings["own_schema"] == []
        assert settings["temperature"] == 0.1

    def test_bindings_are_kept_ready_for_the_next_step(self):
        llm = pyramid(call(a=1, b=2), "4")
        bound = llm.bind_tools([add])
        member = llm._build("pyramid").roster.crowd[0]
        bound.invoke("1 + 2?")
        kept = dict(member._bound)
        bound.invoke("2 + 2?")
        assert member._bound == kept
        assert len(kept) == 1


JSON = '{"value": 4}'


class TestFunctionCalling:
    async def test_it_parses_the_call_that_stands(self):
        llm = pyramid(call("Number", value=4), call("Number", value=4)).with_structured_output(Number)
        assert llm.invoke("2 + 2?") == Number(value=4)
        assert await llm.ainvoke("2 + 2?") == Number(value=4)

    def test_with_the_raw_message_comes_the_record(self):
        llm = pyramid(call("Number", value=4), call("Number", value=5), oracle=call("Number", value=7))
        found = llm.with_structured_output(Number, include_raw=True).invoke("2 + 2?")
        assert found["parsed"] == Number(value=7)
        assert found["parsing_error"] is None
        assert found["raw"].response_metadata["pyramid"]["answered_by"] == "big"


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
class TestJson:
    async def test_it_parses_the_answer_that_stands(self, method):
        llm = pyramid(JSON, '{ "value" : 4 }').with_structured_output(Number, method=method)
        assert llm.invoke("2 + 2?") == Number(value=4)
        assert await llm.ainvoke("2 + 2?") == Number(value=4)

    def test_equal_fields_are_accepted_whatever_the_text(self, method):
        llm = pyramid(JSON, '{ "value" : 4 }').with_structured_output(Number, method=method, include_raw=True)
        assert llm.invoke("2 + 2?")["raw"].response_metadata["pyramid"]["verdict"] == "accept"

    def test_with_the_raw_message_comes_the_record(self, method):
        llm = pyramid(JSON, '{"value": 5}', oracle='{"value": 7}')
        found = llm.with_structured_output(Number, method=method, include_raw=True).invoke("2 + 2?")
        assert found["parsed"] == Number(value=7)
        assert found["raw"].response_metadata["pyramid"]["answered_by"] == "big"

    def test_each_member_gets_the_schema_in_its_own_way(self, method):
        llm = pyramid(JSON, JSON)
        llm.with_structured_output(Number, method=method, strict=True).invoke("2 + 2?")
        for member in llm.crowd:
            assert member.calls[0][1]["own_format"] == "Number"
            assert member.calls[0][1]["strict"] is True

    def test_a_crowd_that_does_not_parse_escalates(self, method):
        llm = pyramid("four", "{", oracle='{"value": 7}', policy=Policy(early_stop=None))
        found = llm.with_structured_output(Number, method=method, include_raw=True).invoke("2 + 2?")
        record = found["raw"].response_metadata["pyramid"]
        assert found["parsed"] == Number(value=7)
        assert {c["error"]["type"] for c in record["calls"] if c["role"] == "crowd"} == {"Unusable"}

    def test_an_oracle_that_does_not_parse_is_the_parsers_own_error(self, method):
        llm = pyramid("four", "{", oracle="seven").with_structured_output(Number, method=method)
        with pytest.raises(OutputParserException):
            llm.invoke("2 + 2?")

    def test_or_comes_back_beside_the_raw_message(self, method):
        llm = pyramid("four", "{", oracle="seven")
        found = llm.with_structured_output(Number, method=method, include_raw=True).invoke("2 + 2?")
        assert found["parsed"] is None
        assert isinstance(found["parsing_error"], OutputParserException)
        assert found["raw"].text == "seven"

    def test_every_run_is_below_the_chains_and_closed(self, method):
        tracer = Tracer()
        llm = pyramid(JSON, '{"value": 5}', oracle='{"value": 7}').with_structured_output(
            Number, method=method
        )
        llm.invoke("2 + 2?", {"callbacks": [tracer]})
        assert tracer.open == []
        (root,) = [run for run in tracer.runs.values() if run.parent_run_id is None]
        assert root.name == "RunnableSequence"
        (own,) = tracer.named("ChatPyramid")
        assert sum(run.name == "Scripted" for run in tracer.children(own)) == 3

    def test_two_schemas_do_not_share_a_place_in_the_cache(self, method):
        other = type("Number", (BaseModel,), {"__annotations__": {"other": int}})
        llm = pyramid(JSON)
        keys = {
            llm._get_llm_string(**llm.with_structured_output(schema, method=method).first.kwargs)
            for schema in (Number, other)
        }
        assert len(keys) == 2

    def test_a_plain_schema_gives_a_dict(self, method):
        schema = {"title": "Number", "type": "object", "properties": {"value": {"type": "integer"}}}
        assert pyramid(JSON, JSON).with_structured_output(schema, method=method).invoke("2 + 2?") == {
            "value": 4
        }


class TestAgents:
    """The loop of an agent: the crowd calls the tool, the tool answers, the crowd says what came out."""

    def steps(self, name):
        def says(messages):
            results = [m for m in messages if isinstance(m, ToolMessage)]
            return f"the sum is {results[-1].text}" if results else call(a=19, b=23)

        return Scripted(name, says)

    def agent(self, **fields):
        from langchain.agents import create_agent

        llm = pyramid(self.steps("m0"), self.steps("m1"), oracle=self.steps("big"))
        return create_agent(llm, [add], **fields)

    def test_it_runs_to_its_end_with_a_record_at_every_step(self):
        state = self.agent().invoke({"messages": [("human", "19 + 23?")]})
        _, called, result, said = state["messages"]
        assert (result.text, said.text) == ("42", "the sum is 42")
        assert called.tool_calls[0]["args"] == {"a": 19, "b": 23}
        for message in (called, said):
            assert json.dumps(message.response_metadata["pyramid"], allow_nan=False)

    async def test_asynchronously_too(self):
        state = await self.agent().ainvoke({"messages": [("human", "19 + 23?")]})
        assert state["messages"][-1].text == "the sum is 42"

    def test_the_record_survives_a_strict_checkpoint(self, monkeypatch):
        monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", "true")
        from langgraph.checkpoint.memory import InMemorySaver
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

        agent = self.agent(checkpointer=InMemorySaver(serde=JsonPlusSerializer()))
        config = {"configurable": {"thread_id": "1"}}
        agent.invoke({"messages": [("human", "19 + 23?")]}, config)
        said = agent.get_state(config).values["messages"][-1]
        assert said.response_metadata["pyramid"]["verdict"] == "accept"
        again = agent.invoke({"messages": [("human", "and again?")]}, config)
        assert again["messages"][-1].text == "the sum is 42"

    def test_no_token_of_the_crowd_is_in_its_stream(self):
        shown = [
            m for m, _ in self.agent().stream({"messages": [("human", "19 + 23?")]}, stream_mode="messages")
        ]
        text = "".join(m.text for m in shown if not isinstance(m, ToolMessage))
        assert text == "the sum is 42"

    def test_with_a_response_format_it_answers_in_it(self):
        from langchain.agents import create_agent

        def says(messages):
            return (
                call("Number", value=42)
                if any(isinstance(m, ToolMessage) for m in messages)
                else call(a=19, b=23)
            )

        llm = pyramid(Scripted("a", says), Scripted("b", says), oracle=Scripted("big", says))
        state = create_agent(llm, [add], response_format=Number).invoke({"messages": [("human", "19 + 23?")]})
        assert state["structured_response"] == Number(value=42)

    def test_with_a_response_format_of_the_provider_too(self):
        from langchain.agents import create_agent
        from langchain.agents.structured_output import ProviderStrategy

        llm = pyramid('{"value": 42}', '{"value": 42}')
        state = create_agent(llm, response_format=ProviderStrategy(Number)).invoke(
            {"messages": [("human", "19 + 23?")]}
        )
        assert state["structured_response"] == Number(value=42)
        assert llm.crowd[0].calls[0][1]["response_format"]["type"] == "json_schema"
