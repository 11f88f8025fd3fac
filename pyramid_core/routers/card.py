"""A router's card: all that its folder says about it beside the trees, as a closed set of keys.

A card is refused where a key is unknown or missing, where its format is another, and by the router where its
fingerprint does not fit what features now compute: a router must never score columns that mean something else than
those it was trained on.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pyramid_core.calibration import Calibration
from pyramid_core.errors import InputError, RouterError
from pyramid_core.features import Level
from pyramid_core.types import OperatingPoint
from pyramid_core.types.numbers import is_number

FORMAT = 1
CARD = "card.json"
KINDS: Mapping[str, tuple[Level, ...]] = {
    "consensus": ("query", "class"),
    "anytime": ("query",),
    "value": ("class",),
    "tools": ("class",),
}
"""Kinds of learned routers, and the levels of the rows that each may score, the usual one first."""

BY_VALUE = ("value", "tools")
"""Kinds that say of the oracle, too, how likely it is right on this very query."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a folder's `card.json` says.

    Attributes:
        format: version of the card.
        kind: consensus, anytime, value or tools.
        level: query (one row a query) or class (one row for each class of equivalent answers).
        features: (name, version) of each column, in order.
        fingerprint: of the features, the equivalence, the extraction and the embedding.
        calibration: of the trees in `fail.json` ("fail") and `after.json` ("after").
        crowd: the crowd it was trained for; None: any.
        oracle: the oracle it was trained with; None: none.
        operating_points: by name.
        min_members: answers below which it says nothing.
        data: what it was trained on: `file`, `sha256`, `n`, and the `equivalence` of answers.
        metrics: figures on held-out folds; `selection` ("class", "vote" or "programs") says which answer stands, and
            `early_stop` how often the verdict of a partial crowd changed.
        seed: of the training.
        versions: of what it was trained with.
    """

    format: int
    kind: str
    level: str
    features: tuple[tuple[str, int], ...]
    fingerprint: str
    calibration: Mapping[str, Calibration]
    crowd: tuple[str, ...] | None
    oracle: str | None
    operating_points: Mapping[str, OperatingPoint]
    min_members: int
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    seed: int
    versions: Mapping[str, Any]

    @classmethod
    def parse(cls, content: bytes, *, where: str) -> Card:
        """The card in the bytes of a `card.json`; `where` names the file in errors.

        Raises:
            RouterError: cut off, another format, an unknown or missing key, or a value that cannot be.
        """
        return _parse(content, where)

    def as_json(self) -> bytes:
        """The content of `card.json`."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        kept["calibration"] = {name: one.as_json() for name, one in self.calibration.items()}
        kept["operating_points"] = {name: asdict(point) for name, point in self.operating_points.items()}
        return json.dumps(kept, indent=1, allow_nan=False).encode("ascii") + b"\n"


