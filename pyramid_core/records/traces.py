"""A trace as a record and back, exactly: what was asked, every answer, and under `deliberation` what was made of it.

Answers and failures of the crowd and the oracles are responses, numbered by `call`; what was gathered, every moment of
judgement, the policy, the frozen context and the end are under `deliberation`. Left out are `raw` objects and
exceptions, which belong to the process that saw them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from pyramid_core.errors import TraceError
from pyramid_core.records.plain import (
    from_number,
    plain,
    to_mapping,
    to_number,
    to_optional,
    to_sequence,
)
from pyramid_core.records.responses import FORMAT, answer_of, query_keys, query_of, response_of
from pyramid_core.types import (
    Answer,
    Assessment,
    CallRecord,
    ClassScore,
    Context,
    Decision,
    Failure,
    Judgement,
    Policy,
    Trace,
    Verdict,
)
from pyramid_core.types.names import unique_names

_Setting = TypeVar("_Setting", Context, Policy)


def trace_to_record(trace: Trace) -> dict[str, Any]:
    """`trace` as a record in plain JSON types; NaN is null."""
    calls = [call for call in trace.calls if call.role != "gather"]
    models = unique_names(call.who for call in calls)
    return {
        "format": FORMAT,
        **query_keys(trace.query),
        "responses": [_response(call, model) for call, model in zip(calls, models, strict=True)],
        "deliberation": {
            "router": trace.router,
            "crowd": list(trace.crowd),
            "oracles": list(trace.oracles),
            "policy": plain(asdict(trace.policy)),
            "context": plain(asdict(trace.context)),
            "judgements": [_judgement(judgement) for judgement in trace.judgements],
            "evidence": [_gathered(call) for call in trace.calls if call.role == "gather"],
            "end": trace.end,
            "reason": trace.reason,
            "answered": trace.answered,
            "at": from_number(trace.at),
            "settled": trace.settled,
            "began": trace.began,
        },
    }


def record_to_trace(record: Mapping[str, Any]) -> Trace:
    """The trace that `trace_to_record` wrote.

    Raises:
        TraceError: the record has no `deliberation` (it was not made by a pyramid), or a value is malformed.
    """
    try:
        return _trace(record)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, TraceError):
            raise
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise TraceError(f"record {record.get('id')!r} is not a complete trace: {what}") from error


def _trace(record: Mapping[str, Any]) -> Trace:
    if record.get("deliberation") is None:
        raise TraceError(
            f"record {record.get('id')!r} has no deliberation: its answers were recorded without a pyramid"
        )
    told = to_mapping(record["deliberation"], "deliberation")
    calls = [_call(to_mapping(r, "a response")) for r in to_sequence(record["responses"], "responses")]
    calls += [_gather(to_mapping(g, "evidence")) for g in to_sequence(told["evidence"], "evidence")]
    return Trace(
        query=query_of(record),
        crowd=tuple(told["crowd"]),
        oracles=tuple(told["oracles"]),
        router=told["router"],
        policy=_setting(Policy, told["policy"]),
        context=_setting(Context, told["context"]),
        calls=tuple(sorted(calls, key=lambda call: call.call)),
        judgements=tuple(_judged(to_mapping(j, "a judgement")) for j in told["judgements"]),
        end=told["end"],
        reason=told["reason"],
        answered=told["answered"],
        at=to_number(told["at"], "at"),
        settled=told["settled"],
        began=told["began"],
    )


def _response(call: CallRecord, model: str) -> dict[str, Any]:
    known = isinstance(call.result, Answer | Failure)
    response = response_of(call.result, model=model) if known else {"model": model}
    if call.who != model:
        response["who"] = call.who
    return response | {"role": call.role, "cancelled": call.state == "cancelled"} | _moments(call)


def _moments(call: CallRecord) -> dict[str, Any]:
    return {
        "call": call.call,
        "asked": call.purpose,
        "state": call.state,
        "asked_at": from_number(call.asked_at),
        "first_token_at": from_number(call.first_token_at),
        "ended_at": from_number(call.ended_at),
        "over": list(call.over),
    }


def _gathered(call: CallRecord) -> dict[str, Any]:
    """Evidence with its latency in seconds."""
    latency = None if call.ended_at is None else from_number(call.ended_at - call.asked_at)
    kept: dict[str, Any] = {"kind": call.who, "latency": latency}
    if isinstance(call.result, Failure):
        kept["error"] = response_of(call.result, model=call.who)
    else:
        kept["value"] = plain(call.result)
    return kept | _moments(call)


def _call(response: Mapping[str, Any]) -> CallRecord:
    # Without an error or a text there is no result: the call was cancelled, or nothing had come yet.
    given = response.get("error") is not None or "text" in response
    result = answer_of({**response, "cancelled": False}) if given else None
    return _call_record(
        response, role=response["role"], who=response.get("who", response["model"]), result=result
    )


def _gather(kept: Mapping[str, Any]) -> CallRecord:
    result = answer_of(kept["error"]) if "error" in kept else kept["value"]
    return _call_record(kept, role="gather", who=kept["kind"], result=result)


def _call_record(kept: Mapping[str, Any], *, role: Any, who: str, result: Any) -> CallRecord:
    return CallRecord(
        call=kept["call"],
        role=role,
        who=who,
        purpose=kept["asked"],
        state=kept["state"],
        result=result,
        asked_at=to_number(kept["asked_at"], "asked_at"),
        first_token_at=to_optional(kept["first_token_at"], "first_token_at"),
        ended_at=to_optional(kept["ended_at"], "ended_at"),
        over=tuple(kept["over"]),
    )


def _judgement(judgement: Judgement) -> dict[str, Any]:
    seen, decided = judgement.assessment, judgement.decision
    return {
        "at": from_number(judgement.at),
        "after_oracle": judgement.after_oracle,
        "assessment": {
            "chosen": seen.chosen,
            "p_fail": from_number(seen.p_fail),
            "p_right": [{"calls": list(c.calls), "p_right": from_number(c.p_right)} for c in seen.p_right],
            "p_after": {name: from_number(value) for name, value in seen.p_after.items()},
            "features": {name: from_number(value) for name, value in seen.features.items()},
            "router": seen.router,
            "notes": list(seen.notes),
        },
        "decision": {
            "verdict": str(decided.verdict),
            "oracle": decided.oracle,
            "u_stop": from_number(decided.u_stop),
            "u_esc": from_number(decided.u_esc),
            "cost_barrier": from_number(decided.cost_barrier),
            "imperfection_barrier": from_number(decided.imperfection_barrier),
            "reason": decided.reason,
            "rule": decided.rule,
        },
    }


def _judged(kept: Mapping[str, Any]) -> Judgement:
    seen, decided = to_mapping(kept["assessment"], "assessment"), to_mapping(kept["decision"], "decision")
    return Judgement(
        at=to_number(kept["at"], "at"),
        after_oracle=bool(kept["after_oracle"]),
        assessment=Assessment(
            chosen=seen["chosen"],
            p_fail=to_number(seen["p_fail"], "p_fail"),
            p_right=tuple(
                ClassScore(calls=tuple(score["calls"]), p_right=to_number(score["p_right"], "p_right"))
                for score in seen["p_right"]
            ),
            p_after={name: to_number(value, "p_after") for name, value in seen["p_after"].items()},
            features={name: to_number(value, name) for name, value in seen["features"].items()},
            router=seen["router"],
            notes=tuple(seen["notes"]),
        ),
        decision=Decision(
            verdict=Verdict(decided["verdict"]),
            oracle=decided["oracle"],
            u_stop=to_number(decided["u_stop"], "u_stop"),
            u_esc=to_number(decided["u_esc"], "u_esc"),
            cost_barrier=to_number(decided["cost_barrier"], "cost_barrier"),
            imperfection_barrier=to_number(decided["imperfection_barrier"], "imperfection_barrier"),
            reason=decided["reason"],
            rule=decided["rule"],
        ),
    )


def _setting(kind: type[_Setting], kept: Any) -> _Setting:
    """A policy or context; what a later version added is left aside, what an earlier one lacked takes its default."""
    known = {field.name for field in fields(kind)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in to_mapping(kept, kind.__name__.lower()).items()
        if name in known
    }
    return kind(**values)
