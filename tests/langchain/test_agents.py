"""Agents and graphs: twenty episodes end as with the oracle alone, and every step has its record, whatever comes between."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

from tests.langchain.openai_server import serving
from tests.langchain.scripted import Scripted, pyramid
from tests.langchain.test_tools import add, call

episodes = pytest.importorskip("tests.langchain.episodes", reason="langchain-openai is not installed")

ROOT = Path(__file__).resolve().parent.parent.parent
TWENTY = range(20)


@pytest.fixture(scope="module")
def models():
    with serving(episodes.planned) as server:
        yield episodes.Models(server.url)


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """Only plain types may go into a checkpoint."""
    monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", "true")


def config(number):
    return {"configurable": {"thread_id": str(number)}}


def played(llm, number, *, asynchronous, wrong=None):
    """The messages at the end of an episode, read out of its checkpoint."""
    agent = create_agent(llm, episodes.TOOLS, checkpointer=episodes.saver())
    asked = episodes.asked(number, wrong)
    if asynchronous:
        asyncio.run(agent.ainvoke(asked, config(number)))
    else:
        agent.invoke(asked, config(number))
    return agent.get_state(config(number)).values["messages"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
class TestEpisodes:
    @pytest.mark.parametrize("number", TWENTY)
    def test_ends_as_with_the_oracle_alone_and_has_a_record_at_every_step(self, models, number, asynchronous):
        alone = played(models.oracle, number, asynchronous=asynchronous)
        messages = played(models.pyramid, number, asynchronous=asynchronous)
        assert episodes.state_of(messages) == episodes.state_of(alone)
        steps = len(episodes.plan(number)) + 1
        assert 3 <= steps <= 8
        records = episodes.records_of(messages)
        assert [record["verdict"] for record in records] == ["accept"] * steps
        assert all(json.dumps(record, allow_nan=False) for record in records)

    @pytest.mark.parametrize("number", TWENTY[::4])
    def test_where_one_of_the_crowd_is_wrong_that_step_is_the_oracles(self, models, number, asynchronous):
        wrong = number % len(episodes.plan(number))
        messages = played(models.pyramid, number, asynchronous=asynchronous, wrong={"other": wrong})
        records = episodes.records_of(messages)
        assert [n for n, record in enumerate(records) if record["verdict"] == "escalate"] == [wrong]
        alone = played(models.oracle, number, asynchronous=asynchronous)
        assert episodes.results_of(messages) == episodes.results_of(alone)


def test_an_episode_goes_on_in_another_process(models, tmp_path):
    number, path = 5, tmp_path / "checkpoints"
    program = [sys.executable, "-m", "tests.langchain.episodes", models.url, str(number), str(path)]
    subprocess.run(program, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    agent = create_agent(models.pyramid, episodes.TOOLS, checkpointer=episodes.kept(path))
    halfway = agent.get_state(config(number)).values["messages"]
    assert len(episodes.records_of(halfway)) == 2
    agent.invoke(None, config(number))
    messages = agent.get_state(config(number)).values["messages"]
    assert episodes.state_of(messages) == episodes.state_of(played(models.oracle, number, asynchronous=False))
    assert [record["verdict"] for record in episodes.records_of(messages)] == ["accept"] * 8


class TestMemory:
    def test_a_conversation_remembers_its_turns_and_their_records(self):
        def says(messages):
            return f"turn {sum(isinstance(m, HumanMessage) for m in messages)}"

        llm = pyramid(Scripted("a", says), Scripted("b", says))
        agent = create_agent(llm, [], checkpointer=InMemorySaver())
        for turn in (1, 2, 3):
            state = agent.invoke({"messages": [("human", "And?")]}, config(1))
            assert state["messages"][-1].text == f"turn {turn}"
        assert all(episodes.records_of(state["messages"]))


def steps(name, said="the sum is {}", **arguments):
    """A model that calls `add`, then says what came out."""

    def says(messages):
        results = [m for m in messages if isinstance(m, ToolMessage)]
        return said.format(results[-1].text) if results else call(**(arguments or {"a": 19, "b": 23}))

    return Scripted(name, says)


def by_hand(llm, tools):
    """The loop of an agent, written by hand."""
    bound = llm.bind_tools(tools)
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [bound.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder


ASKED = {"messages": [("human", "19 + 23?")]}


class TestGraphs:
    def llm(self):
        return pyramid(steps("m0"), steps("m1"), oracle=steps("big"))

    def test_written_by_hand_with_a_tool_node(self):
        compiled = by_hand(self.llm(), [add]).compile(checkpointer=InMemorySaver())
        state = compiled.invoke(ASKED, config(1))
        assert state["messages"][-1].text == "the sum is 42"
        assert len(episodes.records_of(state["messages"])) == 2

    @pytest.mark.parametrize("mode", ["messages", "updates"])
    def test_as_a_subgraph_it_shows_nothing_of_the_crowd(self, mode):
        inner = by_hand(pyramid(steps("m0", "crowd {}"), steps("m1", "pears {}"), oracle=steps("big")), [add])
        builder = StateGraph(MessagesState)
        builder.add_node("inner", inner.compile())
        builder.add_edge(START, "inner")
        builder.add_edge("inner", END)
        compiled = builder.compile(checkpointer=InMemorySaver())
        items = list(compiled.stream(ASKED, config(1), stream_mode=mode, subgraphs=True))
        assert not [word for word in ("crowd 42", "pears") if word in str(items)]
        assert compiled.get_state(config(1)).values["messages"][-1].text == "the sum is 42"

    def test_a_person_is_asked_and_the_graph_goes_on(self):
        @tool
        def send(to: str) -> str:
            """Send the letter."""
            return interrupt({"to": to})

        def says(messages):
            results = [m for m in messages if isinstance(m, ToolMessage)]
            return f"the answer was {results[-1].text}" if results else call("send", to="Ada")

        oracle = Scripted("big", says)
        llm = pyramid(Scripted("a", says), Scripted("b", says), oracle=oracle)
        compiled = by_hand(llm, [send]).compile(checkpointer=InMemorySaver())
        stopped = compiled.invoke({"messages": [("human", "Write to Ada.")]}, config(1))
        assert stopped["__interrupt__"][0].value == {"to": "Ada"}
        state = compiled.invoke(Command(resume="yes"), config(1))
        assert state["messages"][-1].text == "the answer was yes"
        assert [len(member.calls) for member in llm.crowd] == [2, 2]
        assert len(episodes.records_of(state["messages"])) == 2

    def test_the_graph_may_be_stopped_before_the_tools(self):
        agent = create_agent(self.llm(), [add], checkpointer=InMemorySaver(), interrupt_before=["tools"])
        agent.invoke(ASKED, config(1))
        (_, called) = agent.get_state(config(1)).values["messages"]
        assert called.response_metadata["pyramid"]["verdict"] == "accept"
        assert agent.invoke(None, config(1))["messages"][-1].text == "the sum is 42"

    @pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
    def test_the_older_way_of_making_an_agent_works_too(self):
        from langgraph.prebuilt import create_react_agent

        state = create_react_agent(self.llm(), [add]).invoke(ASKED)
        assert state["messages"][-1].text == "the sum is 42"
        assert isinstance(state["messages"][-1], AIMessage)

    def test_a_record_is_json_before_and_after_a_checkpoint(self):
        agent = create_agent(self.llm(), [add], checkpointer=InMemorySaver())
        state = agent.invoke(ASKED, config(1))
        back = agent.get_state(config(1)).values["messages"]
        assert episodes.records_of(back) == episodes.records_of(state["messages"])
        assert json.loads(json.dumps(episodes.records_of(back), allow_nan=False)) == episodes.records_of(back)
