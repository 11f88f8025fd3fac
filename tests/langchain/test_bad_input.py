"""What users and models get wrong: one clear error where it was written, or a member that fails alone."""

import logging

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage

from langchain_pyramid import ChatPyramid, EmbeddedChat
from pyramid_core.errors import InputError, PyramidFailed
from pyramid_core.types import Policy
from tests.langchain.scripted import Scripted, Toolless, pyramid
from tests.langchain.test_tools import Number, add, call

ALL = Policy(early_stop=None)
PICTURE = [
    HumanMessage(
        [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "base64": "aGVsbG8=", "mime_type": "image/png"},
        ]
    )
]


def failed(message):
    calls = message.response_metadata["pyramid"]["calls"]
    return {c["member"]: c["error"]["message"] for c in calls if c["error"]}


class TestMembersWithoutTools:
    def llm(self, *crowd, **fields):
        return ChatPyramid(crowd=crowd, oracle=Scripted("big", call(a=1, b=2)), **fields)

    @pytest.mark.parametrize("member", [Toolless("dull"), EmbeddedChat(model="tiny-add")])
    def test_one_is_named_when_tools_are_bound(self, member):
        llm = self.llm(Scripted("a"), member)
        with pytest.raises(InputError, match=f"member '{member.model}' cannot be given tools"):
            llm.bind_tools([add])

    def test_it_is_left_out_where_the_user_allows_it(self):
        right = Scripted("a", call(a=1, b=2))
        llm = self.llm(right, Toolless("dull"), Scripted("b", call(a=1, b=2)), toolless="leave out")
        record = llm.bind_tools([add]).invoke("1 + 2?").response_metadata["pyramid"]
        assert record["crowd"] == ["a", "b"]
        assert record["verdict"] == "accept"
        assert llm.invoke("1 + 2?").response_metadata["pyramid"]["crowd"] == ["a", "dull", "b"]

    @pytest.mark.parametrize("method", ["function_calling", "json_schema"])
    def test_for_structured_output_too(self, method):
        answer = call("Number", value=4) if method == "function_calling" else '{"value": 4}'

        class Plain(Toolless):
            def with_structured_output(self, *args, **kwargs):
                raise NotImplementedError("no schemas")

        llm = ChatPyramid(
            crowd=[Scripted("a", answer), Plain("dull")], oracle=Scripted("big", answer), toolless="leave out"
        )
        assert llm.with_structured_output(Number, method=method).invoke("How many?") == Number(value=4)

    def test_a_crowd_of_nothing_else_is_refused_all_the_same(self):
        with pytest.raises(InputError, match="member 'dull' cannot be given tools"):
            self.llm(Toolless("dull"), toolless="leave out").bind_tools([add])

    def test_an_oracle_is_never_left_out(self):
        llm = ChatPyramid(crowd=[Scripted("a")], oracle=Toolless("big"), toolless="leave out")
        with pytest.raises(InputError, match="member 'big' cannot be given tools"):
            llm.bind_tools([add])


class TestOneMemberAlone:
    """What one member cannot do costs its answer and nothing else."""

    def test_a_window_that_is_too_small(self):
        def says(messages):
            raise ValueError("context_length_exceeded: 9000 tokens, the window has 4096")

        message = pyramid("4", says, "4", policy=ALL).invoke("How many?")
        assert "context_length_exceeded" in failed(message)["m1"]

    def test_pictures_sent_to_a_member_that_cannot_see(self):
        blind = Scripted("blind", "a cat", profile={"image_inputs": False})
        seeing = Scripted("seeing", "a dog", profile={"image_inputs": True})
        message = pyramid(blind, seeing, "a dog", policy=ALL, oracle="a dog").invoke(PICTURE)
        assert failed(message) == {"blind": "member 'blind' cannot see pictures, and one was sent"}
        assert not blind.calls
        assert seeing.calls

    async def test_a_crowd_none_of_which_can_leaves_it_to_the_oracle(self):
        blind = Scripted("blind", "a cat", profile={"image_inputs": False})
        message = await pyramid(blind, blind, oracle="a dog").ainvoke(PICTURE)
        assert message.text == "a dog"

    def test_a_stop_sequence_that_it_refuses(self):
        class Strict(Scripted):
            def _generate(self, messages, stop=None, run_manager=None, **kwargs):
                if stop:
                    raise ValueError("stop is not supported with this model")
                return super()._generate(messages, stop, run_manager, **kwargs)

        message = pyramid("4", Strict("strict"), "4", policy=ALL).invoke("How many?", stop=["\n"])
        assert "stop is not supported" in failed(message)["strict"]

    def test_no_room_for_an_answer(self):
        def says(messages):
            raise ValueError("max_tokens must be at least 1")

        with pytest.raises(PyramidFailed, match="max_tokens must be at least 1"):
            pyramid(says, says, oracle=Scripted("big", says), policy=ALL).invoke("How many?", max_tokens=0)

    def test_empty_answers_everywhere_are_an_answer(self):
        message = pyramid("", "", oracle="").invoke("How many?", max_tokens=0)
        assert message.text == ""
        assert message.response_metadata["pyramid"]["end"] == "accept"

    def test_calls_of_tools_that_nobody_bound_come_out_as_from_one_model(self):
        message = pyramid(call("rm", path="/"), call("rm", path="/")).invoke("How many?")
        assert message.tool_calls[0]["name"] == "rm"

    def test_a_whole_conversation_without_a_question(self):
        message = pyramid("4", "4").invoke([AIMessage("I am ready.")])
        assert message.text == "4"


class TestHandlers:
    @pytest.mark.parametrize(
        "event", ["on_chat_model_start", "on_llm_new_token", "on_llm_end", "on_custom_event"]
    )
    async def test_one_that_raises_costs_no_answer(self, event, caplog):
        def broken(self, *args, **kwargs):
            raise RuntimeError("a broken handler")

        handler = type("Broken", (BaseCallbackHandler,), {event: broken})()
        config = {"callbacks": [handler]}
        with caplog.at_level(logging.WARNING):
            assert pyramid("4", "4").invoke("q", config).text == "4"
            assert (await pyramid("4", "5").ainvoke("q", config)).text == "oracle says 7"
            chunks = [chunk.text for chunk in pyramid("4", "5").stream("q", config)]
        assert "".join(chunks) == "oracle says 7"

    def test_one_that_raises_on_purpose_stops_the_call(self):
        class Strict(BaseCallbackHandler):
            raise_error = True

            def on_chat_model_start(self, *args, **kwargs):
                raise RuntimeError("not today")

        with pytest.raises(RuntimeError, match="not today"):
            pyramid("4", "4").invoke("q", {"callbacks": [Strict()]})
