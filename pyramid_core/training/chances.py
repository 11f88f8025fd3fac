"""How an oracle's answer came into a trace, and what it must count so that no verdict biases what is learned.

A running pyramid asks the oracle where its rule says so, and of the queries that the crowd answered a random share that
it explores. An answer that came with probability q counts 1 / q times (Horvitz & Thompson, 1952): once after a verdict
to escalate, and as often as the draw was rare where the crowd's answer was accepted. Where nothing was explored, the
answers are those of the hard queries alone: they are left out, and a file that has no others is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyramid_core.errors import InputError

Floats = npt.NDArray[np.float64]


class Chance(NamedTuple):
    """How the oracle's answer came, or could have come, into a record.

    Attributes:
        traced: whether a pyramid made the record.
        drawn: whether the answer is there whatever the verdict was.
        probability: with which it came; NaN where it came by a verdict and would not have come otherwise.
    """

    traced: bool
    drawn: bool
    probability: float


def chance_of(record: Mapping[str, Any], response: Mapping[str, Any] | None) -> Chance:
    """The chance of one record, `response` being the oracle's."""
    told = record.get("deliberation")
    stated = None if response is None else response.get("propensity")
    asked = None if response is None else response.get("asked")
    if told is None:
        return Chance(False, True, 1.0 if stated is None else float(stated))
    context = told.get("context") or {}
    share, drawn = context.get("propensity"), bool(context.get("explore"))
    if stated is not None:
        return Chance(True, drawn or float(stated) < 1, float(stated))
    if share:
        return Chance(True, drawn, float(share) if asked == "exploration" else 1.0)
    return Chance(True, drawn, 1.0 if drawn else math.nan)


def weighed(oracle_right: Floats, chances: Sequence[Chance]) -> tuple[Floats, Floats]:
    """The oracle's grades without those that only a verdict brought, and what each of the others counts.

    Where every trace has its answer nothing was selected, and all count once.

    Args:
        oracle_right: [n] 1, 0, or NaN where the oracle's answer is missing or not graded.
        chances: [n] of the same records.

    Raises:
        InputError: a probability is not above 0 and at most 1, or all answers came from verdicts.
    """
    traced, drawn, probability = (np.array(column) for column in zip(*chances, strict=True))
    known = ~np.isnan(oracle_right)
    if ((probability <= 0) | (probability > 1)).any():
        raise InputError(
            "a propensity is not above 0 and at most 1: it is the probability of having been asked"
        )
    selected = (traced & ~known).any() and (traced & known).any()
    if not selected:
        return oracle_right, np.where(np.isnan(probability) | traced, 1.0, 1.0 / probability)
    if not (known & (drawn | ~traced)).any():
        raise InputError(
            "the oracle's answers in these traces all came from escalating, so they say nothing of the queries that "
            "the crowd answered: let the pyramid explore (explore=0.1, say), or collect answers of all members"
        )
    kept = ~np.isnan(probability)
    return np.where(kept, oracle_right, np.nan), np.where(kept, 1.0 / np.where(kept, probability, 1.0), 1.0)
