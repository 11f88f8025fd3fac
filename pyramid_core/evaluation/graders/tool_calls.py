"""The grader of tool calls: accepted values for each parameter, as the Berkeley Function Calling Leaderboard has them.

    [{"name": "ride", "arguments": {"to": ["Berkeley", "Berkeley, CA"], "seats": [2], "kind": ["", "plus"]}}]

A parameter's list holds every value that is right for it; `""` in it means that it may be left out. Inside an
accepted object each field has such a list again; the items of an accepted array are the items themselves. No calls
(`[]`) means that calling anything is wrong, and no reference (None) that any call of a tool on offer is right. Rules:
Patil et al., "The Berkeley Function Calling Leaderboard", 2025 (its checker of syntax trees), but for four that are
kinder: 2.0 will do for 2; what may be left out may be so even where the schema requires it; a parameter with no
accepted value at all takes an empty list (which is what is meant where this occurs); and parallel calls are matched as
well as they can be, not first come, first served.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyramid_core.types import Answer, Query, ToolCall

_IGNORED = re.compile(r"[ ,./\-_*^]")
_DEPTH = 32


def tool_calls(answer: Answer | str, reference: Any, query: Query | str = "") -> bool | None:
    """Whether the calls are the reference's; text beside them does not matter.

    Args:
        answer: with its `tool_calls`; a text makes none.
        reference: the accepted calls; [] where none is right; None where any call of an offered tool is.
        query: with its `tools`: what is on offer, where the reference is None.

    Returns:
        None where the reference is no list of calls.
    """
    made = () if isinstance(answer, str) else answer.tool_calls
    if reference is None:
        offered = _names(() if isinstance(query, str) else query.tools)
        return any(_callable(call, offered) for call in made)
    if not isinstance(reference, list | tuple) or not all(_is_reference(wanted) for wanted in reference):
        return None
    if len(made) != len(reference):
        return False
    return _all_matched([[_right(call, wanted) for call in made] for wanted in reference])


def _right(call: ToolCall, wanted: Mapping[str, Any]) -> bool:
    given = _arguments(call)
    same_name = _plain_name(call.name) == _plain_name(wanted["name"])
    return given is not None and same_name and _fields(given, wanted["arguments"])


def _fields(given: Mapping[str, Any], wanted: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether the fields are known, their values accepted, and those left out may be."""
    return all(
        name in wanted and any(_same(value, one, depth) for one in _listed(wanted[name]) or [[]])
        for name, value in given.items()
    ) and all("" in _listed(values) for name, values in wanted.items() if name not in given)


def _same(value: Any, one: Any, depth: int = 0) -> bool:
    """Whether a value is this accepted one."""
    if depth > _DEPTH:
        return False
    if isinstance(one, bool) or isinstance(value, bool) or one is None or value is None:
        return value is one
    if isinstance(one, int | float):
        return isinstance(value, int | float) and value == one
    if isinstance(one, str):
        return isinstance(value, str) and _plain_text(value) == _plain_text(one)
    if isinstance(one, Mapping):
        return isinstance(value, Mapping) and _fields(value, one, depth + 1)
    if isinstance(one, list | tuple) and isinstance(value, list | tuple):
        return len(value) == len(one) and all(map(lambda a, b: _same(a, b, depth + 1), value, one))
    return False


def _listed(values: Any) -> Sequence[Any]:
    """The accepted values of a field; a bare value is the only one."""
    return values if isinstance(values, list | tuple) else [values]


def _plain_text(text: str) -> str:
    """Without case, spaces and the marks that dates and names are written with."""
    return _IGNORED.sub("", text).lower().replace("'", '"')


def _plain_name(name: str) -> str:
    return name.replace(".", "_")


def _arguments(call: ToolCall) -> Mapping[str, Any] | None:
    """The arguments as an object; None where they are none."""
    found: Any = call.arguments
    if isinstance(found, str):
        try:
            found = json.loads(found or "{}")
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, Mapping) else None


def _names(tools: Sequence[Mapping[str, Any]]) -> set[str]:
    """The names of the tools on offer; what is no tool is passed over."""
    functions = (tool.get("function", tool) for tool in tools)
    names = (function.get("name") for function in functions if isinstance(function, Mapping))
    return {_plain_name(name) for name in names if isinstance(name, str)}


def _callable(call: ToolCall, offered: set[str]) -> bool:
    """Whether a call could be carried out, as far as is known what is on offer."""
    return _arguments(call) is not None and (not offered or _plain_name(call.name) in offered)


def _is_reference(wanted: Any) -> bool:
    return (
        isinstance(wanted, Mapping)
        and isinstance(wanted.get("name"), str)
        and isinstance(wanted.get("arguments"), Mapping)
    )


def _all_matched(fits: Sequence[Sequence[bool]]) -> bool:
    """Whether every row can have a column of its own that fits (augmenting paths, Kuhn 1955)."""
    owner: dict[int, int] = {}

    def found(row: int, seen: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in seen:
                seen.add(column)
                if column not in owner or found(owner[column], seen):
                    owner[column] = row
                    return True
        return False

    return all(found(row, set()) for row in range(len(fits)))
