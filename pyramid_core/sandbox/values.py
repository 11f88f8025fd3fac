"""What a program returned, as plain values: read from the child's lines without trusting them.

Only exact base types come out, so that comparing a value with an expected one calls nobody's methods. What is no
literal (an object, a generator) becomes an `Opaque`, equal to no literal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Opaque:
    """A value that is no literal, equal to nothing but itself; `kind` is the name of its type, as the program gives it."""

    kind: str


def decoded(text: str) -> Any:
    """The value of one line of a child's JSON.

    Raises:
        ValueError: it is not what the child writes.
    """
    try:
        return _plain(json.loads(text))
    except (RecursionError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ValueError(f"not a result: {type(error).__name__}: {error}") from error


def _plain(found: Any) -> Any:
    if not isinstance(found, list):
        return found if not isinstance(found, dict) else _READERS["an untagged object"]
    tag, *items = found
    return _READERS[tag](items)


def _dict(items: list[Any]) -> dict[Any, Any]:
    plain = [_plain(item) for item in items]
    return dict(zip(plain[::2], plain[1::2], strict=True))


_READERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": lambda items: [_plain(item) for item in items],
    "tuple": lambda items: tuple(_plain(item) for item in items),
    "set": lambda items: {_plain(item) for item in items},
    "frozenset": lambda items: frozenset(_plain(item) for item in items),
    "dict": _dict,
    "int": lambda items: int(items[0], 16),
    "float": lambda items: float(items[0]),
    "bytes": lambda items: bytes.fromhex(items[0]),
    "complex": lambda items: complex(items[0]),
    "ratio": lambda items: Fraction(_plain(items[0]), _plain(items[1])),
    "object": lambda items: Opaque(kind=str(items[0])),
}
