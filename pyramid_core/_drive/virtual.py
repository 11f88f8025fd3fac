"""Virtual time, for tests: a clock that stands still while anything runs, and then jumps to the next sleeper.

Sleepers wait in a heap ordered by (time, call number, sequence), alarms after all calls, and are woken one at a
time, only when nothing can run: under asyncio when the loop asks its selector to block, under threads when no
thread that the clock knows of is running. So a scenario has one history, and all drivers agree on it.
Nothing left to wake is a deadlock, and is raised.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
import threading
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, TypeVar

from pyramid_core._drive.conductor import CALL

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Everybody waits and nobody will come."""


class Sleepers:
    """A heap of what is to be woken, and the time of the last that was."""

    def __init__(self) -> None:
        self.time = 0.0
        self._heap: list[tuple[float, float, int, Callable[[], None]]] = []
        self._gone: set[int] = set()
        self._sequence = 0

    def add(self, at: float, order: float, wake: Callable[[], None]) -> int:
        """Wake at a time; the number is for `remove`."""
        self._sequence += 1
        heapq.heappush(self._heap, (at, order, self._sequence, wake))
        return self._sequence

    def remove(self, number: int) -> None:
        """Never wake this one."""
        self._gone.add(number)

    def wake_next(self) -> bool:
        """Jump to the earliest and wake it; False where there is none."""
        while self._heap:
            at, _, number, wake = heapq.heappop(self._heap)
            if number in self._gone:
                self._gone.discard(number)
                continue
            self.time = max(self.time, at)
            wake()
            return True
        return False


class _Selector(selectors.SelectSelector):
    """Instead of blocking, wakes one sleeper."""

    def __init__(self, sleepers: Sleepers) -> None:
        super().__init__()
        self._sleepers = sleepers

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0) and not self._sleepers.wake_next():
            raise Deadlock("every task waits, and nothing is left to wake")
        return ready


class VirtualTaskClock:
    """Virtual time under asyncio; use `run`."""

    def __init__(self) -> None:
        self.sleepers = Sleepers()

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `main()` on a loop of its own whose waiting is virtual."""
        with asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(_Selector(self.sleepers))
        ) as runner:
            return runner.run(main())

    def now(self) -> float:
        """Virtual seconds."""
        return self.sleepers.time

    async def sleep(self, seconds: float) -> None:
        """Sleep, as a member."""
        woken = asyncio.Event()
        number = self.sleepers.add(self.now() + seconds, CALL.get(), woken.set)
        try:
            await woken.wait()
        except asyncio.CancelledError:
            self.sleepers.remove(number)
            raise

    async def wait(self, event: asyncio.Event, until: float) -> bool:
        """Return when `event` is set, or True when `until` has come."""
        rang = False

        def ring() -> None:
            nonlocal rang
            rang = True
            event.set()

        number = self.sleepers.add(until, inf, ring) if until < inf else None
        try:
            await event.wait()
        finally:
            if number is not None and not rang:
                self.sleepers.remove(number)
        return rang


class VirtualThreadClock:
    """Virtual time under threads; the thread that makes it is the driver's and counts as running."""

    def __init__(self) -> None:
        self.sleepers = Sleepers()
        self._lock = threading.RLock()
        self._running = 1
        self._waiting: set[threading.Event] = set()
        self._deadlocked = False

    def now(self) -> float:
        """Virtual seconds."""
        return self.sleepers.time

    def started(self) -> None:
        """A thread is about to start on a call."""
        with self._lock:
            self._running += 1

    def ended(self) -> None:
        """The calling thread has finished its call."""
        with self._lock:
            self._rest()

    def notify(self, event: threading.Event) -> None:
        """Set `event`; whoever waits for it counts as running from now on."""
        with self._lock:
            if event in self._waiting:
                self._waiting.discard(event)
                self._running += 1
            event.set()

    def sleep(self, seconds: float) -> None:
        """Sleep, as a member."""
        woken = threading.Event()
        with self._lock:
            self._waiting.add(woken)
            self.sleepers.add(self.now() + seconds, CALL.get(), lambda: self.notify(woken))
            self._rest()
        woken.wait()

    def wait(self, event: threading.Event, until: float) -> bool:
        """Return when `event` is set, or True when `until` has come."""
        rang = False

        def ring() -> None:
            nonlocal rang
            rang = True
            self.notify(event)

        with self._lock:
            if event.is_set():
                return False
            self._waiting.add(event)
            number = self.sleepers.add(until, inf, ring) if until < inf else None
            self._rest()
        event.wait()
        with self._lock:
            if number is not None and not rang:
                self.sleepers.remove(number)
        if self._deadlocked:
            raise Deadlock("every thread waits, and nothing is left to wake")
        return rang

    def _rest(self) -> None:
        self._running -= 1
        if self._running == 0 and not self.sleepers.wake_next():
            self._deadlocked = True
            for event in list(self._waiting):
                self.notify(event)
