"""On the real clock: cancelling, KeyboardInterrupt, abandoned threads, bugs, contexts, and pyramids inside pyramids.

Whatever would hang sleeps for `LONG`; a test that waits for it fails by `SOON`.
"""

import asyncio
import contextlib
import contextvars
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyramid_core import Answer, ConstantRouter, Policy, Pyramid, PyramidFailed, Query, ThresholdRule, Token
from pyramid_core._drive import cancel_event
from pyramid_core._drive import pool as pool_module
from pyramid_core._drive.pool import THREADS
from pyramid_core.errors import PROGRAMMING_ERRORS, ContractError
from pyramid_core.types import Outcome, Trace

LONG, SOON = 30.0, 5.0
MAJORITY = ThresholdRule(0.4)
WHERE: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


class Says:
    """Answers at once, in both ways."""

    def __init__(self, name: str, text: str = "x") -> None:
        self.name, self.text = name, text

    def ask(self, query: Query) -> Answer:
        return Answer(text=self.text)

    async def aask(self, query: Query) -> Answer:
        return Answer(text=self.text)


class Hangs:
    """Says nothing for `LONG`; tells when it was asked, and how it was stopped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked, self.stopped = threading.Event(), threading.Event()

    def ask(self, query: Query) -> Answer:
        self.asked.set()
        event = cancel_event()
        assert event is not None
        if event.wait(LONG):
            self.stopped.set()
        return Answer(text="late")

    async def aask(self, query: Query) -> Answer:
        self.asked.set()
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return Answer(text="late")


class Does:
    """Calls a function; in both ways."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name, self.work = name, work

    def ask(self, query: Query) -> Any:
        return self.work()

    async def aask(self, query: Query) -> Any:
        return self.work()


class OnlySync:
    def __init__(self, name: str, work: Callable[[], Answer]) -> None:
        self.name, self.work = name, work

    def ask(self, query: Query) -> Answer:
        return self.work()


class Nested:
    """A pyramid as a member."""

    def __init__(self, name: str, pyramid: Pyramid) -> None:
        self.name, self.pyramid = name, pyramid

    def ask(self, query: Query) -> Answer:
        return self.pyramid.ask(query).answer

    async def aask(self, query: Query) -> Answer:
        return (await self.pyramid.aask(query)).answer


