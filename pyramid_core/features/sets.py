"""Feature sets: an ordered tuple of features at one level, and the rows they make of an observation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from pyramid_core.equivalence import EXTRACTION_VERSION
from pyramid_core.errors import InputError
from pyramid_core.features.catalogue import CLASS_FEATURES, QUERY_FEATURES
from pyramid_core.features.members import member_feature
from pyramid_core.features.view import ClassView, Feature, Level, View
from pyramid_core.text import lazy
from pyramid_core.types import Observation


@dataclass(frozen=True)
class FeatureSet:
    """Features in column order.

    Attributes:
        level: "query", one row an observation, or "class", one row for each class of equivalent answers.
        features: at level "query" query features alone; at level "class" both, where a class's row repeats the
            query's values.
        equivalence: the strategy by which answers are compared.

    Raises:
        InputError: the level is unknown, a feature occurs twice, or does not fit the level.
    """

    level: Level
    features: tuple[Feature, ...]
    equivalence: str = "auto"

    def __post_init__(self) -> None:
        if self.level not in ("query", "class"):
            raise InputError(f"level must be 'query' or 'class', not {self.level!r}")
        seen: set[str] = set()
        for feature in self.features:
            if feature.name in seen:
                raise InputError(f"the feature {feature.name!r} occurs twice in one set")
            if self.level == "query" and feature.level == "class":
                raise InputError(
                    f"the feature {feature.name!r} is of a class: it has no value in a set of level query"
                )
            seen.add(feature.name)

    @lazy
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(feature.name for feature in self.features)

    @lazy
    def columns(self) -> list[list[str | int]]:
        """The columns as a card writes them: [name, version]."""
        return [[feature.name, feature.version] for feature in self.features]

    @lazy
    def families(self) -> tuple[str, ...]:
        """The families that occur, in order."""
        return tuple(dict.fromkeys(feature.family for feature in self.features))

    @classmethod
    def named(cls, level: Level, columns: Iterable[Sequence[str | int]], equivalence: str = "auto") -> Self:
        """The set that a card describes.

        Raises:
            InputError: a column is no [name, version], or its feature is unknown or of another version here.
        """
        known = {feature.name: feature for feature in (*QUERY_FEATURES, *CLASS_FEATURES)}
        return cls(level, tuple(_find(column, known) for column in columns), equivalence)

    def without(self, family: str) -> Self:
        """This set without one family.

        Raises:
            InputError: no feature of it is of that family.
        """
        if family not in self.families:
            raise InputError(f"no feature is of the family {family!r}, only of {', '.join(self.families)}")
        return replace(self, features=tuple(feature for feature in self.features if feature.family != family))

    def rows(self, observation: Observation) -> list[list[float]]:
        """The values: one row at level "query", one for each class in the order of `classes` at level "class"."""
        view = View(observation, self.equivalence)
        if self.level == "query":
            return [[compute(view) for compute in self._computes]]
        row = [feature.compute(view) if feature.level == "query" else 0.0 for feature in self.features]
        rows = []
        for answer_class in view.classes:
            seen = ClassView(view, answer_class)
            for at, compute in self._class_columns:
                row[at] = compute(seen)
            rows.append(row.copy())
        return rows

    def fingerprint(self) -> str:
        """sha256 of the canonical JSON of the columns, the equivalence, the extraction's version and the embedding."""
        parts = {
            "features": self.columns,
            "equivalence": self.equivalence,
            "extraction": EXTRACTION_VERSION,
            "embedding": None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @lazy
    def _computes(self) -> tuple[Callable[[Any], float], ...]:
        return tuple(feature.compute for feature in self.features)

    @lazy
    def _class_columns(self) -> tuple[tuple[int, Callable[[Any], float]], ...]:
        return tuple(
            (at, feature.compute) for at, feature in enumerate(self.features) if feature.level == "class"
        )


def _find(column: Sequence[str | int], known: Mapping[str, Feature]) -> Feature:
    """The feature that a card's column names."""
    name, version = column if len(column) == 2 else (None, None)
    if isinstance(column, str) or not isinstance(name, str):
        raise InputError(f"a column is [name, version], not {column!r}")
    feature = known.get(name) or member_feature(name)
    if feature is None:
        raise InputError(f"unknown feature {name!r}: misspelt, or of another release of pyramid-moa")
    if feature.version != version:
        raise InputError(
            f"the feature {name!r} is of version {feature.version} here, not {version!r}: train the router again"
        )
    return feature
