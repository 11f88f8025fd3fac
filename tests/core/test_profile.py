import gzip
import json
import random
import re
from math import comb

import numpy as np
import pytest
from typer.testing import CliRunner

from pyramid_core.calibration import auroc
from pyramid_core.cli.app import app
from pyramid_core.errors import InputError
from pyramid_core.evaluation.judged import Judged
from pyramid_core.evaluation.measures import Measured, Ranked
from pyramid_core.evaluation.profile import Plan, judgements, profile
from pyramid_core.evaluation.published import Published, contradictions, read_published
from pyramid_core.evaluation.sheet import Sheet, Wanted, sheet_of
from pyramid_core.evaluation.theorem import mcnemar, table
from pyramid_core.profiles import Curve
from tests.core.recorded import data_folder, records

CROWD = ("a", "b", "c")
SETTING = ["--crowd", "a", "--crowd", "b", "--crowd", "c", "--oracle", "big"]
GSM = ("gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct")


def record(number, draw, *, oracle=True):
    truth = number % 50
    hard = draw.random() < 0.4
    skills = {"a": 0.9, "b": 0.8, "c": 0.7, "big": 0.95}
    responses = []
    for name, skill in skills.items():
        right = draw.random() < (skill - 0.35 if hard and name != "big" else skill)
        said = truth if right else truth + draw.randrange(1, 9)
        responses.append({"model": name, "text": f"So the answer is {said}", "correct": right, "tokens": 10})
    if not oracle:
        responses.pop()
    words = " very" * (6 if hard else 1)
    return {"id": str(number), "query": f"Problem {number}: how{words} many?", "responses": responses}


def made(n, **settings):
    draw = random.Random(3)
    return [record(number, draw, **settings) for number in range(n)]


