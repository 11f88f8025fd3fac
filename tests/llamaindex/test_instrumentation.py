"""What LlamaIndex's instrumentation and its older callbacks see of a pyramid: one call, its members beneath it."""

import asyncio
import json

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.callbacks.schema import CBEventType
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
)
from llama_index.core.instrumentation.events.span import SpanDropEvent

from llamaindex_pyramid import PyramidLLM, PyramidRoutingEvent, routing_records
from pyramid_core import PyramidFailed
from tests.llamaindex.instruments import recording
from tests.llamaindex.scripted import KEY, Hang, ScriptedLLM, is_plain
from tests.llamaindex.test_llm import ASKS, WAYS, WHOLE, pyramid, responses, until


class TestSpans:
    @pytest.mark.parametrize("way", WAYS)
    def test_every_members_span_lies_under_the_pyramids(self, way):
        with recording() as heard:
            responses(pyramid("5", "6", "7"), way)
        own = [span.id_ for span in heard.named(f"PyramidLLM.{way}-")]
        members = heard.named("ScriptedLLM.")
        assert len(own) == 1
        assert [span.parent_id for span in members] == own * 4

    def test_a_pyramid_in_a_pyramid_nests_twice(self):
        inner = pyramid("5", "5", "5")
        with recording() as heard:
            PyramidLLM(crowd=[inner], oracle=ScriptedLLM(name="o")).chat(ASKS)
        outer, nested = heard.named("PyramidLLM.chat-")
        assert nested.parent_id == outer.id_
        assert {span.parent_id for span in heard.named("ScriptedLLM.")} == {nested.id_}

    async def test_a_cancelled_members_span_is_dropped(self):
        hang = Hang()
        llm = PyramidLLM(
            crowd=[
                ScriptedLLM(name="a", script="5"),
                ScriptedLLM(name="b", script="6"),
                ScriptedLLM(name="slow", script=hang),
            ],
            oracle=ScriptedLLM(name="o", script="7"),
        )
        with recording() as heard:
            await llm.achat(ASKS)
            await until(hang.cancelled.is_set)
        assert len(heard.dropped) == 1
        assert [e.span_id for e in heard.events if isinstance(e, SpanDropEvent)] == heard.dropped
        started = {e.span_id for e in heard.events if isinstance(e, LLMChatStartEvent)}
        ended = {e.span_id for e in heard.events if isinstance(e, LLMChatEndEvent)}
        assert started - ended == set(heard.dropped)

    async def test_a_cancelled_pyramid_drops_its_span_and_its_members(self):
        hangs = [Hang(), Hang()]
        with recording() as heard:
            task = asyncio.ensure_future(pyramid(*hangs).achat(ASKS))
            await until(lambda: all(hang.begun.is_set() for hang in hangs))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(heard.dropped) == 3
        assert not heard.open


class TestRoutingEvents:
    @pytest.mark.parametrize("way", WAYS)
    def test_one_is_sent_under_the_pyramids_span(self, way):
        with recording() as heard:
            responses(pyramid("5", "6", "7"), way)
        found = [e for e in heard.events if isinstance(e, PyramidRoutingEvent)]
        assert [e.span_id for e in found] == [span.id_ for span in heard.named("PyramidLLM.")]
        assert (found[0].verdict, found[0].escalated, found[0].answered_by) == ("escalate", True, "oracle")

    def test_it_is_plain_json_with_the_responses_record(self):
        with recording() as heard:
            record = pyramid("5", "6", "7").chat(ASKS).additional_kwargs["pyramid"]
        event = next(e for e in heard.events if isinstance(e, PyramidRoutingEvent))
        assert is_plain(event.record)
        assert event.record == record
        assert json.loads(event.model_dump_json())["model"] == "pyramid"

    @pytest.mark.parametrize("way", ["chat", "astream_complete"])
    def test_a_query_without_an_answer_is_told_of(self, way):
        broken = RuntimeError("down")
        with recording() as heard, pytest.raises(PyramidFailed):
            responses(pyramid(broken, broken, oracle=broken), way)
        found = [e for e in heard.events if isinstance(e, PyramidRoutingEvent)]
        assert [(e.answered_by, e.record["end"]) for e in found] == [(None, "fail")]

    def test_no_event_shows_a_key(self):
        with recording() as heard:
            pyramid("5", RuntimeError(f"no such key {KEY}"), "7").chat(ASKS)
        told = [e.model_dump_json() for e in heard.events if isinstance(e, PyramidRoutingEvent)]
        started = [e.model_dump_json() for e in heard.events if isinstance(e, LLMChatStartEvent)]
        assert told
        assert len(started) == 5
        assert all(KEY not in each for each in (*told, *started))


