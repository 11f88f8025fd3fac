"""What a probability is worth: recalibration, the shift to another base rate, and the scores that judge it.

Beta calibration (Kull, Silva Filho & Flach, AISTATS 2017) maps a predicted probability p to

    sigmoid(a ln p - b ln(1 - p) + c),      a, b >= 0, so that the order of queries never changes;

with a = b it is Platt's scaling of the logit, with a = b = 1 and c = 0 the identity. Its three parameters are fitted
by Newton's method under a weak pull towards the identity, which keeps them finite where the data separate perfectly.

A change of the base rate alone shifts the logit by logit(new) - logit(old) (Saerens, Latinne & Decaestecker, Neural
Computation 14, 2002).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.errors import InputError
from pyramid_core.types.numbers import is_number

Floats = npt.NDArray[np.float64]

_EDGE = 1e-6
"""Probabilities are kept this far from 0 and 1."""

_PULL = 1.0
"""Strength of the pull towards the identity, in observations' worth of squared distance."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """sigmoid(a ln p - b ln(1 - p) + c), monotone; the identity by default."""

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __post_init__(self) -> None:
        for name in ("a", "b", "c"):
            value = getattr(self, name)
            if not is_number(value):
                raise InputError(f"calibration {name!r} must be a finite number, not {value!r}")
        if self.a < 0 or self.b < 0:
            raise InputError(
                f"calibration must be monotone: a and b of at least 0, not {self.a!r} and {self.b!r}"
            )

    def __call__(self, p: float) -> float:
        """The calibrated probability of one prediction; NaN for NaN."""
        if p != p:  # noqa: PLR0124 - only NaN differs from itself
            return p
        p = min(max(p, _EDGE), 1.0 - _EDGE)
        return sigmoid(self.a * math.log(p) - self.b * math.log1p(-p) + self.c)

    def of(self, p: npt.ArrayLike) -> Floats:
        """The calibrated probabilities of an array of predictions."""
        inputs = _terms(np.asarray(p, dtype=float))
        margins: Floats = inputs @ np.array([self.a, self.b, self.c])
        return _sigmoid(margins)

    @classmethod
    def fit(
        cls, *, p: npt.ArrayLike, outcome: npt.ArrayLike, weight: npt.ArrayLike | None = None
    ) -> Calibration:
        """The calibration of predictions `p` of `outcome`, by penalised maximum likelihood.

        Args:
            p: [n] predicted probabilities, from models that have not seen these outcomes.
            outcome: [n] 0 or 1.
            weight: [n] of each observation; 1 by default.

        Raises:
            InputError: the lengths differ, or there is nothing to fit.
        """
        predicted, observed = np.asarray(p, dtype=float), np.asarray(outcome, dtype=float)
        weights = np.ones_like(predicted) if weight is None else np.asarray(weight, dtype=float)
        if predicted.shape != observed.shape or predicted.shape != weights.shape or predicted.size == 0:
            raise InputError(
                f"calibration needs as many predictions as outcomes, at least one: {predicted.shape}"
            )
        free = np.ones(3, dtype=bool)
        inputs = _terms(predicted)
        while True:
            found = _newton(inputs, observed, weights, free)
            negative = (found < 0) & free & np.array([True, True, False])
            if not negative.any():
                return cls(a=float(found[0]), b=float(found[1]), c=float(found[2]))
            free &= ~negative

    @classmethod
    def read(cls, kept: Any) -> Calibration:
        """The calibration that `as_json` wrote.

        Raises:
            InputError: it is something else.
        """
        if not isinstance(kept, Mapping) or set(kept) != {"a", "b", "c"}:
            raise InputError(f"a calibration has the keys a, b and c, not {kept!r}")
        return cls(**kept)

    def as_json(self) -> dict[str, float]:
        """Its parameters, for a card."""
        return asdict(self)


