"""Plain JSON both ways: NaN is null, infinities are strings, and what JSON cannot say is said in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyramid_core.errors import TraceError
from pyramid_core.types import NAN

_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def from_number(value: float | None) -> float | str | None:
    """`value` as JSON has it: null for NaN and None, "inf" or "-inf" for an infinity."""
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return None
    if value in (math.inf, -math.inf):
        return "inf" if value > 0 else "-inf"
    return value


def to_number(value: Any, name: str) -> float:
    """The number that `from_number` wrote; NaN for null.

    Raises:
        TraceError: it is something else; `name` says where.
    """
    if value is None:
        return NAN
    if isinstance(value, str) and value in _INFINITIES:
        return _INFINITIES[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TraceError(f"{name} is {value!r}, which is not a number")
    return value


def to_optional(value: Any, name: str) -> float | None:
    """As `to_number`, but None for null."""
    return None if value is None else to_number(value, name)


def to_sequence(value: Any, name: str) -> Sequence[Any]:
    """`value`, which must be a list.

    Raises:
        TraceError: it is not.
    """
    if isinstance(value, list | tuple):
        return value
    raise TraceError(f"{name} is {type(value).__name__}, not a list")


def to_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """`value`, which must be an object.

    Raises:
        TraceError: it is not.
    """
    if isinstance(value, Mapping):
        return value
    raise TraceError(f"{name} is {type(value).__name__}, not an object")


def plain(value: Any) -> Any:
    """`value` in JSON's types; arrays become lists, and anything else the words it prints as."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return from_number(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    to_list = getattr(value, "tolist", None)
    return plain(to_list()) if callable(to_list) else str(value)
