from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.errors import InputError
from pyramid_core.profiles import Curve, apgr, apgr_ten_point, cpt, match_rate, target

queries = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans(), st.booleans()), min_size=1, max_size=30
)


def curve_of(rows) -> Curve:
    score, stands, after = zip(*rows, strict=True)
    return Curve.of(score=score, stands=stands, after=after)


# Four queries, each a block: the two that the oracle repairs first, then one that both know, then one it breaks.
FOUR = Curve.of(score=[0.9, 0.8, 0.2, 0.1], stands=[0, 0, 1, 1], after=[1, 1, 1, 0])


class TestCurve:
    def test_starts_at_the_crowd_and_ends_at_the_oracle(self) -> None:
        assert (FOUR.at(0.0), FOUR.at(1.0)) == (0.5, 0.75)

    def test_best_is_the_highest_point_that_a_threshold_reaches(self) -> None:
        assert FOUR.best == 1.0

    def test_equal_scores_are_one_straight_block(self) -> None:
        curve = Curve.of(score=[0.5, 0.5], stands=[0, 1], after=[1, 1])
        assert curve.rates.tolist() == [0.0, 1.0]
        assert curve.at(0.5) == 0.75

    def test_an_unknown_score_is_escalated_first(self) -> None:
        curve = Curve.of(score=[0.9, math.nan], stands=[1, 0], after=[1, 1])
        assert curve.accuracies.tolist() == [0.5, 1.0, 1.0]

    @given(queries, st.randoms(use_true_random=False))
    def test_does_not_depend_on_the_order_of_queries(self, rows, random) -> None:
        mixed = list(rows)
        random.shuffle(mixed)
        np.testing.assert_allclose(curve_of(mixed).accuracies, curve_of(rows).accuracies)

    @given(queries)
    def test_weights_count_as_repetitions(self, rows) -> None:
        score, stands, after = zip(*rows, strict=True)
        weighted = Curve.of(score=score, stands=stands, after=after, weight=[2] * len(rows))
        np.testing.assert_allclose(weighted.accuracies, curve_of(rows + rows).accuracies)

    @given(queries, st.floats(0, 1))
    def test_a_threshold_gives_the_accuracy_that_it_was_chosen_for(self, rows, wanted) -> None:
        curve = curve_of(rows)
        threshold = curve.threshold_to(wanted)
        reached = np.mean([after if score > threshold else stands for score, stands, after in rows])
        assert reached >= wanted - 1e-9 or curve.best < wanted - 1e-12

    @given(queries, st.floats(0, 1), st.floats(0, 1))
    def test_thresholds_fall_as_the_wanted_accuracy_rises(self, rows, one, other) -> None:
        curve = curve_of(rows)
        low, high = sorted((one, other))
        assert curve.threshold_to(high) <= curve.threshold_to(low)

    def test_nobody_is_escalated_where_the_crowd_is_already_there(self) -> None:
        assert FOUR.threshold_to(0.5) == math.inf

    def test_everybody_is_escalated_where_nothing_else_will_do(self) -> None:
        assert Curve.of(score=[1.0, 0.5], stands=[0, 0], after=[1, 1]).threshold_to(1.0) == -math.inf

    def test_thresholds_lie_half_way_to_the_next_block(self) -> None:
        assert FOUR.threshold_to(1.0) == 0.5

    @pytest.mark.parametrize(("score", "stands"), [([], []), ([0.5], [0, 1])])
    def test_unequal_lengths_are_refused(self, score, stands) -> None:
        with pytest.raises(InputError):
            Curve.of(score=score, stands=stands, after=stands)


class TestFigures:
    def test_apgr_is_the_exact_integral(self) -> None:
        # Trapezoids over accuracies .5 .75 1 1 .75, each .25 wide: .84375.
        assert apgr(FOUR, weak=0.5, oracle=0.75) == pytest.approx((0.84375 - 0.5) / 0.25)

    def test_apgr_of_escalating_at_random_is_one_half(self) -> None:
        random = Curve.of(score=[0.0] * 4, stands=[0, 0, 1, 1], after=[1, 1, 1, 0])
        assert apgr(random, weak=0.5, oracle=0.75) == pytest.approx(0.5)

    def test_ten_points_agree_with_the_integral_of_a_straight_line(self) -> None:
        line = Curve.of(score=[0.0] * 2, stands=[0, 1], after=[1, 1])
        assert apgr_ten_point(line, weak=0.5, oracle=1.0) == pytest.approx(apgr(line, weak=0.5, oracle=1.0))

    @pytest.mark.parametrize("figure", [apgr, apgr_ten_point])
    def test_without_a_gap_nothing_can_be_recovered(self, figure) -> None:
        assert math.isnan(figure(FOUR, weak=0.5, oracle=0.5))

    def test_cpt_is_interpolated(self) -> None:
        assert cpt(FOUR, weak=0.5, oracle=0.75, share=0.5) == pytest.approx(0.125)

    def test_match_rate_is_where_the_oracle_is_reached(self) -> None:
        assert match_rate(FOUR, oracle=0.75) == pytest.approx(0.25)

    def test_an_accuracy_that_is_never_reached_has_no_rate(self) -> None:
        assert math.isnan(FOUR.rate_to(1.1))

    def test_the_target_lies_between_crowd_and_oracle(self) -> None:
        assert target(weak=0.5, oracle=0.75, share=0.8) == pytest.approx(0.7)
