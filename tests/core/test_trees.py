from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyramid_core.errors import RouterError
from pyramid_core.routers.trees import BATCH, Forest

xgboost = pytest.importorskip("xgboost")


def booster(
    *,
    seed: int = 0,
    rows: int = 200,
    features: int = 5,
    trees: int = 20,
    missing: float = 0.2,
    **parameters: Any,
) -> Any:
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, features)).round(1).astype(np.float32)
    inputs[random.random(inputs.shape) < missing] = np.nan
    labels = (np.nan_to_num(inputs[:, 0]) + random.normal(size=rows) > 0).astype(int)
    labels[:2] = (0, 1)
    settled = {"objective": "binary:logistic", "nthread": 1, "seed": seed, "max_depth": 4, **parameters}
    return xgboost.train(settled, xgboost.DMatrix(inputs, label=labels), trees)


def document(model: Any) -> Any:
    return json.loads(bytes(model.save_raw("json")))


@pytest.fixture(scope="module")
def saved() -> Any:
    return document(booster(trees=3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_probabilities_equal_xgboost_on_random_models_and_inputs(data: st.DataObject) -> None:
    features = data.draw(st.integers(1, 8))
    model = booster(
        seed=data.draw(st.integers(0, 10**6)),
        rows=data.draw(st.integers(3, 300)),
        features=features,
        trees=data.draw(st.integers(1, 40)),
        missing=data.draw(st.sampled_from([0.0, 0.3, 0.95])),
        max_depth=data.draw(st.integers(1, 7)),
        eta=data.draw(st.sampled_from([0.05, 0.3, 1.0])),
        min_child_weight=data.draw(st.sampled_from([0.0, 1.0, 5.0])),
        reg_lambda=data.draw(st.sampled_from([0.0, 1.0])),
        tree_method=data.draw(st.sampled_from(["hist", "exact"])),
    )
    # Values on a coarse grid meet thresholds exactly; NaN and numbers beyond the training range are there too.
    cell = st.one_of(
        st.just(float("nan")), st.floats(-4, 4).map(lambda x: round(x, 1)), st.floats(-1e30, 1e30)
    )
    rows = np.array(
        data.draw(st.lists(st.lists(cell, min_size=features, max_size=features), min_size=1, max_size=6))
    )
    expected = model.predict(xgboost.DMatrix(rows.astype(np.float32)))
    forest = Forest.parse(document(model), where="test")
    np.testing.assert_allclose(forest.probabilities(rows), expected, rtol=0, atol=1e-6)


def test_large_batches_equal_single_rows(saved: Any) -> None:
    forest = Forest.parse(saved, where="test")
    rows = np.random.default_rng(1).normal(size=(BATCH + 3, 5))
    np.testing.assert_array_equal(forest.margins(rows), [forest.margins(row[None])[0] for row in rows])


def test_inputs_are_compared_as_float32() -> None:
    model = booster(trees=1, missing=0.0, max_depth=1)
    forest = Forest.parse(document(model), where="test")
    threshold = float(forest.threshold[0])
    just_below = np.full((1, 5), np.nextafter(threshold, -np.inf))  # a float64 that rounds to the threshold
    assert forest.margins(just_below) == forest.margins(np.full((1, 5), threshold))


def test_the_older_form_of_the_base_score_is_read(saved: Any) -> None:
    older = copy.deepcopy(saved)
    older["learner"]["learner_model_param"]["base_score"] = "2.5E-1"
    assert Forest.parse(older, where="test").margin == pytest.approx(np.log(1 / 3))


def test_rows_of_another_width_are_refused(saved: Any) -> None:
    with pytest.raises(RouterError, match="5 features a row"):
        Forest.parse(saved, where="test").margins(np.zeros((1, 4)))


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"booster": "dart"}, "booster 'dart'"),
        ({"booster": "gblinear"}, "booster 'gblinear'"),
        ({"objective": "reg:squarederror"}, "objective 'reg:squarederror'"),
        ({"objective": "multi:softprob", "num_class": 3}, "objective 'multi:softprob'"),
        ({"num_parallel_tree": 2, "subsample": 0.5}, "num_parallel_tree=2"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*gblinear.*deprecated:FutureWarning")
def test_another_kind_of_model_is_refused_by_name(parameters: dict[str, Any], named: str) -> None:
    if parameters.get("booster") == "gblinear":
        parameters = {**parameters, "max_depth": None}
        parameters = {key: value for key, value in parameters.items() if value is not None}
        model = xgboost.train(
            {"objective": "binary:logistic", "nthread": 1, **parameters},
            xgboost.DMatrix(np.array([[0.0], [1.0]]), label=[0, 1]),
            1,
        )
    else:
        model = booster(trees=2, missing=0.0, **parameters)
    with pytest.raises(RouterError, match=named):
        Forest.parse(document(model), where="fail.json")


def test_a_categorical_split_is_refused_by_name() -> None:
    random = np.random.default_rng(0)
    inputs = random.integers(0, 6, size=(200, 1)).astype(np.float32)
    labels = (inputs[:, 0] % 2).astype(int)
    matrix = xgboost.DMatrix(inputs, label=labels, feature_types=["c"], enable_categorical=True)
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1, "tree_method": "hist"}, matrix, 2)
    with pytest.raises(RouterError, match="categorical split"):
        Forest.parse(document(model), where="fail.json")


