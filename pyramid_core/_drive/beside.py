"""Running a conductor to its end, alone or beside a reader, and after the end until the bill is complete.

A slow reader changes neither what is decided nor when: the driver runs beside it, on a task or a thread of its own,
and puts tokens and offers into a mailbox. A reader who leaves is an interrupt.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from queue import SimpleQueue
from typing import Any

from pyramid_core._drive.conductor import Reader
from pyramid_core._drive.pool import THREADS
from pyramid_core._drive.tasks import TaskConductor
from pyramid_core._drive.threads import ThreadConductor
from pyramid_core.types import Context, Outcome, Trace

Report = Callable[[Trace], None]

_AFTERWARDS: set[asyncio.Task[None]] = set()
"""The event loop keeps only weak references to its tasks."""


def run(conductor: ThreadConductor, context: Context, report: Report) -> Outcome:
    """The outcome, on the calling thread; `report` is given the trace when no call is running any more."""
    try:
        return conductor.run(context)
    finally:
        if conductor.deliberation.settled or conductor.end is None:
            report(conductor.deliberation.trace)
        else:
            THREADS.submit(lambda: _afterwards(conductor, report))


def _afterwards(conductor: ThreadConductor, report: Report) -> None:
    try:
        conductor.finish()
    finally:
        report(conductor.deliberation.trace)


async def arun(conductor: TaskConductor, context: Context, report: Report) -> Outcome:
    """As `run`, on the running loop; a call that goes on after the end dies with the loop, and the trace says so."""
    try:
        return await conductor.run(context)
    finally:
        if conductor.deliberation.settled or conductor.end is None:
            report(conductor.deliberation.trace)
        else:
            task = asyncio.get_running_loop().create_task(_aafterwards(conductor, report))
            _AFTERWARDS.add(task)
            task.add_done_callback(_AFTERWARDS.discard)


async def _aafterwards(conductor: TaskConductor, report: Report) -> None:
    try:
        await conductor.finish()
    finally:
        report(conductor.deliberation.trace)


def read(
    make: Callable[[Reader], ThreadConductor], context: Context, report: Report, *, leaving: str
) -> Iterator[Any]:
    """Tokens or offers as they come, then the outcome; `leaving` is what a reader's leaving means.

    Args:
        make: gives the conductor for a reader; called at once, so that bad input is raised before the first item.
        context: of the query.
        report: as in `run`.
        leaving: the reason of the interrupt.
    """
    mailbox: SimpleQueue[Any] = SimpleQueue()
    conductor = make(mailbox.put)

    def drive() -> None:
        try:
            mailbox.put(run(conductor, context, report))
        except BaseException as error:  # noqa: BLE001 - raised again where the reader is
            mailbox.put(error)

    def items() -> Iterator[Any]:
        THREADS.submit(drive)
        item: Any = None
        try:
            while not isinstance(item, Outcome):
                item = mailbox.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            if not isinstance(item, Outcome | BaseException):
                conductor.interrupt(leaving)

    return items()


def aread(
    make: Callable[[Reader], TaskConductor], context: Context, report: Report, *, leaving: str
) -> AsyncIterator[Any]:
    """As `read`, on the running loop."""
    mailbox: asyncio.Queue[Any] = asyncio.Queue()
    conductor = make(mailbox.put_nowait)

    async def items() -> AsyncIterator[Any]:
        task = asyncio.get_running_loop().create_task(arun(conductor, context, report))
        task.add_done_callback(lambda _: mailbox.put_nowait(None))
        try:
            while (item := await mailbox.get()) is not None:
                yield item
            yield task.result()
        finally:
            if not task.done():
                conductor.interrupt(leaving)
                await asyncio.gather(task, return_exceptions=True)

    return items()
