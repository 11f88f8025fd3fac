"""The crowd: who answered at all, and whose answer looks like none.

Shares are of the crowd's size or of the answers, never of named members.
"""

from __future__ import annotations

from pyramid_core.features.view import NAN, ClassView, View, features_of, highest, lowest, mean


def answered(view: View) -> float:
    """Answers over the crowd's size, empty ones included, 0 to 1."""
    return len(view.voices) / view.size


def failed(view: View) -> float:
    """Failures over the crowd's size, 0 to 1."""
    return view.failures / view.size


def empty(view: View) -> float:
    """Share of the answers that say nothing at all; NaN without answers."""
    return mean([float(voice.reading.empty and not voice.answer.tool_calls) for voice in view.voices])


def refused(view: View) -> float:
    """Share of the answers that open by declining."""
    return mean([float(reading.refuses) for reading in view.written])


def truncated(view: View) -> float:
    """Share of the answers that were cut off: by their finish reason, or by JSON that never ends."""
    return mean([float(not reading.finished) for reading in view.written])


def doubts(view: View) -> float:
    """Mean number of kinds of doubt that the answers express ("cannot be determined", "assuming", "not listed")."""
    return mean([reading.doubts for reading in view.written])


def doubts_chosen(view: View) -> float:
    """The fewest kinds of doubt that an answer of the largest class expresses."""
    return float(lowest([voice.reading.doubts for voice in view.chosen if voice.reading.text]))


def called(view: View) -> float:
    """Share of the answers that ask for a tool; NaN where no tool is on offer."""
    if not view.observation.query.tools:
        return NAN
    return mean([float(bool(voice.answer.tool_calls)) for voice in view.voices])


def class_doubts(seen: ClassView) -> float:
    """The fewest kinds of doubt that an answer of the class expresses."""
    return float(lowest([reading.doubts for reading in seen.written]))


def class_truncated(seen: ClassView) -> float:
    """Share of the class's answers that were cut off."""
    return mean([float(not reading.finished) for reading in seen.written])


def class_refused(seen: ClassView) -> float:
    """Share of the class's answers that open by declining."""
    return mean([float(reading.refuses) for reading in seen.written])


def class_called(seen: ClassView) -> float:
    """How many tools the class's answers ask for; NaN where no tool is on offer."""
    if not seen.view.observation.query.tools:
        return NAN
    return float(highest([len(voice.answer.tool_calls) for voice in seen.own]))


def class_has_oracle(seen: ClassView) -> float:
    """1 where an oracle's answer is in the class, 0 where it is in another; NaN where none has joined."""
    if not any(voice.oracle for voice in seen.view.voices):
        return NAN
    return float(any(voice.oracle for voice in seen.own))


QUERY = features_of(
    "crowd", "query", (answered, failed, empty, refused, truncated, doubts, doubts_chosen, called)
)
CLASS = features_of(
    "crowd", "class", (class_doubts, class_truncated, class_refused, class_called, class_has_oracle)
)