def written(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def judged(p_fail, right, **changes):
    p_fail, right = np.asarray(p_fail, dtype=float), np.asarray(right, dtype=float)
    kept = {
        "p_fail": p_fail, "p_raw": p_fail, "p_after": np.ones_like(p_fail), "right": right, "vote": right,
        "disagreement": p_fail, "best_member": right, "fused": None, "asked": {}, "selecting": (False,),
    }  # fmt: skip
    return Judged(**(kept | changes))


def sheet(oracle, **changes):
    oracle = np.asarray(oracle, dtype=float)
    n = len(oracle)
    kept = {
        "keys": tuple(str(i) for i in range(n)), "singles": np.zeros((n, 1)), "oracle_right": oracle,
        "weak_right": None, "length": np.arange(n) * 1.0, "propensity": np.ones(n), "crowd_usd": np.full(n, np.nan),
        "oracle_usd": np.full(n, np.nan), "left_out": 0,
    }  # fmt: skip
    return Sheet(**(kept | changes))


class TestWeightedFigures:
    def setup_method(self):
        draw = np.random.default_rng(0)
        self.score = draw.integers(0, 6, 60) / 5
        self.right, self.after = (draw.random(60) < p for p in (0.6, 0.8))
        self.counts = draw.integers(0, 4, 60)
        self.repeated = np.repeat(np.arange(60), self.counts)

    def test_auroc_of_counts_is_that_of_the_repeated_queries(self):
        found = Ranked(self.score).auroc(self.counts * 1.0, 1.0 - self.right)
        assert found == pytest.approx(
            auroc(score=self.score[self.repeated], outcome=~self.right[self.repeated])
        )

    def test_curve_of_counts_is_that_of_the_repeated_queries(self):
        found = Ranked(self.score).curve(self.counts * 1.0, self.right * 1.0, self.after * 1.0)
        wanted = Curve.of(
            score=self.score[self.repeated], stands=self.right[self.repeated], after=self.after[self.repeated]
        )
        for rate in (0.0, 0.07, 0.3, 0.55, 1.0):
            assert found.at(rate) == pytest.approx(wanted.at(rate))

    def test_a_query_asked_with_propensity_one_half_counts_twice(self):
        one = judged([0.9, 0.1], [0, 1])
        whole = Measured(
            judged=one, sheet=sheet([1, 0], propensity=np.array([0.5, 1.0])), by_value=False, crowd_cost=0
        )
        assert whole.figures(np.ones(2))["oracle_accuracy",] == pytest.approx(2 / 3)


class TestInverseWeightingOfTraces:
    def test_figures_of_an_exploring_pyramid_are_those_of_the_whole_traffic(self):
        """A pyramid that asks where p_fail is high, and 20 % of the rest: naive accuracy is biased, weighted is not."""
        draw = np.random.default_rng(1)
        p_fail = draw.random(40_000)
        right, oracle = draw.random(40_000) > p_fail, draw.random(40_000) > p_fail / 2
        asked = p_fail > 0.6
        heard = asked | (draw.random(40_000) < 0.2)
        propensity = np.where(asked, 1.0, 0.2)
        seen = np.where(heard, oracle, np.nan)

        def accuracy(weights):
            kept = sheet(seen, propensity=weights)
            return Measured(judged=judged(p_fail, right), sheet=kept, by_value=False, crowd_cost=0).figures(
                np.ones(40_000)
            )["crowd_accuracy",]

        assert abs(accuracy(propensity) - right.mean()) < 0.01
        assert abs(accuracy(np.ones(40_000)) - right.mean()) > 0.1

    def test_a_file_whose_oracle_was_only_asked_by_the_policy_is_refused_with_the_remedy(self):
        lines = made(30)
        for line in lines:
            line["responses"][-1]["asked"] = "policy"
        with pytest.raises(InputError, match="explore="):
            sheet_of(lines, Wanted(crowd=CROWD, oracle="big"))


class TestCrossValidation:
    def test_no_twin_of_a_query_is_where_it_was_learned(self):
        twins = [{**line, "id": f"{line['id']}{side}"} for line in made(100) for side in "xy"]
        plan = Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind="value", resamples=2)
        _, (found,) = judgements(lambda: iter(twins), plan)
        assert (found.p_fail[::2] == found.p_fail[1::2]).all()

    def test_a_shuffled_label_cannot_be_learned(self):
        lines, draw = made(400), random.Random(0)
        for line in lines:
            for response in line["responses"]:
                response["correct"] = draw.random() < 0.5
        told = profile(
            lambda: iter(lines),
            Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind="consensus", resamples=50),
        )
        assert told["auroc_ci"][0] < 0.5 < told["auroc_ci"][1] + 0.03

    def test_ties_go_to_the_member_that_is_best_in_the_training_folds(self):
        lines = made(100)
        for line in lines:
            for place, response in enumerate(line["responses"][:3]):
                response["text"] = f"The answer is {place}"  # Nobody agrees.
        order = ("c", "b", "a")
        _, (found,) = judgements(
            lambda: iter(lines), Plan(wanted=Wanted(crowd=order, oracle="big"), kind="agreement", resamples=2)
        )
        best = [line["responses"][0]["correct"] for line in lines]
        assert (found.vote == np.array(best)).all()

    def test_the_same_command_gives_the_same_figures(self):
        plan = Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind="value", resamples=20)
        assert profile(lambda: iter(made(120)), plan) == profile(lambda: iter(made(120)), plan)

    def test_records_without_the_oracle_count_for_auroc_and_not_for_accuracy(self):
        lines = made(60) + [{**line, "id": f"{line['id']}b"} for line in made(40, oracle=False)]
        told = profile(
            lambda: iter(lines), Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind="agreement", resamples=5)
        )
        assert (told["n"], told["n_oracle"]) == (100, 60)


