"""LangSmith's own client posts to a loopback API, as it would to LangSmith: what arrives is a tree, and complete.

The way back too: what the client gives becomes records for training.
"""

import asyncio
import json
import threading
import warnings

import pytest
from langchain.agents import create_agent
from langchain_core.messages import SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.langchain import LangChainTracer
from langgraph.graph import START, MessagesState, StateGraph
from langsmith import Client
from typer.testing import CliRunner

from langchain_pyramid.langsmith import read_langsmith
from pyramid_core.cli.app import app
from pyramid_core.errors import TraceError
from pyramid_core.prices import Price
from pyramid_core.records import answer_of, query_of, read_records
from pyramid_core.types import Failure, Policy
from tests.langchain.langsmith_server import serving
from tests.langchain.scripted import Scripted, pyramid
from tests.langchain.test_tools import add, call

PROJECT = "01a20e63-95df-77cd-ae00-c4950de557f4"


class Service:
    """The server, its client, and what arrived."""

    def __init__(self, server):
        self.server = server
        self.client = Client(api_url=server.url, api_key="lsv2_made_up")

    def config(self):
        return {"callbacks": [LangChainTracer(client=self.client, project_name="p")]}

    def runs(self):
        self.client.flush()
        return list(self.server.runs.values())

    def pyramids(self):
        return [run for run in self.runs() if run["name"] == "ChatPyramid"]

    def below(self, owner):
        return [run for run in self.runs() if run.get("parent_run_id") == owner["id"]]

    def listed(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(self.client.list_runs(project_id=PROJECT))


@pytest.fixture
def service():
    with serving() as server:
        found = Service(server)
        yield found
        found.client.cleanup()


def metadata(run):
    return run["extra"]["metadata"]


def graph(llm):
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
    builder.add_edge(START, "model")
    return builder.compile()


async def streamed(llm, config):
    async for _ in llm.astream("2 + 2?", config):
        pass


async def events(llm, config):
    async for _ in llm.astream_events("2 + 2?", config, version="v2"):
        pass


async def graph_messages(llm, config):
    async for _ in graph(llm).astream({"messages": "2 + 2?"}, config, stream_mode="messages"):
        pass


PROMPT = ChatPromptTemplate.from_messages([("human", "{q}")])
WAYS = {
    "invoke": lambda llm, config: llm.invoke("2 + 2?", config),
    "ainvoke": lambda llm, config: asyncio.run(llm.ainvoke("2 + 2?", config)),
    "batch": lambda llm, config: llm.batch(["2 + 2?"], config),
    "abatch": lambda llm, config: asyncio.run(llm.abatch(["2 + 2?"], config)),
    "stream": lambda llm, config: list(llm.stream("2 + 2?", config)),
    "astream": lambda llm, config: asyncio.run(streamed(llm, config)),
    "astream_events": lambda llm, config: asyncio.run(events(llm, config)),
    "chain": lambda llm, config: (PROMPT | llm).invoke({"q": "2 + 2?"}, config),
    "graph": lambda llm, config: graph(llm).invoke({"messages": "2 + 2?"}, config),
    "graph messages": lambda llm, config: asyncio.run(graph_messages(llm, config)),
    "agent": lambda llm, config: create_agent(llm, []).invoke({"messages": "2 + 2?"}, config),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_tree_arrives_whole(way, service):
    prices = dict.fromkeys(("m0", "m1", "big"), Price(input=1e-6, output=1e-6))
    way(pyramid("4", "5", temperature=0.25, model="pyramid", prices=prices), service.config())
    (own,) = service.pyramids()
    members = {metadata(run)["pyramid_member"]: run for run in service.below(own)}
    assert service.server.posts[0][0] == "/runs/multipart"
    assert set(members) == {"m0", "m1", "big"}
    for name, run in members.items():
        assert f"pyramid:{'oracle' if name == 'big' else 'crowd'}" in run["tags"]
        assert (metadata(run)["ls_model_name"], metadata(run)["_type"]) == (name, "scripted")
        assert "members" not in metadata(run)
        assert run["trace_id"] == own["trace_id"]
    assert all(run.get("end_time") and not run.get("error") for run in service.runs())
    assert "pyramid:escalate" in own["tags"]
    told = metadata(own)
    assert told["pyramid.p_fail"] == 0.5
    assert {"pyramid.cost_barrier", "pyramid.imperfection_barrier", "pyramid.verdict"} <= set(told)
    assert {"pyramid.cost_usd", "pyramid.cost_complete", "pyramid.usage_is_sum"} <= set(told)
    assert told["pyramid.cost_usd"] == pytest.approx(180e-6)


class TestTimes:
    """Members run at the same time: each waits for the other, so that their runs can only overlap."""

    def overlap(self, service):
        (own,) = service.pyramids()
        crowd = [run for run in service.below(own) if "pyramid:crowd" in run["tags"]]
        assert len(crowd) == 2
        return max(run["start_time"] for run in crowd) < min(run["end_time"] for run in crowd)

    def test_on_threads(self, service):
        both = threading.Barrier(2, timeout=10)

        class Meeting(Scripted):
            def _generate(self, *args, **kwargs):
                both.wait()
                return super()._generate(*args, **kwargs)

        pyramid(Meeting("a"), Meeting("b")).invoke("2 + 2?", service.config())
        assert self.overlap(service)

    async def test_on_the_loop(self, service):
        both = asyncio.Barrier(2)

        class Meeting(Scripted):
            async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
                await both.wait()
                return self._generate(messages, stop, None, **kwargs)

        await pyramid(Meeting("a"), Meeting("b")).ainvoke("2 + 2?", service.config())
        assert self.overlap(service)


class TestEnds:
    async def test_a_cancelled_member_is_closed_and_marked_and_has_no_error(self, service):
        slow = Scripted("slow", "4", gate=asyncio.Event())
        await pyramid("4", "5", slow).ainvoke("2 + 2?", service.config())
        (late,) = [run for run in service.runs() if "pyramid:cancelled" in run["tags"]]
        assert metadata(late)["pyramid_member"] == "slow"
        assert late["end_time"]
        assert not late.get("error")

    def test_a_failed_member_has_its_error_and_no_such_mark(self, service):
        llm = pyramid(ConnectionError("down"), "4", policy=Policy(early_stop=None))
        llm.invoke("2 + 2?", service.config())
        (failed,) = [run for run in service.runs() if run.get("error")]
        assert "down" in failed["error"]
        assert "pyramid:cancelled" not in failed["tags"]

    def test_the_messages_id_gives_the_run_for_feedback(self, service):
        message = pyramid("4", "4").invoke("2 + 2?", service.config())
        (own,) = service.pyramids()
        assert message.id == f"lc_run--{own['id']}"

    def test_no_key_arrives(self, service):
        pyramid("4", "5", api_key="sk-own-secret").invoke("2 + 2?", service.config())
        assert "secret" not in json.dumps(service.runs())


class TestUsage:
    def test_the_sum_over_all_runs_counts_twice_and_without_the_composites_once(self, service):
        pyramid("4", "5").invoke("2 + 2?", service.config())
        tokens = {
            run["id"]: run["outputs"]["generations"][0][0]["message"]["kwargs"]["usage_metadata"][
                "total_tokens"
            ]
            for run in service.runs()
        }
        assert sum(tokens.values()) == 2 * 180
        sums = [run["id"] for run in service.runs() if metadata(run).get("pyramid.usage_is_sum")]
        assert sum(count for run_id, count in tokens.items() if run_id not in sums) == 180

    def test_a_cost_that_is_not_wholly_known_is_told_as_a_lower_bound(self, service):
        pyramid("4", "5").invoke("2 + 2?", service.config())
        (own,) = service.pyramids()
        assert "pyramid.cost_usd" not in metadata(own)
        assert metadata(own)["pyramid.cost_at_least_usd"] == 0.0


class TestOpenTelemetry:
    """The same as spans, where LangSmith's client exports them."""

    @pytest.fixture
    def spans(self, service):
        pytest.importorskip("opentelemetry.sdk")
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        client = Client(
            api_url=service.server.url,
            api_key="lsv2_made_up",
            tracing_mode="otel",
            otel_tracer_provider=provider,
        )
        slow = Scripted("slow", "4", gate=asyncio.Event())
        config = {"callbacks": [LangChainTracer(client=client, project_name="p")]}
        asyncio.run(pyramid("4", "5", slow).ainvoke("2 + 2?", config))
        client.flush()
        client.cleanup()
        provider.shutdown()
        return exporter.get_finished_spans()

    def test_members_are_below_the_pyramid_and_the_cancelled_one_has_no_error(self, spans):
        (own,) = [span for span in spans if span.name == "ChatPyramid"]
        members = [span for span in spans if span is not own]
        assert len(members) == 4
        assert {span.parent.span_id for span in members} == {own.context.span_id}
        assert all(span.status.status_code.name == "OK" for span in spans)
        marked = [span for span in members if "pyramid:cancelled" in span.attributes["langsmith.span.tags"]]
        assert [span.attributes["langsmith.metadata.pyramid_member"] for span in marked] == ["slow"]
        assert own.attributes["langsmith.metadata.pyramid.verdict"] == "escalate"

    def test_tokens_over_all_spans_count_twice_and_without_the_composites_once(self, spans):
        def total(of):
            return sum(span.attributes.get("gen_ai.usage.total_tokens", 0) for span in of)

        assert total(spans) == 2 * 180
        marked = "langsmith.metadata.pyramid.usage_is_sum"
        assert total(span for span in spans if not span.attributes.get(marked)) == 180


def kept(service, path):
    """What a user writes: every run that the client lists, one a line."""
    service.client.flush()
    path.write_text("".join(run.model_dump_json() + "\n" for run in service.listed()), encoding="utf-8")
    return path


class TestTheWayBack:
    def test_a_query_is_a_record_with_every_members_answer(self, service, tmp_path):
        llm = pyramid("it is 4", "it is 5", oracle="it is 7")
        llm.invoke([SystemMessage("Be short."), ("human", "2 + 2?")], service.config())
        (record,) = read_langsmith(kept(service, tmp_path / "runs.jsonl"))
        query = query_of(record)
        assert query.text == "2 + 2?"
        assert [message["role"] for message in query.messages] == ["system", "user"]
        answers = {r["model"]: (r["role"], answer_of(r)) for r in record["responses"]}
        assert {name: (role, answer.text) for name, (role, answer) in answers.items()} == {
            "m0": ("crowd", "it is 4"),
            "m1": ("crowd", "it is 5"),
            "big": ("oracle", "it is 7"),
        }
        assert answers["big"][1].usage.output_tokens == 50
        assert answers["big"][1].elapsed > 0

    def test_calls_and_the_tools_on_offer_come_back(self, service, tmp_path):
        llm = pyramid(call(a=1, b=2), call(a=1, b=2)).bind_tools([add], tool_choice="any")
        llm.invoke("1 + 2?", service.config())
        (record,) = read_langsmith(kept(service, tmp_path / "runs.jsonl"))
        assert query_of(record).tools[0]["function"]["name"] == "add"
        assert record["tool_choice"] == "any"
        assert answer_of(record["responses"][0]).tool_calls[0].arguments == {"a": 1, "b": 2}

    async def test_failures_and_cancellations_stay_what_they_were(self, service, tmp_path):
        down = Scripted("down", ConnectionError("no line"))
        slow = Scripted("slow", "4", gate=asyncio.Event())
        llm = pyramid(down, "4", "5", slow)
        await llm.ainvoke("2 + 2?", service.config())
        (record,) = read_langsmith(kept(service, tmp_path / "runs.jsonl"))
        told = {response["model"]: response for response in record["responses"]}
        failure = answer_of(told["down"])
        assert isinstance(failure, Failure)
        assert "no line" in failure.message
        assert told["slow"]["cancelled"] is True

    def test_every_step_of_an_agent_is_one(self, service, tmp_path):
        llm = pyramid("4", "4")
        create_agent(llm, []).invoke({"messages": "2 + 2?"}, service.config())
        llm.invoke("3 + 3?", service.config())
        records = list(read_langsmith(kept(service, tmp_path / "runs.jsonl")))
        assert [record["query"] for record in records] == ["2 + 2?", "3 + 3?"]

    def test_the_command_writes_them_for_training(self, service, tmp_path):
        pyramid("4", "5").invoke("2 + 2?", service.config())
        runs, out = kept(service, tmp_path / "runs.jsonl"), tmp_path / "traces.jsonl.gz"
        done = CliRunner().invoke(app, ["collect", "--from-langsmith", str(runs), "-o", str(out)])
        assert (done.exit_code, done.output) == (0, f"1 records are in {out}\n")
        assert [query_of(record).text for record in read_records(out)] == ["2 + 2?"]

    @pytest.mark.parametrize("line", ["{", "[]", '{"name": "x"}'])
    def test_a_line_that_is_no_run_is_named(self, tmp_path, line):
        path = tmp_path / "runs.jsonl"
        path.write_text(f"\n{line}\n", encoding="utf-8")
        with pytest.raises(TraceError, match="line 2: this is no run of LangSmith's"):
            read_langsmith(path)

    def test_a_file_without_a_pyramid_is_refused(self, tmp_path):
        runs = tmp_path / "runs.jsonl"
        runs.write_text('{"id": "1", "run_type": "llm"}\n', encoding="utf-8")
        done = CliRunner().invoke(app, ["collect", "--from-langsmith", str(runs), "-o", str(tmp_path / "o")])
        assert done.exit_code != 0
        assert "has no run of a pyramid" in done.output