@pytest.fixture(autouse=True)
def promptly():
    """Nothing here waits for what hangs, and no abandoned call stays behind."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON
    until(lambda: THREADS.abandoned == 0)


def until(true: Callable[[], Any]) -> None:
    ticking = threading.Event()
    for _ in range(500):
        if true():
            return
        ticking.wait(0.01)
    raise AssertionError("it never came true")


async def auntil(true: Callable[[], Any]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


class TestCancelling:
    async def test_cancelling_cancels_every_task(self):
        hanging = [Hangs(name) for name in "abc"]
        traces: list[Trace] = []
        asking = asyncio.ensure_future(
            Pyramid(crowd=hanging, oracle=Says("o"), on_trace=traces.append).aask("Why?")
        )
        await auntil(lambda: all(member.asked.is_set() for member in hanging))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert all(member.stopped.is_set() for member in hanging)
        assert others() == set()
        assert [(trace.end, trace.reason) for trace in traces] == [("fail", "left")]

    async def test_cancelling_cancels_the_oracle(self):
        oracle = Hangs("o")
        asking = asyncio.ensure_future(
            Pyramid(crowd=[Says("a", "x"), Says("b", "y")], oracle=oracle).aask("Why?")
        )
        await auntil(oracle.asked.is_set)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert oracle.stopped.is_set()
        assert others() == set()

    async def test_cancelling_before_the_first_turn_leaves_nothing(self):
        asking = asyncio.ensure_future(Pyramid(crowd=[Hangs("a")], oracle=Says("o")).aask("Why?"))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert others() == set()

    async def test_a_timeout_around_it_cancels_every_task(self):
        hanging = Hangs("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Pyramid(crowd=[hanging], oracle=Says("o")).aask("Why?")
        assert hanging.stopped.is_set()
        assert others() == set()

    async def test_who_is_not_needed_is_cancelled_before_the_answer_is_there(self):
        hanging = Hangs("c")
        pyramid = Pyramid(crowd=[Says("a"), Says("b"), hanging], oracle=Says("o"), rule=MAJORITY)
        assert (await pyramid.aask("Why?")).answer.text == "x"
        assert others() == set()

    async def test_who_is_asked_and_cancelled_in_one_turn_leaves_no_warning(self):
        """Two arrive in one turn of the loop: at the first the third is asked, at the second it is not needed."""
        pyramid = Pyramid(
            crowd=[Says("a"), Says("b"), Says("c")], oracle=Says("o"), rule=MAJORITY, policy=Policy(width=2)
        )
        outcome = await pyramid.aask("Why?")
        assert [call.state for call in outcome.trace.calls] == ["done", "done", "cancelled"]
        assert others() == set()

    async def test_a_member_that_takes_its_time_to_be_cancelled_does_not_delay_the_answer(self):
        over = asyncio.Event()

        class Lingers(Says):
            async def aask(self, query: Query) -> Answer:
                try:
                    await asyncio.sleep(LONG)
                finally:
                    await asyncio.sleep(0.3)
                    over.set()
                raise AssertionError

        pyramid = Pyramid(crowd=[Says("a"), Says("b"), Lingers("c")], oracle=Says("o"), rule=MAJORITY)
        outcome = await pyramid.aask("Why?")
        assert outcome.trace.at < 0.25
        assert not over.is_set()
        await over.wait()
        await asyncio.gather(*others(), return_exceptions=True)

    async def test_a_member_that_is_cancelled_from_within_has_failed(self):
        class GivesUp(Says):
            async def aask(self, query: Query) -> Answer:
                raise asyncio.CancelledError

        outcome = await Pyramid(crowd=[GivesUp("a"), Says("b")], oracle=Says("o", "z")).aask("Why?")
        assert outcome.answer.text == "z"
        assert outcome.trace.calls[0].result.kind == "CancelledError"

    async def test_closing_a_stream_cancels_every_task(self):
        oracle = Hangs("o")

        class Streams(Hangs):
            async def astream(self, query: Query) -> Any:
                yield Token(text="so ")
                yield await oracle.aask(query)

        stream = Pyramid(crowd=[Says("a", "x"), Says("b", "y")], oracle=Streams("o")).astream("Why?")
        async for token in stream:
            assert token.text == "so "
            break
        await stream.aclose()  # type: ignore[attr-defined]
        assert oracle.stopped.is_set()
        assert others() == set()

    async def test_a_reader_who_is_cancelled_cancels_every_task(self):
        hanging = Hangs("a")

        async def reads() -> None:
            async for _ in Pyramid(crowd=[hanging], oracle=Says("o")).astream("Why?"):
                pass

        reading = asyncio.ensure_future(reads())
        await auntil(hanging.asked.is_set)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await auntil(lambda: others() == set())
        assert hanging.stopped.is_set()


class TestKeyboardInterrupt:
    @pytest.fixture
    def interrupt(self):
        """Presses Ctrl-C when a member has been asked and the caller waits.

        The pause is for the interpreter: a signal that comes just before a lock's wait is only seen after it.
        """

        def press(member: Hangs) -> None:
            def wait_and_press() -> None:
                assert member.asked.wait(SOON)
                time.sleep(0.05)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

            presser = threading.Thread(target=wait_and_press)
            pressers.append(presser)
            presser.start()

        pressers: list[threading.Thread] = []
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield press
        for presser in pressers:
            presser.join()
        signal.signal(signal.SIGINT, handler)

    def test_asking_returns_promptly_and_tells_the_members(self, interrupt):
        hanging = [Hangs(name) for name in "abc"]
        traces: list[Trace] = []
        pyramid = Pyramid(crowd=hanging, oracle=Says("o"), on_trace=traces.append)
        interrupt(hanging[2])
        with pytest.raises(KeyboardInterrupt):
            pyramid.ask("Why?")
        until(lambda: all(member.stopped.is_set() for member in hanging))
        assert [(trace.end, trace.reason, trace.settled) for trace in traces] == [("fail", "left", True)]

    def test_waiting_for_the_oracle_returns_promptly(self, interrupt):
        oracle = Hangs("o")
        interrupt(oracle)
        with pytest.raises(KeyboardInterrupt):
            Pyramid(crowd=[Says("a", "x"), Says("b", "y")], oracle=oracle).ask("Why?")
        until(oracle.stopped.is_set)

    def test_with_a_deadline_it_returns_before_it(self, interrupt):
        hanging = Hangs("a")
        interrupt(hanging)
        with pytest.raises(KeyboardInterrupt):
            Pyramid(crowd=[hanging], oracle=Says("o"), deadline=LONG).ask("Why?")

    def test_reading_returns_promptly(self, interrupt):
        hanging = Hangs("a")
        interrupt(hanging)
        with pytest.raises(KeyboardInterrupt):
            list(Pyramid(crowd=[hanging], oracle=Says("o")).stream("Why?"))
        until(hanging.stopped.is_set)

    def test_under_asyncio_run_every_task_is_cancelled(self, interrupt):
        hanging = Hangs("a")
        interrupt(hanging)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(Pyramid(crowd=[hanging], oracle=Says("o")).aask("Why?"))
        assert hanging.stopped.is_set()

    def test_one_that_a_member_raises_is_not_swallowed(self):
        def press() -> Answer:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Pyramid(crowd=[Does("a", press), Says("b")], oracle=Says("o")).ask("Why?")


def raises(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


BUGS = [kind("a bug") for kind in PROGRAMMING_ERRORS]


class TestBugs:
    def test_there_are_six_kinds(self):
        assert {type(error).__name__ for error in BUGS} == {
            "TypeError",
            "AttributeError",
            "NameError",
            "ImportError",
            "AssertionError",
            "NotImplementedError",
        }

    @pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
    def test_asking_raises_it_as_it_is_and_stops_the_others(self, bug):
        hanging = Hangs("b")
        with pytest.raises(type(bug)) as caught:
            Pyramid(crowd=[Does("a", raises(bug)), hanging], oracle=Says("o")).ask("Why?")
        assert caught.value is bug
        until(lambda: hanging.stopped.is_set())

    @pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
    async def test_awaiting_raises_it_as_it_is_and_cancels_the_others(self, bug):
        hanging = Hangs("b")
        with pytest.raises(type(bug)) as caught:
            await Pyramid(crowd=[hanging, Does("a", raises(bug))], oracle=Says("o")).aask("Why?")
        assert caught.value is bug
        assert hanging.stopped.is_set()
        assert others() == set()

    @pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
    async def test_a_member_that_is_only_synchronous_may_have_it_too(self, bug):
        with pytest.raises(type(bug)) as caught:
            await Pyramid(crowd=[OnlySync("a", raises(bug))], oracle=Says("o")).aask("Why?")
        assert caught.value is bug

    def test_reading_raises_it(self):
        with pytest.raises(NameError, match="a bug"):
            list(Pyramid(crowd=[Does("a", raises(NameError("a bug")))], oracle=Says("o")).stream("Why?"))

    async def test_reading_asynchronously_raises_it(self):
        pyramid = Pyramid(crowd=[Does("a", raises(NameError("a bug")))], oracle=Says("o"))
        with pytest.raises(NameError, match="a bug"):
            [item async for item in pyramid.astream("Why?")]
        assert others() == set()

    def test_the_oracle_may_have_it_too(self):
        crowd = [Says("a", "x"), Says("b", "y")]
        with pytest.raises(AttributeError):
            Pyramid(crowd=crowd, oracle=Does("o", raises(AttributeError("a bug")))).ask("Why?")

    def test_nothing_returned_is_one(self):
        with pytest.raises(ContractError, match="member 'a' returned NoneType"):
            Pyramid(crowd=[Does("a", lambda: None)], oracle=Says("o")).ask("Why?")

    async def test_nothing_returned_is_one_when_awaited(self):
        with pytest.raises(ContractError, match="member 'a' returned NoneType"):
            await Pyramid(crowd=[Does("a", lambda: None)], oracle=Says("o")).aask("Why?")

    @pytest.mark.parametrize("error", [ValueError("v"), OSError("o"), RuntimeError("r"), KeyError("k")])
    def test_every_other_exception_is_a_failure(self, error):
        outcome = Pyramid(crowd=[Does("a", raises(error)), Says("b")], oracle=Says("o", "z")).ask("Why?")
        assert outcome.answer.text == "z"
        assert outcome.trace.calls[0].result.kind == type(error).__name__

    @pytest.mark.parametrize("part", ["rule", "router"])
    def test_a_bug_of_the_rule_or_router_is_raised_as_it_is(self, part):
        class Broken(ConstantRouter):
            def assess(self, observation: Any) -> Any:
                raise ZeroDivisionError

        class BrokenRule(ThresholdRule):
            def decide(self, assessment: Any, options: Any) -> Any:
                raise ZeroDivisionError

        parts: dict[str, Any] = {"router": Broken(0.5)} if part == "router" else {"rule": BrokenRule(0.5)}
        hanging = Hangs("b")
        with pytest.raises(ZeroDivisionError):
            Pyramid(crowd=[Says("a"), hanging], oracle=Says("o"), policy=Policy(patience=0.05), **parts).ask(
                "Why?"
            )
        until(lambda: THREADS.abandoned == 0)

    async def test_a_bug_that_kept_calls_from_being_cancelled_does_not_keep_them_running(self):
        class BrokenRule(ThresholdRule):
            def decide(self, assessment: Any, options: Any) -> Any:
                raise ZeroDivisionError

        hanging = Hangs("b")
        policy = Policy(patience=0.05, early_stop=None)
        pyramid = Pyramid(crowd=[Says("a"), hanging], oracle=Says("o"), policy=policy, rule=BrokenRule(0.5))
        with pytest.raises(ZeroDivisionError):
            await pyramid.aask("Why?")
        assert hanging.stopped.is_set()

    def test_that_kept_calls_from_being_abandoned_does_not_keep_them_running(self):
        class BrokenRule(ThresholdRule):
            def decide(self, assessment: Any, options: Any) -> Any:
                raise ZeroDivisionError

        hanging = Hangs("b")
        policy = Policy(patience=0.05, early_stop=None)
        pyramid = Pyramid(crowd=[Says("a"), hanging], oracle=Says("o"), policy=policy, rule=BrokenRule(0.5))
        with pytest.raises(ZeroDivisionError):
            pyramid.ask("Why?")
        until(hanging.stopped.is_set)


class TestThreads:
    def test_who_is_not_needed_is_told_and_not_waited_for(self):
        hanging = Hangs("c")
        pyramid = Pyramid(crowd=[Says("a"), Says("b"), hanging], oracle=Says("o"), rule=MAJORITY)
        assert pyramid.ask("Why?").answer.text == "x"
        until(lambda: hanging.stopped.is_set() or not hanging.asked.is_set())

    def test_closing_a_stream_tells_the_members(self):
        class Streams(Hangs):
            def stream(self, query: Query) -> Any:
                yield Token(text="so ")
                yield self.ask(query)

        oracle, traces = Streams("o"), []
        pyramid = Pyramid(crowd=[Says("a", "x"), Says("b", "y")], oracle=oracle, on_trace=traces.append)
        stream = pyramid.stream("Why?")
        assert next(stream).text == "so "
        stream.close()
        until(oracle.stopped.is_set)
        until(lambda: traces)
        assert [(trace.end, trace.reason) for trace in traces] == [("fail", "left")]

    def test_a_watcher_who_stops_has_seen_enough(self):
        hanging, traces = Hangs("b"), []
        solutions = Pyramid(crowd=[Says("a"), hanging], oracle=Says("o"), on_trace=traces.append).solutions(
            "Why?"
        )
        assert next(solutions).answer.text == "x"
        solutions.close()
        until(lambda: traces)
        assert [(trace.end, trace.reason, trace.answered) for trace in traces] == [("accept", "enough", 0)]

    def test_outside_a_call_there_is_no_cancel_event(self):
        assert cancel_event() is None

    def test_above_the_limit_calls_fail_instead_of_piling_up(self, monkeypatch):
        monkeypatch.setattr(pool_module, "MAX_ABANDONED", 3)
        go = threading.Event()
        deaf = OnlySync("deaf", lambda: Answer(text=str(go.wait(LONG))))
        pyramid = Pyramid(crowd=[deaf, deaf, deaf], oracle=Says("o"), deadline=0.05)
        with pytest.raises(PyramidFailed, match="deadline before the first answer"):
            pyramid.ask("Why?")
        assert THREADS.abandoned == 3
        with pytest.raises(PyramidFailed, match="TooManyAbandonedError: 3 abandoned calls") as caught:
            Pyramid(crowd=[Says("a")], oracle=Says("o")).ask("Why?")
        assert [failure.member for failure in caught.value.failures] == ["a", "o"]
        go.set()
        until(lambda: THREADS.abandoned == 0)
        assert Pyramid(crowd=[Says("a")], oracle=Says("o")).ask("Why?").answer.text == "x"

    def test_a_system_without_threads_is_bad_luck(self, monkeypatch):
        def no_thread(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(pool_module.THREADS, "_idle", [])
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(PyramidFailed, match="can't start new thread") as caught:
            Pyramid(crowd=[Says("a")], oracle=Says("o")).ask("Why?")
        assert [failure.member for failure in caught.value.failures] == ["a", "o"]

    def test_reading_and_recording_go_on_above_the_limit(self, monkeypatch):
        monkeypatch.setattr(pool_module, "MAX_ABANDONED", 0)
        with pytest.raises(PyramidFailed, match="TooManyAbandonedError"):
            list(Pyramid(crowd=[Says("a")], oracle=Says("o")).stream("Why?"))

    def test_no_interpreter_exit_waits_for_a_hanging_member(self):
        program = (
            "import time\n"
            "from pyramid_core import Answer, Pyramid, ThresholdRule\n"
            "class M:\n"
            "    def __init__(self, name, seconds): self.name, self.seconds = name, seconds\n"
            "    def ask(self, query): time.sleep(self.seconds); return Answer(text='x')\n"
            "p = Pyramid(crowd=[M('a', 0), M('b', 0), M('c', 60)], oracle=M('o', 0), rule=ThresholdRule(0.4))\n"
            "print(p.ask('Why?').answer.text)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=SOON, check=True
        )
        assert (run.stdout, run.stderr) == ("x\n", "")

    def test_many_queries_share_the_threads(self):
        pyramid = Pyramid(crowd=[Says("a"), Says("b"), Says("c")], oracle=Says("o"))
        for _ in range(100):
            pyramid.ask("Why?")
        assert sum(thread.name == "pyramid" for thread in threading.enumerate()) < 40

    def test_many_callers_at_once(self):
        together = threading.Barrier(3 * 8)

        def wait_for_all() -> Answer:
            together.wait(SOON)
            return Answer(text="x")

        pyramid = Pyramid(crowd=[OnlySync(name, wait_for_all) for name in "abc"], oracle=Says("o"))
        texts: list[str] = []
        callers = [
            threading.Thread(target=lambda: texts.append(pyramid.ask("Why?").answer.text)) for _ in range(8)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert texts == ["x"] * 8


class TestBothWorlds:
    async def test_many_queries_at_once(self):
        pyramid = Pyramid(crowd=[Says("a"), Says("b"), Says("c")], oracle=Says("o"))
        outcomes = await asyncio.gather(*(pyramid.aask(f"Why {n}?") for n in range(200)))
        assert [o.trace.query.text for o in outcomes] == [f"Why {n}?" for n in range(200)]
        assert others() == set()

    async def test_a_synchronous_member_does_not_block_the_loop(self):
        go = threading.Event()
        waits = OnlySync("a", lambda: Answer(text=str(go.wait(LONG))))
        asking = asyncio.ensure_future(Pyramid(crowd=[waits], oracle=Says("o")).aask("Why?"))
        await asyncio.sleep(0.02)
        go.set()
        assert (await asking).answer.text == "True"

    async def test_a_synchronous_member_that_is_not_needed_is_told(self):
        told = threading.Event()

        def listens() -> Answer:
            event = cancel_event()
            assert event is not None
            if event.wait(LONG):
                told.set()
            return Answer(text="late")

        crowd = [Says("a"), Says("b"), OnlySync("c", listens)]
        policy = Policy(patience=0.1)
        assert (
            await Pyramid(crowd=crowd, oracle=Says("o", "z"), policy=policy).aask("Why?")
        ).answer.text == "z"
        await auntil(told.is_set)

    def test_a_synchronous_member_may_outlive_the_loop(self):
        go = threading.Event()
        waits = OnlySync("c", lambda: Answer(text=str(go.wait(LONG))))
        pyramid = Pyramid(crowd=[Says("a"), waits], oracle=Says("o", "z"), policy=Policy(patience=0.05))
        assert asyncio.run(pyramid.aask("Why?")).answer.text == "z"
        go.set()
        until(lambda: THREADS.abandoned == 0)

    async def test_a_coroutine_that_is_closed_stops_its_calls(self):
        hanging = Hangs("a")
        asking = Pyramid(crowd=[hanging], oracle=Says("o")).aask("Why?")
        asking.send(None)
        await auntil(hanging.asked.is_set)
        asking.close()
        await auntil(hanging.stopped.is_set)

    async def test_asking_inside_a_running_loop_starts_no_other(self):
        loops: list[Any] = []

        def look() -> Answer:
            with contextlib.suppress(RuntimeError):
                loops.append(asyncio.get_running_loop())
            return Answer(text="x")

        Pyramid(crowd=[Does("a", look)], oracle=Says("o")).ask("Why?")
        assert loops == []

    def test_members_see_the_callers_context(self):
        WHERE.set("here")
        pyramid = Pyramid(crowd=[Does("a", lambda: Answer(text=WHERE.get()))], oracle=Says("o"))
        assert pyramid.ask("Why?").answer.text == "here"

    async def test_members_see_the_callers_context_when_awaited(self):
        WHERE.set("here")
        pyramid = Pyramid(crowd=[Does("a", lambda: Answer(text=WHERE.get()))], oracle=Says("o"))
        assert (await pyramid.aask("Why?")).answer.text == "here"

    async def test_synchronous_members_see_the_callers_context_when_awaited(self):
        WHERE.set("here")
        pyramid = Pyramid(crowd=[OnlySync("a", lambda: Answer(text=WHERE.get()))], oracle=Says("o"))
        assert (await pyramid.aask("Why?")).answer.text == "here"

    def test_members_see_the_callers_context_when_read(self):
        WHERE.set("here")
        pyramid = Pyramid(crowd=[Does("a", lambda: Answer(text=WHERE.get()))], oracle=Says("o"))
        *_, outcome = pyramid.stream("Why?")
        assert isinstance(outcome, Outcome)
        assert outcome.answer.text == "here"

    def test_what_a_member_changes_in_its_context_stays_there(self):
        WHERE.set("here")

        def wander() -> Answer:
            WHERE.set("there")
            return Answer(text="x")

        Pyramid(crowd=[Does("a", wander)], oracle=Says("o")).ask("Why?")
        assert WHERE.get() == "here"


def tower(levels: int) -> Any:
    """Pyramids of pyramids: each level's three members are the level below."""
    if levels == 0:
        return Says("ground")
    below = tower(levels - 1)
    return Nested(f"level {levels}", Pyramid(crowd=[below, below, below], oracle=below))


