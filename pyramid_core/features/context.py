"""Context: whether what every member was given to read supports the answers.

In retrieval-augmented generation all members read the same passages, so they err together where these mislead or lack the
answer, and agreement says nothing about that. What can be seen in words: does the final answer stand in the passages, and
in that sentence of them which is nearest to the question; how much of the question does this sentence take up; do answers
use the passages' words; do they say that the passages lack it. `Query.context` holds the passages; without them, and where
an answer has no final one, all of this is NaN.

What an embedding says of answers and passages is evidence that must be gathered (`pyramid_core.evidence.ContextSimilarity`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyramid_core.equivalence import Voice
from pyramid_core.features.view import NAN, ClassView, View, features_of, mean
from pyramid_core.text import numbers_of
from pyramid_core.types import Answer

CONTEXT_CHARS = 50_000
"""Of the passages as many characters are read, so that a prompt of any length costs the same."""

CONTEXT = "context"
"""The kind of evidence: by place among the answers, the greatest cosine of an answer with a passage."""

_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_LACKING = re.compile(
    r"(?:context|passages?|text|documents?|information)\b[^.!?\n]{0,40}\b(?:not|n't|lacks?|no)\b"
    r"|\b(?:does|do|did|is|are|was|were)(?: not|n't) (?:say|tell|mention|specif|provid|stat|contain|includ|given|found)"
    r"|\bno (?:information|mention|indication|answer)\b|\bnot (?:mentioned|stated|specified|provided|given|found|clear)\b"
    r"|\bempty response\b|\b(?:cannot|can't|unable to) (?:answer|tell|determine|say)\b|\bi don't know\b",
    re.IGNORECASE,
)
_LACKING_CHARS = 400


@dataclass(frozen=True, kw_only=True)
class Passages:
    """The context, read once for all observations of a query.

    Attributes:
        text: its words in lower case, a space between each.
        words: the different ones.
        numbers: the different numbers.
        nearest: the same of the sentence that has most of the question's words.
        nearest_numbers: its numbers.
        taken_up: the share of the question's words that this sentence has.
    """

    text: str
    words: frozenset[str]
    numbers: frozenset[str]
    nearest: str
    nearest_numbers: frozenset[str]
    taken_up: float


def passages_of(view: View) -> Passages | None:
    """The passages that the query came with; None where it came with none."""
    query = view.observation.query
    if not any(query.context):
        return None
    kept = view.observation.kept
    found = kept.get(CONTEXT)
    if found is None or found[0] is not query.context:
        found = kept[CONTEXT] = (query.context, _read(query.context, query.text))
    passages: Passages = found[1]
    return passages


def says_lacking(text: str) -> bool:
    """Whether an answer says that what it was given does not tell."""
    return _LACKING.search(text[:_LACKING_CHARS]) is not None


def context_final(view: View) -> float:
    """1 where the chosen final answer stands in the context, 0 where not; as words, or as a number."""
    passages = passages_of(view)
    return NAN if passages is None or not view.classes else _stands(view.classes[0].key, passages)


def context_final_nearest(view: View) -> float:
    """1 where it stands in the context's sentence nearest to the question, 0 where not."""
    passages = passages_of(view)
    if passages is None or not view.classes:
        return NAN
    return _stands_in(view.classes[0].key, passages.nearest, passages.nearest_numbers)


def context_question(view: View) -> float:
    """The share of the question's words that the nearest sentence of the context has: low where a retriever missed."""
    passages = passages_of(view)
    return NAN if passages is None else passages.taken_up


def context_overlap(view: View) -> float:
    """The mean share of an answer's words that stand in the context, those of the question left out."""
    passages = passages_of(view)
    return NAN if passages is None else _overlaps(view.voices, view, passages)


def context_lacking(view: View) -> float:
    """The share of the answers that say that the context lacks it."""
    if passages_of(view) is None or not view.written:
        return NAN
    return mean([float(says_lacking(reading.text)) for reading in view.written])


