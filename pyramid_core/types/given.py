"""What users give: members in lists, settings by name. One check and one wording for every way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyramid_core.errors import InputError


def shown(value: object) -> str:
    """A value in an error message; what might hold a key is shown by its type alone."""
    plain = value is None or isinstance(value, (str, int, float)) or value in ([], ())
    return repr(value) if plain else f"of type {type(value).__name__}"


def check_fields(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise where something is given that there is not.

    Args:
        owner: what it is given to, for the error.
        given: the names.
        known: those that there are.

    Raises:
        InputError: names what is unknown, and what there is.
    """
    taken = list(known)
    unknown = sorted(set(given) - set(taken))
    if unknown:
        raise InputError(f"{owner} has no {', '.join(unknown)}: it takes {', '.join(taken)}")


def crowd_and_oracles(
    crowd: object, oracle: object, *, kind: str, alone: type | tuple[type, ...] = ()
) -> tuple[list[Any], list[Any]]:
    """The crowd and the oracles as lists, whatever iterable they came in.

    Args:
        crowd: several members.
        oracle: one member, or a list or tuple of them.
        kind: what members are, with its article ("a chat model"), for the errors.
        alone: types of members that can themselves be iterated over.

    Raises:
        InputError: one of the two is missing, or the crowd is no list.
    """
    noun = kind.partition(" ")[2]
    is_list = isinstance(crowd, Iterable) and not isinstance(crowd, (str, bytes, Mapping, type, alone))
    members: list[Any] = list(crowd) if is_list else []  # type: ignore[call-overload]
    if not members:
        raise InputError(f"crowd must be a list of at least one {noun}, not {shown(crowd)}")
    oracles = list(oracle) if isinstance(oracle, (list, tuple)) else [oracle]
    if not oracles or oracles[0] is None:
        raise InputError(
            f"oracle is missing: give the {noun} that is asked when the crowd is not to be trusted"
        )
    return members, oracles


def placed(crowd: list[Any], oracles: list[Any]) -> list[tuple[str, Any]]:
    """Every member with the words for where the user wrote it."""
    several = len(oracles) > 1
    return [
        *((f"crowd[{place}]", member) for place, member in enumerate(crowd)),
        *((f"oracle[{place}]" if several else "oracle", member) for place, member in enumerate(oracles)),
    ]


def no_member(place: str, value: object, *, kind: str, instead: str) -> InputError:
    """The error for something that is no member.

    Args:
        place: where it was written.
        value: what it is.
        kind: what it should be, with its article.
        instead: what to do.
    """
    if isinstance(value, type):
        name = value.__name__
        return InputError(f"{place} is the class {name}, not {kind}: make one of it, {name}(...)")
    return InputError(f"{place} is {shown(value)}, not {kind}: {instead}")
