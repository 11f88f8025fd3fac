"""Members: a LangChain chat model as the core asks it.

A member takes what it needs from the `Call` in `Query.raw`, runs as a child of the pyramid's run, and answers with
the model's own message untouched. Asking and streaming, sync and async, share one preparation and one conversion;
only the four calls themselves differ.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import Runnable

from langchain_pyramid.binding import Binding, Bound, bound, models_in, name_of
from langchain_pyramid.calls import Call, call_of
from langchain_pyramid.histories import has_picture, providers_of, suited
from langchain_pyramid.messages import Unusable, answer_of
from langchain_pyramid.runs import ChildRun
from pyramid_core.errors import ContractError, InputError
from pyramid_core.prices import Price
from pyramid_core.tool_schemas import fault_of
from pyramid_core.types import Answer, Query, Token

_REMEMBERED = 8
"""Bindings that a member keeps ready: an agent binds the same tools at every step."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A member about to be called: with what, and as which run."""

    ready: Bound
    call: Call
    child: ChildRun
    messages: list[BaseMessage]

    def arguments(self) -> dict[str, Any]:
        """What the runnable's four methods are called with; a member's own `stop` stands where none is given."""
        stop = {} if self.call.stop is None else {"stop": self.call.stop}
        return {"input": self.messages, "config": self.child.config, **stop, **self.call.settings}


