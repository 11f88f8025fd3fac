"""What features read in a text: its words, numbers, names and equations, and how sure it sounds.

Everything here reads a clipped text (`clip`), and is bounded by its length.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise

FEATURE_CHARS = 4_000
"""Features read this many characters from each end of a text."""

_NUMBER = re.compile(r"\d++(?:,\d{3})*+(?:\.\d++)?+")
_LEFT = re.compile(
    r"(-?\d[\d,]*+(?:\.\d++)?+)%?\s?([-+*/x×÷−])\s?[$€£]?(\d[\d,]*+(?:\.\d++)?+)\s?[a-z%]{0,12}\s?\Z"
)
_RIGHT = re.compile(r"\s?[$€£]?(-?\d[\d,]*+(?:\.\d++)?+)(?![\d/*+x×÷])(?!\s?[-+*/x×÷−]\s?[$€£(]?\d)")
_STATED = re.compile(
    r"(?:onfidence|ertainty|robability)(?:\s(?:level|score))?(?:\s?\([^)\n]{0,20}\))?[\"'*]{0,3}\s?(?::|=|is)[\"'*\s]{0,4}"
    r"(\d{1,3}(?:\.\d{1,6})?)\s?(%|/\s?100?\b)?",
)
_SURE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s?% (?:sure|certain|confident)")
_REFUSALS = (
    "i'm sorry",
    "i’m sorry",
    "i am sorry",
    "i apologize",
    "i cannot",
    "i can't",
    "i can’t",
    "i am unable",
    "i'm unable",
    "i’m unable",
    "i am not able",
    "i'm not able",
    "as an ai",
    "as a language model",
    "i must decline",
    "i won't",
)
_DOUBTS = (
    "not sure",
    "unsure",
    "uncertain",
    "i don't know",
    "cannot be determined",
    "cannot determine",
    "not enough information",
    "insufficient information",
    "not provided",
    "not listed",
    "not in the options",
    "none of the",
    "closest",
    "seems to be a mistake",
    "seems to be an error",
    "might be a mistake",
    "mistake in the",
    "error in the",
    "inconsisten",
    "assum",
    "wait,",
    "however, this is not",
)
_EDGES = ".,;:!?()[]{}\"'`*_#<>|\\$%=+-/~“”‘’…"


def clip(text: str) -> str:
    """`text`, or its first and last `FEATURE_CHARS` where it is longer than both."""
    if len(text) <= 2 * FEATURE_CHARS:
        return text
    return text[:FEATURE_CHARS] + text[-FEATURE_CHARS:]


def is_clipped(text: str) -> bool:
    """Whether features read only the two ends of `text`."""
    return len(text) > 2 * FEATURE_CHARS


def words_of(text: str) -> frozenset[str]:
    """The different words of `text`, split at white space, in lower case."""
    return frozenset(text.lower().split())


def numbers_of(text: str) -> frozenset[float]:
    """The different numbers in `text`, without signs."""
    return frozenset(
        float(found.replace(",", "")) for found in set(_NUMBER.findall(text)) if len(found) < 300
    )


def names_of(text: str) -> frozenset[str]:
    """The different words of `text` that open with a capital, without the marks around them."""
    return frozenset(word.strip(_EDGES) for word in text.split() if word.strip(_EDGES)[:1].isupper())


def equations_of(text: str) -> tuple[int, int]:
    """How many equations of two numbers ("3 * 8 = 24") `text` writes, and how many of them are wrong.

    A result is right within the rounding of its own decimals.
    """
    if "=" not in text:
        return 0, 0
    pieces = text.split("=")
    count = wrong = 0
    for left, right in pairwise(pieces):
        found = _LEFT.search(left, max(0, len(left) - 40))
        result = _RIGHT.match(right) if found else None
        if found is None or result is None:
            continue
        before = found.start() - 1
        if before >= 0 and left[: found.start()].rstrip()[-1:] in set("+-*/x×÷−^.,0123456789)"):
            continue
        value = _evaluate(found[1], found[2], found[3])
        if math.isnan(value):
            continue
        count += 1
        wrong += not _agrees(value, result[1].replace(",", ""))
    return count, wrong


def _evaluate(left: str, operator: str, right: str) -> float:
    a, b = float(left.replace(",", "")), float(right.replace(",", ""))
    if operator == "+":
        return a + b
    if operator in "-−":
        return a - b
    if operator in "*x×":
        return a * b
    return a / b if b else math.nan


def _agrees(value: float, stated: str) -> bool:
    """Whether `stated` is `value` rounded (either way) to the decimals it shows."""
    decimals = len(stated.partition(".")[2])
    return abs(value - float(stated)) < 10.0**-decimals * (1.0 if decimals else 0.51) + 1e-9


def refuses(text: str) -> bool:
    """Whether `text` opens by declining to answer."""
    head = text[:160].lower()
    return any(phrase in head for phrase in _REFUSALS)


def doubts(text: str) -> int:
    """How many kinds of doubt `text` expresses about itself or the question."""
    low = text.lower()
    return sum(phrase in low for phrase in _DOUBTS)


def stated_confidence(text: str) -> float:
    """The confidence that `text` states about itself ("Confidence: 85%", "I am 90% sure"), 0 to 1; NaN where none."""
    found = None
    if "onfidence" in text or "ertainty" in text or "robability" in text:
        for match in _STATED.finditer(text):
            # In mathematics "the probability is 1/3" is an answer; only a line that opens with it is a statement.
            if match[0][0] != "r" or text[: match.start()].rpartition("\n")[2].strip(" *\"'") in ("P", "p"):
                found = match
    if found is None and ("sure" in text or "certain" in text or "confident" in text):
        for match in _SURE.finditer(text):
            found = match
    if found is None:
        return math.nan
    value = float(found[1])
    scale = found[2] if found.re is _STATED else "%"
    if scale:
        value /= 10.0 if scale.strip("/ ") == "10" else 100.0
    elif value > 1:
        value /= 100.0
    return value if value <= 1 else math.nan
