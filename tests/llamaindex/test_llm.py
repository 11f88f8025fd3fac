"""PyramidLLM against the core: the same answers, the same verdicts, in all eight ways of asking."""

import asyncio
import copy
import itertools
import json
import pickle
import threading

import pytest
from llama_index.core import Settings
from llama_index.core.base.llms.types import ImageBlock, MessageRole, TextBlock
from llama_index.core.llms import ChatMessage, MockLLM

from llamaindex_pyramid import PyramidLLM
from pyramid_core import (
    InputError,
    Policy,
    Price,
    Pyramid,
    PyramidAbstained,
    PyramidFailed,
    ThresholdRule,
    routing_record,
)
from pyramid_core.types import Answer, Decision, Verdict
from tests.llamaindex.scripted import KEY, Asked, Hang, ScriptedLLM, SlowSyncLLM, is_plain

WAYS = (
    "chat",
    "achat",
    "stream_chat",
    "astream_chat",
    "complete",
    "acomplete",
    "stream_complete",
    "astream_complete",
)
ASKS = [ChatMessage(content="What is 2 + 3?")]


WHOLE = Policy(early_stop=None)
"""The whole crowd is waited for, so that nothing depends on who is faster."""


def pyramid(*said, oracle="the oracle's word", policy=WHOLE, **fields):
    crowd = [ScriptedLLM(name=f"m{i}", script=text) for i, text in enumerate(said)]
    return PyramidLLM(crowd=crowd, oracle=ScriptedLLM(name="oracle", script=oracle), policy=policy, **fields)


def responses(llm, way, **keywords):
    """All responses of one call, one where the way does not stream."""
    what = ASKS if "chat" in way else "What is 2 + 3?"
    method = getattr(llm, way)

    async def asked():
        found = await method(what, **keywords)
        return [chunk async for chunk in found] if "stream" in way else [found]

    if way.startswith("a"):
        return asyncio.run(asked())
    found = method(what, **keywords)
    return list(found) if "stream" in way else [found]


def text(response):
    return response.message.content if hasattr(response, "message") else response.text


