"""`Pyramid`: the ways to ask it, what it reports, and what it refuses."""

import asyncio
import dataclasses
import json
import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pyramid_core import (
    AgreementRouter,
    Answer,
    ConstantRouter,
    EscalationRule,
    InputError,
    Offer,
    Outcome,
    Policy,
    Pyramid,
    PyramidAbstained,
    PyramidFailed,
    Query,
    Recorded,
    RouterError,
    ThresholdRule,
    Token,
    trace_to_record,
)
from pyramid_core.errors import ReplayError
from pyramid_core.types import Trace
from tests.core.scenarios import By, Evident


class Says:
    """Answers at once; remembers what it was asked."""

    def __init__(self, name: str, text: str = "x") -> None:
        self.name, self.text = name, text
        self.queries: list[Query] = []

    def ask(self, query: Query) -> Answer:
        self.queries.append(query)
        return Answer(text=self.text, raw=self)

    async def aask(self, query: Query) -> Answer:
        return self.ask(query)


class Streams(Says):
    """Gives its text word by word."""

    def stream(self, query: Query) -> Any:
        for word in self.text.split(" "):
            yield Token(text=word if word == self.text.split(" ")[0] else f" {word}")
        yield self.ask(query)

    async def astream(self, query: Query) -> Any:
        for item in self.stream(query):
            yield item


class Fails(Says):
    def ask(self, query: Query) -> Answer:
        raise OSError(self.text)


class OnlyAsync:
    def __init__(self, name: str) -> None:
        self.name = name

    async def aask(self, query: Query) -> Answer:
        return Answer(text="x")


def agreeing(**options: Any) -> Pyramid:
    return Pyramid(crowd=[Says("a"), Says("b")], oracle=Streams("o", "the oracle says"), **options)


def split(**options: Any) -> Pyramid:
    return Pyramid(crowd=[Says("a", "x"), Says("b", "y")], oracle=Streams("o", "the oracle says"), **options)


def until(true: Callable[[], Any]) -> None:
    ticking = threading.Event()
    for _ in range(500):
        if true():
            return
        ticking.wait(0.01)
    raise AssertionError("it never came true")


def texts(items: list[Any]) -> list[str]:
    return [item.text for item in items]


class TestAsking:
    def test_the_crowd_is_believed_where_it_agrees(self):
        outcome = agreeing().ask("Why?")
        assert (outcome.answer.text, outcome.answer.member, outcome.trace.reason) == ("x", "a", "decided")

    def test_the_oracle_is_asked_where_it_does_not(self):
        outcome = split().ask("Why?")
        assert (outcome.answer.text, outcome.answer.member) == ("the oracle says", "o")

    async def test_the_crowd_is_believed_when_awaited(self):
        assert (await agreeing().aask("Why?")).answer.text == "x"

    async def test_the_oracle_is_asked_when_awaited(self):
        assert (await split().aask("Why?")).answer.text == "the oracle says"

    async def test_both_ways_leave_the_same_trace_but_for_its_times(self):
        def timeless(trace: Trace) -> Any:
            found = trace_to_record(trace)
            for part in (*found["responses"], *found["deliberation"]["judgements"], found["deliberation"]):
                for moment in ("asked_at", "ended_at", "latency", "at", "elapsed"):
                    part.pop(moment, None)
            return found

        pyramid = split(policy=Policy(early_stop=None))
        assert timeless(pyramid.ask("Why?").trace) == timeless((await pyramid.aask("Why?")).trace)

    def test_the_members_get_the_query_itself(self):
        member, query = (
            Says("a"),
            Query(text="Why?", messages=({"role": "user", "content": "Why?"},), raw=object()),
        )
        Pyramid(crowd=[member], oracle=Says("o")).ask(query)
        assert member.queries == [query]
        assert member.queries[0].raw is query.raw

    def test_the_framework_s_own_reply_is_untouched(self):
        member = Says("a")
        assert Pyramid(crowd=[member], oracle=Says("o")).ask("Why?").answer.raw is member

    def test_answers_say_how_long_they_took(self):
        answer = agreeing().ask("Why?").answer
        assert 0.0 <= answer.elapsed < 5.0

    def test_no_answer_is_an_error_with_every_cause(self):
        pyramid = Pyramid(
            crowd=[Fails("a", "down"), Fails("b", "full")],
            oracle=Fails("o", "gone"),
            policy=Policy(early_stop=None),
        )
        with pytest.raises(PyramidFailed, match="down") as caught:
            pyramid.ask("Why?")
        assert [failure.message for failure in caught.value.failures] == ["down", "full", "gone"]
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.trace.end == "fail"

    def test_abstaining_is_an_error_with_its_reason(self):
        with pytest.raises(PyramidAbstained, match="because") as caught:
            agreeing(rule=By("abstain")).ask("Why?")
        assert (caught.value.reason, caught.value.trace.end) == ("because", "abstain")

    def test_abstaining_may_answer_all_the_same(self):
        outcome = agreeing(rule=By("abstain"), policy=Policy(on_abstain="answer")).ask("Why?")
        assert (outcome.answer.text, outcome.trace.reason) == ("x", "abstained")

    def test_one_pyramid_may_be_asked_again(self):
        pyramid = split()
        assert [pyramid.ask("Why?").answer.text for _ in range(3)] == ["the oracle says"] * 3

    def test_a_rule_without_numbers_takes_the_router_s(self):
        assert split().rule == ThresholdRule(0.0)
        assert split(rule=ThresholdRule()).rule == ThresholdRule(0.0)
        assert split(router=ConstantRouter(0.5), rule=EscalationRule()).rule.point is not None

    def test_it_says_what_it_is_made_of(self):
        assert repr(agreeing()) == (
            "Pyramid(crowd=['a', 'b'], oracle=['o'], router='agreement', "
            "rule=ThresholdRule(threshold=0.0, operating_point='baseline-match'))"
        )


