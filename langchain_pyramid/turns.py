"""A turn: one call of the pyramid between LangChain and the core, the same for all four ways of calling it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.utils import LC_ID_PREFIX

from langchain_pyramid.messages import RECORD, Chunks, message_of
from langchain_pyramid.runs import Parent
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Outcome, Query, Token

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

    def result(self, outcome: Outcome) -> ChatResult:
        """The answer that stands, for `_generate`."""
        message = message_of(outcome, model=self.model, message_id=self.message_id)
        self._tell(message)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def streamed(self, item: Token | Outcome) -> Iterator[ChatGenerationChunk]:
        """The chunks for what the core hands out, for `_stream`."""
        for chunk in self.chunks.of(item):
            if isinstance(item, Outcome) and RECORD in chunk.message.response_metadata:
                self._tell(chunk.message)
            yield chunk

    def _tell(self, message: BaseMessage) -> None:
        """Put the record on the pyramid's own run, so that runs can be filtered by it."""
        if self.parent is None:
            return
        self.parent.annotate(*told_of(message.response_metadata[RECORD]))


def told_of(record: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What of a routing record goes onto the pyramid's own run: its metadata and tags."""
    told = {f"pyramid.{name}": record[name] for name in _TOLD if record.get(name) is not None}
    told |= {"pyramid.usage_is_sum": True, "pyramid.cost_usd": record["cost"]["usd"]}
    told["pyramid.cost_complete"] = record["cost"]["complete"]
    return told, (f"pyramid:{record['verdict'] or record['ended']}",)


def from_cache(message: BaseMessage) -> None:
    """Mark a message that came out of LangChain's cache: nobody was asked, nothing was paid."""
    record = message.response_metadata.get(RECORD)
    if isinstance(record, dict):
        free = {"usd": 0.0, "complete": True}
        message.response_metadata = {
            **message.response_metadata,
            RECORD: {**record, "cached": True, "cost": {**free, "crowd": dict(free), "oracle": dict(free)}},
        }
