"""Where the values of arguments come from: said in the conversation, derived from what was said, or from nowhere.

A model that calls a tool although none fits has to invent what to call it with; so has one that guesses what it should
have asked for. A value is *found* where the conversation says it in other case, spelling or number words; *derived*
where it is half said (a part of a name, a number times a power of ten, the year of a date); else from *nowhere*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rapidfuzz import fuzz

from pyramid_core.calls.forms import date_form, written_form
from pyramid_core.calls.schemas import DEPTH
from pyramid_core.text import lazy
from pyramid_core.text.normal import number_form
from pyramid_core.types import Query

TEXT_CHARS = 12_000
"""So much of a conversation is looked at, from its end."""

_STOP = frozenset(
    "a an the of in on at to for from by with and or is are was were be been do does did how what which who when where "
    "why can could would should will shall may might you your me my i we us our it its this that these those there please "
    "want need like tell give get let find show help know if then than as about into over under between not no any some "
    "all also just so up out have has had they them their he she his her after before using use used per each".split()
)
_WORDS = {
    word: value
    for value, words in enumerate(
        "zero,one first once a single,two second twice both pair half,three third triple,four fourth quarter,five fifth,"
        "six sixth,seven seventh week,eight eighth,nine ninth,ten tenth,eleven eleventh,twelve twelfth dozen,thirteen,"
        "fourteen fortnight,fifteen,sixteen,seventeen,eighteen,nineteen,twenty".split(",")
    )
    for word in words.split()
} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "hundred": 100,
    "thousand": 1_000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
}
_SCALES = (0.001, 0.01, 0.1, 10.0, 100.0, 1e3, 1e6, 1e9, 60.0, 1 / 60, 3_600.0, 12.0, 24.0, 7.0)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|-?\.\d+")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_NAME = re.compile(r"(?<![.!?:]\s)(?<!^)(?<![.!?:]\s[\"'])\b(?:[A-Z][\w.]*|\d[\d,.]*)")
_QUOTED = re.compile(r"(?<![^\W_])['\"“‘]([^'\"“”‘’\n]{2,80})['\"”’](?![^\W_])")
_VALUE_CHARS = 2_000


class Conversation:
    """What was said before a call, as values are looked up in it.

    Args:
        text: the words of all messages.
        last: those of the user's last message; None: the same.
    """

    def __init__(self, text: str, last: str | None = None) -> None:
        self.text = text[-TEXT_CHARS:]
        self.last = self.text if last is None else last[-TEXT_CHARS:]

    @lazy
    def form(self) -> str:
        """Its normal form, with a space at both ends."""
        return f" {written_form(self.text)} "

    @lazy
    def stems(self) -> frozenset[str]:
        """The stems of its words."""
        return stems_of(self.text)

    @lazy
    def asked(self) -> frozenset[str]:
        """The stems of the words of the last message that carry meaning."""
        return frozenset(stem(word) for word in words_in(self.last) if word not in _STOP and len(word) > 1)

    @lazy
    def names(self) -> frozenset[str]:
        """The stems of the last message's numbers and of its words in capitals or quotes, without those that open a sentence."""
        found = {word for match in _NAME.finditer(self.last) for word in words_in(match[0])}
        found |= {word for match in _QUOTED.finditer(self.last) for word in words_in(match[1])}
        return frozenset(stem(word) for word in found if word not in _STOP)

    @lazy
    def numbers(self) -> frozenset[float]:
        """Its numbers, those in words too."""
        found = {_float(match[0]) for match in _NUMBER.finditer(self.text)}
        found |= {float(_WORDS[word]) for word in words_in(self.text) if word in _WORDS}
        return frozenset(value for value in found if value is not None)

    def ground(self, value: Any, depth: int = 0) -> float | None:
        """How far `value` is grounded here: 1 found, 0 from nowhere, between them the share of it that was said.

        None for what needs no ground: truth values, nothing, and what is empty.
        """
        if value is None or isinstance(value, bool) or depth > DEPTH:
            return None
        if isinstance(value, int | float):
            return self._number(float(value))
        if isinstance(value, str):
            return self._string(value[:_VALUE_CHARS]) if value.strip() else None
        items = list(value.values()) if isinstance(value, Mapping) else list(value)
        shares = [share for item in items[:64] if (share := self.ground(item, depth + 1)) is not None]
        return sum(shares) / len(shares) if shares else None

    def _number(self, value: float) -> float:
        if value in self.numbers or -value in self.numbers:
            return 1.0
        if any(_near(value, number * scale) for number in self.numbers for scale in _SCALES):
            return 0.7
        numbers = sorted(self.numbers)[:12]
        pairs = ((one, other) for one in numbers for other in numbers)
        if any(
            _near(value, one + other) or _near(value, one - other) or _near(value, one * other)
            for one, other in pairs
        ):
            return 0.4
        return 0.0

    def _string(self, value: str) -> float:
        number = number_form(value.strip())
        if number is not None:
            return self._number(float(number))
        form = written_form(value)
        if f" {form} " in self.form:
            return 1.0
        date = date_form(value)
        if date is not None:
            return self._date(date)
        words = [stem(word) for word in words_in(value)]
        if not words:
            return 0.0
        said = sum(word in self.stems or _WORDS.get(word, -1.0) in self.numbers for word in words) / len(
            words
        )
        if said == 1.0:
            return 0.95
        alike = fuzz.partial_ratio(form, self.form) / 100.0 if len(form) >= 4 else 0.0
        return max(0.9 * said, 0.9 * alike if alike > 0.75 else 0.0)

    def _date(self, date: str) -> float:
        year, month, day = (int(part) for part in date.split("-"))
        months = _MONTH_NAMES[month - 1]
        named = any(name in self.stems for name in months) or float(month) in self.numbers
        return ((float(year) in self.numbers) + named + (float(day) in self.numbers)) / 3.0


_MONTH_NAMES = tuple(
    tuple(names.split())
    for names in "january jan,february feb,march mar,april apr,may may,june jun,july jul,august aug,september sep,october oct,"
    "november nov,december dec".split(",")
)


def conversation_of(query: Query) -> Conversation:
    """All that was said before the answer: the messages' texts, else the question."""
    said = [text for message in query.messages for text in _texts(message.get("content"))]
    return Conversation("\n".join(said) if any(said) else query.text, query.text)


def words_in(text: str) -> list[str]:
    """The words and numbers of `text` in lower case, in order."""
    return _WORD.findall(_CAMEL.sub(" ", text).lower())


_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def stems_of(text: str) -> frozenset[str]:
    """The stems of the words in `text`."""
    return frozenset(stem(word) for word in words_in(text))


def stem(word: str) -> str:
    """A word without the commonest English endings; the same for most forms of a word, and no word in itself."""
    for ending in (
        "ations",
        "ation",
        "ings",
        "ing",
        "ies",
        "ers",
        "est",
        "ed",
        "er",
        "es",
        "ly",
        "al",
        "s",
        "y",
        "e",
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list | tuple) else []
    texts = [
        part if isinstance(part, str) else part.get("text")
        for part in parts
        if isinstance(part, str | Mapping)
    ]
    return [text for text in texts if isinstance(text, str)]


def _float(written: str) -> float | None:
    form = number_form(written)
    return None if form is None else float(form)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-9 * max(1.0, abs(one))
