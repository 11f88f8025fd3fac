"""XGBoost's own JSON, evaluated in numpy: no import of xgboost, no code in the file, no OpenMP stall on one row.

A boosted forest is a sum of leaves:

    p(x) = sigmoid(logit(base_score) + sum over trees of leaf(x))

All trees of all rows walk down in lockstep, level by level, on flat arrays of nodes whose two children are neighbours,
and in which a leaf is its own left child. A few rows at trees of up to 16 leaves, the case of serving, go faster
without walking: every node is asked at once, a node that sends the row to the right rules out the leaves on its left,
and of the leaves that remain the leftmost is reached (Lucchese et al., "QuickScorer", SIGIR 2015).

Inputs are cast to float32 and compared as float32 (`x < threshold` goes left), a missing value takes the node's
default direction, and the leaves are added in the order of the trees in float32, as xgboost does; so probabilities
agree to 1e-6. Understood are boosted trees with numeric splits under `binary:logistic`; anything else is refused by
name. Source of the format: XGBoost, "Introduction to Model IO" and doc/model.schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.errors import RouterError

BATCH = 1024
"""Rows that walk together: their state then fits into the cache."""

FEW = 8
"""Rows that go through masks."""

LEAVES = 16
"""Of a tree that goes through masks, at most."""

_BELOW = np.float32(-np.inf)

LARGEST = float(np.finfo(np.float32).max)

_DO = "train it with booster='gbtree', objective='binary:logistic', numeric features, and save it as JSON"


@dataclass(frozen=True, kw_only=True, eq=False)
class Forest:
    """A boosted forest of binary trees, flat.

    Attributes:
        features: how many inputs a row has.
        trees: how many trees there are.
        depth: edges from a root to the deepest leaf.
        margin: logit of the base score.
        split: [nodes] the input a node looks at; below `features` where a missing value goes left, shifted by
            `features` where it goes right, twice `features` for a leaf (see `_walk`).
        threshold: [nodes] float32.
        child: [nodes] the left child, with the right one behind it; a leaf's own number for a leaf.
        value: [nodes] float32, of leaves.
        roots: [trees] the first node of each tree.
        masks: what serves a few rows at small trees; None where a tree has more than 16 leaves.
    """

    features: int
    trees: int
    depth: int
    margin: float
    split: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    child: npt.NDArray[np.int64]
    value: npt.NDArray[np.float32]
    roots: npt.NDArray[np.int64]
    masks: Masks | None = None

    @classmethod
    def read(cls, content: bytes, *, where: str) -> Forest:
        """The forest in the bytes of a JSON file; `where` names it in errors.

        Raises:
            RouterError: the content is cut off, or something else.
        """
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RouterError(
                f"{where} is cut off or not JSON ({error}): copy or train the router again"
            ) from None
        return cls.parse(document, where=where)

    @classmethod
    def parse(cls, document: Any, *, where: str) -> Forest:
        """The forest in xgboost's parsed JSON; `where` names it in errors.

        Raises:
            RouterError: the document is malformed or of a kind that is not understood.
        """
        return _parse(document, where)

    def margins(self, rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The sum of leaves before the sigmoid, one a row; NaN is a missing value.

        Raises:
            RouterError: the rows do not have `features` columns.
        """
        table = _narrowed(rows)
        if table.ndim != 2 or table.shape[1] != self.features:
            raise RouterError(f"the trees read {self.features} features a row, not an array of {table.shape}")
        if self.masks is not None and len(table) <= FEW:
            return _sums(self.masks.leaves(self._inputs(table)))
        if len(table) <= BATCH:
            return self._walk(table)
        return np.concatenate([self._walk(table[at : at + BATCH]) for at in range(0, len(table), BATCH)])

    def probabilities(self, rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The predicted probability of the label 1, one a row."""
        margins = self.margins(rows)
        if len(margins) <= FEW:
            return np.array([_sigmoid(margin) for margin in margins.tolist()])
        return 1.0 / (1.0 + np.exp(-np.clip(margins, -80.0, 80.0)))

    def _inputs(self, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # Each row is laid out twice: missing as -inf, which is below every threshold, then as +inf, which is not;
        # behind them stands what leaves look at, so that they stay where they are.
        inputs = np.empty((len(table), 2 * self.features + 1), dtype=np.float32)
        np.fmax(table, _BELOW, out=inputs[:, : self.features])
        np.fmin(table, -_BELOW, out=inputs[:, self.features : -1])
        inputs[:, -1] = _BELOW
        return inputs

    def _walk(self, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        inputs = self._inputs(table)
        flat = inputs.ravel()
        starts = np.arange(0, flat.size, inputs.shape[1])[:, None]
        node = self.roots[None, :]
        for _ in range(self.depth):
            column = self.split.take(node) + starts
            node = self.child.take(node) + (flat.take(column) >= self.threshold.take(node))
        leaves = np.empty((len(table), self.trees + 1), dtype=np.float32)
        leaves[:, 0] = self.margin
        leaves[:, 1:] = self.value.take(node)
        return _sums(leaves)


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """Small trees as bit masks; a tree with fewer nodes is filled up with nodes that rule nothing out.

    Before the first tree stands one of a single leaf, the margin: the leaves then are all that is added up.

    Attributes:
        split: [nodes * trees] the input that each node looks at, as in `Forest`.
        threshold: [nodes, trees] float32.
        ruled_out: [nodes, trees] the leaves on the node's left, as bits.
        value: [trees * 16] float32, of leaves from left to right.
        starts: [trees] where a tree's leaves begin in `value`.
    """

    split: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    ruled_out: npt.NDArray[np.uint16]
    value: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]

    @staticmethod
    def of(forest: Forest) -> Masks | None:
        """The masks of a forest; None where a tree has too many leaves."""
        trees = [_left_to_right(forest, int(root)) for root in forest.roots]
        if not trees or max(len(leaves) for _, leaves in trees) > LEAVES:
            return None
        shape = (max(1, *(len(nodes) for nodes, _ in trees)), len(trees) + 1)
        split = np.full(shape, 2 * forest.features, dtype=np.int64)
        threshold = np.zeros(shape, dtype=np.float32)
        ruled_out = np.zeros(shape, dtype=np.uint16)
        value = np.zeros((len(trees) + 1, LEAVES), dtype=np.float32)
        value[0, 0] = forest.margin
        for tree, (nodes, leaves) in enumerate(trees, start=1):
            value[tree, : len(leaves)] = forest.value[leaves]
            for place, (node, bits) in enumerate(nodes):
                split[place, tree] = forest.split[node]
                threshold[place, tree] = forest.threshold[node]
                ruled_out[place, tree] = bits
        return Masks(
            split=split.ravel(),
            threshold=threshold,
            ruled_out=ruled_out,
            value=value.ravel(),
            starts=np.arange(0, value.size, LEAVES),
        )

    def leaves(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[rows, 1 + trees] the margin, and the leaf that each row reaches in each tree."""
        seen = inputs.take(self.split, axis=1).reshape(-1, *self.threshold.shape)
        gone = np.bitwise_or.reduce((seen >= self.threshold) * self.ruled_out, axis=1)
        return self.value.take(_LOWEST_CLEAR.take(gone) + self.starts)


def _narrowed(rows: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """`rows` as float32; what is beyond its range is above every threshold, or below."""
    with np.errstate(over="ignore"):
        return np.asarray(rows, dtype=np.float32)


def _sums(leaves: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """[rows] the leaves added up one after another in float32, as xgboost does."""
    return np.add.accumulate(leaves, axis=1)[:, -1].astype(np.float64)


def _left_to_right(forest: Forest, root: int) -> tuple[list[tuple[int, int]], list[int]]:
    """A tree's nodes, each with the leaves on its left as bits, and its leaves from left to right."""
    nodes: list[tuple[int, int]] = []
    leaves: list[int] = []
    waiting: list[tuple[int, int | None]] = [(root, None)]
    while waiting:
        node, first = waiting.pop()
        if first is not None:  # the left side has been read: its leaves are those since `first`
            nodes.append((node, (1 << len(leaves)) - (1 << first)))
        elif int(forest.child[node]) == node:
            leaves.append(node)
        else:
            left = int(forest.child[node])
            waiting += [(left + 1, None), (node, len(leaves)), (left, None)]
    return nodes, leaves


def _lowest_clear() -> npt.NDArray[np.uint8]:
    """For each 16 bits the place of the lowest that is not set; never asked where all are."""
    found = np.zeros(1 << LEAVES, dtype=np.uint8)
    for place in reversed(range(LEAVES)):
        found.reshape(-1, 2, 1 << place)[:, 0] = place
    return found


_LOWEST_CLEAR = _lowest_clear()


def _sigmoid(margin: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(margin, -80.0), 80.0)))


def _parse(document: Any, where: str) -> Forest:
    learner = _get(document, "learner", Mapping, where)
    booster = _get(learner, "gradient_booster", Mapping, where)
    _refuse_unless(booster.get("name") == "gbtree", where, f"booster {booster.get('name')!r}")
    objective = _get(learner, "objective", Mapping, where).get("name")
    _refuse_unless(objective == "binary:logistic", where, f"objective {objective!r}")
    parameters = _get(learner, "learner_model_param", Mapping, where)
    features = _integer(parameters.get("num_feature"), "num_feature", where)
    for name in ("num_class", "num_target"):
        count = _integer(parameters.get(name, 0), name, where)
        _refuse_unless(count <= 1, where, f"{name}={count}")
    model = _get(booster, "model", Mapping, where)
    parallel = _integer(
        _get(model, "gbtree_model_param", Mapping, where).get("num_parallel_tree", 1),
        "num_parallel_tree",
        where,
    )
    _refuse_unless(parallel <= 1, where, f"num_parallel_tree={parallel}")
    nodes = _Nodes(features=features, where=where)
    for number, tree in enumerate(_get(model, "trees", Sequence, where)):
        nodes.add(tree, f"{where}, tree {number}")
    forest = Forest(
        features=features,
        trees=len(nodes.roots),
        depth=nodes.depth,
        margin=_margin(parameters.get("base_score"), where),
        split=np.asarray(nodes.split, dtype=np.int64),
        threshold=np.asarray(nodes.threshold, dtype=np.float32),
        child=np.asarray(nodes.child, dtype=np.int64),
        value=np.asarray(nodes.value, dtype=np.float32),
        roots=np.asarray(nodes.roots, dtype=np.int64),
    )
    return replace(forest, masks=Masks.of(forest))


class _Nodes:
    """Flat lists that one tree after the other is added to; only nodes that its root reaches are kept."""

    def __init__(self, *, features: int, where: str) -> None:
        self.features = features
        self.where = where
        self.depth = 0
        self.roots: list[int] = []
        self.split: list[int] = []
        self.threshold: list[float] = []
        self.child: list[int] = []
        self.value: list[float] = []

    def add(self, tree: Any, where: str) -> None:
        left, right, feature, default, condition = _columns(tree, where)
        root = len(self.split)
        self.roots.append(root)
        seen, level, depth = {0}, [0], 0
        count = 1
        while level:
            below: list[int] = []
            for node in level:
                children = (left[node], right[node])
                if children == (-1, -1):
                    self._append(2 * self.features, 0.0, len(self.split), condition[node])
                    continue
                if not 0 <= feature[node] < self.features:
                    raise RouterError(
                        f"{where}: node {node} splits on feature {feature[node]} of {self.features}"
                    )
                for child in children:
                    if not 0 < child < len(left) or child in seen:
                        raise RouterError(
                            f"{where}: node {node} points to {child}, which is no node below it"
                        )
                    seen.add(child)
                below += children
                column = feature[node] + (0 if default[node] else self.features)
                self._append(column, condition[node], root + count, 0.0)
                count += 2
            level = below
            depth += bool(below)
        self.depth = max(self.depth, depth)

    def _append(self, split: int, threshold: float, child: int, value: float) -> None:
        self.split.append(split)
        self.threshold.append(threshold)
        self.child.append(child)
        self.value.append(value)


def _columns(tree: Any, where: str) -> tuple[list[int], list[int], list[int], list[int], list[float]]:
    """A tree's five columns, of one length, checked."""
    split_type = _get(tree, "split_type", Sequence, where) if "split_type" in tree else ()
    _refuse_unless(not any(split_type) and not tree.get("categories"), where, "a categorical split")
    size = _integer(
        _get(tree, "tree_param", Mapping, where).get("size_leaf_vector", 1), "size_leaf_vector", where
    )
    _refuse_unless(size <= 1, where, f"size_leaf_vector={size}")
    names = ("left_children", "right_children", "split_indices", "default_left", "split_conditions")
    columns = [list(_get(tree, name, Sequence, where)) for name in names]
    if not columns[0] or len({len(column) for column in columns}) != 1:
        raise RouterError(f"{where}: {', '.join(names)} are not lists of one length, at least 1")
    for name, column in zip(names[:4], columns[:4], strict=True):
        if not all(isinstance(item, int) for item in column):
            raise RouterError(f"{where}: {name} holds something that is not an integer")
    for item in columns[4]:
        if not isinstance(item, int | float) or not abs(item) <= LARGEST:
            raise RouterError(f"{where}: split_conditions holds {item!r}, which is not a finite float32")
    return columns[0], columns[1], columns[2], columns[3], columns[4]


def _margin(base_score: Any, where: str) -> float:
    """The logit of the base score, a probability that xgboost 3 writes as "[5E-1]" and older ones as "5E-1"."""
    try:
        value = float(str(base_score).strip("[]"))
    except ValueError:
        raise RouterError(f"{where}: base_score is {base_score!r}, not one number") from None
    if not 0 < value < 1:
        raise RouterError(f"{where}: base_score is {base_score!r}, not a probability between 0 and 1")
    return -math.log(1 / value - 1)


def _get(holder: Any, name: str, kind: type, where: str) -> Any:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(found, kind) or isinstance(found, str):
        raise RouterError(f"{where} is not xgboost's JSON ({name!r} is missing or malformed): {_DO}")
    return found


def _integer(value: Any, name: str, where: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise RouterError(f"{where}: {name} is {value!r}, not an integer") from None


def _refuse_unless(understood: bool, where: str, what: str) -> None:
    if not understood:
        raise RouterError(f"{where}: {what} is not understood: {_DO}")
