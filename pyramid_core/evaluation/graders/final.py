"""Graders of final answers in texts: free text, numbers, letters, Python literals; and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid_core.errors import InputError
from pyramid_core.text import Reading, literal_form, number_form, options_of, text_form, value_form
from pyramid_core.types import Answer, Query

Grader = Callable[[Answer | str, Any, Query | str], bool | None]
"""(answer, reference, query) -> right, wrong, or None where it cannot be graded."""


def exact(answer: Answer | str, reference: Any, _query: Query | str = "") -> bool | None:
    """Whether the final text is the reference, or one of several, in normal form."""
    wanted = {text_form(text) for text in _texts(reference)} - {""}
    return _reading(answer).plain in wanted if wanted else None


def numeric(answer: Answer | str, reference: Any, _query: Query | str = "") -> bool | None:
    """Whether the final number has the reference's value."""
    wanted = {number_form(text.rpartition("####")[2].strip()) for text in _texts(reference)} - {None}
    return _reading(answer).number in wanted if wanted else None


def choice(answer: Answer | str, reference: Any, query: Query | str = "") -> bool | None:
    """Whether the letter is the reference's; an option's text will do for a reference, where the question lists it."""
    options = options_of((query if isinstance(query, str) else query.text)[:20_000])
    wanted = {letter for text in _texts(reference) if (letter := _letter(text, options))}
    return _reading(answer).choice(options) in wanted if wanted else None


def literal(answer: Answer | str, reference: Any, _query: Query | str = "") -> bool | None:
    """Whether the Python literal is equal to the reference: a literal's source, or a value that is no string.

    Where the answer is a JSON object, its string is as good as that string's literal: `"89"` will do for `'89'`.
    """
    wanted = literal_form(reference) if isinstance(reference, str) else None
    if wanted is None and reference is not None and not isinstance(reference, str):
        wanted = value_form(reference)
    if wanted is None:
        return None
    reading = _reading(answer)
    stated = (reading.fields or {}).get("answer")
    return reading.literal == wanted or (isinstance(stated, str) and value_form(stated) == wanted)


def custom(function: Callable[[Answer, Any, Query], Any]) -> Grader:
    """A grader of the user's own: a function of (answer, reference, query), always given as whole objects.

    Raises:
        InputError: when used, if the function returns anything but True, False or None.
    """

    def graded(answer: Answer | str, reference: Any, query: Query | str = "") -> bool | None:
        whole = Answer(text=answer) if isinstance(answer, str) else answer
        asked = Query(text=query) if isinstance(query, str) else query
        found = function(whole, reference, asked)
        if found is None or isinstance(found, bool):
            return found
        name = getattr(function, "__name__", type(function).__name__)
        raise InputError(f"the grader {name} returned {found!r}: it must return True, False or None")

    return graded


def _reading(answer: Answer | str) -> Reading:
    if isinstance(answer, str):
        return Reading(answer)
    return Reading(answer.text, cut=answer.finish_reason == "length", extracted=answer.extracted)


def _texts(reference: Any) -> list[str]:
    """The references: one, or a list of several."""
    many = reference if isinstance(reference, list | tuple) else [reference]
    return [str(one) for one in many if one is not None and not isinstance(one, bool)]


def _letter(text: str, options: dict[str, str]) -> str | None:
    letter = text.strip().strip("().")
    if len(letter) == 1 and letter.isalpha() and (not options or letter.upper() in options):
        return letter.upper()
    same = [key for key, option in options.items() if text_form(option) == text_form(text)]
    return same[0] if len(same) == 1 else None
