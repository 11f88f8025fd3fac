"""What features read in a text: its words, numbers, names and equations, and how sure it sounds.

Everything here reads a clipped text (`clip`), and is bounded by its length.
"""

from __future__ import annotations

import math
import re

FEATURE_CHARS = 4_000
"""Features read this many characters from each end of a text."""

WORD_CHARS = 200
"""Words are compared over this many characters from the beginning, which is where an answer takes the question up."""

STATED_CHARS = 200
"""A confidence is looked for in this many characters, from the end."""

CHAIN_CHARS = 120
"""The longest left side of an equation that is read."""

_DIGITS_ONLY = bytes(code if chr(code) in "0123456789." else 32 for code in range(256))
_CHAIN = re.compile(r"\s?+((?:%?[\d.,]*\d[$€£]?\s?[-+*/x×÷−]\s?){1,12}%?[\d.,]*\d)[$€£\s]*+(.?)", re.DOTALL)
_TERM = re.compile(r"([-+*/x×÷−]?)[\s$€£]*+(\d[\d,]*+(?:\.\d++)?+)(%?)")
_RESULT = re.compile(r"\s?[$€£]?(-?\d[\d,]*+(?:\.\d++)?+)(?![A-Za-z(%])(?!\s?[-+*/x×÷−^]\s?[$€£(\d\s])")
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


def numbers_of(text: str) -> frozenset[str]:
    """The different numbers in `text`, without signs, thousands separators and trailing zeros."""
    tokens = set(text.encode("ascii", "replace").translate(_DIGITS_ONLY, b",").decode("ascii").split())
    numbers = {_plain(token) if "." in token else token for token in tokens}
    numbers.discard("")
    return frozenset(numbers)


def _plain(token: str) -> str:
    token = token.strip(".")
    return token.rstrip("0").rstrip(".") if "." in token else token


def names_of(text: str) -> frozenset[str]:
    """The different words of `text` that open with a capital, without the marks around them."""
    return frozenset(word.strip(_EDGES) for word in text.split() if word.strip(_EDGES)[:1].isupper())


def equations_of(text: str) -> tuple[int, int]:
    """How many equations of plain arithmetic ("$3 * 8 + 1 = $25") `text` writes, and how many of them are wrong.

    Chains without brackets of up to 13 numbers count; a result is right within the rounding of its own decimals.
    """
    if "=" not in text:
        return 0, 0
    count = wrong = 0
    pieces = text.split("=")
    left = pieces[0]
    for right in pieces[1:]:
        # Reversed, the chain that ends at the equals sign starts the string, and one anchored match finds it.
        chain = _CHAIN.match(left[: -CHAIN_CHARS - 1 : -1])
        if chain is not None and chain[2] not in _BINDS:
            result = _RESULT.match(right)
            if result is not None:
                value = _evaluate(chain[1][::-1])
                if not math.isnan(value):
                    count += 1
                    wrong += not _agrees(value, result[1])
        left = right
    return count, wrong


_BINDS = frozenset("+-*/x×÷−^()[]%0123456789=")


def _evaluate(chain: str) -> float:
    """The value of numbers joined by + - * /; percent is a hundredth, and NaN where it meets + or -."""
    total, product, percents, sums = 0.0, math.nan, False, False
    for operator, digits, percent in _TERM.findall(chain):
        number = float(digits.replace(",", "") if "," in digits else digits)
        if percent:
            percents = True
            number /= 100.0
        if not operator:
            product = number
        elif operator in "+-−":
            sums = True
            total += product
            product = number if operator == "+" else -number
        elif operator in "/÷":
            product = product / number if number else math.nan
        else:
            product *= number
    return math.nan if percents and sums else total + product


def _agrees(value: float, stated: str) -> bool:
    """Whether `stated` is `value` rounded (either way) to the decimals it shows."""
    result = float(stated.replace(",", ""))
    if value == result:
        return True
    decimals = len(stated.partition(".")[2])
    return abs(value - result) < 10.0**-decimals * (1.0 if decimals else 0.51) + 1e-9


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
    text = text[-STATED_CHARS:]
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
