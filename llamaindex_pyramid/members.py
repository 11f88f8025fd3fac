"""Members: a LlamaIndex LLM as the core asks it.

A member takes what it needs from the `Call` in `Query.raw` and answers with the LLM's own reply untouched. Its span
lies under the pyramid's because the core's threads and tasks copy the context; its events go to its own callback
manager. Asking and streaming, sync and async, share one preparation and one reading; only the calls differ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse, ToolCallBlock
from llama_index.core.llms import LLM
from llama_index.core.llms.llm import ToolSelection

from llamaindex_pyramid.calls import Call, call_of
from llamaindex_pyramid.replies import Heard, Reply, text_of
from llamaindex_pyramid.tools import asks_for_tools, calls_of, selections_of
from pyramid_core.errors import ContractError
from pyramid_core.prices import Price
from pyramid_core.types import UNKNOWN_COST, Answer, Query, Token, ToolCall


class PromptTooLongError(ValueError):
    """A prompt does not fit a member's context window: the member is left out, and the record says so."""


class SyncLLMMember:
    """An LLM whose asynchronous methods only call its synchronous ones: the core asks it on a thread.

    Args:
        llm: the LLM.
        name: what it is called.
        price: of its tokens; None: unknown.
    """

    def __init__(self, llm: LLM, *, name: str, price: Price | None = None) -> None:
        self.llm = llm
        self.name = name
        self.price = price
        self.window = llm.metadata.context_window
        self._reads_calls = hasattr(llm, "get_tool_calls_from_response")

    def ask(self, query: Query) -> Answer:
        """Ask the LLM on the calling thread."""
        call = self._fitting(query)
        return self._answer(getattr(self.llm, call.method)(**call.arguments()))

    def stream(self, query: Query) -> Iterator[Token | Answer]:
        """Stream the LLM on the calling thread."""
        call = self._fitting(query)
        collected = _Collected(self.name)
        for chunk in getattr(self.llm, "stream_" + call.method)(**call.arguments()):
            yield from collected.tokens(chunk)
        yield self._answer(collected.last(), collected)

    def tool_calls(self, response: ChatResponse) -> list[ToolSelection]:
        """The calls that this LLM's response asks for, as the LLM itself reads them."""
        if not self._reads_calls or not asks_for_tools(response):
            return []
        read = self.llm.get_tool_calls_from_response  # type: ignore[attr-defined]
        try:
            return list(read(response, error_on_no_tool_call=False))
        except NotImplementedError:
            return selections_of(response.message)

    def _fitting(self, query: Query) -> Call:
        """The call, if its text fits this LLM's window; counted only where it might not.

        Raises:
            PromptTooLongError: it does not fit.
        """
        call = call_of(query)
        if 0 < self.window < call.bytes_at_most and self.window < call.tokens_about:
            raise PromptTooLongError(
                f"the prompt has about {call.tokens_about} tokens, and {self.name} takes {self.window}"
            )
        return call

    def _answer(self, reply: Any, collected: _Collected | None = None) -> Answer:
        if not isinstance(reply, (ChatResponse, CompletionResponse)):
            raise ContractError(f"member {self.name!r} answered with {type(reply).__name__}, not a response")
        if collected is not None:
            heard, text = collected.heard, collected.text
        else:
            heard, text = Heard(), text_of(reply)
            heard.hear(reply)
        calls: tuple[ToolCall, ...] = ()
        if isinstance(reply, ChatResponse):
            calls = calls_of(self.tool_calls(reply))
        cost = UNKNOWN_COST if self.price is None else self.price.cost(heard.usage)
        return heard.answer(reply, text=text, tool_calls=calls, cost=cost)


class LLMMember(SyncLLMMember):
    """An LLM with asynchronous methods of its own: really cancellable."""

    async def aask(self, query: Query) -> Answer:
        """Ask the LLM on the event loop."""
        call = self._fitting(query)
        return self._answer(await getattr(self.llm, "a" + call.method)(**call.arguments()))

    async def astream(self, query: Query) -> AsyncIterator[Token | Answer]:
        """Stream the LLM on the event loop."""
        call = self._fitting(query)
        collected = _Collected(self.name)
        async for chunk in await getattr(self.llm, "astream_" + call.method)(**call.arguments()):
            for token in collected.tokens(chunk):
                yield token
        yield self._answer(collected.last(), collected)


class _Collected:
    """A stream's chunks; leading ones without substance are passed over, so that it begins with its first word."""

    def __init__(self, member: str) -> None:
        self.text = ""
        self.heard = Heard()
        self._member = member
        self._last: Reply | None = None
        self._begun = False

    def tokens(self, chunk: Any) -> Iterator[Token]:
        """What this chunk lets go."""
        if not isinstance(chunk, (ChatResponse, CompletionResponse)):
            raise ContractError(f"member {self._member!r} streamed {type(chunk).__name__}, not a response")
        delta = self._delta(chunk)
        self.text += delta
        self.heard.hear(chunk)
        self._last = chunk
        self._begun = self._begun or bool(delta) or _has_substance(chunk)
        if self._begun:
            yield Token(text=delta, raw=chunk)

    def last(self) -> Reply:
        """The last chunk, which holds the whole message.

        Raises:
            ValueError: there was none.
        """
        if self._last is None:
            raise ValueError(f"member {self._member!r} ended its stream without a chunk")
        return self._last

    def _delta(self, chunk: Reply) -> str:
        """The chunk's new text; from the text so far where the LLM leaves it out."""
        if chunk.delta is not None:
            return chunk.delta
        so_far = text_of(chunk)
        return so_far[len(self.text) :] if so_far.startswith(self.text) else ""


def _has_substance(chunk: Reply) -> bool:
    if isinstance(chunk, CompletionResponse):
        return False
    calls = any(isinstance(block, ToolCallBlock) for block in chunk.message.blocks)
    return (
        calls
        or "thinking_delta" in chunk.additional_kwargs
        or "tool_calls" in chunk.message.additional_kwargs
    )
