"""PyramidRunnable: whole chains as a crowd and an oracle."""

import asyncio

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from langchain_pyramid import PyramidRunnable
from pyramid_core.errors import InputError, PyramidFailed
from pyramid_core.prices import Price
from tests.langchain.scripted import Scripted, Tokens, Tracer

PROMPT = ChatPromptTemplate.from_messages([("human", "Question: {question}")])
ASKED = {"question": "2 + 2?"}


def chain(name, says, **fields):
    return (PROMPT | Scripted(name, says, **fields) | StrOutputParser()).with_config(run_name=f"chain {name}")


def three(*crowd, oracle="it is 7", **settings):
    chains = [chain(f"m{n}", says) for n, says in enumerate(crowd)]
    return PyramidRunnable(crowd=chains, oracle=chain("big", oracle), **settings)


class Sum(BaseModel):
    """A sum."""

    total: int


class TestOutputs:
    async def test_chains_that_agree_are_accepted(self):
        assert three("it is 4", "4, I think").invoke(ASKED) == "it is 4"
        assert await three("it is 4", "4, I think").ainvoke(ASKED) == "it is 4"

    async def test_chains_that_do_not_ask_the_oracle(self):
        assert three("it is 4", "it is 5").invoke(ASKED) == "it is 7"
        assert await three("it is 4", "it is 5").ainvoke(ASKED) == "it is 7"

    @pytest.mark.parametrize("output", [4, {"total": 4}, ["a", "b"], Sum(total=4), None, True])
    def test_outputs_of_any_kind_come_out_untouched(self, output):
        same = RunnableLambda(lambda _: output)
        other = RunnableLambda(lambda _: pytest.fail("the oracle was asked"))
        assert PyramidRunnable(crowd=[same, same], oracle=other).invoke("anything") is output

    def test_the_users_own_reading_of_an_output_is_what_is_compared(self):
        low, high = (
            RunnableLambda(lambda _: {"n": 4, "by": "a"}),
            RunnableLambda(lambda _: {"n": 4, "by": "b"}),
        )
        oracle = RunnableLambda(lambda _: {"n": 7, "by": "c"})
        compared = PyramidRunnable(crowd=[low, high], oracle=oracle, text=lambda out: str(out["n"]))
        assert compared.invoke("how many?")["by"] == "a"
        assert PyramidRunnable(crowd=[low, high], oracle=oracle).invoke("how many?")["by"] == "c"

    async def test_it_stands_in_a_chain_and_streams_its_output_whole(self):
        whole = RunnableLambda(lambda text: {"question": text}) | three("it is 4", "it is 5") | str.upper
        assert whole.invoke("2 + 2?") == "IT IS 7"
        assert list(three("it is 4", "it is 5").stream(ASKED)) == ["it is 7"]
        assert [part async for part in three("it is 4", "it is 5").astream(ASKED)] == ["it is 7"]

    def test_a_chain_that_fails_is_no_vote(self):
        assert three("it is 4", "it is 4", ConnectionError("down")).invoke(ASKED) == "it is 7"

    async def test_where_all_fail_every_cause_is_told(self):
        llm = three(ConnectionError("one"), oracle=ConnectionError("two"))
        with pytest.raises(PyramidFailed, match="one"):
            llm.invoke(ASKED)
        with pytest.raises(PyramidFailed, match="two"):
            await llm.ainvoke(ASKED)

    @pytest.mark.parametrize(
        ("asked", "text"),
        [(ASKED, '{"question": "2 + 2?"}'), ("2 + 2?", "2 + 2?"), (PROMPT.invoke(ASKED), "Question: 2 + 2?")],
    )
    def test_the_question_is_read_from_any_input(self, asked, text):
        traces = []
        same = RunnableLambda(lambda _: "4")
        PyramidRunnable(crowd=[same, same], oracle=same, on_trace=traces.append).invoke(asked)
        assert traces[0].query.text == text


