"""A record or a trace as a script for the replay driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pyramid_core._drive.replay import Scripted
from pyramid_core.commands import Ask, Gather
from pyramid_core.errors import ReplayError
from pyramid_core.records import answer_of, query_of, record_to_trace
from pyramid_core.types import CallRecord, Context, Failure, Query, Token, Trace

_A_MOMENT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a record says of one query.

    Attributes:
        query: what was asked.
        context: as it was frozen; None where no pyramid made the record.
        interrupts: when the caller interrupted, and why.
    """

    query: Query
    context: Context | None = None
    interrupts: tuple[tuple[float, str], ...] = ()
    _calls: Mapping[str, Sequence[CallRecord]] = field(repr=False)
    _taken: dict[str, int] = field(default_factory=dict, repr=False)

    def script(self, command: Ask | Gather) -> list[Scripted]:
        """What the call will bring; each recorded call is brought once.

        Raises:
            ReplayError: the record has no such answer; names it and those it has.
        """
        who = command.member if isinstance(command, Ask) else command.kind
        number = self._taken.get(who, 0)
        calls = self._calls.get(who, ())
        if number >= len(calls):
            if isinstance(command, Gather):
                return [Scripted(0.0, "failure", Failure(kind="NotRecorded", message=who))]
            raise ReplayError(self._missing(who, number))
        self._taken[who] = number + 1
        return _scripted(calls[number])

    def _missing(self, who: str, number: int) -> str:
        if number:
            return f"record {self.query.id!r} has {number} answers of {who!r}, and a further one is asked for"
        near = get_close_matches(who, self._calls, n=3) or sorted(self._calls)
        return f"record {self.query.id!r} has no answer of {who!r}; it has {near}"


def recording(record: Mapping[str, Any] | Trace) -> Recording:
    """What `record` says, whether a pyramid made it or its answers were recorded without one.

    Raises:
        TraceError: it is malformed.
    """
    if isinstance(record, Trace):
        return _of_trace(record)
    if record.get("deliberation") is not None:
        return _of_trace(record_to_trace(record))
    return Recording(query=query_of(record), _calls=_Responses(record))


def _of_trace(trace: Trace) -> Recording:
    calls: dict[str, list[CallRecord]] = {}
    for call in trace.calls:
        calls.setdefault(call.who, []).append(call)
    ended = trace.reason.split(" ", 1)[0]
    interrupts = ((trace.at, ended),) if ended in ("enough", "left", "error") else ()
    return Recording(query=trace.query, context=trace.context, interrupts=interrupts, _calls=calls)


class _Responses(Mapping[str, Sequence[CallRecord]]):
    """Responses by model, each parsed only when it is asked for: a record may hold thirty that are not."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._by_model = {str(r.get("model")): r for r in record.get("responses") or ()}

    def __getitem__(self, who: str) -> Sequence[CallRecord]:
        response = self._by_model[who]
        asked = float(response.get("asked_at") or 0.0)
        cancelled = bool(response.get("cancelled"))
        result = None if cancelled else answer_of(response)
        latency = float(response.get("latency") or 0.0)
        return [
            CallRecord(
                call=0,
                role="crowd",
                who=who,
                purpose="policy",
                state="cancelled" if cancelled else "done",
                result=result,
                asked_at=asked,
                ended_at=asked + latency,
            )
        ]

    def __iter__(self) -> Any:
        return iter(self._by_model)

    def __len__(self) -> int:
        return len(self._by_model)


def _scripted(call: CallRecord) -> list[Scripted]:
    after = 0.0 if call.ended_at is None else call.ended_at - call.asked_at
    if call.state == "cancelled" or call.ended_at is None:
        problem = ReplayError(
            f"the answer of {call.who!r} (call {call.call}) was cancelled when this record was made: there is none"
        )
        # Only where the replay waits for it longer than the record did.
        return [Scripted(after + _A_MOMENT, "bug", problem)]
    if call.role == "gather":
        return [Scripted(after, "failure" if isinstance(call.result, Failure) else "evidence", call.result)]
    if isinstance(call.result, Failure):
        return [*_first_token(call, ""), Scripted(after, "failure", call.result)]
    return [*_first_token(call, call.result.text), Scripted(after, "answer", call.result)]


def _first_token(call: CallRecord, text: str) -> list[Scripted]:
    if call.first_token_at is None:
        return []
    return [Scripted(call.first_token_at - call.asked_at, "token", Token(text=text))]
