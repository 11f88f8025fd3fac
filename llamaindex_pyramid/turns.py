"""A turn: one call of the pyramid between LlamaIndex and the core, the same for all eight ways of calling it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, closing
from dataclasses import dataclass, field
from typing import Any

from llamaindex_pyramid.events import active_span, inside, tell, told
from llamaindex_pyramid.responses import Shape
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Outcome, Query, Token


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one call needs on its way in and out.

    Attributes:
        pyramid: the core's.
        query: for it.
        context: what this query brings with it (deadline).
        shape: makes the responses.
        model: the name to answer under.
        span: the pyramid's own, open while the turn is made.
    """

    pyramid: Pyramid
    query: Query
    context: Mapping[str, Any]
    shape: Shape
    model: str
    span: str | None = field(default_factory=active_span)

    def ask(self) -> Any:
        """The whole response."""
        with self._told(), inside(self.span):
            outcome = self.pyramid.ask(self.query, **self.context)
        return self._whole(outcome)

    async def aask(self) -> Any:
        """The whole response, on the event loop."""
        with self._told(), inside(self.span):
            outcome = await self.pyramid.aask(self.query, **self.context)
        return self._whole(outcome)

    def stream(self) -> Iterator[Any]:
        """The response in chunks; bad input is refused before the first."""
        return self._chunks(self.pyramid.stream(self.query, **self.context))

    def astream(self) -> AsyncIterator[Any]:
        """The response in chunks, on the event loop."""
        return self._achunks(self.pyramid.astream(self.query, **self.context))

    def _chunks(self, items: Any) -> Iterator[Any]:
        with closing(items), self._told():
            while True:
                with inside(self.span):
                    item = next(items, None)
                if item is None:
                    return
                yield self._of(item)

    async def _achunks(self, items: Any) -> AsyncIterator[Any]:
        async with aclosing(items):
            with self._told():
                while True:
                    with inside(self.span):
                        item = await anext(items, None)
                    if item is None:
                        return
                    yield self._of(item)

    def _of(self, item: Token | Outcome) -> Any:
        """The chunk for what the core has handed out."""
        if isinstance(item, Token):
            return self.shape.chunk(item)
        return self.shape.whole(item, tell(item.trace, model=self.model, span=self.span), delta="")

    def _whole(self, outcome: Outcome) -> Any:
        return self.shape.whole(outcome, tell(outcome.trace, model=self.model, span=self.span))

    def _told(self) -> AbstractContextManager[None]:
        return told(model=self.model, span=self.span)