def check_writable(folder: Path) -> None:
    """Raise unless a router can be saved as `folder`; asked before a training, not after it.

    Raises:
        RouterError: something else is there, or the place cannot be written to.
    """
    if (
        folder.exists()
        and not (folder / CARD).is_file()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise RouterError(f"{folder} exists and is no router's folder: nothing is overwritten, name another")
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{folder.name}-"):
            pass
    except OSError as error:
        raise RouterError(f"{folder} cannot be written ({error.strerror}): name a folder that can") from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a router's files as `folder`, whole or not at all; an older router there is replaced.

    Raises:
        RouterError: see `check_writable`.
    """
    check_writable(folder)
    parent = folder.absolute().parent
    fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}-"))
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        fresh.chmod(0o755)
        if folder.exists():
            old = fresh.with_name(fresh.name + "-old")
            folder.rename(old)
            fresh.rename(folder)
            shutil.rmtree(old)
        else:
            fresh.rename(folder)
    except OSError as error:
        raise RouterError(f"{folder} cannot be written ({error.strerror}): name a folder that can") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _parse(content: bytes, where: str) -> Card:
    try:
        kept = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RouterError(
            f"{where} is cut off or not JSON ({error}): copy or train the router again"
        ) from None
    if not isinstance(kept, dict):
        raise RouterError(f"{where} is no card but {type(kept).__name__}: copy or train the router again")
    if kept.get("format") != FORMAT:
        raise RouterError(
            f"{where}: format is {kept.get('format')!r}, and this version reads format {FORMAT}: "
            "train the router again, or use the version that wrote it"
        )
    known = [field.name for field in fields(Card)]
    _refuse(
        where, "unknown keys", sorted(set(kept) - set(known)), "remove them, or use the version that wrote it"
    )
    _refuse(
        where, "missing keys", [name for name in known if name not in kept], "copy or train the router again"
    )
    reader = _Reader(kept, where)
    kind, level = reader.take("kind", str), reader.take("level", str)
    if level not in KINDS.get(kind, ()):
        raise reader.bad("kind", f"with level {level!r}: known are {dict(KINDS)}")
    return Card(
        format=FORMAT,
        kind=kind,
        level=level,
        features=reader.features(),
        fingerprint=reader.take("fingerprint", str),
        calibration=reader.calibration(),
        crowd=reader.crowd(),
        oracle=None if kept["oracle"] is None else reader.take("oracle", str),
        operating_points=reader.operating_points(),
        min_members=reader.take("min_members", int),
        data=reader.take("data", dict),
        metrics=reader.take("metrics", dict),
        seed=reader.take("seed", int),
        versions=reader.take("versions", dict),
    )


class _Reader:
    """Takes checked values out of a parsed card."""

    def __init__(self, kept: Mapping[str, Any], where: str) -> None:
        self.kept = kept
        self.where = where

    def bad(self, key: str, what: str = "") -> RouterError:
        return RouterError(
            f"{self.where}: {key} is {self.kept[key]!r} {what}".rstrip()
            + ", which cannot be: train the router again"
        )

    def take(self, key: str, kind: type) -> Any:
        value = self.kept[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.bad(key, f"({type(value).__name__}, not {kind.__name__})")
        return value

    def features(self) -> tuple[tuple[str, int], ...]:
        columns = self.take("features", list)
        for column in columns:
            pair = isinstance(column, list) and len(column) == 2
            if not pair or not isinstance(column[0], str) or not isinstance(column[1], int):
                raise self.bad("features", "(not a list of [name, version])")
        return tuple((name, version) for name, version in columns)

    def calibration(self) -> Mapping[str, Calibration]:
        kept = self.take("calibration", dict)
        if "fail" not in kept or not set(kept) <= {"fail", "after"}:
            raise self.bad("calibration", '(not "fail" and perhaps "after")')
        try:
            return {name: Calibration.read(one) for name, one in kept.items()}
        except InputError as error:
            raise self.bad("calibration", f"({error})") from error

    def crowd(self) -> tuple[str, ...] | None:
        if self.kept["crowd"] is None:
            return None
        names = self.take("crowd", list)
        if not names or not all(isinstance(name, str) for name in names):
            raise self.bad("crowd", "(not a list of names)")
        return tuple(names)

    def operating_points(self) -> Mapping[str, OperatingPoint]:
        found = {}
        for name, point in self.take("operating_points", dict).items():
            if not isinstance(point, dict) or set(point) != {"threshold", "barrier"}:
                raise self.bad("operating_points", f"({name!r} has not the keys threshold and barrier)")
            threshold, barrier = point["threshold"], point["barrier"]
            if not is_number(threshold) or not 0 <= threshold <= 1:
                raise self.bad("operating_points", f"(the threshold of {name!r} is not between 0 and 1)")
            if barrier is not None and (not is_number(barrier) or not -1 <= barrier <= 1):
                raise self.bad("operating_points", f"(the barrier of {name!r} is not between -1 and 1)")
            found[name] = OperatingPoint(threshold=threshold, barrier=barrier)
        return found


def _refuse(where: str, what: str, names: list[str], do: str) -> None:
    if names:
        raise RouterError(f"{where} has {what}: {', '.join(names)}; {do}")