class TestUndefinedFigures:
    @pytest.mark.parametrize("right", [True, False])
    def test_all_right_or_all_wrong_is_said_and_is_no_nan(self, right):
        lines = made(60)
        for line in lines:
            for response in line["responses"]:
                response["correct"] = right
        told = profile(lambda: iter(lines), Plan(wanted=Wanted(crowd=CROWD, oracle="big"), resamples=5))
        json.dumps(told, allow_nan=False)
        assert told["auroc"] is None
        assert any("auroc is not defined" in note for note in told["notes"])

    def test_ten_records_give_figures_and_a_note(self):
        told = profile(lambda: iter(made(10)), Plan(wanted=Wanted(crowd=CROWD, oracle="big"), resamples=5))
        assert any("nothing was learned" in note for note in told["notes"])

    def test_an_ungraded_answer_is_left_out_and_counted(self):
        lines = made(50)
        for response in lines[0]["responses"]:
            response["correct"] = None
        told = profile(
            lambda: iter(lines), Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind="agreement", resamples=5)
        )
        assert (told["ungraded"], told["n_oracle"]) == (1, 49)

    def test_without_prices_a_saving_is_not_known(self):
        told = profile(
            lambda: iter(made(50)),
            Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind="agreement", resamples=5),
        )
        assert {point["saving"] for point in told["operating_points"].values()} == {None}

    @pytest.mark.parametrize(("complete", "known"), [(True, True), (False, False)])
    def test_a_cost_that_was_recorded_will_do_for_a_price(self, complete, known):
        lines = made(50)
        for response in (r for line in lines for r in line["responses"]):
            response |= {"cost": 0.004 if response["model"] == "big" else 0.001, "cost_complete": complete}
        told = profile(
            lambda: iter(lines),
            Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind="agreement", resamples=5),
        )
        assert all((point["saving"] is not None) is known for point in told["operating_points"].values())


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (["--oracle", "Big"], "nearest are big"),
            (["--oracle", "a"], "both in the crowd and the oracle"),
            (["--weak", "nobody"], "'nobody'"),
            (["--grade", "nix"], "the grade 'nix'"),
            (["--without", "nix"], "nix"),
            (["--router", "nix"], "nix"),
            (["--equivalence", "nix"], "nix"),
            (["--cv", "100"], "100 folds need"),
        ],
    )
    def test_an_argument_that_cannot_be_used_is_named_on_one_line(self, tmp_path, change, words):
        result = run("profile", written(tmp_path / "f.jsonl", made(40)), *SETTING, "--cv", "5", *change)
        assert result.exit_code == 2
        assert words in result.stderr
        assert result.stderr.count("\n") == 1

    def test_a_crowd_of_one_is_legal(self, tmp_path):
        name = written(tmp_path / "f.jsonl", made(60))
        result = run("profile", name, "--crowd", "a", "--oracle", "big", "--cv", "2", "--json")
        assert json.loads(result.stdout)["crowd"] == ["a"]

    def test_an_id_that_occurs_twice_is_named(self, tmp_path):
        name = written(tmp_path / "f.jsonl", made(40) + made(1))
        assert "the id '0' occurs twice" in run("profile", name, *SETTING, "--cv", "5").stderr

    def test_a_file_that_is_cut_off_is_named_with_its_line(self, tmp_path):
        packed = gzip.compress("".join(json.dumps(line) + "\n" for line in made(40)).encode())
        (tmp_path / "f.gz").write_bytes(packed[:-40])
        result = run("profile", str(tmp_path / "f.gz"), *SETTING, "--cv", "5")
        assert result.exit_code == 2
        assert "line " in result.stderr

    def test_records_without_the_oracle_are_refused(self, tmp_path):
        name = written(tmp_path / "f.jsonl", made(40, oracle=False))
        assert "no record has an answer of 'big'" in run("profile", name, *SETTING, "--cv", "5").stderr

    def test_a_price_file_without_a_model_is_refused_by_its_name(self, tmp_path):
        price = {"input": 1, "output": 2, "source": "list", "date": "2026-01-01"}
        prices = tmp_path / "p.json"
        prices.write_text(json.dumps({"a": price, "b": price, "big": price}))
        name = written(tmp_path / "f.jsonl", made(40))
        result = run("profile", name, *SETTING, "--cv", "5", "--prices", str(prices))
        assert "none for 'c'" in result.stderr

    def test_a_place_that_cannot_be_written_is_refused_before_the_file_is_read(self, tmp_path):
        (tmp_path / "taken").write_text("")
        result = run("train", str(tmp_path / "absent"), *SETTING, "-o", str(tmp_path / "taken"))
        assert "taken exists" in result.stderr


