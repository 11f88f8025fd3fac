"""Features that name a member: only for routers trained for one crowd (their card's `crowd` is set).

A lone strong member can outvote two weak ones only where the router knows who is who, and scales of confidence and of
log-probabilities differ by model. The name stands in the feature's own name, `chosen_by[gemma]`, so that a card
rebuilds them without further words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyramid_core.equivalence import Voice
from pyramid_core.features.confidence import stated
from pyramid_core.features.lengths import tokens
from pyramid_core.features.logprobs import average, least, mean_probability
from pyramid_core.features.view import NAN, ClassView, Family, Feature, Level, View, among


def _chosen_by(member: str) -> Callable[[View], float]:
    def chosen_by(view: View) -> float:
        """1 where the member's answer is in the largest class, 0 where not, NaN where it is in none."""
        return _in(view, member, 0)

    return chosen_by


def _answered_by(member: str) -> Callable[[View], float]:
    def answered_by(view: View) -> float:
        """1 where the member's answer is in some class, 0 where not."""
        return float(any(member in found.members for found in view.classes))

    return answered_by


def _class_by(member: str) -> Callable[[ClassView], float]:
    def class_by(seen: ClassView) -> float:
        """1 where the member's answer is in this class, 0 where it is in another, NaN where it is in none."""
        if member in seen.answer_class.members:
            return 1.0
        return 0.0 if any(member in found.members for found in seen.view.classes) else NAN

    return class_by


def _of(statistic: Callable[[Voice], float | None]) -> Callable[[str], Callable[[View], float]]:
    """What one member's answer says of itself: its statistic, NaN where the member or the signal is missing."""

    def build(member: str) -> Callable[[View], float]:
        def of(view: View) -> float:
            found = among([voice for voice in view.voices if voice.member == member], statistic)
            return found[0] if found else NAN

        return of

    return build


def _size(voice: Voice) -> float | None:
    """An answer's length: in tokens where they are known, else in characters."""
    counted = tokens(voice)
    return float(len(voice.reading.text) or NAN) if counted is None else float(counted)


def _in(view: View, member: str, place: int) -> float:
    for at, found in enumerate(view.classes):
        if member in found.members:
            return float(at == place)
    return NAN


_KINDS: dict[str, tuple[Level, Callable[[str], Callable[..., float]]]] = {
    "chosen_by": ("query", _chosen_by),
    "answered_by": ("query", _answered_by),
    "class_by": ("class", _class_by),
}
_SIGNALS: dict[str, tuple[Family, Callable[[str], Callable[[View], float]]]] = {
    "confidence_of": ("confidence", _of(stated)),
    "mean_prob_of": ("logprob", _of(mean_probability)),
    "avg_logprob_of": ("logprob", _of(average)),
    "min_logprob_of": ("logprob", _of(least)),
    "size_of": ("length", _of(_size)),
}
"""Signals of one member's answer, at either level; each is of the family of its signal."""


def member_feature(name: str) -> Feature | None:
    """The feature that `name`, "kind[member]", stands for; None where it is no such name."""
    kind, bracket, rest = name.partition("[")
    if not bracket or not rest.endswith("]"):
        return None
    if kind in _SIGNALS:
        family, signal = _SIGNALS[kind]
        return Feature(name=name, level="query", family=family, compute=signal(rest[:-1]))
    if kind not in _KINDS:
        return None
    level, build = _KINDS[kind]
    return Feature(name=name, level=level, family="member", compute=build(rest[:-1]))


def member_features(
    crowd: Sequence[str], level: Level = "query", *, signals: bool = False
) -> tuple[Feature, ...]:
    """The features that name the members of `crowd`, for rows of one level; who voted for what, and their own signals."""
    kinds = [kind for kind, (its_level, _) in _KINDS.items() if its_level == level]
    kinds += _SIGNALS if signals else ()
    names = [f"{kind}[{member}]" for kind in kinds for member in crowd]
    return tuple(feature for name in names if (feature := member_feature(name)) is not None)
