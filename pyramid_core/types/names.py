"""Names of members that are given several times."""

from __future__ import annotations

from collections.abc import Iterable


def unique_names(names: Iterable[str]) -> list[str]:
    """The names in order; one that comes again becomes `name#2`, `name#3`, passing over names that are taken."""
    unique: dict[str, None] = {}
    for name in names:
        candidate, again = name, 1
        while candidate in unique:
            again += 1
            candidate = f"{name}#{again}"
        unique[candidate] = None
    return list(unique)
