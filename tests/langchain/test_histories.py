"""Turns of other providers, in the shapes that their packages give: each member reads what it can, its own stay whole."""

import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_pyramid.histories import providers_of, suited
from tests.langchain.openai_server import serving
from tests.langchain.scripted import Scripted, pyramid
from tests.langchain.test_tools import add

CALL = {"name": "add", "args": {"a": 1, "b": 2}, "id": "call_1", "type": "tool_call"}

TURNS = {
    "anthropic": AIMessage(
        [
            {"type": "thinking", "thinking": "They want a sum.", "signature": "EqQBCg"},
            {"type": "text", "text": "I add them.", "citations": None},
            {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1, "b": 2}},
        ],
        tool_calls=[CALL],
        id="run--1",
        response_metadata={"id": "msg_01", "stop_reason": "tool_use", "model_provider": "anthropic"},
    ),
    "openai": AIMessage(
        [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
            {"type": "text", "text": "I add them.", "id": "msg_1", "annotations": []},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": "{}"},
        ],
        tool_calls=[CALL],
        id="resp_1",
        additional_kwargs={"refusal": None},
        response_metadata={"id": "resp_1", "model_provider": "openai"},
    ),
    "google_genai": AIMessage(
        [
            {"type": "thinking", "thinking": "They want a sum."},
            {"type": "text", "text": "I add them.", "extras": {"signature": "CpwB"}},
        ],
        tool_calls=[CALL],
        additional_kwargs={
            "function_call": {"name": "add", "arguments": "{}"},
            "__gemini_function_call_thought_signatures__": {"call_1": "CpwB"},
        },
        response_metadata={"model_provider": "google_genai", "safety_ratings": []},
    ),
    "bedrock_converse": AIMessage(
        [
            {"type": "reasoning_content", "reasoning_content": {"text": "A sum.", "signature": "EqQB"}},
            {"type": "text", "text": "I add them."},
            {"type": "tool_use", "name": "add", "input": {"a": 1, "b": 2}, "id": "call_1"},
        ],
        tool_calls=[CALL],
        response_metadata={"model_provider": "bedrock_converse"},
    ),
    "groq": AIMessage(
        "I add them.",
        tool_calls=[CALL],
        additional_kwargs={"reasoning_content": "They want a sum."},
        response_metadata={"model_provider": "groq"},
    ),
    "ollama": AIMessage(
        "I add them.",
        tool_calls=[CALL],
        additional_kwargs={"reasoning_content": "They want a sum."},
        response_metadata={"model_provider": "ollama"},
    ),
    "deepseek": AIMessage(
        "I add them.",
        tool_calls=[CALL],
        additional_kwargs={"reasoning_content": "They want a sum.", "refusal": None},
        response_metadata={"model_provider": "deepseek", "id": "abc"},
    ),
    "one that does not say who it is": AIMessage(
        [{"type": "thinking", "thinking": "A sum."}, {"type": "text", "text": "I add them."}],
        tool_calls=[CALL],
    ),
}
FOREIGN = ("thinking", "signature", "reasoning", "encrypted", "resp_1", "tool_use", "function_call", "extras")


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
class TestAnothersTurn:
    def test_is_its_text_and_its_calls(self, turn):
        (read,) = suited([turn], frozenset({"scripted"}))
        assert read.content == "I add them."
        assert read.tool_calls == [CALL]
        told = json.dumps(read.model_dump(mode="json"))
        assert not [word for word in FOREIGN if word in told]

    def test_every_member_reads_it_so_and_the_caller_keeps_it(self, turn):
        before = turn.model_copy(deep=True)
        history = [HumanMessage("1 + 2?"), turn, ToolMessage("3", tool_call_id="call_1")]
        llm = pyramid("it is 3", "it is 4")
        llm.bind_tools([add]).invoke(history)
        for member in [*llm.crowd, llm.oracle]:
            _, read, result = member.calls[0][0]
            assert (read.content, read.tool_calls) == ("I add them.", [CALL])
            assert result.tool_call_id == read.tool_calls[0]["id"]
        assert turn == before


NAMED = [name for name in TURNS if " " not in name]


@pytest.mark.parametrize("name", NAMED)
def test_a_providers_own_turn_stays_the_very_same(name):
    turn = TURNS[name]
    (read,) = suited([turn], frozenset({name}))
    assert read is turn


def test_what_the_pyramid_itself_has_answered_goes_back_to_its_member_whole():
    thought = TURNS["anthropic"].model_copy(
        update={"response_metadata": {"model_provider": "scripted"}, "tool_calls": []}
    )
    oracle = Scripted("big", [thought, "it is 3"])
    llm = pyramid("4", "5", oracle=oracle)
    message = llm.invoke("1 + 2?")
    llm.invoke([HumanMessage("1 + 2?"), message, HumanMessage("And?")])
    assert oracle.calls[1][0][1].content == thought.content


def test_pictures_stay():
    turn = AIMessage(
        [
            {"type": "text", "text": "Look."},
            {"type": "image", "url": "https://example.org/a.png"},
            {"type": "thinking"},
        ],
        response_metadata={"model_provider": "anthropic"},
    )
    (read,) = suited([turn], frozenset({"openai"}))
    assert [block["type"] for block in read.content] == ["text", "image"]


MARKED = [
    SystemMessage([{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}]),
    HumanMessage([{"type": "text", "text": "1 + 2?"}, {"cachePoint": {"type": "default"}}]),
]


class TestCacheMarks:
    def test_they_are_taken_out_for_a_provider_that_knows_none(self):
        system, human = suited(MARKED, frozenset({"openai"}))
        assert system.content == [{"type": "text", "text": "Long."}]
        assert human.content == [{"type": "text", "text": "1 + 2?"}]
        assert "cache_control" in MARKED[0].content[0]

    @pytest.mark.parametrize("provider", ["anthropic", "bedrock_converse"])
    def test_they_stay_for_one_that_does(self, provider):
        assert all(a is b for a, b in zip(suited(MARKED, frozenset({provider})), MARKED, strict=True))


class TestProviders:
    def test_a_model_goes_by_every_name_of_its_providers(self):
        class Bedrock(Scripted):
            def _get_ls_params(self, stop=None, **kwargs):
                return {"ls_provider": "amazon_bedrock"}

        assert "bedrock_converse" in providers_of(Bedrock())
        assert providers_of(Scripted()) == {"scripted"}

    @pytest.mark.parametrize("name", TURNS)
    def test_openais_own_client_sends_nothing_of_it(self, name):
        openai = pytest.importorskip("langchain_openai")
        if name == "openai":
            pytest.skip("its own turn, which it reads itself")
        with serving() as server:
            model = openai.ChatOpenAI(
                model="small", base_url=server.url, api_key="sk-made-up", stream_usage=True
            )
            history = [*MARKED, TURNS[name], ToolMessage("3", tool_call_id="call_1"), HumanMessage("And?")]
            pyramid(model, "4").bind_tools([add]).invoke(history)
            (body,) = server.asked
        turn = body["messages"][2]
        assert turn["content"] == "I add them."
        assert set(turn) == {"role", "content", "tool_calls"}
        assert not [word for word in (*FOREIGN[:-2], "cache") if word in json.dumps(body["messages"])]
