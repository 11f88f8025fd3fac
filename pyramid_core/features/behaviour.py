"""Behaviour: what the crowd's programs do on the same inputs, where somebody has decided to run them.

Only there where it was gathered (evidence `behaviour`, see `pyramid_core.evidence`); NaN everywhere else. Two families:
`behaviour` uses outputs alone; `expected-value` also uses what the question itself says its examples should return, so
that the worth of that can be measured (`--without expected-value`). Hidden tests are the grader's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyramid_core.equivalence import Voice, behaviours
from pyramid_core.features.view import NAN, ClassView, View, features_of, highest, mean
from pyramid_core.text import value_form

_VISIBLE: Mapping[str | None, float] = {"passes": 1.0, "fails": 0.0, "cannot run": -1.0}
_NONE = value_form(None)
_NO_VALUE = ("error", "timed out", "cannot run")


def behaviour_agreement(view: View) -> float:
    """Mean share of the inputs on which two programs return the same, over all pairs that ran, 0 to 1."""
    done = _running(view, view.voices)
    return mean([_same(one, other) for at, one in enumerate(done) for other in done[at + 1 :]])


def programs_running(view: View) -> float:
    """Programs that gave some value over the crowd's size, 0 to 1."""
    return len(_running(view, view.voices)) / view.size if behaviours(view.observation) else NAN


def outputs_without_value(view: View) -> float:
    """Mean share of the inputs on which a program that ran gave no value, 0 to 1."""
    return mean([_valueless(signature) for signature in _running(view, view.voices)])


def class_behaviour_agreement(seen: ClassView) -> float:
    """Mean share of the inputs on which a program outside the class returns what the class does, 0 to 1."""
    own = _signature(seen)
    return mean([_same(own, other) for other in _running(seen.view, seen.others)]) if own else NAN


def class_outputs_without_value(seen: ClassView) -> float:
    """Share of the inputs on which the class's programs give no value, 0 to 1."""
    own = _signature(seen)
    return _valueless(own) if own else NAN


def class_output_variety(seen: ClassView) -> float:
    """Different outputs over inputs: a program that looks at nothing returns the same everywhere; 0 to 1."""
    own = _signature(seen)
    return len(set(own)) / len(own) if own else NAN


def class_outputs_none(seen: ClassView) -> float:
    """Share of the inputs on which the class returns nothing: a program that prints, or forgets a branch; 0 to 1."""
    own = _signature(seen)
    return sum(output == _NONE for output in own) / len(own) if own else NAN


def examples_passing(view: View) -> float:
    """Programs that pass the question's own examples over the crowd's size, 0 to 1; NaN where it has none."""
    found = _visible(view, view.voices)
    return sum(value > 0 for value in found) / view.size if found else NAN


def examples_passing_agreement(view: View) -> float:
    """Mean share of inputs on which two programs that pass the examples return the same; NaN of fewer than two."""
    passing = [voice for voice in view.voices if _visible(view, [voice]) == [1.0]]
    done = _running(view, passing)
    return mean([_same(one, other) for at, one in enumerate(done) for other in done[at + 1 :]])


def class_passes(seen: ClassView) -> float:
    """1 where the class passes the question's own examples, 0 where it fails, -1 where it cannot run them."""
    return highest(_visible(seen.view, seen.own))


def class_rivals_passing(seen: ClassView) -> float:
    """How many programs outside the class pass the examples; NaN where the question has none."""
    if not _visible(seen.view, seen.view.voices):
        return NAN
    return float(sum(value > 0 for value in _visible(seen.view, seen.others)))


def class_first_passing(seen: ClassView) -> float:
    """1 for the first class, by votes and then in the crowd's order, that passes the examples, 0 for all others.

    Filtering by the examples and then taking the largest class is what is done without training (AlphaCode; Li et
    al., 2022). NaN where the question has no examples.
    """
    if not _visible(seen.view, seen.view.voices):
        return NAN
    for found in seen.view.classes:
        if 1.0 in _visible(seen.view, [v for v in seen.view.voices if v.call in found.calls]):
            return float(found is seen.answer_class)
    return 0.0


def _entries(view: View, voices: Iterable[Voice]) -> list[Mapping[str, Any]]:
    done = behaviours(view.observation)
    return [done[voice.call] for voice in voices if voice.call in done]


def _running(view: View, voices: Iterable[Voice]) -> list[Sequence[str]]:
    return [entry["signature"] for entry in _entries(view, voices) if entry["signature"]]


def _visible(view: View, voices: Iterable[Voice]) -> list[float]:
    told = [_VISIBLE.get(entry.get("visible")) for entry in _entries(view, voices)]
    return [value for value in told if value is not None]


def _signature(seen: ClassView) -> Sequence[str]:
    found = _running(seen.view, seen.own)
    return found[0] if found else ()


def _same(one: Sequence[str], other: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=False)) / max(len(one), len(other))


def _valueless(signature: Sequence[str]) -> float:
    return sum(output.startswith(_NO_VALUE) for output in signature) / len(signature)


QUERY = (
    *features_of("behaviour", "query", (behaviour_agreement, programs_running, outputs_without_value)),
    *features_of("expected-value", "query", (examples_passing, examples_passing_agreement)),
)
CLASS = (
    *features_of(
        "behaviour",
        "class",
        (
            class_behaviour_agreement,
            class_outputs_without_value,
            class_output_variety,
            class_outputs_none,
        ),
    ),
    *features_of("expected-value", "class", (class_passes, class_rivals_passing, class_first_passing)),
)
