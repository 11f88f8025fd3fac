"""Running a thread conductor to its end, alone or beside a reader, and on until the bill is complete.

A slow reader changes neither what is decided nor when: the driver runs beside it, on a thread of its own, and puts tokens
and offers into a mailbox. A reader who leaves is an interrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from pyramid_core._drive.conductor import Reader
from pyramid_core._drive.pool import THREADS
from pyramid_core._drive.threads import ThreadConductor
from pyramid_core.types import Context, Outcome, Trace

Report = Callable[[Trace], None]


def run(conductor: ThreadConductor, context: Context, report: Report) -> Outcome:
    """The outcome, on the calling thread; `report` is given the trace when no call is running any more."""
    try:
        return conductor.run(context)
    finally:
        if conductor.deliberation.settled or conductor.end is None:
            report(conductor.deliberation.trace)
        else:
            THREADS.submit(lambda: _afterwards(conductor, report), limited=False)


def _afterwards(conductor: ThreadConductor, report: Report) -> None:
    try:
        conductor.finish()
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
        item: Any = None
        try:
            THREADS.submit(drive, limited=False)
            while not isinstance(item, Outcome):
                item = mailbox.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            if not isinstance(item, Outcome | BaseException):
                conductor.interrupt(leaving)

    return items()
