"""A TOML file that knows on which line each of its keys stands, so that an error can name it.

The parser of the standard library forgets lines. They are found again where an error wants one, by parsing the file's
beginning: a key stands on the last line of the shortest beginning that has it. What a beginning holds only grows with
its length, so the line is found by bisection.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz, process, utils

from pyramid_core.errors import InputError, redacted

Place = tuple[str | int, ...]
"""Where a value stands: keys, and the numbers of a list's items."""

MOST_BYTES = 1_000_000
"""Of a configuration file; a larger one is something else."""

_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A parsed file.

    Attributes:
        path: the file.
        text: what is in it.
        data: as TOML's types.
    """

    path: Path
    text: str
    data: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Source:
        """The file at `path`.

        Raises:
            InputError: it cannot be read, or is not TOML; says on which line.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            raise InputError(
                f"there is no configuration {path}: `pyramid init` writes one, -c names another"
            ) from None
        except OSError as error:
            raise InputError(f"the configuration {path} cannot be read ({error.strerror})") from error
        if len(raw) > MOST_BYTES:
            raise InputError(f"{path} has more than {MOST_BYTES} bytes: that is no configuration")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise InputError(f"{path}, line {line}: not UTF-8: save the file in that encoding") from error
        # A file written on Windows: TOML's parser and the count of lines see the same ends of lines.
        text = text.replace("\r\n", "\n")
        try:
            return cls(path=path, text=text, data=tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise _not_toml(path, text, str(error)) from error

    def line(self, place: Place) -> int | None:
        """The number of the line, from 1, on which the value at `place` begins; None where there is none."""
        lines = self.text.split("\n")
        low, high = 0, len(lines)
        if not _has(self.data, place):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _has(_beginning(lines, middle), place) else (middle, high)
        # A value of many lines ends here: it begins behind the last beginning that is complete without it.
        first = high
        while first > 1 and _parsed(lines, first - 1) is None:
            first -= 1
        return first

    def error(self, place: Place, message: str) -> InputError:
        """An error about the value at `place`, or about what surrounds it where it is missing."""
        for length in range(len(place), 0, -1):
            line = self.line(place[:length])
            if line is not None:
                return InputError(f"{self.path}, line {line}: {message}")
        return InputError(f"{self.path}: {message}")


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be; None where none is near."""
    found = process.extractOne(
        word, known, scorer=fuzz.ratio, processor=utils.default_process, score_cutoff=60
    )
    return None if found is None else str(found[0])


def suggestion(word: str, known: Sequence[str]) -> str:
    """What to say behind "there is no such ...": the nearest, and else all."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"


def _not_toml(path: Path, text: str, words: str) -> InputError:
    at = _AT.search(words)
    line = int(at[1]) if at and at[1] else text.count("\n") + 1
    what = words[: at.start()] if at else words
    hint = ""
    lines = text.split("\n")
    bare = re.match(r"\s*[\w.\"-]+\s*=\s*([A-Za-z./][^#\"']*?)\s*(?:#.*)?$", lines[min(line, len(lines)) - 1])
    if bare and what.startswith("Invalid value"):
        hint = f': texts stand in quotes, "{redacted(bare[1])}"'
    return InputError(f"{path}, line {line}: not TOML ({redacted(what)}){hint}")


def _parsed(lines: list[str], count: int) -> dict[str, Any] | None:
    """The first `count` lines; None where they end within a value."""
    try:
        return tomllib.loads("\n".join(lines[:count]))
    except tomllib.TOMLDecodeError:
        return None


def _beginning(lines: list[str], count: int) -> dict[str, Any]:
    """The longest complete beginning of at most `count` lines."""
    for length in range(count, 0, -1):
        found = _parsed(lines, length)
        if found is not None:
            return found
    return {}


def _has(data: Any, place: Place) -> bool:
    for key in place:
        if isinstance(key, int):
            if not isinstance(data, list) or key >= len(data):
                return False
        elif not isinstance(data, Mapping) or key not in data:
            return False
        data = data[key]
    return True
