"""Pyramid MoA for LlamaIndex.

`PyramidLLM`, the pyramid as a LlamaIndex `LLM`, is not in this version: the package exports nothing yet. It is
here so that `pyramid-moa[llamaindex]` is a name that can be depended on, and says what it needs when it is missing.

Raises:
    MissingExtra: llama-index-core is not installed; the message names the extra that brings it.
"""

import importlib.util

from pyramid_core.errors import MissingExtra

__all__: list[str] = []


def _require_llama_index() -> None:
    """Look for llama-index-core without importing it, which costs seconds."""
    try:
        found = importlib.util.find_spec("llama_index.core") is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise MissingExtra("llama-index-core", "llamaindex")


_require_llama_index()
