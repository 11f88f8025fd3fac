from __future__ import annotations

import importlib
import json
import math
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyramid_core.calibration import auroc
from pyramid_core.errors import InputError, MissingExtra
from pyramid_core.features import FeatureSet
from pyramid_core.records import read_records
from pyramid_core.training import (
    Growth,
    Setting,
    default_features,
    examples_of,
    extra,
    fit,
    folds_of,
    observation_of,
    question_key,
)
from pyramid_core.training.examples import COMPLETE, FUSED, PARTIAL, partial_crowd
from pyramid_core.training.heldout import held_out
from tests.core.synthetic import CROWD, ORACLE, records

pytest.importorskip("xgboost")
SMALL = Growth(trees=20, depth=3)


def setting(**changes: Any) -> Setting:
    features = FeatureSet("class", default_features("value", CROWD))
    return Setting(**{"crowd": CROWD, "oracle": ORACLE, "features": features, "least": 2, **changes})


def trained(count: int = 400, **changes: Any) -> Any:
    return fit(records(count), **{"crowd": CROWD, "oracle": ORACLE, "growth": SMALL, **changes})


@pytest.fixture(scope="module")
def router() -> Any:
    return trained()


class TestQuestions:
    def test_options_in_another_order_are_the_same_question(self) -> None:
        one = "Which?\nOptions:\nA. red\nB. green"
        other = "Which?\n\nOptions:\nA. green\nB. red"
        assert question_key(one) == question_key(other)

    def test_other_options_are_another_question(self) -> None:
        assert question_key("Which?\nOptions:\nA. red") != question_key("Which?\nOptions:\nA. blue")

    def test_twins_share_a_fold_and_folds_are_even(self) -> None:
        keys = [f"q{n % 50}" for n in range(100)]
        fold = folds_of(keys, folds=5, seed=0)
        assert all(fold[n] == fold[n + 50] for n in range(50))
        assert np.bincount(fold).tolist() == [20] * 5

    def test_folds_do_not_depend_on_the_order_of_records(self) -> None:
        keys = [f"q{n}" for n in range(30)]
        assert (
            folds_of(keys[::-1], folds=3, seed=1)[::-1].tolist() == folds_of(keys, folds=3, seed=1).tolist()
        )

    def test_another_seed_gives_other_folds(self) -> None:
        keys = [f"q{n}" for n in range(30)]
        assert folds_of(keys, folds=3, seed=1).tolist() != folds_of(keys, folds=3, seed=2).tolist()


class TestExamples:
    def test_each_query_has_a_complete_a_partial_and_a_fused_view(self) -> None:
        examples = examples_of(records(5), setting())
        assert set(zip(examples.query.tolist(), examples.view.tolist(), strict=True)) == {
            (query, view) for query in range(5) for view in (COMPLETE, PARTIAL, FUSED)
        }

    def test_a_partial_crowd_is_drawn_from_the_question_alone(self) -> None:
        drawn = [partial_crowd(record, CROWD, setting()) for record in records(40)]
        assert drawn == [partial_crowd(record, CROWD, setting()) for record in records(40)]
        assert {tuple(names) for names in drawn} == {CROWD[:2], CROWD[1:], (CROWD[0], CROWD[2])}

    def test_a_class_is_right_where_its_spokesman_is(self) -> None:
        record = records(1)[0]
        for response, text, right in zip(
            record["responses"], ("1", "2", "2", "3"), (True, False, False, True), strict=True
        ):
            response.update(text=text, correct=right)
        examples = examples_of([record], setting())
        complete = examples.view == COMPLETE
        assert dict(
            zip(examples.calls[complete].tolist(), examples.wrong[complete].tolist(), strict=True)
        ) == {
            0b001: 0.0,
            0b110: 1.0,
        }

    def test_a_failure_is_wrong_and_an_ungraded_answer_unknown(self) -> None:
        record = records(1)[0]
        record["responses"][0].update(error={"type": "E"}, text=None)
        record["responses"][1].update(correct=None)
        singles = examples_of([record], setting()).singles[0]
        assert singles[0] == 0.0
        assert math.isnan(singles[1])

    def test_another_grade_may_be_named(self) -> None:
        record = records(1)[0]
        record["responses"][3].update(correct=True, grades={"strict": False})
        assert examples_of([record], setting(grade="strict")).oracle_right.tolist() == [0.0]

    def test_a_grade_that_no_answer_has_is_named(self) -> None:
        with pytest.raises(InputError, match="'strict'"):
            examples_of(records(3), setting(grade="strict"))

    def test_a_record_of_another_crowd_takes_no_part(self) -> None:
        other = records(1, seed=1)[0]
        other["responses"] = [{"model": "elsewhere", "text": "1", "correct": True}]
        assert examples_of([*records(3), other], setting()).queries == 3

    def test_without_any_answer_of_the_crowd_the_names_are_asked_for(self) -> None:
        with pytest.raises(InputError, match="name the crowd"):
            examples_of(records(3), setting(crowd=("x", "y")))

    def test_records_are_read_as_a_stream(self) -> None:
        taken: list[int] = []

        def stream() -> Any:
            for number, record in enumerate(records(30)):
                taken.append(number)
                yield record

        examples_of(stream(), setting())
        assert taken == list(range(30))


