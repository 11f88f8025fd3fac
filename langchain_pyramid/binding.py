"""Binding: what is bound to the pyramid is bound to each member in the member's own schema.

A member may be a chat model or one wrapped by `bind`, `with_config`, `with_retry` or `with_fallbacks`. LangChain's
wrappers lose their settings when tools are bound through them (`bind`, `with_config`) or cannot be bound through at
all (`with_retry`), so binding happens on the innermost model and the wrapping is rebuilt around it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import PydanticToolsParser
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import (
    Runnable,
    RunnableParallel,
    RunnablePassthrough,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from pyramid_core.errors import InputError

BOUND_NAMES = ("strict", "parallel_tool_calls", "response_format")
"""Call settings that providers translate when they are bound; everything else they take as it is."""

FUNCTION_CALLING = "function_calling"

_OF_TOOLS = ("tools", "tool_choice", *BOUND_NAMES)


def models_in(member: Any) -> Iterator[BaseChatModel]:
    """The chat models at the heart of `member`, the first choice first; none where it is something else."""
    if isinstance(member, BaseChatModel):
        yield member
    elif isinstance(member, RunnableBindingBase):
        yield from models_in(member.bound)
    elif isinstance(member, RunnableWithFallbacks):
        for runnable in member.runnables:
            yield from models_in(runnable)


def name_of(member: Any) -> str:
    """What a member is called: the run name it was given, its own name, its model's, else its class's."""
    if isinstance(member, RunnableBindingBase):
        given = member.config.get("run_name") or member.kwargs.get("model")
        return given if isinstance(given, str) else name_of(member.bound)
    if isinstance(member, RunnableWithFallbacks):
        return name_of(member.runnable)
    for attribute in ("name", "model_name", "model", "model_id", "deployment_name"):
        found = getattr(member, attribute, None)
        if isinstance(found, str) and found:
            return found
    return type(member).__name__


def through(
    member: Runnable[Any, Any],
    change: Callable[[BaseChatModel], Runnable[Any, Any]],
    *,
    without: tuple[str, ...] = (),
) -> Runnable[Any, Any]:
    """`member` with each innermost model changed and every wrapper around it as it was.

    Args:
        member: a chat model, wrapped or not.
        change: what becomes of a model.
        without: settings that wrappers have bound and that the change replaces.
    """
    if isinstance(member, BaseChatModel):
        return change(member)
    if isinstance(member, RunnableBindingBase):
        kept = {name: value for name, value in member.kwargs.items() if name not in without}
        bound = through(member.bound, change, without=without)
        return member.model_copy(update={"bound": bound, "kwargs": kept})
    if isinstance(member, RunnableWithFallbacks):
        return member.model_copy(
            update={
                "runnable": through(member.runnable, change, without=without),
                "fallbacks": [through(each, change, without=without) for each in member.fallbacks],
            }
        )
    raise InputError(f"nothing can be bound to a {type(member).__name__}: it is no chat model")


@dataclass(frozen=True)
class Structured:
    """A schema that the answer must follow.

    Attributes:
        schema: a pydantic class, a TypedDict class or a JSON schema.
        method: json_schema or json_mode, the provider's own; or function_calling, by a tool.
        options: what else the user gave (strict).
    """

    schema: Any
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def parser(self) -> BaseOutputParser[Any]:
        """What reads an answer of this form."""
        schema = self.schema
        pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
        if self.method == FUNCTION_CALLING:
            return PydanticToolsParser(tools=[schema], first_tool_only=True)
        return PydanticOutputParser(pydantic_object=schema) if pydantic else JsonOutputParser()

    def check(self, message: AIMessage) -> None:
        """Raise where the parser cannot read the answer; a call's arguments are checked as those of any tool.

        Raises:
            OutputParserException: what is wrong, in the parser's words.
        """
        schema = self.schema
        if self.method != FUNCTION_CALLING or (isinstance(schema, type) and is_basemodel_subclass(schema)):
            self.parser().parse_result([ChatGeneration(message=message)])

    def __repr__(self) -> str:
        """In plain words, and the same in every process: caches use it as a key."""
        plain = self.schema is None or isinstance(self.schema, dict)
        shown = self.schema if plain else convert_to_json_schema(self.schema)
        schema = json.dumps(shown, sort_keys=True, default=str)
        return f"Structured({self.method}, {dict(self.options)!r}, {schema})"


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What one call binds to each member.

    Attributes:
        tools: in OpenAI's format.
        tool_choice: as the caller gave it.
        options: those of `BOUND_NAMES` that were given.
        structured: a schema for the answer.
    """

    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    structured: Structured | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to bind."""
        return not self.tools and not self.options and self.structured is None

    @property
    def by_schema(self) -> bool:
        """Whether the answer's text must follow a schema."""
        return self.structured is not None and self.structured.method != FUNCTION_CALLING

    @property
    def must_call(self) -> bool:
        """Whether an answer without a call is none."""
        return bool(self.tools) and self.tool_choice not in (None, False, "auto", "none")

    def key(self) -> str:
        """The same text for the same binding, as long as its schemas are alive."""
        schema = None if self.structured is None else (id(self.structured.schema), self.structured.method)
        return json.dumps(
            [self.tools, self.tool_choice, dict(self.options), schema],
            sort_keys=True,
            default=lambda value: f"{type(value).__name__} at {id(value)}",
        )


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A member ready to be called.

    Attributes:
        runnable: gives the message.
        binding: what was bound; kept so that its key stays valid.
    """

    runnable: Runnable[Any, Any]
    binding: Binding


def bound(member: Runnable[Any, Any], name: str, binding: Binding) -> Bound:
    """`member` with `binding` bound to the models inside it.

    Raises:
        InputError: the member cannot call tools or has no such structured output.
    """
    if binding.empty:
        return Bound(runnable=member, binding=binding)
    try:
        if binding.structured is not None and binding.by_schema:
            return _with_schema(member, binding, binding.structured)
        return Bound(runnable=through(member, binding_tools(binding), without=_OF_TOOLS), binding=binding)
    except (NotImplementedError, ValueError, TypeError) as error:
        method = binding.structured.method if binding.structured is not None and binding.by_schema else ""
        what = f"structured output by {method}" if method else "tools"
        raise InputError(
            f"member {name!r} cannot be given {what} ({type(error).__name__}: {error}): "
            "leave it out of this pyramid, or use a model that can"
        ) from error


def formatted_tool(tool: Any, place: int) -> dict[str, Any]:
    """A tool of whatever form in OpenAI's.

    Raises:
        InputError: says which of the tools is none.
    """
    try:
        return convert_to_openai_tool(tool)
    except Exception as error:  # LangChain raises what its many ways of reading one happen to raise.
        name = getattr(tool, "name", None) or getattr(tool, "__name__", type(tool).__name__)
        raise InputError(f"tools[{place}] ({name}) cannot be read as a tool: {error}") from error


def binding_tools(binding: Binding) -> Callable[[BaseChatModel], Runnable[Any, Any]]:
    """The model's own way of binding these tools."""
    choice = {} if binding.tool_choice is None else {"tool_choice": binding.tool_choice}

    def bind(model: BaseChatModel) -> Runnable[Any, Any]:
        if not binding.tools and "response_format" not in binding.options:
            return model.bind(**binding.options)
        return model.bind_tools([dict(tool) for tool in binding.tools], **choice, **binding.options)

    return bind


