"""Tool schemas: a call whose arguments its tool refuses is a failed answer, not a vote.

What a schema refuses for its type alone but means without doubt (a number or a truth value in quotes) is no fault:
answers are compared in that form too (`equivalence.argument_form`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pyramid_core.errors import InputError, MissingExtra
from pyramid_core.types import ToolCall

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_REMEMBERED = 128
_SHOWN = 160
_IN_QUOTES = {"integer": int, "number": float}


def check_tools(tools: Iterable[Mapping[str, Any]]) -> None:
    """Raise where a tool's parameters are no JSON schema.

    Args:
        tools: in OpenAI's format; those that a provider brings itself have no schema and are passed over.

    Raises:
        InputError: names the tool, and says where its schema is wrong.
    """
    parameters = _parameters(tools)
    if not parameters:
        return
    schema_error = _library().exceptions.SchemaError
    for name, schema in parameters.items():
        try:
            _validator(_key(schema))
        except schema_error as error:
            where = "".join(f"[{part!r}]" for part in error.absolute_path)
            raise InputError(
                f"tool {name!r} has parameters{where} that are no JSON schema: {error.message[:_SHOWN]}"
            ) from None
        except (TypeError, ValueError) as error:
            raise InputError(f"tool {name!r} has parameters that are not plain JSON: {error}") from None


def fault_of(call: ToolCall, tools: Iterable[Mapping[str, Any]]) -> str:
    """Why `call` cannot be made with the tools on offer; "" where it can, or where nothing is known of its tool.

    Args:
        call: what a model asks for.
        tools: in OpenAI's format.
    """
    offered = list(tools)
    schemas = _parameters(offered)
    if call.name not in schemas:
        closed = offered and len(schemas) == len(offered)
        return f"there is no tool {call.name!r}, only {', '.join(schemas)}" if closed else ""
    if not isinstance(call.arguments, Mapping):
        return f"{call.name}'s arguments are no JSON object: {call.arguments[:_SHOWN]!r}"
    for error in _validator(_key(schemas[call.name])).iter_errors(dict(call.arguments)):
        if not _in_quotes(error):
            where = ".".join(map(str, error.absolute_path))
            return f"{call.name}({where}): {error.message[:_SHOWN]}"
    return ""


def _parameters(tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The schema of each tool on offer by its name; one without parameters takes anything."""
    found: dict[str, Any] = {}
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            found[function["name"]] = function.get("parameters") or {}
    return found


def _key(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True)


@lru_cache(maxsize=_REMEMBERED)
def _validator(schema: str) -> Validator:
    kind = _library().Draft202012Validator
    parsed = json.loads(schema)
    kind.check_schema(parsed)
    return kind(parsed)


def _library() -> Any:
    try:
        import jsonschema
    except ImportError as error:
        raise MissingExtra("jsonschema", "langchain") from error
    return jsonschema


def _in_quotes(error: ValidationError) -> bool:
    """Whether all that is wrong is that a number or a truth value is in quotes."""
    wanted, value = error.validator_value, error.instance
    if error.validator in ("anyOf", "oneOf"):
        return any(_in_quotes(inner) for inner in error.context or ())
    if error.validator != "type" or not isinstance(value, str):
        return False
    for kind in [wanted] if isinstance(wanted, str) else wanted:
        if kind == "boolean" and value.strip().lower() in ("true", "false"):
            return True
        try:
            _IN_QUOTES[kind](value)
        except (KeyError, ValueError):
            continue
        return True
    return False