class TestRuns:
    @pytest.mark.parametrize("how", ["invoke", "ainvoke"])
    def test_every_chain_is_a_child_of_the_pyramids_run(self, how):
        tracer, llm = Tracer(), three("it is 4", "it is 5", name="three chains")
        config = {"callbacks": [tracer], "tags": ["mine"]}
        asyncio.run(llm.ainvoke(ASKED, config)) if how == "ainvoke" else llm.invoke(ASKED, config)
        (own,) = tracer.named("three chains")
        children = tracer.children(own)
        assert sorted(child.name for child in children) == ["chain big", "chain m0", "chain m1"]
        assert all("mine" in child.tags for child in children)
        assert {"pyramid:crowd", "pyramid:oracle"} <= {tag for child in children for tag in child.tags}
        assert own.extra["metadata"]["pyramid.answered_by"] == "chain big"
        assert "pyramid:escalate" in own.tags
        assert not tracer.open

    def test_configurable_settings_reach_the_chains(self):
        seen = RunnableLambda(lambda _, config: config["configurable"]["who"])
        llm = PyramidRunnable(crowd=[seen, seen], oracle=seen)
        assert llm.invoke("who?", {"configurable": {"who": "ada"}}) == "ada"

    def test_plain_handlers_do_not_see_the_chains_tokens(self):
        tokens = Tokens()
        three("it is 4", "it is 5").invoke(ASKED, {"callbacks": [tokens]})
        assert (tokens.seen, tokens.starts) == ([], 0)

    @pytest.mark.parametrize("how", ["stream", "astream"])
    def test_no_token_of_a_chain_is_in_the_stream_of_a_graph(self, how):
        builder = StateGraph(MessagesState)
        llm = three("it is 4", "it is 5")
        if how == "stream":
            builder.add_node("ask", lambda state: {"messages": [AIMessage(llm.invoke(ASKED))]})
        else:

            async def ask(state):
                return {"messages": [AIMessage(await llm.ainvoke(ASKED))]}

            builder.add_node("ask", ask)
        graph = builder.add_edge(START, "ask").compile()
        asked = {"messages": [("human", "2 + 2?")]}

        async def read():
            return [message async for message, _ in graph.astream(asked, stream_mode="messages")]

        shown = (
            asyncio.run(read())
            if how == "astream"
            else [message for message, _ in graph.stream(asked, stream_mode="messages")]
        )
        assert [message.text for message in shown if message.type != "human"] == ["it is 7"]

    async def test_a_chain_that_is_cancelled_leaves_no_run_open(self):
        tracer, gate = Tracer(), asyncio.Event()
        llm = PyramidRunnable(
            crowd=[chain("m0", "it is 4"), chain("m1", "it is 5"), chain("m2", "it is 6", gate=gate)],
            oracle=chain("big", "it is 7"),
        )
        assert await llm.ainvoke(ASKED, {"callbacks": [tracer]}) == "it is 7"
        assert not tracer.open
        (late,) = [run for run in tracer.models() if "pyramid:cancelled" in run.tags]
        assert late.error is None

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"timeout": -1}, "timeout must be a number of seconds above 0"),
            ({"prices": [1]}, "prices must be a dict of Price by model name"),
            ({"prices": {"m0": 1}}, "must be a pyramid_core.Price"),
        ],
    )
    def test_settings_that_are_wrong_are_refused_by_the_names_they_have_here(self, wrong, message):
        with pytest.raises(InputError, match=message):
            PyramidRunnable(crowd=[chain("m0", "4")], oracle=chain("big", "4"), **wrong)


class TestBill:
    def test_the_usage_of_the_models_in_a_chain_is_counted_and_priced(self):
        traces = []
        price = Price(input=1.0, output=2.0)
        llm = three(
            "it is 4", "it is 5", prices={"m0": price, "m1": price, "big": price}, on_trace=traces.append
        )
        llm.invoke(ASKED)
        results = [call.result for call in traces[0].calls]
        assert [(r.usage.input_tokens, r.usage.output_tokens) for r in results] == [(10, 5)] * 3
        assert [r.cost for r in results] == [price.cost(r.usage) for r in results]

    def test_without_a_price_the_cost_is_unknown(self):
        traces = []
        three(
            "it is 4", "it is 4", prices={"m0": Price(input=1.0, output=2.0)}, on_trace=traces.append
        ).invoke(ASKED)
        assert [call.result.cost.complete for call in traces[0].calls] == [True, False]

    def test_a_counter_of_the_callers_sees_each_model_once(self):
        with get_usage_metadata_callback() as counted:
            three("it is 4", "it is 5").invoke(ASKED)
        assert {name: usage["total_tokens"] for name, usage in counted.usage_metadata.items()} == {
            "m0": 15,
            "m1": 15,
            "big": 15,
        }


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"crowd": []}, "crowd must be a list of at least one runnable"),
            ({"crowd": chain("m0", "4")}, "crowd must be a list"),
            ({"crowd": [str]}, r"crowd\[0\] is the class str, not a runnable"),
            ({"oracle": None}, "oracle is missing"),
            ({"rule": "often"}, "rule must be a rule or a threshold"),
        ],
    )
    def test_what_is_wrong_is_said(self, settings, message):
        with pytest.raises(InputError, match=message):
            PyramidRunnable(**{"crowd": [chain("m0", "4")], "oracle": chain("big", "7"), **settings})
