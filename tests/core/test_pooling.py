"""Routers for any crowd: how crowds are drawn, rows of several sets in one table, and what their cards say."""

from dataclasses import replace

import numpy as np
import pytest

from pyramid_core.errors import InputError
from pyramid_core.features import FeatureSet
from pyramid_core.features.catalogue import named
from pyramid_core.routers import LearnedRouter
from pyramid_core.routers.card import CARD
from pyramid_core.training import Setting, default_features, examples_of, fit, observation_of
from pyramid_core.training.fitting import fit_rows
from pyramid_core.training.points import Standing, recall_point
from pyramid_core.training.pooling import ORACLE, Casting, accuracies, drawn, members_of, pooled
from tests.core.synthetic import CROWD, records
from tests.core.synthetic import ORACLE as BIG

CASTING = Casting(sizes=(1, 2, 3), seed=3)


def cast(size, count=240, turn=0, casting=CASTING):
    told = list(records(count))
    return list(drawn(told, accuracies(told), size=size, turn=turn, casting=casting))


class TestDrawing:
    def test_every_record_is_drawn_once_a_turn(self):
        ids = [record["id"] for size in CASTING.sizes for record in cast(size)]
        assert len(ids) == len(set(ids)) == 240

    def test_members_are_called_by_their_places_and_their_answers_stay(self):
        told = {record["id"]: record for record in records(240)}
        for record in cast(2):
            names = [response["model"] for response in record["responses"]]
            assert names == [*members_of(2), ORACLE]
            texts = {response["text"] for response in told[record["id"]]["responses"]}
            assert {response["text"] for response in record["responses"]} <= texts

    def test_an_oracle_is_more_accurate_than_all_of_its_crowd(self):
        big = {record["id"]: record["responses"][-1]["text"] for record in records(240)}
        for record in cast(3):
            assert record["responses"][-1]["text"] == big[record["id"]]

    def test_the_same_seed_draws_the_same_and_another_turn_draws_another(self):
        assert cast(2) == cast(2)
        assert cast(2) != cast(2, turn=1)

    def test_signals_are_taken_from_some_members_and_not_from_all(self):
        told = [r["responses"][:-1] for r in cast(3, casting=replace(CASTING, silent=0.5))]
        silent = [sum(one["logprobs"] is None for one in crowd) for crowd in told]
        assert set(silent) >= {0, 1, 2}

    def test_no_oracle_loses_a_signal(self):
        assert all(r["responses"][-1]["logprobs"] is not None for r in cast(3))


def rows(size):
    features = FeatureSet("class", default_features("value"), "auto")
    setting = Setting(crowd=members_of(size), oracle=ORACLE, features=features, least=1)
    return examples_of(cast(size), setting)


class TestPooling:
    def test_queries_are_numbered_on_and_rows_stay_theirs(self):
        parts = [rows(2), rows(3)]
        whole = pooled(parts)
        assert whole.queries == sum(part.queries for part in parts)
        assert whole.keys == parts[0].keys + parts[1].keys
        second = whole.query >= parts[0].queries
        np.testing.assert_array_equal(whole.rows[second], parts[1].rows)
        assert np.isnan(whole.singles[: parts[0].queries, 2]).all()

    def test_tables_of_other_columns_are_refused(self):
        with pytest.raises(InputError, match="same columns"):
            pooled([rows(2), replace(rows(3), rows=rows(3).rows[:, :4])])
        with pytest.raises(InputError, match="same columns"):
            pooled([])


@pytest.fixture(scope="module")
def router():
    whole = pooled([rows(1), rows(2), rows(3)])
    features = FeatureSet("class", default_features("value"), "auto")
    setting = Setting(crowd=members_of(3), oracle=ORACLE, features=features, least=1)
    return fit_rows(whole, setting, kind="value", any_crowd=True, folds=3)


