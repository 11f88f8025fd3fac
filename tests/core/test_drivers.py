"""What the drivers owe the deliberation on any clock: order in time, readers, bugs, and leaving nothing behind."""

import asyncio
import dataclasses
import threading
from math import inf
from typing import Any

import pytest

from pyramid_core._drive import ReplayConductor, Scripted, ThreadConductor, read, recording
from pyramid_core._drive import pool as pool_module
from pyramid_core._drive.aside import aread
from pyramid_core._drive.conductor import AFTER_CALLS, Arrival, Conductor
from pyramid_core._drive.pool import Threads, TooManyAbandonedError
from pyramid_core._drive.tasks import TaskConductor
from pyramid_core._drive.virtual import Deadlock, VirtualTaskClock, VirtualThreadClock
from pyramid_core.commands import Accept, Ask, Fail, Gather, Offer
from pyramid_core.decision import ThresholdRule
from pyramid_core.errors import ContractError, InputError, PyramidFailed, ReplayError
from pyramid_core.types import Answer, Context, Failure, Token
from tests.core.scenarios import (
    Boom,
    By,
    Evident,
    Scenario,
    changed,
    history,
    on_replay,
    on_tasks,
    on_threads,
    run_replay,
    scenario,
    task_cast,
)
from tests.core.table import MAJORITY, SPLIT, SPLIT_AT_ONCE, TABLE

DRIVERS = [on_tasks, on_threads]


class Hands(Conductor):
    """A driver whose waiting is done by the test."""

    def __init__(self, s: Scenario) -> None:
        super().__init__(s.machine(), {})
        self.stopped: list[int] = []
        self.start(s.context, 0.0)

    def begin(self, ask: Ask) -> None:
        pass

    def begin_gather(self, gather: Gather) -> None:
        pass

    def stop(self, call: int) -> None:
        self.stopped.append(call)

    def comes(self, at: float, call: int, value: Any = "x", kind: Any = "answer") -> "Hands":
        self.arrivals.append(Arrival(at, call, kind, Answer(text=value) if kind == "answer" else value))
        return self

    @property
    def history(self) -> str:
        return history(self.deliberation)


TWO_OF_THREE = scenario("", "a 1 x; b 1 x; c 1 x", "o 1 z", "", rule=MAJORITY, deadline=2.0)
BEGUN = "0: ask a, ask b, ask c, wake 2"


class TestOrderInTime:
    def test_an_answer_from_before_the_deadline_does_not_lose_on_a_busy_loop(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, 0).comes(1.5, 1)
        hands.hand_over(7.0, rang=True)
        assert hands.history == f"{BEGUN} | 1.5: cancel c, accept a decided"

    def test_an_answer_at_the_deadline_does_not_lose(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, 0).comes(2.0, 1)
        hands.hand_over(7.0, rang=True)
        assert hands.history == f"{BEGUN} | 2: cancel c, accept a decided"

    def test_an_answer_from_after_the_deadline_does_not_win_on_a_busy_loop(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, 0).comes(2.5, 1)
        hands.hand_over(7.0, rang=True)
        assert hands.history == f"{BEGUN} | 2: cancel b, cancel c, accept a deadline"

    def test_the_alarm_rings_at_its_own_time_however_late_it_is_heard(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, 0)
        hands.hand_over(7.0, rang=True)
        assert hands.deliberation.trace.at == 2.0

    def test_an_alarm_that_was_not_heard_is_not_rung(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, 0)
        hands.hand_over(1.0, rang=False)
        assert hands.end is None

    def test_arrivals_are_handed_over_by_their_stamps(self):
        hands = Hands(changed(TWO_OF_THREE, rule=ThresholdRule(0.7))).comes(1.5, 1, "y").comes(1.0, 0, "x")
        hands.hand_over(1.5, rang=False)
        assert [(e.at, e.call) for e in hands.deliberation.log[1:]] == [(1.0, 0), (1.5, 1)]

    def test_arrivals_of_one_moment_are_handed_over_in_call_order(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, 1).comes(1.0, 0)
        hands.hand_over(1.0, rang=False)
        assert [e.call for e in hands.deliberation.log[1:]] == [0, 1]

    def test_an_interrupt_comes_after_the_answers_of_its_moment(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, AFTER_CALLS, "left", "interrupt").comes(1.0, 0).comes(1.0, 1)
        hands.hand_over(1.0, rang=False)
        assert isinstance(hands.end, Accept)

    def test_two_alarms_may_ring_before_one_answer(self):
        s = scenario("", "a 1 x; b 1 x; c 1 x", "o 1 z", "", rule=MAJORITY, patience=1.0, deadline=2.0)
        hands = Hands(s).comes(0.5, 0).comes(3.0, 1)
        hands.hand_over(3.0, rang=True)
        assert hands.history == (
            "0: ask a, ask b, ask c, wake 1 | 1: cancel b, cancel c, ask o, wake 2 | 2: cancel o, accept a deadline"
        )

    def test_after_the_end_no_alarm_is_left(self):
        hands = Hands(TWO_OF_THREE).comes(1.0, 0).comes(1.0, 1)
        hands.hand_over(1.0, rang=False)
        assert hands.alarm == inf

    def test_on_a_busy_loop_stamps_are_those_of_the_arrival(self):
        """The loop is held up between an answer's arrival and its handing over, until after the deadline."""
        s = changed(TWO_OF_THREE, crowd={"a": [(1.0, "x")], "b": [(1.5, "x")], "c": [(inf, "x")]})
        clock = VirtualTaskClock()
        members, _ = task_cast(s, clock)

        async def main() -> Any:
            conductor = TaskConductor(s.machine(), members, clock=clock)
            arrive = conductor._arrive

            def held_up(*what: Any) -> None:
                arrive(*what)
                if len(conductor.arrivals) and clock.now() == 1.5:
                    clock.sleepers.time = 9.0

            conductor._arrive = held_up  # type: ignore[method-assign]
            return await conductor.run(s.context)

        outcome = clock.run(main)
        assert (outcome.trace.reason, outcome.trace.at) == ("decided", 1.5)


