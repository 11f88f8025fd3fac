"""What cannot be used is refused before the work, in words that say what to do; what is odd but legal is judged."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from pyramid_core.cli.app import app
from pyramid_core.errors import InputError
from pyramid_core.evaluation.profile import Plan, profile
from pyramid_core.evaluation.sheet import Wanted
from pyramid_core.routers import LearnedRouter
from tests.core.synthetic import CROWD, ORACLE, records

NAMES = [word for name in CROWD for word in ("--crowd", name)] + ["--oracle", ORACLE]


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    """A router's folder, and the file it was trained on."""
    folder = tmp_path_factory.mktemp("router")
    write(folder / "good.jsonl", records(120))
    done = CliRunner().invoke(app, ["train", str(folder / "good.jsonl"), *NAMES, "-o", str(folder / "r")])
    assert done.exit_code == 0, done.output
    return folder / "r"


def write(path, told):
    path.write_text("".join(json.dumps(one) + "\n" for one in told), "utf-8")
    return path


def graded(change, count=120):
    """Records whose grades `change` sets, by place."""
    found = list(records(count))
    for place, one in enumerate(found):
        for response in one["responses"]:
            response["correct"] = change(place, response["correct"])
    return found


def without_oracle(count, share=1.0):
    found = list(records(count))
    for one in found[: int(share * count)]:
        one["responses"] = [r for r in one["responses"] if r["model"] != ORACLE]
    return found


def run(command, file, *more, router=None, to=None):
    words = [command, *([str(router)] if command == "calibrate" else []), str(file)]
    words += NAMES if command != "calibrate" else []
    words += ["--cv", "3"] if command == "profile" else []
    words += ["-o", str(to)] if command in {"train", "calibrate"} else []
    return CliRunner().invoke(app, [*words, *more, "--json"])


COMMANDS = ("profile", "train", "verify", "calibrate")


def cut(path):
    whole = gzip.compress("".join(json.dumps(one) + "\n" for one in records(120)).encode())
    path.write_bytes(whole[: len(whole) // 2])


REFUSED = [
    ("is cut off", cut),
    ("not a complete JSON object", lambda path: path.write_text("hello\n")),
    ("compressed file is cut off or damaged", lambda path: path.write_bytes(b"\x1f\x8b" + bytes(99))),
    ("occurs twice", lambda path: write(path, [*records(120), *records(1)])),
    ("no record with an answer", lambda path: path.write_text("")),
    ("grade", lambda path: write(path, graded(lambda _place, _right: None))),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("said", "made"), REFUSED, ids=[said for said, _ in REFUSED])
def test_a_file_that_cannot_be_used_is_refused(command, said, made, router, tmp_path):
    made(tmp_path / "bad.jsonl")
    done = run(command, tmp_path / "bad.jsonl", router=router, to=tmp_path / "out")
    assert done.exit_code != 0
    assert said in str(done.exception) + done.output
    assert not isinstance(done.exception, (KeyError, ValueError, ZeroDivisionError))
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_named_gz_and_is_plain_is_read(router, tmp_path):
    assert run("verify", write(tmp_path / "plain.jsonl.gz", records(40))).exit_code == 0


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("profile", ["--crowd", "smal-b"], "small-b"),
        ("train", ["--crowd", "smal-b"], "small-b"),
        ("verify", ["--crowd", "smal-b"], "small-b"),
        ("calibrate", ["--oracle", "bigg"], "nearest are big"),
        ("profile", ["--crowd", ORACLE], "name an oracle outside the crowd"),
        ("train", ["--crowd", ORACLE], "name an oracle outside the crowd"),
        ("profile", ["--without", "nonsense"], "nonsense"),
        ("profile", ["--equivalence", "behaviour"], "--run-code"),
        ("train", ["--equivalence", "behaviour"], "--run-code"),
        ("verify", ["-t", "2"], "between 0 and 1"),
        ("profile", ["--run-code", "--cache", "/proc/none/cache"], "cannot be used"),
    ],
)
def test_a_name_or_a_setting_that_cannot_be_is_refused(command, words, said, router, tmp_path):
    file = write(tmp_path / "good.jsonl", records(60))
    done = run(command, file, *words, router=router, to=tmp_path / "out")
    assert isinstance(done.exception, (InputError, SystemExit))
    assert said in str(done.exception) + done.output


