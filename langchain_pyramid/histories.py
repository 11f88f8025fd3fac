"""Histories: a conversation that several providers have taken part in, as one of them can read it.

A turn that another provider has written carries what only that provider understands: thinking with its signature,
response ids to go on from, calls of its server's own tools. Such a turn is reduced to what every provider reads, its
text, its tool calls and its pictures. A member's own provider's turns stay whole: thinking must come back to whom it was
signed for. Marks for a prompt cache stay for providers that know them, and would be an error elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

PROVIDER = "model_provider"

_ALSO = {
    "amazon_bedrock": ("bedrock", "bedrock_converse"),
    "azure": ("openai", "azure_openai"),
    "google_genai": ("google_vertexai",),
    "google_vertexai": ("google_genai",),
}
"""What a provider that traces call by the one name writes into its messages under another."""

_KNOW_MARKS = {
    "anthropic",
    "amazon_bedrock",
    "bedrock",
    "bedrock_converse",
    "google_anthropic_vertex",
    "google_vertexai",
    "litellm",
    "openrouter",
}
_MARK, _MARK_BLOCKS = "cache_control", ("cachePoint", "cache_point")

_PICTURES = ("image", "image_url", "input_image")


def providers_of(model: BaseChatModel) -> frozenset[str]:
    """The names that a chat model's provider goes by."""
    told = model._get_ls_params().get("ls_provider")  # noqa: SLF001 - how LangChain itself says who provides
    return frozenset((told, *_ALSO.get(told, ()))) if told else frozenset()


def suited(messages: Sequence[BaseMessage], providers: frozenset[str]) -> list[BaseMessage]:
    """The conversation for a member; messages that need no change are the very ones that came in.

    Args:
        messages: the conversation.
        providers: the names of the member's own provider.
    """
    marks = bool(providers & _KNOW_MARKS)
    return [_suited(message, providers, marks=marks) for message in messages]


def _suited(message: BaseMessage, providers: frozenset[str], *, marks: bool) -> BaseMessage:
    if isinstance(message, AIMessage) and _is_foreign(message, providers):
        return AIMessage(
            content=_content(message),
            name=message.name,
            tool_calls=message.tool_calls,
            invalid_tool_calls=message.invalid_tool_calls,
        )
    if marks or isinstance(message.content, str) or not any(map(_is_marked, message.content)):
        return message
    blocks = [_unmarked(block) for block in message.content if not _is_mark(block)]
    return message.model_copy(update={"content": blocks})


def _is_foreign(message: AIMessage, providers: frozenset[str]) -> bool:
    """Whether somebody else has written this turn, and has left in it what is not for every reader."""
    told = message.response_metadata.get(PROVIDER)
    if told in providers:
        return False
    plain = isinstance(message.content, str) and not message.additional_kwargs
    own_id = message.id is None or message.id.startswith(("lc_", "run-"))
    return not (plain and own_id and "id" not in message.response_metadata)


def _content(message: AIMessage) -> str | list[str | dict[Any, Any]]:
    """The text alone where there is nothing else to see."""
    text = str(message.text)
    if isinstance(message.content, str):
        return text
    pictures: list[str | dict[Any, Any]] = [block for block in message.content if _is_picture(block)]
    return [{"type": "text", "text": text}, *pictures] if pictures else text


def _is_mark(block: Any) -> bool:
    return isinstance(block, dict) and any(name in block for name in _MARK_BLOCKS)


def _is_marked(block: Any) -> bool:
    return isinstance(block, dict) and (_MARK in block or _is_mark(block))


def _unmarked(block: Any) -> Any:
    return {k: v for k, v in block.items() if k != _MARK} if isinstance(block, dict) else block


def _is_picture(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") in _PICTURES


def has_picture(messages: Sequence[BaseMessage]) -> bool:
    """Whether a message shows a picture."""
    return any(_is_picture(block) for m in messages if not isinstance(m.content, str) for block in m.content)