class TestCard:
    def test_it_serves_a_crowd_of_other_names_and_another_size(self, router):
        assert router.crowd is None
        crowd = CROWD[:2]
        seen = router.for_crowd(crowd).assess(observation_of(records(1)[0], crowd=crowd, oracle=BIG))
        assert 0 < seen.p_fail < 1

    def test_no_column_names_a_member(self, router):
        assert not [name for name, _ in router.card.features if "[" in name]

    def test_it_tells_auroc_ece_and_brier_by_the_crowd_s_size_with_intervals(self, router):
        told = router.card.metrics["by_crowd_size"]
        assert set(told) <= {"1", "2", "3"}
        assert "3" in told
        for figures in told.values():
            for key in ("auroc", "ece", "brier"):
                low, high = figures[f"{key}_ci"]
                assert low <= high
        one = told["3"]
        assert one["auroc_ci"][0] <= one["auroc"] <= one["auroc_ci"][1]

    def test_it_says_whether_calibration_lowered_the_brier_score(self, router):
        metrics = router.card.metrics
        low, high = metrics["brier_gain_ci"]
        expected = "lower" if low > 0 else "higher" if high < 0 else "equal"
        assert metrics["brier_after_calibration"] == expected
        assert metrics["brier_gain"] == pytest.approx(
            metrics["brier_uncalibrated"] - metrics["brier"], abs=2e-5
        )

    def test_importance_is_of_every_column(self, router):
        told = router.card.metrics["importance"]
        assert set(told) == {name for name, _ in router.card.features}
        assert sum(one["gain"] for one in told.values()) == pytest.approx(1, abs=1e-3)
        assert all(one["permutation"] == 0 for one in told.values() if one["gain"] == 0)

    def test_agreement_matters_more_than_the_question_s_length(self, router):
        told = router.card.metrics["importance"]
        assert told["class_margin"]["permutation"] > told["query_length"]["permutation"]

    def test_a_prior_of_an_unknown_oracle_moves_p_after(self, router):
        seen = observation_of(records(1)[0], crowd=CROWD, oracle=BIG)
        unknown = replace(router, card=replace(router.card, oracle=None))
        assert unknown.assess(seen).p_after == {}
        assert any("oracle_accuracy=" in note for note in unknown.assess(seen).notes)
        low, high = (unknown.for_oracle(prior).assess(seen).p_after[BIG] for prior in (0.5, 0.95))
        assert low < high


def with_selection(router, said):
    card = replace(router.card, metrics={**router.card.metrics, "selection": said})
    return LearnedRouter.parse({**router.files, CARD: card.as_json()}, where="here")


class TestSelection:
    @pytest.mark.parametrize(("said", "selects"), [("class", True), ("vote", False), ("programs", False)])
    def test_the_card_says_whether_classes_are_selected(self, router, said, selects):
        one = np.zeros((2, len(router.card.features)))
        assert with_selection(router, said).selects(one) is selects

    def test_by_programs_only_where_what_they_do_is_known(self):
        columns = (*named("agreement", "class_margin"), *named("behaviour_agreement", "class_passes"))
        features = FeatureSet("class", columns)
        trained = fit(records(100), crowd=CROWD, oracle=BIG, kind="value", folds=3)
        router = replace(
            trained,
            features=features,
            card=replace(trained.card, metrics={**trained.card.metrics, "selection": "programs"}),
        )
        nan = float("nan")
        assert router.selects([[1.0, 0.5, 0.7, nan]])
        assert not router.selects([[1.0, 0.5, nan, nan]])


class TestRecallPoint:
    def standing(self, p_fail, right):
        return Standing(
            row=np.arange(len(p_fail)),
            p_fail=np.asarray(p_fail, dtype=float),
            right=np.asarray(right, dtype=float),
            p_after=np.full(len(p_fail), np.nan),
        )

    def test_it_lies_below_the_wanted_share_of_the_wrong_and_one_standard_error_more(self):
        p = np.linspace(0, 1, 201)
        right = (np.arange(201) % 2).astype(float)
        point = recall_point(self.standing(p, right), np.ones(201, dtype=bool))
        caught = (p[right == 0] > point.threshold).mean()
        assert 0.816 < caught < 0.816 + 2 * np.sqrt(0.816 * 0.184 / 101) + 1e-9

    def test_all_wrong_answers_alike_are_all_caught(self):
        point = recall_point(self.standing([0.3, 0.3, 0.1], [0, 0, 1]), np.ones(3, dtype=bool))
        assert 0.1 < point.threshold < 0.3

    def test_where_nothing_is_wrong_there_is_none(self):
        assert recall_point(self.standing([0.3, 0.1], [1, np.nan]), np.ones(2, dtype=bool)) is None
