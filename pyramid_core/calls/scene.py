"""What is on offer and what was said, and each call seen before them; worked out once for a query.

A `Scene` is of a query, a `SeenCall` of one call in it. The *fit* of a tool is how far its words and the question's
are the same: a crude measure, but it needs no model, and what matters is that it is low where a tool is beside the point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyramid_core.calls.forms import argument_form, arguments_of, is_default
from pyramid_core.calls.grounding import Conversation, conversation_of, stem, stems_of, words_in
from pyramid_core.calls.schemas import Tool, offered, plain_name, stated_default
from pyramid_core.calls.validity import Validity, validity_of
from pyramid_core.text import lazy
from pyramid_core.types import Query, ToolCall

_REQUEST = re.compile(r"\band\b|\balso\b|\bthen\b|[;,?]|\.\s")
_NO_TOOL = Tool(name="")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How far a tool's words and the question's are the same, 0 to 1; NaN where there are none.

    Attributes:
        name: share of the words of the tool's name that the question has.
        question: share of the question's words that the tool's name or description has.
    """

    name: float
    question: float

    @property
    def both(self) -> float:
        """Their mean."""
        return (self.name + self.question) / 2


class Scene:
    """The tools on offer, and the conversation, as calls are seen before them."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.tools: Mapping[str, Tool] = offered(query)
        self.said: Conversation = conversation_of(query)
        self._seen: dict[int, SeenCall] = {}

    @lazy
    def fits(self) -> dict[str, Fit]:
        """The fit of each tool on offer."""
        return {name: _fit(tool, self.said.asked) for name, tool in self.tools.items()}

    @lazy
    def requests(self) -> float:
        """A count of what in the last message may separate requests: conjunctions, commas, ends of sentences; plus 1."""
        return 1.0 + len(_REQUEST.findall(self.said.last))

    @lazy
    def vocabulary(self) -> dict[str, frozenset[str]]:
        """The stems of each tool's name and description."""
        return {
            name: stems_of(tool.name.replace("_", " ")) | stems_of(tool.description)
            for name, tool in self.tools.items()
        }

    def seen(self, call: ToolCall) -> SeenCall:
        """A call before this scene; the same object for the same call."""
        known = self._seen.get(id(call))
        if known is None or known.call is not call:
            known = self._seen[id(call)] = SeenCall(call, self)
        return known

    def form(self, calls: Iterable[ToolCall]) -> str | None:
        """The form of parallel calls as a multiset; None where the arguments of one are no object."""
        forms = [self.seen(call).form for call in calls]
        known = [form for form in forms if form is not None]
        return f"[{','.join(sorted(known))}]" if len(known) == len(forms) else None


def scene_in(kept: dict[Any, Any], query: Query) -> Scene | None:
    """The scene of a query, kept for all observations of it; None where no tool is on offer."""
    if not query.tools:
        return None
    scene = kept.get("scene")
    if not isinstance(scene, Scene) or scene.query is not query:
        scene = kept["scene"] = Scene(query)
    return scene


class SeenCall:
    """One call, before the tools on offer and what was said."""

    def __init__(self, call: ToolCall, scene: Scene) -> None:
        self.call = call
        self.name = plain_name(call.name)
        self.tool: Tool | None = scene.tools.get(self.name)
        self._scene = scene

    @lazy
    def arguments(self) -> Mapping[str, Any]:
        """Its arguments; none where they are no object."""
        return arguments_of(self.call) or {}

    @lazy
    def forms(self) -> dict[str, str]:
        """The normal form of each argument."""
        tool = self.tool or _NO_TOOL
        return {
            name: argument_form(value, tool.properties.get(name), tool)
            for name, value in self.arguments.items()
        }

    @lazy
    def said(self) -> dict[str, str]:
        """The normal form of each argument but those that are their schema's default."""
        tool = self.tool or _NO_TOOL
        return {
            name: form
            for name, form in sorted(self.forms.items())
            if not is_default(form, tool.properties.get(name), tool)
        }

    @lazy
    def form(self) -> str | None:
        """Its normal form; None where its arguments are no object."""
        if arguments_of(self.call) is None:
            return None
        return f"{self.name}({','.join(f'{name}={form}' for name, form in self.said.items())})"

    @lazy
    def validity(self) -> Validity:
        """What is wrong with it by its schema."""
        return validity_of(self.call, self.tool)

    @lazy
    def defaults(self) -> frozenset[str]:
        """Arguments whose value is the default that the schema gives or its description states."""
        tool = self.tool or _NO_TOOL
        found = set()
        for name, form in self.forms.items():
            schema = tool.properties.get(name)
            default = stated_default(schema) if isinstance(schema, Mapping) else None
            if default is not None and argument_form(default, schema, tool) == form:
                found.add(name)
        return frozenset(found)

    @lazy
    def grounds(self) -> dict[str, float]:
        """How far each argument is grounded in what was said, 0 to 1; defaults and truth values need no ground."""
        found = {}
        for name, value in self.arguments.items():
            share = None if name in self.defaults else self._scene.said.ground(value)
            if share is not None:
                found[name] = share
        return found

    @lazy
    def words(self) -> frozenset[str]:
        """The stems of its arguments' values."""
        return stems_of(" ".join(_leaves(self.arguments)))

    @lazy
    def covered(self) -> frozenset[str]:
        """The stems that it takes care of: of its tool, and of its values."""
        return self.words | self._scene.vocabulary.get(self.name, frozenset())


def _fit(tool: Tool, asked: frozenset[str]) -> Fit:
    name = {stem(word) for word in words_in(tool.name.replace("_", " ")) if len(word) > 2}
    text = stems_of(tool.description) | name
    return Fit(
        name=len(name & asked) / len(name) if name else float("nan"),
        question=len(asked & text) / len(asked) if asked else float("nan"),
    )


def _leaves(value: Any, depth: int = 0) -> list[str]:
    if depth > 16:
        return []
    if isinstance(value, Mapping):
        return [text for item in list(value.values())[:64] for text in _leaves(item, depth + 1)]
    if isinstance(value, list | tuple):
        return [text for item in value[:64] for text in _leaves(item, depth + 1)]
    return [] if value is None or isinstance(value, bool) else [str(value)[:2_000]]
