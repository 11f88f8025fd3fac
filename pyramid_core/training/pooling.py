"""Rows of several crowds in one table: what a router is trained on that shall serve crowds it has never seen.

No member is named. From each recorded question a crowd is drawn, of one to five of the models that answered it, with an
oracle that is more accurate than all of them, and they are called by their places. Some members lose what they say of
themselves (log-probabilities, stated confidence), so that a crowd in which only some give it is no surprise.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyramid_core.errors import InputError
from pyramid_core.training.examples import Examples, grade_of, responses_of

ORACLE = "oracle"

_SIGNALS: Mapping[str, tuple[str, ...]] = {
    "log-probabilities": (
        "logprobs",
        "token_texts",
        "top_logprobs",
        "answer_span",
        "answer_logprobs",
        "mean_prob",
    ),
    "confidence": ("confidence",),
}


@dataclass(frozen=True, kw_only=True)
class Casting:
    """How crowds are drawn.

    Attributes:
        seed: of the draws; the same question and seed give the same crowds.
        sizes: of the crowds, each as likely as it is often here.
        lead: how much more accurate an oracle is than the best of its crowd, at least.
        silent: the probability that a signal is taken from one member, in the half of the crowds where any is.
    """

    seed: int = 0
    sizes: Sequence[int] = (1, 2, 2, 3, 3, 3, 3, 4, 5)
    lead: float = 0.03
    silent: float = 0.4


def members_of(size: int) -> tuple[str, ...]:
    """The names of a drawn crowd's members."""
    return tuple(f"member {place}" for place in range(1, size + 1))


def accuracies(records: Iterable[Mapping[str, Any]], grade: str = "correct") -> dict[str, float]:
    """How often each model of a file is right, where it is graded."""
    right: dict[str, list[float]] = {}
    for record in records:
        for name, response in responses_of(record).items():
            value = grade_of(response, grade)
            if value == value:  # noqa: PLR0124 - no NaN
                right.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in right.items()}


def drawn(
    records: Iterable[Mapping[str, Any]],
    skill: Mapping[str, float],
    *,
    size: int,
    turn: int,
    casting: Casting,
) -> Iterator[dict[str, Any]]:
    """The records whose draw in this turn is a crowd of this size, with members and oracle called by their places."""
    for record in records:
        responses = responses_of(record)
        draw = random.Random(f"{casting.seed} {turn} {record.get('id')}")
        cast = _cast(sorted(responses.keys() & skill.keys()), skill, draw, casting)
        if cast is None or len(cast[0]) != size:
            continue
        crowd, oracle = cast
        silenced = draw.random() < 0.5
        told = []
        for name, place in zip(crowd, members_of(size), strict=True):
            response = {**responses[name], "model": place, "role": None}
            for keys in _SIGNALS.values():
                if silenced and draw.random() < casting.silent:
                    response.update(dict.fromkeys(keys))
            told.append(response)
        told.append({**responses[oracle], "model": ORACLE, "role": None})
        yield {**record, "responses": told}


def pooled(parts: Sequence[Examples]) -> Examples:
    """One table of several, with the queries numbered on; the columns must be the same.

    Raises:
        InputError: there is no part, or the parts have different columns or levels.
    """
    if not parts or len({(part.rows.shape[1], part.by_class) for part in parts}) != 1:
        raise InputError("tables can be pooled where they have the same columns and level, and there is one")
    starts = np.cumsum([0, *(part.queries for part in parts[:-1])])
    width = max(part.singles.shape[1] for part in parts)

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    singles = [
        np.pad(part.singles, ((0, 0), (0, width - part.singles.shape[1])), constant_values=np.nan)
        for part in parts
    ]
    return replace(
        parts[0],
        **{
            name: joined(name)
            for name in ("rows", "wrong", "view", "leads", "members", "calls", "oracle_right")
        },
        query=np.concatenate([part.query + start for part, start in zip(parts, starts, strict=True)]),
        keys=tuple(key for part in parts for key in part.keys),
        singles=np.concatenate(singles),
        oracle_weight=np.concatenate([part.weight for part in parts]),
    )


def _cast(
    names: Sequence[str], skill: Mapping[str, float], draw: random.Random, casting: Casting
) -> tuple[list[str], str] | None:
    """A crowd, in an order that says nothing, and an oracle that leads it."""
    size = draw.choice(list(casting.sizes))
    for _ in range(20):
        if len(names) <= size:
            return None
        crowd = draw.sample(list(names), size)
        best = max(skill[name] for name in crowd)
        oracles = [name for name in names if name not in crowd and skill[name] >= best + casting.lead]
        if oracles:
            return crowd, draw.choice(oracles)
    return None
