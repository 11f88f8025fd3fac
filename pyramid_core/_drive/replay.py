"""The replay driver: what a script says instead of members, on a clock that jumps from event to event.

Nothing waits and nothing is random, so a whole file of records replays as fast as the decisions fall. The order of
events is that of the virtual clocks: by time, then call number, then sequence, the alarm after all calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from pyramid_core._drive.conductor import AFTER_CALLS, Arrival, Conductor, Kind
from pyramid_core.commands import Ask, Gather
from pyramid_core.errors import ContractError, ReplayError
from pyramid_core.types import Context, Outcome


@dataclass(frozen=True, slots=True)
class Scripted:
    """Something that a call will bring, `after` seconds from its start.

    Attributes:
        moment: when the record's call was asked and when this came, in seconds from the record's start. A call that is
            asked at the same time gets it at the same time, to the last bit, so that ties stay ties.
    """

    after: float
    kind: Kind
    value: Any
    moment: tuple[float, float] | None = None


Script = Callable[[Ask | Gather], Sequence[Scripted]]


class ReplayConductor(Conductor):
    """Drives one deliberation from a script.

    Args:
        script: what a call will bring, in order of time.
        interrupts: when, in seconds from the start, the caller interrupts, and why.
        start: the clock at the start.
    """

    def __init__(
        self,
        *args: Any,
        script: Script,
        interrupts: Sequence[tuple[float, str]] = (),
        start: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.script = script
        self.now = self._began_at = start
        self._coming: list[tuple[float, int, int, Arrival]] = []
        self._stopped: set[int] = set()
        self._sequence = 0
        for at, reason in interrupts:
            self._push(Arrival(start + at, AFTER_CALLS, "interrupt", reason))

    def run(self, context: Context) -> Outcome:
        """The whole query, and what goes on after its end.

        Raises:
            PyramidFailed, PyramidAbstained: see `Conductor.outcome`.
            ReplayError: the record lacks an answer that is asked for.
        """
        self.start(context, self.now)
        while not self.deliberation.settled and self._jump():
            pass
        return self.outcome()

    def _jump(self) -> bool:
        while self._coming and self._out_of_date(self._coming[0][3]):
            heapq.heappop(self._coming)
        arrives = self._coming[0][0] if self._coming else inf
        if arrives == inf and self.alarm == inf:
            if self.end is not None:
                return False
            raise ContractError("deadlock: the deliberation waits, but nothing will come")
        self.now = max(self.now, min(arrives, self.alarm))
        if arrives <= self.alarm:
            self.receive(heapq.heappop(self._coming)[3])
        else:
            self.ring()
        return True

    def _out_of_date(self, arrival: Arrival) -> bool:
        """Whether it was stopped, or is the news that the record does not say how a call went that outlived the end."""
        lacking = arrival.kind == "bug" and isinstance(arrival.value, ReplayError)
        return arrival.call in self._stopped or (lacking and self.end is not None)

    def begin(self, ask: Ask) -> None:
        """Put what the record has into the future."""
        self._plan(ask)

    def begin_gather(self, gather: Gather) -> None:
        """Put what the record has into the future."""
        self._plan(gather)

    def _plan(self, command: Ask | Gather) -> None:
        for item in self.script(command):
            asked, came = item.moment or (inf, inf)
            same = self.now == self._began_at + asked
            at = self._began_at + came if same else self.now + item.after
            self._push(Arrival(at, command.call, item.kind, item.value))

    def _push(self, arrival: Arrival) -> None:
        self._sequence += 1
        heapq.heappush(self._coming, (arrival.at, arrival.call, self._sequence, arrival))

    def stop(self, call: int) -> None:
        """Drop what this call would still bring."""
        self._stopped.add(call)