class TestNames:
    def test_a_name_that_comes_again_is_made_unique(self):
        pyramid = Pyramid(crowd=[Says("m"), Says("m"), Says("m")], oracle=Says("m"))
        assert (pyramid.crowd, pyramid.oracles) == (("m", "m#2", "m#3"), ("m#4",))

    def test_a_name_that_looks_like_that_is_kept_apart(self):
        pyramid = Pyramid(crowd=[Says("m#2"), Says("m"), Says("m")], oracle=Says("o"))
        assert pyramid.crowd == ("m#2", "m", "m#3")

    def test_one_member_may_be_sampled_twice(self):
        member = Says("m")
        outcome = Pyramid(crowd=[member, member], oracle=Says("o")).ask("Why?")
        assert [call.who for call in outcome.trace.calls] == ["m", "m#2"]
        assert len(member.queries) == 2

    def test_several_oracles_keep_their_order(self):
        pyramid = Pyramid(crowd=[Says("a")], oracle=(Says("small"), Says("big")))
        assert pyramid.oracles == ("small", "big")

    def test_any_iterable_is_a_crowd(self):
        assert Pyramid(crowd=(Says(name) for name in "ab"), oracle=Says("o")).crowd == ("a", "b")


class TestReading:
    def test_tokens_then_the_outcome(self):
        *tokens, outcome = split().stream("Why?")
        assert texts(tokens) == ["the", " oracle", " says"]
        assert isinstance(outcome, Outcome)
        assert outcome.answer.text == "the oracle says"
        assert outcome.trace.context.listening
        assert outcome.trace.began == 2

    async def test_tokens_then_the_outcome_awaited(self):
        *tokens, outcome = [item async for item in split().astream("Why?")]
        assert texts(tokens) == ["the", " oracle", " says"]
        assert outcome.answer.text == "the oracle says"

    def test_a_crowd_s_answer_in_chunks(self):
        *tokens, outcome = agreeing().stream("Why?")
        assert texts(tokens) == ["x"]
        assert outcome.trace.began is None

    def test_offers_then_the_outcome(self):
        *offers, outcome = split(policy=Policy(early_stop=None)).solutions("Why?")
        assert all(isinstance(offer, Offer) for offer in offers)
        assert texts([offer.answer for offer in offers])[-1] == "the oracle says"
        assert outcome.answer.text == "the oracle says"
        assert outcome.trace.context.watching

    async def test_offers_then_the_outcome_awaited(self):
        items = [item async for item in split(policy=Policy(early_stop=None)).astream_solutions("Why?")]
        assert [offer.p_fail for offer in items[:-1]] == [0.5, 0.0]

    def test_that_there_is_no_answer_is_raised_where_it_is_read(self):
        stream = Pyramid(crowd=[Fails("a", "down")], oracle=Fails("o", "gone")).stream("Why?")
        with pytest.raises(PyramidFailed, match="gone"):
            next(stream)

    async def test_that_there_is_no_answer_is_raised_where_it_is_awaited(self):
        with pytest.raises(PyramidFailed, match="gone"):
            async for _ in Pyramid(crowd=[Fails("a", "down")], oracle=Fails("o", "gone")).astream("Why?"):
                pass

    def test_abstaining_is_raised_where_it_is_read(self):
        with pytest.raises(PyramidAbstained):
            list(agreeing(rule=By("abstain")).stream("Why?"))

    def test_bad_input_is_raised_before_anything_is_read(self):
        with pytest.raises(InputError, match="empty"):
            agreeing().stream("")

    async def test_bad_input_is_raised_before_anything_is_awaited(self):
        with pytest.raises(InputError, match="empty"):
            agreeing().astream("")


