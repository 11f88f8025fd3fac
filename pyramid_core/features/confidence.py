"""Stated confidence: what the models say of themselves, as a number from 0 to 1.

Taken from the answer where its source gives it, else read in the text ("Confidence: 85%"). The paper found this
its least useful family; language models state round and high numbers (Xiong et al., Can LLMs express their
uncertainty?, 2024), and what is worth most is how they differ from each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyramid_core.equivalence import Voice
from pyramid_core.features.view import (
    ClassView,
    View,
    features_of,
    highest,
    known,
    lead,
    lowest,
    mean,
    spread,
)


def confidence_mean(view: View) -> float:
    """Mean stated confidence."""
    return mean(_stated(view.voices))


def confidence_min(view: View) -> float:
    """The lowest stated confidence."""
    return lowest(_stated(view.voices))


def confidence_spread(view: View) -> float:
    """The highest stated confidence minus the lowest."""
    return spread(_stated(view.voices))


def confidence_chosen(view: View) -> float:
    """The highest confidence stated in the largest class."""
    return highest(_stated(view.chosen))


def class_confidence(seen: ClassView) -> float:
    """The highest confidence stated in the class."""
    return highest(_stated(seen.own))


def class_confidence_mean(seen: ClassView) -> float:
    """Mean confidence stated in the class."""
    return mean(_stated(seen.own))


def class_confidence_lead(seen: ClassView) -> float:
    """The highest confidence stated in the class minus the highest outside it."""
    return lead(_stated(seen.own), _stated(seen.others))


def _stated(voices: Sequence[Voice]) -> list[float]:
    return known(
        voice.answer.confidence if voice.answer.confidence is not None else voice.reading.stated_confidence
        for voice in voices
    )


QUERY = features_of(
    "confidence", "query", (confidence_mean, confidence_min, confidence_spread, confidence_chosen)
)
CLASS = features_of("confidence", "class", (class_confidence, class_confidence_mean, class_confidence_lead))
