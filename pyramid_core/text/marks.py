r"""Where a text says what its final answer is: the spans that models mark themselves.

Four habits cover what instruction-tuned models write: a JSON object with an "answer" key (maybe fenced, maybe
broken), GSM8K's `####`, LaTeX's `\boxed{}`, and words ("the answer is X", "Answer: X", "A: X", "Guess: X").
Nothing here parses the span as a number or a letter; `pyramid_core.text.final` does.

Every search starts from a plain substring found from the end, and every regular expression after it is anchored
and bounded, so that a hostile text costs no more than a long one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pyramid_core.text.lazy import lazy

EXTRACTION_CHARS = 20_000
"""A final answer is looked for in this many characters, from the end."""

_SPAN = 400
"""The longest span that words can mark."""

_TRIES = 8
"""Occurrences of one marker that are looked at, from the last."""

_KEY = re.compile(r'nswer\\?["\']\s{0,9}+:\s{0,9}+')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_AFTER_VALUE = re.compile(r"\s*+(?:[,}`]|$)")
_SAYS = re.compile(
    r"""nswer(?![A-Za-z])["'*_)]{0,3}+
        (?: \s{0,3}+[:=]
          | [^.:=\n"]{0,60}?\b(?:is|are|be)\b(?:\ that\b)?)
        [*_:\s]{0,6}+""",
    re.VERBOSE | re.IGNORECASE,
)
_OPENERS = ("A:", "Guess", "guess")
_OPENER = re.compile(r"(?:(?:^|\n)[ *]{0,4}+A|(?<![A-Za-z])[Gg]uess)[ *]{0,4}+:[ *]{0,4}+")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\]}%$\"'*]{4})\.(?=\s|$)|(?<=[0-9)\]}%$\"'*])\.(?=\s|$)")
_DECODER = json.JSONDecoder(strict=False)


class Marks:
    """The spans that a text marks as its final answer, each list the most trustworthy first.

    Args:
        text: already cut to its last `EXTRACTION_CHARS`.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @lazy
    def written(self) -> tuple[str, ...]:
        """Marked by JSON, `####` or a box, as they are written: a JSON string with its white space, maybe empty."""
        text = self.text
        found: list[str] = []
        at = text.rfind("nswer")
        if at >= 0:
            found.extend(_json_values(text, at))
        at = text.rfind("####")
        if at >= 0:
            found.append(_line(text, at + 4))
        at = text.rfind("boxed{")
        if at >= 0:
            found.append(braced(text, at + 5))
        return tuple(found)

    @lazy
    def said(self) -> tuple[str, ...]:
        """Marked by words, stripped."""
        return tuple(span for span in _said(self.text) if span)

    @lazy
    def first(self) -> str | None:
        """The most trustworthy of all; None where there is none."""
        if self.written:
            return self.written[0]
        return next((span for span in _said(self.text) if span), None)

    def __iter__(self) -> Iterator[str]:
        """All of them, those in words last."""
        yield from self.written
        yield from self.said

    def __bool__(self) -> bool:
        return self.first is not None


class Given(Marks):
    """The one span of an answer that its source had extracted."""

    @lazy
    def written(self) -> tuple[str, ...]:
        """The whole text."""
        return (self.text.strip(),)

    @lazy
    def said(self) -> tuple[str, ...]:
        """Nothing."""
        return ()


def unfinished(text: str) -> bool:
    """Whether `text` opens a JSON object that it does not finish: cut off before its answer."""
    head = text[:80].lstrip("` \n\t").removeprefix("json").lstrip()
    if not head.startswith("{"):
        return False
    return "}" not in text[-40:]


def first_sentence(span: str) -> str:
    """The span up to its first full stop; abbreviations of up to three letters do not end a sentence."""
    found = _SENTENCE_END.search(span)
    return span[: found.start()] if found else span


def _json_values(text: str, at: int) -> Iterator[str]:
    """The value of the last "answer" key, also where the JSON around it is broken."""
    for _ in range(_TRIES):
        key = _KEY.match(text, at)
        if key:
            value = _json_value(text, key.end())
            if value is not None:
                yield value
                return
        at = text.rfind("nswer", 0, at)
        if at < 0:
            return


def _json_value(text: str, start: int) -> str | None:
    """The JSON value at `start` as text: a string's content, anything else as it is written; None where cut off."""
    opening = text[start : start + 1]
    if opening == '"':
        return _json_string(text, start)
    if text.startswith('\\"', start):
        end = text.find('\\"', start + 2)
        return None if end < 0 else text[start + 2 : end].strip()
    if opening and opening in "[{":
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            pass
        else:
            inner = value.get("answer") if isinstance(value, dict) else None
            return str(inner) if inner is not None else text[start:end]
    value = _line(text, start).rstrip("`").rstrip(" ,")
    if value.endswith("}") and "{" not in value:
        value = value[:-1].rstrip(" ,")
    return value.strip("'") if value.startswith("'") else value


def _json_string(text: str, start: int) -> str | None:
    """The content of the JSON string at `start`; quotes that should have been escaped are put up with."""
    whole = _STRING.match(text, start)
    if whole is None:
        return None
    content, end = whole[1], whole.end()
    if not _AFTER_VALUE.match(text, end):
        stop = text.find("\n", end)
        rest = text[end : stop if stop >= 0 else len(text)].rstrip("` ,}")
        if not rest.endswith('"'):
            return content
        return content + text[end - 1 : end + len(rest) - 1]
    if "\\" in content:
        try:
            content = json.loads(f'"{content}"', strict=False)
        except ValueError:
            content = content.replace('\\"', '"').replace("\\n", "\n")
    return content


def _said(text: str) -> Iterator[str]:
    """What stands after "the answer is" and its kin, from the last to the first, then "A:" and "Guess:"."""
    at = len(text)
    for _ in range(_TRIES):
        at = max(text.rfind("nswer", 0, at), text.rfind("NSWER", 0, at))
        if at < 0:
            break
        found = _SAYS.match(text, at)
        if found:
            yield _line(text, found.end())
    if any(sign in text for sign in _OPENERS):
        openers = list(_OPENER.finditer(text))
        if openers:
            yield _line(text, openers[-1].end())


def _line(text: str, start: int) -> str:
    """The rest of the line at `start`, or the next line where nothing is left of it; at most `_SPAN` characters."""
    for _ in range(2):
        end = text.find("\n", start)
        span = text[start : min(len(text) if end < 0 else end, start + _SPAN)].strip(" \t\r*")
        if span or end < 0:
            return span
        start = end + 1
    return ""


def braced(text: str, start: int) -> str:
    """The content of the brace that opens at `start`, balanced; up to the end of the line where it never closes."""
    depth = 0
    for at in range(start, min(len(text), start + _SPAN)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : at].strip()
    return _line(text, start + 1)
