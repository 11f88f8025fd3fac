"""One event loop on a thread of its own, for those who ask without one.

Synchronous calls run the same coroutine as asynchronous ones, so that nothing is written twice, connections are shared
between threads, and a call that nobody waits for any more is really cancelled, which a blocking read is not.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pyramid_core._drive.pool import cancel_event

T = TypeVar("T")

LOOK_SECONDS = 0.25
"""How often a waiting thread looks whether its call still matters."""


class Background:
    """The loop; its thread starts with the first call and ends with the interpreter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work()` returns or raises; cancelled when the calling thread's call is abandoned.

        Raises:
            InterruptedError: the call was abandoned.
        """
        future, abandoned = self._submit(work), cancel_event()
        try:
            while True:
                try:
                    return future.result(None if abandoned is None else LOOK_SECONDS)
                except TimeoutError:
                    if future.done():
                        raise
                if abandoned is not None and abandoned.is_set():
                    raise InterruptedError("the answer no longer matters")
        finally:
            future.cancel()

    def iterate(self, work: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """What `work()` yields, as it comes.

        Raises:
            InterruptedError: the call was abandoned.
        """
        items: SimpleQueue[T] = SimpleQueue()
        end = object()

        async def read() -> None:
            try:
                async for item in work():
                    items.put(item)
            finally:
                items.put(end)  # type: ignore[arg-type] # the one item that is not handed on

        future, abandoned = self._submit(read), cancel_event()
        try:
            while True:
                try:
                    item = items.get(timeout=None if abandoned is None else LOOK_SECONDS)
                except Empty:
                    if abandoned is not None and abandoned.is_set():
                        raise InterruptedError("the answer no longer matters") from None
                    continue
                if item is end:
                    future.result()
                    return
                yield item
        finally:
            future.cancel()

    def _submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        loop, result, context = self._running(), Future[T](), contextvars.copy_context()

        def start() -> None:
            if result.cancelled():
                return
            task = loop.create_task(work())
            result.add_done_callback(
                lambda _: loop.call_soon_threadsafe(task.cancel) if not task.done() else None
            )
            task.add_done_callback(lambda done: _settle(result, done))

        loop.call_soon_threadsafe(start, context=context)
        return result

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name="pyramid-http", daemon=True
                )
                self._thread.start()
                atexit.register(self.stop)
            return self._loop

    def is_mine(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this is the loop."""
        return loop is self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()

    def stop(self) -> None:
        """End the loop, its tasks and their connections; the next call starts another."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        atexit.unregister(self.stop)
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=5.0)


def _settle(result: Future[T], task: asyncio.Task[T]) -> None:
    if result.cancelled() or not result.set_running_or_notify_cancel():
        if not task.cancelled():
            task.exception()  # looked at, so that the loop does not complain that nobody did
        return
    if task.cancelled():
        result.set_exception(InterruptedError("the call was cancelled: the program is ending"))
    elif (error := task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())


BACKGROUND = Background()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: BACKGROUND.__init__())  # type: ignore[misc]