class TestTrainAndCalibrate:
    def test_a_trained_router_is_profiled_and_recalibrated(self, tmp_path):
        name = written(tmp_path / "f.jsonl", made(300))
        first, second = str(tmp_path / "one"), str(tmp_path / "two")
        trained = run("train", name, *SETTING, "--kind", "consensus", "--cv", "3", "-o", first, "--json")
        assert json.loads(trained.stdout)["card"]["data"]["label"] == "reference"
        again = run("calibrate", first, name, "-o", second, "--json")
        assert json.loads(again.stdout)["card"]["metrics"]["recalibrated"]["n"] == 300
        profiled = run("profile", name, *SETTING, "--router", second, "--json")
        assert json.loads(profiled.stdout)["auroc"] > 0.6

    def test_training_twice_gives_the_same_bytes(self, tmp_path):
        name = written(tmp_path / "f.jsonl", made(200))
        for folder in ("one", "two"):
            run("train", name, *SETTING, "--kind", "consensus", "--cv", "2", "-o", str(tmp_path / folder))
        for file in ("card.json", "fail.json"):
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()

    def test_oracle_agreement_needs_no_reference(self, tmp_path):
        lines = made(200)
        for line in lines:
            for response in line["responses"]:
                del response["correct"]
        name = written(tmp_path / "f.jsonl", lines)
        out = str(tmp_path / "r")
        result = run("train", name, *SETTING, "--label", "oracle-agreement", "--cv", "2", "-o", out, "--json")
        assert json.loads(result.stdout)["card"]["metrics"]["oracle_accuracy"] == 1.0

    def test_a_finished_router_judges_as_it_does_in_production(self, tmp_path):
        from pyramid_core.routers import LearnedRouter
        from pyramid_core.training import observation_of

        name = written(tmp_path / "f.jsonl", made(200))
        run("train", name, *SETTING, "--cv", "2", "-o", str(tmp_path / "r"))
        router = LearnedRouter.load(tmp_path / "r")
        plan = Plan(wanted=Wanted(crowd=CROWD, oracle="big"), kind=None, router=router, resamples=2)
        _, (found,) = judgements(lambda: iter(made(200)), plan)
        for place, line in enumerate(made(200)[:40]):
            seen = router.assess(observation_of(line, crowd=CROWD, oracle="big"))
            assert seen.p_fail == pytest.approx(found.p_fail[place], abs=1e-6)
            assert seen.p_after["big"] == pytest.approx(found.p_after[place], abs=1e-6)


class TestTheorem:
    def test_one_row_by_hand(self):
        one = judged([0.9, 0.8, 0.7, 0.1, 0.1], [0, 0, 1, 1, 0])
        (row,) = table(sheet([1, 0, 0, 1, 1]), one, [0.4], resamples=20)
        assert (row["p_R"], row["alpha_L1_R"], row["alpha_L2_R"]) == pytest.approx(
            (0.6, 1 / 3, 1 / 3), abs=1e-6
        )
        assert (row["oracle_only"], row["crowd_only"], row["satisfied"]) == (1, 1, True)

    def test_nobody_escalated_is_neither_satisfied_nor_not(self):
        (row,) = table(sheet([1, 1]), judged([0.1, 0.2], [1, 0]), [0.9], resamples=5)
        assert (row["satisfied"], row["delta_accuracy"], row["mcnemar_p"]) == (None, 0.0, 1.0)

    @pytest.mark.parametrize(("one", "other"), [(0, 0), (5, 5), (9, 1), (2, 30)])
    def test_mcnemar_is_the_exact_binomial(self, one, other):
        n = one + other
        wanted = min(1.0, 2 * sum(comb(n, k) for k in range(min(one, other) + 1)) / 2**n)
        assert mcnemar(one, other) == pytest.approx(wanted)


