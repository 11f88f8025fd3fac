"""The endpoint client against llama.cpp's own server: real log-probabilities, streams, schemas, tools and refusals."""

import json
import math

import pytest

from pyramid_core import Pyramid, Query, Token
from pyramid_core.endpoints import Endpoint, Retries
from pyramid_core.endpoints.wire import Settings
from pyramid_core.errors import EndpointRefused

QUESTION = "Write a Python function that adds two numbers. Only the code."
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}


@pytest.fixture
def member(medium):
    with Endpoint(
        medium, "qwen2.5-coder-0.5b", max_tokens=60, temperature=0.0, top_logprobs=3, extra={"seed": 1}
    ) as found:
        yield found


def test_an_answer_has_text_usage_and_a_log_probability_for_each_token(member):
    answer = member.ask(Query(text=QUESTION))
    assert "def " in answer.text
    assert answer.finish_reason in ("stop", "length")
    assert answer.usage.input_tokens > 10
    assert 0 < answer.usage.output_tokens <= 60
    assert all(math.isfinite(p) and p <= 0 for p in answer.logprobs)
    assert len(answer.logprobs) == len(answer.token_texts) == len(answer.top_logprobs)
    assert "".join(answer.token_texts).startswith(answer.text[:40])


async def test_awaited_it_is_the_same_answer(member):
    awaited = await member.aask(Query(text=QUESTION))
    await member.aclose()
    assert awaited.text == member.ask(Query(text=QUESTION)).text


def test_a_stream_joins_to_its_answer(member):
    *tokens, answer = member.stream(Query(text=QUESTION))
    assert len(tokens) > 5
    assert all(isinstance(token, Token) for token in tokens)
    assert "".join(token.text for token in tokens) == answer.text
    assert answer.usage.output_tokens > 0
    assert answer.logprobs is not None


def test_a_schema_forces_json(member):
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "integer"}, "unit": {"type": "string"}},
        "required": ["answer", "unit"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    query = Query(
        text="Ann has 3 apples and buys 4. How many?", raw=Settings(body={"response_format": wanted})
    )
    assert set(json.loads(member.ask(query).text)) == {"answer", "unit"}


def test_a_tool_call_is_parsed_or_stands_in_the_text(member):
    answer = member.ask(Query(text="What is the weather in Paris? Use the tool.", tools=(WEATHER,)))
    called = [call.name for call in answer.tool_calls]
    assert called == ["weather"] or "weather" in answer.text


def test_a_prompt_that_is_too_long_is_refused_in_the_servers_words(member):
    with pytest.raises(EndpointRefused, match="context") as error:
        member.ask(Query(text="word " * 9000))
    assert (error.value.status, error.value.retryable) == (400, False)


def test_a_crowd_of_real_models_is_asked_through_a_pyramid(small, medium):
    crowd = [
        Endpoint(small, "smollm2-135m", max_tokens=40, temperature=0.0, top_logprobs=1),
        Endpoint(medium, "qwen2.5-coder-0.5b", max_tokens=40, temperature=0.0, top_logprobs=1),
        Endpoint("http://127.0.0.1:9/v1", "nobody", retries=Retries(attempts=1)),
    ]
    oracle = Endpoint(medium, "qwen2.5-coder-0.5b", name="oracle", max_tokens=60, temperature=0.0)
    outcome = Pyramid(crowd=crowd, oracle=oracle).ask("What is 2 + 2? Answer with the number only.")
    assert outcome.answer.text
    assert outcome.trace.calls[2].result.kind == "EndpointUnreachable"
    assert outcome.answer.member == "oracle"