def tree_of(saved: Any) -> tuple[Any, dict[str, Any]]:
    changed = copy.deepcopy(saved)
    return changed, changed["learner"]["gradient_booster"]["model"]["trees"][0]


def test_a_tree_that_runs_in_circles_is_refused(saved: Any) -> None:
    changed, tree = tree_of(saved)
    tree["left_children"][tree["left_children"][0]] = 0
    with pytest.raises(RouterError, match="no node below it"):
        Forest.parse(changed, where="fail.json")


@pytest.mark.parametrize("child", [10**9, -7])
def test_a_child_outside_the_tree_is_refused(saved: Any, child: int) -> None:
    changed, tree = tree_of(saved)
    tree["left_children"][0] = child
    with pytest.raises(RouterError, match=f"points to {child}"):
        Forest.parse(changed, where="fail.json")


def test_a_feature_outside_the_row_is_refused(saved: Any) -> None:
    changed, tree = tree_of(saved)
    tree["split_indices"][0] = 5
    with pytest.raises(RouterError, match="feature 5 of 5"):
        Forest.parse(changed, where="fail.json")


def test_columns_of_different_lengths_are_refused(saved: Any) -> None:
    changed, tree = tree_of(saved)
    tree["default_left"].pop()
    with pytest.raises(RouterError, match="one length"):
        Forest.parse(changed, where="fail.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, 1e300])
def test_a_threshold_that_is_no_finite_number_is_refused(saved: Any, value: Any) -> None:
    changed, tree = tree_of(saved)
    tree["split_conditions"][0] = value
    with pytest.raises(RouterError, match="split_conditions"):
        Forest.parse(changed, where="fail.json")


@pytest.mark.parametrize("value", ["[0]", "1", "nan", "[5E-1,5E-1]", None])
def test_a_base_score_that_is_no_probability_is_refused(saved: Any, value: Any) -> None:
    changed = copy.deepcopy(saved)
    changed["learner"]["learner_model_param"]["base_score"] = value
    with pytest.raises(RouterError, match="base_score"):
        Forest.parse(changed, where="fail.json")


@pytest.mark.parametrize("content", [[], {}, {"learner": []}, {"learner": {"gradient_booster": "gbtree"}}, 3])
def test_something_else_than_a_model_is_refused(content: Any) -> None:
    with pytest.raises(RouterError, match="not xgboost's JSON"):
        Forest.parse(content, where="fail.json")


def test_content_that_is_cut_off_is_named(saved: Any) -> None:
    with pytest.raises(RouterError, match=r"fail\.json is cut off"):
        Forest.read(json.dumps(saved)[:-100].encode(), where="fail.json")
