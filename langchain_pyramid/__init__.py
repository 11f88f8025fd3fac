"""Pyramid MoA for LangChain: `ChatPyramid` is a chat model over any chat models.

`PyramidRunnable` is the same over any runnables, `PyramidMiddleware` brings a crowd into an agent (it needs the extra
`agents`, and is imported when it is asked for).
"""

from typing import TYPE_CHECKING, Any

from pyramid_core.errors import MissingExtra

try:
    import langchain_core as _langchain_core  # noqa: F401 - to say what is missing before anything else does
except ImportError as error:
    raise MissingExtra("langchain-core", "langchain") from error

from langchain_pyramid.chat import ChatPyramid
from langchain_pyramid.embedded import EmbeddedChat, embedded_chat_crowd, embedded_chat_oracle
from langchain_pyramid.runnable import PyramidRunnable

if TYPE_CHECKING:
    from langchain_pyramid.middleware import PyramidMiddleware

__all__ = [
    "ChatPyramid",
    "EmbeddedChat",
    "PyramidMiddleware",
    "PyramidRunnable",
    "embedded_chat_crowd",
    "embedded_chat_oracle",
]


def __getattr__(name: str) -> Any:
    if name == "PyramidMiddleware":
        from langchain_pyramid.middleware import PyramidMiddleware

        return PyramidMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
