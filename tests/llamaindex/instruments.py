"""Instruments: a recorder of events and spans, and a tiny embedding that needs no weights."""

import zlib
from contextlib import contextmanager

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field


class Events(BaseEventHandler):
    heard: list = Field(default_factory=list)

    @classmethod
    def class_name(cls):
        return "Events"

    def handle(self, event, **kwargs):
        self.heard.append(event)


class Spans(SimpleSpanHandler):
    entered: list = Field(default_factory=list)

    def new_span(self, *args, **kwargs):
        span = super().new_span(*args, **kwargs)
        self.entered.append(span)
        return span


class Recording:
    """What was told while it ran."""

    def __init__(self):
        self._events, self._spans = Events(), Spans()

    @property
    def handlers(self):
        return self._events, self._spans

    @property
    def events(self):
        return self._events.heard

    @property
    def spans(self):
        """All spans, in the order in which they were entered."""
        return self._spans.entered

    @property
    def open(self):
        return list(self._spans.open_spans)

    @property
    def dropped(self):
        return [span.id_ for span in self._spans.dropped_spans]

    def of(self, kinds, llm):
        """Events of these classes that lie in a span of the LLM's own class."""
        own = type(llm).__name__ + "."
        return [e for e in self.events if isinstance(e, kinds) and (e.span_id or "").startswith(own)]

    def spans_of(self, llm):
        return [span for span in self.spans if span.id_.startswith(type(llm).__name__ + ".")]

    def named(self, start):
        return [span for span in self.spans if span.id_.startswith(start)]


@contextmanager
def recording():
    """Listen at the root dispatcher."""
    root = get_dispatcher()
    recorded = Recording()
    events, spans = recorded.handlers
    root.add_event_handler(events)
    root.add_span_handler(spans)
    try:
        yield recorded
    finally:
        root.event_handlers.remove(events)
        root.span_handlers.remove(spans)


class HashedWords(BaseEmbedding):
    """A text as counts of its words and letter triples, hashed into 64 numbers: a test's stand-in, no language model."""

    def _vector(self, text):
        found = [0.0] * 64
        for word in text.lower().split():
            padded = f" {word.strip('.,?!')} "
            for part in (padded, *(padded[i : i + 3] for i in range(len(padded) - 2))):
                found[zlib.crc32(part.encode()) % 64] += 1.0
        length = sum(x * x for x in found) ** 0.5 or 1.0
        return [x / length for x in found]

    def _get_text_embedding(self, text):
        return self._vector(text)

    def _get_query_embedding(self, query):
        return self._vector(query)

    async def _aget_query_embedding(self, query):
        return self._vector(query)
