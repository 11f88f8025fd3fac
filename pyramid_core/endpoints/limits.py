"""The time and the tries of one call, and how many calls run at once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from types import TracebackType

from pyramid_core.endpoints.settings import Retries, Timeouts
from pyramid_core.errors import EndpointError, EndpointTimeout


class Tries:
    """The tries of one call, within its time."""

    def __init__(self, retries: Retries, timeouts: Timeouts) -> None:
        self._retries = retries
        self._total = timeouts.total
        now = asyncio.get_running_loop().time()
        self.deadline = None if timeouts.total is None else now + timeouts.total
        self.made = 1

    async def pause(self, error: EndpointError) -> None:
        """Wait until the next try.

        Raises:
            EndpointError: the one given: there is no next try, or no time for it.
        """
        seconds = self._retries.pause(error, self.made, random.random())
        now = asyncio.get_running_loop().time()
        if seconds is None or (self.deadline is not None and now + seconds >= self.deadline):
            raise error
        await asyncio.sleep(seconds)
        self.made += 1

    def phase(self, words: str, seconds: float | None) -> Phase:
        """A wait of at most `seconds`, and not beyond the end of the whole call."""
        return Phase(words, seconds, self.deadline, self._total)


class Phase:
    """An `async with` around one wait; nothing may be yielded within, for the timer would strike the reader's code."""

    def __init__(
        self, words: str, seconds: float | None, deadline: float | None, total: float | None
    ) -> None:
        now = asyncio.get_running_loop().time()
        until = None if seconds is None else now + seconds
        self._whole = deadline is not None and (until is None or deadline < until)
        self._words, self._seconds, self._total = words, seconds, total
        self._limit = asyncio.timeout_at(deadline if self._whole else until)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._whole:
                raise EndpointTimeout(
                    f"the whole call took more than {self._total:g} s (it was {self._words})"
                ) from None
            raise EndpointTimeout(f"{self._words} took more than {self._seconds:g} s") from None


class Gate:
    """At most so many between `enter` and `leave` at once, first come, first served, whatever event loops they run on."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = threading.Lock()
        self._queue: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    def open(self) -> bool:
        """Take a turn, if one is free; whoever has had it must `leave`."""
        with self._lock:
            free = self._free > 0 and not self._queue
            self._free -= free
            return free

    async def enter(self) -> None:
        """Wait for a turn, as `open` gives it."""
        if self.open():
            return
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._free and not self._queue:  # somebody has left meanwhile
                self._free -= 1
                return
            ticket = (loop, loop.create_future())
            self._queue.append(ticket)
        try:
            await ticket[1]
        except asyncio.CancelledError:
            with self._lock:
                waited = ticket in self._queue
                if waited:
                    self._queue.remove(ticket)
            if not waited and not ticket[1].cancelled():
                self.leave()  # let in and cancelled in one turn of the loop
            raise

    def leave(self) -> None:
        """Give the turn to the next."""
        with self._lock:
            while self._queue:
                loop, turn = self._queue.popleft()
                try:
                    loop.call_soon_threadsafe(self._let_in, turn)
                except RuntimeError:  # that loop is closed, and nobody waits there any more
                    continue
                return
            self._free += 1

    def _let_in(self, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self.leave()
        else:
            turn.set_result(None)
