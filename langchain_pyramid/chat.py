"""ChatPyramid: a crowd of chat models and an oracle behind one, for any chain, agent or graph.

It converts and delegates: LangChain's call becomes a query, the core's outcome becomes a message. Who is asked, when,
and whose answer stands is the core's affair, and nothing of it is written here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Literal

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)
from langchain_core.utils.uuid import uuid7
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from langchain_pyramid.binding import (
    BOUND_NAMES,
    FUNCTION_CALLING,
    Binding,
    Structured,
    formatted_tool,
    parsed_by,
)
from langchain_pyramid.building import PARTS, Built, build, check_timeout
from langchain_pyramid.calls import PARENT, PRIVATE, STRUCTURED, Call, check_stop
from langchain_pyramid.pinning import check_decide, kept_decision
from langchain_pyramid.roster import able_crowd, by_name, profile_of
from langchain_pyramid.runs import Parent
from langchain_pyramid.turns import Turn, from_cache
from pyramid_core import __version__
from pyramid_core.decision import NAME
from pyramid_core.errors import InputError
from pyramid_core.pyramid import Pyramid
from pyramid_core.tool_schemas import check_tools
from pyramid_core.types.given import check_fields


class ChatPyramid(BaseChatModel):
    """A pyramid of chat models that is a chat model itself.

    Args:
        crowd: chat models that are asked first, all at once; the same one may be given several times. A text such as
            `openai:gpt-4o-mini` is what `init_chat_model` makes of it.
        oracle: the chat model that is asked when the crowd is not to be trusted, or several, cheapest first.
        router: a router, the name of a shipped one, or a saved one's folder; None: agreement.
        rule: a rule, or the threshold on p_fail as a number; None: the router's `baseline-match` point.
        escalate_tools: names of tools whose calls are the oracle's to make, whatever the crowd says
            (`pyramid_core.guarding.EscalateTools`).
        toolless: what becomes of a member of the crowd that cannot be given the tools or the schema that are bound:
            `refuse` names it in an error, `leave out` goes on without it.
        decide: how long a decision is kept, for an agent's step, run or conversation (`langchain_pyramid.pinning`).
        policy: when the rule is asked and what runs meanwhile (`pyramid_core.types.Policy`).
        prices: `pyramid_core.prices.Price` by model name, for the bill; without them costs are unknown.
        trace_handlers: callback handlers, or classes of them, that see every member's run although they show
            tokens (Langfuse's, say); tracers see them anyway.
        embeddings: texts that mean the same agree, by these embeddings (`langchain_pyramid.semantic.embeddings_of`).
        gatherers: what computes evidence, by kind, for routers that name some.
        explore: the share of accepted queries whose oracle is asked as well, for training.
        on_trace: is given every finished trace.
        model: `pyramid`, or `pyramid:<operating point>` of the router in place of a rule.
        temperature, max_tokens, stop: given to every member; None: each member's own.
        timeout: seconds for a query; at its end the best answer so far comes back, marked.
        streaming: stream inside `invoke` as well.
        max_retries, api_key: accepted from code that sets them on every model, and not used: the members have
            their own.

    Raises:
        InputError: what is wrong with which argument, and what to do.
        RouterError: the router cannot be loaded or does not fit the crowd.
    """

    crowd: Any = Field(default=None, exclude=True, repr=False)
    oracle: Any = Field(default=None, exclude=True, repr=False)
    router: Any = Field(default=None, exclude=True, repr=False)
    rule: Any = Field(default=None, exclude=True, repr=False)
    escalate_tools: Any = Field(default=None, exclude=True, repr=False)
    toolless: Literal["refuse", "leave out"] = Field(default="refuse", repr=False)
    decide: Any = Field(default="step", repr=False)
    policy: Any = Field(default=None, exclude=True, repr=False)
    prices: Any = Field(default=None, exclude=True, repr=False)
    trace_handlers: Any = Field(default=(), exclude=True, repr=False)
    embeddings: Any = Field(default=None, exclude=True, repr=False)
    gatherers: Any = Field(default=None, exclude=True, repr=False)
    explore: float = Field(default=0.0, repr=False)
    on_trace: Any = Field(default=None, exclude=True, repr=False)
    model: str = NAME
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | None = None
    max_retries: int | None = Field(default=None, repr=False)
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    streaming: bool = False

    model_config = ConfigDict(arbitrary_types_allowed=True)

    _built: dict[str, Built] = PrivateAttr(default_factory=dict)

    def __init__(self, **fields: Any) -> None:
        check_fields("ChatPyramid", fields, type(self).model_fields)
        check_stop(fields.get("stop"))
        check_decide(fields.get("decide", "step"))
        # Once: a field that is configured at run time makes a new pyramid of the same members.
        fields |= {place: by_name(fields[place], place) for place in ("crowd", "oracle") if place in fields}
        super().__init__(**fields)
        if hasattr(self, "_add_version"):  # Not before langchain-core 1.4.7.
            self._add_version("pyramid-moa", __version__)
        # Built here, so that what is wrong shows where it was written, as our own error and not as pydantic's.
        self._build(self.model)

    # Building

    def _build(self, model: str) -> Built:
        """The pyramid that answers under this name, made anew where a field has changed since."""
        parts = tuple(map(self.__dict__.get, PARTS))
        built = self._built.get(model)
        if built is None or not built.made_of(parts):
            built = self._built[model] = build(model, parts)
        return built

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> ChatPyramid:
        """A copy, with what it is built of looked at anew."""
        copy = super().model_copy(update=update, deep=deep)
        copy._built = {}  # noqa: SLF001 - of the same class
        copy._build(copy.model)  # noqa: SLF001
        return copy

    @property
    def pyramid(self) -> Pyramid:
        """The core's pyramid that answers."""
        return self._build(self.model).pyramid

    # What LangChain asks about a model

    @property
    def _llm_type(self) -> str:
        return NAME

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """What tells this pyramid from another: caches and traces see it, so members are a fingerprint."""
        own = {**self._settings(), "stop": self.stop, "timeout": self.timeout}
        return {**self._build(self.model).identity, **{k: v for k, v in own.items() if v is not None}}

    def _settings(self) -> dict[str, Any]:
        """What every member is called with."""
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in given.items() if value is not None}

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        shown = {name: value for name, value in kwargs.items() if name not in PRIVATE}
        return super()._get_invocation_params(stop=stop, **shown)

    def _resolve_model_profile(self) -> ModelProfile | None:
        oracles = self.oracle if isinstance(self.oracle, (list, tuple)) else [self.oracle]
        return profile_of([*self.crowd, *oracles])

    def get_num_tokens(self, text: str) -> int:
        """The largest count among the members."""
        return max(model.get_num_tokens(text) for model in self._models())

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """The largest count among the members."""
        return max(model.get_num_tokens_from_messages(messages, tools) for model in self._models())

    def _models(self) -> Iterator[BaseChatModel]:
        return self._build(self.model).roster.models()

    # Calling

    def _turn(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        manager: BaseRunManager | None,
        kwargs: Mapping[str, Any],
    ) -> Turn:
        model = kwargs.get("model") or self.model
        parent = kwargs.get(PARENT)
        if manager is not None:
            parent = Parent.of(
                manager,
                manager.run_id,
                settings=lambda: self._get_invocation_params(stop=stop, **kwargs),
                listed=tuple(self.trace_handlers),
            )
        call = Call.of(
            messages,
            stop=self.stop if stop is None else stop,
            settings={**self._settings(), **kwargs},
            parent=parent,
        )
        pyramid, timeout = self._build(model).pyramid, kwargs.get("timeout")
        check_timeout(timeout)
        context = kept_decision(messages, self.decide, pyramid.oracles, guarded=bool(self.escalate_tools))
        return Turn(
            pyramid=pyramid,
            query=call.query(),
            context=context if timeout is None else {**context, "deadline": timeout},
            model=model,
            parent=parent,
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self._streams_inside(run_manager, async_api=False, **kwargs):
            return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
        return self._turn(messages, stop, run_manager, kwargs).ask()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        try:
            if self._streams_inside(run_manager, async_api=True, **kwargs):
                chunks = [chunk async for chunk in self._astream(messages, stop, run_manager, **kwargs)]
                return generate_from_stream(iter(chunks))
            return await self._turn(messages, stop, run_manager, kwargs).aask()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if run_manager is not None and task is not None and task.cancelling():
                # LangChain forgets to end the run of a call that is cancelled from outside.
                await run_manager.on_llm_error(error)
            raise

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with closing(self._turn(messages, stop, run_manager, kwargs).stream()) as chunks:
            for chunk in chunks:
                if run_manager is not None:
                    run_manager.on_llm_new_token(str(chunk.message.text), chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._turn(messages, stop, run_manager, kwargs).astream()) as chunks:
            async for chunk in chunks:
                if run_manager is not None:
                    await run_manager.on_llm_new_token(str(chunk.message.text), chunk=chunk)
                yield chunk

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        """Not inside a run: LangChain would call `_stream` without its manager, and the members would be orphans."""
        return run_manager is None and super()._should_stream(async_api=async_api, **kwargs)

    def _streams_inside(self, run_manager: Any, *, async_api: bool, **kwargs: Any) -> bool:
        """Whether somebody wants to see tokens although the whole message was asked for."""
        if run_manager is None:
            return False
        return super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - as LangChain names it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """The answer's chunks; the record and the usage ride on the last one."""
        if self._should_stream(async_api=False, **{**kwargs, "stream": True}):
            config = ensure_config(config)
            manager = get_callback_manager_for_config(config)
            config, kwargs = self._known(manager, config, kwargs)
        return super().stream(input, config, stop=stop, **kwargs)

    def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - as LangChain names it
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """As `stream`, on the event loop."""
        if self._should_stream(async_api=True, **{**kwargs, "stream": True}):
            config = ensure_config(config)
            manager = get_async_callback_manager_for_config(config)
            config, kwargs = self._known(manager, config, kwargs)
        return super().astream(input, config, stop=stop, **kwargs)

    def _known(
        self,
        manager: CallbackManager | AsyncCallbackManager,
        config: RunnableConfig,
        kwargs: dict[str, Any],
    ) -> tuple[RunnableConfig, dict[str, Any]]:
        """The run's id and handlers, settled before it starts: its members need them, and `_stream` gets no manager."""
        run_id = config.get("run_id") or uuid7()
        listed = tuple(self.trace_handlers)
        parent = Parent.of(manager, run_id, settings=dict, listed=listed)
        return {**config, "callbacks": manager, "run_id": run_id}, {**kwargs, PARENT: parent}

    def _convert_cached_generations(self, cache_val: list[Generation]) -> list[ChatGeneration]:
        generations = super()._convert_cached_generations(cache_val)
        for generation in generations:
            from_cache(generation.message)
        return generations

    # Binding

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Bind tools; each member binds them in its own schema.

        Raises:
            InputError: names the member that cannot call tools, or the tool that is none.
        """
        formatted = [formatted_tool(tool, place) for place, tool in enumerate(tools)]
        check_tools(formatted)
        options = {name: kwargs[name] for name in BOUND_NAMES if kwargs.get(name) is not None}
        able = self._able(Binding(tools=tuple(formatted), tool_choice=tool_choice, options=options))
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        if kwargs.get("ls_structured_output_format"):
            # The base class's with_structured_output: only here the schema is still what the user gave.
            kwargs[STRUCTURED] = Structured(tools[0], FUNCTION_CALLING)
        return able.bind(tools=formatted, **choice, **kwargs)

    def with_structured_output(
        self,
        schema: Any,
        *,
        method: Literal["function_calling", "json_schema", "json_mode"] = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers in the form of `schema`; each member gets it in its own way.

        Args:
            schema: a pydantic class, a TypedDict class, a JSON schema or an OpenAI tool.
            method: by a tool call, by the provider's JSON schema mode, or by its JSON mode.
            include_raw: give {"raw", "parsed", "parsing_error"} instead of what was parsed.
            strict: as the members' providers understand it.
            kwargs: as the base class takes them.

        Raises:
            InputError: the method is unknown, or a member does not have it.
        """
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if method not in {"json_schema", "json_mode"} or kwargs:
            raise InputError(
                f"with_structured_output takes method function_calling, json_schema or json_mode, include_raw and "
                f"strict; not {method!r} with {sorted(kwargs)}"
            )
        structured = Structured(schema, method, {} if strict is None else {"strict": strict})
        able = self._able(Binding(structured=structured))
        told = {"kwargs": {"method": method}, "schema": schema}
        llm = able.bind(**{STRUCTURED: structured, "ls_structured_output_format": told})
        return parsed_by(llm, structured, include_raw=include_raw)

    def _able(self, binding: Binding) -> ChatPyramid:
        """This pyramid, or where the user allows it one without those that cannot be given `binding`."""
        leave_out = self.toolless == "leave out"
        crowd = able_crowd(self._build(self.model).roster, self.crowd, binding, leave_out=leave_out)
        return self if crowd is None else self.model_copy(update={"crowd": crowd})
