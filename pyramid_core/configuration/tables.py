"""From a TOML table to a frozen dataclass: its fields are the table's keys, their annotations say what a value must be.

So a table has no schema beside the dataclass that it fills, and every error names file, line and key, and the nearest
thing that would have been right. Keys for services are refused wherever they stand: a configuration is a text that is
mailed and committed.
"""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pyramid_core.configuration.source import Place, Source, nearest, suggestion
from pyramid_core.errors import InputError, redacted

T = TypeVar("T")

SECRETS = frozenset(
    {"api_key", "apikey", "key", "token", "access_token", "secret", "password", "authorization"}
)
"""Keys under which somebody may put a service's key."""

_WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


def filled(
    kind: type[T],
    source: Source,
    place: Place,
    *,
    read: tuple[str, ...] = (),
    hidden: tuple[str, ...] = (),
    elsewhere: Mapping[str, str] | None = None,
) -> T:
    """The dataclass `kind`, filled from the table at `place`.

    Args:
        kind: a keyword-only dataclass whose annotations are of `str`, `int`, `float`, `bool`, `Path`, `Literal`,
            tuples of them, mappings to them, further dataclasses, and None.
        source: the file.
        place: of the table in it.
        read: keys of the table that somebody else reads.
        hidden: fields that are not for a file.
        elsewhere: keys that belong into another table, and which, for the error.

    Raises:
        InputError: the table has an unknown key, lacks one, or a value is of the wrong kind or out of its range.
    """
    table = table_at(source, place)
    known = {f.name: f for f in fields(kind) if f.init and f.name not in hidden}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for key in table:
        check_key(source, (*place, key), known=(*read, *known), elsewhere=elsewhere)
    values = {key: _value(source, (*place, key), hints[key], table[key]) for key in table if key not in read}
    for name, field in known.items():
        if name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise source.error(place, f"{_title(place)} needs the key {name!r}")
    try:
        return kind(**values)
    except InputError as error:
        raise located(error, source, place, tuple(known)) from error


def located(error: Exception, source: Source, place: Place, keys: tuple[str, ...]) -> InputError:
    """`error` with the line of the key that it begins with, or else of the table."""
    words = str(error)
    about = [key for key in keys if words.startswith((key, f"the {key}")) and key in table_at(source, place)]
    return source.error((*place, *about[:1]), words)


def table_at(source: Source, place: Place) -> Mapping[str, Any]:
    """The table at `place`; empty where there is none.

    Raises:
        InputError: something else is there.
    """
    found: Any = source.data
    for key in place:
        found = found.get(key, {}) if isinstance(found, Mapping) else found[key]
    if not isinstance(found, Mapping):
        name = place[-1]
        raise source.error(place, f"{name} is {_shown(found)}, not a table: write [{name}] above its keys")
    return found


def check_key(
    source: Source, place: Place, *, known: tuple[str, ...], elsewhere: Mapping[str, str] | None = None
) -> None:
    """Raise where the last of `place` is not a key that its table may have.

    Raises:
        InputError: it is unknown, or holds a secret.
    """
    key = str(place[-1])
    if key in known:
        return
    if _names_secret(key):
        raise _secret(source, place)
    where = (elsewhere or {}).get(key)
    if where is not None and nearest(key, known) is None:
        raise source.error(place, f"{_title(place[:-1])} has no key {key!r}: it belongs {where}")
    raise source.error(place, f"{_title(place[:-1])} has no key {key!r}: {suggestion(key, known)}")


def check_no_secret(source: Source, place: Place, value: Any) -> None:
    """Raise where a text at or under `place` looks like a service's key; it is not shown.

    Raises:
        InputError: one does.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_no_secret(source, (*place, str(key)), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            check_no_secret(source, (*place, number), inner)
    elif isinstance(value, str) and redacted(value) != value:
        raise _secret(source, place)


def _value(source: Source, place: Place, hint: Any, value: Any) -> Any:
    """`value` as `hint` wants it.

    Raises:
        InputError: it is of another kind.
    """
    key = place[-1]
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        fits, made = _fitting(source, place, option, value)
        if fits:
            return made
    literals = [str(one) for option in options if get_origin(option) is Literal for one in get_args(option)]
    if literals and isinstance(value, str):
        raise source.error(place, f"{key} cannot be {value!r}: {suggestion(value, literals)}")
    wanted = " or ".join(dict.fromkeys(_wanted(one) for one in options if one is not types.NoneType))
    quotes = f', in quotes: "{value}"' if str in options and isinstance(value, int | float) else ""
    raise source.error(place, f"{key} must be {wanted}{quotes}, not {_shown(value)}")


def _fitting(source: Source, place: Place, hint: Any, value: Any) -> tuple[bool, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner and isinstance(value, str), value
    if origin is tuple:
        if not isinstance(value, list):
            return False, None
        return True, tuple(_value(source, (*place, n), inner[0], one) for n, one in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False, None
        return True, {name: _value(source, (*place, name), inner[1], one) for name, one in value.items()}
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool), value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if hint is Path:
        return isinstance(value, str) and bool(value), _path(source, value)
    if hint is str and isinstance(value, dt.date):
        return True, value.isoformat()
    if hint is Any:
        return True, value.isoformat() if isinstance(value, dt.date | dt.time) else value
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__") and isinstance(value, Mapping):
        return True, filled(hint, source, place)
    return hint in (str, bool) and isinstance(value, hint), value


def _path(source: Source, value: Any) -> Path | None:
    """A path, from the folder that the configuration is in."""
    return source.path.parent / Path(value).expanduser() if isinstance(value, str) else None


def _wanted(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(f'"{one}"' for one in get_args(hint))
    if origin is tuple:
        return f"a list in brackets, each {_wanted(get_args(hint)[0])}"
    if origin is not None or hasattr(hint, "__dataclass_fields__"):
        return "a table"
    return _WORDS.get(hint, "something else")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return "a table" if isinstance(value, Mapping) else "a list"
    return redacted(repr(value))[:80]


def _title(place: Place) -> str:
    """The table as its heading has it."""
    names = [str(key) for key in place if isinstance(key, str)]
    if not names:
        return "the top of the file"
    listed = isinstance(place[-1], int)
    return f"[[{'.'.join(names)}]]" if listed else f"[{'.'.join(names)}]"


def _names_secret(key: str) -> bool:
    return key.lower().replace("-", "_") in SECRETS


def _secret(source: Source, place: Place) -> InputError:
    key = str(place[-1])
    what = key if _names_secret(key) else f"what {key} has looks like a key or a password and"
    return source.error(
        place,
        f"{what} must not be in this file: put it into an environment variable and give its name, "
        'api_key_env = "NAME", or into a file, api_key_file = "PATH"',
    )
