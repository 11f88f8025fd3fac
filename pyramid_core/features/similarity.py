"""Text: how alike the answers are, how much of the question they use, and what their steps have in common.

Cheap lexical stand-ins for embeddings: overlap of words and numbers, edit similarity of the final answers alone.
Two worked answers may share every word and differ in the last number, so equivalence of final answers comes first
(`agreement`), and this family says how the answers were reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

from rapidfuzz import fuzz

from pyramid_core.equivalence import AnswerClass, Voice
from pyramid_core.features.view import (
    NAN,
    ClassView,
    View,
    deviation,
    features_of,
    highest,
    known,
    lowest,
    mean,
    overlap,
    paired,
    pairwise,
)
from pyramid_core.text import Reading, words_of

KEY_CHARS = 400
"""Final answers are compared by this many characters of their normal forms."""

RATIO_CHARS = 256
"""Whole texts are compared letter by letter over this many characters from their end."""


def answer_similarity(view: View) -> float:
    """Mean overlap of the words that the answers open with over all pairs, 0 to 1."""
    return mean(pairwise(view, _words))


def answer_similarity_min(view: View) -> float:
    """The least overlap of the words that two answers open with."""
    return lowest(pairwise(view, _words))


def answer_similarity_spread(view: View) -> float:
    """Standard deviation of the overlaps of words over all pairs; needs three answers."""
    return deviation(pairwise(view, _words))


def text_ratio(view: View) -> float:
    """Mean normalised Indel similarity of the texts' last `RATIO_CHARS` characters over all pairs, 0 to 1."""
    return mean(pairwise(view, _ratio)) / 100.0


def final_similarity(view: View) -> float:
    """Mean Indel similarity of the final answers' normal forms over all pairs of voters, 1 within a class."""
    votes = view.votes
    if len(votes) < 2:
        return 1.0 if votes and votes[0] > 1 else NAN
    keys = [(found.key or "")[:KEY_CHARS] for found in view.classes]
    alike = sum([count * (count - 1) / 2 for count in votes])
    for (one, first), (other, second) in combinations(zip(keys, votes, strict=True), 2):
        alike += first * second * fuzz.ratio(one, other) / 100.0
    total = sum(votes)
    return alike / (total * (total - 1) / 2)


def final_overlap(view: View) -> float:
    """Mean overlap of the words of the final answers' normal forms over all pairs of voters, 1 within a class: "new york"
    and "new york city" are two thirds of an agreement.
    """
    votes, bags = view.votes, [_bag(found) for found in view.classes]
    alike = sum([count * (count - 1) / 2 for count in votes])
    for (one, first), (other, second) in combinations(zip(bags, votes, strict=True), 2):
        shared = overlap(one, other)
        alike += 0.0 if math.isnan(shared) else first * second * shared
    total = sum(votes)
    return alike / (total * (total - 1) / 2) if total > 1 else NAN


def final_overlap_chosen(view: View) -> float:
    """Mean overlap of the words of the largest class's final answer with the other classes', by votes; NaN without."""
    return _beside(view, view.classes[0]) if view.classes else NAN


def final_words(view: View) -> float:
    """How many different words the largest class's final answer has; NaN where nothing stands."""
    return _count(view.classes[0]) if view.classes else NAN


def final_has_number(view: View) -> float:
    """1 where the largest class's final answer has a digit, 0 where not; NaN where nothing stands."""
    key = view.classes[0].key if view.classes else None
    return float(any(map(str.isdigit, key[:KEY_CHARS]))) if key else NAN


def final_asked(view: View) -> float:
    """Share of the words of the largest class's final answer that the question has."""
    return _of_the_question(view, view.classes[0]) if view.classes else NAN


def question_similarity(view: View) -> float:
    """Mean overlap of the words that an answer opens with and those of the question, 0 to 1."""
    return mean(_asked(view, view.written, _words))


def question_numbers_used(view: View) -> float:
    """Mean share of the question's numbers that an answer mentions, 0 to 1; NaN where it has none."""
    return mean(_asked(view, view.written, _used))


def question_numbers_used_chosen(view: View) -> float:
    """The largest share of the question's numbers that an answer of the largest class mentions."""
    return highest(_asked(view, [voice.reading for voice in view.chosen if voice.reading.text], _used))


def numbers_shared(view: View) -> float:
    """Mean overlap of the numbers in the answers' steps over all pairs, 0 to 1."""
    return mean(pairwise(view, _numbers))


def names_shared(view: View) -> float:
    """Mean overlap of the capitalised words in the answers over all pairs, 0 to 1."""
    return mean(pairwise(view, _names))


def equations_wrong(view: View) -> float:
    """Wrong equations ("3 * 8 = 25") of the largest class's first member in the crowd; NaN where it writes none."""
    return _wrong(view.chosen)


def final_in_steps(view: View) -> float:
    """Share of the answers outside the largest class whose text mentions that class's final number; NaN for others."""
    return _supported(view, view.classes[0].key, view.chosen) if view.classes else NAN


def class_answer_similarity(seen: ClassView) -> float:
    """The largest overlap of the words that an answer of the class and one outside it open with."""
    return highest(known(_words(one, other) for one in seen.written for other in seen.others_written))


def class_question_similarity(seen: ClassView) -> float:
    """Mean overlap of the words that the class's answers open with and those of the question."""
    return mean(_asked(seen.view, seen.written, _words))


def class_question_numbers_used(seen: ClassView) -> float:
    """The largest share of the question's numbers that one of the class's answers mentions."""
    return highest(_asked(seen.view, seen.written, _used))


