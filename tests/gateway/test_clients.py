"""Real clients, unmodified, against the running gateway: over the embedded models, and, for tools and JSON, over endpoints."""

import json
import shutil
import subprocess
from functools import partial

import openai
import pydantic
import pytest

from pyramid_core.endpoints import Endpoint
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers import ConstantRouter
from tests.gateway.serving import QUESTION, running
from tests.langchain.openai_server import serving

MESSAGES = [{"role": "user", "content": QUESTION}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    town: str


@pytest.fixture(scope="module")
def embedded():
    with running() as server:
        yield server


def over_endpoints(url, *, p_fail):
    def made():
        crowd = [Endpoint(url, name, name=name) for name in ("small", "other")]
        return partial(
            Pyramid, crowd=crowd, oracle=Endpoint(url, "big", name="big"), router=ConstantRouter(p_fail)
        )

    return made()


@pytest.fixture(scope="module", params=[0.1, 0.9], ids=["accepted", "escalated"])
def scripted(request):
    """A gateway over a scripted server, whose replies are shaped as real servers' were seen to be."""
    with serving() as upstream, running(over_endpoints(upstream.url, p_fail=request.param)) as server:
        yield server


@pytest.fixture
def client(embedded):
    with openai.OpenAI(base_url=f"{embedded.url}/v1", api_key="sk-made-up", max_retries=0) as made:
        yield made


@pytest.fixture
def scripted_client(scripted):
    with openai.OpenAI(base_url=f"{scripted.url}/v1", api_key="sk-made-up", max_retries=0) as made:
        yield made


class TestOpenAI:
    def test_answers_with_the_record_and_the_sum_of_usage(self, client):
        answer = client.chat.completions.create(model="pyramid", messages=MESSAGES)
        assert "19" in answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        assert answer.pyramid["verdict"] == "accept"
        used = answer.pyramid["usage"].values()
        assert answer.usage.completion_tokens == sum(one["output_tokens"] or 0 for one in used)

    def test_tells_the_record_in_short_in_headers(self, client):
        raw = client.chat.completions.with_raw_response.create(model="pyramid", messages=MESSAGES)
        assert raw.headers["x-pyramid-verdict"] == "accept"
        assert raw.headers["x-pyramid-answered-by"] == raw.parse().pyramid["answered_by"]

    async def test_answers_asynchronously(self, embedded):
        async with openai.AsyncOpenAI(base_url=f"{embedded.url}/v1", api_key="sk-made-up") as client:
            answer = await client.chat.completions.create(model="oracle", messages=MESSAGES)
        assert "19" in answer.choices[0].message.content

    def test_streams_with_the_usage_and_the_record_on_the_last_chunk(self, client):
        chunks = list(
            client.chat.completions.create(
                model="pyramid", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert "19" in text
        assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert [hasattr(chunk, "pyramid") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]

    async def test_streams_asynchronously(self, embedded):
        async with openai.AsyncOpenAI(base_url=f"{embedded.url}/v1", api_key="sk-made-up") as client:
            stream = await client.chat.completions.create(model="pyramid", messages=MESSAGES, stream=True)
            texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "19" in "".join(texts)

    def test_streams_an_oracle_token_by_token(self, client):
        stream = client.chat.completions.create(model="oracle", messages=MESSAGES, stream=True)
        assert sum(bool(chunk.choices[0].delta.content) for chunk in stream) > 3

    def test_gives_log_probabilities(self, client):
        answer = client.chat.completions.create(
            model="pyramid", messages=MESSAGES, logprobs=True, top_logprobs=3
        )
        content = answer.choices[0].logprobs.content
        assert "".join(token.token for token in content) == answer.choices[0].message.content
        assert all(token.logprob <= 0 for token in content)
        assert content[0].top_logprobs[0].token == content[0].token

    def test_gives_log_probabilities_in_a_stream(self, client):
        stream = client.chat.completions.create(
            model="pyramid", messages=MESSAGES, logprobs=True, stream=True
        )
        chunks = [chunk.choices[0] for chunk in stream]
        said = "".join(choice.delta.content or "" for choice in chunks)
        told = [token.token for choice in chunks if choice.logprobs for token in choice.logprobs.content]
        assert "".join(told) == said

    def test_gives_none_where_none_are_asked_for(self, client):
        answer = client.chat.completions.create(model="pyramid", messages=MESSAGES)
        assert answer.choices[0].logprobs is None

    def test_stops_at_a_text(self, client):
        answer = client.chat.completions.create(model="oracle", messages=MESSAGES, stop=["="])
        assert answer.choices[0].message.content.rstrip() == "12 + 7"

    def test_keeps_to_a_number_of_tokens(self, client):
        answer = client.chat.completions.create(model="oracle", messages=MESSAGES, max_tokens=2)
        assert answer.usage.completion_tokens == 2
        assert answer.choices[0].finish_reason == "length"

    @pytest.mark.parametrize("point", ["economy", "balanced", "baseline-match"])
    def test_asks_at_an_operating_point(self, client, point):
        answer = client.chat.completions.create(model=f"pyramid:{point}", messages=MESSAGES)
        assert point in answer.pyramid["rule"]

    def test_lists_the_models(self, client):
        names = [model.id for model in client.models.list()]
        assert names[:4] == ["pyramid", "pyramid:balanced", "pyramid:baseline-match", "pyramid:economy"]
        assert set(names[4:]) == {"tiny-add", "tiny-short", "tiny-times", "oracle"}
        assert client.models.retrieve("pyramid:economy").id == "pyramid:economy"

    def test_a_model_that_is_not_there_is_named_beside_those_that_are(self, client):
        with pytest.raises(openai.NotFoundError, match="pyramid:economy") as caught:
            client.chat.completions.create(model="pyramid:cheapest", messages=MESSAGES)
        assert caught.value.code == "model_not_found"

    def test_tools_are_more_than_an_embedded_model_can(self, client):
        with pytest.raises(openai.BadRequestError, match="without tool calling"):
            client.chat.completions.create(model="pyramid", messages=MESSAGES, tools=[WEATHER])

    def test_overrides_reach_the_query(self, client):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(
                model="pyramid", messages=MESSAGES, extra_body={"pyramid": {"deadline": 0.000_01}}
            )
        assert caught.value.status_code == 504

    def test_two_answers_are_refused(self, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="pyramid", messages=MESSAGES, n=2)
        assert caught.value.param == "n"


class TestOpenAIOverEndpoints:
    def test_calls_a_tool(self, scripted_client):
        answer = scripted_client.chat.completions.create(
            model="pyramid", messages=[{"role": "user", "content": "Weather in Oslo?"}], tools=[WEATHER]
        )
        call = answer.choices[0].message.tool_calls[0]
        assert call.function.name == "weather"
        assert set(json.loads(call.function.arguments)) == {"town"}
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.content is None

    def test_calls_the_tool_that_is_chosen(self, scripted_client):
        other = {
            "type": "function",
            "function": {"name": "other", "parameters": {"type": "object", "properties": {}}},
        }
        answer = scripted_client.chat.completions.create(
            model="pyramid",
            messages=MESSAGES,
            tools=[other, WEATHER],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        )
        assert answer.choices[0].message.tool_calls[0].function.name == "weather"

    def test_streams_a_tool_call(self, scripted_client):
        with scripted_client.chat.completions.stream(
            model="pyramid", messages=MESSAGES, tools=[WEATHER]
        ) as stream:
            stream.until_done()
            final = stream.get_final_completion()
        assert final.choices[0].message.tool_calls[0].function.name == "weather"

    def test_answers_after_a_tool_was_run(self, scripted_client):
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"town": "Oslo"}'},
        }
        answer = scripted_client.chat.completions.create(
            model="pyramid",
            messages=[
                *MESSAGES,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            ],
            tools=[WEATHER],
        )
        assert answer.choices[0].message.content

    def test_parses_structured_output(self, scripted_client):
        answer = scripted_client.chat.completions.parse(
            model="pyramid", messages=MESSAGES, response_format=Person
        )
        assert isinstance(answer.choices[0].message.parsed, Person)

    def test_gives_the_members_log_probabilities(self, scripted_client):
        answer = scripted_client.chat.completions.create(model="pyramid", messages=MESSAGES, logprobs=True)
        assert [token.logprob for token in answer.choices[0].logprobs.content]


class TestLangChain:
    @pytest.fixture
    def chat(self, embedded):
        langchain_openai = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
        return langchain_openai.ChatOpenAI(
            model="pyramid", base_url=f"{embedded.url}/v1", api_key="sk-made-up", stream_usage=True
        )

    @pytest.fixture
    def tool_chat(self, scripted):
        langchain_openai = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
        return langchain_openai.ChatOpenAI(
            model="pyramid", base_url=f"{scripted.url}/v1", api_key="sk-made-up"
        )

    def test_invokes(self, chat):
        message = chat.invoke(QUESTION)
        assert "19" in message.text
        assert message.usage_metadata["output_tokens"] > 0

    async def test_invokes_asynchronously(self, embedded):
        langchain_openai = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
        # A client of the test's own, which it can close before its loop.
        async with openai.DefaultAsyncHttpxClient() as client:
            chat = langchain_openai.ChatOpenAI(
                model="pyramid", base_url=f"{embedded.url}/v1", api_key="sk-made-up", http_async_client=client
            )
            assert "19" in (await chat.ainvoke(QUESTION)).text

    def test_streams(self, chat):
        chunks = list(chat.stream(QUESTION))
        assert "19" in "".join(chunk.text for chunk in chunks)
        assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1

    def test_gives_log_probabilities(self, chat):
        message = chat.bind(logprobs=True).invoke(QUESTION)
        assert message.response_metadata["logprobs"]["content"][0]["logprob"] <= 0

    def test_binds_tools(self, tool_chat):
        message = tool_chat.bind_tools([WEATHER]).invoke("Weather in Oslo?")
        assert message.tool_calls[0]["name"] == "weather"

    def test_gives_structured_output(self, tool_chat):
        assert isinstance(
            tool_chat.with_structured_output(Person, method="json_schema").invoke(QUESTION), Person
        )


class TestLlamaIndex:
    @pytest.fixture
    def llm(self, embedded):
        return self.made(embedded)

    def made(self, server, **settings):
        like = pytest.importorskip("llama_index.llms.openai_like", reason="openai-like is not installed")
        return like.OpenAILike(
            model="pyramid", api_base=f"{server.url}/v1", api_key="sk-made-up", is_chat_model=True, **settings
        )

    def test_chats(self, llm):
        from llama_index.core.llms import ChatMessage

        assert "19" in llm.chat([ChatMessage(role="user", content=QUESTION)]).message.content

    def test_completes(self, llm):
        assert "19" in llm.complete(QUESTION).text

    async def test_chats_asynchronously(self, embedded):
        async with openai.DefaultAsyncHttpxClient() as client:
            llm = self.made(embedded, async_http_client=client)
            assert "19" in (await llm.acomplete(QUESTION)).text

    def test_streams(self, llm):
        assert "19" in [chunk.text for chunk in llm.stream_complete(QUESTION)][-1]

    def test_calls_tools(self, scripted):
        from llama_index.core.tools import FunctionTool

        def weather(town: str) -> str:
            """The weather in a town."""
            return f"rain in {town}"

        llm = self.made(scripted, is_function_calling_model=True)
        tool = FunctionTool.from_defaults(weather)
        response = llm.chat_with_tools([tool], user_msg="Weather in Oslo?")
        assert llm.get_tool_calls_from_response(response)[0].tool_name == "weather"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on PATH")
class TestCurl:
    def curl(self, server, *arguments):
        run = subprocess.run(
            ["curl", "-sS", "--max-time", "30", *arguments, f"{server.url}/v1/chat/completions"],
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    def body(self, **settings):
        return json.dumps({"model": "pyramid", "messages": MESSAGES, **settings})

    def test_answers(self, embedded):
        told = self.curl(embedded, "-H", "content-type: application/json", "-d", self.body())
        assert "19" in json.loads(told)["choices"][0]["message"]["content"]

    def test_streams(self, embedded):
        told = self.curl(embedded, "-N", "-H", "content-type: application/json", "-d", self.body(stream=True))
        assert told.endswith("data: [DONE]\n\n")

    def test_is_told_to_name_the_content_type(self, embedded):
        told = self.curl(embedded, "-d", self.body())
        assert "application/json" in json.loads(told)["error"]["message"]
