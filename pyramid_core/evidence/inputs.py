"""Inputs to try programs on: the examples in a question, and variations of them that keep their types.

An example is a call with literal arguments and, where the question states it, the value that it should have. A
variation changes one argument by its type (a number by one, a list shortened or turned round, a word changed), and
keeps what belongs together: a number that is a sequence's length follows that sequence. The draws depend on the
example and the seed alone, so the same question is always tried on the same inputs.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyramid_core.sandbox import Tests, split

_PROMPT = re.compile(
    r"^[ \t]*>>> ?(.*(?:\n[ \t]*\.\.\. ?.*)*)\n?((?:(?![ \t]*(?:>>>|\"\"\"|'''))[ \t]*\S.*\n?)*)",
    re.MULTILINE,
)
_ASSERT = re.compile(r"^[ \t]*(assert\b.*)$", re.MULTILINE)
_NEXT_LINE = re.compile(r"\n[ \t]*\.\.\. ?")
_MOST_CHARS = 20_000


@dataclass(frozen=True, kw_only=True)
class Example:
    """A call of a function with literal arguments."""

    name: str
    args: tuple[Any, ...]


def asserts_of(question: str) -> list[str]:
    """The tests that a question shows: its lines that assert something, and its doctests as asserts."""
    question = question[-_MOST_CHARS:]
    found = [line[1].strip() for line in _ASSERT.finditer(question)]
    for prompt in _PROMPT.finditer(question):
        call, wanted = _NEXT_LINE.sub("\n", prompt[1]).strip(), prompt[2].strip()
        if wanted and "\n" not in wanted:
            found.append(f"assert ({call}) == ({wanted})")
    return [test for test in found if split(test) is not None]


def examples_of(tests: Sequence[Tests]) -> list[Example]:
    """The calls that tests make, of functions that are called by name with literals."""
    found: list[Example] = []
    for test in tests:
        for call in test.calls:
            example = _example(call.source) if call.kind == "eval" else None
            if example is not None and example not in found:
                found.append(example)
    return found


def _example(source: str) -> Example | None:
    node = ast.parse(source, mode="eval").body
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
        return None
    try:
        return Example(name=node.func.id, args=tuple(ast.literal_eval(item) for item in node.args))
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


def varied(example: Example, count: int, seed: int = 0) -> list[Example]:
    """Up to `count` different variations of an example, the same ones for the same seed."""
    draw = random.Random(f"{seed}:{example!r}")
    found: dict[str, Example] = {repr(example): example}
    for _ in range(6 * count):
        if len(found) > count or not example.args:
            break
        args = list(example.args)
        places = [at for at, value in enumerate(args) if _can_vary(value)]
        if not places:
            break
        at = draw.choice(places)
        args[at] = _variation(args[at], draw)
        _keep_lengths(example.args, args, at)
        new = Example(name=example.name, args=tuple(args))
        found.setdefault(repr(new), new)
    return list(found.values())[1:]


def _keep_lengths(before: Sequence[Any], after: list[Any], changed: int) -> None:
    """Let a number that was the changed sequence's length be the new one's."""
    if not isinstance(before[changed], list | tuple | str):
        return
    for at, value in enumerate(before):
        if type(value) is int and value == len(before[changed]) > 1:
            after[at] = len(after[changed])


def _can_vary(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | list | tuple | dict | set)


def _variation(value: Any, draw: random.Random, depth: int = 0) -> Any:
    """A value of the same type, a small step away."""
    match value:
        case bool():
            return not value
        case int():
            return _number(value, draw)
        case float():
            return draw.choice(
                [value + 1.0, value - 1.0, value / 2, value * 2, value + 0.5, float(int(value))]
            )
        case str():
            return _text(value, draw)
        case list() | tuple():
            return type(value)(_sequence(list(value), draw, depth))
        case dict() if value:
            key = draw.choice(sorted(value, key=repr))
            if draw.random() < 0.4 and len(value) > 1:
                return {k: v for k, v in value.items() if k != key}
            return {**value, key: _variation(value[key], draw, depth + 1)}
        case set() if len(value) > 1:
            return value - {draw.choice(sorted(value, key=repr))}
    return value


def _number(value: int, draw: random.Random) -> int:
    """A number nearby; never much larger, because programs may take time that grows with it exponentially."""
    options = [value + 1, value - 1, value + 2, value // 2, value + draw.randint(-5, 5)]
    if abs(value) < 50:
        options.append(2 * value)
    kept = [option for option in options if option != value and (option > 0) == (value > 0)]
    return draw.choice(kept) if kept else value + 1


def _text(value: str, draw: random.Random) -> str:
    if len(value) < 2:
        return value + draw.choice("ab1 ")
    at = draw.randrange(len(value))
    other = draw.choice(value)
    return draw.choice(
        [
            value[1:],
            value[:-1],
            value[::-1],
            value[:at] + other + value[at + 1 :],
            value[:at] + other + value[at:],
            value[:at] + value[at + 1 :],
            value.swapcase(),
            value + value[:1],
        ]
    )


def _sequence(items: list[Any], draw: random.Random, depth: int) -> list[Any]:
    if not items:
        return items
    at = draw.randrange(len(items))
    ways: list[Callable[[], list[Any]]] = [
        lambda: items[::-1],
        lambda: draw.sample(items, len(items)),
        lambda: [*items, draw.choice(items)],
    ]
    if len(items) > 1:
        ways += [lambda: items[1:], lambda: items[:-1], lambda: items[:at] + items[at + 1 :]]
    if depth < 3 and _can_vary(items[at]):
        ways += 3 * [lambda: [*items[:at], _variation(items[at], draw, depth + 1), *items[at + 1 :]]]
    return draw.choice(ways)()
