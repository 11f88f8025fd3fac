"""Runs: every member's call is a child of the pyramid's run, and its tokens reach nobody.

LangChain gives a chat model's run no children, so they are made here. A child keeps the handlers that record runs
and loses those that show tokens or count usage: the pyramid shows the tokens of the answer that stands, and counts
the sum over its members. Three things are needed for that, each because the others leave a hole:

1. the child's callback manager has the stripped handlers only;
2. the ambient config, which runnables merge into what they are given, is the child's while the member runs;
3. handlers that attach themselves from context variables are hidden while the member runs.

The tag `nostream` says the same to LangGraph in its own words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, Token, copy_context
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForLLMRun,
    UsageMetadataCallbackHandler,
)
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import set_config_context, var_child_runnable_config
from langchain_core.tracers import context as tracers_context
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.utils.uuid import uuid7

NOSTREAM = "nostream"
CANCELLED = "pyramid:cancelled"

_M = TypeVar("_M", bound=BaseCallbackManager)
_TRACERS = (BaseTracer, AsyncBaseTracer)


def keeps(handler: object, listed: tuple[Any, ...] = ()) -> bool:
    """Whether a member's run is reported to `handler`.

    Tracers are kept, and so is a plain handler that follows runs from start to end without showing tokens, as some
    tracing services are built. One that only looks at starts or at ends is after the call as the user knows it.

    Args:
        handler: a callback handler of the pyramid's own run.
        listed: handlers, or classes of handlers, that the user wants to see every member whatever they do.
    """
    if is_listed(handler, listed):
        return True
    if hasattr(handler, "tap_output_iter"):
        return False  # What every handler of LangChain's and LangGraph's own streams has.
    if isinstance(handler, _TRACERS):
        return True
    shows = any(_overrides(handler, method) for method in ("on_llm_new_token", "on_stream_event"))
    if shows or isinstance(handler, UsageMetadataCallbackHandler):
        return False
    starts = _overrides(handler, "on_chat_model_start") or _overrides(handler, "on_llm_start")
    return starts and _overrides(handler, "on_llm_end")


def _overrides(handler: object, method: str) -> bool:
    bases = (BaseCallbackHandler, AsyncCallbackHandler)
    return getattr(type(handler), method, None) not in [getattr(base, method, None) for base in bases]


def is_listed(handler: object, listed: tuple[Any, ...]) -> bool:
    """Whether the user has listed `handler` or its class."""
    return any(handler is one or (isinstance(one, type) and isinstance(handler, one)) for one in listed)


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The pyramid's own run, as its members' runs need to know it.

    Attributes:
        run_id: its id.
        handlers: what members report to.
        own: all handlers of the run itself, for the record.
        tags: what members inherit.
        metadata: what members inherit.
        listed: handlers the user wants to see every member.
    """

    run_id: UUID
    handlers: tuple[BaseCallbackHandler, ...] = ()
    own: tuple[BaseCallbackHandler, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any]
    listed: tuple[Any, ...] = ()

    @classmethod
    def of(
        cls,
        manager: BaseRunManager | BaseCallbackManager,
        run_id: UUID,
        *,
        settings: Callable[[], Mapping[str, Any]],
        listed: tuple[Any, ...] = (),
    ) -> Parent:
        """The parent as `manager` describes it.

        Args:
            manager: the run's manager, or the one that is about to start the run.
            run_id: the run's id.
            settings: the pyramid's own invocation parameters, which must not show in its members' runs.
            listed: see `keeps`.
        """
        inherited = [
            _without(handler, settings()) if isinstance(handler, LangChainTracer) else handler
            for handler in manager.inheritable_handlers
            if keeps(handler, listed)
        ]
        extra = [h for h in listed if not isinstance(h, type) and all(h is not one for one in inherited)]
        return cls(
            run_id=run_id,
            handlers=(*inherited, *extra),
            own=tuple(manager.handlers),
            tags=tuple(manager.inheritable_tags),
            metadata={k: v for k, v in manager.inheritable_metadata.items() if not k.startswith("ls_")},
            listed=listed,
        )

    def annotate(self, metadata: Mapping[str, Any], tags: tuple[str, ...]) -> None:
        """Write onto the pyramid's own run, wherever it is traced and still open."""
        for handler in self.own:
            run = handler.run_map.get(str(self.run_id)) if isinstance(handler, _TRACERS) else None
            if run is not None:
                run.add_metadata(dict(metadata))
                run.add_tags(tags)

    def say(self, name: str, data: Mapping[str, Any]) -> None:
        """Send a custom event of the pyramid's own run to whoever listens to such events."""
        listening = self._listening()
        if listening:
            CallbackManager(handlers=listening).on_custom_event(name, dict(data), run_id=self.run_id)

    async def asay(self, name: str, data: Mapping[str, Any]) -> None:
        """As `say`, on the event loop."""
        listening = self._listening()
        if listening:
            manager = AsyncCallbackManager(handlers=listening)
            await manager.on_custom_event(name, dict(data), run_id=self.run_id)

    def _listening(self) -> list[BaseCallbackHandler]:
        return [handler for handler in self.own if _overrides(handler, "on_custom_event")]


