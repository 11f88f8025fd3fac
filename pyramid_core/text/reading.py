"""One answer as it is read: every part is computed at most once, and only when somebody looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pyramid_core.text import final, words
from pyramid_core.text.marks import EXTRACTION_CHARS, NO_MARKS, Marks, marks, unfinished


class Reading:
    """A text and what can be read in it.

    Args:
        text: the whole answer.
        cut: whether it is known to have been cut off (finish_reason "length").
        extracted: a final answer that the source had extracted, used where there is no text.
    """

    def __init__(self, text: str, *, cut: bool = False, extracted: str | None = None) -> None:
        self.text = text
        self.cut = cut
        self.extracted = extracted if not text else None

    @cached_property
    def tail(self) -> str:
        """The part in which a final answer is looked for."""
        return self.text[-EXTRACTION_CHARS:] if self.extracted is None else self.extracted[-EXTRACTION_CHARS:]

    @cached_property
    def marks(self) -> Marks:
        """The spans marked as the final answer; an extracted answer is one."""
        if self.extracted is not None:
            span = self.tail.strip()
            return Marks((span,), ()) if span else NO_MARKS
        return marks(self.tail)

    @cached_property
    def finished(self) -> bool:
        """Whether the text came to its end, as far as one can see."""
        return not self.cut and (bool(self.marks.all) or not unfinished(self.text[:100] + self.text[-100:]))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read."""
        return not self.tail or self.tail.isspace()

    @cached_property
    def number(self) -> str | None:
        """The final answer as a number's normal form."""
        return final.final_number(self.tail, self.marks, finished=self.finished)

    def choice(self, options: Mapping[str, str]) -> str | None:
        """The final answer as a letter, one of `options` where these are known."""
        return final.final_choice(self.tail, self.marks, options, finished=self.finished)

    @cached_property
    def literal(self) -> str | None:
        """The final answer as a Python literal's normal form."""
        return final.final_literal(self.tail, self.marks, finished=self.finished)

    @cached_property
    def plain(self) -> str | None:
        """The final answer as free text in normal form."""
        return final.final_text(self.tail, self.marks)

    @cached_property
    def fields(self) -> dict[str, Any] | None:
        """The JSON object in the text."""
        return final.json_object(self.tail)

    @cached_property
    def code(self) -> str:
        """The program in the text."""
        return final.code_of(self.tail)

    @cached_property
    def clipped(self) -> str:
        """The part that features read."""
        return words.clip(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its different words."""
        return words.words_of(self.clipped)

    @cached_property
    def numbers(self) -> frozenset[float]:
        """Its different numbers."""
        return words.numbers_of(self.clipped)

    @cached_property
    def names(self) -> frozenset[str]:
        """Its different capitalised words."""
        return words.names_of(self.clipped)

    @cached_property
    def equations(self) -> tuple[int, int]:
        """How many equations of two numbers it writes, and how many are wrong."""
        return words.equations_of(self.clipped)

    @cached_property
    def refuses(self) -> bool:
        """Whether it opens by declining to answer."""
        return words.refuses(self.text)

    @cached_property
    def doubts(self) -> int:
        """How many kinds of doubt it expresses."""
        return words.doubts(self.clipped)

    @cached_property
    def stated_confidence(self) -> float:
        """The confidence it states about itself, 0 to 1, or NaN."""
        return words.stated_confidence(self.clipped)