class TestBugs:
    @pytest.mark.parametrize("driver", DRIVERS)
    def test_a_bug_ends_all_other_calls_at_once(self, driver):
        s = scenario("", {"a": [(1, TypeError("bug"))], "b": [(inf, "x")], "c": [(9, "x")]}, "o 1 z", "")
        run = driver(s)
        assert type(run.error) is TypeError
        assert str(run.error) == "bug"
        assert (
            history(run.machine) == "0: ask a, ask b, ask c | 1: cancel a, cancel b, cancel c, fail 0 (error)"
        )

    @pytest.mark.parametrize("what", ["rule", "router"])
    def test_a_bug_of_a_rule_or_router_cancels_even_what_it_kept_from_being_cancelled(self, what):
        """The crowd is cut, then the router or rule breaks: the commands to cancel never came out."""

        def broken(*_: Any) -> Any:
            raise ZeroDivisionError

        s = scenario(
            "", "a 1 x; b inf x; c inf x", "o 1 z", "", patience=2.0, early_stop=None, rule=By("accept")
        )
        if what == "rule":
            s = changed(s, rule=By(broken))
        else:
            s.router.assess = broken
        run = on_tasks(s)
        assert isinstance(run.error, ZeroDivisionError)
        assert run.members["b"].clock.now() == 2.0
        assert all(member.over == member.asked for member in run.members.values())

    @pytest.mark.parametrize("driver", DRIVERS)
    def test_two_bugs_at_once_are_the_first_one(self, driver):
        s = scenario("", {"a": [(1, TypeError("first"))], "b": [(1, NameError("second"))]}, "o 1 z", "")
        assert str(driver(s).error) == "first"

    @pytest.mark.parametrize("driver", DRIVERS)
    def test_a_kind_of_evidence_that_nobody_gathers_is_named(self, driver):
        s = scenario("", "a 1 x; b 1 y", "o 1 z", "", router=Evident("kind"))
        run = driver(s)
        assert isinstance(run.error, InputError)
        assert "'kind' evidence" in str(run.error)


