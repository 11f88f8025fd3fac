"""Final answers: from a whole text to the number, letter, literal, object or short text that it ends in.

Marked spans come first (`pyramid_core.text.marks`); each kind then has one fallback of its own. An answer that
was cut off has no final answer: a number in the middle of unfinished steps is not what the model would have said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pyramid_core.text.marks import Marks, first_sentence
from pyramid_core.text.normal import (
    LITERAL_DEPTH,
    NUMBER,
    first_number,
    literal_form,
    number_form,
    text_form,
    too_deep,
)

_OPTION = re.compile(r"^[ \t]*+(?:\(([A-Z])\)|([A-Z])[.):])[ \t]++(.*)$", re.MULTILINE)
_CODE_SIGNS = (
    "def ",
    "class ",
    "import ",
    "return",
    "assert ",
    "#include",
    "function ",
    "public ",
    "print(",
    "SELECT ",
)
_CODE_LINE = re.compile(
    r"(?:^|\n)\s{0,8}+(?:(?:async )?def \w++\s?\(|class \w++|import \w|from \w++ import|return\b|assert "
    r"|#include|function \w|public (?:static|class)|print\(|SELECT )"
)
_CONFIDENCE = re.compile(r"[\s.,;(]{0,4}(?<![A-Za-z])(?:[Pp]robability|[Cc]onfidence)\b[^\n]{0,40}+\s*+$")
_BARE_CONFIDENCE = re.compile(r"\s*+([^\n]{1,400}?)[ \t.]{0,8}+\n\s*+(?:0?\.\d{1,4}|1\.0{1,2}|\d{1,3}%)\s*+$")
_WRAPPER = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{|[*`_$]++")
_LETTER_FIRST = re.compile(
    r"""\W{0,4}+ (?: (?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer)s?\b[\s:]{0,3}+ )?
        (?: \(\s?([A-Z])\s?\) | ([A-Z])(?=[).:,;\]}"'\s]|$)(?!'s\b) )""",
    re.VERBOSE,
)
_LETTER_INSIDE = re.compile(r"\(([A-Z])\)|\b(?:[Oo]ption|[Cc]hoice)\s([A-Z])\b|\bis\s([B-HJ-Z])\b")
_PLAIN_NUMBER = re.compile(
    r"""[\W_]{0,8}+ (?:(?:about|approximately|around|exactly|only|US|USD)\s)?
        [-−]?(?:[$€£¥]\s?[-−]?)? \d[\d,]*+(?:\.\d++)? (?:\s?/\s?\d++)? \s?%?
        (?: \s[A-Za-z²³°/.'-]{1,20}+ ){0,3}+ [\W_]{0,8}+ $""",
    re.VERBOSE,
)
_ASKS_NUMBER = re.compile(
    r"\bhow (?:many|much|far|long|old|tall|fast|big|large)\b|\bcalculate\b|\bcompute\b"
    r"|\bwhat (?:is|was|are|were|will be|percent\w*|fraction) (?:\w++ ){0,3}(?:total|sum|number|amount|cost|price|average"
    r"|area|volume|perimeter|difference|product|value|age|speed|profit|percentage|probability|ratio|remainder)\b",
    re.IGNORECASE,
)


def final_number(text: str, marks: Marks, *, finished: bool = True) -> str | None:
    """The normal form of the number that `text` ends in: a marked one, else the last in the text.

    What is written where an answer belongs and is no number ("cannot be determined") is no number.

    Args:
        text: the end of the answer.
        marks: its marked spans.
        finished: whether the text came to its end; where it did not, only marks count.
    """
    first = marks.first
    if first is not None:
        found = first_number(first if marks.written else first_sentence(first))
        if found is not None:
            return found
        for span in (*marks.written, *map(first_sentence, marks.said)):
            found = first_number(span)
            if found is not None:
                return found
    return last_number(text) if finished and not marks.written else None


def last_number(text: str) -> str | None:
    """The normal form of the last number in `text`, searched in growing windows from its end."""
    for size in (120, 1200, len(text)):
        start = max(0, len(text) - size)
        found = list(NUMBER.finditer(text, start))
        if found and (found[-1].start() > start or start == 0):
            return number_form(found[-1][0])
    return None


def final_choice(text: str, marks: Marks, options: Mapping[str, str], *, finished: bool = True) -> str | None:
    """The letter that `text` chooses, one of `options` where these are known.

    Args:
        text: the end of the answer.
        marks: its marked spans.
        options: letter -> the option's text, or empty.
        finished: whether the text came to its end; where it did not, only marks count.
    """
    spans = tuple(marks) if len(text) > 40 else (*marks, text)
    for span in spans:
        letter = choice_letter(span, options)
        if letter is not None:
            return letter
    for span in spans:
        letter = _named_option(span, options)
        if letter is not None:
            return letter
    if not finished:
        return None
    named = list(_LETTER_INSIDE.finditer(text, max(0, len(text) - 400)))
    return _letter_of(named[-1], options) if named else None


