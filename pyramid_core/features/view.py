"""What features look at: one observation, with everything that several of them need computed once.

A `View` is of a whole observation, a `ClassView` of one class in it. Answers are in the crowd's order, so that no
float sum depends on who answered first. What was worked out of single answers and of pairs stays with their readings
(`Reading.notes`); the view itself is not kept, since an observation that held it would be a cycle of references.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from pyramid_core.equivalence import AnswerClass, Voice, classes, counts, kind_of, question_of, voices
from pyramid_core.text import Reading, lazy
from pyramid_core.types import Failure, Observation

NAN = math.nan

Level = Literal["query", "class"]
Family = Literal[
    "agreement",
    "length",
    "confidence",
    "logprob",
    "text",
    "options",
    "query",
    "crowd",
    "behaviour",
    "expected-value",
    "member",
    "tools",
    "context",
    "context-meaning",
]


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One signal.

    Attributes:
        name: unique among all features.
        version: rises when its values change; a router trained on another version does not fit.
        level: what `compute` takes: a `View` for "query", a `ClassView` for "class".
        family: what kind of signal it is.
        compute: the value, finite or NaN where the signal is missing.
    """

    name: str
    version: int = 1
    level: Level
    family: Family
    compute: Callable[[Any], float]


def features_of(
    family: Family, level: Level, functions: Iterable[Callable[[Any], float]]
) -> tuple[Feature, ...]:
    """One feature of version 1 for each function, named like it."""
    return tuple(
        Feature(name=function.__name__, level=level, family=family, compute=function)
        for function in functions
    )


class View:
    """An observation as features see it.

    Attributes:
        voices: the answers, in the crowd's order (an oracle's first, under fusion).
        readings: each answer's text.
        written: the texts that are not empty; an answer of which only the extraction was kept has none.
        classes: the classes, most votes first.
        votes: the votes of each class.
        size: how many could vote: the crowd, and the oracles that have joined it.
        pairs: what `pairwise` has worked out, by measure.
    """

    def __init__(self, observation: Observation, equivalence: str = "auto") -> None:
        self.observation = observation
        self.equivalence = equivalence
        self.voices: tuple[Voice, ...] = voices(observation)
        self.readings: list[Reading] = [voice.reading for voice in self.voices]
        self.written: list[Reading] = [reading for reading in self.readings if reading.text]
        self.classes: tuple[AnswerClass, ...] = classes(observation, equivalence)
        self.votes: list[int] = [len(found.calls) for found in self.classes]
        oracles = sum([voice.oracle for voice in self.voices]) if observation.fused else 0
        self.size: int = max(1, len(observation.crowd) + oracles)
        self.pairs: dict[Callable[[Reading, Reading], float], list[float]] = {}

    @lazy
    def kind(self) -> str:
        """The strategy of the classes."""
        return kind_of(self.observation, self.equivalence)

    @lazy
    def failures(self) -> int:
        """How many members failed."""
        return sum(
            isinstance(reply.result, Failure) and counts(self.observation, reply)
            for reply in self.observation.replies
        )

    @lazy
    def chosen(self) -> list[Voice]:
        """The answers of the largest class, in the crowd's order; empty where nothing stands."""
        if not self.classes:
            return []
        calls = self.classes[0].calls
        return [voice for voice in self.voices if voice.call in calls]

    @lazy
    def question(self) -> Reading:
        """The question, read as answers are."""
        return question_of(self.observation)

    @lazy
    def lengths(self) -> list[int]:
        """Characters of each text that is not empty."""
        return [len(reading.text) for reading in self.written]


class ClassView:
    """One class in a view: its answers and the others."""

    def __init__(self, view: View, answer_class: AnswerClass) -> None:
        self.view = view
        self.answer_class = answer_class
        calls = answer_class.calls
        self.own = [voice for voice in view.voices if voice.call in calls]
        self.others = [voice for voice in view.voices if voice.call not in calls]

    @lazy
    def written(self) -> list[Reading]:
        """The class's texts that are not empty."""
        return [voice.reading for voice in self.own if voice.reading.text]

    @lazy
    def others_written(self) -> list[Reading]:
        """The other texts that are not empty."""
        return [voice.reading for voice in self.others if voice.reading.text]


def each(view: View, statistic: Callable[[Voice], float | None]) -> list[float]:
    """A statistic of every answer that has it, in the crowd's order."""
    return among(view.voices, statistic)


def among(voices: Iterable[Voice], statistic: Callable[[Voice], float | None]) -> list[float]:
    """A statistic of those of `voices` that have it; worked out once for each answer."""
    found = []
    for voice in voices:
        notes = voice.reading.notes
        if statistic in notes:
            value = notes[statistic]
        else:
            value = statistic(voice)
            if value is not None and not math.isfinite(value):
                value = None
            notes[statistic] = value
        if value is not None:
            found.append(value)
    return found


def pairwise(view: View, measure: Callable[[Reading, Reading], float]) -> list[float]:
    """A measure of each pair of the texts that are not empty where it is no NaN; worked out once for each pair."""
    found = view.pairs.get(measure)
    if found is None:
        values = [paired(one, other, measure) for one, other in combinations(view.written, 2)]
        found = view.pairs[measure] = [value for value in values if value == value]  # noqa: PLR0124 - no NaN
    return found


def paired(one: Reading, other: Reading, measure: Callable[[Reading, Reading], float]) -> float:
    """A measure of two texts, worked out once."""
    notes, key = one.notes, (measure, other)
    value: float | None = notes.get(key)
    if value is None:
        value = notes[key] = measure(one, other)
    return value


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return sum(values) / len(values) if values else NAN


def highest(values: Sequence[float]) -> float:
    """The maximum; NaN of nothing."""
    return max(values) if values else NAN


def lowest(values: Sequence[float]) -> float:
    """The minimum; NaN of nothing."""
    return min(values) if values else NAN


def spread(values: Sequence[float]) -> float:
    """The distance between the extremes; NaN of fewer than two."""
    return max(values) - min(values) if len(values) > 1 else NAN


def lead(own: Sequence[float], others: Sequence[float]) -> float:
    """The best of `own` minus the best of `others`; NaN where either is missing."""
    return max(own) - max(others) if own and others else NAN


def deviation(values: Sequence[float]) -> float:
    """The standard deviation of the population; NaN of fewer than two."""
    if len(values) < 2:
        return NAN
    middle = sum(values) / len(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / len(values))


def known(values: Iterable[float | None]) -> list[float]:
    """The values that are there and are numbers."""
    return [value for value in values if value is not None and math.isfinite(value)]


def overlap(one: frozenset[Any], other: frozenset[Any]) -> float:
    """Jaccard's index |A & B| / |A | B| (1901), NaN of two empty sets."""
    shared = len(one & other)
    total = len(one) + len(other) - shared
    return shared / total if total else NAN