def class_context_final(seen: ClassView) -> float:
    """1 where the class's final answer stands in the context, 0 where not."""
    passages = passages_of(seen.view)
    return NAN if passages is None else _stands(seen.answer_class.key, passages)


def class_context_final_nearest(seen: ClassView) -> float:
    """1 where it stands in the context's sentence nearest to the question, 0 where not."""
    passages = passages_of(seen.view)
    if passages is None:
        return NAN
    return _stands_in(seen.answer_class.key, passages.nearest, passages.nearest_numbers)


def class_context_overlap(seen: ClassView) -> float:
    """The mean share of the class's words that stand in the context, those of the question left out."""
    passages = passages_of(seen.view)
    return NAN if passages is None else _overlaps(seen.own, seen.view, passages)


def class_context_lacking(seen: ClassView) -> float:
    """The share of the class's answers that say that the context lacks it."""
    if passages_of(seen.view) is None or not seen.written:
        return NAN
    return mean([float(says_lacking(reading.text)) for reading in seen.written])


def context_similarity(view: View) -> float:
    """The mean over the answers of the greatest cosine with a passage, where an embedding was asked."""
    return mean(_cosines(view, view.voices))


def class_context_similarity(seen: ClassView) -> float:
    """The same over the class's answers."""
    return mean(_cosines(seen.view, seen.own))


def _read(context: tuple[str, ...], question: str) -> Passages:
    whole = "\n".join(context)[:CONTEXT_CHARS]
    asked = frozenset(_WORD.findall(question.lower()))
    sentences = [sentence for sentence in _SENTENCE.split(whole) if sentence.strip()]
    shares = [len(asked.intersection(_WORD.findall(sentence.lower()))) for sentence in sentences]
    best = max(shares, default=0)
    # Several may be as near: what stands in any of them is near.
    nearest = " ".join(sentence for sentence, n in zip(sentences, shares, strict=True) if n == best)
    words = _WORD.findall(whole.lower())
    return Passages(
        text=f" {' '.join(words)} ",
        words=frozenset(words),
        numbers=numbers_of(whole),
        nearest=f" {' '.join(_WORD.findall(nearest.lower()))} ",
        nearest_numbers=numbers_of(nearest),
        taken_up=best / len(asked) if asked else NAN,
    )


def _stands(key: str | None, passages: Passages) -> float:
    return _stands_in(key, passages.text, passages.numbers)


def _stands_in(key: str | None, text: str, numbers: frozenset[str]) -> float:
    words = _WORD.findall(key.lower()) if key else []
    if not key or not words:
        return NAN
    try:
        float(key)
    except ValueError:
        return float(f" {' '.join(words)} " in text)
    return float(key.removeprefix("-") in numbers)


def _overlaps(voices: Iterable[Voice], view: View, passages: Passages) -> float:
    """The mean share of words that stand in the passages, over the answers that have words of their own."""
    asked = frozenset(_WORD.findall(view.question.clipped.lower()))
    own = [frozenset(_WORD.findall(voice.reading.clipped.lower())) - asked for voice in voices]
    return mean([len(words & passages.words) / len(words) for words in own if words])


def _cosines(view: View, voices: Iterable[Voice]) -> list[float]:
    told = view.observation.evidence.get(CONTEXT) or {}
    calls = [reply.call for reply in view.observation.replies if isinstance(reply.result, Answer)]
    found = [told.get(str(calls.index(voice.call))) for voice in voices]
    return [float(value) for value in found if value is not None]


QUERY = (
    *features_of(
        "context",
        "query",
        (context_final, context_final_nearest, context_question, context_overlap, context_lacking),
    ),
    *features_of("context-meaning", "query", (context_similarity,)),
)
CLASS = (
    *features_of(
        "context",
        "class",
        (class_context_final, class_context_final_nearest, class_context_overlap, class_context_lacking),
    ),
    *features_of("context-meaning", "class", (class_context_similarity,)),
)
