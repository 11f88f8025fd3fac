"""Options: where the chosen option stands among those that the question lists.

Whoever writes wrong options makes them from the right one: they share its words and numbers, lie on both sides of it,
and are shorter than what has to be true. So test-takers guess well above chance without the question (Haladyna &
Downing's item-writing rules warn of it; Balepur et al., Artifacts or Abduction, 2024, show it of language models).
It is a signal of how questions were written, not of the answers, and it is NaN where there are no options.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rapidfuzz import fuzz

from pyramid_core.features.view import NAN, ClassView, View, features_of, highest, mean, overlap
from pyramid_core.text import Reading, words_of
from pyramid_core.text.normal import first_number

OPTION_CHARS = 200
"""Options are compared by this many characters."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One option among the others; NaN is not defined.

    Attributes:
        place: from the first, which is 0.
        length: in characters.
        length_ratio: length over the mean of all.
        length_rank: share of all options that are shorter.
        likeness: mean Indel similarity with the others, 0 to 1.
        nearest: the highest such similarity.
        asked: overlap of its words with the question's.
        number_rank: share of the options' numbers that are smaller than its own.
        number_size: log of its number over the options' middle one, both without signs.
        number_shared: share of the others with the same number.
    """

    place: float
    length: float
    length_ratio: float
    length_rank: float
    likeness: float
    nearest: float
    asked: float
    number_rank: float
    number_size: float
    number_shared: float


def option_length(view: View) -> float:
    """Length of the option that the largest class chose, in characters; NaN where none was."""
    return _largest(view, "length")


def option_length_rank(view: View) -> float:
    """Share of the options that are shorter than the one that the largest class chose."""
    return _largest(view, "length_rank")


def option_likeness(view: View) -> float:
    """Mean similarity of the option that the largest class chose with the others, 0 to 1."""
    return _largest(view, "likeness")


def option_number_rank(view: View) -> float:
    """Share of the options' numbers that are smaller than the largest class's."""
    return _largest(view, "number_rank")


def options_numeric(view: View) -> float:
    """Share of the options that have a number; NaN where the question lists none."""
    places = _places(view)
    return mean([float(not math.isnan(found.number_rank)) for found in places.values()])


def options_length(view: View) -> float:
    """Mean length of the options, in characters; NaN where the question lists none."""
    return mean([found.length for found in _places(view).values()])


def class_option_place(seen: ClassView) -> float:
    """The option's place in the list, from 0."""
    return _own(seen, "place")


def class_option_length(seen: ClassView) -> float:
    """The option's length in characters."""
    return _own(seen, "length")


def class_option_length_ratio(seen: ClassView) -> float:
    """The option's length over the mean of all options'."""
    return _own(seen, "length_ratio")


def class_option_length_rank(seen: ClassView) -> float:
    """Share of the options that are shorter."""
    return _own(seen, "length_rank")


def class_option_likeness(seen: ClassView) -> float:
    """Mean Indel similarity of the option with the others, 0 to 1."""
    return _own(seen, "likeness")


def class_option_nearest(seen: ClassView) -> float:
    """The highest similarity of the option with another one, 0 to 1."""
    return _own(seen, "nearest")


def class_option_asked(seen: ClassView) -> float:
    """Overlap of the option's words with the question's, 0 to 1."""
    return _own(seen, "asked")


def class_option_number_rank(seen: ClassView) -> float:
    """Share of the options' numbers that are smaller than the option's: the extremes are rarely right."""
    return _own(seen, "number_rank")


def class_option_number_size(seen: ClassView) -> float:
    """Natural log of the option's number over the options' middle number, both without signs."""
    return _own(seen, "number_size")


def class_option_number_shared(seen: ClassView) -> float:
    """Share of the other options that have the same number."""
    return _own(seen, "number_shared")


def _largest(view: View, what: str) -> float:
    return _of(view, view.classes[0].key, what) if view.classes else NAN


def _own(seen: ClassView, what: str) -> float:
    return _of(seen.view, seen.answer_class.key, what)


def _of(view: View, letter: str | None, what: str) -> float:
    found = _places(view).get(letter or "")
    return NAN if found is None else float(getattr(found, what))


def _places(view: View) -> dict[str, Place]:
    """Every option's place, by letter, worked out once a question; empty where answers are no choices."""
    if view.kind != "choice":
        return {}
    notes = view.question.notes
    found: dict[str, Place] | None = notes.get(_places)
    if found is None:
        found = notes[_places] = places_of(view.question)
    return found


def places_of(question: Reading) -> dict[str, Place]:
    """Every option's place among the options that a question lists, by letter."""
    texts = [text[:OPTION_CHARS].lower() for text in question.options.values()]
    stem = words_of(question.clipped.partition("\nA")[0])
    lengths = [len(text) for text in question.options.values()]
    middle = mean(lengths)
    numbers = [_number(text) for text in texts]
    known = sorted(number for number in numbers if number is not None)
    found = {}
    for at, letter in enumerate(question.options):
        others = [fuzz.ratio(texts[at], text) / 100.0 for place, text in enumerate(texts) if place != at]
        number = numbers[at]
        found[letter] = Place(
            place=float(at),
            length=float(lengths[at]),
            length_ratio=lengths[at] / middle if middle else NAN,
            length_rank=_share_below(lengths[at], lengths),
            likeness=mean(others),
            nearest=highest(others),
            asked=overlap(words_of(texts[at]), stem),
            number_rank=NAN if number is None or len(known) < 2 else _share_below(number, known),
            number_size=NAN if number is None else _log_size(number) - _log_size(known[len(known) // 2]),
            number_shared=NAN
            if number is None or len(known) < 2
            else (known.count(number) - 1) / (len(known) - 1),
        )
    return found


def _number(text: str) -> float | None:
    """The number that an option states in digits."""
    form = first_number(text) if any(map(str.isdigit, text)) else None
    return None if form is None else min(max(float(form), -1e300), 1e300)


def _share_below(value: float, values: list[float] | list[int]) -> float:
    return sum(other < value for other in values) / len(values)


def _log_size(number: float) -> float:
    return math.log(abs(number) + 1e-12)


QUERY = features_of(
    "options",
    "query",
    (option_length, option_length_rank, option_likeness, option_number_rank, options_numeric, options_length),
)
CLASS = features_of(
    "options",
    "class",
    (
        class_option_place,
        class_option_length,
        class_option_length_ratio,
        class_option_length_rank,
        class_option_likeness,
        class_option_nearest,
        class_option_asked,
        class_option_number_rank,
        class_option_number_size,
        class_option_number_shared,
    ),
)