class TestContext:
    def test_a_deadline_for_every_query(self):
        assert agreeing(deadline=5.0).ask("Why?").trace.context.deadline == 5.0

    def test_a_deadline_for_one_query(self):
        assert agreeing(deadline=5.0).ask("Why?", deadline=7.0).trace.context.deadline == 7.0

    def test_no_deadline_for_one_query(self):
        assert agreeing(deadline=5.0).ask("Why?", deadline=None).trace.context.deadline is None

    def test_a_pinned_oracle(self):
        outcome = agreeing().ask("Why?", pinned="o")
        assert [call.who for call in outcome.trace.calls] == ["o"]

    def test_a_pinned_crowd(self):
        assert split().ask("Why?", pinned="crowd").answer.text == "x"

    def test_a_shadow_price_makes_escalating_dearer(self):
        pyramid = split(rule=EscalationRule(c_esc=0.1))
        assert pyramid.ask("Why?").answer.text == "the oracle says"
        assert pyramid.ask("Why?", shadow_price=0.5).answer.text == "x"

    async def test_the_same_when_awaited(self):
        outcome = await agreeing().aask("Why?", pinned="o", warm=("a",))
        assert (outcome.trace.context.pinned, outcome.trace.context.warm) == ("o", ("a",))

    @pytest.mark.parametrize("method", ["ask", "stream", "solutions", "astream", "astream_solutions"])
    def test_an_unknown_field_is_named_with_those_that_are_known(self, method):
        with pytest.raises(
            InputError, match=r"\['dedline'\] is unknown: a query's context has \['deadline', "
        ):
            getattr(agreeing(), method)("Why?", dedline=3.0)

    async def test_an_unknown_field_is_named_when_awaited(self):
        with pytest.raises(InputError, match="'dedline'"):
            await agreeing().aask("Why?", dedline=3.0)

    def test_an_unknown_field_of_a_replay_is_named(self):
        pyramid = agreeing()
        with pytest.raises(InputError, match="'dedline'"):
            pyramid.replay(pyramid.ask("Why?").trace, dedline=3.0)


