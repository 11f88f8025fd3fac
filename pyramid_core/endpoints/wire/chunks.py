"""A completion in chunks, as server-sent events: read piece by piece, and written.

    Events       bytes -> the data of each event
    Collector    data -> tokens, then the answer
    Chunks       tokens, then the answer -> chunks;  `event`: a chunk -> bytes

A stream is complete when it said `[DONE]` or why it ended; servers exist that leave out either, and one that says
neither was cut off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyramid_core.endpoints.logprobs import entries_of, read_logprobs
from pyramid_core.endpoints.wire.responses import (
    call_of,
    calls_body,
    finish_body,
    finish_of,
    logprobs_body,
    read_error,
    text_of,
    usage_body,
    usage_of,
)
from pyramid_core.errors import EndpointGarbled, EndpointRefused
from pyramid_core.types import Answer, Token, Usage

DONE = b"data: [DONE]\n\n"


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event with `data` in it."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


class Events:
    """Server-sent events out of bytes that may be cut anywhere; comments and fields but `data` are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of each event that `piece` completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [data for line in lines if (data := self._line(line.removesuffix(b"\r"))) is not None]

    def close(self) -> list[bytes]:
        """The data of an event that the end of the stream completes, though no empty line does."""
        last = [self._line(self._rest.removesuffix(b"\r")), self._line(b"")]
        self._rest = b""
        return [data for data in last if data is not None]

    def _line(self, line: bytes) -> bytes | None:
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            return None
        data, self._data = b"\n".join(self._data), []
        return data or None


class Collector:
    """The chunks of one completion: `feed` gives the tokens, `answer` the whole."""

    def __init__(self) -> None:
        self.done = False
        self._texts: list[str] = []
        self._entries: list[Any] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._ended = False
        self._refused = False

    def feed(self, data: bytes) -> Token | None:
        """The token in one event's data, if there is one.

        Raises:
            EndpointGarbled: the data are no chunk.
            EndpointRefused: they are an error, which servers send when it is too late for a status.
        """
        if data == b"[DONE]":
            self.done = True
            return None
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise EndpointGarbled(f"an event of the stream is not JSON: {_shown(data)}") from error
        if not isinstance(chunk, Mapping):
            raise EndpointGarbled(f"an event of the stream is not an object: {_shown(data)}")
        if chunk.get("error"):
            message, code = read_error(chunk)
            raise EndpointRefused(f"the stream broke off with an error: {message or _shown(data)}", code=code)
        self._usage = usage_of(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping) or choice.get("index", 0) != 0:
            return None
        return self._choice(choice)

    def _choice(self, choice: Mapping[str, Any]) -> Token | None:
        if choice.get("finish_reason") is not None:
            self._ended = True
            self._finish = finish_of(choice["finish_reason"])
        if choice.get("logprobs") is not None:
            self._entries += entries_of(choice["logprobs"])
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return None
        calls = delta.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, Mapping):
                self._call(call, place)
        text, refused = text_of(delta)
        self._refused |= refused
        if not text:
            return None
        self._texts.append(text)
        return Token(text=text, raw=choice)

    def _call(self, call: Mapping[str, Any], place: int) -> None:
        index = call.get("index")
        whole = self._calls.setdefault(index if isinstance(index, int) else place, {"function": {}})
        if isinstance(call.get("id"), str):
            whole["id"] = call["id"]
        function, said = call.get("function"), whole["function"]
        if isinstance(function, Mapping):
            if isinstance(function.get("name"), str):
                said["name"] = said.get("name", "") + function["name"]
            arguments = function.get("arguments")
            if isinstance(arguments, str):
                said["arguments"] = said.get("arguments", "") + arguments
            elif isinstance(arguments, Mapping):
                said["arguments"] = arguments

    def answer(self) -> Answer:
        """The whole answer; its text is the sum of the tokens.

        Raises:
            EndpointGarbled: the stream was cut off.
        """
        if not (self.done or self._ended):
            said = f"after {len(self._texts)} tokens" if self._texts else "before the first token"
            raise EndpointGarbled(
                f"the stream ended {said}, without [DONE] or a finish_reason", retryable=True
            )
        return Answer(
            text="".join(self._texts),
            tool_calls=tuple(call_of(call) for _, call in sorted(self._calls.items())),
            finish_reason="content_filter" if self._refused else self._finish,
            usage=self._usage,
            **read_logprobs(self._entries),
        )


class Chunks:
    """The chunks of one completion, in order: `first`, `token`s, `last`."""

    def __init__(self, *, model: str, id: str, created: int, include_usage: bool = False) -> None:  # noqa: A002
        self._head: dict[str, Any] = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._include_usage = include_usage

    def first(self) -> dict[str, Any]:
        """The chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def token(self, token: Token) -> dict[str, Any]:
        """A piece of text."""
        return self._chunk({"content": token.text})

    def last(
        self, answer: Answer, *, usage: Usage | None = None, logprobs: bool = False, **extra: Any
    ) -> list[dict[str, Any]]:
        """What follows the text: log-probabilities, tool calls, why it ended, and the usage where it was wanted.

        Args:
            answer: the whole.
            usage: to report; by default the answer's own.
            logprobs: whether the caller asked for them; they are known only now, and come in one chunk.
            extra: further keys for the very last chunk (`pyramid`: the routing record).
        """
        chunks = []
        told = logprobs_body(answer) if logprobs else None
        if told is not None:
            chunks.append(self._chunk({"content": ""}, logprobs=told))
        if answer.tool_calls:
            calls = [{"index": i, **call} for i, call in enumerate(calls_body(answer, self._head["id"]))]
            chunks.append(self._chunk({"tool_calls": calls}))
        chunks.append(self._chunk({}, finish_reason=finish_body(answer)))
        if self._include_usage:
            counted = usage_body(answer.usage if usage is None else usage)
            chunks.append({**self._head, "choices": [], "usage": counted})
        chunks[-1] |= extra
        return chunks

    def _chunk(self, delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
        whole = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **choice}
        return {**self._head, "choices": [whole]}


def _shown(data: bytes, limit: int = 80) -> str:
    text = data.decode(errors="replace")
    return text if len(text) <= limit else f"{text[:limit]}..."
