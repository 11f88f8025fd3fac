"""Streaming: what is joined equals what is invoked, the record and the usage ride once, nothing is taken back."""

import asyncio
import json
import operator
import threading
from functools import reduce

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from pyramid_core.errors import PyramidFailed
from pyramid_core.types import Policy
from tests.langchain.scripted import Scripted, SyncOnly, Tokens, Tracer, Whole, pyramid

CALLS = AIMessage(
    "",
    tool_calls=[
        {"name": "add", "args": {"a": 1, "b": [2, {"c": "ü"}]}, "id": "1"},
        {"name": "sub", "args": {}, "id": "2"},
    ],
)
BLOCKS = AIMessage([{"type": "text", "text": "four"}, {"type": "text", "text": " is it"}])

SHAPES = {
    "the crowd's text": lambda: pyramid("the answer is 4", "4 of them 4"),
    "the crowd's calls": lambda: pyramid(CALLS, CALLS),
    "the crowd's blocks": lambda: pyramid(BLOCKS, BLOCKS),
    "the crowd's long text": lambda: pyramid("word " * 5000 + "4", "4"),
    "the oracle's text": lambda: pyramid("4", "5", oracle="it is 7, I think"),
    "the oracle's calls": lambda: pyramid("4", "5", oracle=CALLS),
    "the oracle's blocks": lambda: pyramid("4", "5", oracle=BLOCKS),
    "an oracle without streaming": lambda: pyramid("4", "5", oracle=Whole("big", "it is 7")),
    "an oracle without streaming that calls": lambda: pyramid("4", "5", oracle=Whole("big", CALLS)),
    "a synchronous oracle": lambda: pyramid("4", "5", oracle=SyncOnly("big", "it is 7")),
    "the crowd's, as the oracle fails": lambda: pyramid(
        "4", "4", "5", oracle=Scripted("big", ConnectionError("down")), policy=Policy(early_stop=None)
    ),
}


def joined(chunks):
    whole = reduce(operator.add, chunks)
    assert isinstance(whole, AIMessageChunk)
    return whole


def streamed(llm):
    return list(llm.stream("How many?"))


def astreamed(llm):
    async def run():
        return [chunk async for chunk in llm.astream("How many?")]

    return asyncio.run(run())


def streamed_inside(llm):
    """The chunks that a streaming handler sees during `ainvoke`."""

    async def run():
        return [
            event["data"]["chunk"]
            async for event in llm.astream_events("How many?", version="v2")
            if event["event"] == "on_chat_model_stream"
        ]

    return asyncio.run(run())


PATHS = {"stream": streamed, "astream": astreamed, "astream_events": streamed_inside}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
class TestJoined:
    def test_text_and_calls_are_those_of_invoke(self, path, shape):
        whole, invoked = joined(path(shape())), shape().invoke("How many?")
        assert whole.text == invoked.text
        assert whole.tool_calls == invoked.tool_calls
        assert whole.response_metadata["finish_reason"] == invoked.response_metadata["finish_reason"]

    def test_usage_record_and_names_ride_on_the_last_chunk_alone(self, path, shape):
        *others, last = path(shape())
        assert last.usage_metadata["total_tokens"] > 0
        assert last.response_metadata["model_name"] == "pyramid"
        assert json.dumps(last.response_metadata["pyramid"], allow_nan=False)
        for chunk in others:
            assert chunk.usage_metadata is None
            assert not {"model_name", "pyramid"} & set(chunk.response_metadata)

    def test_every_chunk_has_the_runs_id(self, path, shape):
        ids = {chunk.id for chunk in path(shape())}
        assert len(ids) == 1
        assert ids.pop().startswith("lc_run--")

    def test_the_provider_is_the_answering_members(self, path, shape):
        assert joined(path(shape())).response_metadata["model_provider"] == "scripted"


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
class TestProtocol:
    """`stream_events(version="v3")`, which gives `_stream` a run manager and makes content a list of blocks."""

    def test_synchronously(self, shape):
        stream = shape().stream_events("How many?", version="v3")
        message = stream.output
        invoked = shape().invoke("How many?")
        assert message.text == invoked.text
        assert message.tool_calls == invoked.tool_calls
        assert (
            message.response_metadata["pyramid"]["answered_by"]
            == invoked.response_metadata["pyramid"]["answered_by"]
        )
        assert message.usage_metadata["total_tokens"] > 0
        assert message.id.startswith("lc_run--")

    async def test_asynchronously(self, shape):
        stream = await shape().astream_events("How many?", version="v3")
        message = await stream.output
        assert message.text == shape().invoke("How many?").text
        assert message.response_metadata["model_name"] == "pyramid"


class TestLive:
    def test_the_oracles_first_word_is_passed_on_before_its_last(self):
        oracle = Scripted("big", "one two three")
        chunks = pyramid("4", "5", oracle=oracle).stream("How many?")
        seen = ""
        for chunk in chunks:
            seen += chunk.text
            if seen:
                break
        assert seen == "one"

    async def test_asynchronously_too(self):
        gate = asyncio.Event()

        class Pausing(Scripted):
            async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
                yield ChatGenerationChunk(message=AIMessageChunk(content="one"))
                await gate.wait()
                yield ChatGenerationChunk(message=AIMessageChunk(content=" two"))

        seen = []
        async for chunk in pyramid("4", "5", oracle=Pausing("big")).astream("How many?"):
            seen.append(chunk.text)
            if chunk.text == "one":
                gate.set()
        assert "".join(seen) == "one two"

    def test_a_reader_who_leaves_stops_a_synchronous_oracle_at_its_next_word(self):
        left, written, closed = threading.Event(), [], threading.Event()

        class Endless(Scripted):
            def _stream(self, messages, stop=None, run_manager=None, **kwargs):
                try:
                    for number in range(10_000):
                        written.append(number)
                        yield ChatGenerationChunk(message=AIMessageChunk(content=f"{number} "))
                        assert left.wait(10)
                finally:
                    closed.set()

        chunks = pyramid("4", "5", oracle=Endless("big")).stream("How many?")
        assert next(chunk for chunk in chunks if chunk.text)
        chunks.close()
        left.set()
        assert closed.wait(10)
        assert len(written) < 10_000

    def test_an_accepted_answer_comes_in_pieces(self):
        texts = [
            chunk.text for chunk in pyramid("a b c d " * 20 + "4", "4").stream("How many?") if chunk.text
        ]
        assert len(texts) > 3