class TestExploring:
    def test_never_by_default(self):
        outcome = agreeing().ask("Why?")
        assert (outcome.trace.context.explore, outcome.trace.context.propensity) == (False, None)
        assert len(outcome.trace.calls) == 2

    def test_always_where_the_share_is_one(self):
        traces: list[Trace] = []
        outcome = agreeing(explore=1.0, on_trace=traces.append).ask("Why?")
        assert outcome.answer.text == "x"
        until(lambda: traces)
        oracle = traces[0].calls[2]
        assert (oracle.who, oracle.purpose, oracle.result.text) == ("o", "exploration", "the oracle says")
        assert (traces[0].settled, traces[0].context.propensity, len(traces)) == (True, 1.0, 1)

    async def test_always_where_the_share_is_one_awaited(self):
        traces: list[Trace] = []
        pyramid = agreeing(explore=1.0, on_trace=traces.append)
        assert (await pyramid.aask("Why?")).answer.text == "x"
        for _ in range(100):
            await asyncio.sleep(0)
        assert [(trace.settled, trace.calls[2].state) for trace in traces] == [(True, "done")]

    def test_a_share_is_drawn_from_the_seed(self):
        def draws(seed: int) -> list[bool]:
            pyramid = split(explore=0.5, seed=seed)
            return [pyramid.ask("Why?").trace.context.explore for _ in range(40)]

        assert draws(1) == draws(1) != draws(2)
        assert 8 < sum(draws(1)) < 32

    def test_a_query_may_bring_its_own_draw(self):
        context = split(explore=1.0).ask("Why?", explore=False, propensity=0.25).trace.context
        assert (context.explore, context.propensity) == (False, 0.25)

    def test_an_exploring_call_does_not_hold_up_the_answer(self):
        go, traces = threading.Event(), []

        class Waits(Says):
            def ask(self, query: Query) -> Answer:
                go.wait(5)
                return super().ask(query)

        pyramid = Pyramid(crowd=[Says("a")], oracle=Waits("o", "z"), explore=1.0, on_trace=traces.append)
        outcome = pyramid.ask("Why?")
        assert (outcome.answer.text, outcome.trace.settled, traces) == ("x", False, [])
        go.set()
        until(lambda: traces)
        assert traces[0].calls[1].result.text == "z"

    def test_an_exploring_call_dies_with_its_loop_and_the_record_says_so(self):
        traces: list[Trace] = []

        class Waits(Says):
            async def aask(self, query: Query) -> Answer:
                await asyncio.sleep(30)
                raise AssertionError

        pyramid = Pyramid(crowd=[Says("a")], oracle=Waits("o"), explore=1.0, on_trace=traces.append)
        assert asyncio.run(pyramid.aask("Why?")).answer.text == "x"
        assert [(trace.settled, trace.calls[1].state) for trace in traces] == [(False, "running")]
        assert pyramid.replay(traces[0]).answer.text == "x"

    @pytest.mark.parametrize("asked", ["ask", "aask"])
    async def test_an_exploring_call_that_takes_too_long_counts_as_failed(self, asked):
        go, traces = threading.Event(), []

        class Waits(Says):
            def ask(self, query: Query) -> Answer:
                go.wait(5)
                return super().ask(query)

            async def aask(self, query: Query) -> Answer:
                await asyncio.sleep(5)
                raise AssertionError

        policy = Policy(explore_patience=0.02)
        pyramid = Pyramid(
            crowd=[Says("a")], oracle=Waits("o"), explore=1.0, policy=policy, on_trace=traces.append
        )
        outcome = await pyramid.aask("Why?") if asked == "aask" else pyramid.ask("Why?")
        assert outcome.answer.text == "x"
        for _ in range(500):
            await asyncio.sleep(0.01)
            if traces:
                break
        go.set()
        assert (traces[0].settled, str(traces[0].calls[1].result)) == (
            True,
            "o: TimeoutError: no answer within 0.02 s after the end",
        )

    def test_a_bug_of_an_exploring_call_is_logged_and_recorded(self, caplog):
        traces: list[Trace] = []

        class Broken(Says):
            def ask(self, query: Query) -> Answer:
                raise TypeError("a bug")

        pyramid = Pyramid(crowd=[Says("a")], oracle=Broken("o"), explore=1.0, on_trace=traces.append)
        assert pyramid.ask("Why?").answer.text == "x"
        until(lambda: traces)
        assert (traces[0].settled, traces[0].calls[1].result.kind) == (True, "TypeError")
        assert "call 1, whose answer was no longer needed, has a bug" in caplog.text