def traced(count: int, *, escalated: int, explored: int) -> list[dict[str, Any]]:
    """Records as a pyramid writes them: the first were escalated, the next accepted but explored, the rest accepted."""
    made = records(count)
    for number, record in enumerate(made):
        drawn = escalated <= number < escalated + explored
        record["deliberation"] = {"context": {"explore": drawn}}
        if number >= escalated + explored:
            record["responses"].pop()
    return made


class TestBias:
    def test_oracles_that_were_asked_by_verdict_alone_are_refused(self) -> None:
        with pytest.raises(InputError, match="explore="):
            examples_of(traced(20, escalated=8, explored=0), setting())

    def test_of_a_running_pyramid_only_explored_queries_grade_the_oracle(self) -> None:
        right = examples_of(traced(20, escalated=8, explored=4), setting()).oracle_right
        assert np.flatnonzero(~np.isnan(right)).tolist() == [8, 9, 10, 11]

    def test_where_every_trace_has_the_oracles_answer_all_count(self) -> None:
        right = examples_of(traced(20, escalated=20, explored=0), setting()).oracle_right
        assert not np.isnan(right).any()

    def test_recorded_answers_count_beside_traces(self) -> None:
        mixed = [*traced(20, escalated=8, explored=0), *records(5, seed=3)]
        right = examples_of(mixed, setting()).oracle_right
        assert np.flatnonzero(~np.isnan(right)).tolist() == [20, 21, 22, 23, 24]


class TestHeldOut:
    def test_no_prediction_comes_from_trees_that_saw_the_question(self) -> None:
        # Twins of one question, labelled alike at random: trees that had seen one would know the other.
        random = np.random.default_rng(0)
        twins = []
        for record in records(150):
            right = bool(random.random() < 0.5)
            for response in record["responses"]:
                response["correct"] = right
            twins += [record, json.loads(json.dumps(record))]
        examples = examples_of(twins, setting())
        raw = held_out(
            examples, growth=Growth(trees=60, depth=6, least=0.5), folds=5, seed=0, with_after=False
        )
        complete = (examples.view == COMPLETE) & examples.leads
        assert abs(auroc(score=raw.wrong[complete], outcome=examples.wrong[complete]) - 0.5) < 0.12


