"""Replies: what a member said in LlamaIndex's objects, as the core reads it.

What stands beside the text (usage, log-probabilities, why it ended) lies in `raw` as the provider gave it: a mapping
or an object with attributes, one for a whole reply, one for every chunk of a stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse

from pyramid_core.types import FINISH_REASONS, Answer, ToolCall, Usage

Reply = ChatResponse | CompletionResponse

INPUT_COUNTS = ("prompt_tokens", "input_tokens", "prompt_token_count", "prompt_eval_count")
OUTPUT_COUNTS = ("completion_tokens", "output_tokens", "candidates_token_count", "eval_count")


class Heard:
    """What one reply, or the chunks of one, have said beside the text."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.answer_span: tuple[int, int] | None = None
        self._entries: list[Any] = []
        self._legacy: Mapping[str, Any] | None = None

    def hear(self, reply: Reply) -> None:
        """Read one reply or chunk."""
        self.usage = usage_of(reply) or self.usage
        self.finish_reason = _finish_of(reply.raw) or self.finish_reason
        self.answer_span = _span_of(reply.raw) or self.answer_span
        found = _logprobs_in(reply.raw)
        if isinstance(found, Mapping) and "token_logprobs" in found:
            self._legacy = found
            return
        entries = (
            of(found, "content") if found is not None and not isinstance(found, (list, tuple)) else found
        )
        if isinstance(entries, (list, tuple)):
            self._entries += entries

    def answer(self, reply: Reply, *, text: str, tool_calls: tuple[ToolCall, ...]) -> Answer:
        """The answer; the reply itself rides along untouched."""
        return Answer(
            text=text,
            tool_calls=tool_calls,
            raw=reply,
            finish_reason=self.finish_reason,
            answer_span=self.answer_span,
            usage=self.usage,
            **self._logprobs(),
        )

    def _logprobs(self) -> dict[str, Any]:
        """Token log-probabilities; nothing where there are none or one is missing."""
        if self._legacy is not None:
            values, tokens = self._legacy["token_logprobs"], self._legacy.get("tokens")
        else:
            values = [of(entry, "logprob") for entry in self._entries]
            tokens = [of(entry, "token") for entry in self._entries]
        if not isinstance(values, Sequence) or not values or not all(map(_is_number, values)):
            return {}
        found: dict[str, Any] = {"logprobs": tuple(map(float, values))}
        if (
            isinstance(tokens, Sequence)
            and len(tokens) == len(values)
            and all(isinstance(t, str) for t in tokens)
        ):
            found["token_texts"] = tuple(tokens)
        if any(of(entry, "top_logprobs") for entry in self._entries):
            found["top_logprobs"] = tuple(_alternatives(of(entry, "top_logprobs")) for entry in self._entries)
        return found


def text_of(reply: Reply) -> str:
    """The text of a whole reply, or what a stream has said so far."""
    return reply.text if isinstance(reply, CompletionResponse) else reply.message.content or ""


def of(value: Any, name: str) -> Any:
    """What a mapping has under a name, or an object as an attribute; None where it has not."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def usage_of(reply: Reply) -> Usage | None:
    """Tokens read and written, from the provider's reply or from what the adapter made of it."""
    raw = reply.raw
    for source in (of(raw, "usage"), of(raw, "usage_metadata"), reply.additional_kwargs, raw):
        counts = [
            next((n for k in keys if _is_count(n := of(source, k))), None)
            for keys in (INPUT_COUNTS, OUTPUT_COUNTS)
        ]
        if counts != [None, None]:
            return Usage(input_tokens=counts[0], output_tokens=counts[1])
    return None


def _finish_of(raw: Any) -> str | None:
    """Why the answer ended, in OpenAI's words; None where the provider does not say or says something else."""
    choice = _first(of(raw, "choices"))
    for source in (choice, raw):
        for name in ("finish_reason", "stop_reason", "done_reason"):
            reason = of(source, name)
            if isinstance(reason, str):
                return FINISH_REASONS.get(reason.lower())
    return None


def _span_of(raw: Any) -> tuple[int, int] | None:
    """Where in its tokens the final answer stands, from a source that says so (the embedded models do)."""
    found = of(raw, "answer_span")
    if isinstance(found, (list, tuple)) and len(found) == 2 and all(map(_is_count, found)):
        return found[0], found[1]
    return None


def _logprobs_in(raw: Any) -> Any:
    """OpenAI's stand in a choice, Ollama's at the top."""
    found = of(_first(of(raw, "choices")), "logprobs")
    return of(raw, "logprobs") if found is None else found


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, (list, tuple)) and values else None


def _alternatives(found: Any) -> tuple[tuple[str, float], ...]:
    pairs = [(of(entry, "token"), of(entry, "logprob")) for entry in found or ()]
    return tuple(
        (token, float(value)) for token, value in pairs if isinstance(token, str) and _is_number(value)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
