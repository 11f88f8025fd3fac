"""Saving: what of a `PyramidLLM` can be written down, and what must be given again.

Members hold keys, connections and callbacks, so they are never written; of a router, rule and policy what is plain
data is. What is missing is named where the saved form is read, not where the first question fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyramid_core.errors import InputError
from pyramid_core.prices import Price
from pyramid_core.types import Policy

MEMBERS = "members"
UNSAVED = "unsaved"

_OBJECTS = ("router", "rule", "gatherers", "on_trace")


def saved(fields: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    """The plain part of a pyramid's fields; `members` tells a reader who they were, by name."""
    data: dict[str, Any] = {MEMBERS: dict(members)}
    unsaved = []
    for name in _OBJECTS:
        value = fields[name]
        if isinstance(value, Path):
            value = str(value)
        if value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool)):
            data[name] = value
        else:
            unsaved.append(name)
    if fields["policy"] is not None:
        data["policy"] = asdict(fields["policy"])
    if fields["prices"]:
        data["prices"] = {name: asdict(price) for name, price in fields["prices"].items()}
    return data | {UNSAVED: unsaved}


def restored(data: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a saved pyramid with what is given again.

    Raises:
        InputError: names everything that was not saved and is not given.
    """
    fields = {name: value for name, value in data.items() if name not in (MEMBERS, UNSAVED, "class_name")}
    if isinstance(fields.get("policy"), Mapping):
        fields["policy"] = Policy(**fields["policy"])
    if isinstance(fields.get("prices"), Mapping):
        fields["prices"] = {
            name: price if isinstance(price, Price) else _price(price)
            for name, price in fields["prices"].items()
        }
    fields |= given
    missing = [name for name in ("crowd", "oracle", *data.get(UNSAVED, ())) if name not in given]
    if missing:
        raise InputError(
            f"a saved PyramidLLM has no {', '.join(missing)}: members hold keys, and objects are not written down; "
            f"it had {dict(data.get(MEMBERS) or {})}. Pass from_dict(data, {', '.join(f'{m}=...' for m in missing)})"
        )
    return fields


def _price(data: Mapping[str, Any]) -> Price:
    """A price, and those for longer prompts within it."""
    above = tuple((start, _price(price)) for start, price in data.get("above") or ())
    return Price(**{**data, "above": above})
