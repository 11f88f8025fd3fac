"""Messages into answers, and answers into messages."""

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage

from langchain_pyramid.calls import plain, question
from langchain_pyramid.messages import answer_of, usage_of
from pyramid_core.endpoints.logprobs import read_logprobs
from pyramid_core.types import ToolCall, Usage

OPENAI = {
    "content": [
        {
            "token": "4",
            "logprob": -0.1,
            "top_logprobs": [{"token": "4", "logprob": -0.1}, {"token": "5", "logprob": -3}],
        },
        {"token": "2", "logprob": -0.2, "top_logprobs": []},
    ]
}


class TestLogprobs:
    @pytest.mark.parametrize(
        "shape",
        [OPENAI, OPENAI["content"], {"tokens": ["4", "2"], "token_logprobs": [-0.1, -0.2]}],
        ids=["openai", "ollama", "together"],
    )
    def test_each_shape_gives_the_same_logprobs_and_tokens(self, shape):
        found = read_logprobs(shape)
        assert found["logprobs"] == (-0.1, -0.2)
        assert found["token_texts"] == ("4", "2")

    def test_alternatives_are_kept_where_given(self):
        assert read_logprobs(OPENAI)["top_logprobs"] == ((("4", -0.1), ("5", -3.0)), ())

    @pytest.mark.parametrize(
        "shape",
        [
            None,
            {},
            [],
            "text",
            {"content": None},
            {"content": [{"token": "4"}]},
            {"tokens": ["4"], "token_logprobs": [None]},
            {"tokens": ["4"], "token_logprobs": [float("nan")]},
        ],
    )
    def test_a_missing_signal_is_none_and_not_zero(self, shape):
        assert read_logprobs(shape) == {}
        assert answer_of(AIMessage("4", response_metadata={"logprobs": shape})).logprobs is None


class TestAnswers:
    def test_the_message_rides_along_untouched(self):
        message = AIMessage("4", response_metadata={"model_name": "m"}, id="x")
        answer = answer_of(message)
        assert answer.raw is message
        assert answer.text == "4"

    def test_text_is_taken_from_content_blocks(self):
        message = AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "four"}])
        assert answer_of(message).text == "four"

    @pytest.mark.parametrize(
        ("metadata", "reason"),
        [
            ({"finish_reason": "stop"}, "stop"),
            ({"finish_reason": "length"}, "length"),
            ({"stop_reason": "end_turn"}, "stop"),
            ({"stop_reason": "max_tokens"}, "length"),
            ({"stop_reason": "tool_use"}, "tool_calls"),
            ({"done_reason": "length"}, "length"),
            ({"finish_reason": "MAX_TOKENS"}, "length"),
            ({"finish_reason": "SAFETY"}, "content_filter"),
            ({"finish_reason": "something new"}, None),
            ({}, None),
        ],
    )
    def test_finish_reasons_of_all_providers_are_put_in_the_same_words(self, metadata, reason):
        assert answer_of(AIMessage("", response_metadata=metadata)).finish_reason == reason

    def test_tool_calls_are_parsed_and_broken_ones_kept_as_text(self):
        message = AIMessage(
            "",
            tool_calls=[{"name": "add", "args": {"a": 1}, "id": "1"}],
            invalid_tool_calls=[{"name": "sub", "args": "{a: ", "id": "2", "error": "no JSON"}],
        )
        assert answer_of(message).tool_calls == (
            ToolCall(name="add", arguments={"a": 1}, id="1"),
            ToolCall(name="sub", arguments="{a: ", id="2"),
        )

    def test_usage_is_unknown_where_the_model_does_not_say(self):
        assert answer_of(AIMessage("4")).usage is None
        told = AIMessage("4", usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5})
        assert answer_of(told).usage == Usage(input_tokens=3, output_tokens=2)


class TestQuestions:
    def test_the_question_is_the_last_human_message(self):
        messages = [
            HumanMessage("first"),
            AIMessage("a"),
            HumanMessage("second"),
            ToolMessage("5", tool_call_id="1"),
        ]
        assert question(messages) == "second"

    def test_without_a_human_message_it_is_the_whole_conversation(self):
        assert question([SystemMessage("be short"), AIMessage("hello")]) == "be short\nhello"

    def test_messages_become_plain_json_by_role(self):
        call = {"name": "add", "args": {"a": 1}, "id": "1"}
        messages = [
            SystemMessage("s"),
            HumanMessage("h"),
            AIMessage("", tool_calls=[call]),
            ToolMessage("2", tool_call_id="1"),
        ]
        assert [plain(message) for message in messages] == [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "h"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
                ],
            },
            {"role": "tool", "content": "2", "tool_call_id": "1"},
        ]

    def test_a_chunk_in_the_history_is_an_assistant_turn(self):
        assert plain(AIMessageChunk(content="4")) == {"role": "assistant", "content": "4"}


class TestUsage:
    def test_what_came_from_a_prompt_cache_and_went_into_it_is_told_apart(self):
        details = {"cache_read": 70, "cache_creation": 20}
        told = {"input_tokens": 100, "output_tokens": 5, "total_tokens": 105, "input_token_details": details}
        usage = Usage(input_tokens=100, output_tokens=5, cached_tokens=70, cache_write_tokens=20)
        assert usage_of(told) == usage

    def test_what_is_not_told_is_not_known(self):
        usage = usage_of({"input_tokens": 100, "output_tokens": 5, "total_tokens": 105})
        assert (usage.cached_tokens, usage.cache_write_tokens) == (None, None)
