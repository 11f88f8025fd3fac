"""Pyramid MoA for LlamaIndex: `PyramidLLM` is an LLM over any LLMs.

Raises:
    MissingExtra: llama-index-core is not installed; the message names the extra that brings it.
"""

from pyramid_core.errors import MissingExtra

try:
    import llama_index.core as _llama_index  # noqa: F401 - to say what is missing before anything else does
except ImportError as error:
    raise MissingExtra("llama-index-core", "llamaindex") from error

from llamaindex_pyramid.embedded import EmbeddedLLM, embedded_llm_crowd, embedded_llm_oracle
from llamaindex_pyramid.engines import PyramidQueryEngine, RecordedQueryEngine, context_similarity
from llamaindex_pyramid.events import PyramidRoutingEvent, routing_records
from llamaindex_pyramid.llm import PyramidLLM

__all__ = [
    "EmbeddedLLM",
    "PyramidLLM",
    "PyramidQueryEngine",
    "PyramidRoutingEvent",
    "RecordedQueryEngine",
    "context_similarity",
    "embedded_llm_crowd",
    "embedded_llm_oracle",
    "routing_records",
]
