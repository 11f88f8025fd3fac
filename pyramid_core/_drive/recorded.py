"""A record or a trace as a script for the replay driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pyramid_core._drive.conductor import Kind
from pyramid_core._drive.replay import Scripted
from pyramid_core.commands import Ask, Gather
from pyramid_core.errors import ReplayError
from pyramid_core.records import answer_of, query_of, record_to_trace
from pyramid_core.records.plain import to_mapping, to_optional, to_sequence
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
    _evidence: Mapping[str, Sequence[CallRecord]] = field(default_factory=dict, repr=False)
    _taken: Counter[tuple[type, str]] = field(default_factory=Counter, repr=False)

    def script(self, command: Ask | Gather) -> list[Scripted]:
        """What the call will bring; each recorded call is brought once.

        Raises:
            ReplayError: the record has no such answer; names it and those it has.
        """
        if isinstance(command, Ask):
            who, calls = command.member, self._calls.get(command.member, ())
        else:
            who, calls = command.kind, self._evidence.get(command.kind, ())
        number = self._taken[type(command), who]
        if number >= len(calls):
            if isinstance(command, Gather):
                return [Scripted(0.0, "failure", Failure(kind="NotRecorded", message=who))]
            raise ReplayError(self._missing(who, number))
        self._taken[type(command), who] += 1
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
    to_mapping(record, "a record")
    if record.get("deliberation") is not None:
        return _of_trace(record_to_trace(record))
    return Recording(query=query_of(record), _calls=_Responses(record))


def _of_trace(trace: Trace) -> Recording:
    calls: dict[str, list[CallRecord]] = {}
    evidence: dict[str, list[CallRecord]] = {}
    for call in trace.calls:
        (evidence if call.role == "gather" else calls).setdefault(call.who, []).append(call)
    # Why it abstained is told in the rule's own words.
    why = trace.reason.split(" ", 1)[0] if trace.end in ("accept", "fail") else ""
    interrupts = ((trace.at, why),) if why in ("enough", "left", "error") else ()
    return Recording(
        query=trace.query, context=trace.context, interrupts=interrupts, _calls=calls, _evidence=evidence
    )


class _Responses(Mapping[str, Sequence[CallRecord]]):
    """Responses by model, each parsed only when it is asked for: a record may hold thirty that are not."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        responses = to_sequence(record.get("responses") or (), "responses")
        self._by_model = {str(r.get("model")): r for r in (to_mapping(r, "a response") for r in responses)}

    def __getitem__(self, who: str) -> Sequence[CallRecord]:
        response = self._by_model[who]
        asked = to_optional(response.get("asked_at"), "asked_at") or 0.0
        cancelled = bool(response.get("cancelled"))
        result = None if cancelled else answer_of(response)
        latency = to_optional(response.get("latency"), "latency") or 0.0
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
    if call.ended_at is None or call.state == "cancelled":
        how = "had not ended" if call.ended_at is None else "was cancelled"
        problem = ReplayError(
            f"call {call.call}, of {call.who!r}, {how} when this record was made: there is no answer"
        )
        # Only where the replay waits for it longer than the record did.
        ended = call.asked_at if call.ended_at is None else call.ended_at
        return [*_first_token(call, ""), _comes(call, ended + _A_MOMENT, "bug", problem)]
    result, ended = call.result, call.ended_at
    if isinstance(result, Failure):
        return [*_first_token(call, ""), _comes(call, ended, "failure", result)]
    if call.role == "gather":
        return [_comes(call, ended, "evidence", result)]
    return [*_first_token(call, result.text), _comes(call, ended, "answer", result)]


def _comes(call: CallRecord, at: float, kind: Kind, value: Any) -> Scripted:
    return Scripted(at - call.asked_at, kind, value, moment=(call.asked_at, at))


def _first_token(call: CallRecord, text: str) -> list[Scripted]:
    """What went out live, all at once: a replay needs its time and, of an answer, that it is the answer's text."""
    if call.first_token_at is None:
        return []
    return [_comes(call, call.first_token_at, "token", Token(text=text))]