def _without(tracer: LangChainTracer, settings: Mapping[str, Any]) -> LangChainTracer:
    """A copy of `tracer`, on the same runs, that does not stamp the pyramid's settings on what it records.

    Metadata in a tracer is first come, first kept, so a member's own settings would never show otherwise. A run that
    was cancelled ends in it without an error: nothing has failed.
    """
    copy = tracer.copy_with_metadata_defaults()
    copy.__class__ = _closing(type(copy))
    if copy.tracing_metadata:
        copy.tracing_metadata = {
            key: value
            for key, value in copy.tracing_metadata.items()
            if key not in settings or settings[key] != value
        }
    return copy


@cache
def _closing(tracer: type[Any]) -> type[Any]:
    """The same kind of tracer, to which a cancelled run is no failed one."""

    def on_llm_error(self: Any, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        if not is_cancelled(error):
            return tracer.on_llm_error(self, error, run_id=run_id, **kwargs)
        mark_cancelled([self], run_id)
        return self.on_llm_end(_said_nothing(kwargs.get("response")), run_id=run_id)

    def on_chain_error(self: Any, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        if not is_cancelled(error):
            return tracer.on_chain_error(self, error, run_id=run_id, **kwargs)
        mark_cancelled([self], run_id)
        return self.on_chain_end({}, run_id=run_id)

    return type(tracer.__name__, (tracer,), {"on_llm_error": on_llm_error, "on_chain_error": on_chain_error})


def is_cancelled(error: BaseException) -> bool:
    """Whether a call ended because nobody needed it any more: its task was cancelled, or its stream was left."""
    return isinstance(error, (asyncio.CancelledError, GeneratorExit))


def mark_cancelled(handlers: Iterable[Any], run_id: UUID) -> None:
    """Tag a run as cancelled, wherever it is traced and still open."""
    for handler in handlers:
        run = handler.run_map.get(str(run_id)) if isinstance(handler, _TRACERS) else None
        if run is not None:
            run.add_tags([CANCELLED])


def _said_nothing(heard: LLMResult | None = None) -> LLMResult:
    """What a cancelled call has said: what was heard of its stream, else an empty message that says so."""
    if heard is not None and any(heard.generations):
        return heard
    message = AIMessage("", response_metadata={"finish_reason": "cancelled"})
    return LLMResult(generations=[[ChatGeneration(message=message)]])


class ChildRun:
    """One call of one member: its config, the context it runs in, and its end where LangChain forgets it.

    Args:
        parent: the pyramid's run; None where nothing is traced.
        role: crowd or oracle.
        member: the member's name in the pyramid.
        manager: the class of callback manager that the member's entry point wants.
    """

    def __init__(self, parent: Parent | None, *, role: str, member: str, manager: type[Any]) -> None:
        self._handlers = parent.handlers if parent is not None else ()
        self._listed = parent.listed if parent is not None else ()
        self._open = _OpenRuns(self._handlers)
        self.config: RunnableConfig = {}
        self._variables: dict[ContextVar[Any], Any] | None = None
        ambient = var_child_runnable_config.get()
        if parent is not None and not self._handlers and ambient is None and not _attached():
            # Nobody watches: there is nothing to hide, and nothing to report to.
            self._variables = {}
            return
        self.config = {
            "callbacks": self._manager(manager, parent),
            "run_id": uuid7(),
            "tags": [f"pyramid:{role}", NOSTREAM],
            "metadata": {"pyramid_member": member, "pyramid_role": role},
        }
        if ambient and ambient.get("configurable"):
            self.config["configurable"] = ambient["configurable"]

    def _manager(self, manager: type[_M], parent: Parent | None) -> _M:
        child = manager(handlers=[], parent_run_id=parent.run_id if parent is not None else None)
        if self._handlers:
            child.set_handlers([self._open, *self._handlers])
        if parent is not None:
            child.add_tags(list(parent.tags))
            child.add_metadata(dict(parent.metadata))
        return child

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run what is inside as the child: to be entered anew for each step of an iterator.

        The variables are set and reset within one step, so that nothing leaks to whoever reads the stream.
        """
        if self._variables is None:
            self._variables = self._changes()
        tokens: list[tuple[ContextVar[Any], Token[Any]]] = []
        for variable, value in self._variables.items():
            tokens.append((variable, variable.set(value)))
        try:
            yield
        finally:
            for variable, token in reversed(tokens):
                variable.reset(token)

    def _changes(self) -> dict[ContextVar[Any], Any]:
        """The context variables that differ while the member runs."""
        here = copy_context()
        # Without the run's id: it is this run's, and what the member runs inside would take it for its own.
        ambient: RunnableConfig = {**self.config}
        del ambient["run_id"]
        with set_config_context(ambient) as inner:
            changes = _differing(here, inner)
        for variable, value in _attached():
            if not isinstance(value, _TRACERS) and not is_listed(value, self._listed):
                changes[variable] = None
        return changes

    async def close_cancelled(self) -> None:
        """End the runs that a cancelled call has left open, marked as cancelled.

        `agenerate` waits for its calls in a gather, and a cancelled gather skips `on_llm_error`.
        """
        for run_id, (parent_run_id, tags) in list(self._open.runs.items()):
            mark_cancelled(self._handlers, run_id)
            known: dict[str, Any] = {"run_id": run_id, "parent_run_id": parent_run_id, "tags": tags}
            now, later = _by_kind(self._handlers)
            CallbackManagerForLLMRun(handlers=now, inheritable_handlers=[], **known).on_llm_end(
                _said_nothing()
            )
            if later:
                slow = AsyncCallbackManagerForLLMRun(handlers=later, inheritable_handlers=[], **known)
                await slow.on_llm_end(_said_nothing())


def _attached() -> list[tuple[ContextVar[Any], Any]]:
    """The handlers that attach themselves from context variables; there is no public way to ask which do."""
    hooks = getattr(tracers_context, "_configure_hooks", ())
    return [(variable, value) for variable, *_ in hooks if (value := variable.get()) is not None]


def _by_kind(
    handlers: tuple[BaseCallbackHandler, ...],
) -> tuple[list[BaseCallbackHandler], list[BaseCallbackHandler]]:
    """Handlers that can be called at once, and those that must be awaited."""
    now: list[BaseCallbackHandler] = []
    later: list[BaseCallbackHandler] = []
    for handler in handlers:
        (later if isinstance(handler, AsyncCallbackHandler) else now).append(handler)
    return now, later


def _differing(outer: Context, inner: Context) -> dict[ContextVar[Any], Any]:
    missing = object()
    return {variable: value for variable, value in inner.items() if outer.get(variable, missing) is not value}


class _OpenRuns(BaseCallbackHandler):
    """Knows which model runs below a child have started and not ended, however the member is wrapped.

    It is told first, and marks a run that was cancelled while the tracers still hold it open.

    Args:
        handlers: those of the member.
    """

    run_inline = True

    def __init__(self, handlers: tuple[BaseCallbackHandler, ...]) -> None:
        self.runs: dict[UUID, tuple[UUID | None, list[str]]] = {}
        self._handlers = handlers

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.runs[run_id] = parent_run_id, list(tags or ())

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs.pop(run_id, None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs.pop(run_id, None)
        if is_cancelled(error):
            mark_cancelled(self._handlers, run_id)