class TestFit:
    def test_ranks_the_crowds_errors(self, router: Any) -> None:
        assert router.card.metrics["auroc"] > 0.75

    def test_is_calibrated_on_held_out_folds(self, router: Any) -> None:
        assert router.card.metrics["ece"] < 0.08

    def test_intervals_hold_their_figure(self, router: Any) -> None:
        metrics = router.card.metrics
        for name in ("auroc", "brier"):
            low, high = metrics[f"{name}_ci"]
            assert low <= metrics[name] <= high

    def test_the_same_records_give_the_same_router(self, router: Any) -> None:
        assert trained().files == router.files

    def test_another_seed_gives_another_router(self, router: Any) -> None:
        assert trained(seed=1).files != router.files

    def test_has_the_three_operating_points_in_order(self, router: Any) -> None:
        points = router.operating_points
        assert (
            points["economy"].threshold >= points["balanced"].threshold >= points["baseline-match"].threshold
        )

    def test_baseline_match_recovers_the_gap_on_fresh_questions(self, router: Any) -> None:
        right = oracle = vote = 0
        for record in records(600, seed=5):
            correct = {r["model"]: r["correct"] for r in record["responses"]}
            found = router.assess(observation_of(record, crowd=CROWD, oracle=ORACLE))
            escalated = found.p_fail > router.operating_points["baseline-match"].threshold
            right += correct[ORACLE] if escalated else correct[CROWD[found.chosen]]
            oracle += correct[ORACLE]
            vote += correct[CROWD[0]]
        assert right / 600 > oracle / 600 - 0.03 > vote / 600

    def test_the_card_says_what_it_was_trained_on(self) -> None:
        card = trained(data={"file": "records.jsonl", "sha256": "ab"}).card
        assert (card.data["file"], card.data["sha256"], card.data["n"]) == ("records.jsonl", "ab", 400)
        assert (card.crowd, card.oracle, card.seed) == (CROWD, ORACLE, 0)

    def test_a_crowd_where_the_vote_is_better_is_left_to_vote(self) -> None:
        # All members equal, no log-probabilities: nothing but votes tells one class from another.
        plain = records(400)
        for record in plain:
            for response in record["responses"]:
                response.update(logprobs=None, tokens=None)
        metrics = fit(plain, crowd=CROWD, oracle=ORACLE, growth=SMALL, any_crowd=True).card.metrics
        assert metrics["selection"] == ("class" if metrics["selection_folds"] > 2 else "vote")

    def test_a_router_for_any_crowd_names_no_member(self) -> None:
        card = trained(any_crowd=True).card
        assert card.crowd is None
        assert not [name for name, _ in card.features if "[" in name]

    def test_a_consensus_router_reads_no_log_probabilities(self) -> None:
        assert not [name for name, _ in trained(kind="consensus").card.features if "logprob" in name]

    def test_without_oracle_answers_there_are_no_operating_points(self) -> None:
        router = trained(oracle="nobody")
        assert router.operating_points == {}
        assert router.after is None

    def test_an_oracle_that_is_always_right_needs_no_trees(self) -> None:
        sure = records(100)
        for record in sure:
            record["responses"][3]["correct"] = True
        router = fit(sure, crowd=CROWD, oracle=ORACLE, growth=SMALL)
        assert router.after is None
        assert router.card.metrics["oracle_accuracy"] == 1.0

    def test_columns_that_never_vary_are_dropped(self, router: Any) -> None:
        assert "confidence_mean" not in {name for name, _ in router.card.features}

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"crowd": ()}, "crowd"),
            ({"crowd": "abc"}, "crowd"),
            ({"crowd": ("small-a", "small-a")}, "different names"),
            ({"oracle": "small-a"}, "in the crowd"),
            ({"kind": "wise"}, "kind"),
            ({"folds": 1}, "folds"),
        ],
    )
    def test_an_argument_that_cannot_be_is_named(self, changes: dict[str, Any], named: str) -> None:
        with pytest.raises(InputError, match=named):
            trained(30, **changes)

    def test_too_few_questions_are_refused(self) -> None:
        with pytest.raises(InputError, match="3 different questions"):
            trained(3)

    def test_grades_that_are_all_alike_are_refused(self) -> None:
        alike = records(50)
        for record in alike:
            for response in record["responses"]:
                response["correct"] = True
        with pytest.raises(InputError, match="right and wrong answers"):
            fit(alike, crowd=CROWD, oracle=ORACLE)


class TestExtra:
    def absent(self, name: str) -> str:
        raise PackageNotFoundError(name)

    def test_both_distributions_at_once_are_named_as_a_mistake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extra, "version", lambda _: "3.0")
        with pytest.raises(InputError, match=r"xgboost and xgboost-cpu are both installed.*pip uninstall"):
            extra.xgboost()

    def test_without_xgboost_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> Any:
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(extra, "version", self.absent)
        monkeypatch.setattr(extra, "import_module", missing)
        with pytest.raises(MissingExtra, match=r"pyramid-moa\[train\]"):
            extra.xgboost()

    def test_either_distribution_will_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extra, "version", lambda name: "3.0" if name == "xgboost" else self.absent(name))
        assert extra.xgboost() is importlib.import_module("xgboost")


def test_on_recorded_answers_it_beats_agreement() -> None:
    folder = Path(os.environ.get("PYRAMID_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "gsm8k_zeroeval.jsonl.gz"
    if not path.is_file():
        pytest.skip(
            f"recorded answers are not here: {path.name} is looked for in $PYRAMID_DATA and ../shared/data"
        )
    crowd = ("gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct")
    metrics = fit(
        read_records(path), crowd=crowd, oracle="Meta-Llama-3.1-70B-Instruct", kind="consensus"
    ).card.metrics
    assert metrics["auroc"] > 0.858  # agreement alone
    assert metrics["match_rate"] < 0.3  # escalate unless unanimous