@pytest.mark.parametrize("asynchronous", [False, True])
class TestBroken:
    def run(self, llm, asynchronous, seen):
        if not asynchronous:
            for chunk in llm.stream("How many?"):
                seen.append(chunk.text)
            return

        async def read():
            async for chunk in llm.astream("How many?"):
                seen.append(chunk.text)

        asyncio.run(read())

    def test_after_its_first_word_the_stream_raises_with_the_partial_text_and_the_record(self, asynchronous):
        seen = []
        llm = pyramid("4", "5", oracle=Scripted("big", "it is 7", breaks_after=2))
        with pytest.raises(PyramidFailed) as raised:
            self.run(llm, asynchronous, seen)
        assert "".join(seen) == raised.value.partial_text == "it"
        assert raised.value.trace.end == "fail"

    def test_before_its_first_word_the_crowds_best_answer_is_streamed(self, asynchronous):
        seen = []
        oracle = Scripted("big", "7", breaks_after=1)
        self.run(pyramid("4", "4", "5", oracle=oracle, policy=Policy(early_stop=None)), asynchronous, seen)
        assert "".join(seen) == "4"


class TestStreamingInside:
    async def test_a_streaming_pyramid_streams_inside_invoke(self):
        tokens = Tokens()
        message = await pyramid("4", "5", streaming=True).ainvoke("q", {"callbacks": [tokens]})
        assert "".join(tokens.seen) == message.text == "oracle says 7"
        assert message.response_metadata["pyramid"]["answered_by"] == "big"

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_its_members_are_children_all_the_same(self, asynchronous):
        tracer = Tracer()
        llm, config = pyramid("4", "5", streaming=True), {"callbacks": [tracer]}
        asyncio.run(llm.ainvoke("q", config)) if asynchronous else llm.invoke("q", config)
        (own,) = tracer.named("ChatPyramid")
        assert len(tracer.children(own)) == 3

    def test_streaming_can_be_disabled(self):
        (only,) = pyramid("4", "5", disable_streaming=True).stream("q")
        assert only.text == "oracle says 7"

    def test_the_stream_of_a_call_in_the_dark_works_too(self):
        chunks = list(pyramid("4", "5")._stream(pyramid("4")._convert_input("q").to_messages()))
        assert "".join(chunk.text for chunk in chunks) == "oracle says 7"


def graph(llm, *, asynchronous=False):
    if asynchronous:

        async def node(state):
            return {"messages": [await llm.ainvoke(state["messages"])]}

    else:

        def node(state):
            return {"messages": [llm.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", node)
    builder.add_edge(START, "model")
    return builder.compile(checkpointer=InMemorySaver())


CONFIG = {"configurable": {"thread_id": "1"}}
QUESTION = {"messages": [("human", "How many?")]}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
class TestGraphs:
    def test_messages_show_the_answer_once_and_nothing_of_the_crowd(self, shape):
        seen = [m for m, _ in graph(shape()).stream(QUESTION, CONFIG, stream_mode="messages")]
        invoked = shape().invoke("How many?")
        assert len({m.id for m in seen}) == 1
        assert joined(seen).text == invoked.text
        assert joined(seen).tool_calls == invoked.tool_calls
        assert sum(m.usage_metadata is not None for m in seen) == 1

    async def test_asynchronously_too(self, shape):
        compiled = graph(shape(), asynchronous=True)
        seen = [m async for m, _ in compiled.astream(QUESTION, CONFIG, stream_mode="messages")]
        assert len({m.id for m in seen}) == 1
        assert joined(seen).text == shape().invoke("How many?").text

    @pytest.mark.parametrize("mode", ["values", "updates", "debug"])
    def test_other_modes_carry_the_message_with_its_record(self, shape, mode):
        compiled = graph(shape())
        list(compiled.stream(QUESTION, CONFIG, stream_mode=mode))
        message = compiled.get_state(CONFIG).values["messages"][-1]
        assert message.response_metadata["pyramid"]["end"] == "accept"
        assert message.text == shape().invoke("How many?").text


class Number(BaseModel):
    """A number."""

    value: int


class TestStructuredStreams:
    @pytest.mark.parametrize("method", ["json_schema", "json_mode"])
    async def test_the_last_partial_object_is_the_invoked_one(self, method):
        llm = pyramid('{"value": 4}', '{"value": 5}', oracle='{"value": 7}')
        schema = {"title": "Number", "type": "object", "properties": {"value": {"type": "integer"}}}
        chain = llm.with_structured_output(schema, method=method)
        *_, last = chain.stream("How many?")
        assert last == {"value": 7}
        assert [part async for part in chain.astream("How many?")][-1] == {"value": 7}
