"""The inside of a sandbox, with the program: load it, make the calls, and report each result as plain data.

This module runs in a fresh interpreter of its own, next to the program, and imports nothing of the project. Whatever
it holds, a program may find and change, so it holds nothing worth finding: the program, the calls with their
arguments, and the word that opens every line of a result, which keeps a program that writes into open descriptors
blindly from being taken for this module. A program that forges a result has only given another wrong answer, because
what the answer should be is known outside alone.

A result is one line of JSON whose containers are tagged lists (`["list", 1, 2]`), built from exact base types by
their own methods: no method of the program is called to print, compare or hash a value.
"""

from __future__ import annotations

import builtins
import os
import sys
from _json import encode_basestring_ascii as quoted
from collections.abc import Callable, Mapping
from typing import Any

DEPTH = 64
"""Containers nested deeper are not looked into (and a list that contains itself has an end)."""


class TooLarge(Exception):
    """A result that nobody would want to read."""


def work(job: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Load `job["program"]`, run `job["steps"]`, say every result, and end the process.

    A step is a pair: "eval" and an expression, or "exec" and statements.
    """
    end, limit, steps = os._exit, job["limits"]["result_chars"], job["steps"]
    module = type(sys)("program")
    sys.modules["program"] = module
    namespace = module.__dict__
    try:
        exec(compile(job["program"], "<program>", "exec", 0, True), namespace)  # noqa: S102 - what a sandbox is for.
    except BaseException as error:  # noqa: BLE001 - whatever a program raises is its result.
        say(f"unloaded {kind_of(error)}")
        end(0)
    say("loaded")
    for kind, source in steps:
        try:
            value = builtins.__dict__[kind](compile(source, "<call>", kind, 0, True), namespace)
            text = "value " + encoded(value, [limit])
        except BaseException as error:  # noqa: BLE001
            text = f"error {kind_of(error)}"
        say(text)
    end(0)


def kind_of(error: BaseException) -> str:
    """The name of an exception's class, as far as it is one."""
    name = type.__dict__["__name__"].__get__(type(error))
    return name[:80] if name.isidentifier() else "Exception"


def encoded(value: Any, room: list[int], depth: int = 0) -> str:
    """One line of JSON for a value; `room` holds the characters that may still be written.

    Raises:
        TooLarge: there is no room left.
    """
    kind = type(value)
    if value is None:
        text = "null"
    elif kind is bool:
        text = "true" if value else "false"
    elif issubclass(kind, int):
        text = _integer(int.__index__(value), room)
    elif issubclass(kind, float):
        text = float.__repr__(value)
        text = text if text[-1].isdigit() else f'["float","{text}"]'
    elif issubclass(kind, str):
        _fits(room, str.__len__(value))
        text = quoted(str.__str__(value))
    elif issubclass(kind, list | tuple | set | frozenset | dict):
        return _container(value, room, depth)
    elif issubclass(kind, bytes | bytearray):
        base = bytes if issubclass(kind, bytes) else bytearray
        _fits(room, 2 * base.__len__(value))
        text = f'["bytes","{base.hex(value)}"]'
    elif issubclass(kind, complex):
        text = f'["complex","{complex.__repr__(value)}"]'
    elif kind.__module__ in ("fractions", "decimal") and hasattr(kind, "as_integer_ratio"):
        above, below = value.as_integer_ratio()
        text = f'["ratio",{_integer(above, room)},{_integer(below, room)}]'
    else:
        text = f'["object",{quoted(str(kind.__name__)[:80])}]'
    _take(room, len(text))
    return text


_BASES = (("list", list), ("tuple", tuple), ("set", set), ("frozenset", frozenset), ("dict", dict))


def _container(value: Any, room: list[int], depth: int) -> str:
    name, base = next(pair for pair in _BASES if isinstance(value, pair[1]))
    if depth >= DEPTH:
        return f'["object","{name} deeper than {DEPTH}"]'
    _take(room, len(name) + 4)
    parts = [f'"{name}"']
    if base is dict:
        for key, item in dict.items(value):
            parts.append(encoded(key, room, depth + 1))
            parts.append(encoded(item, room, depth + 1))
    else:
        parts += [encoded(item, room, depth + 1) for item in base.__iter__(value)]
    return "[" + ",".join(parts) + "]"


def _integer(value: int, room: list[int]) -> str:
    """Decimal digits, or hexadecimal ones where there are too many for a decimal conversion."""
    bits = value.bit_length()
    if bits < 4000:
        return int.__repr__(value)
    _fits(room, bits // 4)
    return f'["int","{value:x}"]'


def _fits(room: list[int], size: int) -> None:
    """Look before a text of this size is made."""
    if size > room[0]:
        raise TooLarge


def _take(room: list[int], size: int) -> None:
    room[0] -= size + 1
    if room[0] < 0:
        raise TooLarge
