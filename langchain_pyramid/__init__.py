"""Pyramid MoA for LangChain: `ChatPyramid` is a chat model over any chat models."""

from pyramid_core.errors import MissingExtra

try:
    import langchain_core as _langchain_core  # noqa: F401 - to say what is missing before anything else does
except ImportError as error:
    raise MissingExtra("langchain-core", "langchain") from error

from langchain_pyramid.chat import ChatPyramid
from langchain_pyramid.embedded import EmbeddedChat, embedded_chat_crowd, embedded_chat_oracle

__all__ = ["ChatPyramid", "EmbeddedChat", "embedded_chat_crowd", "embedded_chat_oracle"]
