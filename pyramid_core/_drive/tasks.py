"""The asyncio driver: one task a call, really cancelled when its answer no longer matters.

A member without `aask` runs and streams on a thread of the pyramid's own, so that it never blocks the loop;
cancelled, it is abandoned. A member's bug leaves this driver bare, not in an ExceptionGroup.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from math import inf
from typing import Any, Protocol

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
    streamed_no_answer,
)
from pyramid_core._drive.pool import THREADS
from pyramid_core.commands import Ask, Gather
from pyramid_core.types import Context, Failure, Outcome, Token

_GRACE_TURNS = 8

Work = Callable[[], Coroutine[Any, Any, tuple[Kind, Any]]]


class TaskClock(Protocol):
    """What the asyncio driver needs of a clock."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def wait(self, event: asyncio.Event, until: float) -> bool:
        """Return when `event` is set or `until` has come, and whether it has."""
        ...


class RealTaskClock:
    """The monotonic clock under asyncio."""

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event, until: float) -> bool:
        """Return when `event` is set or `until` has come, and whether it has; the alarm just sets the event."""
        if until == inf:
            await event.wait()
            return False
        handle = asyncio.get_running_loop().call_later(max(until - self.now(), 0.0), event.set)
        try:
            await event.wait()
        finally:
            handle.cancel()
        return self.now() >= until


class TaskConductor(Conductor):
    """Drives one deliberation on the running event loop."""

    def __init__(self, *args: Any, clock: TaskClock | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clock = clock or RealTaskClock()
        self.wake = asyncio.Event()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[int] = set()

    async def run(self, context: Context) -> Outcome:
        """From the first call to the end; calls that go on after it are `finish`'s.

        Raises:
            PyramidFailed, PyramidAbstained: see `Conductor.outcome`.
            Exception: a bug in a member, the router or the rule, as it was raised.
        """
        try:
            self.start(context, self.clock.now())
            await self._until(lambda: self.end is not None)
        except BaseException as error:
            self.close_down()
            if self.deliberation.end is None:
                left = isinstance(error, (asyncio.CancelledError, GeneratorExit))
                self.deliberation.interrupt("left" if left else "error", self.clock.now())
            if not isinstance(error, GeneratorExit):  # a coroutine that is closed may not wait
                await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            raise
        await self._settle_cancelled()
        return self.outcome()

    async def finish(self) -> None:
        """Wait for the calls that go on after the end (exploration), so that the bill is complete, but not for ever."""
        self.linger(self.clock.now())
        await self._until(lambda: self.lingered(self.clock.now()))
        self.give_up()

    def interrupt(self, reason: str) -> None:
        """The reader leaves, or has seen enough."""
        self._arrive(AFTER_CALLS, "interrupt", reason)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            rang = await self.clock.wait(self.wake, self.alarm)
            self.wake.clear()
            self.hand_over(self.clock.now(), rang=rang)

    async def _settle_cancelled(self) -> None:
        """Give cancelled calls a few turns of the loop to clean up, without letting a slow one delay the answer."""
        for _ in range(_GRACE_TURNS):
            if all(task.done() for call, task in self.tasks.items() if call in self._stopped):
                return
            await asyncio.sleep(0)

    def begin(self, ask: Ask) -> None:
        """Start asking a member, in a task of its own."""
        self._spawn(ask.call, lambda: self._ask(ask))

    def begin_gather(self, gather: Gather) -> None:
        """Compute evidence off the loop."""
        compute = gatherer_for(self, gather)
        self._spawn(gather.call, lambda: self._gather(compute, gather))

    def stop(self, call: int) -> None:
        """Cancel the call's task."""
        self._stopped.add(call)
        task = self.tasks.get(call)
        if task is not None:
            task.cancel()

    def _spawn(self, call: int, work: Work) -> None:
        self.tasks[call] = asyncio.get_running_loop().create_task(
            self._report(call, work), name=f"pyramid-{call}"
        )

    async def _report(self, call: int, work: Work) -> None:
        CALL.set(call)
        try:
            # Made here, so that a task that is cancelled before its first turn leaves nothing behind.
            kind, value = await work()
        except asyncio.CancelledError as error:
            if call in self._stopped:
                raise
            kind, value = "failure", Failure.of(error)
        except BaseException as error:  # noqa: BLE001 - a bug is raised again where the driver waits
            kind, value = classified(error)
        self._arrive(call, kind, value)

    def _arrive(self, call: int, kind: Kind, value: Any) -> None:
        self.arrivals.append(Arrival(self.clock.now(), call, kind, value))
        self.wake.set()

    async def _ask(self, ask: Ask) -> tuple[Kind, Any]:
        member, query = self.members[ask.member], self.deliberation.query
        if ask.stream and hasattr(member, "astream"):
            return "answer", await self._stream(member.astream(query), ask)
        # A member that streams on a thread alone is streamed there: whoever listens wants its first word.
        if hasattr(member, "aask") and not (ask.stream and hasattr(member, "stream")):
            return "answer", await member.aask(query)
        loop = asyncio.get_running_loop()

        def pass_on(token: Token) -> None:
            loop.call_soon_threadsafe(self._arrive, ask.call, "token", token)

        return "answer", await off_loop(lambda: ask_here(member, ask, query, pass_on))

    async def _stream(self, items: AsyncIterator[Any], ask: Ask) -> Any:
        try:
            async for item in items:
                if not isinstance(item, Token):
                    return item
                self._arrive(ask.call, "token", item)
        finally:
            # Here, in the task that opened it: left to the garbage collector, another one would close it.
            if hasattr(items, "aclose"):
                await items.aclose()
        raise streamed_no_answer(ask)

    async def _gather(self, compute: Any, gather: Gather) -> tuple[Kind, Any]:
        try:
            if inspect.iscoroutinefunction(compute):
                return "evidence", await compute(gather)
            return "evidence", await off_loop(lambda: compute(gather))
        except Exception as error:  # noqa: BLE001 - evidence that fails is missing, whatever the cause
            return "failure", missing(gather, error)


async def off_loop(work: Callable[[], Any]) -> Any:
    """Run `work` on one of the pyramid's own threads; cancelled, it is abandoned."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(put: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            put(value)

    def run() -> None:
        try:
            put, value = future.set_result, work()
        except BaseException as error:  # noqa: BLE001 - handed to the task that waits
            put, value = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now, and then nobody waits
            loop.call_soon_threadsafe(settle, put, value)

    abandon = THREADS.submit(run)
    try:
        return await future
    except asyncio.CancelledError:
        abandon()
        raise