class TestTraces:
    @pytest.mark.parametrize("pyramid_of", [agreeing, split])
    def test_every_query_is_reported_once_and_settled(self, pyramid_of):
        traces: list[Trace] = []
        outcome = pyramid_of(on_trace=traces.append).ask("Why?")
        assert [trace_to_record(t) for t in traces] == [trace_to_record(outcome.trace)]
        assert traces[0].settled

    async def test_every_awaited_query_is_reported_once_and_settled(self):
        traces: list[Trace] = []
        outcome = await split(on_trace=traces.append).aask("Why?")
        assert [trace_to_record(t) for t in traces] == [trace_to_record(outcome.trace)]
        assert traces[0].settled

    def test_every_query_that_is_read_is_reported_once(self):
        traces: list[Trace] = []
        list(split(on_trace=traces.append).stream("Why?"))
        assert [trace.settled for trace in traces] == [True]

    async def test_every_query_that_is_read_asynchronously_is_reported_once(self):
        traces: list[Trace] = []
        async for _ in split(on_trace=traces.append).astream("Why?"):
            pass
        assert [trace.settled for trace in traces] == [True]

    def test_a_failed_query_is_reported_too(self):
        traces: list[Trace] = []
        with pytest.raises(PyramidFailed):
            Pyramid(crowd=[Fails("a")], oracle=Fails("o"), on_trace=traces.append).ask("Why?")
        assert [(trace.end, trace.settled) for trace in traces] == [("fail", True)]

    def test_an_abstained_query_is_reported_too(self):
        traces: list[Trace] = []
        with pytest.raises(PyramidAbstained):
            agreeing(rule=By("abstain"), on_trace=traces.append).ask("Why?")
        assert [trace.end for trace in traces] == ["abstain"]

    def test_a_query_with_a_bug_is_reported_too(self):
        class Broken(Says):
            def ask(self, query: Query) -> Answer:
                raise TypeError

        traces: list[Trace] = []
        with pytest.raises(TypeError):
            Pyramid(crowd=[Broken("a")], oracle=Says("o"), on_trace=traces.append).ask("Why?")
        assert [(trace.end, trace.reason, trace.settled) for trace in traces] == [("fail", "error", True)]

    def test_bad_input_is_no_query(self):
        traces: list[Trace] = []
        with pytest.raises(InputError):
            agreeing(on_trace=traces.append).ask("")
        assert traces == []

    def test_a_broken_sink_costs_nobody_the_answer(self, caplog):
        def broken(trace: Trace) -> None:
            raise OSError("disk full")

        with caplog.at_level(logging.ERROR):
            assert agreeing(on_trace=broken).ask("Why?").answer.text == "x"
        assert "on_trace failed" in caplog.text
        assert "disk full" in caplog.text

    async def test_a_broken_sink_costs_nobody_the_awaited_answer(self, caplog):
        def broken(trace: Trace) -> None:
            raise OSError("disk full")

        assert (await agreeing(on_trace=broken).aask("Why?")).answer.text == "x"
        assert "on_trace failed" in caplog.text

    def test_a_broken_sink_does_not_hide_why_there_is_no_answer(self, caplog):
        def broken(trace: Trace) -> None:
            raise OSError("disk full")

        with pytest.raises(PyramidFailed, match="gone"):
            Pyramid(crowd=[Fails("a")], oracle=Fails("o", "gone"), on_trace=broken).ask("Why?")

    def test_a_replay_is_not_reported(self):
        traces: list[Trace] = []
        pyramid = split(on_trace=traces.append)
        pyramid.replay(pyramid.ask("Why?").trace)
        assert len(traces) == 1


