"""The tools on offer, read from their JSON schemas as far as calls need it.

References are followed where a value leads, so a schema that refers to itself costs no more than the value is deep;
of alternatives (`anyOf`, `oneOf`) any will do, and what is no schema says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyramid_core.types import Query

DEPTH = 32
"""References and alternatives are followed so far, and values compared so deep."""

DESCRIPTION_CHARS = 4_000
"""So much of a tool's description is read."""

_STATED = re.compile(
    r"\bdefault(?:s|ed)?(?:\s+(?:value|factor|unit))?(?:\s+(?:is|to|are|will\s+be)|\s*[:=])\s+"
    r"""(?:'([^']{1,60})'|"([^"]{1,60})"|(-?\d[\w.]{0,20}|true|false|\w[\w/%-]{0,30}))""",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool.

    Attributes:
        name: as calls are compared by it.
        description: its beginning.
        properties: the schema of each argument.
        required: the names of arguments that must be given.
        closed: whether it says which arguments there are, and does not let others in.
        refusing: whether it says in so many words that it takes no others.
        root: the whole schema of its arguments, in which references are looked up.
    """

    name: str
    description: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    closed: bool = False
    refusing: bool = False
    root: Mapping[str, Any] = field(default_factory=dict)

    def schemas(self, schema: Any) -> tuple[Mapping[str, Any], ...]:
        """The alternatives that `schema`, a part of this tool's, stands for, references followed; () where it says nothing."""
        return tuple(_alternatives(schema, self.root, 0))


def plain_name(name: str) -> str:
    """A tool's name with `.` and `_` alike, as some providers allow no dots."""
    return name.strip().replace(".", "_")


def offered(query: Query) -> dict[str, Tool]:
    """The tools on offer by plain name, in order; what is no tool is passed over.

    Of two tools of one name either may be meant: arguments of both are known, and only those are required that both
    require.
    """
    found: dict[str, Tool] = {}
    for given in query.tools:
        tool = tool_of(given)
        if tool is None:
            continue
        twin = found.get(tool.name)
        found[tool.name] = tool if twin is None else _either(twin, tool)
    return found


def stated_default(schema: Mapping[str, Any]) -> Any:
    """The default that a schema has, or that its description states in words; None where there is none."""
    if "default" in schema:
        return schema["default"]
    words = schema.get("description")
    found = _STATED.search(words[:DESCRIPTION_CHARS]) if isinstance(words, str) else None
    return None if found is None else next(group for group in found.groups() if group is not None).rstrip(".")


def types_of(alternatives: tuple[Mapping[str, Any], ...]) -> frozenset[str]:
    """The JSON types that alternatives allow; empty where they do not say."""
    found: set[str] = set()
    for one in alternatives:
        kind = one.get("type")
        kinds = [kind] if isinstance(kind, str) else kind if isinstance(kind, list | tuple) else []
        found.update(_TYPES.get(name.lower(), name.lower()) for name in kinds if isinstance(name, str))
    return frozenset(found)


_TYPES = {
    "int": "integer",
    "float": "number",
    "double": "number",
    "str": "string",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "dict": "object",
}


def tool_of(given: Mapping[str, Any]) -> Tool | None:
    """The tool that an entry of a query's tools describes, in either of OpenAI's forms; None: it describes none."""
    function = given.get("function", given)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return None
    root = function.get("parameters")
    root = root if isinstance(root, Mapping) else {}
    top = _merged(tuple(_alternatives(root, root, 0)))
    properties = top.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = top.get("required")
    description = function.get("description")
    return Tool(
        name=plain_name(function["name"]),
        description=description[:DESCRIPTION_CHARS] if isinstance(description, str) else "",
        properties=properties,
        required=frozenset(r for r in required if isinstance(r, str))
        if isinstance(required, list | tuple)
        else frozenset(),
        closed="properties" in top and top.get("additionalProperties", False) is False,
        refusing=top.get("additionalProperties") is False,
        root=root,
    )


def _merged(alternatives: tuple[Mapping[str, Any], ...]) -> Mapping[str, Any]:
    """One schema of an object for several: the properties of all; required is what all require."""
    if len(alternatives) == 1:
        return alternatives[0]
    properties: dict[str, Any] = {}
    required: set[str] | None = None
    for one in alternatives:
        known, needs = one.get("properties"), one.get("required")
        if isinstance(known, Mapping):
            properties = {**known, **properties}
        names = {n for n in needs if isinstance(n, str)} if isinstance(needs, list | tuple) else set()
        required = names if required is None else required & names
    return {"properties": properties, "required": sorted(required or ())} if properties else {}


def _alternatives(schema: Any, root: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    if not isinstance(schema, Mapping) or depth > DEPTH:
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _alternatives(_pointed(reference, root), root, depth + 1)
        return
    for word in ("anyOf", "oneOf"):
        options = schema.get(word)
        if isinstance(options, list | tuple) and options:
            for option in options:
                yield from _alternatives(option, root, depth + 1)
            return
    every = schema.get("allOf")
    if isinstance(every, list | tuple) and every:
        yield from (_joined(schema, every, root, depth),)
        return
    yield schema


def _joined(schema: Mapping[str, Any], every: Any, root: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
    """What `allOf` says together with what stands beside it; of alternatives in it the first."""
    joined: dict[str, Any] = {}
    for part in every:
        for one in _alternatives(part, root, depth + 1):
            properties = {**joined.get("properties", {}), **_mapping(one.get("properties"))}
            required = [*joined.get("required", ()), *_list(one.get("required"))]
            joined = {**joined, **one, "properties": properties, "required": required}
            break
    return {**joined, **{key: value for key, value in schema.items() if key != "allOf"}}


def _pointed(reference: str, root: Mapping[str, Any]) -> Any:
    """What a local reference points to; None for any other."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _either(one: Tool, other: Tool) -> Tool:
    return Tool(
        name=one.name,
        description=f"{one.description}\n{other.description}"[:DESCRIPTION_CHARS],
        properties={**other.properties, **one.properties},
        required=one.required & other.required,
        closed=one.closed and other.closed,
        refusing=one.refusing and other.refusing,
        root={**other.root, **one.root},
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
