"""Tools: how they travel from a caller through the keywords of `chat` to every member, and how calls come back.

LlamaIndex puts a call's keywords into its events, and a tool object there makes an event that cannot be written down.
So a tool travels as its schema in OpenAI's form, which remembers the tool it was made from; a schema that a caller
wrote by hand becomes a tool that has only that schema. Either way every member is offered `BaseTool`s and binds them
in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools.types import BaseTool, ToolMetadata

from pyramid_core.errors import InputError
from pyramid_core.types import ToolCall


class OfferedTool(dict[str, Any]):
    """A tool in OpenAI's function schema: plain JSON for whoever looks, and the tool itself for the members.

    Args:
        tool: the tool.
    """

    def __init__(self, tool: BaseTool) -> None:
        super().__init__(tool.metadata.to_openai_tool(skip_length_check=True))
        self.tool = tool


@dataclass
class SchemaMetadata(ToolMetadata):
    """What is known of a tool of which only the schema was given."""

    parameters: dict[str, Any] = field(default_factory=dict)

    def get_parameters_dict(self) -> dict[str, Any]:
        """The schema as it was given."""
        return dict(self.parameters)


class SchemaTool(BaseTool):
    """A tool that can be offered to a model, not run.

    Args:
        schema: in OpenAI's form, with or without the `function` around it.

    Raises:
        InputError: it has no name.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        function = schema.get("function", schema)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InputError(
                f"a tool needs a name: give a LlamaIndex tool or an OpenAI schema, not {schema!r}"
            )
        self._metadata = SchemaMetadata(
            description=str(function.get("description") or ""),
            name=function["name"],
            fn_schema=None,
            parameters=dict(function.get("parameters") or {"type": "object", "properties": {}}),
        )

    @property
    def metadata(self) -> ToolMetadata:
        """Its name, description and schema."""
        return self._metadata

    def __call__(self, input: Any) -> NoReturn:  # noqa: A002 - as LlamaIndex names it
        """Refuse: there is nothing to run."""
        raise InputError(
            f"the tool {self.metadata.name!r} was given as a schema only: run it where it was called from"
        )


def offered(tools: Sequence[Any] | None) -> list[OfferedTool]:
    """The tools as they travel.

    Raises:
        InputError: one of them is no LlamaIndex tool.
    """
    for tool in tools or ():
        if not isinstance(tool, BaseTool):
            raise InputError(
                f"tools must be LlamaIndex tools (FunctionTool.from_defaults(fn)), not {type(tool).__name__}"
            )
    return [OfferedTool(tool) for tool in tools or ()]


def tool_of(travelled: Any) -> BaseTool:
    """The tool that a travelled one stands for.

    Raises:
        InputError: it is neither a tool nor a schema with a name.
    """
    if isinstance(travelled, OfferedTool):
        return travelled.tool
    if isinstance(travelled, BaseTool):
        return travelled
    if not isinstance(travelled, Mapping):
        raise InputError(
            f"a tool must be a LlamaIndex tool or an OpenAI schema, not {type(travelled).__name__}"
        )
    return SchemaTool(travelled)


def selections_of(message: ChatMessage) -> list[ToolSelection]:
    """The calls that a message asks for, in blocks or in the older `additional_kwargs`."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [_selection(b.tool_call_id, b.tool_name, b.tool_kwargs) for b in blocks]
    found = message.additional_kwargs.get("tool_calls") or ()
    return [_legacy(call) for call in found]


def asks_for_tools(response: ChatResponse) -> bool:
    """Whether there is anything that may be a tool call."""
    message = response.message
    return bool(message.additional_kwargs.get("tool_calls")) or any(
        isinstance(block, ToolCallBlock) for block in message.blocks
    )


def calls_of(selections: Sequence[ToolSelection]) -> tuple[ToolCall, ...]:
    """The same in the core's words."""
    return tuple(
        ToolCall(name=s.tool_name, arguments=s.tool_kwargs, id=s.tool_id or None) for s in selections
    )


def _legacy(call: Any) -> ToolSelection:
    """One entry of `additional_kwargs["tool_calls"]`: a selection, OpenAI's object, or either as a mapping."""
    if isinstance(call, ToolSelection):
        return call
    function = _of(call, "function") or call
    arguments = _of(function, "arguments")
    if arguments is None:
        arguments = _of(call, "tool_kwargs")
    return _selection(
        _of(call, "id") or _of(call, "tool_id"), _of(function, "name") or _of(call, "tool_name"), arguments
    )


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _selection(call_id: Any, name: Any, arguments: Any) -> ToolSelection:
    """A selection; while arguments are still streaming, what can be read of them."""
    if isinstance(arguments, str):
        try:
            arguments = parse_partial_json(arguments)
        except (ValueError, TypeError, json.JSONDecodeError):
            arguments = {}
    kwargs = dict(arguments) if isinstance(arguments, Mapping) else {}
    return ToolSelection(tool_id=str(call_id or ""), tool_name=str(name or ""), tool_kwargs=kwargs)