MATH = {
    "name": "GSM8K/MMLU",
    "n": 1053,
    "threshold": 0.4,
    "p_R": 0.516,
    "alpha_L1_R": 0.884,
    "alpha_L2_R": 0.983,
}


class TestPublishedFigures:
    def test_more_errors_caught_than_the_escalated_can_hold_is_impossible(self):
        found = contradictions([Published(**MATH, errors=436, caught=385)])
        assert any(one.grade == "impossible" and "at most 63" in one.what for one in found)

    def test_an_oracle_that_is_worse_on_what_was_kept_is_implausible(self):
        (found,) = contradictions([Published(**MATH, oracle_accuracy=0.681)])
        assert found.grade == "implausible"
        assert "35.9%" in found.what

    def test_an_accuracy_on_the_rest_outside_0_and_1_is_impossible(self):
        (found,) = contradictions([Published(**MATH, oracle_accuracy=0.4)])
        assert found.grade == "impossible"

    def test_figures_that_agree_are_left_alone(self):
        assert (
            contradictions(
                [Published(**MATH, crowd_accuracy=0.93, oracle_accuracy=0.985, errors=74, caught=60)]
            )
            == ()
        )

    @pytest.mark.parametrize("change", [{"p_R": 1.2}, {"n": 0}, {"n": True}, {"p_R": None}, {"nix": 1}])
    def test_a_malformed_row_is_named(self, tmp_path, change):
        (tmp_path / "p.json").write_text(json.dumps([MATH, MATH | change]))
        with pytest.raises(InputError, match="row 2"):
            read_published(tmp_path / "p.json")


def number(answer):
    found = re.findall(r"-?\d+(?:\.\d+)?", str(answer).replace(",", ""))
    return float(found[-1]) if found else None  # No number, no vote.


class TestAgainstAnIndependentRecount:
    """GSM8K by agreement, counted here from the file alone: `answer` and `correct` are the source's."""

    @pytest.fixture(scope="class")
    @staticmethod
    def told():
        data_folder()
        plan = Plan(
            wanted=Wanted(crowd=GSM, oracle="Meta-Llama-3.1-70B-Instruct"), kind="agreement", resamples=2
        )
        return profile(lambda: records("gsm8k_zeroeval"), plan)

    @pytest.fixture(scope="class")
    @staticmethod
    def counted():
        rows = []
        for line in records("gsm8k_zeroeval"):
            by = {r["model"]: r for r in line["responses"]}
            said = [number(by[name]["answer"]) for name in GSM]
            votes = [sum(one is not None and one == other for other in said) for one in said]
            first = max(range(3), key=lambda i: (votes[i], -i))  # gemma is the most accurate, then Llama.
            right = bool(by[GSM[first]]["correct"]) if votes[first] else False
            rows.append((votes[first], right, bool(by["Meta-Llama-3.1-70B-Instruct"]["correct"])))
        return rows

    def test_vote_oracle_and_unanimity(self, told, counted):
        n = len(counted)
        assert told["vote_accuracy"] == pytest.approx(sum(r for _, r, _ in counted) / n, abs=0.002)
        assert told["oracle_accuracy"] == pytest.approx(sum(o for *_, o in counted) / n, abs=1e-6)
        asked = [o if votes < 3 else r for votes, r, o in counted]
        assert told["baselines"]["unanimous"]["accuracy"] == pytest.approx(sum(asked) / n, abs=0.002)

    def test_auroc_counts_pairs_and_half_of_the_ties(self, told, counted):
        wrong = [votes for votes, right, _ in counted if not right]
        fine = [votes for votes, right, _ in counted if right]
        pairs = sum((w < f) + (w == f) / 2 for w in wrong for f in fine) / (len(wrong) * len(fine))
        assert told["auroc"] == pytest.approx(pairs, abs=0.004)