class TestFailures:
    @pytest.mark.parametrize("driver", [on_tasks, on_threads, on_replay])
    def test_that_there_is_no_answer_carries_every_cause(self, driver):
        s = scenario(
            "",
            {"a": [(1, Boom("no luck"))], "b": [(2, Boom("no key sk-abcdefgh12345678"))]},
            "o 1 !none",
            "",
            early_stop=None,
        )
        error = driver(s).error
        assert isinstance(error, PyramidFailed)
        assert [(f.member, f.kind, f.elapsed) for f in error.failures] == [
            ("a", "Boom", 1.0),
            ("b", "Boom", 2.0),
            ("o", "Boom", 1.0),
        ]
        assert "a: Boom: no luck" in str(error)
        assert "sk-abc" not in str(error)
        assert isinstance(error.__cause__, Boom)

    @pytest.mark.parametrize("driver", [on_tasks, on_threads, on_replay])
    def test_a_broken_stream_carries_what_went_out(self, driver):
        error = driver(TABLE["streams: it breaks after its first token: nothing replaces it"]).error
        assert error.partial_text == "p"
        assert error.trace.began == 3

    def test_answers_say_who_gave_them_and_how_long_it_took(self):
        run = run_replay(TABLE["tiers: one escalation: a failed one does not count"])
        assert (run.answer.member, run.answer.elapsed) == ("big", 1.0)


class TestReaders:
    """A reader who leaves is an interrupt, at the time of leaving."""

    S = scenario("", SPLIT_AT_ONCE, "o 1 ~p 1 ~q 8 ~r 1 =", "", listening=True)
    LEFT = "0: ask a, ask b, ask c | 1: cancel c, ask* o, release o | 3: cancel o, fail 0 (left)"

    def test_leaving_a_stream_of_tasks(self):
        clock = VirtualTaskClock()
        members, _ = task_cast(self.S, clock)
        machine, traces = self.S.machine(), []

        async def main() -> str:
            items = aread(
                lambda reader: TaskConductor(machine, members, clock=clock, reader=reader),
                self.S.context,
                traces.append,
                leaving="left",
            )
            text = ""
            async for item in items:
                text += item.text
                if text == "pq":
                    break
            await items.aclose()  # type: ignore[attr-defined]
            assert [t for t in asyncio.all_tasks() if t is not asyncio.current_task()] == []
            return text

        assert clock.run(main) == "pq"
        assert history(machine) == self.LEFT
        assert [t.reason for t in traces] == ["left"]
        assert members["o"].over == 1

    def test_a_watcher_who_stops_has_seen_enough(self):
        s = TABLE["watchers: every better solution, then the oracle's"]
        clock = VirtualTaskClock()
        members, _ = task_cast(s, clock)
        machine = s.machine()

        async def main() -> None:
            items = aread(
                lambda reader: TaskConductor(machine, members, clock=clock, reader=reader),
                s.context,
                lambda _: None,
                leaving="enough",
            )
            async for item in items:
                assert isinstance(item, Offer)
                break
            await items.aclose()  # type: ignore[attr-defined]

        clock.run(main)
        assert (
            history(machine)
            == "0: ask a, ask b, ask c | 1: offer a 0.67, cancel b, cancel c, accept a enough"
        )

    def test_a_reader_who_reads_to_the_end_is_no_interrupt(self):
        clock = VirtualTaskClock()
        members, _ = task_cast(self.S, clock)
        machine = self.S.machine()

        async def main() -> list[Any]:
            items = aread(
                lambda reader: TaskConductor(machine, members, clock=clock, reader=reader),
                self.S.context,
                lambda _: None,
                leaving="left",
            )
            return [item async for item in items]

        *tokens, outcome = clock.run(main)
        assert "".join(token.text for token in tokens) == outcome.answer.text == "pqr"
        assert outcome.trace.reason == "decided"

    def test_nothing_runs_for_a_reader_who_never_reads(self):
        made = []

        def make(reader: Any) -> ThreadConductor:
            made.append(ThreadConductor(self.S.machine(), {}, reader=reader))
            return made[0]

        read(make, self.S.context, lambda _: None, leaving="left").close()  # type: ignore[attr-defined]
        assert made[0].deliberation.calls == []


