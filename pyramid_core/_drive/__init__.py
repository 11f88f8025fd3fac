"""Drivers: they run a deliberation against tasks, threads or a record, and contain no decision of their own.

The asyncio driver is in `tasks` and `aside`, imported by those who await.
"""

from pyramid_core._drive.beside import read, run
from pyramid_core._drive.conductor import Gatherer, Reader
from pyramid_core._drive.pool import cancel_event
from pyramid_core._drive.recorded import recording
from pyramid_core._drive.replay import ReplayConductor, Script, Scripted
from pyramid_core._drive.threads import ThreadConductor

__all__ = [
    "Gatherer",
    "Reader",
    "ReplayConductor",
    "Script",
    "Scripted",
    "ThreadConductor",
    "cancel_event",
    "read",
    "recording",
    "run",
]
