"""Daemon threads that grow on demand: no call ever waits for a free one, and no interpreter exit waits for them.

A thread cannot be stopped, so a call that no longer matters is abandoned: its `cancel_event()` is set, for members
that care to look, and nobody waits for it. Abandoned calls have a limit, above which further calls fail at once
instead of piling up.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from contextvars import ContextVar
from queue import Empty, SimpleQueue

IDLE_SECONDS = 30.0
MAX_ABANDONED = 256

_CANCEL: ContextVar[threading.Event | None] = ContextVar("pyramid_cancel", default=None)


def cancel_event() -> threading.Event | None:
    """The event that is set when the running call's answer no longer matters; None outside such a call."""
    return _CANCEL.get()


class TooManyAbandonedError(RuntimeError):
    """So many abandoned calls are still running that no further one is started; give the members a timeout."""


class Threads:
    """A pool whose threads are kept while they are used and retire after `IDLE_SECONDS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[Callable[[], object]]] = []
        self.abandoned = 0

    def submit(self, work: Callable[[], None], *, limited: bool = True) -> Callable[[], None]:
        """Run `work` at once, with this context's variables, on an idle thread or a new one; it must not raise.

        Args:
            work: a member's call, or a driver's own.
            limited: whether it is refused when too many calls have been abandoned.

        Returns:
            What abandons it; harmless after its end.

        Raises:
            TooManyAbandonedError: see there.
            RuntimeError: the system has no further thread.
        """
        if limited and self.abandoned >= MAX_ABANDONED:
            raise TooManyAbandonedError(
                f"{self.abandoned} abandoned calls are still running; give members a timeout"
            )
        cancel = threading.Event()
        context = contextvars.copy_context()
        context.run(_CANCEL.set, cancel)
        done = False

        def run() -> None:
            nonlocal done
            try:
                context.run(work)
            finally:
                with self._lock:
                    done = True
                    self.abandoned -= cancel.is_set()

        def abandon() -> None:
            with self._lock:
                if not done and not cancel.is_set():
                    cancel.set()
                    self.abandoned += 1

        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name="pyramid", daemon=True).start()
        inbox.put(run)
        return abandon

    def _serve(self, inbox: SimpleQueue[Callable[[], object]]) -> None:
        while True:
            try:
                work = inbox.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue
            work()
            del work
            with self._lock:
                self._idle.append(inbox)


THREADS = Threads()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: THREADS.__init__())  # type: ignore[misc]
