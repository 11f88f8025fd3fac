"""PyramidMiddleware: an agent that is built already asks a crowd first; the model it was built with is the oracle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from langchain_pyramid.chat import ChatPyramid
from pyramid_core.errors import InputError, MissingExtra

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtra("langchain", "agents") from error


class PyramidMiddleware(AgentMiddleware[Any, Any, Any]):
    """For `create_agent(..., middleware=[...])`: every step's model call becomes a `ChatPyramid`'s.

    Middleware that chooses a model goes before this one, so that what it has chosen is the oracle.

    Args:
        crowd: chat models that are asked first.
        settings: as `ChatPyramid` takes them, except `oracle`: that is the agent's own model.

    Raises:
        InputError, RouterError: what is wrong with which argument, as `ChatPyramid` says it.
    """

    def __init__(self, *, crowd: Iterable[Any], **settings: Any) -> None:
        super().__init__()
        if "oracle" in settings:
            raise InputError(
                "PyramidMiddleware takes no oracle: it is the model that the agent was made with"
            )
        self._settings = settings
        self._crowd = crowd if isinstance(crowd, str) or not isinstance(crowd, Iterable) else list(crowd)
        # Made once with a stand-in for the oracle, so that what is wrong shows here and not at the agent's first step.
        stand_in = self._crowd[-1] if isinstance(self._crowd, list) and self._crowd else None
        pyramid = self._pyramid_over(stand_in)
        self._crowd = pyramid.crowd
        self._made = stand_in, pyramid

    def _pyramid_over(self, oracle: Any) -> ChatPyramid:
        return ChatPyramid(crowd=self._crowd, oracle=oracle, **self._settings)

    def _with_crowd(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        model, pyramid = self._made
        if request.model is not model:
            pyramid = self._pyramid_over(request.model)
            self._made = request.model, pyramid
        return request.override(model=pyramid)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """The model call, with the pyramid in the model's place."""
        return handler(self._with_crowd(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """As `wrap_model_call`, on the event loop."""
        return await handler(self._with_crowd(request))
