from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core.calibration import (
    Calibration,
    auroc,
    brier,
    ece,
    ece_limit,
    logit,
    shifted,
    sigmoid,
)
from pyramid_core.errors import InputError

probabilities = st.floats(0, 1)
pairs = st.lists(st.tuples(probabilities, st.booleans()), min_size=1, max_size=40)


def drawn(n: int = 5000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities and outcomes drawn from them."""
    random = np.random.default_rng(seed)
    p = random.beta(2, 2, size=n)
    return p, random.random(n) < p


class TestCalibration:
    @given(pairs, st.tuples(probabilities, probabilities))
    def test_never_changes_an_order(self, data, two) -> None:
        p, outcome = zip(*data, strict=True)
        fitted = Calibration.fit(p=p, outcome=outcome)
        assert fitted(min(two)) <= fitted(max(two))

    @given(st.builds(Calibration, a=st.floats(0, 5), b=st.floats(0, 5), c=st.floats(-5, 5)), probabilities)
    def test_one_value_and_an_array_agree(self, calibration: Calibration, p: float) -> None:
        assert calibration(p) == pytest.approx(calibration.of([p])[0], abs=1e-12)

    def test_undoes_overconfidence(self) -> None:
        p, outcome = drawn()
        overconfident = np.array([sigmoid(2 * logit(x)) for x in p])
        repaired = Calibration.fit(p=overconfident, outcome=outcome).of(overconfident)
        assert ece(p=repaired, outcome=outcome) < 0.25 * ece(p=overconfident, outcome=outcome)

    def test_leaves_calibrated_predictions_nearly_alone(self) -> None:
        p, outcome = drawn()
        assert np.abs(Calibration.fit(p=p, outcome=outcome).of(p) - p).max() < 0.05

    def test_stays_finite_where_the_data_separate_perfectly(self) -> None:
        fitted = Calibration.fit(p=[0.1, 0.2, 0.8, 0.9], outcome=[0, 0, 1, 1])
        assert max(fitted.as_json().values()) < 10

    def test_an_inverted_score_becomes_a_constant_not_a_falling_line(self) -> None:
        p, outcome = drawn()
        fitted = Calibration.fit(p=1 - p, outcome=outcome)
        assert fitted(0.9) - fitted(0.1) == pytest.approx(0.0, abs=0.02)

    def test_weights_count_as_repetitions(self) -> None:
        weighted = Calibration.fit(p=[0.2, 0.7, 0.9], outcome=[0, 1, 0], weight=[1, 3, 1])
        repeated = Calibration.fit(p=[0.2, 0.7, 0.7, 0.7, 0.9], outcome=[0, 1, 1, 1, 0])
        assert weighted.as_json() == pytest.approx(repeated.as_json())

    def test_nan_stays_nan(self) -> None:
        assert math.isnan(Calibration(a=1.0, b=1.0, c=1.0)(math.nan))

    def test_comes_back_from_its_json(self) -> None:
        calibration = Calibration(a=0.5, b=1.5, c=-1.0)
        assert Calibration.read(calibration.as_json()) == calibration

    @pytest.mark.parametrize("kept", [None, {}, {"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1, "d": 1}])
    def test_other_json_is_refused(self, kept) -> None:
        with pytest.raises(InputError, match="keys a, b and c"):
            Calibration.read(kept)

    @pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True])
    def test_a_parameter_that_is_no_number_is_refused(self, value) -> None:
        with pytest.raises(InputError, match="'c'"):
            Calibration(c=value)

    def test_a_falling_calibration_is_refused(self) -> None:
        with pytest.raises(InputError, match="monotone"):
            Calibration(a=-0.1)

    @pytest.mark.parametrize(("p", "outcome"), [([], []), ([0.5], [0, 1])])
    def test_nothing_to_fit_is_refused(self, p, outcome) -> None:
        with pytest.raises(InputError):
            Calibration.fit(p=p, outcome=outcome)


class TestShift:
    @given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
    def test_there_and_back_is_the_same(self, p: float, base: float, to: float) -> None:
        assert shifted(shifted(p, base=base, to=to), base=to, to=base) == pytest.approx(p, abs=1e-9)

    def test_the_base_rate_itself_becomes_the_new_one(self) -> None:
        assert shifted(0.6, base=0.6, to=0.9) == pytest.approx(0.9)

    @pytest.mark.parametrize("p", [0.0, 1.0])
    def test_certainty_stays(self, p: float) -> None:
        assert shifted(p, base=0.5, to=0.9) == p

    @pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
    def test_an_impossible_rate_is_refused(self, rate: float) -> None:
        with pytest.raises(InputError, match="base rate"):
            shifted(0.5, base=0.5, to=rate)


class TestAuroc:
    @given(pairs)
    def test_is_the_share_of_pairs_in_order_with_ties_half(self, data) -> None:
        positives = [p for p, outcome in data if outcome]
        negatives = [p for p, outcome in data if not outcome]
        score, outcome = zip(*data, strict=True)
        found = auroc(score=score, outcome=outcome)
        if not positives or not negatives:
            assert math.isnan(found)
        else:
            wins = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positives, negatives)]
            assert found == pytest.approx(np.mean(wins))


class TestScores:
    def test_brier_is_the_mean_squared_error(self) -> None:
        assert brier(p=[0.0, 0.5, 1.0], outcome=[0, 1, 1]) == pytest.approx(0.25 / 3)

    def test_ece_of_two_bins_by_hand(self) -> None:
        # Bins {.1, .2} and {.7, .8}: |.15 - .5| and |.75 - 1|, half the mass each.
        assert ece(p=[0.8, 0.1, 0.7, 0.2], outcome=[1, 0, 1, 1], bins=2) == pytest.approx(0.3)

    @given(pairs, st.randoms(use_true_random=False))
    def test_ece_does_not_depend_on_the_order(self, data, random) -> None:
        mixed = list(data)
        random.shuffle(mixed)
        first, second = (
            dict(zip(("p", "outcome"), zip(*rows, strict=True), strict=True)) for rows in (data, mixed)
        )
        assert ece(**first) == pytest.approx(ece(**second), abs=1e-12)

    def test_ece_of_calibrated_predictions_is_within_its_limit(self) -> None:
        p, outcome = drawn(1000)
        assert ece(p=p, outcome=outcome) < ece_limit(p=p, draws=200)

    def test_ece_of_wrong_predictions_is_beyond_its_limit(self) -> None:
        p, outcome = drawn(1000)
        assert ece(p=p**2, outcome=outcome) > ece_limit(p=p**2, draws=200)

    def test_ece_without_predictions_is_refused(self) -> None:
        with pytest.raises(InputError):
            ece(p=[], outcome=[])