def _with_schema(member: Runnable[Any, Any], binding: Binding, structured: Structured) -> Bound:
    """The model that answers, out of the member's own structured output.

    Every `with_structured_output(include_raw=True)` is a sequence of {"raw": model} and a parser. Without the parser
    the member's run is the model's run, its message is whole, and it can be streamed.
    """

    def bind(model: BaseChatModel) -> Runnable[Any, Any]:
        whole = model.with_structured_output(
            structured.schema, method=structured.method, include_raw=True, **structured.options
        )
        first = whole.first if isinstance(whole, RunnableSequence) else None
        if not isinstance(first, RunnableParallel) or set(first.steps__) != {"raw"}:
            raise InputError(f"{type(model).__name__}.with_structured_output has a form of its own")
        return first.steps__["raw"]

    return Bound(runnable=through(member, bind, without=_OF_TOOLS), binding=binding)


def parsed_by(llm: Runnable[Any, Any], structured: Structured, *, include_raw: bool) -> Runnable[Any, Any]:
    """The pyramid's message, then its parser, in the form that LangChain's `with_structured_output` promises."""
    parser = structured.parser()
    if not include_raw:
        return llm | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    raw: Runnable[Any, Any] = RunnableParallel(raw=llm)
    return raw | parsed.with_fallbacks([unparsed], exception_key="parsing_error")
