"""A turn: one call of the pyramid between LangChain and the core, the same for all four ways of calling it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.utils import LC_ID_PREFIX

from langchain_pyramid.messages import RECORD, Chunks, message_of
from langchain_pyramid.runs import Parent
from pyramid_core.errors import PyramidAbstained, PyramidFailed
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import routing_judgement, routing_record
from pyramid_core.types import Outcome, Query, Trace

VERDICT = "pyramid_verdict"
"""The custom event that says what the rule said."""

_WITH_TRACE = (PyramidFailed, PyramidAbstained)

_TOLD = (
    "verdict",
    "escalated",
    "answered_by",
    "ended",
    "p_fail",
    "cost_barrier",
    "imperfection_barrier",
    "router",
    "rule",
    "saving",
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one call needs on its way in and out.

    Attributes:
        pyramid: the core's.
        query: for it.
        context: what this query brings with it (deadline).
        model: the name to answer under.
        parent: the pyramid's own run; None where nothing is traced.
        chunks: makes the stream.
    """

    pyramid: Pyramid
    query: Query
    context: Mapping[str, Any]
    model: str
    parent: Parent | None
    chunks: Chunks = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunks", Chunks(model=self.model, message_id=self.message_id))

    @property
    def message_id(self) -> str | None:
        """LangChain's id for the message of this run."""
        return f"{LC_ID_PREFIX}-{self.parent.run_id}" if self.parent is not None else None

    def ask(self) -> ChatResult:
        """The answer that stands, for `_generate`."""
        try:
            outcome = self.pyramid.ask(self.query, **self.context)
        except _WITH_TRACE as error:
            if error.trace is not None:
                self._tell(error.trace)
            raise
        return self._result(outcome, self._tell(outcome.trace))

    async def aask(self) -> ChatResult:
        """As `ask`, on the event loop."""
        try:
            outcome = await self.pyramid.aask(self.query, **self.context)
        except _WITH_TRACE as error:
            if error.trace is not None:
                await self._atell(error.trace)
            raise
        return self._result(outcome, await self._atell(outcome.trace))

    def stream(self) -> Generator[ChatGenerationChunk]:
        """The chunks, for `_stream`."""
        with closing(cast("Any", self.pyramid.stream(self.query, **self.context))) as items:
            try:
                for item in items:
                    record = self._tell(item.trace) if isinstance(item, Outcome) else None
                    yield from self.chunks.of(item, record)
            except _WITH_TRACE as error:
                if error.trace is not None:
                    self._tell(error.trace)
                raise

    async def astream(self) -> AsyncGenerator[ChatGenerationChunk]:
        """As `stream`, on the event loop."""
        async with aclosing(cast("Any", self.pyramid.astream(self.query, **self.context))) as items:
            try:
                async for item in items:
                    record = await self._atell(item.trace) if isinstance(item, Outcome) else None
                    for chunk in self.chunks.of(item, record):
                        yield chunk
            except _WITH_TRACE as error:
                if error.trace is not None:
                    await self._atell(error.trace)
                raise

    def _result(self, outcome: Outcome, record: dict[str, Any]) -> ChatResult:
        message = message_of(outcome, record, model=self.model, message_id=self.message_id)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _tell(self, trace: Trace) -> dict[str, Any]:
        """The record, put on the pyramid's own run, so that runs can be filtered by it; and every verdict, said."""
        record = routing_record(trace)
        if self.parent is not None:
            self.parent.annotate(*told_of(record))
            for verdict in verdicts(trace):
                self.parent.say(VERDICT, verdict)
        return record

    async def _atell(self, trace: Trace) -> dict[str, Any]:
        record = routing_record(trace)
        if self.parent is not None:
            self.parent.annotate(*told_of(record))
            for verdict in verdicts(trace):
                await self.parent.asay(VERDICT, verdict)
        return record


def verdicts(trace: Trace) -> list[dict[str, Any]]:
    """What the rule said and was done: on the crowd's answers, then on each oracle's; what is not known is None."""

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    decided = routing_judgement(trace)
    acted_on = [] if decided is None else [decided]
    acted_on += [judged for judged in trace.judgements if judged.after_oracle and judged is not decided]
    return [
        {
            "verdict": str(judged.decision.verdict),
            "oracle": judged.decision.oracle,
            "reason": judged.decision.reason,
            "p_fail": finite(judged.assessment.p_fail),
            "cost_barrier": finite(judged.decision.cost_barrier),
            "imperfection_barrier": finite(judged.decision.imperfection_barrier),
            "after_oracle": judged.after_oracle,
            "at": judged.at,
        }
        for judged in acted_on
    ]


def told_of(record: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What of a routing record goes onto the pyramid's own run: its metadata and tags."""
    told = {f"pyramid.{name}": record[name] for name in _TOLD if record.get(name) is not None}
    told |= {"pyramid.usage_is_sum": True, "pyramid.cost_complete": record["cost"]["complete"]}
    # What is not wholly known must not be charted as if it were.
    told["pyramid.cost_usd" if record["cost"]["complete"] else "pyramid.cost_at_least_usd"] = record["cost"][
        "usd"
    ]
    tags = [f"pyramid:{record['verdict'] or record['ended']}"]
    if record["end"] not in ("accept", record["verdict"]):
        tags.append(f"pyramid:{record['end']}")
    return told, tuple(tags)


def from_cache(message: BaseMessage) -> None:
    """Mark a message that came out of LangChain's cache: nobody was asked, nothing was paid."""
    record = message.response_metadata.get(RECORD)
    if isinstance(record, dict):
        free = {"usd": 0.0, "complete": True}
        message.response_metadata = {
            **message.response_metadata,
            RECORD: {**record, "cached": True, "cost": {**free, "crowd": dict(free), "oracle": dict(free)}},
        }
