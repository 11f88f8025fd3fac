"""Published aggregates that cannot all be true, found by arithmetic alone.

From n, p_R, alpha_L1(R), alpha_L2(R) and the accuracies over all queries follow the accuracies on the rest, which lie
between 0 and 1, and the crowd's errors inside R:

    alpha(rest) = (alpha - p_R alpha(R)) / (1 - p_R)            errors in R = n p_R (1 - alpha_L1(R))

Errors caught at a threshold are errors inside R, so they cannot be more; and a higher threshold escalates fewer queries,
so it cannot catch more errors than a lower one has in its R. Published figures are rounded: whatever a last digit that
is off by half could explain is not reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyramid_core.errors import InputError

_ROUNDING = 0.0005
"""Half a unit of the third digit, in which accuracies are published."""

_SURPRISING = 0.10
"""How far below its accuracy on the escalated queries an oracle's accuracy on the kept, easier ones may lie."""

_REQUIRED = ("name", "n", "threshold", "p_R", "alpha_L1_R", "alpha_L2_R")
_OPTIONAL = ("crowd_accuracy", "oracle_accuracy", "errors", "caught")


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of published figures; accuracies and rates from 0 to 1, `errors` and `caught` in queries.

    Attributes:
        name: of the benchmark; rows of one name are about the same queries.
        n: queries.
        threshold: on p_fail.
        p_R: the share that is escalated.
        alpha_L1_R: the crowd's accuracy on the escalated.
        alpha_L2_R: the oracle's.
        crowd_accuracy: on all queries.
        oracle_accuracy: on all queries.
        errors: of the crowd, on all queries.
        caught: errors of the crowd that were escalated at this threshold, or at `caught_at`.
        caught_at: the threshold at which `caught` was counted; None: `threshold`.
    """

    name: str
    n: int
    threshold: float
    p_R: float  # noqa: N815 - the paper's symbol
    alpha_L1_R: float  # noqa: N815 - the paper's symbol
    alpha_L2_R: float  # noqa: N815 - the paper's symbol
    crowd_accuracy: float | None = None
    oracle_accuracy: float | None = None
    errors: int | None = None
    caught: int | None = None
    caught_at: float | None = None

    @property
    def escalated(self) -> float:
        """Queries in R."""
        return self.p_R * self.n

    @property
    def most_errors(self) -> int:
        """The most crowd errors that R can hold, rounding included."""
        return math.floor(
            (self.p_R + _ROUNDING) * self.n * (1 - max(self.alpha_L1_R - _ROUNDING, 0.0)) + 1e-9
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A contradiction (`impossible`), or what can be true but hardly was meant (`implausible`)."""

    name: str
    grade: str
    what: str


def read_published(path: str | Path) -> tuple[Published, ...]:
    """The rows of a JSON list.

    Raises:
        InputError: the file cannot be read, is not such a list, or a value is out of range; names the row.
    """
    try:
        kept = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a JSON list of published figures"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): give a JSON list of published figures") from error
    if not isinstance(kept, list) or not kept:
        raise InputError(f"{path} is not a list of rows: each needs {', '.join(_REQUIRED)}")
    return tuple(_published(row, place, str(path)) for place, row in enumerate(kept, 1))


def contradictions(rows: Sequence[Published]) -> tuple[Finding, ...]:
    """What in the rows contradicts what else, each named once."""
    found: list[Finding] = []
    for row in rows:
        found += _of_the_rest(row)
        found += _of_the_errors(row)
        found += _of_the_caught(row, rows)
    return tuple(found)


def _of_the_rest(row: Published) -> list[Finding]:
    found = []
    sides = (
        ("crowd", _crowd_accuracy(row), row.alpha_L1_R),
        ("oracle", row.oracle_accuracy, row.alpha_L2_R),
    )
    for who, overall, inside in sides:
        if overall is None or row.p_R >= 1:
            continue
        rest = (overall - row.p_R * inside) / (1 - row.p_R)
        slack = 3 * _ROUNDING / (1 - row.p_R)
        if rest < -slack or rest > 1 + slack:
            words = (
                f"the {who} is {overall:.1%} right overall and {inside:.1%} on the escalated {row.p_R:.1%}, so it would have "
                f"to be {rest:.1%} right on the rest"
            )
            found.append(Finding(name=row.name, grade="impossible", what=words))
        elif rest < inside - _SURPRISING:
            words = (
                f"the {who} is {overall:.1%} right overall and {inside:.1%} on the escalated {row.p_R:.1%}, which leaves "
                f"{rest:.1%} on the rest: the kept queries, which should be the easier ones, would be the harder"
            )
            found.append(Finding(name=row.name, grade="implausible", what=words))
    return found


def _of_the_errors(row: Published) -> list[Finding]:
    if row.errors is None:
        return []
    kept = row.n - row.escalated
    outside = row.errors - row.most_errors
    if outside > kept + row.n * _ROUNDING + 1:
        words = (
            f"{row.errors} crowd errors, at most {row.most_errors} of them among the escalated, leave {outside} for "
            f"{kept:.0f} kept queries"
        )
        return [Finding(name=row.name, grade="impossible", what=words)]
    return []


def _of_the_caught(row: Published, rows: Sequence[Published]) -> list[Finding]:
    if row.caught is None:
        return []
    found = []
    at = row.threshold if row.caught_at is None else row.caught_at
    if row.errors is not None and row.caught > row.errors:
        words = f"{row.caught} errors are said to be caught of {row.errors} that there are"
        found.append(Finding(name=row.name, grade="impossible", what=words))
    for other in rows:
        if (
            other.name == row.name
            and other.n == row.n
            and other.threshold <= at
            and row.caught > other.most_errors
        ):
            same = "the same" if other.threshold == at else "a lower"
            words = (
                f"{row.caught} errors are said to be caught at t = {at:g}, and at {same} t = {other.threshold:g} the "
                f"{other.escalated:.0f} escalated, {other.alpha_L1_R:.1%} of them right, hold at most {other.most_errors}"
            )
            found.append(Finding(name=row.name, grade="impossible", what=words))
    return found


def _crowd_accuracy(row: Published) -> float | None:
    if row.crowd_accuracy is not None or row.errors is None:
        return row.crowd_accuracy
    return 1 - row.errors / row.n


def _published(row: Any, place: int, path: str) -> Published:
    known = {*_REQUIRED, *_OPTIONAL, "caught_at"}
    if not isinstance(row, Mapping) or not set(_REQUIRED) <= set(row) <= known:
        raise InputError(
            f"{path}, row {place}: needs {', '.join(_REQUIRED)}, may have {', '.join(_OPTIONAL)}, caught_at"
        )
    for key in known - {"name"}:
        value = row.get(key)
        if value is None and key not in _REQUIRED:
            continue
        counts = key in ("n", "errors", "caught")
        least, most = (1 if key == "n" else 0), (math.inf if counts else 1)
        right = isinstance(value, int if counts else int | float) and not isinstance(value, bool)
        if not right or not least <= float(value or 0) <= most:
            wanted = "a count" if counts else "a number from 0 to 1"
            raise InputError(f"{path}, row {place}: {key} is {value!r}, not {wanted}")
    return Published(**row)
