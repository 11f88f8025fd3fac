"""One answer as it is read: every part is computed at most once, and only when somebody looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyramid_core.text import final, words
from pyramid_core.text.lazy import lazy
from pyramid_core.text.marks import EXTRACTION_CHARS, Given, Marks, unfinished

_OPENS_LITERAL = frozenset("[({'\"")


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

    @lazy
    def tail(self) -> str:
        """The part in which a final answer is looked for."""
        return self.text[-EXTRACTION_CHARS:] if self.extracted is None else self.extracted[-EXTRACTION_CHARS:]

    @lazy
    def marks(self) -> Marks:
        """The spans marked as the final answer; an extracted answer is one."""
        return Marks(self.tail) if self.extracted is None else Given(self.tail)

    @lazy
    def finished(self) -> bool:
        """Whether the text came to its end, as far as one can see."""
        return not self.cut and not unfinished(self.text)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read."""
        said = self.text or self.extracted
        return not said or said.isspace()

    @lazy
    def number(self) -> str | None:
        """The final answer as a number's normal form."""
        return final.final_number(self.tail, self.marks, finished=self.finished)

    def choice(self, options: Mapping[str, str]) -> str | None:
        """The final answer as a letter, one of `options` where these are known."""
        return final.final_choice(self.tail, self.marks, options, finished=self.finished)

    @lazy
    def literal(self) -> str | None:
        """The final answer as a Python literal's normal form."""
        return final.final_literal(self.tail, self.marks, finished=self.finished)

    @lazy
    def plain(self) -> str | None:
        """The final answer as free text in normal form."""
        return final.final_text(self.tail, self.marks)

    @lazy
    def fields(self) -> dict[str, Any] | None:
        """The JSON object in the text."""
        return final.json_object(self.tail)

    @lazy
    def code(self) -> str:
        """The program in the text."""
        return final.code_of(self.tail)

    @lazy
    def has_code(self) -> bool:
        """Whether it has a fenced block that is not JSON, or a line that opens as code does."""
        return final.looks_like_code(self.tail)

    @lazy
    def span(self) -> str:
        """What stands for the final answer: the first marked span, else how the text begins."""
        first = self.marks.first
        return self.tail[:200].strip() if first is None else first

    @lazy
    def opens_literal(self) -> bool:
        """Whether its span opens as a container or a string does."""
        return self.span[:1] in _OPENS_LITERAL

    @lazy
    def states_number(self) -> bool:
        """Whether its span is a number and nothing else but currency, percent and a short unit."""
        span = self.marks.first
        if span is None:
            span = self.tail[:200].strip()
        return span[:1] not in _OPENS_LITERAL and final.plainly_number(span)

    @lazy
    def options(self) -> dict[str, str]:
        """The options that it lists, letter -> text, read as a question."""
        return final.options_of(self.text[:EXTRACTION_CHARS])

    @lazy
    def asks_number(self) -> bool:
        """Whether it asks for a number, read as a question."""
        return final.asks_number(self.text[-2_000:])

    @lazy
    def notes(self) -> dict[Any, Any]:
        """What others have worked out about this answer, by what worked it out."""
        return {}

    @lazy
    def clipped(self) -> str:
        """The part that features read."""
        return words.clip(self.text)

    @lazy
    def words(self) -> frozenset[str]:
        """The different words that it opens with."""
        return words.words_of(self.text[: words.WORD_CHARS])

    @lazy
    def numbers(self) -> frozenset[str]:
        """Its different numbers."""
        return words.numbers_of(self.clipped)

    @lazy
    def names(self) -> frozenset[str]:
        """Its different capitalised words."""
        return words.names_of(self.clipped)

    @lazy
    def equations(self) -> tuple[int, int]:
        """How many equations of two numbers it writes, and how many are wrong."""
        return words.equations_of(self.clipped)

    @lazy
    def refuses(self) -> bool:
        """Whether it opens by declining to answer."""
        return words.refuses(self.text)

    @lazy
    def doubts(self) -> int:
        """How many kinds of doubt it expresses."""
        return words.doubts(self.clipped)

    @lazy
    def stated_confidence(self) -> float:
        """The confidence it states about itself, 0 to 1, or NaN."""
        return words.stated_confidence(self.clipped)