def class_final_similarity(seen: ClassView) -> float:
    """Mean Indel similarity of the class's final answer with the other classes', by votes; NaN without others."""
    own = (seen.answer_class.key or "")[:KEY_CHARS]
    total = votes = 0.0
    for found in seen.view.classes:
        if found is not seen.answer_class:
            total += found.votes * fuzz.ratio(own, (found.key or "")[:KEY_CHARS]) / 100.0
            votes += found.votes
    return total / votes if votes else NAN


def class_equations_wrong(seen: ClassView) -> float:
    """Wrong equations of the class's first member in the crowd; NaN where it writes none."""
    return _wrong(seen.own)


def class_equations(seen: ClassView) -> float:
    """How many equations the class's first member in the crowd writes."""
    return float(seen.own[0].reading.equations[0]) if seen.own and seen.own[0].reading.text else NAN


def class_final_in_steps(seen: ClassView) -> float:
    """Share of the answers outside the class whose text mentions its final number; NaN for other kinds."""
    return _supported(seen.view, seen.answer_class.key, seen.own)


def class_final_in_question(seen: ClassView) -> float:
    """1 where the class's final answer stands in the question itself, 0 where not."""
    key = seen.answer_class.key
    if not key:
        return NAN
    number = _shown(seen.view, key)
    if number is not None:
        return float(number in seen.view.question.numbers)
    return float(key[:KEY_CHARS] in seen.view.question.clipped.lower())


def class_final_size(seen: ClassView) -> float:
    """The final answer's size: a number's value (cut at a million), else the length of its normal form."""
    key = seen.answer_class.key
    if not key:
        return NAN
    number = _number(seen.view, key)
    return float(len(key)) if number is None else min(number, 1e6)


def class_final_whole(seen: ClassView) -> float:
    """1 where the final answer is a whole number, 0 where it is another number; NaN for other kinds."""
    key = seen.answer_class.key
    number = _number(seen.view, key) if key else None
    return NAN if number is None else float(number == int(number))


def class_final_overlap(seen: ClassView) -> float:
    """Mean overlap of the words of the class's final answer with the other classes', by votes; NaN without others."""
    return _beside(seen.view, seen.answer_class)


def class_final_words(seen: ClassView) -> float:
    """How many different words the class's final answer has."""
    return _count(seen.answer_class)


def class_final_asked(seen: ClassView) -> float:
    """Share of the words of the class's final answer that the question has."""
    return _of_the_question(seen.view, seen.answer_class)


def _bag(found: AnswerClass) -> frozenset[str]:
    return words_of((found.key or "")[:KEY_CHARS])


def _count(found: AnswerClass) -> float:
    return float(len(_bag(found))) if found.key else NAN


def _beside(view: View, own: AnswerClass) -> float:
    mine = _bag(own)
    total = votes = 0.0
    for found in view.classes:
        shared = NAN if found is own else overlap(mine, _bag(found))
        if not math.isnan(shared):
            total += found.votes * shared
            votes += found.votes
    return total / votes if votes else NAN


def _of_the_question(view: View, found: AnswerClass) -> float:
    bag = _bag(found)
    return len(bag & words_of(view.question.clipped)) / len(bag) if bag else NAN


def _words(one: Reading, other: Reading) -> float:
    return overlap(one.words, other.words)


def _numbers(one: Reading, other: Reading) -> float:
    return overlap(one.numbers, other.numbers)


def _names(one: Reading, other: Reading) -> float:
    return overlap(one.names, other.names)


def _ratio(one: Reading, other: Reading) -> float:
    return fuzz.ratio(one.text[-RATIO_CHARS:], other.text[-RATIO_CHARS:])


def _used(answer: Reading, question: Reading) -> float:
    """Share of the question's numbers that the answer mentions; NaN where it has none."""
    asked = question.numbers
    return len(asked & answer.numbers) / len(asked) if asked else NAN


def _asked(
    view: View, readings: Sequence[Reading], measure: Callable[[Reading, Reading], float]
) -> list[float]:
    """A measure of each text with the question where it is no NaN."""
    question = view.question
    found = [paired(reading, question, measure) for reading in readings]
    return [value for value in found if not math.isnan(value)]


def _wrong(voices: Sequence[Voice]) -> float:
    written, wrong = voices[0].reading.equations if voices else (0, 0)
    return float(wrong) if written else NAN


def _number(view: View, key: str) -> float | None:
    """The size of the number that a key stands for, where the kind is one of numbers."""
    if view.kind not in ("numeric", "exact", "literal"):
        return None
    try:
        value = abs(float(key)) if len(key) < 300 else NAN
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _shown(view: View, key: str) -> str | None:
    """A number's key as `Reading.numbers` has it, without its sign; None for other keys."""
    number = _number(view, key)
    return None if number is None else key.removeprefix("-")


def _supported(view: View, key: str | None, own: Sequence[object]) -> float:
    number = _shown(view, key) if key else None
    outside = [voice for voice in view.voices if voice not in own and voice.reading.text]
    if number is None or not outside:
        return NAN
    return sum(number in voice.reading.numbers for voice in outside) / len(outside)


QUERY = features_of(
    "text",
    "query",
    (
        answer_similarity,
        answer_similarity_min,
        answer_similarity_spread,
        text_ratio,
        final_similarity,
        question_similarity,
        question_numbers_used,
        question_numbers_used_chosen,
        numbers_shared,
        names_shared,
        equations_wrong,
        final_in_steps,
        final_overlap,
        final_overlap_chosen,
        final_words,
        final_has_number,
        final_asked,
    ),
)
CLASS = features_of(
    "text",
    "class",
    (
        class_answer_similarity,
        class_question_similarity,
        class_question_numbers_used,
        class_final_similarity,
        class_equations_wrong,
        class_equations,
        class_final_in_steps,
        class_final_in_question,
        class_final_size,
        class_final_whole,
        class_final_overlap,
        class_final_words,
        class_final_asked,
    ),
)
