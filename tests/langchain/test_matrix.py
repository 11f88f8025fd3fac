"""Every way of asking, times every way a query can go: the same answer, one bill, one id, and nothing of the crowd's.

Ways that stream show the chunks that they have shown; the others only the message. An oracle that breaks off after its
first word has no answer where its words have gone out, and has one where nobody listened.
"""

import asyncio
import json
import operator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from pyramid_core.errors import PyramidFailed
from pyramid_core.types import Policy
from tests.langchain.scripted import Scripted, Tokens, Tracer, pyramid

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")

QUESTION = "How many?"
CONFIG = {"configurable": {"thread_id": "1"}}
CALL = {"name": "add", "args": {"a": 1, "b": [2, {"c": "ü"}]}, "id": "1", "type": "tool_call"}
CALLS = AIMessage("", tool_calls=[CALL])
OTHER = AIMessage("", tool_calls=[{**CALL, "args": {"a": 2}}])
SCHEMA = {"title": "Number", "type": "object", "properties": {"value": {"type": "integer"}}}
ADD = {"type": "function", "function": {"name": "add", "description": "d", "parameters": {"type": "object"}}}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way that a query can go.

    Attributes:
        make: the pyramid, as it is asked.
        text: of the answer.
        calls: of the answer.
        ended: as the record says it.
        words: texts that nobody may see.
        tokens: in the sum of all members.
        broken: what has gone out when a stream breaks; None where none does.
    """

    make: Any
    text: str = ""
    calls: list = field(default_factory=list)
    ended: str = "decided"
    words: tuple = ()
    tokens: int
    broken: str | None = None


def structured() -> Runnable:
    llm = pyramid('{"value": 4}', '{"value": 5}', oracle='{"value": 7}')
    return llm.with_structured_output(SCHEMA, method="json_schema").first


class Down(Scripted):
    """An oracle that cannot be reached, however it is asked."""

    def _next(self, messages, settings):
        super()._next(messages, settings)
        raise ConnectionError("down")


CASES = {
    "accept": Case(
        make=lambda: pyramid("so the answer is 4", "4 pears, aren't they"),
        text="so the answer is 4",
        words=("pears",),
        tokens=30,
    ),
    "escalate": Case(
        make=lambda: pyramid("4 apples", "5 pears", oracle="it is 7, I think"),
        text="it is 7, I think",
        words=("apples", "pears"),
        tokens=180,
    ),
    "the oracle fails at once": Case(
        make=lambda: pyramid(
            "4 of them", "4 of them", "5 pears", oracle=Down("big"), policy=Policy(early_stop=None)
        ),
        text="4 of them",
        ended="fallback",
        words=("pears",),
        tokens=45,
    ),
    "the oracle breaks off": Case(
        make=lambda: pyramid(
            "4 apples", "5 pears", oracle=Scripted("big", "it is 7", breaks_after=2, used=(100, 50))
        ),
        text="it is 7",
        words=("apples", "pears"),
        tokens=180,
        broken="it",
    ),
    "tools of the crowd": Case(make=lambda: pyramid(CALLS, CALLS).bind_tools([ADD]), calls=[CALL], tokens=30),
    "tools of the oracle": Case(
        make=lambda: pyramid(OTHER, "5 pears", oracle=CALLS).bind_tools([ADD]),
        calls=[CALL],
        words=("pears",),
        tokens=180,
    ),
    "structured": Case(make=structured, text='{"value": 7}', words=("4", "5"), tokens=180),
}


@dataclass
class Heard:
    """What a way has given: the message, and the chunks that it has shown where it shows some."""

    message: Any = None
    chunks: list = field(default_factory=list)


def collected(heard: Heard) -> Heard:
    heard.message = reduce(operator.add, heard.chunks)
    return heard


async def invoke(llm, config, heard):
    heard.message = llm.invoke(QUESTION, config)


async def ainvoke(llm, config, heard):
    heard.message = await llm.ainvoke(QUESTION, config)


async def batch(llm, config, heard):
    (heard.message,) = llm.batch([QUESTION], config)


async def abatch(llm, config, heard):
    (heard.message,) = await llm.abatch([QUESTION], config)


async def stream(llm, config, heard):
    for chunk in llm.stream(QUESTION, config):
        heard.chunks.append(chunk)
    collected(heard)


async def astream(llm, config, heard):
    async for chunk in llm.astream(QUESTION, config):
        heard.chunks.append(chunk)
    collected(heard)


async def events_v2(llm, config, heard):
    async for event in llm.astream_events(QUESTION, config, version="v2"):
        if event["event"] == "on_chat_model_stream":
            heard.chunks.append(event["data"]["chunk"])
    collected(heard)


async def events_v3(llm, config, heard):
    heard.message = llm.stream_events(QUESTION, config, version="v3").output


async def aevents_v3(llm, config, heard):
    heard.message = await (await llm.astream_events(QUESTION, config, version="v3")).output


def graph(llm, *, asynchronous, writes=False):
    def node(state):
        if writes:
            return {"messages": [reduce(operator.add, map(written, llm.stream(state["messages"])))]}
        return {"messages": [llm.invoke(state["messages"])]}

    async def anode(state):
        if writes:
            chunks = [written(chunk) async for chunk in llm.astream(state["messages"])]
            return {"messages": [reduce(operator.add, chunks)]}
        return {"messages": [await llm.ainvoke(state["messages"])]}

    def written(chunk):
        get_stream_writer()(chunk)
        return chunk

    builder = StateGraph(MessagesState)
    builder.add_node("model", anode if asynchronous else node)
    builder.add_edge(START, "model")
    return builder.compile(checkpointer=InMemorySaver())


def graph_way(mode, *, asynchronous):
    def keep(heard, item):
        if mode == "messages":
            heard.chunks.append(item[0])
        elif mode == "custom":
            heard.chunks.append(item)

    async def way(llm, config, heard):
        compiled = graph(llm, asynchronous=asynchronous, writes=mode == "custom")
        asked, told = {"messages": [("human", QUESTION)]}, {**CONFIG, **config}
        if asynchronous:
            async for item in compiled.astream(asked, told, stream_mode=mode):
                keep(heard, item)
        else:
            for item in compiled.stream(asked, told, stream_mode=mode):
                keep(heard, item)
        heard.message = compiled.get_state(CONFIG).values["messages"][-1]

    return way


WHOLE = {"invoke": invoke, "ainvoke": ainvoke, "batch": batch, "abatch": abatch}
STREAMED = {"stream": stream, "astream": astream, "astream_events v2": events_v2}
PROTOCOL = {"stream_events v3": events_v3, "astream_events v3": aevents_v3}
MODES = ("values", "updates", "messages", "custom", "debug")
GRAPHS = {
    f"graph {name} {mode}": graph_way(mode, asynchronous=name == "astream")
    for mode in MODES
    for name in ("stream", "astream")
}
WAYS = WHOLE | STREAMED | PROTOCOL | GRAPHS
LIVE = {*STREAMED, *PROTOCOL, *(way for way in GRAPHS if "messages" in way or "custom" in way)}


def shown(heard, handler):
    """All that anybody could have seen."""
    return "".join([*handler.seen, *(chunk.text for chunk in heard.chunks), heard.message.text])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("way", WAYS)
def test_the_answer_is_the_same_and_everything_about_it_comes_once(way, case):
    heard, handler, tracer = Heard(), Tokens(), Tracer()
    config = {"callbacks": [handler, tracer]}
    if case.broken is not None and way in LIVE:
        with pytest.raises(PyramidFailed) as raised:
            asyncio.run(WAYS[way](case.make(), config, heard))
        assert raised.value.partial_text == case.broken
        assert raised.value.trace.end == "fail"
        assert "".join(chunk.text for chunk in heard.chunks) in ("", case.broken)
        assert tracer.open == []
        return
    asyncio.run(WAYS[way](case.make(), config, heard))
    message = heard.message
    assert message.text == case.text
    assert [dict(call) for call in message.tool_calls] == case.calls
    assert message.response_metadata["pyramid"]["ended"] == case.ended
    assert json.dumps(message.response_metadata["pyramid"], allow_nan=False)
    assert message.response_metadata["model_name"] == "pyramid"
    assert message.usage_metadata["total_tokens"] == case.tokens
    # One run, one id, one bill.
    (own,) = tracer.named("ChatPyramid")
    assert message.id == f"lc_run--{own.id}"
    assert {chunk.id for chunk in heard.chunks} <= {message.id}
    parts = [chunk for chunk in heard.chunks if isinstance(chunk, AIMessageChunk)]
    assert sum(chunk.usage_metadata is not None for chunk in parts) == bool(parts)
    assert sum("pyramid" in chunk.response_metadata for chunk in parts) == bool(parts)
    # Nothing of the crowd's that does not stand.
    seen = shown(heard, handler)
    assert not [word for word in case.words if word in seen]
    assert handler.starts == 1
    assert tracer.open == []