class TestReplaying:
    def replay(self, s: Scenario, trace: Any) -> Any:
        told = recording(trace)
        return ReplayConductor(s.machine(), {}, script=told.script, interrupts=told.interrupts).run(
            trace.context
        )

    def test_a_call_that_was_cancelled_in_the_record_is_named(self):
        trace = run_replay(TABLE["agreeing: a majority suffices: the third is not waited for"]).trace
        patient = scenario("", SPLIT, "o 5 z", "", rule=MAJORITY, early_stop=None)
        with pytest.raises(ReplayError, match="call 2, of 'c', was cancelled"):
            self.replay(patient, trace)

    def test_a_call_that_was_not_made_in_the_record_is_named(self):
        trace = run_replay(TABLE["agreeing: all agree"]).trace
        eager = scenario("", SPLIT, "o 5 z", "", rule=By(lambda s, o: "escalate" if o.oracles else "accept"))
        with pytest.raises(ReplayError, match="no answer of 'o'; it has"):
            self.replay(eager, trace)

    def test_a_call_that_was_still_running_in_the_record_is_named(self):
        running = run_replay(TABLE["exploration: on accepting: the oracle is asked for the record"])
        call = running.machine.calls[3]
        call.state, call.result, call.ended = "running", None, None
        trace = running.trace
        assert not trace.settled
        eager = scenario("", SPLIT, "o 5 z", "", rule=By(lambda s, o: "escalate" if o.oracles else "accept"))
        with pytest.raises(ReplayError, match="call 3, of 'o', had not ended"):
            self.replay(eager, trace)

    def test_a_record_whose_exploration_had_not_ended_replays_as_it_is(self):
        s = TABLE["exploration: on accepting: the oracle is asked for the record"]
        running = run_replay(s)
        call = running.machine.calls[3]
        call.state, call.result, call.ended = "running", None, None
        outcome = self.replay(s, running.trace)
        assert outcome.trace == running.trace

    def test_why_a_rule_abstained_is_no_interrupt(self):
        s = scenario("", SPLIT, "o 5 z", "", early_stop=None, rule=By("abstain"))
        trace = run_replay(s).trace
        told = recording(dataclasses.replace(trace, reason="left to others"))
        assert told.interrupts == ()

    def test_evidence_and_a_member_may_have_one_name(self):
        s = scenario(
            "",
            "near 1 x; b 2 y",
            "o 5 z",
            "",
            router=Evident("near"),
            rule=ThresholdRule(0.5),
            evidence={"near": (1, 0.1)},
        )
        trace = run_replay(s).trace
        assert self.replay(s, trace).trace == trace

    def test_evidence_that_was_not_recorded_is_missing(self):
        trace = run_replay(scenario("", "a 1 x; b 2 x", "o 5 z", "")).trace
        curious = scenario("", "a 1 x; b 2 x", "o 5 z", "", router=Evident("kind"), rule=By("accept"))
        outcome = self.replay(curious, trace)
        assert outcome.trace.calls[2].result == Failure(kind="NotRecorded", message="kind")

    def test_a_script_that_ends_too_soon_is_a_deadlock(self):
        s = scenario("", "a 1 x", "o 1 z", "")
        with pytest.raises(ContractError, match="deadlock"):
            ReplayConductor(s.machine(), {}, script=lambda _: []).run(Context())

    def test_a_call_that_is_asked_at_another_time_takes_as_long_as_it_took(self):
        s = scenario("", "a 1 x; b 2 x; c 3 y", "o 5 z", "")
        trace = run_replay(changed(s, policy=run_replay(s).machine.policy)).trace
        one_by_one = scenario("", "a 1 x; b 2 x; c 3 y", "o 5 z", "", width=1, early_stop=None)
        script = recording(trace).script
        machine = one_by_one.machine()
        ReplayConductor(machine, {}, script=script).run(Context())
        assert history(machine) == "0: ask a | 1: ask b | 3: ask c | 6: ask o | 11: accept o decided"

    def test_scripted_moments_hold_only_for_the_same_start(self):
        s = scenario("", "a 1 x", "o 1 z", "")

        def script(_: Any) -> list[Scripted]:
            return [Scripted(0.7, "answer", Answer(text="x"), moment=(0.5, 9.0))]

        machine = s.machine()
        ReplayConductor(machine, {}, script=script).run(Context())
        assert machine.trace.at == 0.7


class TestVirtualClocks:
    def test_nothing_left_to_wake_is_a_deadlock_of_tasks(self):
        clock = VirtualTaskClock()
        with pytest.raises(Deadlock):
            clock.run(lambda: clock.wait(asyncio.Event(), inf))

    def test_nothing_left_to_wake_is_a_deadlock_of_threads(self):
        with pytest.raises(Deadlock):
            VirtualThreadClock().wait(threading.Event(), inf)

    def test_an_alarm_rings_after_all_calls_of_its_moment(self):
        run = on_threads(TABLE["deadlines: the crowd's last answer comes exactly then: it counts"])
        assert run.trace.reason == "decided"


