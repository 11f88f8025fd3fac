"""Learned routers: what they say, and that their folder is read with suspicion."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyramid_core.decision import ThresholdRule
from pyramid_core.errors import RouterError
from pyramid_core.routers import AnytimeRouter, ConsensusRouter, LearnedRouter, ValueRouter, load_router
from pyramid_core.routers.learned import AFTER, FAIL
from pyramid_core.types import Answer, Failure, Foreseen, Observation, Options, Query, Reply, Verdict
from tests.core.synthetic import CROWD, ORACLE, records

training = pytest.importorskip("pyramid_core.training")
pytest.importorskip("xgboost")


def trained(kind: str, **changes: Any) -> LearnedRouter:
    arguments = {
        "crowd": CROWD,
        "oracle": ORACLE,
        "kind": kind,
        "growth": training.Growth(trees=20, depth=3),
        **changes,
    }
    return training.fit(records(300), **arguments)


@pytest.fixture(scope="module")
def value() -> LearnedRouter:
    return trained("value")


@pytest.fixture(scope="module")
def anytime() -> LearnedRouter:
    return trained("anytime", any_crowd=True)


@pytest.fixture
def folder(value: LearnedRouter, tmp_path: Path) -> Path:
    value.save(tmp_path / "router")
    return tmp_path / "router"


def seen(
    *said: str | None, oracle: str | None = None, fused: bool = False, oracles: tuple[str, ...] = (ORACLE,)
) -> Observation:
    """The crowd's answers in order (None: a failure), and perhaps the oracle's."""
    results = [
        Failure(kind="E") if text is None else Answer(text=text, logprobs=(-0.1, -0.2)) for text in said
    ]
    replies = [Reply(call=n, role="crowd", who=CROWD[n], result=result) for n, result in enumerate(results)]
    if oracle is not None:
        replies.append(Reply(call=len(said), role="oracle", who=oracles[0], result=Answer(text=oracle)))
    return Observation(
        query=Query(text="Question 1: how many are 5 and 7?", answer_type="number"),
        crowd=CROWD,
        replies=tuple(replies),
        pending=CROWD[len(said) :],
        oracles=oracles,
        fused=fused,
    )


SPLIT = ("The answer is 12.", "The answer is 13.", "The answer is 13.")


class TestAssessment:
    def test_a_value_router_scores_every_class(self, value: LearnedRouter) -> None:
        found = value.assess(seen(*SPLIT))
        assert {score.calls for score in found.p_right} == {(0,), (1, 2)}

    def test_the_class_most_likely_right_stands(self, value: LearnedRouter) -> None:
        found = value.assess(seen("The answer is 1.", "The answer is 2.", "The answer is 3."))
        best = max(found.p_right, key=lambda score: score.p_right)
        assert found.chosen in best.calls
        assert found.p_fail == pytest.approx(1 - best.p_right)

    def test_where_the_card_says_vote_the_plurality_stands(self, value: LearnedRouter) -> None:
        card = json.loads(value.files["card.json"])
        card["metrics"]["selection"] = "vote"
        voting = LearnedRouter.parse({**value.files, "card.json": json.dumps(card).encode()}, where="test")
        assert voting.assess(seen(*SPLIT)).chosen == 1

    def test_a_query_level_router_scores_the_plurality(self, anytime: LearnedRouter) -> None:
        found = anytime.assess(seen(*SPLIT))
        assert (found.chosen, found.p_right) == (1, ())

    def test_agreement_is_trusted_more_than_disagreement(self, anytime: LearnedRouter) -> None:
        same = seen("The answer is 12.", "The answer is 12.", "The answer is 12.")
        other = seen("The answer is 12.", "The answer is 13.", "The answer is 14.")
        assert anytime.assess(same).p_fail < anytime.assess(other).p_fail

    def test_below_min_members_nothing_is_said(self, value: LearnedRouter) -> None:
        found = value.assess(seen("The answer is 12.", None, None))
        assert value.min_members == 2
        assert math.isnan(found.p_fail)

    def test_without_a_final_answer_it_fails_surely(self, value: LearnedRouter) -> None:
        found = value.assess(seen("", "", ""))
        assert (found.chosen, found.p_fail) == (None, 1.0)

    def test_features_are_told_by_name(self, value: LearnedRouter) -> None:
        assert set(value.assess(seen(*SPLIT)).features) == {name for name, _ in value.card.features}


class TestOracle:
    def test_its_chances_are_told_for_this_query(self, value: LearnedRouter) -> None:
        assert 0.5 < value.assess(seen(*SPLIT)).p_after[ORACLE] < 1.0

    def test_a_query_level_router_tells_how_often_it_was_right(self, anytime: LearnedRouter) -> None:
        accuracy = anytime.card.metrics["oracle_accuracy"]
        assert anytime.assess(seen(*SPLIT)).p_after == {ORACLE: accuracy}

    def test_of_another_oracle_nothing_is_said_but_a_note(self, value: LearnedRouter) -> None:
        found = value.assess(seen(*SPLIT, oracles=("elsewhere",)))
        assert found.p_after == {}
        assert "elsewhere" in found.notes[0]
        assert "oracle_accuracy" in found.notes[0]

    def test_of_another_oracle_the_users_prior_shifts_the_logit(self, value: LearnedRouter) -> None:
        here = value.assess(seen(*SPLIT)).p_after[ORACLE]
        there = value.for_oracle(0.6).assess(seen(*SPLIT, oracles=("elsewhere",))).p_after["elsewhere"]
        base = value.card.metrics["oracle_accuracy"]
        odds = here / (1 - here) * (0.6 / 0.4) / (base / (1 - base))
        assert there == pytest.approx(odds / (1 + odds))

    def test_after_it_answered_its_answer_stands(self, value: LearnedRouter) -> None:
        before = value.assess(seen(*SPLIT))
        after = value.assess(seen(*SPLIT, oracle="The answer is 99."))
        assert after.chosen == 3
        assert after.p_fail == pytest.approx(1 - before.p_after[ORACLE])

    def test_fused_its_answer_is_one_of_the_classes(self, value: LearnedRouter) -> None:
        found = value.assess(seen(*SPLIT, oracle="The answer is 12.", fused=True))
        assert {score.calls for score in found.p_right} == {(0, 3), (1, 2)}

    def test_fused_a_class_with_the_oracle_speaks_through_it(self, value: LearnedRouter) -> None:
        found = value.assess(
            seen(
                "The answer is 12.",
                "The answer is 12.",
                "The answer is 13.",
                oracle="The answer is 12.",
                fused=True,
            )
        )
        assert found.chosen == 3

    def test_only_a_class_level_router_fuses(self, value: LearnedRouter, anytime: LearnedRouter) -> None:
        assert (value.fuses, anytime.fuses) == (True, False)


class TestForesight:
    def decide(self, assessment: Any) -> Any:
        return ThresholdRule(0.5).decide(assessment, Options(oracles=(ORACLE,), may_wait=False))

    def test_the_present_verdict_stays_but_for_the_cards_risk(self, value: LearnedRouter) -> None:
        partial = seen(*SPLIT[1:2], *SPLIT[1:2])
        ((outcome, chance),) = value.foresee(partial, self.decide).items()
        assert outcome == Foreseen(verdict=Verdict.ACCEPT)
        assert chance == 1 - value.card.metrics["early_stop"]["2"]

    def test_nothing_is_ever_certain(self, value: LearnedRouter) -> None:
        assert all(risk > 0 for risk in value.card.metrics["early_stop"].values())

    def test_of_too_few_answers_nothing_is_foreseen(self, value: LearnedRouter) -> None:
        assert value.foresee(seen(SPLIT[0]), self.decide) == {}


class TestSaving:
    def test_a_saved_router_says_the_same(self, value: LearnedRouter, folder: Path) -> None:
        assert LearnedRouter.load(folder).assess(seen(*SPLIT)) == value.assess(seen(*SPLIT))

    def test_an_older_router_is_replaced(self, anytime: LearnedRouter, folder: Path) -> None:
        anytime.save(folder)
        assert (LearnedRouter.load(folder).card.kind, (folder / AFTER).exists()) == ("anytime", False)

    def test_nothing_else_is_overwritten(self, value: LearnedRouter, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(RouterError, match="no router's folder"):
            value.save(tmp_path)

    def test_no_scraps_are_left(self, value: LearnedRouter, folder: Path) -> None:
        value.save(folder)
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]

    def test_a_file_in_the_way_is_named(self, value: LearnedRouter, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(RouterError, match="cannot be written"):
            value.save(tmp_path / "file" / "router")


def edit(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_bytes())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


class TestLoading:
    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RouterError, match="nowhere"):
            load_router(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ["card.json", FAIL])
    def test_a_missing_file_is_named(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(RouterError, match=f"{name} is missing"):
            load_router(folder)

    @pytest.mark.parametrize("name", ["card.json", FAIL, AFTER])
    def test_a_file_that_is_cut_off_is_named(self, folder: Path, name: str) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(RouterError, match=f"{name} is cut off"):
            load_router(folder)

    def test_another_version_is_named(self, folder: Path) -> None:
        edit(folder, format=2)
        with pytest.raises(RouterError, match="format is 2"):
            load_router(folder)

    def test_unknown_keys_are_named(self, folder: Path) -> None:
        edit(folder, colour="blue", shape="round")
        with pytest.raises(RouterError, match="unknown keys: colour, shape"):
            load_router(folder)

    def test_missing_keys_are_named(self, folder: Path) -> None:
        card = json.loads((folder / "card.json").read_bytes())
        del card["metrics"]
        (folder / "card.json").write_text(json.dumps(card))
        with pytest.raises(RouterError, match="missing keys: metrics"):
            load_router(folder)

    def test_a_fingerprint_that_does_not_fit_is_named(self, folder: Path) -> None:
        edit(folder, fingerprint="0" * 64)
        with pytest.raises(RouterError, match="fingerprint"):
            load_router(folder)

    @pytest.mark.parametrize("column", [["agreement", 99], ["horoscope", 1]])
    def test_a_feature_that_is_not_there_is_named(self, folder: Path, column: list[Any]) -> None:
        card = json.loads((folder / "card.json").read_bytes())
        edit(folder, features=[column, *card["features"][1:]])
        with pytest.raises(RouterError, match=column[0]):
            load_router(folder)

    @pytest.mark.parametrize(
        ("key", "content"),
        [
            ("kind", "oracular"),
            ("level", "query"),
            ("features", [["agreement"]]),
            ("features", "agreement"),
            ("calibration", {}),
            ("calibration", {"fail": {"a": 1, "b": -1, "c": 0}}),
            ("crowd", []),
            ("crowd", "small-a"),
            ("operating_points", {"economy": {"threshold": 1.5, "barrier": None}}),
            ("operating_points", {"economy": {"threshold": 0.5}}),
            ("operating_points", {"economy": {"threshold": 0.5, "barrier": 7}}),
            ("min_members", "two"),
            ("seed", True),
            ("metrics", None),
        ],
    )
    def test_a_value_that_cannot_be_is_named(self, folder: Path, key: str, content: Any) -> None:
        edit(folder, **{key: content})
        with pytest.raises(RouterError, match=rf"card\.json: .*{key}"):
            load_router(folder)

    def test_trees_of_another_training_are_refused(self, folder: Path, anytime: LearnedRouter) -> None:
        (folder / FAIL).write_bytes(anytime.files[FAIL])
        with pytest.raises(RouterError, match="not of one training"):
            load_router(folder)

    def test_a_value_router_without_its_second_trees_is_refused(self, folder: Path) -> None:
        (folder / AFTER).unlink()
        with pytest.raises(RouterError, match="belong together"):
            load_router(folder)

    def test_a_router_for_another_crowd_is_refused(self, folder: Path) -> None:
        with pytest.raises(RouterError, match=r"\['small-a', 'small-b', 'small-c'\], not \['x'\]"):
            load_router(folder, crowd=["x"])

    def test_a_router_without_a_crowd_serves_any(self, anytime: LearnedRouter, tmp_path: Path) -> None:
        anytime.save(tmp_path / "router")
        assert load_router(tmp_path / "router", crowd=["x", "y"]).crowd is None

    def test_what_was_parsed_is_kept(self, folder: Path) -> None:
        assert load_router(folder) is load_router(str(folder))

    def test_loading_again_takes_less_than_a_millisecond(self, folder: Path) -> None:
        load_router(folder)
        took = []
        for _ in range(20):
            start = time.perf_counter()
            load_router(folder)
            took.append(time.perf_counter() - start)
        assert min(took) < 1e-3

    def test_a_router_that_was_replaced_is_parsed_again(self, folder: Path, anytime: LearnedRouter) -> None:
        before = load_router(folder)
        anytime.save(folder)
        assert load_router(folder) is not before

    @pytest.mark.parametrize(
        ("constructor", "fits"), [(ValueRouter, True), (ConsensusRouter, False), (AnytimeRouter, False)]
    )
    def test_constructors_check_the_kind(self, folder: Path, constructor: Any, fits: bool) -> None:
        if fits:
            assert constructor(folder).card.kind == "value"
        else:
            with pytest.raises(RouterError, match="of kind 'value'"):
                constructor(folder)


def test_a_router_reads_no_code(folder: Path) -> None:
    assert sorted(path.suffix for path in folder.iterdir()) == [".json"] * 3


def test_the_crowds_order_of_arrival_changes_nothing(value: LearnedRouter) -> None:
    observation = seen(*SPLIT)
    shuffled = replace(observation, replies=observation.replies[::-1], cache={})
    assert value.assess(shuffled) == value.assess(observation)


@pytest.fixture(scope="module")
def reads_logprobs() -> LearnedRouter:
    """An anytime router for any crowd."""
    found: LearnedRouter = training.fit(
        records(160), crowd=CROWD, oracle=ORACLE, kind="anytime", folds=3, any_crowd=True
    )
    return found


class TestSilence:
    """A router says so where a crowd gives none of a signal that it was trained to look at."""

    def test_it_notes_what_nobody_gives_and_logs_it_once(
        self, reads_logprobs: LearnedRouter, caplog: pytest.LogCaptureFixture
    ) -> None:
        silent = records(3)
        for one in silent:
            for response in one["responses"]:
                del response["logprobs"]
        seen = [training.observation_of(one, crowd=CROWD, oracle=ORACLE) for one in silent]
        notes = [" ".join(reads_logprobs.assess(one).notes) for one in seen]
        assert all("no member gives token log-probabilities" in note for note in notes)
        assert sum("token log-probabilities" in line for line in caplog.messages) == 1

    def test_one_member_that_gives_it_is_enough(self, reads_logprobs: LearnedRouter) -> None:
        one = records(1)[0]
        for response in one["responses"][1:]:
            del response["logprobs"]
        assert not reads_logprobs.assess(training.observation_of(one, crowd=CROWD, oracle=ORACLE)).notes
