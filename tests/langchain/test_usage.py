"""Usage is counted once by whoever counts what the caller sees, and every verdict is said once as a custom event."""

import asyncio

import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    UsageMetadataCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.messages import AIMessageChunk

from pyramid_core.decision import EscalationRule
from pyramid_core.errors import PyramidAbstained
from pyramid_core.guarding import EscalateTools
from pyramid_core.prices import Price
from tests.langchain.scripted import Scripted, Tracer, pyramid
from tests.langchain.test_runs import WAYS
from tests.langchain.test_tools import add, call

SUM = {"input_tokens": 120, "output_tokens": 60, "total_tokens": 180}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
class TestCounters:
    def test_one_that_is_passed_has_the_composites_entry_alone(self, way):
        counter = UsageMetadataCallbackHandler()
        way(pyramid("4", "5"), {"callbacks": [counter]})
        assert counter.usage_metadata == {"pyramid": SUM}

    def test_passed_and_in_the_callers_context_both_have_it_once(self, way):
        counter = UsageMetadataCallbackHandler()
        with get_usage_metadata_callback() as counted:
            way(pyramid("4", "5"), {"callbacks": [counter]})
        assert counter.usage_metadata == counted.usage_metadata == {"pyramid": SUM}

    def test_a_tracer_that_sums_over_runs_is_right_without_the_composites(self, way):
        tracer = Tracer()
        way(pyramid("4", "5"), {"callbacks": [tracer]})

        def total(runs):
            messages = [run.outputs["generations"][0][0]["message"]["kwargs"] for run in runs]
            return sum(message["usage_metadata"]["total_tokens"] for message in messages)

        models = [run for run in tracer.runs.values() if run.run_type == "llm"]
        assert total(models) == 2 * SUM["total_tokens"]
        own = [run for run in models if run.extra["metadata"].get("pyramid.usage_is_sum")]
        assert [run.name for run in own] == ["ChatPyramid"]
        assert total([run for run in models if run not in own]) == SUM["total_tokens"]


class TestBill:
    PRICES = {name: Price(input=1e-6, output=1e-6) for name in ("m0", "m1")} | {
        "big": Price(input=1e-5, output=1e-5)
    }

    def test_cost_counterfactual_and_saving_are_in_the_record(self):
        record = pyramid("4", "5", prices=self.PRICES).invoke("q").response_metadata["pyramid"]
        assert record["cost"]["usd"] == pytest.approx(30e-6 + 150e-5)
        assert record["oracle_alone"] == pytest.approx(150e-5)
        assert record["saving"] == pytest.approx(-30e-6 / 150e-5)

    def test_the_sum_over_members_is_the_messages_usage(self):
        message = pyramid("4", "5").invoke("q")
        by_member = message.response_metadata["pyramid"]["usage"].values()
        assert sum(each["input_tokens"] for each in by_member) == message.usage_metadata["input_tokens"]


class Listening(BaseCallbackHandler):
    """Hears custom events."""

    def __init__(self):
        self.heard = []

    def on_custom_event(self, name, data, *, run_id, **kwargs):
        self.heard.append((name, data, run_id))


class ListeningLater(AsyncCallbackHandler):
    """Hears custom events on the loop."""

    def __init__(self):
        self.heard = []

    async def on_custom_event(self, name, data, *, run_id, **kwargs):
        await asyncio.sleep(0)
        self.heard.append((name, data, run_id))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
class TestVerdicts:
    def test_each_is_said_once_as_an_event_of_the_pyramids_own_run(self, way, request):
        handler, tracer = Listening(), Tracer()
        way(pyramid("4", "5"), {"callbacks": [handler, tracer]})
        assert {name for name, *_ in handler.heard} == {"pyramid_verdict"}
        # Once the oracle's words go out nothing is decided any more.
        streams = "stream" in request.node.callspec.id
        said = [data["verdict"] for _, data, _ in handler.heard]
        assert said == (["escalate"] if streams else ["escalate", "accept"])
        first = handler.heard[0][1]
        assert (first["oracle"], first["p_fail"], first["after_oracle"]) == ("big", 0.5, False)
        (own,) = tracer.named("ChatPyramid")
        assert {run_id for *_, run_id in handler.heard} == {own.id}


class TestMoreOfThem:
    async def test_asynchronous_listeners_hear_them_too(self):
        handler = ListeningLater()
        await pyramid("4", "4").ainvoke("q", {"callbacks": [handler]})
        assert [data["verdict"] for _, data, _ in handler.heard] == ["accept"]

    async def test_they_are_among_the_events_of_a_stream(self):
        events = [event async for event in pyramid("4", "5").astream_events("q", version="v2")]
        said = [event["data"]["verdict"] for event in events if event["event"] == "on_custom_event"]
        assert said == ["escalate"]

    def test_abstaining_is_said_and_written_on_the_run(self):
        handler, tracer = Listening(), Tracer()
        llm = pyramid(call(a=1, b=2), call(a=1, b=2), oracle=ConnectionError("down"), escalate_tools={"add"})
        with pytest.raises(PyramidAbstained):
            llm.bind_tools([add]).invoke("1 + 2?", {"callbacks": [handler, tracer]})
        assert handler.heard[-1][1]["verdict"] == "abstain"
        (own,) = tracer.named("ChatPyramid")
        assert "pyramid:abstain" in own.tags

    def test_no_rule_is_needed_for_what_they_say(self):
        handler = Listening()
        rule = EscalateTools(EscalationRule(c_esc=0.9), {"rm"})
        pyramid("4", "5", rule=rule).invoke("q", {"callbacks": [handler]})
        assert handler.heard[0][1]["cost_barrier"] == 0.9

    def test_the_last_chunk_alone_has_the_bill(self):
        chunks = list(pyramid("4", "5", oracle=Scripted("big", "one two", used=(100, 50))).stream("q"))
        assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
        assert [bool(chunk.usage_metadata) for chunk in chunks].count(True) == 1
