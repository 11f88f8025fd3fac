"""Whether a call keeps to the schema of the tool that it names.

A call that names no tool on offer, whose arguments are no object, or that the schema does not take could not be carried
out; what an agent makes of it differs, so it is not kept from voting, but routers look at it. A value of another type that stands for one of the right type without doubt
(a number or a truth value in quotes, 1 for true, a number for its digits) is taken, as answers are compared so too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyramid_core.calls.forms import arguments_of, coerced
from pyramid_core.calls.schemas import DEPTH, Tool, types_of
from pyramid_core.types import ToolCall


@dataclass(frozen=True, kw_only=True)
class Validity:
    """What is wrong with a call.

    Attributes:
        known: whether the tool is on offer.
        readable: whether its arguments are an object.
        missing: required arguments that were not given.
        invented: arguments that the schema does not know.
        mistyped: arguments whose value is not of the schema's type, or not in its enum.
        refusing: whether the schema refuses arguments that it does not know.
    """

    known: bool = True
    readable: bool = True
    missing: tuple[str, ...] = ()
    invented: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()
    refusing: bool = False

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return self.known and self.readable and not (self.missing or self.invented or self.mistyped)

    @property
    def refused(self) -> bool:
        """Whether the tool would refuse the call."""
        wrong = self.missing or self.mistyped or (self.refusing and self.invented)
        return not self.known or not self.readable or bool(wrong)


def validity_of(call: ToolCall, tool: Tool | None) -> Validity:
    """What is wrong with a call of `tool`; None: it is not on offer."""
    arguments = arguments_of(call)
    if tool is None or arguments is None:
        return Validity(known=tool is not None, readable=arguments is not None)
    return Validity(
        missing=tuple(sorted(tool.required - arguments.keys())),
        invented=tuple(sorted(arguments.keys() - tool.properties.keys())) if tool.closed else (),
        mistyped=tuple(
            name
            for name in sorted(arguments)
            if name in tool.properties and not fits(arguments[name], tool.properties[name], tool)
        ),
        refusing=tool.refusing,
    )


def fits(value: Any, schema: Any, tool: Tool, depth: int = 0) -> bool:
    """Whether a value is of a schema's type, in its enum, and its items and fields fit theirs."""
    alternatives = tool.schemas(schema)
    if not alternatives or depth > DEPTH:
        return True
    return any(_fits(value, one, tool, depth) for one in alternatives)


def _fits(value: Any, schema: Mapping[str, Any], tool: Tool, depth: int) -> bool:
    types = types_of((schema,))
    value = coerced(value, types)
    if types and not any(_is(value, kind) for kind in types):
        return False
    options = schema.get("enum")
    if isinstance(options, list | tuple) and options and value not in options:
        return False
    if isinstance(value, list | tuple) and "items" in schema:
        return all(fits(item, schema["items"], tool, depth + 1) for item in value)
    properties = schema.get("properties")
    if isinstance(value, Mapping) and isinstance(properties, Mapping):
        required = schema.get("required")
        needed = [r for r in required if isinstance(r, str)] if isinstance(required, list | tuple) else []
        return all(name in value for name in needed) and all(
            fits(item, properties.get(name), tool, depth + 1) for name, item in value.items()
        )
    return True


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "integer":
            return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list | tuple)
        case "object":
            return isinstance(value, Mapping)
        case "null":
            return value is None
        case _:
            return True