class SyncChatMember:
    """A chat model that has no asynchronous client of its own: the core asks it on a thread.

    Args:
        runnable: a chat model, wrapped or not.
        name: unique in the pyramid.
        role: crowd or oracle.
        prices: of its tokens, by its own name or its models'; without one it is as the model itself states it, else
            unknown.
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        name: str,
        role: Literal["crowd", "oracle"] = "crowd",
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self.runnable = runnable
        self.name = name
        self.role = role
        self._prices = _priced(runnable, name, prices or {})
        models = list(models_in(runnable))
        self._providers = frozenset[str]().union(*map(providers_of, models))
        self._blind = all((model.profile or {}).get("image_inputs") is False for model in models)
        self._bound: dict[str, Bound] = {}
        self._as_it_is = Bound(runnable=runnable, binding=Binding())

    def ask(self, query: Query) -> Answer:
        """Invoke the model on the calling thread."""
        asked = self._asked(query, CallbackManager)
        with asked.child.entered():
            message = asked.ready.runnable.invoke(**asked.arguments())
        return self._answer(message, asked)

    def stream(self, query: Query) -> Iterator[Token | Answer]:
        """Stream the model on the calling thread."""
        asked = self._asked(query, CallbackManager)
        collected = _Collected()
        chunks = asked.ready.runnable.stream(**asked.arguments())
        try:
            while True:
                with asked.child.entered():
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                yield from collected.tokens(self._checked(chunk))
        finally:
            _close(chunks)
        yield self._answer(collected.message(self.name), asked, text=collected.text)

    def bound(self, binding: Binding) -> Bound:
        """The model with this bound to it; the last few are kept.

        Raises:
            InputError: the model cannot be given that.
        """
        if binding.empty:
            return self._as_it_is
        key = binding.key()
        ready = self._bound.get(key)
        if ready is None:
            ready = bound(self.runnable, self.name, binding)
            if len(self._bound) >= _REMEMBERED:
                self._bound.clear()
            self._bound[key] = ready
        return ready

    def _asked(self, query: Query, manager: type[Any]) -> Asked:
        call = call_of(query)
        child = ChildRun(call.parent, role=self.role, member=self.name, manager=manager)
        if self._blind and has_picture(call.messages):
            raise InputError(f"member {self.name!r} cannot see pictures, and one was sent")
        messages = suited(call.messages, self._providers)
        return Asked(ready=self.bound(call.binding), call=call, child=child, messages=messages)

    def _checked(self, message: Any) -> Any:
        if not isinstance(message, AIMessage):
            raise ContractError(
                f"member {self.name!r} answered with {type(message).__name__}, not an AIMessage"
            )
        return message

    def _answer(self, message: Any, asked: Asked, *, text: str | None = None) -> Answer:
        message = self._checked(message)
        answer = answer_of(message, text=text)
        if self.role == "crowd":
            # What cannot be used is no answer. An oracle's goes out, and the caller's parser says what is wrong.
            self._check(message, answer, asked.call.binding)
        price = self._price(message.response_metadata.get("model_name"))
        return answer if price is None else replace(answer, cost=price.cost(answer.usage))

    def _check(self, message: AIMessage, answer: Answer, binding: Binding) -> None:
        """Raise where the answer cannot be used: calls that no tool takes, no call where one must be, no parsing.

        Raises:
            Unusable: why; what it has cost is not lost.
        """
        faults = (fault_of(call, binding.tools) for call in answer.tool_calls if binding.tools)
        fault = next(filter(None, faults), "")
        if not answer.tool_calls and binding.must_call:
            fault = "it was to call a tool and calls none"
        try:
            if not fault and binding.structured is not None:
                binding.structured.check(message)
        except ValueError as error:  # OutputParserException, or what pydantic raises.
            raise Unusable(str(error), message) from error
        if fault:
            raise Unusable(f"member {self.name!r} gave no answer that can be used: {fault}", message)

    def _price(self, answered: Any) -> Price | None:
        """The price of the model that has answered: of several, only the one whose name the message has."""
        if len(self._prices) == 1:
            return self._prices[0][1]
        return next((price for name, price in self._prices if is_version(answered, name)), None)


def _priced(
    member: Runnable[Any, Any], name: str, prices: Mapping[str, Price]
) -> list[tuple[str, Price | None]]:
    """Each model inside a member and what it costs; a price of the member as a whole is that of all."""
    models = list(models_in(member))
    inside = [name_of(model) for model in models]
    whole = next((prices[known] for known in (name, name_of(member)) if known in prices), None)
    if whole is not None and (len(models) == 1 or name_of(member) not in inside):
        return [(name, whole)]
    own = [price if isinstance(price := getattr(model, "price", None), Price) else None for model in models]
    return [(known, prices.get(known, stated)) for known, stated in zip(inside, own, strict=True)]


def is_version(answered: Any, model: str) -> bool:
    """Whether a model that says it is `answered` is `model`, or one of its dated versions (`gpt-4o-2024-08-06`)."""
    return (
        isinstance(answered, str) and re.fullmatch(rf"{re.escape(model)}(-\d[\d-]*)?", answered) is not None
    )


class ChatMember(SyncChatMember):
    """A chat model with an asynchronous client: really cancellable. It streams, if at all, on a thread."""

    async def aask(self, query: Query) -> Answer:
        """Invoke the model on the event loop; cancelled, its run is closed."""
        asked = self._asked(query, AsyncCallbackManager)
        with asked.child.entered():
            try:
                message = await asked.ready.runnable.ainvoke(**asked.arguments())
            except asyncio.CancelledError:
                await asked.child.close_cancelled()
                raise
        return self._answer(message, asked)


class StreamingChatMember(ChatMember):
    """A chat model whose asynchronous client streams, or that does not stream at all."""

    async def astream(self, query: Query) -> AsyncIterator[Token | Answer]:
        """Stream the model on the event loop."""
        asked = self._asked(query, AsyncCallbackManager)
        collected = _Collected()
        chunks = asked.ready.runnable.astream(**asked.arguments())
        try:
            while True:
                with asked.child.entered():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                for token in collected.tokens(self._checked(chunk)):
                    yield token
        finally:
            await _aclose(chunks)
        yield self._answer(collected.message(self.name), asked, text=collected.text)


class _Collected:
    """A stream's chunks: leading ones without substance are held back, so that a stream begins with its first word."""

    def __init__(self) -> None:
        self.text = ""
        self._chunks: list[AIMessageChunk] = []
        self._held: list[AIMessageChunk] | None = []

    def tokens(self, message: AIMessage) -> Iterator[Token]:
        """What this chunk lets go."""
        chunk = message if isinstance(message, AIMessageChunk) else _as_chunk(message)
        self._chunks.append(chunk)
        self.text += str(chunk.text)
        if self._held is not None:
            self._held.append(chunk)
            if not (chunk.content or chunk.tool_call_chunks):
                return
        for each in [chunk] if self._held is None else self._held:
            yield Token(text=str(each.text), raw=each)
        self._held = None

    def message(self, member: str) -> AIMessage:
        """The whole message."""
        if not self._chunks:
            raise ValueError(f"member {member!r} ended its stream without a chunk")
        whole = message_chunk_to_message(add_ai_message_chunks(*self._chunks))
        assert isinstance(whole, AIMessage)
        return whole


def _as_chunk(message: AIMessage) -> AIMessageChunk:
    """A whole message that came where chunks were asked for: a model without streaming."""
    return AIMessageChunk(
        content=message.content,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        id=message.id,
        usage_metadata=message.usage_metadata,
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
    )


def _close(chunks: Any) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


async def _aclose(chunks: Any) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