def shifted(p: float, *, base: float, to: float) -> float:
    """`p`, predicted where the base rate was `base`, where it is `to`; 0 and 1 stay what they are.

    Args:
        p: a probability.
        base: the share of positives where the prediction was learned.
        to: the share of positives where it is used.

    Raises:
        InputError: a rate is not above 0 and below 1.
    """
    for name, value in (("base", base), ("to", to)):
        if not 0 < value < 1:
            raise InputError(f"the base rate {name}={value!r} must be above 0 and below 1")
    if not 0 < p < 1:
        return p
    return sigmoid(logit(p) + logit(to) - logit(base))


def logit(p: float) -> float:
    """ln(p / (1 - p)), for p above 0 and below 1."""
    return math.log(p) - math.log1p(-p)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    grown = math.exp(x)
    return grown / (1.0 + grown)


def brier(*, p: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """The mean squared difference between probability and outcome (Brier 1950); 0 is best."""
    return float(np.mean((np.asarray(p, dtype=float) - np.asarray(outcome, dtype=float)) ** 2))


def auroc(*, score: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """The probability that a positive scores above a negative, ties counting half (Mann & Whitney 1947).

    NaN where there are only positives or only negatives.
    """
    scores, positive = np.asarray(score, dtype=float), np.asarray(outcome, dtype=bool)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return math.nan
    _, group, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2  # the mean rank of a group of ties, from 1
    return float((rank[group][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def ece(*, p: npt.ArrayLike, outcome: npt.ArrayLike, bins: int = 10) -> float:
    """The expected calibration error: |mean p - mean outcome| over bins of equal mass, weighted by their size.

    Equal predictions share their mean outcome, so that their order does not matter. Source: Naeini, Cooper &
    Hauskrecht, AAAI 2015, with bins of equal mass after Nguyen & O'Connor, EMNLP 2015.

    Raises:
        InputError: there is no prediction.
    """
    predicted, observed = np.asarray(p, dtype=float), np.asarray(outcome, dtype=float)
    if predicted.size == 0 or predicted.shape != observed.shape:
        raise InputError(f"ece needs as many predictions as outcomes, at least one: {predicted.shape}")
    values, group, count = np.unique(predicted, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=observed, minlength=len(values)) / count)[group]
    gap = (predicted - shared)[np.argsort(predicted, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, bins)) / len(gap))


def ece_limit(
    *, p: npt.ArrayLike, bins: int = 10, draws: int = 1000, seed: int = 0, quantile: float = 0.99
) -> float:
    """The `quantile` of `ece` when outcomes are drawn from `p` itself: what a perfectly calibrated router may show."""
    predicted = np.asarray(p, dtype=float)
    random = np.random.default_rng(seed)
    drawn = [
        ece(p=predicted, outcome=random.random(len(predicted)) < predicted, bins=bins) for _ in range(draws)
    ]
    return float(np.quantile(drawn, quantile))


def _terms(p: Floats) -> Floats:
    inside = np.clip(p, _EDGE, 1 - _EDGE)
    return np.stack([np.log(inside), -np.log1p(-inside), np.ones_like(inside)], axis=-1)


def _sigmoid(margins: Floats) -> Floats:
    calm: Floats = 1.0 / (1.0 + np.exp(-np.clip(margins, -80.0, 80.0)))
    return calm


def _newton(inputs: Floats, observed: Floats, weights: Floats, free: npt.NDArray[np.bool_]) -> Floats:
    """The minimum of the penalised loss over the free parameters; the others are 0. Steps are halved until they help."""
    target = np.array([1.0, 1.0, 0.0])
    found = np.where(free, target, 0.0)

    def loss(parameters: Floats) -> float:
        margins = inputs @ parameters
        fit = weights @ (np.logaddexp(0.0, margins) - observed * margins)
        return float(fit + 0.5 * _PULL * np.sum((parameters - target)[free] ** 2))

    for _ in range(50):
        predicted = _sigmoid(inputs @ found)
        slope = inputs.T @ (weights * (predicted - observed)) + _PULL * (found - target)
        curvature = (inputs.T * (weights * predicted * (1 - predicted))) @ inputs + _PULL * np.eye(3)
        step = np.zeros(3)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        size, here = 1.0, loss(found)
        while size > 1e-6 and loss(found - size * step) > here:
            size /= 2
        found = found - size * step
        if float(np.abs(size * step).max()) < 1e-9:
            break
    return found
