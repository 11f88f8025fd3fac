"""One call of the pyramid, as it travels through the core in `Query.raw`: members take from it what they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ToolCallBlock
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.tools.types import BaseTool
from llama_index.core.utils import get_tokenizer

from llamaindex_pyramid.tools import tool_of
from pyramid_core.endpoints.wire.responses import call_body
from pyramid_core.errors import InputError
from pyramid_core.text import question_in
from pyramid_core.types import Query, ToolCall

TOOL_OPTIONS = ("tool_required", "allow_parallel_tool_calls", "tool_choice")
"""Keywords that belong to the tools and mean nothing without them."""

_OWN = ("tools", "timeout", *TOOL_OPTIONS)
"""Keywords that are not handed to the members as they are."""

_ROLES = {
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.DEVELOPER: "system",
    MessageRole.FUNCTION: "tool",
}


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """What a prompt was made of, where LlamaIndex's synthesizers fill it: routers read it apart from the rest.

    Attributes:
        question: the user's own words; "" where the prompt is all there is.
        passages: what every member is given to read.
    """

    question: str = ""
    passages: tuple[str, ...] = ()


_RETRIEVED: ContextVar[Retrieved] = ContextVar("pyramid_retrieved", default=Retrieved())  # noqa: B039 - frozen


@contextmanager
def filling(prompt: BasePromptTemplate, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Remember what a prompt is filled with, while it is asked."""
    known = {**prompt.kwargs, **arguments}
    passages = tuple(str(known[name]) for name in ("context_str", "context_msg") if known.get(name))
    asked = str(known.get("query_str") or "") if passages else ""
    token = _RETRIEVED.set(Retrieved(question=asked, passages=passages))
    try:
        yield
    finally:
        _RETRIEVED.reset(token)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What the caller asked, in LlamaIndex's own objects: a conversation or a prompt.

    Attributes:
        messages: the conversation, untouched.
        prompt: the prompt, where a completion is asked for.
        formatted: whether the prompt is already in the form that a completion model wants.
        tools: on offer to every member.
        tool_options: how they are offered.
        settings: what every member is called with (temperature, max_tokens, ...).
        retrieved: what a query engine has filled its prompt with.
    """

    messages: tuple[ChatMessage, ...] = ()
    prompt: str | None = None
    formatted: bool = False
    tools: tuple[BaseTool, ...] = ()
    tool_options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    retrieved: Retrieved = field(default_factory=lambda: _RETRIEVED.get())

    @classmethod
    def chat(cls, messages: Any, keywords: Mapping[str, Any]) -> Call:
        """A conversation with the keywords of `chat`, those that offer tools set apart.

        Raises:
            InputError: there is no message, something is none, or a tool cannot be offered.
        """
        if isinstance(messages, str) or not all(isinstance(message, ChatMessage) for message in messages):
            raise InputError("messages must be a list of ChatMessages; ask a text with complete()")
        if not messages:
            raise InputError("the conversation is empty: give at least one ChatMessage")
        tools = tuple(tool_of(tool) for tool in keywords.get("tools") or ())
        options = {name: keywords[name] for name in TOOL_OPTIONS if keywords.get(name) is not None}
        return cls(
            messages=tuple(messages),
            tools=tools,
            tool_options=options if tools else {},
            settings=_settings(keywords),
        )

    @classmethod
    def completion(cls, prompt: str, keywords: Mapping[str, Any], *, formatted: bool) -> Call:
        """A prompt to complete.

        Raises:
            InputError: it is no text.
        """
        if not isinstance(prompt, str):
            raise InputError(f"prompt must be a text, not {type(prompt).__name__}; use chat() for messages")
        return cls(prompt=prompt, formatted=formatted, settings=_settings(keywords))

    @property
    def method(self) -> str:
        """The method that a member is asked by, without `a`, `stream_` or `astream_` before it."""
        if self.prompt is not None:
            return "complete"
        return "chat_with_tools" if self.tools else "chat"

    def arguments(self) -> dict[str, Any]:
        """What that method is called with; each member gets a list of its own."""
        if self.prompt is not None:
            return {"prompt": self.prompt, "formatted": self.formatted, **self.settings}
        if not self.tools:
            return {"messages": list(self.messages), **self.settings}
        return {
            "tools": list(self.tools),
            "chat_history": list(self.messages),
            **self.tool_options,
            **self.settings,
        }

    def query(self) -> Query:
        """The same as the core sees it."""
        if self.prompt is not None:
            text = self.retrieved.question or self.prompt
            return Query(text=text, context=self.retrieved.passages, raw=self)
        return Query(
            text=self.retrieved.question or question(self.messages),
            context=self.retrieved.passages,
            messages=tuple(plain(message) for message in self.messages),
            tools=tuple(tool.metadata.to_openai_tool(skip_length_check=True) for tool in self.tools),
            tool_choice=self.tool_options.get("tool_choice")
            or ("required" if self.tool_options.get("tool_required") else None),
            raw=self,
        )

    @cached_property
    def bytes_at_most(self) -> int:
        """The length of the text in bytes: no tokenizer makes more tokens of it."""
        return len(self._whole().encode("utf-8", errors="replace"))

    @cached_property
    def tokens_about(self) -> int:
        """Tokens of the text by LlamaIndex's own tokenizer, by which it also cuts prompts to size."""
        return len(get_tokenizer()(self._whole()))

    def _whole(self) -> str:
        if self.prompt is not None:
            return self.prompt
        return "\n".join(message.content or "" for message in self.messages)


def call_of(query: Query) -> Call:
    """The call that `query` carries, or one made from its text."""
    if isinstance(query.raw, Call):
        return query.raw
    tools = tuple(tool_of(tool) for tool in query.tools)
    return Call(messages=(ChatMessage(role=MessageRole.USER, content=query.text),), tools=tools)


def question(messages: Sequence[ChatMessage]) -> str:
    """What is asked, in words: the last message of the user, or the whole conversation where there is none."""
    return question_in(messages, asks=lambda m: m.role == MessageRole.USER, says=lambda m: m.content or "")


def plain(message: ChatMessage) -> dict[str, Any]:
    """A message in plain JSON, by role and content; of pictures, sounds and files only what kind they are."""
    found: dict[str, Any] = {"role": _ROLES.get(message.role, message.role.value)}
    texts = all(isinstance(block, (TextBlock, ToolCallBlock)) for block in message.blocks)
    found["content"] = message.content if texts else [_part(block) for block in message.blocks]
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if calls:
        found["tool_calls"] = [
            call_body(
                ToolCall(name=call.tool_name, arguments=call.tool_kwargs, id=call.tool_call_id),
                f"call_{place}",
            )
            for place, call in enumerate(calls)
        ]
    if isinstance(message.additional_kwargs.get("tool_call_id"), str):
        found["tool_call_id"] = message.additional_kwargs["tool_call_id"]
    return found


def _part(block: Any) -> dict[str, Any]:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    return {"type": block.block_type}


def _settings(keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if name not in _OWN}
