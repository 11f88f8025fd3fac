"""As `beside`, on the running event loop: a task instead of a thread.

asyncio is a good part of what this package costs to import, so the modules that need it are imported by those who
await.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from pyramid_core._drive.beside import Report
from pyramid_core._drive.conductor import Reader
from pyramid_core._drive.tasks import TaskConductor
from pyramid_core.types import Context, Outcome

_AFTERWARDS: set[asyncio.Task[None]] = set()
"""The event loop keeps only weak references to its tasks."""


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
