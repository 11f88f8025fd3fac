"""Intervals over questions, and the router that knows nothing."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.errors import InputError
from pyramid_core.evaluation.bootstrap import mean_with_interval, random_escalation

marks = st.sampled_from([0.0, 1.0])


def half_width(estimate):
    return (estimate.high - estimate.low) / 2


class TestMean:
    @given(st.lists(marks, min_size=1, max_size=30))
    def test_is_the_share_and_lies_in_its_interval(self, values):
        found = mean_with_interval(values, resamples=200)
        assert found.value == pytest.approx(sum(values) / len(values))
        assert found.low <= found.value + 1e-12
        assert found.high >= found.value - 1e-12

    def test_has_no_spread_where_all_are_alike(self):
        found = mean_with_interval([1.0] * 20)
        assert (found.low, found.high) == (1.0, 1.0)

    def test_has_the_width_of_the_binomial(self):
        values = [1.0] * 1_400 + [0.0] * 600
        assert half_width(mean_with_interval(values)) == pytest.approx(
            1.96 * (0.7 * 0.3 / 2_000) ** 0.5, rel=0.1
        )

    def test_is_the_same_for_the_same_seed(self):
        values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
        assert mean_with_interval(values, seed=3) == mean_with_interval(values, seed=3)

    def test_is_wider_at_a_higher_level(self):
        values = [1.0, 0.0] * 50
        assert half_width(mean_with_interval(values, level=0.99)) > half_width(
            mean_with_interval(values, level=0.5)
        )


class TestRandomEscalation:
    @given(st.lists(st.tuples(marks, marks), min_size=1, max_size=7), st.data())
    def test_is_the_mean_over_every_choice_of_k(self, both, data):
        escalated = data.draw(st.integers(0, len(both)))
        by_hand = [
            sum(oracle if i in chosen else crowd for i, (crowd, oracle) in enumerate(both)) / len(both)
            for chosen in combinations(range(len(both)), escalated)
        ]
        crowd, oracle = zip(*both, strict=True)
        found = random_escalation(crowd=crowd, oracle=oracle, escalated=escalated, resamples=10)
        assert found.value == pytest.approx(np.mean(by_hand))

    def test_of_none_is_the_crowd(self):
        crowd, oracle = [1.0, 0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0, 1.0]
        assert random_escalation(crowd=crowd, oracle=oracle, escalated=0) == mean_with_interval(crowd)

    def test_of_all_is_the_oracle(self):
        crowd, oracle = [1.0, 0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0, 1.0]
        assert random_escalation(crowd=crowd, oracle=oracle, escalated=5) == mean_with_interval(oracle)

    def test_its_interval_covers_what_random_choices_get(self):
        draws = np.random.default_rng(7)
        n, k = 400, 120
        crowd, oracle = draws.random(n) < 0.7, draws.random(n) < 0.97
        found = random_escalation(crowd=crowd, oracle=oracle, escalated=k)
        got = []
        for _ in range(500):
            chosen = np.zeros(n, dtype=bool)
            chosen[draws.permutation(n)[:k]] = True
            again = draws.integers(0, n, n)
            got.append(np.where(chosen, oracle[again], crowd[again]).mean())
        inside = np.mean([found.low <= one <= found.high for one in got])
        assert inside == pytest.approx(0.95, abs=0.03)


class TestRefuses:
    @pytest.mark.parametrize(
        ("values", "says"),
        [([], "at least one"), ([[1.0]], r"shape \(1, 1\)"), ([1.0, float("nan")], "NaN at question 1")],
    )
    def test_values_that_are_no_scores(self, values, says):
        with pytest.raises(InputError, match=says):
            mean_with_interval(values)

    @pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
    def test_a_level_that_is_no_confidence(self, level):
        with pytest.raises(InputError, match="level"):
            mean_with_interval([1.0], level=level)

    def test_no_resamples(self):
        with pytest.raises(InputError, match="resamples"):
            mean_with_interval([1.0], resamples=0)

    def test_answers_to_different_questions(self):
        with pytest.raises(InputError, match="2 and 1"):
            random_escalation(crowd=[1.0, 0.0], oracle=[1.0], escalated=1)

    @pytest.mark.parametrize("escalated", [-1, 3])
    def test_a_share_that_there_is_not(self, escalated):
        with pytest.raises(InputError, match="between 0 and the 2"):
            random_escalation(crowd=[1.0, 0.0], oracle=[1.0, 1.0], escalated=escalated)
