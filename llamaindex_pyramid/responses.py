"""Responses: the answer that stands becomes the pyramid's own response, whole or in chunks.

What a response gains on the way out: the routing record in `additional_kwargs["pyramid"]`, and a `raw` that is plain
JSON in the shape that LlamaIndex's token counters read, with the tokens summed over every member that was asked. In
a stream all of this rides on the last chunk alone, so that nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
)

from llamaindex_pyramid.replies import INPUT_COUNTS, OUTPUT_COUNTS, Reply
from pyramid_core.types import Answer, Outcome, Token, Trace

RECORD = "pyramid"

_COUNTS = frozenset((*INPUT_COUNTS, *OUTPUT_COUNTS, "total_tokens"))
"""Where adapters put a member's own usage; the pyramid's is the sum."""


class Chat:
    """Responses of `chat` and its kin.

    Args:
        model: the name to answer under.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._said = ""

    def whole(self, outcome: Outcome, record: dict[str, Any], *, delta: str | None = None) -> ChatResponse:
        """The response with the record: the member's own message, untouched but for text that its chunks differ in."""
        answer, reply = outcome.answer, outcome.answer.raw
        message = reply.message if isinstance(reply, ChatResponse) else _spoken(answer.text)
        if (message.content or "") != answer.text:
            message = _with_text(message, answer.text)
        return ChatResponse(
            # Whoever gets the message may write into these (a memory, an agent).
            message=message.model_copy(
                update={
                    "additional_kwargs": dict(message.additional_kwargs),
                    "blocks": list(message.blocks),
                }
            ),
            delta=delta,
            **_beside(reply, outcome.trace, record, self._model),
        )

    def chunk(self, token: Token) -> ChatResponse:
        """The chunk for a token."""
        self._said += token.text
        raw = token.raw
        if isinstance(raw, ChatResponse):
            kwargs = _without_counts(raw.additional_kwargs)
            return ChatResponse(
                message=raw.message, delta=token.text, logprobs=raw.logprobs, additional_kwargs=kwargs
            )
        return ChatResponse(message=_spoken(self._said), delta=token.text)


class Completion:
    """Responses of `complete` and its kin.

    Args:
        model: the name to answer under.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._said = ""

    def whole(
        self, outcome: Outcome, record: dict[str, Any], *, delta: str | None = None
    ) -> CompletionResponse:
        """The response with the record."""
        beside = _beside(outcome.answer.raw, outcome.trace, record, self._model)
        return CompletionResponse(text=outcome.answer.text, delta=delta, **beside)

    def chunk(self, token: Token) -> CompletionResponse:
        """The chunk for a token."""
        self._said += token.text
        raw = token.raw
        return CompletionResponse(
            text=self._said,
            delta=token.text,
            logprobs=raw.logprobs if isinstance(raw, CompletionResponse) else None,
            additional_kwargs=_without_counts(raw.additional_kwargs)
            if isinstance(raw, CompletionResponse)
            else {},
        )


Shape = Chat | Completion


def usage_total(trace: Trace) -> dict[str, int] | None:
    """Tokens summed over every member that said what it used; None where none did."""
    told = [
        call.result.usage
        for call in trace.calls
        if isinstance(call.result, Answer) and call.result.usage is not None
    ]
    if not told:
        return None
    read, written = sum(u.input_tokens or 0 for u in told), sum(u.output_tokens or 0 for u in told)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _beside(reply: Reply | Any, trace: Trace, record: dict[str, Any], model: str) -> dict[str, Any]:
    """What both kinds of response have beside the text."""
    told = isinstance(reply, (ChatResponse, CompletionResponse))
    usage = usage_total(trace)
    return {
        "raw": {"model": model, **({} if usage is None else {"usage": usage}), RECORD: record},
        "logprobs": reply.logprobs if told else None,
        "additional_kwargs": {
            **(_without_counts(reply.additional_kwargs) if told else {}),
            **(usage or {}),
            RECORD: record,
        },
    }


def _without_counts(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in _COUNTS and name != RECORD}


def _spoken(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.ASSISTANT, content=text)


def _with_text(message: ChatMessage, text: str) -> ChatMessage:
    """The message with another text: its other blocks stay."""
    others = [block for block in message.blocks if block.block_type != "text"]
    return message.model_copy(update={"blocks": [*_spoken(text).blocks, *others] if text else others})