@pytest.mark.parametrize("command", ["train", "calibrate"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_file_is_read(command, router, tmp_path):
    (tmp_path / "file").write_text("")
    done = run(command, tmp_path / "missing.jsonl", router=router, to=tmp_path / "file" / "router")
    assert "cannot be written" in str(done.exception) + done.output


def test_a_report_that_cannot_be_written_is_refused_before_the_file_is_read(tmp_path):
    done = run("profile", tmp_path / "missing.jsonl", "--html", str(tmp_path))
    assert "cannot be written" in str(done.exception) + done.output


def test_a_price_file_without_a_model_names_it(tmp_path):
    price = {"input": 1, "output": 2, "source": "a list", "date": "2026-01-01"}
    (tmp_path / "prices.json").write_text(json.dumps({"small-a": price}))
    file = write(tmp_path / "good.jsonl", records(40))
    done = run("profile", file, "--prices", str(tmp_path / "prices.json"))
    assert "small-b" in str(done.exception) + done.output


ODD = [
    ("all right", lambda: graded(lambda _place, _right: True)),
    ("all wrong", lambda: graded(lambda _place, _right: False)),
    ("a third graded null", lambda: graded(lambda place, right: right if place % 3 else None)),
    ("ten records", lambda: list(records(10))),
    ("half without the oracle", lambda: without_oracle(120, 0.5)),
]


def judged(told, crowd=CROWD, kind="agreement"):
    """The figures as the command prints them, of few resamples."""
    plan = Plan(wanted=Wanted(crowd=crowd, oracle=ORACLE), kind=kind, folds=3, resamples=5)
    return json.loads(json.dumps(profile(lambda: told, plan), allow_nan=False))


@pytest.mark.parametrize("made", [made for _, made in ODD], ids=[name for name, _ in ODD])
@pytest.mark.parametrize("kind", ["agreement", "value"])
def test_what_is_odd_but_legal_is_judged_without_nan(made, kind):
    told = judged(made(), kind=kind)
    undefined = any("auroc is not defined" in note for note in told["notes"])
    assert undefined == (told["auroc"] is None)


def test_all_right_leaves_auroc_undefined_and_says_why():
    told = judged(graded(lambda _place, _right: True, count=30))
    assert told["auroc"] is None
    assert "auroc is not defined: the answers that stand are all right or all wrong" in told["notes"]


def test_five_folds_on_three_records_name_the_remedy(tmp_path):
    done = CliRunner().invoke(
        app, ["profile", str(write(tmp_path / "three.jsonl", records(3))), *NAMES, "--cv", "5"]
    )
    assert "use fewer folds" in str(done.exception) + done.output


def test_a_crowd_of_one_is_a_cascade_on_one_model():
    assert judged(list(records(80)), crowd=("small-a",), kind="anytime")["auroc"] > 0.5


class TestCalibratingWithoutTheOracle:
    def test_thresholds_split_the_queries_as_before(self, router, tmp_path):
        file = write(tmp_path / "later.jsonl", without_oracle(150))
        done = run("calibrate", file, router=router, to=tmp_path / "fresh")
        assert done.exit_code == 0, done.output
        old, new = LearnedRouter.load(router), LearnedRouter.load(tmp_path / "fresh")
        for name in ("economy", "baseline-match"):
            then, now = old.operating_points[name].threshold, new.operating_points[name].threshold
            scores = [n / 200 for n in range(201)]
            above = [old.card.calibration["fail"](p) > then for p in scores]
            still = [new.card.calibration["fail"](p) > now for p in scores]
            # A split between two queries may lie anywhere between their scores.
            assert sum(a != b for a, b in zip(above, still, strict=True)) <= 12
        assert new.card.metrics["oracle_accuracy"] == old.card.metrics["oracle_accuracy"]

    def test_the_recall_point_is_chosen_anew(self, router, tmp_path):
        run("calibrate", write(tmp_path / "later.jsonl", records(150)), router=router, to=tmp_path / "fresh")
        assert "recall" in LearnedRouter.load(tmp_path / "fresh").operating_points
