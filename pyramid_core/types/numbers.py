"""What a number that a user gives must be: one check and one wording for every argument."""

from __future__ import annotations

import math
from typing import TypeGuard

from pyramid_core.errors import InputError


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a finite number; booleans, NaN and infinities are none, nor is an int beyond any float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_number(
    name: str,
    value: object,
    *,
    low: float,
    high: float = math.inf,
    above: bool = False,
    whole: bool = False,
    unit: str = "",
) -> None:
    """Raise unless `value` is a finite number in [low, high], or in (low, high] where `above`.

    Args:
        name: of the argument, for the error.
        value: what was given.
        low: the least it may be.
        high: the most it may be.
        above: it must be more than `low`.
        whole: it must be an integer.
        unit: what it counts, for the error ("seconds", "USD").

    Raises:
        InputError: it is something else; says what is wanted and what was given.
    """
    good = is_number(value) and (low < value <= high if above else low <= value <= high)
    if not good or (whole and not isinstance(value, int)):
        kind = ("a whole number" if whole else "a number") + (f" of {unit}" if unit else "")
        if math.isfinite(high):
            wanted = f"between {low:g} and {high:g}"
        else:
            wanted = f"{'above' if above else 'of at least'} {low:g}"
        raise InputError(f"{name} must be {kind} {wanted}, not {value!r}")
