"""The same recorded tool calls through every way in: the same verdicts from the same router."""

from functools import partial

import pytest
from langchain_core.messages import AIMessage

from langchain_pyramid import ChatPyramid
from llamaindex_pyramid import PyramidLLM
from llamaindex_pyramid.tools import SchemaTool
from pyramid_core import Pyramid, Recorded, routing_record
from pyramid_core.records import answer_of, query_of
from pyramid_core.tool_schemas import fault_of
from pyramid_core.types import Answer
from tests.core.recorded import records
from tests.gateway.serving import running
from tests.langchain.scripted import Scripted
from tests.llamaindex.scripted import Calls, ScriptedLLM

CROWD = ("open-mistral-nemo-2407-FC-Auto", "firefunction-v2-FC", "gpt-3.5-turbo-0125-FC")
ORACLE = "gpt-4-0125-preview-FC"
QUESTIONS = 200
KEPT = ("verdict", "answered_by", "escalated", "p_fail", "router", "crowd")


def answers(record):
    """What each model said, by name."""
    return {r["model"]: answer_of(r) for r in record["responses"] if r["model"] in {*CROWD, ORACLE}}


def is_plain(record):
    """Whether every answer is one that all frameworks take as it is: no error, no call that its tool refuses."""
    said = answers(record).values()
    tools = record["tools"]
    return all(isinstance(a, Answer) and not any(fault_of(c, tools) for c in a.tool_calls) for a in said)


@pytest.fixture(scope="module")
def asked():
    """200 of the recorded questions, of all kinds."""
    plain, seen = [], set()
    for record in list(records("bfcl_tool_calls"))[::2]:
        if record["query"] not in seen and is_plain(record):
            seen.add(record["query"])
            plain.append(record)
    assert len(plain) >= QUESTIONS
    return plain[:QUESTIONS]


@pytest.fixture(scope="module")
def said(asked):
    """Each model's answer by question."""
    return {record["query"]: answers(record) for record in asked}


@pytest.fixture(scope="module")
def replayed(asked):
    """What `Pyramid.replay` makes of them."""
    pyramid = Pyramid(crowd=[Recorded(name) for name in CROWD], oracle=Recorded(ORACLE))
    return [kept(routing_record(pyramid.replay(record).trace)) for record in asked]


def kept(told):
    return {key: told[key] for key in KEPT} | {"p_fail": round(told["p_fail"], 4)}


def test_the_router_of_tool_calls_judges_them_by_default(replayed):
    assert {told["router"].partition("/")[0] for told in replayed} == {"tools"}


def test_both_verdicts_occur(replayed):
    assert {told["verdict"] for told in replayed} == {"accept", "escalate"}


def test_langchain_says_the_same(asked, said, replayed):
    def answer(name, messages):
        found = said[messages[-1].content][name]
        calls = [
            {"name": c.name, "args": dict(c.arguments), "id": f"c{n}"} for n, c in enumerate(found.tool_calls)
        ]
        return AIMessage(found.text, tool_calls=calls)

    crowd, oracle = ([Scripted(name, partial(answer, name)) for name in some] for some in (CROWD, [ORACLE]))
    llm = ChatPyramid(crowd=crowd, oracle=oracle[0])
    told = [
        kept(llm.bind_tools(record["tools"]).invoke(record["query"]).response_metadata["pyramid"])
        for record in asked
    ]
    assert told == replayed


def test_llamaindex_says_the_same(asked, said, replayed):
    def answer(name, question):
        found = said[question.text][name]
        if not found.tool_calls:
            return found.text
        return Calls(tuple((call.name, dict(call.arguments)) for call in found.tool_calls), found.text)

    crowd, oracle = (
        [ScriptedLLM(name=name, script=partial(answer, name)) for name in some] for some in (CROWD, [ORACLE])
    )
    llm = PyramidLLM(crowd=crowd, oracle=oracle[0])
    told = []
    for record in asked:
        tools = [SchemaTool(tool) for tool in record["tools"]]
        told.append(kept(llm.chat_with_tools(tools, record["query"]).additional_kwargs["pyramid"]))
    assert told == replayed


class Told:
    """A member that answers as it was recorded."""

    def __init__(self, name, said):
        self.name, self._said = name, said

    async def aask(self, query):
        return self._said[query.text][self.name]


def test_the_gateway_says_the_same(asked, said, replayed):
    build = partial(Pyramid, crowd=[Told(name, said) for name in CROWD], oracle=Told(ORACLE, said))
    told = []
    with running(build) as server, server.client() as client:
        for record in asked:
            messages = [{"role": "user", "content": query_of(record).text}]
            body = {"model": "pyramid", "messages": messages, "tools": record["tools"]}
            response = client.post("/v1/chat/completions", json=body)
            told.append(kept(response.json()["pyramid"]))
    assert told == replayed
