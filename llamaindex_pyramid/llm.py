"""PyramidLLM: a crowd of LLMs and an oracle behind one, for any query engine, chat engine, agent or workflow.

It converts and delegates: LlamaIndex's call becomes a query, the core's outcome becomes a response. Who is asked,
when, and whose answer stands is the core's affair, and nothing of it is written here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection, default_completion_to_prompt
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.tools.types import BaseTool
from llama_index.core.types import TokenAsyncGen, TokenGen
from pydantic import Field, PrivateAttr, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from llamaindex_pyramid.calls import Call, filling
from llamaindex_pyramid.members import SyncLLMMember
from llamaindex_pyramid.responses import RECORD, Chat, Completion
from llamaindex_pyramid.roster import Roster, metadata_of, roster_of
from llamaindex_pyramid.saving import restored, saved
from llamaindex_pyramid.tools import offered, selections_of
from llamaindex_pyramid.turns import Turn
from pyramid_core.decision import NAME, rule_of
from pyramid_core.errors import InputError
from pyramid_core.pyramid import Pyramid
from pyramid_core.types.given import check_fields

_LOG = logging.getLogger(__name__)

_PARTS = (
    "crowd",
    "oracle",
    "router",
    "rule",
    "policy",
    "prices",
    "timeout",
    "explore",
    "gatherers",
    "on_trace",
)


def _part(default: Any = None) -> Any:
    """A field that a pyramid is built of: it never leaves, and does not change after building."""
    return Field(default=default, exclude=True, repr=False, frozen=True)


class PyramidLLM(FunctionCallingLLM):
    """A pyramid of LLMs that is an LLM itself.

    Args:
        crowd: LLMs that are asked first, all at once; the same one may be given several times.
        oracle: the LLM that is asked when the crowd is not to be trusted, or several, cheapest first.
        router: a router, the name of a shipped one, or a saved one's folder; None: agreement.
        rule: a rule, or the threshold on p_fail as a number; None: the router's `baseline-match` point.
        policy: when the rule is asked and what runs meanwhile (`pyramid_core.Policy`).
        prices: `pyramid_core.Price` by model name, for the bill; without them costs are unknown.
        gatherers: what computes evidence, by kind, for routers that name some.
        explore: the share of accepted queries whose oracle is asked as well, for training.
        on_trace: is given every finished trace.
        model: `pyramid`, or `pyramid:<operating point>` of the router in place of a rule.
        temperature, max_tokens: given to every member; None: each member's own.
        timeout: seconds for a query; at its end the best answer so far comes back, marked.

    Raises:
        InputError: what is wrong with which argument, and what to do.
        RouterError: the router cannot be loaded or does not fit the crowd.
    """

    crowd: Any = _part()
    oracle: Any = _part()
    router: Any = _part()
    rule: Any = _part()
    policy: Any = _part()
    prices: Any = _part()
    gatherers: Any = _part()
    on_trace: Any = _part()
    explore: float = Field(default=0.0, frozen=True)
    model: str = Field(default=NAME, frozen=True)
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = Field(default=None, frozen=True)

    _roster: Roster = PrivateAttr()
    _pyramid: Pyramid = PrivateAttr()
    _known: dict[int | None, LLMMetadata] = PrivateAttr(default_factory=dict)

    def __init__(self, **fields: Any) -> None:
        check_fields("PyramidLLM", fields, type(self).model_fields)
        super().__init__(**fields)
        # Built here, once, so that what is wrong shows where it was written.
        self._build()
        unable = self._roster.without_tools()
        if 0 < len(unable) < len(self._roster.members):
            _LOG.warning(
                "members %s cannot call functions, so this pyramid calls none: a FunctionAgent will refuse it; "
                "take function calling LLMs alone, or a ReActAgent",
                unable,
            )

    def _build(self) -> None:
        self._known = {}
        self._roster = roster_of(self.crowd, self.oracle, self.prices)
        self._pyramid = Pyramid(
            crowd=self._roster.crowd,
            oracle=self._roster.oracles,
            router=self.router,
            rule=rule_of(self.model, self.rule),
            policy=self.policy,
            deadline=self.timeout,
            explore=self.explore,
            gatherers=self.gatherers,
            on_trace=self.on_trace,
        )

    @property
    def pyramid(self) -> Pyramid:
        """The core's pyramid that answers."""
        return self._pyramid

    # What LlamaIndex asks about an LLM

    @classmethod
    def class_name(cls) -> str:
        """Its own name: agents and serialisers tell LLMs by it."""
        return "PyramidLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What all members can do: the smallest window, chat and function calling only where all have it.

        LlamaIndex asks for it at every call, and some LLMs look it up elsewhere, so it is put together once.
        """
        known = self._known.get(self.max_tokens)
        if known is None:
            known = metadata_of(self._roster.members, model=self.model, max_tokens=self.max_tokens)
            self._known[self.max_tokens] = known
        return known

    # Asking

    def _turn(self, call: Call, shape: Any, keywords: Mapping[str, Any]) -> Turn:
        timeout = keywords.get("timeout")
        return Turn(
            pyramid=self._pyramid,
            query=call.query(),
            context={} if timeout is None else {"deadline": timeout},
            shape=shape(self.model),
            model=self.model,
        )

    def _chat(self, messages: Sequence[ChatMessage], keywords: Mapping[str, Any]) -> Turn:
        call = Call.chat(messages, {**self._settings(), **keywords})
        if call.tools:
            self._need_tools()
        return self._turn(call, Chat, keywords)

    def _completion(self, prompt: str, keywords: Mapping[str, Any], *, formatted: bool) -> Turn:
        # A prompt that only passed LlamaIndex's default is still to be formatted by each member.
        formatted = formatted and self.completion_to_prompt is not default_completion_to_prompt
        call = Call.completion(prompt, {**self._settings(), **keywords}, formatted=formatted)
        return self._turn(call, Completion, keywords)

    def _settings(self) -> dict[str, Any]:
        """What every member is called with."""
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in given.items() if value is not None}

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The answer that stands, with the routing record in `additional_kwargs["pyramid"]`."""
        return cast("ChatResponse", self._chat(messages, kwargs).ask())

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`, on the event loop; cancelling it cancels every member."""
        return cast("ChatResponse", await self._chat(messages, kwargs).aask())

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The answer in chunks; the record and the usage ride on the last one."""
        return cast("ChatResponseGen", self._chat(messages, kwargs).stream())

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`, on the event loop."""
        return cast("ChatResponseAsyncGen", self._chat(messages, kwargs).astream())

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The completion that stands; each member completes in its own way."""
        return cast("CompletionResponse", self._completion(prompt, kwargs, formatted=formatted).ask())

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`, on the event loop."""
        return cast("CompletionResponse", await self._completion(prompt, kwargs, formatted=formatted).aask())

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The completion in chunks; the record and the usage ride on the last one."""
        return cast("CompletionResponseGen", self._completion(prompt, kwargs, formatted=formatted).stream())

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """As `stream_complete`, on the event loop."""
        return cast(
            "CompletionResponseAsyncGen", self._completion(prompt, kwargs, formatted=formatted).astream()
        )

    # Predicting: where a synthesizer fills a prompt, what it retrieved and what was asked can still be told apart

    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """As every LLM does it."""
        with filling(prompt, prompt_args):
            return super().predict(prompt, **prompt_args)

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """As every LLM does it."""
        with filling(prompt, prompt_args):
            return await super().apredict(prompt, **prompt_args)

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """As every LLM does it."""
        with filling(prompt, prompt_args):
            return super().stream(prompt, **prompt_args)

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenAsyncGen:
        """As every LLM does it."""
        with filling(prompt, prompt_args):
            return await super().astream(prompt, **prompt_args)

    # Tools

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The keywords of `chat`: plain JSON, so that events can be written down.

        Raises:
            InputError: names the members that cannot call functions.
        """
        if tools:
            self._need_tools()
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        messages = [*(chat_history or []), *([] if user_msg is None else [user_msg])]
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        if not tools:
            kwargs.pop("tool_choice", None)
            return {"messages": messages, **kwargs}
        return {
            "messages": messages,
            "tools": offered(tools),
            "tool_required": tool_required,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls that a response asks for, read by the member that gave it where that is known.

        Raises:
            ValueError: there is none, and `error_on_no_tool_call`.
        """
        record = response.additional_kwargs.get(RECORD) or {}
        member: SyncLLMMember | None = self._pyramid.members.get(str(record.get("answered_by")))
        found = selections_of(response.message) if member is None else member.tool_calls(response)
        if not found and error_on_no_tool_call:
            raise ValueError(f"Expected at least one tool call, but got {len(found)} tool calls.")
        return found

    def _need_tools(self) -> None:
        unable = self._roster.without_tools()
        if unable:
            raise InputError(
                f"members {unable} cannot call functions, so no tools can be offered: "
                "use function calling LLMs, or a ReActAgent, which needs none"
            )

    # Saving

    @model_serializer(mode="wrap")
    def custom_model_dump(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """The plain part of the configuration; never a member, whose fields hold keys."""
        fields = {name: getattr(self, name) for name in _PARTS}
        names = {"crowd": list(self._pyramid.crowd), "oracle": list(self._pyramid.oracles)}
        return {**handler(self), "class_name": self.class_name(), **saved(fields, names)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """The pyramid that was saved as `data`, with `crowd=`, `oracle=` and what else holds objects given again.

        Raises:
            InputError: names what was not saved and is not given.
        """
        return cls(**restored(data, kwargs))

    def __getstate__(self) -> NoReturn:
        raise InputError(
            "a PyramidLLM cannot be pickled: its members hold keys and connections. "
            "Save to_dict() and build it again with from_dict(data, crowd=..., oracle=...)"
        )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the same members; what it is built of is looked at anew."""
        copy = super().model_copy(update=update, deep=False)
        copy._build()  # noqa: SLF001 - of the same class
        return copy

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy that shares its members: their connections cannot be doubled."""
        return self.model_copy()