def choice_letter(span: str, options: Mapping[str, str]) -> str | None:
    """The letter that a span opens with, or names in parentheses."""
    span = _WRAPPER.sub("", span[:160])
    found = _LETTER_FIRST.match(span)
    if found:
        letter = found[1] or found[2]
        # "A man" and "I think" open with a word, not with a letter.
        word = found[1] is None and letter in "AI" and span[found.end() : found.end() + 1] == " "
        if not word and (not options or letter in options):
            return letter
    for inside in _LETTER_INSIDE.finditer(span):
        letter = _letter_of(inside, options)
        if letter is not None:
            return letter
    return None


def _letter_of(found: re.Match[str], options: Mapping[str, str]) -> str | None:
    letter: str = found[1] or found[2] or found[3]
    return letter if not options or letter in options else None


def _named_option(span: str, options: Mapping[str, str]) -> str | None:
    """The letter of the only option whose text is the span's."""
    if not options:
        return None
    wanted = text_form(first_sentence(span))
    hits = [letter for letter, option in options.items() if wanted and text_form(option) == wanted]
    return hits[0] if len(hits) == 1 else None


def options_of(question: str) -> dict[str, str]:
    """The options that a question lists, letter -> text: lines "A. ...", "(A) ..." from A on; empty if under two."""
    if "\nB" not in question and "(B)" not in question:
        return {}
    options: dict[str, str] = {}
    for found in _OPTION.finditer(question):
        letter = found[1] or found[2]
        if ord(letter) == ord("A") + len(options):
            options[letter] = found[3].strip()
        elif letter == "A":
            options = {"A": found[3].strip()}
    return options if len(options) > 1 else {}


def final_literal(text: str, marks: Marks, *, finished: bool = True) -> str | None:
    """The normal form of the Python literal that `text` ends in; a marked span that is no literal is taken as a string."""
    for span in (*marks.written, *marks.said, *map(first_sentence, marks.said)):
        for version in (span, span.strip("`.,; ")):
            form = literal_form(version)
            if form is not None:
                return form
    for span in marks:
        return repr(span.strip("`"))
    whole = text.strip("` \n\t")
    form = literal_form(whole)
    if form is not None or not finished:
        return form
    at = whole.rfind("==")
    if at >= 0:
        return literal_form(whole[at + 2 :].partition("\n")[0].strip("` ."))
    return repr(whole) if whole and len(whole) <= 80 and "\n" not in whole else None


def final_text(text: str, marks: Marks) -> str | None:
    """The normal form of the answer as free text: the marked span, else the whole text; without a closing confidence."""
    for span in marks:
        form = text_form(first_sentence(_unsure(span)))
        if form:
            return form
    bare = _BARE_CONFIDENCE.match(text)
    return text_form(bare[1] if bare else _unsure(text).strip()) or None


def _unsure(span: str) -> str:
    """A span without the confidence that closes it."""
    if "robability" not in span and "onfidence" not in span:
        return span
    return _CONFIDENCE.sub("", span)


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`: all of it, or what stands between its first and its last brace."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    body = text[start : end + 1]
    if too_deep(body, LITERAL_DEPTH):
        return None
    try:
        found = json.loads(body, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def code_of(text: str) -> str:
    """The program in `text`: its longest fenced block, else all of it; blank lines and trailing spaces dropped."""
    blocks = text.split("```")[1::2]
    body = max(blocks, key=len) if blocks else text
    first, newline, rest = body.partition("\n")
    if blocks and newline and first.strip().isalnum():
        body = rest
    return "\n".join(line.rstrip() for line in body.splitlines() if line.strip())


def plainly_number(span: str) -> bool:
    """Whether a span is a number and nothing else but currency, percent and a unit of up to three words."""
    return len(span) <= 120 and ((span.isdigit() and span.isascii()) or _PLAIN_NUMBER.match(span) is not None)


def asks_number(question: str) -> bool:
    """Whether a question asks for a number, by its words."""
    return _ASKS_NUMBER.search(question) is not None


def looks_like_code(text: str) -> bool:
    """Whether `text` has a fenced block that is not JSON, or a line that opens as code does."""
    at = text.find("```")
    if at >= 0 and not text[at + 3 : at + 12].lstrip().lower().startswith(("json", "{", '"')):
        return True
    if "\n" not in text:
        return _CODE_LINE.match(text) is not None
    return any(sign in text for sign in _CODE_SIGNS) and _CODE_LINE.search(text) is not None
