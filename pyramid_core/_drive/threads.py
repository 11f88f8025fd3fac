"""The thread driver: one daemon thread a call, abandoned when its answer no longer matters.

It uses the members' own synchronous clients and starts no event loop inside the caller's. A member that is asked
on a thread may look at `pool.cancel_event()` to stop early.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pyramid_core._drive.clocks import RealThreadClock, ThreadClock
from pyramid_core._drive.conductor import (
    AFTER_CALLS,
    CALL,
    Arrival,
    Conductor,
    Kind,
    ask_here,
    classified,
    gatherer_for,
    missing,
)
from pyramid_core._drive.pool import THREADS, cancel_event
from pyramid_core.commands import Ask, Gather
from pyramid_core.types import Context, Failure, Outcome, Token


class ThreadConductor(Conductor):
    """Drives one deliberation on the calling thread."""

    def __init__(self, *args: Any, clock: ThreadClock | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clock = clock or RealThreadClock()
        self.wake = threading.Event()
        self._abandon: dict[int, Callable[[], None]] = {}
        self._abandoned = cancel_event()

    def run(self, context: Context) -> Outcome:
        """From the first call to the end; calls that go on after it are `finish`'s.

        Raises:
            PyramidFailed, PyramidAbstained: see `Conductor.outcome`.
            BaseException: a bug in a member, the router or the rule, or KeyboardInterrupt, as it was raised.
        """
        try:
            self.start(context, self.clock.now())
            self._until(lambda: self.end is not None)
        except BaseException as error:
            self.close_down()
            if self.deliberation.end is None:
                left = not isinstance(error, Exception)
                self.deliberation.interrupt("left" if left else "error", self.clock.now())
            raise
        return self.outcome()

    def finish(self) -> None:
        """Wait for the calls that go on after the end (exploration), so that the bill is complete, but not for ever."""
        self.linger(self.clock.now())
        self._until(lambda: self.lingered(self.clock.now()))
        self.give_up()

    def interrupt(self, reason: str) -> None:
        """The reader leaves, or has seen enough."""
        self._arrive(AFTER_CALLS, "interrupt", reason)

    def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            rang = self.clock.wait(self.wake, self.alarm)
            self.wake.clear()
            now = self.clock.now()
            if self._abandoned is not None and self._abandoned.is_set():
                # A pyramid inside a pyramid that no longer waits: what has come must not lead to further questions.
                self.obey(self.deliberation.interrupt("left", now), now)
            self.hand_over(now, rang=rang)

    def begin(self, ask: Ask) -> None:
        """Start asking a member, on a thread of its own."""
        self._spawn(ask.call, lambda: self._ask(ask))

    def begin_gather(self, gather: Gather) -> None:
        """Compute evidence on a thread of its own."""
        compute = gatherer_for(self, gather)
        self._spawn(gather.call, lambda: self._gather(compute, gather))

    def stop(self, call: int) -> None:
        """Tell the member, if it listens, and abandon the call."""
        if call in self._abandon:
            self._abandon[call]()

    def _spawn(self, call: int, work: Callable[[], tuple[Kind, Any]]) -> None:
        def report() -> None:
            CALL.set(call)
            try:
                kind, value = work()
            except BaseException as error:  # noqa: BLE001 - a bug is raised again where the driver waits
                kind, value = classified(error)
            self._arrive(call, kind, value)
            self.clock.ended()

        self.clock.started()
        try:
            self._abandon[call] = THREADS.submit(report)
        except RuntimeError as error:
            # Too many are abandoned, or the system has no further thread: bad luck, as under asyncio.
            self.clock.ended()
            self._arrive(call, "failure", Failure.of(error))

    def _arrive(self, call: int, kind: Kind, value: Any) -> None:
        self.arrivals.append(Arrival(self.clock.now(), call, kind, value))
        self.clock.notify(self.wake)

    def _ask(self, ask: Ask) -> tuple[Kind, Any]:
        def pass_on(token: Token) -> None:
            self._arrive(ask.call, "token", token)

        return "answer", ask_here(self.members[ask.member], ask, self.deliberation.query, pass_on)

    def _gather(self, compute: Any, gather: Gather) -> tuple[Kind, Any]:
        try:
            return "evidence", compute(gather)
        except Exception as error:  # noqa: BLE001 - evidence that fails is missing, whatever the cause
            return "failure", missing(gather, error)