class TestPyramidsOfPyramids:
    def test_three_levels(self):
        assert tower(3).ask(Query(text="Why?")).text == "x"

    async def test_three_levels_awaited(self):
        assert (await tower(3).aask(Query(text="Why?"))).text == "x"
        assert others() == set()

    def test_a_pyramid_as_oracle(self):
        inner = Nested("inner", Pyramid(crowd=[Says("c", "z"), Says("d", "w")], oracle=Says("e", "v")))
        outcome = Pyramid(crowd=[Says("a", "x"), Says("b", "y")], oracle=inner).ask("Why?")
        assert outcome.answer.text == "v"

    def test_a_failure_inside_is_one_member_less_outside(self):
        inner = Nested(
            "inner",
            Pyramid(crowd=[Does("c", raises(OSError("down")))], oracle=Does("d", raises(OSError("down")))),
        )
        outcome = Pyramid(crowd=[inner, Says("b")], oracle=Says("o", "z")).ask("Why?")
        assert outcome.answer.text == "z"
        assert outcome.trace.calls[0].result.kind == "PyramidFailed"

    async def test_cancelling_outside_cancels_inside(self):
        hanging = Hangs("c")
        inner = Nested("inner", Pyramid(crowd=[hanging], oracle=Says("d")))
        asking = asyncio.ensure_future(Pyramid(crowd=[inner], oracle=Says("o")).aask("Why?"))
        await auntil(hanging.asked.is_set)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert hanging.stopped.is_set()
        assert others() == set()

    def test_a_pyramid_that_nobody_waits_for_asks_no_oracle(self):
        go = threading.Event()
        asked: list[str] = []
        traces: list[Trace] = []

        def oracle() -> Answer:
            asked.append("oracle")
            return Answer(text="z")

        waiting = [Does(name, lambda: Answer(text=str(go.wait(LONG)))) for name in ("c", "d")]
        unsure = Pyramid(
            crowd=waiting, oracle=Does("e", oracle), router=ConstantRouter(1.0), on_trace=traces.append
        )
        with pytest.raises(PyramidFailed, match="deadline"):
            Pyramid(crowd=[Nested("inner", unsure)], oracle=Says("o"), deadline=0.05).ask("Why?")
        go.set()
        until(lambda: traces)
        assert asked == []
        assert [(trace.end, trace.reason) for trace in traces] == [("fail", "left")]