async def until(holds):
    """Turn the loop until something holds."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to hold")


class CoreMember:
    """The same answers as plain members of the core."""

    def __init__(self, name, said):
        self.name, self.said = name, said

    def ask(self, query):
        if isinstance(self.said, BaseException):
            raise self.said
        return Answer(text=self.said)


class TestAnswers:
    @pytest.mark.parametrize("way", WAYS)
    def test_a_unanimous_crowd_answers(self, way):
        last = responses(pyramid("5", "5", "5"), way)[-1]
        assert text(last) == "5"
        assert last.additional_kwargs["pyramid"]["verdict"] == "accept"

    @pytest.mark.parametrize("way", WAYS)
    def test_a_divided_crowd_leaves_it_to_the_oracle(self, way):
        last = responses(pyramid("5", "6", "7"), way)[-1]
        assert text(last) == "the oracle's word"
        assert last.additional_kwargs["pyramid"]["answered_by"] == "oracle"

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("said", list(itertools.product(["5", "6", RuntimeError("down")], repeat=3)))
    def test_the_verdict_is_the_cores(self, way, said):
        record = responses(pyramid(*said), way)[-1].additional_kwargs["pyramid"]
        core = Pyramid(
            crowd=[CoreMember(f"m{i}", s) for i, s in enumerate(said)],
            oracle=CoreMember("oracle", "the oracle's word"),
            policy=WHOLE,
        )
        expected = routing_record(core.ask("What is 2 + 3?").trace)
        same = ("end", "ended", "verdict", "reason", "answered_by", "escalated", "p_fail", "router", "rule")
        assert {name: record[name] for name in same} == {name: expected[name] for name in same}

    @pytest.mark.parametrize("way", WAYS)
    def test_the_record_is_plain_json(self, way):
        last = responses(pyramid("5", RuntimeError("down"), "7"), way)[-1]
        assert is_plain(last.additional_kwargs)
        assert is_plain(last.raw)

    @pytest.mark.parametrize("way", [w for w in WAYS if "stream" in w])
    def test_in_a_stream_the_record_rides_on_the_last_chunk_alone(self, way):
        chunks = responses(pyramid("5", "6", "7"), way)
        assert ["pyramid" in chunk.additional_kwargs for chunk in chunks] == [False] * (len(chunks) - 1) + [
            True
        ]
        assert all(chunk.raw is None for chunk in chunks[:-1])

    @pytest.mark.parametrize("way", [w for w in WAYS if "stream" in w])
    @pytest.mark.parametrize("crowd", [("5", "5", "5"), ("5", "6", "7")])
    def test_deltas_join_to_the_final_text(self, way, crowd):
        chunks = responses(pyramid(*crowd), way)
        assert "".join(chunk.delta for chunk in chunks) == text(chunks[-1])

    def test_the_oracle_streams_live(self):
        chunks = responses(pyramid("5", "6", "7", oracle="one two three"), "stream_chat")
        assert [chunk.delta for chunk in chunks] == ["one ", "two ", "three", "", ""]

    def test_members_messages_are_passed_on_untouched(self):
        def script(asked: Asked):
            return "seen"

        message = ChatMessage(
            role=MessageRole.USER,
            blocks=[TextBlock(text="What is this?"), ImageBlock(url="http://localhost/x.png")],
            additional_kwargs={"own": 1},
        )
        llm = pyramid(script, script, script)
        llm.chat([message])
        assert llm.crowd[0].asked[0].messages[0] is message

    def test_the_query_tells_which_blocks_there_were_without_their_content(self):
        seen = []
        llm = pyramid("a", "a", "a", on_trace=seen.append)
        llm.chat([ChatMessage(blocks=[TextBlock(text="Look"), ImageBlock(image=b"abcd")])])
        assert seen[0].query.messages == (
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image"}]},
        )

    def test_the_features_read_the_users_last_words(self):
        seen = []
        llm = pyramid("a", "a", "a", on_trace=seen.append)
        llm.chat(
            [
                ChatMessage(role="system", content="S"),
                ChatMessage(content="Q"),
                ChatMessage(role="assistant", content="A"),
            ]
        )
        assert seen[0].query.text == "Q"

    def test_token_logprobs_reach_the_core(self):
        seen = []
        pyramid("two words", "b", "c", on_trace=seen.append).chat(ASKS)
        assert seen[0].calls[0].result.logprobs == (-0.1, -0.1)
        assert seen[0].calls[0].result.token_texts == ("two", " words")

    def test_usage_and_cost_are_sums_over_the_members(self):
        llm = pyramid(
            "5",
            "6",
            "7",
            oracle="a b",
            prices={n: Price(input=1.0, output=2.0) for n in ("m0", "m1", "m2", "oracle")},
        )
        response = llm.complete("one two three")
        assert response.raw["usage"] == {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
        assert response.additional_kwargs["pyramid"]["cost"]["usd"] == pytest.approx(12 + 2 * 5)
        assert response.additional_kwargs["pyramid"]["cost"]["complete"]

    def test_usage_that_nobody_tells_is_not_zero(self):
        crowd = [ScriptedLLM(name="m", script="5", usage=False) for _ in range(3)]
        response = PyramidLLM(crowd=crowd, oracle=ScriptedLLM(name="o", usage=False)).chat(ASKS)
        assert "usage" not in response.raw
        assert "prompt_tokens" not in response.additional_kwargs

    def test_a_prompt_is_completed_by_completion_models_in_their_own_way(self):
        llm = pyramid("5", "5", "5")
        llm.complete("x", formatted=True)
        assert llm.crowd[0].asked[0].keywords == {"formatted": False}

    def test_settings_reach_every_member(self):
        llm = pyramid("5", "6", "7", temperature=0.5, max_tokens=7)
        llm.chat(ASKS, top_p=0.9)
        keywords = [member.asked[0].keywords for member in (*llm.crowd, llm.oracle)]
        assert keywords == [{"temperature": 0.5, "max_tokens": 7, "top_p": 0.9}] * 4

    def test_one_core_pyramid_serves_all_calls(self):
        llm = pyramid("5", "5", "5")
        before = llm.pyramid
        for way in WAYS:
            responses(llm, way)
        assert llm.pyramid is before


class TestFailing:
    @pytest.mark.parametrize("way", WAYS)
    def test_when_nobody_answers_every_cause_is_carried(self, way):
        broken = RuntimeError("down")
        with pytest.raises(PyramidFailed) as caught:
            responses(pyramid(broken, broken, broken, oracle=ValueError("out")), way)
        assert [failure.member for failure in caught.value.failures] == ["m0", "m1", "m2", "oracle"]

    @pytest.mark.parametrize("way", WAYS)
    def test_a_programming_error_in_a_member_stays_what_it_is(self, way):
        with pytest.raises(AttributeError, match="bug"):
            responses(pyramid(AttributeError("bug"), "5", "5"), way)

    @pytest.mark.parametrize("way", WAYS)
    def test_abstaining_raises_with_the_record(self, way):
        class Abstains:
            def resolved(self, router):
                return self

            def decide(self, assessment, options):
                return Decision(verdict=Verdict.ABSTAIN, reason="no", rule="never")

        with pytest.raises(PyramidAbstained):
            responses(pyramid("5", "6", "7", rule=Abstains()), way)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_failing_oracle_leaves_the_crowds_best(self, way):
        last = responses(pyramid("5", "5", "7", oracle=RuntimeError("down")), way)[-1]
        assert text(last) == "5"
        assert last.additional_kwargs["pyramid"]["ended"] == "fallback"

    def test_a_deadline_gives_the_best_so_far(self):
        hang = Hang()
        llm = pyramid("5", "5", hang)
        try:
            record = llm.chat(ASKS, timeout=0.05).additional_kwargs["pyramid"]
        finally:
            hang.gate.set()
        assert record["ended"] == "deadline"

    def test_a_prompt_longer_than_a_members_window_leaves_that_member_out(self):
        crowd = [
            ScriptedLLM(name="small", script="wrong", window=50),
            *(ScriptedLLM(name="m", script="5") for _ in range(2)),
        ]
        llm = PyramidLLM(crowd=crowd, oracle=ScriptedLLM(name="oracle", script="6"))
        record = llm.complete("word " * 100).additional_kwargs["pyramid"]
        assert record["calls"][0]["error"]["type"] == "PromptTooLongError"
        assert "50" in record["calls"][0]["error"]["message"]
        assert not crowd[0].asked

    def test_a_prompt_that_fits_is_not_counted(self, monkeypatch):
        monkeypatch.setattr("llamaindex_pyramid.calls.get_tokenizer", lambda: pytest.fail("counted"))
        assert pyramid("5", "5", "5").complete("short").text == "5"


class TestConfiguration:
    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"crowd": [], "oracle": MockLLM()}, "at least one LLM"),
            ({"crowd": "gpt", "oracle": MockLLM()}, "'gpt'"),
            ({"crowd": [MockLLM], "oracle": MockLLM()}, r"crowd\[0\] is the class MockLLM"),
            ({"crowd": [MockLLM()], "oracle": MockLLM}, "oracle is the class MockLLM"),
            ({"crowd": [MockLLM(), object()], "oracle": MockLLM()}, r"crowd\[1\] is of type object"),
            ({"crowd": [MockLLM()]}, "oracle is missing"),
            ({"crowd": [MockLLM()], "oracle": MockLLM(), "models": 1}, "has no models"),
            ({"crowd": [MockLLM()], "oracle": MockLLM(), "model": "gpt"}, "pyramid:<operating point>"),
            ({"crowd": [MockLLM()], "oracle": MockLLM(), "rule": "never"}, "rule must be"),
            (
                {"crowd": [MockLLM()], "oracle": MockLLM(), "model": "pyramid:economy", "rule": 0.5},
                "give one",
            ),
            (
                {"crowd": [MockLLM()], "oracle": MockLLM(), "prices": {"x": Price(input=0, output=0)}},
                "no member",
            ),
            (
                {"crowd": [MockLLM()], "oracle": MockLLM(), "prices": {"MockLLM": 3}},
                "must be a pyramid_core.Price",
            ),
        ],
    )
    def test_what_is_wrong_is_said_where_it_is_written(self, fields, says):
        with pytest.raises(InputError, match=says):
            PyramidLLM(**fields)

    def test_an_error_never_shows_a_members_fields(self):
        with pytest.raises(InputError) as caught:
            PyramidLLM(crowd=[{"api_key": KEY}], oracle=MockLLM())
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize("messages", [[], [{"role": "user", "content": "x"}]])
    def test_messages_that_are_none_are_refused(self, messages):
        with pytest.raises(InputError):
            pyramid("5").chat(messages)

    @pytest.mark.parametrize("way", ["stream_chat", "stream_complete"])
    def test_a_stream_refuses_bad_input_before_its_first_chunk(self, way):
        with pytest.raises(InputError):
            getattr(pyramid("5"), way)("" if "complete" in way else [])

    def test_an_operating_point_may_stand_in_the_models_name(self):
        llm = pyramid("5", "5", "7", model="pyramid:economy")
        assert llm.chat(ASKS).raw["model"] == "pyramid:economy"
        assert llm.metadata.model_name == "pyramid:economy"

    def test_a_number_is_a_threshold(self):
        assert pyramid("5", "5", "7", rule=0.4).chat(ASKS).message.content == "5"

    def test_parts_cannot_be_changed_after_building(self):
        with pytest.raises(ValueError, match="frozen"):
            pyramid("5").crowd = []

    def test_a_copy_with_another_oracle_asks_that_one(self):
        llm = pyramid("5", "6", "7")
        other = llm.model_copy(update={"oracle": ScriptedLLM(name="other", script="else")})
        assert other.chat(ASKS).message.content == "else"
        assert llm.chat(ASKS).message.content == "the oracle's word"

    def test_a_deep_copy_shares_its_members(self):
        llm = pyramid("5", "5", "5")
        assert copy.deepcopy(llm).crowd[0] is llm.crowd[0]

    def test_a_pyramid_may_be_a_member_of_a_pyramid(self):
        outer = PyramidLLM(crowd=[pyramid("5", "5", "5"), pyramid("5", "5", "5")], oracle=MockLLM())
        assert outer.chat(ASKS).message.content == "5"

    def test_the_window_is_the_smallest_and_leaves_each_member_its_answer(self):
        members = [
            ScriptedLLM(name="a", window=8000, outputs=6000),
            ScriptedLLM(name="b", window=4000, outputs=500),
        ]
        metadata = PyramidLLM(crowd=members, oracle=ScriptedLLM(name="o", window=9000)).metadata
        assert metadata.context_window == 4000
        assert metadata.context_window - metadata.num_output == 2000

    def test_it_calls_functions_only_where_all_members_do(self):
        llm = PyramidLLM(
            crowd=[ScriptedLLM(name="a"), ScriptedLLM(name="b", functions=False)],
            oracle=ScriptedLLM(name="o"),
        )
        assert not llm.metadata.is_function_calling_model
        assert pyramid("5").metadata.is_function_calling_model

    def test_settings_llm_takes_it(self, monkeypatch):
        llm = pyramid("5", "5", "5")
        monkeypatch.setattr(Settings, "_llm", None)
        Settings.llm = llm
        assert Settings.llm is llm


class TestSafety:
    def shown(self, llm):
        return [
            llm.to_dict(),
            llm.model_dump(),
            llm.dict(),
            llm.json(),
            llm.to_json(),
            repr(llm),
            str(llm),
            llm.to_payload(),
        ]

    def test_no_key_of_a_member_is_shown(self):
        assert all(KEY not in str(shown) for shown in self.shown(pyramid("5", "6", "7")))

    def test_the_key_would_be_found(self):
        assert KEY in str(ScriptedLLM().to_dict())

    def test_pickling_is_refused(self):
        with pytest.raises(InputError, match="from_dict"):
            pickle.dumps(pyramid("5"))

    def test_its_class_name_is_its_own(self):
        assert pyramid("5").to_dict()["class_name"] == PyramidLLM.class_name() == "PyramidLLM"

    def test_what_was_saved_is_restored(self):
        llm = pyramid(
            "5",
            "6",
            "7",
            temperature=0.2,
            rule=0.5,
            policy=Policy(early_stop=None),
            prices={"m0": Price(input=1, output=2)},
            timeout=9.0,
        )
        data = json.loads(llm.to_json())
        again = PyramidLLM.from_dict(data, crowd=llm.crowd, oracle=llm.oracle)
        assert again.to_dict() == llm.to_dict()
        assert (again.policy, again.rule, again.timeout) == (llm.policy, 0.5, 9.0)

    def test_what_was_not_saved_is_named(self):
        llm = pyramid("5", "6", "7", rule=ThresholdRule(0.5))
        with pytest.raises(InputError, match=r"crowd, oracle, rule.*'m0'"):
            PyramidLLM.from_dict(llm.to_dict())

    def test_a_failures_message_is_redacted(self):
        record = pyramid("5", "5", RuntimeError(f"bad key {KEY}")).chat(ASKS).additional_kwargs["pyramid"]
        assert KEY not in json.dumps(record)


class TestLoop:
    async def test_a_slow_synchronous_member_never_blocks_the_loop(self):
        gate = threading.Event()
        slow = SlowSyncLLM(gate=gate, text="5")
        llm = PyramidLLM(
            crowd=[slow, ScriptedLLM(name="m", script="6")], oracle=ScriptedLLM(name="o", script="7")
        )
        task = asyncio.ensure_future(llm.achat(ASKS))
        for _ in range(
            50
        ):  # Were the loop blocked, these turns would wait for the gate, which opens after them.
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        await task

    async def test_a_slow_synchronous_oracle_streams_without_blocking_the_loop(self):
        gate = threading.Event()
        llm = PyramidLLM(
            crowd=[ScriptedLLM(name="m", script=s) for s in "67"], oracle=SlowSyncLLM(gate=gate, text="5")
        )
        stream = await llm.astream_complete("x")
        task = asyncio.ensure_future(anext(stream))
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        assert (await task).delta == "5"
        assert [chunk async for chunk in stream][-1].text == "5"

    async def test_queries_at_once_do_not_mix(self):
        def echo(asked):
            return asked.text

        llm = pyramid(echo, echo, echo)
        found = await asyncio.gather(*(llm.acomplete(f"question {n}") for n in range(128)))
        assert [response.text for response in found] == [f"question {n}" for n in range(128)]

    async def test_cancelling_cancels_every_member(self):
        hangs = [Hang() for _ in range(3)]
        task = asyncio.ensure_future(pyramid(*hangs).achat(ASKS))
        await until(lambda: all(hang.begun.is_set() for hang in hangs))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(hang.cancelled.is_set() for hang in hangs)

    async def test_leaving_a_stream_cancels_the_oracle(self):
        hang = Hang()
        stream = await pyramid("5", "6", "7", oracle=hang).astream_chat(ASKS)
        task = asyncio.ensure_future(anext(stream))
        await until(hang.begun.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert hang.cancelled.is_set()

    async def test_the_synchronous_ways_work_inside_a_running_loop(self):
        assert pyramid("5", "5", "5").chat(ASKS).message.content == "5"
