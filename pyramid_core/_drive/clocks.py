"""Real time under threads: `now()` in seconds, and waiting for an event or a moment, whichever comes first."""

from __future__ import annotations

import threading
import time
from math import inf
from typing import Protocol


class ThreadClock(Protocol):
    """What the thread driver needs of a clock; `started` and `ended` tell it which threads may still act."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wait(self, event: threading.Event, until: float) -> bool:
        """Return when `event` is set or `until` has come, and whether it has."""
        ...

    def notify(self, event: threading.Event) -> None:
        """Set `event`."""
        ...

    def started(self) -> None:
        """A thread is about to start on a call."""
        ...

    def ended(self) -> None:
        """The calling thread has finished its call."""
        ...


class RealThreadClock:
    """The monotonic clock under threads."""

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def wait(self, event: threading.Event, until: float) -> bool:
        """Return when `event` is set or `until` has come, and whether it has."""
        event.wait(None if until == inf else min(max(until - self.now(), 0.0), threading.TIMEOUT_MAX))
        return self.now() >= until

    def notify(self, event: threading.Event) -> None:
        """Set `event`."""
        event.set()

    def started(self) -> None:
        """Real time needs no bookkeeping."""

    def ended(self) -> None:
        """Real time needs no bookkeeping."""
