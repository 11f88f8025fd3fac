"""The embedded models behind the gateway: they obey what a request sets, and refuse what they cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from pyramid_core.embedded import EmbeddedModel, Sampling, embedded_crowd, embedded_oracle
from pyramid_core.errors import InputError
from pyramid_core.gateway.requests import settings_of
from pyramid_core.prices import Price
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Answer, Query, Token


class EmbeddedMember:
    """An embedded model whose sampling is each request's own.

    Args:
        model: the model, with the sampling of requests that set nothing.
    """

    def __init__(self, model: EmbeddedModel) -> None:
        self.name = model.name
        self._model = model

    @property
    def price(self) -> Price:
        """The notional price of a token."""
        return self._model.price

    def ask(self, query: Query) -> Answer:
        """Answer, on the calling thread.

        Raises:
            InputError: the request wants tools or a JSON form, or does not fit the context window.
        """
        return self._set(query).ask(query)

    async def aask(self, query: Query) -> Answer:
        """As `ask`, off the event loop."""
        return await self._set(query).aask(query)

    def stream(self, query: Query) -> Iterator[Token | Answer]:
        """As `ask`, piece by piece."""
        return self._set(query).stream(query)

    def astream(self, query: Query) -> AsyncIterator[Token | Answer]:
        """As `aask`, piece by piece."""
        return self._set(query).astream(query)

    def _set(self, query: Query) -> EmbeddedModel:
        settings = settings_of(query)
        form = settings.get("response_format") or {}
        if form.get("type", "text") != "text":
            raise InputError(
                f"{self.name} is an embedded model without structured output: ask it without response_format"
            )
        changed: dict[str, Any] = {
            name: settings[name] for name in ("temperature", "seed") if settings.get(name) is not None
        }
        tokens = settings.get("max_completion_tokens") or settings.get("max_tokens")
        if tokens is not None:
            changed["max_tokens"] = tokens
        stop = settings.get("stop")
        if stop:
            changed["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        if not changed:
            return self._model
        sampling: Sampling = replace(self._model.sampling, **changed)
        return replace(self._model, sampling=sampling)


def embedded_build(router: str = "embedded") -> Callable[..., Pyramid]:
    """What makes the pyramid of embedded models.

    Args:
        router: "embedded", which was trained for them, another shipped router's name, or a folder.
    """
    return partial(Pyramid, crowd=embedded_crowd(), oracle=embedded_oracle(), router=router)
