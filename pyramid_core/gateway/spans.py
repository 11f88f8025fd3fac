"""One OpenTelemetry span a query and one a call, by the GenAI conventions, where OpenTelemetry is installed.

They are made from the finished trace, with its own times, and hold no content.
Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pyramid_core.types import Answer, CallRecord, Failure, Trace

Spans = Callable[[Trace, Mapping[str, Any], "Caller"], None]

_NANO = 1_000_000_000


class Caller:
    """Who asked and when, for the spans of one query.

    Args:
        model: the name that was asked for.
        headers: of the request, which may carry the caller's own span.
    """

    def __init__(self, model: str, headers: Mapping[str, str]) -> None:
        self.model = model
        self.headers = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        self.began = time.time_ns()


def spans() -> Spans | None:
    """What makes spans of a trace; None where OpenTelemetry is not installed."""
    try:
        from opentelemetry import propagate, trace
    except ImportError:
        return None
    tracer = trace.get_tracer("pyramid_core.gateway")

    def write(found: Trace, record: Mapping[str, Any], caller: Caller) -> None:
        around = tracer.start_span(
            f"chat {caller.model}",
            context=propagate.extract(caller.headers),
            kind=trace.SpanKind.SERVER,
            start_time=caller.began,
            attributes=_told(caller, record, found),
        )
        if not around.is_recording():
            return
        within = trace.set_span_in_context(around)
        for call in found.calls:
            if call.role == "gather":
                continue
            span = tracer.start_span(
                f"chat {call.who}",
                context=within,
                kind=trace.SpanKind.CLIENT,
                start_time=caller.began + int(call.asked_at * _NANO),
                attributes=_call(call),
            )
            if isinstance(call.result, Failure):
                span.set_status(trace.Status(trace.StatusCode.ERROR, call.result.kind))
            ended = found.at if call.ended_at is None else call.ended_at
            span.end(caller.began + int(ended * _NANO))
        if found.end != "accept":
            around.set_status(trace.Status(trace.StatusCode.ERROR, found.reason))
        around.end(caller.began + int(found.at * _NANO))

    return write


def _told(caller: Caller, record: Mapping[str, Any], trace: Trace) -> dict[str, Any]:
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "pyramid",
        "gen_ai.request.model": caller.model,
        "gen_ai.response.model": record["answered_by"],
        "gen_ai.response.id": trace.query.id,
        "pyramid.verdict": record["verdict"],
        "pyramid.escalated": record["escalated"],
        "pyramid.p_fail": record["p_fail"],
        "pyramid.router": record["router"],
        "pyramid.cost_usd": record["cost"]["usd"],
        "pyramid.usage_is_sum": True,
        **_usage([call for call in trace.calls if call.role != "gather"]),
    }
    return {name: value for name, value in told.items() if value is not None}


def _call(call: CallRecord) -> dict[str, Any]:
    told: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "pyramid",
        "gen_ai.request.model": call.who,
        "pyramid.role": call.role,
        "pyramid.purpose": call.purpose,
        "pyramid.state": call.state,
        **_usage([call]),
    }
    if isinstance(call.result, Failure):
        told["error.type"] = call.result.kind
    if isinstance(call.result, Answer) and call.result.finish_reason:
        told["gen_ai.response.finish_reasons"] = [call.result.finish_reason]
    return told


def _usage(calls: list[CallRecord]) -> dict[str, int]:
    """Tokens where every answer tells them."""
    found = [call.result.usage for call in calls if isinstance(call.result, Answer)]
    told = {}
    for kind in ("input_tokens", "output_tokens"):
        counts: list[Any] = [getattr(usage, kind, None) for usage in found]
        if counts and None not in counts:
            told[f"gen_ai.usage.{kind}"] = sum(counts)
    return told
