"""Calls in normal form: two calls are the same call where their forms are equal.

Names have `.` and `_` alike. Arguments are compared by the types of their schema: numbers, booleans, dates and
alternatives of an enum by value, strings in a normal form that keeps what an expression or a path means. A default that
the schema gives is as good as left out. Arguments that the schema does not know stay in the form, so that they keep
calls apart. The forms of several calls are sorted: calls in parallel are a multiset.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from pyramid_core.calls.schemas import DEPTH, Tool, plain_name, types_of
from pyramid_core.text.normal import float_form, integer_form, number_form, value_form
from pyramid_core.types import ToolCall

CHARS = 20_000
"""The longest text of arguments that is parsed, and of a string that is put in normal form."""

_UNKNOWN = Tool(name="")
_TOKEN = re.compile(
    r"(?<![^\W_])-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|\.\d+|[^\W_]+|[-+*/^=<>%@#&|~!?$€£()\[\]{}]"
)
_SEPARATES = re.compile(r"(?<=[^\W\d_])[-/](?=[^\W\d_])|(?<=\d)[-/](?=\d)|_")
_OPERATORS = frozenset("+*/^=<>%|~")
_BRACKETS = frozenset("()[]{}?!$#&@€£")
_DASH = frozenset("-")
_ARTICLES = frozenset(("a", "an", "the"))
_MONTHS = {
    name: number
    for number, names in enumerate(
        "january jan,february feb,march mar,april apr,may,june jun,july jul,august aug,september sep sept,"
        "october oct,november nov,december dec".split(","),
        start=1,
    )
    for name in names.split()
}
_DATES = (
    re.compile(r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?:[T ]00:00(?::00)?Z?)?"),
    re.compile(r"(?P<b>[a-z]{3,9})\.?\s+(?P<d>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<y>\d{4})"),
    re.compile(r"(?P<d>\d{1,2})(?:st|nd|rd|th)?(?:\s+of)?[\s-]+(?P<b>[a-z]{3,9})\.?,?[\s-]+(?P<y>\d{4})"),
    re.compile(r"(?P<one>\d{1,2})[-/.](?P<two>\d{1,2})[-/.](?P<y>\d{4})"),
)


def calls_form(
    calls: Iterable[ToolCall], tools: Mapping[str, Tool], *, unordered: bool = False
) -> str | None:
    """The form of parallel calls as a multiset; None where the arguments of one are no object."""
    forms = []
    for call in calls:
        form = call_form(call, tools.get(plain_name(call.name)), unordered=unordered)
        if form is None:
            return None
        forms.append(form)
    return "[" + ",".join(sorted(forms)) + "]"


def call_form(call: ToolCall, tool: Tool | None = None, *, unordered: bool = False) -> str | None:
    """The form of one call; None where its arguments are no object.

    Args:
        call: as a model made it.
        tool: the tool on offer that it names; None where there is none, so that only values are compared.
        unordered: compare every array as a set; else those that the schema says have unique items.
    """
    arguments = arguments_of(call)
    if arguments is None:
        return None
    tool = tool or _UNKNOWN
    parts = []
    for name in sorted(arguments):
        schema = tool.properties.get(name)
        form = argument_form(arguments[name], schema, tool, unordered=unordered)
        if not is_default(form, schema, tool, unordered=unordered):
            parts.append(f"{name}={form}")
    return f"{plain_name(call.name)}({','.join(parts)})"


def arguments_of(call: ToolCall) -> Mapping[str, Any] | None:
    """A call's arguments as an object; no text at all is none given. None where they are no object."""
    found: Any = call.arguments
    if isinstance(found, str):
        if len(found) > CHARS:
            return None
        try:
            found = json.loads(found or "{}")
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, Mapping) else None


def is_default(form: str, schema: Any, tool: Tool, *, unordered: bool = False) -> bool:
    """Whether an argument's form is that of a default that its schema gives."""
    return any(
        "default" in one and form == argument_form(one["default"], schema, tool, unordered=unordered)
        for one in (schema, *tool.schemas(schema))
        if isinstance(one, Mapping)
    )


def argument_form(value: Any, schema: Any = None, tool: Tool = _UNKNOWN, *, unordered: bool = False) -> str:
    """The form of one argument by its schema, coerced to the schema's type where nothing is lost by it."""
    return _form(value, schema, tool, unordered=unordered, depth=0)


