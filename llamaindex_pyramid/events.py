"""Events: what a pyramid tells LlamaIndex's instrumentation beside the events that every LLM sends.

from llama_index.core.instrumentation import get_dispatcher
get_dispatcher().add_event_handler(handler)        # handler.handle(event) sees PyramidRoutingEvent
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import NullEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.span import active_span_id

from pyramid_core.errors import PyramidAbstained, PyramidFailed
from pyramid_core.records import routing_record
from pyramid_core.types import Trace

_dispatcher = get_dispatcher(__name__)

_RECORDS: ContextVar[list[dict[str, Any]] | None] = ContextVar("pyramid_routing_records", default=None)


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


def tell(trace: Trace, *, model: str, span: str | None) -> dict[str, Any]:
    """Send the event of a query that has ended; returns its routing record."""
    record = routing_record(trace)
    collecting = _RECORDS.get()
    if collecting is not None:
        collecting.append(record)
    if _is_heard():
        told = {name: record[name] for name in ("verdict", "escalated", "answered_by", "p_fail")}
        _dispatcher.event(PyramidRoutingEvent(model=model, span_id=span, record=record, **told))
    return record


def _is_heard() -> bool:
    """Whether anybody listens: an event that nobody reads is not worth its making at every query."""
    at: Any = _dispatcher
    while at is not None:
        if not all(isinstance(handler, NullEventHandler) for handler in at.event_handlers):
            return True
        at = at.parent if at.propagate else None
    return False


@contextmanager
def routing_records() -> Iterator[list[dict[str, Any]]]:
    """The records of every pyramid asked meanwhile, in threads and tasks started here as well, in order of their ends.

        with routing_records() as records:
            response = query_engine.query("...")

    A pyramid inside another one is in the outer one's record, so it is not collected a second time.
    """
    collected: list[dict[str, Any]] = []
    token = _RECORDS.set(collected)
    try:
        yield collected
    finally:
        _RECORDS.reset(token)


def active_span() -> str | None:
    """The span that is open here."""
    return active_span_id.get()


@contextmanager
def inside(span: str | None) -> Iterator[None]:
    """Let the members that start here lie under a span, and keep the records of pyramids among them to themselves.

    LlamaIndex closes a stream's span before the stream is read, so that the span is not simply the open one.
    """
    spanned, collecting = active_span_id.set(span), _RECORDS.set(None)
    try:
        yield
    finally:
        _RECORDS.reset(collecting)
        active_span_id.reset(spanned)


@contextmanager
def told(*, model: str, span: str | None) -> Iterator[None]:
    """Send the event of a query that ends without an answer."""
    try:
        yield
    except (PyramidFailed, PyramidAbstained) as error:
        tell(error.trace, model=model, span=span)
        raise
