"""Boosted trees: grown by xgboost, from then on evaluated by our own evaluator, also while training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.errors import InputError
from pyramid_core.routers.trees import Forest
from pyramid_core.training.examples import FUSED, Examples
from pyramid_core.training.extra import xgboost

_FEW, _MANY = 1_500, 5_000
"""Fewer queries get shallower trees, more get deeper ones: further views of a query are no further evidence."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How trees are grown; small and slow on purpose: some thousand rows, signals that are noisy.

    Attributes:
        trees: how many.
        depth: edges from root to leaf at most.
        rate: what each tree counts (xgboost's eta).
        rows: share of the rows that each tree sees.
        columns: share of the columns that each tree sees.
        least: the least weight of a leaf's rows (xgboost's min_child_weight, a sum of p(1 - p)).
        pull: L2 penalty on leaves (xgboost's lambda).
    """

    trees: int = 160
    depth: int = 4
    rate: float = 0.05
    rows: float = 0.7
    columns: float = 0.7
    least: float = 4.0
    pull: float = 2.0

    @classmethod
    def for_queries(cls, count: int, *, programs: bool = False) -> Growth:
        """The default for so many queries; what programs do are few and sharp signals that only say much together."""
        if programs and count < _FEW:
            return cls(trees=80, depth=3, least=2.0)
        if count < _FEW:
            return cls(trees=200, depth=2)
        if count < _MANY:
            return cls(trees=300, depth=3, rate=0.03)
        return cls(trees=300, depth=5, rate=0.04, least=8.0)

    @classmethod
    def for_kind(cls, kind: str, count: int) -> Growth:
        """The default for a kind of router and so many queries.

        Tool calls are seen with several crowds each and have many columns that say nearly the same: trees are deep, and
        each sees a few of them.
        """
        if kind == "tools":
            return cls(trees=200, depth=4, rate=0.045, columns=0.3, least=2.0)
        return cls.for_queries(count)

    def as_json(self) -> dict[str, Any]:
        """For a card."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Grown:
    """Trees, the JSON that xgboost wrote of them, and by how much each column's splits improved the loss."""

    forest: Forest
    content: bytes
    gains: npt.NDArray[np.float64]


def grow(
    rows: npt.NDArray[np.float32],
    label: npt.NDArray[np.float64],
    *,
    growth: Growth,
    seed: int,
    weight: npt.NDArray[np.float64] | None = None,
) -> Grown:
    """Trees for P(label = 1); the same rows and seed give the same trees. Rows whose label is NaN are left out.

    `weight` says what each row counts; None: all alike.

    Raises:
        InputError: the labels are all alike, so that there is nothing to learn.
        MissingExtra: xgboost is not installed.
    """
    module = xgboost()
    known = ~np.isnan(label)
    positives = int(np.nansum(label))
    if positives in (0, int(known.sum())):
        raise InputError(
            f"of {int(known.sum())} graded answers {positives} are of one kind: "
            "training needs right and wrong answers, in every fold"
        )
    parameters: Mapping[str, Any] = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": growth.depth,
        "eta": growth.rate,
        "subsample": growth.rows,
        "colsample_bytree": growth.columns,
        "min_child_weight": growth.least,
        "lambda": growth.pull,
        "nthread": 1,  # Sums in one order: the same trees every time.
        "seed": seed,
        "verbosity": 0,
    }
    counts = None if weight is None else weight[known]
    matrix = module.DMatrix(rows[known], label=label[known], weight=counts, nthread=1)
    booster = module.train(dict(parameters), matrix, growth.trees)
    content = bytes(booster.save_raw("json"))
    gains = np.zeros(rows.shape[1])
    for name, gain in booster.get_score(importance_type="total_gain").items():
        gains[int(name[1:])] = gain
    return Grown(forest=Forest.read(content, where="the trees just grown"), content=content, gains=gains)


def grow_fail(examples: Examples, among: npt.NDArray[np.bool_], *, growth: Growth, seed: int) -> Grown:
    """Trees for "this answer is wrong", from the rows `among`."""
    weight = examples.row_weight
    counts = None if weight is None else weight[among]
    return grow(examples.rows[among], examples.wrong[among], growth=growth, seed=seed, weight=counts)


def grow_after(examples: Examples, among: npt.NDArray[np.bool_], *, growth: Growth, seed: int) -> Grown:
    """Trees for "the oracle is right", from the rows `among` that are the largest class's before fusion."""
    leads = among & examples.leads & (examples.view != FUSED)
    query = examples.query[leads]
    counts = None if examples.row_weight is None else examples.weight[query]
    return grow(examples.rows[leads], examples.oracle_right[query], growth=growth, seed=seed, weight=counts)