def _form(value: Any, schema: Any, tool: Tool, *, unordered: bool, depth: int) -> str:
    if depth > DEPTH:
        return "..."
    alternatives = tool.schemas(schema)
    value = coerced(value, types_of(alternatives))
    named = _of_enum(value, alternatives)
    if named is not None:
        return named
    if isinstance(value, Mapping):
        return _object_form(value, alternatives, tool, unordered=unordered, depth=depth)
    if isinstance(value, list | tuple):
        items = next((one["items"] for one in alternatives if "items" in one), None)
        forms = [_form(item, items, tool, unordered=unordered, depth=depth + 1) for item in value]
        if unordered or any(one.get("uniqueItems") is True for one in alternatives):
            forms.sort()
        return "[" + ",".join(forms) + "]"
    return _plain(value)


def _object_form(
    value: Mapping[Any, Any],
    alternatives: tuple[Mapping[str, Any], ...],
    tool: Tool,
    *,
    unordered: bool,
    depth: int,
) -> str:
    known: dict[str, Any] = {}
    for one in alternatives:
        properties = one.get("properties")
        if isinstance(properties, Mapping):
            known = {**properties, **known}
    parts = []
    for name, item in value.items():
        schema = known.get(str(name))
        form = _form(item, schema, tool, unordered=unordered, depth=depth + 1)
        if not is_default(form, schema, tool, unordered=unordered):
            parts.append(f"{json.dumps(str(name))}:{form}")
    return "{" + ",".join(sorted(parts)) + "}"


def coerced(value: Any, types: frozenset[str]) -> Any:
    """`value` as one of the types that its schema wants, where it stands for one without doubt; else itself."""
    if _is_number(value):
        if "string" in types and not types & {"number", "integer"}:
            return value_form(value)
        return bool(value) if types == {"boolean"} and value in (0, 1) else value
    if not isinstance(value, str) or not types or "string" in types:
        return value
    text = value.strip()
    if not text or len(text) > CHARS:
        return value
    if types & {"number", "integer"}:
        number = number_form(text)
        if number is not None:
            return _number(number)
    if "boolean" in types and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if "null" in types and text.lower() in ("null", "none"):
        return None
    if types & {"array", "object"} and text[0] in "[{":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return value
    return value


def _of_enum(value: Any, alternatives: tuple[Mapping[str, Any], ...]) -> str | None:
    """The form of the alternative that `value` is, as written or in normal form; None where it is none of them."""
    if isinstance(value, list | tuple | Mapping):
        return None
    loose = None
    for one in alternatives:
        options = one.get("enum")
        if not isinstance(options, list | tuple):
            continue
        for option in options:
            if isinstance(option, list | tuple | Mapping):
                continue
            loose = loose or _loose(value)
            if option == value or _loose(option) == loose:
                return _plain(option)
    return None


def _loose(value: Any) -> str:
    return written_form(
        value if isinstance(value, str) else value_form(value) if _is_number(value) else json.dumps(value)
    )


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return integer_form(value)
    if isinstance(value, float):
        return float_form(value) or repr(value)
    return _text(str(value))


def _text(value: str) -> str:
    return json.dumps(date_form(value) or written_form(value))


def written_form(text: str) -> str:
    """The normal form of a string argument: case, accents, spaces, quotes, commas and full stops do not count.

    A hyphen, slash or underscore that joins two words (or two numbers) is a space; operators and brackets stay where
    there is an operator, so that 2*(x+1) is not 2*x+1. Numbers are compared by value, articles dropped.
    """
    text = text.strip()[:CHARS]
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(mark for mark in text if not unicodedata.combining(mark))
    text = text.casefold().replace("'", "").replace("**", "^")
    tokens = _TOKEN.findall(_SEPARATES.sub(" ", text).replace(". ", " "))
    expression = any(token in _OPERATORS for token in tokens)
    kept = []
    for token in tokens:
        if token[-1].isdigit() and (token[0].isdigit() or token[0] in "-."):
            kept.append(number_form(token) or token)
        elif expression or not (token in _ARTICLES or token in _BRACKETS or token in _DASH):
            kept.append(token)
    return " ".join(kept) or text.strip()


def date_form(text: str) -> str | None:
    """The ISO form of a date that is written out; None where it is none, or the order of day and month is not plain."""
    text = text.strip().lower()
    if not 8 <= len(text) <= 30:
        return None
    for pattern in _DATES:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        parts = found.groupdict()
        day, month = parts.get("d"), parts.get("m") or _MONTHS.get(parts.get("b") or "")
        if "one" in parts:
            one, two = int(parts["one"]), int(parts["two"])
            if one <= 12 and two <= 12 and one != two:
                return None
            month, day = (one, two) if one <= 12 else (two, one)
        if month is None or day is None:
            return None
        try:
            return dt.date(int(parts["y"]), int(month), int(day)).isoformat()
        except ValueError:
            return None
    return None


def _number(form: str) -> int | float:
    return int(form) if form.removeprefix("-").isdigit() else float(form)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
