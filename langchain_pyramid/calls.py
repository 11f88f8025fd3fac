"""One call of the pyramid, as it travels through the core in `Query.raw`: members take from it what they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_pyramid.binding import BOUND_NAMES, Binding
from langchain_pyramid.runs import Parent
from pyramid_core.endpoints.wire.responses import call_body
from pyramid_core.errors import InputError
from pyramid_core.text import question_in
from pyramid_core.types import Query, ToolCall

STRUCTURED = "pyramid_structured"
"""The call setting that carries a `Structured`; it never leaves this package."""

PARENT = "pyramid_parent"
"""The call setting that carries the run of a stream, for which LangChain passes no run manager on."""

PRIVATE = (STRUCTURED, PARENT)

_OWN = (*PRIVATE, "model", "timeout", "max_retries", "api_key", "stream", "streaming")
"""Call settings that are the pyramid's own affair and are not handed to its members."""

_ROLES = (
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (SystemMessage, "system"),
    (ToolMessage, "tool"),
    (FunctionMessage, "function"),
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What the caller asked, in LangChain's own objects.

    Attributes:
        messages: the conversation.
        stop: where answers end, or None.
        settings: what every member is called with (temperature, max_tokens, ...).
        binding: what is bound to every member.
        parent: the pyramid's own run; None where nothing is traced.
    """

    messages: tuple[BaseMessage, ...]
    stop: list[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    binding: Binding = field(default_factory=Binding)
    parent: Parent | None = None

    @classmethod
    def of(
        cls,
        messages: Sequence[BaseMessage],
        *,
        stop: list[str] | None,
        settings: Mapping[str, Any],
        parent: Parent | None,
    ) -> Call:
        """The call with these settings, those that are bound set apart from those that are passed on."""
        binding = Binding(
            tools=tuple(settings.get("tools") or ()),
            tool_choice=settings.get("tool_choice"),
            options={name: settings[name] for name in BOUND_NAMES if settings.get(name) is not None},
            structured=settings.get(STRUCTURED),
        )
        own = (*_OWN, *BOUND_NAMES, "tools", "tool_choice")
        return cls(
            messages=tuple(messages),
            stop=stop,
            settings={name: value for name, value in settings.items() if name not in own},
            binding=binding,
            parent=parent,
        )

    def query(self) -> Query:
        """The same as the core sees it.

        Raises:
            InputError: no message says anything.
        """
        if all(map(_blank, self.messages)):
            raise InputError("the prompt is empty: give at least one message that says something")
        return Query(
            text=question(self.messages),
            messages=tuple(plain(message) for message in self.messages),
            tools=self.binding.tools,
            tool_choice=self.binding.tool_choice,
            answer_type="fields" if self.binding.by_schema else None,
            raw=self,
        )


def call_of(query: Query) -> Call:
    """The call that `query` carries, or one made from its text."""
    if isinstance(query.raw, Call):
        return query.raw
    return Call(messages=(HumanMessage(query.text),), binding=Binding(tools=query.tools))


def check_stop(stop: Any) -> None:
    """Raise unless `stop` is None or a list of texts.

    Raises:
        InputError: says what it is.
    """
    listed = isinstance(stop, (list, tuple)) and all(isinstance(each, str) for each in stop)
    if stop is not None and not listed:
        raise InputError(f"stop must be a list of texts, not {stop!r}")


def _blank(message: BaseMessage) -> bool:
    content = message.content
    said = content.strip() if isinstance(content, str) else content
    return not said and not getattr(message, "tool_calls", None)


def question(messages: Sequence[BaseMessage]) -> str:
    """What is asked, in words: the last human message, or the whole conversation where there is none."""
    return question_in(messages, asks=lambda m: isinstance(m, HumanMessage), says=lambda m: str(m.text))


def plain(message: BaseMessage) -> dict[str, Any]:
    """A message in plain JSON, by role and content; tool calls as OpenAI writes them."""
    known = (role for kind, role in _ROLES if isinstance(message, kind))
    role = next(known, None) or getattr(message, "role", message.type)
    found: dict[str, Any] = {"role": role, "content": message.content}
    if isinstance(message, AIMessage) and message.tool_calls:
        found["tool_calls"] = [
            call_body(ToolCall(name=call["name"], arguments=call["args"], id=call["id"]), f"call_{place}")
            for place, call in enumerate(message.tool_calls)
        ]
    if isinstance(message, ToolMessage):
        found["tool_call_id"] = message.tool_call_id
    return found
