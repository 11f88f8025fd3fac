"""Features that name a member: only for routers trained for one crowd (their card's `crowd` is set).

A lone strong member can outvote two weak ones only where the router knows who is who. The name stands in the
feature's own name, `chosen_by[gemma]`, so that a card rebuilds them without further words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyramid_core.features.view import NAN, ClassView, Feature, Level, View


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


def member_feature(name: str) -> Feature | None:
    """The feature that `name`, "kind[member]", stands for; None where it is no such name."""
    kind, bracket, rest = name.partition("[")
    if not bracket or not rest.endswith("]") or kind not in _KINDS:
        return None
    level, build = _KINDS[kind]
    return Feature(name=name, level=level, family="member", compute=build(rest[:-1]))


def member_features(crowd: Sequence[str], level: Level = "query") -> tuple[Feature, ...]:
    """The features that name the members of `crowd`, of one level."""
    names = [
        f"{kind}[{member}]"
        for kind, (its_level, _) in _KINDS.items()
        if its_level == level
        for member in crowd
    ]
    return tuple(feature for name in names if (feature := member_feature(name)) is not None)
