"""Tools: offered to every member in its own way, agreed on as parsed calls."""

import json

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, ToolCallBlock
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.types import ToolMetadata

from llamaindex_pyramid import PyramidLLM
from llamaindex_pyramid.tools import OfferedTool, SchemaTool, selections_of
from pyramid_core import InputError
from tests.llamaindex.conformance import Product, multiply
from tests.llamaindex.scripted import Calls, ScriptedLLM, clever, is_plain
from tests.llamaindex.test_llm import pyramid

TOOL = FunctionTool.from_defaults(fn=multiply)
SCHEMA = TOOL.metadata.to_openai_tool()


def calls(a, b):
    return Calls((("multiply", {"a": a, "b": b}),))


class TestAgreement:
    def test_equal_calls_are_one_answer_whatever_their_ids(self):
        record = (
            pyramid(calls(6, 7), calls(6, 7), calls(6, 7))
            .chat_with_tools([TOOL], "go")
            .additional_kwargs["pyramid"]
        )
        assert (record["verdict"], record["p_fail"]) == ("accept", 0.0)

    def test_a_number_in_quotes_is_the_number_by_the_tools_schema(self):
        record = (
            pyramid(calls(6, 7), calls("6", "7"), calls(6.0, 7))
            .chat_with_tools([TOOL], "go")
            .additional_kwargs["pyramid"]
        )
        assert record["verdict"] == "accept"

    def test_different_calls_are_left_to_the_oracle(self):
        llm = pyramid(calls(6, 7), calls(7, 7), "none", oracle=calls(1, 2))
        found = llm.get_tool_calls_from_response(llm.chat_with_tools([TOOL], "go"))
        assert [call.tool_kwargs for call in found] == [{"a": 1, "b": 2}]

    def test_structures_are_agreed_on_by_their_fields(self):
        said = [Calls((("Product", {"factor": 6, "product": n}),)) for n in (42, 42, 41)]
        llm = pyramid(*said, oracle=Calls((("Product", {"factor": 6, "product": 42}),)))
        assert llm.structured_predict(Product, PromptTemplate("x")) == Product(factor=6, product=42)
        assert len(llm.oracle.asked) == 1


class TestOffering:
    def test_members_get_the_very_tools(self):
        seen = []

        class Curious(ScriptedLLM):
            def _prepare_chat_with_tools(self, tools, **kwargs):
                seen.append(tools[0])
                return super()._prepare_chat_with_tools(tools, **kwargs)

        llm = PyramidLLM(crowd=[Curious(name="m", script=calls(6, 7))], oracle=ScriptedLLM(name="o"))
        llm.chat_with_tools([TOOL], "go")
        assert seen == [TOOL]

    def test_the_keywords_of_chat_are_plain_json(self):
        prepared = pyramid("x")._prepare_chat_with_tools([TOOL], user_msg="go", tool_required=True)
        assert is_plain({name: value for name, value in prepared.items() if name != "messages"})
        assert prepared["tools"] == [SCHEMA]

    def test_a_schema_in_the_keywords_of_chat_is_offered_as_a_tool(self):
        llm = pyramid(calls(6, 7))
        llm.chat([ChatMessage(content="go")], tools=[json.loads(json.dumps(SCHEMA))])
        assert llm.crowd[0].asked[0].tools == (SCHEMA,)

    def test_how_tools_are_offered_reaches_the_members(self):
        llm = pyramid(calls(6, 7))
        llm.chat_with_tools([TOOL], "go", tool_required=True, tool_choice="multiply")
        assert llm.crowd[0].asked[0].keywords == {"tool_required": True, "tool_choice": "multiply"}

    def test_without_tools_nothing_of_them_reaches_the_members(self):
        llm = pyramid("5")
        llm.chat_with_tools([], "go", tool_required=True, tool_choice="auto")
        assert llm.crowd[0].asked[0].keywords == {}

    def test_a_member_without_function_calling_is_named(self):
        llm = PyramidLLM(
            crowd=[ScriptedLLM(name="able"), ScriptedLLM(name="unable", functions=False)], oracle=MockLLM()
        )
        with pytest.raises(InputError, match=r"\['unable', 'MockLLM'\] cannot call functions"):
            llm.chat_with_tools([TOOL], "go")

    def test_the_same_through_the_keywords_of_chat(self):
        llm = PyramidLLM(crowd=[ScriptedLLM(name="unable", functions=False)], oracle=ScriptedLLM(name="o"))
        with pytest.raises(InputError, match="unable"):
            llm.chat([ChatMessage(content="go")], tools=[SCHEMA])

    def test_what_is_no_tool_is_refused(self):
        with pytest.raises(InputError, match=r"FunctionTool\.from_defaults"):
            pyramid("5").chat_with_tools([multiply], "go")

    def test_another_frameworks_mock_is_a_member_like_any(self):
        llm = PyramidLLM(crowd=[MockFunctionCallingLLM()] * 2, oracle=ScriptedLLM(name="o"))
        response = llm.chat_with_tools([TOOL], "go")
        assert [call.tool_name for call in llm.get_tool_calls_from_response(response)] == ["multiply"]


