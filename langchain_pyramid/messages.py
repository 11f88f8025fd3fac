"""Messages: a member's message becomes an answer, and the answer that stands becomes the pyramid's message.

What a message gains on the way out: the pyramid's own model name and id, the usage summed over every member that was
asked, and the routing record. Adding chunks joins strings and refuses floats that differ, so in a stream all of this
rides on the last chunk alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from pyramid_core.endpoints.logprobs import read_logprobs
from pyramid_core.records import routing_record
from pyramid_core.text import pieces
from pyramid_core.types import FINISH_REASONS, Answer, Failure, Outcome, Token, ToolCall, Trace, Usage

RECORD = "pyramid"

_ONCE = ("model_name", "token_usage", "usage")
"""Metadata of the answering member that the pyramid's own takes the place of."""


class Unusable(OutputParserException):
    """A member of the crowd has answered, but with nothing that could stand.

    Args:
        text: what is wrong.
        message: what it said, for the bill.
    """

    def __init__(self, text: str, message: AIMessage) -> None:
        super().__init__(text)
        self.message = message


def answer_of(message: AIMessage, *, text: str | None = None) -> Answer:
    """What a member said, as the core reads it; the message itself rides along untouched.

    Args:
        message: the member's.
        text: the joined tokens, where it was streamed.
    """
    metadata = message.response_metadata
    return Answer(
        text=_text(message) if text is None else text,
        tool_calls=(
            *(ToolCall(name=c["name"], arguments=c["args"], id=c["id"]) for c in message.tool_calls),
            *(
                ToolCall(name=c["name"] or "", arguments=c["args"] or "", id=c["id"])
                for c in message.invalid_tool_calls
            ),
        ),
        raw=message,
        answer_span=_span(metadata.get("answer_span")),
        finish_reason=finish_of(metadata),
        usage=usage_of(message.usage_metadata),
        **read_logprobs(metadata.get("logprobs")),
    )


def _text(message: AIMessage) -> str:
    return message.content if isinstance(message.content, str) else str(message.text)


def _span(found: Any) -> tuple[int, int] | None:
    """[start, end) in tokens of the final answer, where a model knows it."""
    if isinstance(found, Sequence) and len(found) == 2 and all(isinstance(place, int) for place in found):
        return found[0], found[1]
    return None


def usage_of(usage: UsageMetadata | None) -> Usage | None:
    """A message's usage in the core's words, what was read from and put into a prompt cache included."""
    if usage is None:
        return None
    details = usage.get("input_token_details") or {}
    return Usage(
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        cached_tokens=details.get("cache_read"),
        cache_write_tokens=details.get("cache_creation"),
    )


def finish_of(metadata: Mapping[str, Any]) -> str | None:
    """Why the answer ended, in OpenAI's words; None where the provider does not say or says something else."""
    for name in ("finish_reason", "stop_reason", "done_reason"):
        reason = metadata.get(name)
        if isinstance(reason, str):
            return FINISH_REASONS.get(reason.lower())
    return None


def total_usage(trace: Trace) -> UsageMetadata | None:
    """The sum over every member that said what it used, of no use or not; None where none did."""
    total: UsageMetadata | None = None
    for call in trace.calls:
        result = call.result
        raw = result.raw if isinstance(result, Answer) else None
        if isinstance(result, Failure) and isinstance(result.exception, Unusable):
            raw = result.exception.message
        if isinstance(raw, AIMessage) and raw.usage_metadata is not None:
            total = add_usage(total, raw.usage_metadata)
    return total


def message_of(outcome: Outcome, record: dict[str, Any], *, model: str, message_id: str | None) -> AIMessage:
    """The answer that stands as the pyramid's own message.

    Args:
        outcome: of the core.
        record: its routing record.
        model: the pyramid's name.
        message_id: that of the pyramid's run.
    """
    raw = outcome.answer.raw
    if isinstance(raw, AIMessageChunk):
        raw = message_chunk_to_message(raw)
    if not isinstance(raw, AIMessage):
        raw = AIMessage(outcome.answer.text)
    metadata = {name: value for name, value in raw.response_metadata.items() if name not in _ONCE}
    metadata["model_name"] = model
    metadata[RECORD] = record
    return raw.model_copy(
        update={
            "id": message_id,
            "usage_metadata": total_usage(outcome.trace),
            "response_metadata": metadata,
            # Whoever gets the message may write into these (an agent counts, a cache marks).
            "additional_kwargs": dict(raw.additional_kwargs),
        }
    )


class Chunks:
    """The pyramid's stream: tokens as they come, or the whole answer in pieces where none came, then the record.

    Args:
        model: the pyramid's name.
        message_id: that of the pyramid's run.
    """

    def __init__(self, *, model: str, message_id: str | None) -> None:
        self._model = model
        self._id = message_id
        self._live = False
        self._blocks = False

    def of(
        self, item: Token | Outcome, record: dict[str, Any] | None = None
    ) -> Iterator[ChatGenerationChunk]:
        """The chunks for what the core has handed out: none, one, or several at the end."""
        if isinstance(item, Outcome):
            yield from map(_generation, self._end(item, record or routing_record(item.trace)))
        elif isinstance(item.raw, AIMessageChunk):
            yield _generation(self._passed_on(item.raw))

    def _passed_on(self, chunk: AIMessageChunk) -> AIMessageChunk:
        """A member's chunk under the pyramid's id, without what rides on the last chunk."""
        self._live = True
        self._blocks = self._blocks or isinstance(chunk.content, list)
        metadata = {name: value for name, value in chunk.response_metadata.items() if name not in _ONCE}
        return chunk.model_copy(
            update={
                "id": self._id,
                "usage_metadata": None,
                "response_metadata": metadata,
                "chunk_position": None,
            }
        )

    def _end(self, outcome: Outcome, record: dict[str, Any]) -> Iterator[AIMessageChunk]:
        message = message_of(outcome, record, model=self._model, message_id=self._id)
        metadata = message.response_metadata
        additional: dict[str, Any] = {}
        if self._live:
            metadata = {"model_name": self._model, RECORD: metadata[RECORD]}
        else:
            additional = message.additional_kwargs
            yield from self._replayed(message)
        yield AIMessageChunk(
            content=[] if self._blocks else "",
            id=self._id,
            additional_kwargs=additional,
            usage_metadata=message.usage_metadata,
            response_metadata=metadata,
            chunk_position="last",
        )

    def _replayed(self, message: AIMessage) -> Iterator[AIMessageChunk]:
        """The message in pieces: its text by words; blocks and tool calls in one piece."""
        content = message.content
        if isinstance(content, str):
            for piece in pieces(content):
                yield AIMessageChunk(content=piece, id=self._id)
        self._blocks = isinstance(content, list)
        calls: list[tuple[str | None, str | None, str | None]] = [
            (c["name"], json.dumps(c["args"]), c["id"]) for c in message.tool_calls
        ]
        calls += [(c["name"], c["args"], c["id"]) for c in message.invalid_tool_calls]
        if self._blocks or calls:
            yield AIMessageChunk(
                content=content if self._blocks else "",
                id=self._id,
                tool_call_chunks=[
                    tool_call_chunk(name=name, args=args, id=call_id, index=index)
                    for index, (name, args, call_id) in enumerate(calls)
                ],
            )


def _generation(chunk: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=chunk)