class TestReplaying:
    def test_a_trace_gives_the_same_answer_and_verdict(self):
        pyramid = split()
        outcome = pyramid.ask("Why?")
        again = pyramid.replay(outcome.trace)
        assert again.answer == dataclasses.replace(outcome.answer, elapsed=again.answer.elapsed)
        assert math.isclose(again.answer.elapsed, outcome.answer.elapsed, abs_tol=1e-9)
        assert again.trace.reason == outcome.trace.reason

    def test_a_record_does_too(self):
        pyramid = split()
        record = json.loads(json.dumps(trace_to_record(pyramid.ask("Why?").trace)))
        assert pyramid.replay(record).answer.text == "the oracle says"

    def test_nobody_is_asked(self):
        pyramid = split()
        trace = pyramid.ask("Why?").trace
        before = [len(member.queries) for member in pyramid.members.values()]
        pyramid.replay(trace)
        assert [len(member.queries) for member in pyramid.members.values()] == before

    def test_another_rule_may_decide_otherwise(self):
        trace = split(policy=Policy(early_stop=None)).ask("Why?").trace
        assert split(policy=Policy(early_stop=None), rule=ThresholdRule(0.5)).replay(trace).answer.text == "x"

    def test_a_query_s_context_may_differ(self):
        trace = split(policy=Policy(early_stop=None)).ask("Why?").trace
        assert split(policy=Policy(early_stop=None)).replay(trace, pinned="crowd").answer.text == "x"

    def test_answers_recorded_without_a_pyramid(self):
        record = {
            "query": "Why?",
            "responses": [
                {"model": "a", "text": "x", "latency": 1.0},
                {"model": "b", "text": "y", "latency": 2.0},
                {"model": "o", "text": "z", "latency": 3.0},
            ],
        }
        pyramid = Pyramid(crowd=[Recorded("a"), Recorded("b")], oracle=Recorded("o"))
        outcome = pyramid.replay(record)
        assert (outcome.answer.text, outcome.trace.at) == ("z", 5.0)

    def test_an_answer_that_is_missing_is_named_with_those_there_are(self):
        record = {"query": "Why?", "responses": [{"model": "gemma", "text": "x"}]}
        with pytest.raises(ReplayError, match=r"no answer of 'gema'; it has \['gemma'\]"):
            Pyramid(crowd=[Recorded("gema")], oracle=Recorded("o")).replay(record)

    def test_who_is_only_recorded_cannot_be_asked(self):
        with pytest.raises(InputError, match=r"'a' is recorded: it can be replayed"):
            Recorded("a").ask(Query(text="Why?"))

    async def test_who_is_only_recorded_fails_when_asked_in_earnest(self):
        pyramid = Pyramid(crowd=[Recorded("a")], oracle=Recorded("o"))
        with pytest.raises(PyramidFailed, match="'a' is recorded"):
            await pyramid.aask("Why?")


def member(**parts: Any) -> Any:
    return type("Thing", (), parts)()


