"""Replies: what a member said in LlamaIndex's objects, as the core reads it.

What stands beside the text (usage, log-probabilities, why it ended) lies in `raw` as the provider gave it: a mapping
or an object with attributes, one for a whole reply, one for every chunk of a stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse

from pyramid_core.endpoints.logprobs import entries_of, read_logprobs
from pyramid_core.types import FINISH_REASONS, Answer, Cost, ToolCall, Usage

Reply = ChatResponse | CompletionResponse

INPUT_COUNTS = ("prompt_tokens", "input_tokens", "prompt_token_count", "prompt_eval_count")
OUTPUT_COUNTS = ("completion_tokens", "output_tokens", "candidates_token_count", "eval_count")


class Heard:
    """What one reply, or the chunks of one, have said beside the text."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.answer_span: tuple[int, int] | None = None
        self._told: list[Any] = []

    def hear(self, reply: Reply) -> None:
        """Read one reply or chunk."""
        raw = reply.raw
        self.usage = usage_of(reply) or self.usage
        if raw is None:  # As in a stream, where one chunk alone tells.
            return
        choice = _first(of(raw, "choices"))
        self.finish_reason = _finish_of(choice, raw) or self.finish_reason
        self.answer_span = _span_of(raw) or self.answer_span
        found = _logprobs_in(choice, raw)
        if found:
            self._told.append(found)

    def answer(self, reply: Reply, *, text: str, tool_calls: tuple[ToolCall, ...], cost: Cost) -> Answer:
        """The answer; the reply itself rides along untouched."""
        return Answer(
            text=text,
            tool_calls=tool_calls,
            raw=reply,
            finish_reason=self.finish_reason,
            answer_span=self.answer_span,
            usage=self.usage,
            cost=cost,
            **(self._logprobs() if self._told else {}),
        )

    def _logprobs(self) -> dict[str, Any]:
        """Token log-probabilities, of a stream those of all its chunks; nothing where one is missing."""
        if len(self._told) == 1:
            return read_logprobs(self._told[0])
        return read_logprobs([entry for told in self._told for entry in entries_of(told)])


def text_of(reply: Reply) -> str:
    """The text of a whole reply, or what a stream has said so far."""
    return reply.text if isinstance(reply, CompletionResponse) else reply.message.content or ""


def of(value: Any, name: str) -> Any:
    """What a mapping has under a name, or an object as an attribute; None where it has not."""
    # The first question is the usual answer; whether something is a Mapping is asked of abstract classes.
    if type(value) is dict or isinstance(value, Mapping):
        return value.get(name)
    return getattr(value, name, None)


def usage_of(reply: Reply) -> Usage | None:
    """Tokens read and written, from the provider's reply or from what the adapter made of it."""
    raw = reply.raw
    for source in (of(raw, "usage"), of(raw, "usage_metadata"), reply.additional_kwargs, raw):
        if not source:
            continue
        read, written = _count(source, INPUT_COUNTS), _count(source, OUTPUT_COUNTS)
        if read is not None or written is not None:
            return Usage(input_tokens=read, output_tokens=written)
    return None


def _count(source: Any, names: Sequence[str]) -> int | None:
    """The first of these that is there and is a number of tokens."""
    for name in names:
        found = of(source, name)
        if _is_count(found):
            return cast("int", found)
    return None


def _finish_of(choice: Any, raw: Any) -> str | None:
    """Why the answer ended, in OpenAI's words; None where the provider does not say or says something else."""
    for source in (choice, raw):
        if source is None:
            continue
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


def _logprobs_in(choice: Any, raw: Any) -> Any:
    """OpenAI's stand in a choice, Ollama's at the top."""
    found = of(choice, "logprobs")
    return of(raw, "logprobs") if found is None else found


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, (list, tuple)) and values else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