class TestRecords:
    @pytest.mark.parametrize("way", WAYS)
    def test_they_are_collected(self, way):
        with routing_records() as records:
            last = responses(pyramid("5", "6", "7"), way)[-1]
        assert records == [last.additional_kwargs["pyramid"]]

    def test_an_inner_pyramids_record_is_not_collected_beside_the_outers(self):
        with routing_records() as records:
            PyramidLLM(crowd=[pyramid("5", "5", "5")], oracle=ScriptedLLM(name="o")).chat(ASKS)
        assert [record["crowd"] for record in records] == [["pyramid"]]

    def test_outside_nothing_is_collected(self):
        with routing_records() as records:
            pass
        pyramid("5").chat(ASKS)
        assert records == []


class TestCounting:
    """A divided crowd of three and the oracle: each reads four or five words and writes as many as it says."""

    def asked(self, way, **fields):
        counter = TokenCountingHandler(tokenizer=str.split)
        debug = LlamaDebugHandler(print_trace_on_end=False)
        llm = pyramid("5", "6", "7", callback_manager=CallbackManager([counter, debug]), **fields)
        responses(llm, way)
        return counter, debug

    @pytest.mark.parametrize("way", WAYS)
    def test_the_token_counter_has_the_sum_once(self, way):
        counter, _ = self.asked(way)
        assert len(counter.llm_token_counts) == 1
        assert counter.prompt_llm_token_count == 4 * len("What is 2 + 3?".split())
        assert counter.completion_llm_token_count == 3 + 3

    @pytest.mark.parametrize("way", WAYS)
    def test_the_debug_handler_has_one_pair(self, way):
        _, debug = self.asked(way)
        assert len(debug.get_event_pairs(CBEventType.LLM)) == 1

    def test_members_keep_their_own_managers(self):
        counters = [TokenCountingHandler(tokenizer=str.split) for _ in range(2)]
        crowd = [ScriptedLLM(name="m", script="5", callback_manager=CallbackManager([counters[0]]))]
        llm = PyramidLLM(
            crowd=crowd,
            oracle=ScriptedLLM(name="o"),
            callback_manager=CallbackManager([counters[1]]),
            policy=WHOLE,
        )
        llm.chat(ASKS)
        assert [len(counter.llm_token_counts) for counter in counters] == [1, 1]

    def test_a_manager_shared_with_the_members_counts_twice(self):
        counter = TokenCountingHandler(tokenizer=str.split)
        shared = CallbackManager([counter])
        llm = PyramidLLM(
            crowd=[ScriptedLLM(name="m", script="5", callback_manager=shared)],
            oracle=ScriptedLLM(name="o"),
            callback_manager=shared,
        )
        llm.chat(ASKS)
        assert counter.total_llm_token_count == 2 * (5 + 1)

    def test_a_tracer_that_sums_over_all_spans_has_composite_and_members(self):
        """OpenInference's figure: usage is read from each span's end event, so that the whole is there twice."""
        with recording() as heard:
            pyramid("5", "6", "7").chat(ASKS)
        ends = [e for e in heard.events if isinstance(e, (LLMChatEndEvent, LLMCompletionEndEvent))]
        own = [e for e in ends if e.span_id.startswith("PyramidLLM.")]
        assert sum(map(sum, (get_tokens_from_response(e.response) for e in own))) == 4 * 5 + 6
        assert sum(map(sum, (get_tokens_from_response(e.response) for e in ends))) == 2 * (4 * 5 + 6)
