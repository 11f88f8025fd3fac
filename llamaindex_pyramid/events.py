"""Events: what a pyramid tells LlamaIndex's instrumentation beside the events that every LLM sends.

from llama_index.core.instrumentation import get_dispatcher
get_dispatcher().add_event_handler(handler)        # handler.handle(event) sees PyramidRoutingEvent
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.span import active_span_id

from pyramid_core.records import routing_record
from pyramid_core.types import Trace

_dispatcher = get_dispatcher(__name__)


class PyramidRoutingEvent(BaseEvent):
    """How a query was routed; sent once for every query, when its end is known, under the pyramid's span.

    Attributes:
        model: the pyramid's name.
        verdict: accept, escalate, abstain, or None where the rule was never asked.
        escalated: whether an oracle was asked because of a verdict.
        answered_by: the member whose answer was returned; None where none was.
        p_fail: the probability that the crowd's answer is wrong; None where it cannot be said.
        record: the whole routing record, plain JSON.
    """

    model: str
    verdict: str | None
    escalated: bool
    answered_by: str | None
    p_fail: float | None
    record: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """Its name in traces."""
        return "PyramidRoutingEvent"


def tell(trace: Trace, *, model: str, span: str | None) -> None:
    """Send the event of a query that has ended."""
    record = routing_record(trace)
    told = {name: record[name] for name in ("verdict", "escalated", "answered_by", "p_fail")}
    _dispatcher.event(PyramidRoutingEvent(model=model, span_id=span, record=record, **told))


def active_span() -> str | None:
    """The span that is open here."""
    return active_span_id.get()


@contextmanager
def under(span: str | None) -> Iterator[None]:
    """Let what starts here lie under a span that LlamaIndex has closed already: it closes a stream's before it is read."""
    token = active_span_id.set(span)
    try:
        yield
    finally:
        active_span_id.reset(token)
