import numpy as np
import pytest

from pyramid_core.evaluation.envelope import hull, mark_dominated
from pyramid_core.evaluation.profile import Plan, profile
from pyramid_core.evaluation.sheet import Wanted, sheet_of
from tests.core.test_profile import CROWD, made

WANTED = Wanted(crowd=CROWD, oracle="big")
MODELS = [(0.0, 0.5), (0.2, 0.6), (0.5, 0.9), (1.0, 0.8)]


@pytest.mark.parametrize(
    ("cost", "best"),
    [(0.0, 0.5), (0.25, 0.7), (0.5, 0.9), (0.75, 0.9), (1.0, 0.9), (-0.1, -np.inf)],
)
def test_a_mixture_of_single_models_lies_on_the_upper_hull_of_those_that_are_cheap_enough(cost, best):
    assert hull(MODELS, cost) == pytest.approx(best)


def marked(points, *, crowd_cost):
    lines = made(300)
    told = {"profile": points}
    sheet = sheet_of(iter(lines), WANTED)
    mark_dominated(told, sheet, np.ones(300), crowd=CROWD, oracle="big", crowd_cost=crowd_cost)
    return told


def test_a_point_that_one_model_beats_at_a_lower_cost_is_dominated():
    told = marked([{"cost": 0.9, "accuracy": 0.5}, {"cost": 0.9, "accuracy": 0.999}], crowd_cost=0.3)
    assert [point["dominated"] for point in told["profile"]] == [True, False]
    assert [one["cost"] for one in told["singles"]] == pytest.approx([0.1, 0.1, 0.1, 1.0])


def test_a_point_cheaper_than_every_model_is_not_dominated():
    assert marked([{"cost": 0.05, "accuracy": 0.1}], crowd_cost=0.3)["profile"][0]["dominated"] is False


def test_a_crowd_that_asks_nobody_else_is_dominated_where_it_is_dear_and_not_where_it_is_cheap():
    def points(cost):
        plan = Plan(wanted=WANTED, kind="agreement", crowd_cost=cost, resamples=2)
        told = profile(lambda: iter(made(600)), plan)
        assert all("dominated" in point for point in told["profile"])
        return told["profile"][-1]["dominated"]

    assert (points(0.05), points(3.0)) == (False, True)