class TestWhatIsRefused:
    @pytest.mark.parametrize("crowd", [[], (), "gpt", None, 3, Says("a")])
    def test_an_empty_crowd_or_none_at_all(self, crowd):
        with pytest.raises(InputError, match="crowd must be a list of at least one member, not"):
            Pyramid(crowd=crowd, oracle=Says("o"))

    @pytest.mark.parametrize("oracle", [None, [], ()])
    def test_no_oracle(self, oracle):
        with pytest.raises(InputError, match="oracle is missing: give the member"):
            Pyramid(crowd=[Says("a")], oracle=oracle)

    @pytest.mark.parametrize(
        "thing",
        [
            None,
            "gpt-4o",
            3,
            object(),
            member(name="m"),
            member(ask=lambda query: None),
            member(name="", ask=lambda query: None),
            member(name=7, ask=lambda query: None),
            member(name="m", ask="not a method"),
        ],
    )
    def test_a_member_that_is_not_a_model(self, thing):
        with pytest.raises(
            InputError, match=r"crowd\[1\] is a \w+, not a model: it needs a name and a method"
        ):
            Pyramid(crowd=[Says("a"), thing], oracle=Says("o"))

    def test_a_member_that_is_a_class(self):
        with pytest.raises(InputError, match=r"crowd\[0\] is the class Says, not a model: give an instance"):
            Pyramid(crowd=[Says], oracle=Says("o"))

    def test_an_oracle_that_is_not_a_model(self):
        with pytest.raises(InputError, match=r"oracle\[0\] is a str, not a model"):
            Pyramid(crowd=[Says("a")], oracle="gpt-4o")

    @pytest.mark.parametrize("prompt", ["", " ", "\n\t "])
    def test_an_empty_prompt(self, prompt):
        with pytest.raises(InputError, match="the prompt is empty: give a question"):
            agreeing().ask(prompt)

    def test_an_empty_text_with_a_conversation_is_none(self):
        query = Query(text="", messages=({"role": "user", "content": "Why?"},))
        assert agreeing().ask(query).answer.text == "x"

    @pytest.mark.parametrize(
        ("prompt", "where"),
        [
            ("a\x00b", r"'\\x00' at position 1"),
            ("a \x1b[0m", r"'\\x1b' at position 2"),
            ("\x7f", r"'\\x7f' at position 0"),
            ("so \ud800", r"'\\ud800' at position 3"),
            ("\udfff!", r"'\\udfff' at position 0"),
        ],
    )
    def test_control_and_surrogate_characters(self, prompt, where):
        with pytest.raises(InputError, match=f"control or surrogate character {where}: remove it"):
            agreeing().ask(prompt)

    @pytest.mark.parametrize("prompt", ["a\tb\nc\r\nd", "naïve café 中文 🙂", "x" * 1_000_000])
    def test_other_characters_are_fine(self, prompt):
        assert agreeing().ask(prompt).answer.text == "x"

    @pytest.mark.parametrize("query", [None, 3, b"Why?", ["Why?"], {"text": "Why?"}])
    def test_what_is_no_query(self, query):
        with pytest.raises(InputError, match="a query is a text or a Query, not"):
            agreeing().ask(query)

    @pytest.mark.parametrize("method", ["ask", "stream", "solutions"])
    def test_a_member_that_can_only_be_awaited(self, method):
        pyramid = Pyramid(crowd=[Says("a"), OnlyAsync("b")], oracle=OnlyAsync("o"))
        with pytest.raises(
            InputError, match=r"\['b', 'o'\] can only be asked asynchronously: use aask or astream"
        ):
            getattr(pyramid, method)("Why?")

    async def test_a_member_that_can_only_be_awaited_is_fine_there(self):
        assert (await Pyramid(crowd=[OnlyAsync("a")], oracle=OnlyAsync("o")).aask("Why?")).answer.text == "x"

    @pytest.mark.parametrize("deadline", [0, 0.0, -1, math.nan])
    def test_a_deadline_that_is_not_positive(self, deadline):
        with pytest.raises(InputError, match="deadline must be a number of seconds above 0, not"):
            agreeing(deadline=deadline)
        with pytest.raises(InputError, match="deadline must be a number of seconds above 0, not"):
            agreeing().ask("Why?", deadline=deadline)

    @pytest.mark.parametrize("explore", [-0.1, 1.1, math.nan, math.inf])
    def test_an_exploration_that_is_no_probability(self, explore):
        with pytest.raises(InputError, match="explore must be a number between 0 and 1, not"):
            agreeing(explore=explore)

    def test_a_router_s_name_that_is_unknown(self):
        with pytest.raises(InputError, match="no router named 'agrement', only agreement"):
            agreeing(router="agrement")

    def test_a_router_s_folder_that_is_missing(self, tmp_path):
        with pytest.raises(RouterError, match="nowhere"):
            agreeing(router=tmp_path / "nowhere")

    @pytest.mark.parametrize("router", [3, object(), AgreementRouter])
    def test_a_router_that_is_none(self, router):
        with pytest.raises(
            InputError, match="router must be a router, a shipped router's name or a folder, not"
        ):
            agreeing(router=router)

    def test_a_router_for_another_crowd(self):
        class Theirs(AgreementRouter):
            crowd = ("b", "a")

        with pytest.raises(RouterError, match=r"trained for the crowd \['b', 'a'\], not \['a', 'b'\]"):
            agreeing(router=Theirs())

    def test_a_router_by_its_name(self):
        assert agreeing(router="agreement").router.id == "agreement"

    @pytest.mark.parametrize(
        "rule", ["threshold", 0.3, object(), ThresholdRule, member(decide=lambda a, o: None)]
    )
    def test_a_rule_that_is_none(self, rule):
        with pytest.raises(InputError, match=r"rule must be a rule such as ThresholdRule\(0.3\)"):
            agreeing(rule=rule)

    @pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, "0.3", True])
    def test_a_threshold_that_is_no_probability(self, threshold):
        with pytest.raises(InputError, match="threshold must be a number between 0 and 1, not"):
            agreeing(rule=ThresholdRule(threshold))

    def test_a_policy_that_is_none(self):
        with pytest.raises(InputError, match=r"policy must be a Policy\(...\), not 'fast'"):
            agreeing(policy="fast")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"early_stop": 1.5}, "early_stop must be a number between 0 and 1"),
            ({"speculate": -0.5}, "speculate must be a number between 0 and 1"),
            ({"width": 0}, "width must be a whole number of at least 1"),
            ({"escalations": -1}, r"escalations must be .*, not -1"),
            ({"patience": 0}, "patience must be a number of seconds above 0"),
            ({"gather_patience": math.nan}, "gather_patience must be a number of seconds above 0"),
            ({"on_abstain": "shrug"}, "on_abstain must be 'raise' or 'answer'"),
        ],
    )
    def test_a_policy_with_a_bad_value(self, fields, message):
        with pytest.raises(InputError, match=message):
            Policy(**fields)

    def test_a_pin_to_nobody(self):
        with pytest.raises(InputError, match=r"pinned must be 'crowd' or one of \['o'\], not 'p'"):
            agreeing().ask("Why?", pinned="p")

    def test_evidence_that_nobody_gathers(self):
        with pytest.raises(InputError, match=r"needs evidence \['kind'\]: pass gatherers="):
            agreeing(router=Evident("kind"))

    def test_evidence_that_somebody_gathers_is_fine(self):
        outcome = split(
            router=Evident("kind"), rule=ThresholdRule(0.5), gatherers={"kind": lambda gather: 0.1}
        ).ask("Why?")
        assert outcome.trace.calls[2].result == 0.1
        assert outcome.answer.text == "x"

    def test_evidence_that_can_only_be_awaited_is_refused_elsewhere(self):
        async def gather(command: Any) -> float:
            return 0.1

        pyramid = split(router=Evident("kind"), gatherers={"kind": gather})
        with pytest.raises(InputError, match=r"gatherers\['kind'\].* can only be asked asynchronously"):
            pyramid.ask("Why?")

    @pytest.mark.parametrize("asked", ["ask", "aask"])
    async def test_a_bug_in_a_gatherer_is_missing_evidence_and_logged(self, asked, caplog):
        def gather(command: Any) -> float:
            raise TypeError("a bug")

        pyramid = split(router=Evident("kind"), rule=ThresholdRule(0.5), gatherers={"kind": gather})
        outcome = await pyramid.aask("Why?") if asked == "aask" else pyramid.ask("Why?")
        assert outcome.trace.calls[2].result.kind == "TypeError"
        assert "the gatherer of 'kind' evidence has a bug" in caplog.text

    @pytest.mark.parametrize("field", ["listening", "watching"])
    def test_how_the_answer_is_read_is_the_methods_business(self, field):
        with pytest.raises(InputError, match=rf"\['{field}'\] is not for the caller to say: use stream or"):
            agreeing().ask("Why?", **{field: True})

    def test_a_kind_of_answer_that_there_is_not_is_refused_before_anybody_is_asked(self):
        pyramid = agreeing()
        with pytest.raises(InputError, match="unknown answer_type 'nummer': use one of number, choice"):
            pyramid.ask(Query(text="Why?", answer_type="nummer"))
        assert pyramid.members["a"].queries == []

    def test_an_oracle_without_a_cost_is_refused_before_anybody_is_asked(self):
        with pytest.raises(InputError, match=r"c_esc has no cost for the oracle 'o', only for 'p'"):
            agreeing(rule=EscalationRule(c_esc={"p": 0.1}))

    async def test_evidence_may_be_awaited(self):
        async def gather(command: Any) -> float:
            await asyncio.sleep(0)
            return float(len(command.answers)) / 20

        pyramid = split(router=Evident("kind"), rule=ThresholdRule(0.5), gatherers={"kind": gather})
        assert (await pyramid.aask("Why?")).trace.calls[2].result == 0.1
