"""Learned routers: boosted trees over features, calibrated, loaded from a folder and evaluated without xgboost.

At *query* level (`consensus`, `anytime`) the trees say how likely the plurality's answer is wrong. At *class* level
(`value`) they say it of each class of equivalent answers, and the class that is most likely right stands (equal: more
votes, then the crowd's order), so that one estimate serves selection and escalation. A value router has second trees
for `p_after`: how likely the oracle's answer to this very query is right.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pyramid_core.calibration import shifted
from pyramid_core.equivalence import BEHAVIOUR, AnswerClass, classes
from pyramid_core.errors import InputError, RouterError
from pyramid_core.features import CONTEXT, PROGRAMS, FeatureSet
from pyramid_core.routers.agreement import checked_accuracy
from pyramid_core.routers.card import CARD, Card, write_folder
from pyramid_core.routers.standing import after_oracle, said_of_calls, spokesman
from pyramid_core.routers.trees import Forest
from pyramid_core.types import (
    NAN,
    Answer,
    Assessment,
    ClassScore,
    Decision,
    Foreseen,
    Observation,
    OperatingPoint,
)

FAIL, AFTER = "fail.json", "after.json"
FILES = (CARD, FAIL, AFTER)

SIGNALS: Mapping[str, str] = {"logprob": "token log-probabilities", "confidence": "a stated confidence"}
"""Families of features that read what a model may not give."""

_LOG = logging.getLogger(__name__)
_EQUAL = 1e-12
_WORTH_A_WORD = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedRouter:
    """A trained router; see the module. Made by `parse` or `load`, not by hand.

    Attributes:
        card: what it was trained for and how well it did.
        features: the columns of its rows.
        fail: trees for "this answer is wrong".
        after: trees for "the oracle is right"; None where it has none.
        files: the content of its folder, by name.
        where: the folder, for errors.
        oracle_accuracy: the user's prior for oracles that it was not trained with.
        gathered: the kinds of evidence that can be had here.
    """

    card: Card
    features: FeatureSet
    fail: Forest
    after: Forest | None
    files: Mapping[str, bytes] = field(repr=False)
    where: str = ""
    oracle_accuracy: float | Mapping[str, float] | None = None
    gathered: tuple[str, ...] = ()

    @classmethod
    def parse(cls, files: Mapping[str, bytes], *, where: str) -> Self:
        """The router in the files of a folder.

        Raises:
            RouterError: a file is missing, cut off, of another version, or does not fit the others or the features
                as they are computed now.
        """
        for name in (CARD, FAIL):
            if name not in files:
                raise RouterError(
                    f"{where}/{name} is missing: the folder is not complete, copy or train it again"
                )
        card = Card.parse(files[CARD], where=f"{where}/{CARD}")
        features = _features(card, f"{where}/{CARD}")
        forests = {
            name: Forest.read(files[name], where=f"{where}/{name}") for name in (FAIL, AFTER) if name in files
        }
        for name, forest in forests.items():
            if forest.features != len(card.features):
                raise RouterError(
                    f"{where}/{name} reads {forest.features} features, and the card names {len(card.features)}: "
                    "the files are not of one training, copy or train the router again"
                )
        if (AFTER in forests) != ("after" in card.calibration):
            raise RouterError(
                f"{where}: {AFTER} and the card's calibration of it belong together: copy or train the router again"
            )
        return cls(
            card=card,
            features=features,
            fail=forests[FAIL],
            after=forests.get(AFTER),
            files=dict(files),
            where=where,
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The router in `folder`.

        Raises:
            RouterError: see `parse`; or the folder is missing.
        """
        return cls.parse(read_folder(Path(folder)), where=str(folder))

    def save(self, folder: str | Path) -> None:
        """Write the router as `folder`, whole or not at all.

        Raises:
            RouterError: something else is there, or the place cannot be written to.
        """
        write_folder(Path(folder), self.files)

    def for_oracle(self, accuracy: float | Mapping[str, float]) -> Self:
        """This router with the user's prior for oracles that it was not trained with.

        Args:
            accuracy: how often such an oracle is right on queries like these: one number, or by name.

        Raises:
            InputError: it is not between 0 and 1.
        """
        return replace(self, oracle_accuracy=checked_accuracy(accuracy))

    def for_crowd(self, crowd: Sequence[str] | None) -> Self:
        """This router, checked to fit `crowd`; None is not checked.

        Raises:
            RouterError: its card sets another crowd.
        """
        if crowd is not None and self.card.crowd is not None and tuple(crowd) != self.card.crowd:
            raise RouterError(
                f"{self.where} was trained for the crowd {list(self.card.crowd)}, not {list(crowd)}: name the members "
                "as they are named there, or train a router for yours"
            )
        return self

    def given(self, kinds: Iterable[str]) -> Self:
        """This router where these kinds of evidence can be gathered: it asks for those that its features read."""
        return replace(self, gathered=tuple(kinds))

    @cached_property
    def id(self) -> str:
        """Its kind and the first digits of its files' hash."""
        return f"{self.card.kind}/{digest(self.files)[:10]}"

    @cached_property
    def evidence(self) -> tuple[str, ...]:
        """What programs do, where that decides which answers are the same; or where features read it and it can be had.

        A router that was trained with and without it serves those who run no programs as well.
        """
        families = self.features.families
        read = [BEHAVIOUR] if any(family in PROGRAMS for family in families) else []
        read += [CONTEXT] if "context-meaning" in families else []
        always = (BEHAVIOUR,) if self.features.equivalence == BEHAVIOUR else ()
        return tuple(
            kind
            for kind in (BEHAVIOUR, CONTEXT)
            if kind in always or (kind in read and kind in self.gathered)
        )

    @property
    def fuses(self) -> bool:
        """Whether it was trained to score classes that an oracle has joined."""
        return bool(self.card.metrics.get("fused"))

    @property
    def operating_points(self) -> Mapping[str, OperatingPoint]:
        """The card's."""
        return self.card.operating_points

    @property
    def crowd(self) -> tuple[str, ...] | None:
        """The crowd it was trained for; None: any."""
        return self.card.crowd

    @property
    def min_members(self) -> int:
        """Answers below which p_fail is NaN."""
        return self.card.min_members

    def assess(self, observation: Observation) -> Assessment:
        """The class that is most likely right (or the plurality), p_fail, and p_after for every oracle.

        p_fail is NaN, and nothing is said of classes, where fewer than `min_members` of the crowd have answered: the
        trees have seen no such crowd. Where enough have answered but none gave a final answer, p_fail is 1.
        """
        groups = classes(observation, self.features.equivalence)
        answered = sum(r.role == "crowd" and isinstance(r.result, Answer) for r in observation.replies)
        if answered < self.min_members:
            chosen = spokesman(observation, groups[0]) if groups else None
            return after_oracle(observation, self._unscored(observation, chosen, NAN))
        if not groups:
            return after_oracle(observation, self._unscored(observation, None, 1.0))
        return after_oracle(observation, self._scored(observation, groups))

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        """The present verdict with one minus the card's held-out risk that the complete crowd changes it.

        Empty where the card has no risk for so many answers, or too few members have answered. What has come is read
        meanwhile: the last answer then finds most of the work done.
        """
        if self.evidence:
            return {}  # what programs do is only found out once all are there
        self.features.rows(observation)
        risks = self.card.metrics.get("early_stop") or {}
        answered = sum(r.role == "crowd" and isinstance(r.result, Answer) for r in observation.replies)
        risk = risks.get(str(answered))
        if risk is None or answered < self.min_members:
            return {}
        decision = decide(self.assess(observation))
        return {Foreseen(verdict=decision.verdict, oracle=decision.oracle): 1.0 - risk}

    def _scored(self, observation: Observation, groups: tuple[AnswerClass, ...]) -> Assessment:
        rows = self.features.rows(observation)
        calibrate = self.card.calibration["fail"]
        wrong = [calibrate(p) for p in self.fail.probabilities(rows).tolist()]
        best = 0
        if self.selects(rows):
            # Classes come with most votes first, then in the crowd's order: a later one must be better to stand.
            for place, p in enumerate(wrong):
                if p < wrong[best] - _EQUAL:
                    best = place
        p_after, notes = self._p_after(observation, rows)
        notes += self._silence(rows)
        if self.card.kind == "tools":
            notes += said_of_calls(observation)
        scores = zip(groups, wrong, strict=True) if self.card.level == "class" else ()
        return Assessment(
            chosen=spokesman(observation, groups[best]),
            p_fail=wrong[best],
            p_right=tuple(ClassScore(calls=group.calls, p_right=1.0 - p) for group, p in scores),
            p_after=p_after,
            features=dict(zip(self.features.names, rows[best], strict=True)),
            router=self.id,
            notes=notes,
        )

    @cached_property
    def signals(self) -> Mapping[str, tuple[int, ...]]:
        """What it looks at that models may not give (in words), and the columns that read it.

        Only what brought at least a twentieth of the trees' gain, where the card says; a card that does not say
        is silent.
        """
        told = self.card.metrics.get("importance")
        gains = told if isinstance(told, Mapping) else {}
        found = {}
        for family, words in SIGNALS.items():
            columns = [at for at, f in enumerate(self.features.features) if f.family == family]
            names = [self.features.names[at] for at in columns]
            if sum(float(gains.get(name, {}).get("gain", 0.0)) for name in names) >= _WORTH_A_WORD:
                found[words] = tuple(columns)
        return found

    def selects(self, rows: Iterable[Sequence[float]]) -> bool:
        """Whether the best class stands and not the largest, on queries with these rows.

        The card's `selection` says so: "class" always, "vote" never, "programs" where what programs do is known.
        """
        said = self.card.metrics.get("selection")
        if self.card.level != "class" or said == "vote":
            return False
        if said != "programs":
            return True
        return not _nothing(rows, self._of_programs)

    def silent(self, rows: Iterable[Sequence[float]]) -> tuple[str, ...]:
        """Those of `signals` that none of these rows has."""
        if not self.signals:
            return ()
        return tuple([words for words, columns in self.signals.items() if _nothing(rows, columns)])

    def _silence(self, rows: Iterable[Sequence[float]]) -> tuple[str, ...]:
        """A note on signals that nobody in the crowd gives; the log is told once."""
        notes = tuple(
            f"no member gives {words}, which the router {self.card.kind} was trained to look at: its p_fail is "
            "less sharp than its card says"
            for words in self.silent(rows)
        )
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                _LOG.warning(note)
        return notes

    @cached_property
    def _of_programs(self) -> tuple[int, ...]:
        return tuple(at for at, f in enumerate(self.features.features) if f.family in PROGRAMS)

    @cached_property
    def _told(self) -> set[str]:
        return set()

    def _unscored(self, observation: Observation, chosen: int | None, p_fail: float) -> Assessment:
        p_after, notes = self._p_after(observation, None)
        return Assessment(chosen=chosen, p_fail=p_fail, p_after=p_after, router=self.id, notes=notes)

    def _p_after(
        self, observation: Observation, rows: list[list[float]] | None
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """For each oracle the probability that it is right on this query, and what had to be assumed.

        Of the oracle it was trained with: its trees, on the leading class's row, else how often it was right. Of
        another: the same, shifted to the user's prior; nothing where there is none.
        """
        known = self.card.oracle
        base: float | None = self.card.metrics.get("oracle_accuracy")
        here = base
        if rows is not None and self.after is not None:
            here = self.card.calibration["after"](float(self.after.probabilities(rows[:1])[0]))
        found: dict[str, float] = {}
        unknown: list[str] = []
        for name in observation.oracles:
            prior = self.oracle_accuracy
            prior = prior.get(name) if isinstance(prior, Mapping) else prior
            if name == known and here is not None:
                found[name] = here
            elif prior is not None:
                movable = here is not None and base is not None and 0 < base < 1 and 0 < prior < 1
                found[name] = shifted(here or 0.0, base=base or 0.0, to=prior) if movable else prior
            else:
                unknown.append(name)
        if not unknown:
            return found, ()
        note = (
            f"not trained with oracle {', '.join(unknown)}: taken to be always right; give oracle_accuracy="
        )
        return found, (note,)


def _nothing(rows: Iterable[Sequence[float]], columns: Sequence[int]) -> bool:
    """Whether every value of these columns is missing."""
    for row in rows:
        for at in columns:
            if not math.isnan(row[at]):
                return False
    return True


def read_folder(folder: Path) -> dict[str, bytes]:
    """The content of a router's files.

    Raises:
        RouterError: the folder is missing or cannot be read.
    """
    if not folder.is_dir():
        raise RouterError(
            f"there is no router in {folder}: it is not a folder; name one that `save` has written"
        )
    try:
        return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    except OSError as error:
        raise RouterError(f"{folder} cannot be read ({error.strerror}): check its permissions") from error


def digest(files: Mapping[str, bytes]) -> str:
    """A hash of a router's files, in hex."""
    summed = hashlib.sha256()
    for name in sorted(files):
        summed.update(f"{name} {len(files[name])}\n".encode())
        summed.update(files[name])
    return summed.hexdigest()


def _features(card: Card, where: str) -> FeatureSet:
    """The feature set that the card names, if it still computes what the router was trained on."""
    equivalence = card.data.get("equivalence", "auto")
    level: Any = card.level
    try:
        features = FeatureSet.named(level, card.features, equivalence)
    except InputError as error:
        raise RouterError(
            f"{where}: {error}; train the router again, or use the version that wrote it"
        ) from error
    now = features.fingerprint()
    if now != card.fingerprint:
        raise RouterError(
            f"{where}: fingerprint is {card.fingerprint!r}, and the features of this version have {now!r}: "
            "they are computed differently now, train the router again or use the version that wrote it"
        )
    return features