class TestSchemaTool:
    def test_it_keeps_its_schema(self):
        assert SchemaTool(SCHEMA).metadata.to_openai_tool() == SCHEMA

    def test_a_bare_function_is_a_schema_too(self):
        assert SchemaTool(SCHEMA["function"]).metadata.to_openai_tool() == SCHEMA

    def test_it_cannot_be_run(self):
        with pytest.raises(InputError, match="multiply"):
            SchemaTool(SCHEMA)({})

    def test_it_needs_a_name(self):
        with pytest.raises(InputError, match="needs a name"):
            SchemaTool({"type": "function"})

    def test_a_long_description_is_offered(self):
        tool = FunctionTool(fn=multiply, metadata=ToolMetadata(name="long", description="x" * 2000))
        assert len(OfferedTool(tool)["function"]["description"]) == 2000


class TestReading:
    def message(self, **fields):
        return ChatMessage(role=MessageRole.ASSISTANT, **fields)

    def test_blocks_come_first(self):
        block = ToolCallBlock(tool_call_id="1", tool_name="a", tool_kwargs='{"x": 1')
        found = selections_of(self.message(blocks=[block], additional_kwargs={"tool_calls": [{}]}))
        assert [(s.tool_id, s.tool_name, s.tool_kwargs) for s in found] == [("1", "a", {"x": 1})]

    @pytest.mark.parametrize("as_object", [False, True])
    def test_the_older_place_is_read_in_openais_form(self, as_object):
        class Thing:
            def __init__(self, **fields):
                self.__dict__.update(fields)

        make = Thing if as_object else dict
        call = make(id="1", function=make(name="a", arguments='{"x": 1}'))
        found = selections_of(self.message(additional_kwargs={"tool_calls": [call]}))
        assert [(s.tool_id, s.tool_name, s.tool_kwargs) for s in found] == [("1", "a", {"x": 1})]

    def test_arguments_that_cannot_be_read_are_none(self):
        block = ToolCallBlock(tool_name="a", tool_kwargs="]")
        assert selections_of(self.message(blocks=[block]))[0].tool_kwargs == {}

    def test_the_answering_member_reads_its_own_response(self):
        class Peculiar(ScriptedLLM):
            def get_tool_calls_from_response(self, response, error_on_no_tool_call=True, **kwargs):
                found = super().get_tool_calls_from_response(response, error_on_no_tool_call)
                return [call.model_copy(update={"tool_name": "renamed"}) for call in found]

        llm = PyramidLLM(crowd=[Peculiar(name="m", script=calls(6, 7))], oracle=ScriptedLLM(name="o"))
        found = llm.get_tool_calls_from_response(llm.chat_with_tools([TOOL], "go"))
        assert [call.tool_name for call in found] == ["renamed"]

    def test_a_response_of_nobody_is_read_by_its_blocks(self):
        block = ToolCallBlock(tool_call_id="1", tool_name="a", tool_kwargs={})
        response = ChatResponse(message=self.message(blocks=[block]))
        assert pyramid("5").get_tool_calls_from_response(response)[0].tool_name == "a"


class TestStreaming:
    @pytest.mark.parametrize("crowd", [(calls(6, 7),) * 3, (calls(6, 7), calls(1, 1), "no")])
    def test_calls_stream_to_the_end(self, crowd):
        llm = pyramid(*crowd, oracle=Calls((("multiply", {"a": 6, "b": 7}),), text="Let me see."))
        last = list(llm.stream_chat_with_tools([TOOL], "go"))[-1]
        assert [call.tool_kwargs for call in llm.get_tool_calls_from_response(last)] == [{"a": 6, "b": 7}]

    def test_predict_and_call_answers_in_words_where_no_tool_is_called(self):
        llm = pyramid(*[clever("5")] * 3)
        found = llm.predict_and_call([TOOL], user_msg="without tools", error_on_no_tool_call=False)
        assert found.response == "5"
