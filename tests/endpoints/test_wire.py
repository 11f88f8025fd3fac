"""Chat completions on the wire: what is written is read again, and what is no request is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.endpoints.logprobs import openai_logprobs, read_logprobs
from pyramid_core.endpoints.wire import (
    DONE,
    Chunks,
    Collector,
    Events,
    Settings,
    completion_body,
    error_body,
    event,
    read_answer,
    read_error,
    read_request,
    request_body,
    usage_body,
)
from pyramid_core.errors import EndpointGarbled, EndpointRefused, RequestError
from pyramid_core.types import Answer, Query, Token, ToolCall, Usage

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
ASK = {"model": "m", "messages": [{"role": "user", "content": "2 + 2?"}]}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(-50, 0)
usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 1000),
    output_tokens=st.integers(0, 1000),
    cached_tokens=st.none() | st.integers(0, 1000),
)
calls = st.lists(
    st.builds(
        ToolCall,
        name=st.text("abc_", min_size=1, max_size=8),
        arguments=st.dictionaries(texts, st.integers() | texts | st.none(), max_size=3),
        id=st.text("abc123", min_size=1, max_size=8),
    ),
    max_size=3,
).map(tuple)


@st.composite
def answers(draw):
    tokens = draw(st.lists(st.text("ab é÷", min_size=1, max_size=4), max_size=6))
    told = bool(tokens) and draw(st.booleans())
    tool_calls = draw(calls)
    return Answer(
        text="".join(tokens),
        tool_calls=tool_calls,
        token_texts=tuple(tokens) if told else None,
        logprobs=tuple(draw(numbers) for _ in tokens) if told else None,
        top_logprobs=tuple(((token, draw(numbers)),) for token in tokens) if told else None,
        finish_reason="tool_calls"
        if tool_calls
        else draw(st.sampled_from(["stop", "length", "content_filter"])),
        usage=draw(usages),
    ), tokens


@given(answers())
def test_an_answer_survives_the_body_of_a_completion(drawn):
    answer, _ = drawn
    body = completion_body(answer, model="m", id="1", created=1, logprobs=True)
    assert read_answer(json.loads(json.dumps(body))) == answer


@given(answers(), st.data())
def test_an_answer_survives_a_stream_however_its_bytes_are_cut(drawn, data):
    answer, tokens = drawn
    chunks = Chunks(model="m", id="1", created=1, include_usage=True)
    sent = [
        chunks.first(),
        *(chunks.token(Token(text=text)) for text in tokens),
        *chunks.last(answer, logprobs=True),
    ]
    whole = b": ping\r\n\r\n" + b"".join(map(event, sent)) + DONE
    events, collector, said = Events(), Collector(), []
    while whole:
        cut = data.draw(st.integers(1, len(whole)))
        piece, whole = whole[:cut], whole[cut:]
        said += [token.text for d in events.feed(piece) if (token := collector.feed(d))]
    assert events.close() == []
    assert said == tokens
    assert collector.done
    assert collector.answer() == answer


@given(
    st.dictionaries(st.sampled_from(["temperature", "top_p"]), st.floats(0, 1)),
    st.booleans(),
    st.none() | st.just("auto"),
)
def test_a_query_survives_the_body_of_a_request(settings, stream, choice):
    query = Query(
        text="2 + 2?",
        messages=tuple(ASK["messages"]),
        tools=(TOOL,),
        tool_choice=choice,
        raw=Settings(body=settings),
    )
    request = read_request(json.loads(json.dumps(request_body(query, "m", stream=stream))))
    assert request.query == query
    assert request.query.raw == Settings(body=settings)
    assert (request.model, request.stream, request.include_usage) == ("m", stream, stream)


class TestRequestBody:
    def test_a_text_becomes_the_users_message(self):
        assert request_body(Query(text="Hi"), "m") == {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
        }

    def test_a_system_message_joins_conversations_that_have_none(self):
        system = {"role": "system", "content": "Be brief."}
        assert request_body(Query(text="Hi"), "m", system="Be brief.")["messages"][0] == system
        other = {"role": "system", "content": "Be kind."}
        query = Query(text="Hi", messages=(other, {"role": "user", "content": "Hi"}))
        assert request_body(query, "m", system="Be brief.")["messages"][0] == other

    def test_what_the_query_sets_wins_over_the_endpoint(self):
        query = Query(text="Hi", raw=Settings(body={"temperature": 1, "seed": 7}))
        body = request_body(query, "m", temperature=0, max_tokens=5, stop=None)
        assert (body["temperature"], body["seed"], body["max_tokens"], "stop" in body) == (1, 7, 5, False)

    def test_settings_of_tools_stay_away_where_there_are_none(self):
        query = Query(text="Hi", tool_choice="none", raw=Settings(body={"parallel_tool_calls": False}))
        assert set(request_body(query, "m")) == {"model", "messages"}

    def test_another_owners_raw_is_not_read(self):
        assert "body" not in request_body(Query(text="Hi", raw={"body": 1}), "m")


REFUSED = [
    ([], None, "JSON object"),
    ("x", None, "JSON object"),
    ({**ASK, "model": 5}, "model", "a text"),
    ({**ASK, "model": ""}, "model", "a text"),
    ({"model": "m"}, "messages", "at least one"),
    ({**ASK, "messages": []}, "messages", "at least one"),
    ({**ASK, "messages": ["x"]}, "messages[0]", "object with role"),
    ({**ASK, "messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "one of system"),
    ({**ASK, "messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
    ({**ASK, "messages": [{"role": "user", "content": 7}]}, "messages[0].content", "a text or a list"),
    (
        {**ASK, "messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
        "messages[0].content",
        "a number",
    ),
    ({**ASK, "messages": [{"role": "assistant", "tool_calls": 1}]}, "messages[0].tool_calls", "a list"),
    ({**ASK, "stream": "yes"}, "stream", "true or false"),
    ({**ASK, "stream_options": 1}, "stream_options", "an object"),
    ({**ASK, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "true or false"),
    ({**ASK, "temperature": 2.5}, "temperature", "from 0 to 2, not 2.5"),
    ({**ASK, "temperature": True}, "temperature", "a number"),
    ({**ASK, "temperature": 10**400}, "temperature", "a number"),
    ({**ASK, "max_tokens": 0}, "max_tokens", "from 1"),
    ({**ASK, "max_tokens": 1.5}, "max_tokens", "a whole number"),
    ({**ASK, "n": 2}, "n", "from 1 to 1"),
    ({**ASK, "top_logprobs": 2}, "top_logprobs", "needs logprobs"),
    ({**ASK, "logprobs": 1}, "logprobs", "true or false"),
    ({**ASK, "stop": ["a"] * 5}, "stop", "at most 4"),
    ({**ASK, "stop": [""]}, "stop", "none of them empty"),
    ({**ASK, "tools": {}}, "tools", "a list"),
    ({**ASK, "tools": [{"type": "function"}]}, "tools[0]", "function"),
    ({**ASK, "tools": [{"function": {"name": "f", "parameters": 3}}]}, "tools[0]", "JSON schema"),
    ({**ASK, "tool_choice": "required"}, "tool_choice", "no tools"),
    ({**ASK, "tools": [TOOL], "tool_choice": {"function": {"name": "sub"}}}, "tool_choice", "add"),
    ({**ASK, "response_format": "json"}, "response_format", "an object"),
    ({**ASK, "response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    ({**ASK, "response_format": {"type": "json_schema"}}, "response_format.json_schema", "schema"),
    ({**ASK, "pyramid": []}, "pyramid", "an object"),
]


@pytest.mark.parametrize(("body", "param", "words"), REFUSED, ids=lambda v: None)
def test_what_is_no_request_is_refused_with_its_place(body, param, words):
    with pytest.raises(RequestError) as caught:
        read_request(body)
    assert caught.value.param == param
    assert words in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = "model messages tools tool_choice stream stream_options temperature max_tokens n seed stop logprobs top_logprobs response_format pyramid user".split()


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_whatever_a_body_holds_it_is_read_or_refused(changes):
    try:
        request = read_request({**ASK, **changes})
    except RequestError:
        return
    json.dumps(request_body(request.query, "m"))


class TestReadAnswer:
    def test_keys_that_are_not_known_are_named(self):
        request = read_request({**ASK, "mood": "good", "pyramid": {"max_cost": 1}})
        assert (request.ignored, request.overrides) == (("mood",), {"max_cost": 1})

    def test_parts_that_are_no_text_are_left_out(self):
        parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}]
        assert read_answer({"choices": [{"message": {"content": parts}}]}).text == "4"

    def test_a_refusal_is_an_answer_that_was_withheld(self):
        body = {
            "choices": [{"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"}]
        }
        answer = read_answer(body)
        assert (answer.text, answer.finish_reason) == ("I will not.", "content_filter")

    @pytest.mark.parametrize(
        ("arguments", "read"),
        [('{"x": 1}', {"x": 1}), ({"x": 1}, {"x": 1}), ('{"x": ', '{"x": '), ("[1]", "[1]"), (None, "")],
    )
    def test_arguments_that_are_no_object_stay_text(self, arguments, read):
        message = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": arguments}}, "junk"]}
        calls = read_answer({"choices": [{"message": message}]}).tool_calls
        assert calls == (ToolCall(name="f", arguments=read, id="a"),)

    def test_the_older_function_call_is_a_tool_call(self):
        message = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
        assert read_answer({"choices": [{"message": message}]}).tool_calls == (
            ToolCall(name="f", arguments={}),
        )

    @pytest.mark.parametrize(
        ("usage", "read"),
        [
            (None, None),
            ({}, None),
            ({"prompt_tokens": -1, "completion_tokens": "7"}, None),
            ({"prompt_tokens": 5}, Usage(input_tokens=5)),
            (
                {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
                Usage(input_tokens=5, output_tokens=2, cached_tokens=4),
            ),
            (
                {"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 3},
                Usage(input_tokens=5, output_tokens=2, cached_tokens=3),
            ),
            (
                {
                    "prompt_tokens": 5,
                    "completion_tokens": 2,
                    "cache_creation_input_tokens": 1,
                    "cache_read_input_tokens": 2,
                },
                Usage(input_tokens=5, output_tokens=2, cached_tokens=2, cache_write_tokens=1),
            ),
        ],
    )
    def test_usage_in_the_words_of_several_servers(self, usage, read):
        assert read_answer({"choices": [{"message": {"content": ""}}], "usage": usage}).usage == read

    @pytest.mark.parametrize(
        "body", [None, [], {}, {"choices": []}, {"choices": [{}]}, {"choices": {"a": 1}}]
    )
    def test_what_is_no_completion_is_refused(self, body):
        with pytest.raises(EndpointGarbled):
            read_answer(body)


OPENAI = [{"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "b", "logprob": -2.0}]}]
READ = {"logprobs": (-0.1,), "token_texts": ("a",), "top_logprobs": ((("b", -2.0),),)}


class TestLogprobs:
    @pytest.mark.parametrize(
        ("found", "read"),
        [
            ({"content": OPENAI}, READ),
            (OPENAI, READ),
            ({"tokens": ["a"], "token_logprobs": [-0.1]}, {"logprobs": (-0.1,), "token_texts": ("a",)}),
            ({"tokens": ["a"], "token_logprobs": [-0.1], "top_logprobs": [{"b": -2.0}]}, READ),
            ({"tokens": ["a", "b"], "token_logprobs": [None, -0.1]}, {}),
            (None, {}),
            ({"content": None}, {}),
            ({"content": []}, {}),
            ({"content": [{"token": "a", "logprob": None}]}, {}),
            ({"content": [{"token": "a", "logprob": float("nan")}]}, {}),
            ("text", {}),
        ],
    )
    def test_each_shape_is_read(self, found, read):
        assert read_logprobs(found) == read

    def test_together_streams_a_piece_a_chunk(self):
        collector = Collector()
        for token, value in (("4", -0.5), ("2", -0.25)):
            choice = {"delta": {"content": token}, "logprobs": {"tokens": [token], "token_logprobs": [value]}}
            collector.feed(json.dumps({"choices": [{"index": 0, **choice}]}).encode())
        collector.feed(b"[DONE]")
        answer = collector.answer()
        assert (answer.logprobs, answer.token_texts) == ((-0.5, -0.25), ("4", "2"))

    def test_what_json_cannot_say_is_written_as_openai_does(self):
        answer = Answer(text="a", logprobs=(float("-inf"), float("nan")), token_texts=("a", "b"))
        assert [entry["logprob"] for entry in openai_logprobs(answer)] == [-9999.0, None]


class TestStream:
    def test_a_tool_call_in_pieces_is_put_together(self):
        collector = Collector()
        first = {"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": ""}}
        for call in (first, *({"index": 0, "function": {"arguments": piece}} for piece in ('{"x"', ": 1}"))):
            collector.feed(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode())
        collector.feed(b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}')
        assert collector.answer().tool_calls == (ToolCall(name="add", arguments={"x": 1}, id="a"),)

    def test_an_event_of_several_lines_is_one(self):
        assert Events().feed(b"data: a\ndata: b\n\n") == [b"a\nb"]

    def test_the_end_completes_the_last_event(self):
        events = Events()
        assert events.feed(b"data: a") == []
        assert events.close() == [b"a"]

    def test_an_error_in_the_stream_is_one(self):
        with pytest.raises(EndpointRefused, match="too hot"):
            Collector().feed(json.dumps(error_body("too hot")).encode())

    def test_usage_comes_only_where_it_was_wanted(self):
        answer = Answer(text="a", usage=Usage(input_tokens=1, output_tokens=1))
        with_it, without = (
            Chunks(model="m", id="1", created=1, include_usage=wanted).last(answer, pyramid={"x": 1})
            for wanted in (True, False)
        )
        assert with_it[-1]["usage"]["total_tokens"] == 2
        assert not any("usage" in chunk for chunk in without)
        assert with_it[-1]["pyramid"] == without[-1]["pyramid"] == {"x": 1}


def test_usage_that_is_half_known_is_not_told():
    assert usage_body(Usage(input_tokens=1)) is None


def test_tool_calls_without_ids_get_ones_of_their_own():
    answer = Answer(text="", tool_calls=(ToolCall(name="f", arguments={}), ToolCall(name="f", arguments={})))
    ids = [
        call["id"]
        for completion in ("1", "2")
        for call in completion_body(answer, model="m", id=completion, created=1)["choices"][0]["message"][
            "tool_calls"
        ]
    ]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({"error": {"message": "no", "code": "c", "type": "t"}}, ("no", "c")),
        ({"error": {"message": "no", "code": 400, "type": "t"}}, ("no", "t")),
        ({"error": "no"}, ("no", "")),
        ({"message": "no"}, ("no", "")),
        ({"detail": [{"loc": ["body"]}]}, ('[{"loc": ["body"]}]', "")),
        ({"object": "x"}, ("", "")),
        ("no", ("", "")),
    ],
)
def test_errors_in_the_words_of_several_servers(body, read):
    assert read_error(body) == read
