"""Stated confidence: what the models say of themselves, as a number from 0 to 1.

Taken from the answer where its source gives it, else read in the text ("Confidence: 85%"). The paper found this
its least useful family; language models state round and high numbers (Xiong et al., Can LLMs express their
uncertainty?, 2024), and what is worth most is how they differ from each other.
"""

from __future__ import annotations

from pyramid_core.equivalence import Voice
from pyramid_core.features.view import (
    ClassView,
    View,
    among,
    each,
    features_of,
    highest,
    lead,
    lowest,
    mean,
    spread,
)


def confidence_mean(view: View) -> float:
    """Mean stated confidence."""
    return mean(each(view, stated))


def confidence_min(view: View) -> float:
    """The lowest stated confidence."""
    return lowest(each(view, stated))


def confidence_spread(view: View) -> float:
    """The highest stated confidence minus the lowest."""
    return spread(each(view, stated))


def confidence_chosen(view: View) -> float:
    """The highest confidence stated in the largest class."""
    return highest(among(view.chosen, stated))


def class_confidence(seen: ClassView) -> float:
    """The highest confidence stated in the class."""
    return highest(among(seen.own, stated))


def class_confidence_mean(seen: ClassView) -> float:
    """Mean confidence stated in the class."""
    return mean(among(seen.own, stated))


def class_confidence_lead(seen: ClassView) -> float:
    """The highest confidence stated in the class minus the highest outside it."""
    return lead(among(seen.own, stated), among(seen.others, stated))


def stated(voice: Voice) -> float:
    """Stated confidence, from the source or else from the text."""
    given = voice.answer.confidence
    return voice.reading.stated_confidence if given is None else given


QUERY = features_of(
    "confidence", "query", (confidence_mean, confidence_min, confidence_spread, confidence_chosen)
)
CLASS = features_of("confidence", "class", (class_confidence, class_confidence_mean, class_confidence_lead))