class TestPool:
    def test_a_call_is_abandoned_once(self):
        threads, go = Threads(), threading.Event()
        abandon = threads.submit(lambda: go.wait(5) and None)
        abandon()
        abandon()
        assert threads.abandoned == 1
        go.set()
        self.until(lambda: threads.abandoned == 0)

    def test_a_call_that_has_ended_is_not_abandoned(self):
        threads, done = Threads(), threading.Event()
        abandon = threads.submit(done.set)
        assert done.wait(5)
        self.until(lambda: threads._idle)
        abandon()
        assert threads.abandoned == 0

    def test_too_many_abandoned_calls_refuse_a_further_one_but_not_a_driver(self, monkeypatch):
        monkeypatch.setattr(pool_module, "MAX_ABANDONED", 2)
        threads, go, ran = Threads(), threading.Event(), threading.Event()
        for _ in range(2):
            threads.submit(lambda: go.wait(5) and None)()
        with pytest.raises(
            TooManyAbandonedError, match="2 abandoned calls are still running; give members a timeout"
        ):
            threads.submit(ran.set)
        assert not ran.is_set()
        threads.submit(ran.set, limited=False)
        assert ran.wait(5)
        go.set()
        self.until(lambda: threads.abandoned == 0)
        ran.clear()
        threads.submit(ran.set)
        assert ran.wait(5)

    def test_a_thread_is_used_again(self):
        threads, who = Threads(), []
        for n in range(3):
            threads.submit(lambda: who.append(threading.get_ident()))
            self.until(lambda n=n: len(who) == n + 1 and threads._idle)
        assert len(set(who)) == 1

    def test_an_idle_thread_retires(self, monkeypatch):
        monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.01)
        threads, who = Threads(), []
        threads.submit(lambda: who.append(threading.current_thread()))
        self.until(lambda: who and not who[0].is_alive())
        assert threads._idle == []
        threads.submit(lambda: who.append(threading.current_thread()))
        self.until(lambda: len(who) == 2)

    def until(self, true: Any) -> None:
        ticking = threading.Event()
        for _ in range(500):
            if true():
                return
            ticking.wait(0.01)
        raise AssertionError("it never came true")


class TestPassingOn:
    def test_tokens_of_others_are_not_passed_on(self):
        passed: list[Any] = []
        hands = Hands(scenario("", SPLIT_AT_ONCE, "o 1 ~p 1 =", "", listening=True))
        hands.reader = passed.append
        hands.comes(1.0, 0, "x").comes(1.0, 1, "y")
        hands.hand_over(1.0, rang=False)
        hands.comes(1.5, 2, Token(text="late"), "token").comes(2.0, 3, Token(text="p"), "token")
        hands.hand_over(2.0, rang=False)
        assert [token.text for token in passed] == ["p"]

    def test_began_is_told_before_the_first_token_is_passed_on(self):
        hands = Hands(scenario("", SPLIT_AT_ONCE, "o 1 ~p 1 =", "", listening=True))
        began: list[bool] = []
        hands.reader = lambda _: began.append(hands.deliberation.begun)
        hands.comes(1.0, 0, "x").comes(1.0, 1, "y").comes(2.0, 3, Token(text="p"), "token")
        hands.hand_over(2.0, rang=False)
        assert began == [True]

    def test_no_token_is_passed_on_after_the_end(self):
        passed: list[Any] = []
        hands = Hands(scenario("", SPLIT_AT_ONCE, "o 1 ~p 1 =", "", listening=True, deadline=3.0))
        hands.reader = passed.append
        hands.comes(1.0, 0, "x").comes(1.0, 1, "y").comes(2.0, 3, Token(text="p"), "token")
        hands.comes(4.0, 3, Token(text="q"), "token")
        hands.hand_over(4.0, rang=True)
        assert isinstance(hands.end, Fail)
        assert [token.text for token in passed] == ["p"]

    def test_an_outcome_before_the_end_is_a_bug(self):
        with pytest.raises(ContractError, match="has not ended"):
            Hands(TWO_OF_THREE).outcome()
