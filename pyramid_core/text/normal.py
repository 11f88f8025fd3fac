"""Normal forms: two answers are the same answer where their normal forms are equal.

Each function turns one span into a short string, or None where the span is not of that kind. The forms are
equalities, not guesses: 2, 2.0, "$2" and "2 apples" are one number; [1] and (1,) are two literals; "Beyoncé" and
"the beyonce" are one text.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

LITERAL_CHARS = 10_000
"""The longest Python literal that is read."""

LITERAL_DEPTH = 40
"""The deepest nesting of a literal or a JSON value that is read."""

NUMBER = re.compile(
    r"(?<![\w.])[-−]?(?:[$€£¥]\s?[-−]?)?(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)?+(?:\.\d++)?+(?<=\d)(?:[eE][-+]?\d{1,3}+)?"
)
_FRACTION = re.compile(
    r"\\d?frac\s?\{\s?(-?\d{1,18}+)\s?\}\s?\{\s?(\d{1,18}+)\s?\}|(?<![\w./])(-?\d{1,18}+)\s?/\s?(\d{1,18}+)(?![\w/])"
)
_MIXED = re.compile(r"(?<![\w./-])(\d{1,15}+)\s(\d{1,15}+)/(\d{1,15}+)(?![\w/])")
_ESCAPE = re.compile(
    r"\\(?:([\\'\"abfnrtv\n]|[0-3][0-7]{0,2}|[4-7][0-7]?(?![0-7])|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U000[0-9a-fA-F]{5})|)",
    re.DOTALL,
)
_LITERAL = re.compile(
    r"""(?: [\s\[\](){},:+-] | True | False | None | set\(\)
          | 0[xX][0-9a-fA-F]++ | 0[bB][01]++ | (?:\d[\d_]*+(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d{1,4}+)?+[jJ]?+
          | [bBuU]?(?: '(?:[^'\\\n]|\\.)*+' | "(?:[^"\\\n]|\\.)*+" )
        )++""",
    re.VERBOSE | re.DOTALL,
)
_PARENTHESIS = re.compile(r"\s\([^()]{0,200}+\)[\s.]*+$")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_DECIMAL = re.compile(r"(?<=\d)\.(?=\d)")
_DROPPED = frozenset(("a", "an", "the", "about", "approximately", "approx", "around", "circa", "roughly"))
_LEADING = frozenset(("in", "on", "at", "by"))
_DIGITS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_PUNCTUATION = {ord(mark): " " for mark in '!"#$%&()*+,-/:;<=>?@[\\]^_`{|}~–—…“”„«»•'} | {
    ord(mark): "" for mark in ".'’‘"
}


def number_form(value: str) -> str | None:
    """The normal form of a number as written: without currency, thousands separators and trailing zeros.

    Whole numbers keep all their digits; others are compared to ten significant digits. None: no number.
    """
    digits = value.replace(",", "").replace("−", "-").strip(" $€£¥%")
    if digits.startswith(("-$", "-€", "-£", "-¥", "- ")):
        digits = "-" + digits[2:].lstrip()
    if digits.isascii():
        bare = digits.removeprefix("-")
        if bare.isdigit():
            bare = bare.lstrip("0") or "0"
            return "-" + bare if digits[0] == "-" and bare != "0" else bare
    try:
        number = float(digits)
    except ValueError:
        return None
    return float_form(number)


def float_form(number: float) -> str | None:
    """The normal form of a float: as an integer where it is one. None: not finite."""
    if not math.isfinite(number):
        return None
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return f"{number:.10g}"


def first_number(span: str) -> str | None:
    """The normal form of the number that `span` states: the first after its last "=", a fraction as its value."""
    if span.isdigit() and span.isascii():
        return span.lstrip("0") or "0"
    if "=" in span:
        found = first_number(span.rpartition("=")[2])
        if found is not None:
            return found
        span = span.partition("=")[0]
    if "/" in span or "frac" in span:
        mixed = _MIXED.search(span)
        if mixed and not NUMBER.search(span, 0, mixed.start()) and int(mixed[3]):
            return float_form(int(mixed[1]) + int(mixed[2]) / int(mixed[3]))
        fraction = _FRACTION.search(span)
        if fraction and not NUMBER.search(span, 0, fraction.start()):
            above, below = (fraction[1], fraction[2]) if fraction[1] else (fraction[3], fraction[4])
            return float_form(int(above) / int(below)) if int(below) else None
    found_number = NUMBER.search(span)
    if found_number:
        return number_form(found_number[0])
    return next(
        (_DIGITS[word] for word in span[:60].lower().translate(_PUNCTUATION).split()[:4] if word in _DIGITS),
        None,
    )


def literal_form(span: str) -> str | None:
    """The normal form of a Python literal, equal where Python's `==` says equal. None: no literal.

    Only literals' own tokens are let through to `ast.literal_eval`, within `LITERAL_CHARS` and `LITERAL_DEPTH`.
    """
    span = span.strip()
    if not span or len(span) > LITERAL_CHARS or not _LITERAL.fullmatch(span) or too_deep(span):
        return None
    if "\\" in span:
        # An unknown escape would be a warning of the parser; doubling its backslash is what the parser does.
        span = _ESCAPE.sub(lambda escape: escape[0] if escape[1] else "\\\\", span)
    try:
        value = ast.literal_eval(span)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value_form(value)


def value_form(value: Any) -> str:
    """One string for a Python value, the same for values that are equal: 1, 1.0 and True; dicts and sets in any order."""
    if isinstance(value, bool | int):
        return integer_form(int(value))
    if isinstance(value, float):
        return integer_form(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
    if isinstance(value, complex):
        return value_form(value.real) if value.imag == 0 else repr(value)
    if isinstance(value, list):
        return "[" + ",".join(map(value_form, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ",".join(map(value_form, value)) + ",)"
    if isinstance(value, Mapping):
        return (
            "{"
            + ",".join(sorted(f"{value_form(key)}:{value_form(item)}" for key, item in value.items()))
            + "}"
        )
    if isinstance(value, set | frozenset):
        return "set(" + ",".join(sorted(map(value_form, value))) + ")"
    return repr(value)


def integer_form(value: int) -> str:
    """Decimal digits, or hexadecimal ones where there are too many for a decimal conversion."""
    return str(value) if value.bit_length() < 4000 else hex(value)


def text_form(span: str) -> str:
    """The normal form of free text: lower case, no accents, articles, punctuation or closing parenthesis.

    As the usual normalisation of short answers (Rajpurkar et al., SQuAD, 2016), and numbers by value.
    """
    if ")" in span[-3:]:
        span = _PARENTHESIS.sub("", span) or span
    if not span.isascii():
        span = unicodedata.normalize("NFKD", span)
        span = "".join(mark for mark in span if not unicodedata.combining(mark))
    span = span.casefold()
    if any(map(str.isdigit, span)):
        whole = NUMBER.fullmatch(span.strip(" .%"))
        if whole:
            return number_form(whole[0]) or span
        span = _DECIMAL.sub("·", _THOUSANDS.sub("", span))
    words = span.translate(_PUNCTUATION).split()
    kept = [_DIGITS.get(word, word) for word in words if word not in _DROPPED] or words
    if (len(kept) > 2 and kept[0] in _LEADING) or (
        len(kept) == 2 and kept[0] in _LEADING and kept[1][0].isdigit()
    ):
        del kept[0]
    return " ".join(kept)


def field_form(value: Any, depth: int = 0) -> str:
    """The normal form of a JSON value: objects in any order, numbers by value, strings as text."""
    if depth > LITERAL_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        items = sorted(f"{json.dumps(str(key))}:{field_form(item, depth + 1)}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(field_form(item, depth + 1) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return integer_form(value)
    if isinstance(value, float):
        return float_form(value) or repr(value)
    return json.dumps(text_form(str(value)))


def too_deep(text: str, depth: int = LITERAL_DEPTH) -> bool:
    """Whether brackets nest deeper than `depth`, counted without regard to quotes."""
    if sum(map(text.count, "[({")) <= depth:
        return False
    level = 0
    for mark in text:
        if mark in "[({":
            level += 1
            if level > depth:
                return True
        elif mark in "])}":
            level -= 1
    return False
