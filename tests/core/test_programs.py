"""Programs that are run: for training and profiles on records, and end to end in a pyramid, where somebody says so."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pyramid_core.equivalence import classes
from pyramid_core.errors import InputError, SandboxError
from pyramid_core.evaluation.profile import Plan, judgements, profile, report, tables_of
from pyramid_core.evaluation.sheet import Wanted
from pyramid_core.evidence import BehaviourCache, BehaviourGatherer, RecordedBehaviour, visible_tests
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers import AgreementRouter, LearnedRouter
from pyramid_core.training import fit, observation_of
from pyramid_core.types import Answer, Policy, Query
from tests.core.recorded import data_folder

CROWD, ORACLE = ("a", "b", "c"), "big"
ADDS = "def total(xs):\n    return sum(xs)"
ADDS_TOO = "def total(xs):\n    t = 0\n    for x in xs:\n        t += x\n    return t"
FORGETS = "def total(xs):\n    return sum(xs[1:])"
COUNTS = "def total(xs):\n    return len(xs) * 2"
QUESTION = "Write total(xs), which adds up a list.\n\nassert total([1, 2, 3]) == 6\n"


@pytest.fixture(scope="module")
def sandboxed():
    found = BehaviourGatherer(run_code=True)
    try:
        assert found.sandbox.protections
    except SandboxError as error:
        pytest.skip(f"programs cannot be run on this system: {error}")
    return found


class Counting:
    """A sandbox that counts what it runs."""

    def __init__(self, sandbox):
        self.sandbox, self.limits, self.ran = sandbox, sandbox.limits, 0

    def run_many(self, jobs):
        jobs = list(jobs)
        self.ran += len(jobs)
        return self.sandbox.run_many(jobs)


def record(number, *programs, right=(), query=QUESTION):
    responses = [
        {"model": name, "text": text, "correct": name in right}
        for name, text in zip((*CROWD, ORACLE), programs, strict=True)
    ]
    return {
        "id": f"p{number}",
        "query": f"{query}# {number}\n",
        "answer_type": "code",
        "responses": responses,
    }


class TestCache:
    def test_a_program_is_run_once(self, sandboxed, tmp_path):
        counting = Counting(sandboxed.sandbox)
        cache = BehaviourCache(tmp_path / "new" / "cache.sqlite")
        gatherer = BehaviourGatherer(run_code=True, sandbox=counting, cache=cache)
        first = gatherer.behaviours([ADDS, FORGETS], QUESTION)
        again = gatherer.behaviours([FORGETS, ADDS, ADDS_TOO], QUESTION)
        assert counting.ran == 3
        assert again[:2] == [first[1], first[0]]

    def test_other_examples_are_another_entry(self, sandboxed, tmp_path):
        counting = Counting(sandboxed.sandbox)
        gatherer = BehaviourGatherer(
            run_code=True, sandbox=counting, cache=BehaviourCache(tmp_path / "cache.sqlite")
        )
        gatherer.behaviours([ADDS], QUESTION)
        gatherer.behaviours([ADDS], QUESTION.replace("== 6", "== 7"))
        assert counting.ran == 2

    def test_it_holds_neither_programs_nor_questions(self, sandboxed, tmp_path):
        path = tmp_path / "cache.sqlite"
        gatherer = BehaviourGatherer(run_code=True, sandbox=sandboxed.sandbox, cache=BehaviourCache(path))
        gatherer.behaviours([ADDS], QUESTION)
        assert b"total" not in path.read_bytes()

    def test_a_file_of_something_else_is_refused(self, tmp_path):
        (tmp_path / "notes.txt").write_text("these are no behaviours, " * 100)
        with pytest.raises(InputError, match="cannot be used"):
            BehaviourCache(tmp_path / "notes.txt")

    def test_a_place_that_cannot_be_written_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be used"):
            BehaviourCache(tmp_path / "file" / "cache.sqlite")


class TestRecords:
    def test_programs_agree_by_what_they_do(self, sandboxed):
        told = record(1, ADDS, FORGETS, ADDS_TOO, ADDS)
        seen = observation_of(told, crowd=CROWD)
        evidence = RecordedBehaviour(sandboxed)(told, seen)
        assert [group.members for group in classes(seen)] == [("a",), ("b",), ("c",)]
        run = replace(seen, evidence=evidence, cache={})
        assert [group.members for group in classes(run)] == [("a", "c"), ("b",)]

    def test_where_nothing_can_be_tried_programs_are_compared_by_their_text(self, sandboxed):
        told = {**record(1, ADDS, ADDS, COUNTS, ADDS), "query": "Write total(xs)."}
        seen = observation_of(told, crowd=CROWD)
        run = replace(seen, evidence=RecordedBehaviour(sandboxed)(told, seen), cache={})
        assert [group.members for group in classes(run, "behaviour")] == [("a", "b"), ("c",)]

    def test_answers_that_are_no_programs_are_not_run(self, sandboxed):
        counting = Counting(sandboxed.sandbox)
        told = {**record(1, "6", "7", "6", "6"), "answer_type": "number"}
        gatherer = BehaviourGatherer(run_code=True, sandbox=counting)
        assert RecordedBehaviour(gatherer)(told, observation_of(told, crowd=CROWD)) == {}
        assert counting.ran == 0

    def test_of_a_reference_only_the_visible_tests_are_read(self):
        reference = {
            "visible_tests": ["assert f(1) == 2"],
            "test": "assert f(2) == 3",
            "canonical_solution": "x",
        }
        assert visible_tests({"reference": reference}) == ["assert f(1) == 2"]
        assert visible_tests({"reference": "42"}) == []
        assert visible_tests({}) == []

    def test_a_record_s_visible_tests_belong_to_its_question(self, sandboxed):
        told = {**record(1, ADDS, FORGETS, COUNTS, ADDS), "query": "Write total(xs)."}
        told["reference"] = {"visible_tests": ["assert total([1, 2, 3]) == 6"]}
        evidence = RecordedBehaviour(sandboxed)(told, observation_of(told, crowd=CROWD))
        assert [evidence["behaviour"][place]["visible"] for place in "012"] == ["passes", "fails", "passes"]


def wanted():
    return Wanted(crowd=CROWD, oracle=ORACLE)


def mixed(count):
    """Records in which one of three programs is right, two agree on nothing, and the oracle is right every other time."""
    programs = {"a": FORGETS, "b": COUNTS, "c": ADDS_TOO}
    for number in range(count):
        turn = number % 3
        names = [*CROWD[turn:], *CROWD[:turn]]
        told = [programs[name] for name in names]
        right = {CROWD[names.index("c")], *([ORACLE] if number % 2 else [])}
        yield record(number, *told, ADDS if number % 2 else FORGETS, right=right)


@pytest.fixture(scope="module")
def evidence(sandboxed, tmp_path_factory):
    cache = BehaviourCache(tmp_path_factory.mktemp("cache") / "cache.sqlite")
    return RecordedBehaviour(BehaviourGatherer(run_code=True, sandbox=sandboxed.sandbox, cache=cache))


@pytest.fixture(scope="module")
def plan(evidence):
    return Plan(wanted=wanted(), kind="consensus", folds=3, resamples=10, evidence=evidence)


@pytest.fixture(scope="module")
def trained(evidence):
    return fit(mixed(60), crowd=CROWD, oracle=ORACLE, kind="consensus", evidence=evidence, folds=3)


class TestProfiles:
    def test_selection_by_the_examples_finds_what_the_vote_does_not(self, plan):
        told = profile(lambda: mixed(60), plan)
        assert told["vote_accuracy"] < 0.5
        assert told["crowd_accuracy"] == 1.0
        assert told["selection_folds"] == [3]

    def test_the_first_that_passes_stands_beside_it(self, plan):
        # COUNTS passes the example as well, so which passes first depends on the order by accuracy.
        sheet, judged = judgements(lambda: mixed(60), plan)
        told = report(sheet, judged, plan)
        assert sheet.passing is not None
        assert told["baselines"]["first_that_passes"]["accuracy"] == pytest.approx(
            float(np.mean(judged[0].first_passing))
        )

    def test_without_expected_values_no_column_reads_them(self, plan):
        without = replace(plan, without=("expected-value",))
        columns = tables_of(lambda: mixed(12), without)(CROWD).rows.shape[1]
        assert columns == tables_of(lambda: mixed(12), plan)(CROWD).rows.shape[1] - 5

    def test_a_router_that_needs_programs_run_is_refused_without(self, plan):
        router = fit(
            mixed(60),
            crowd=CROWD,
            oracle=ORACLE,
            kind="consensus",
            equivalence="behaviour",
            evidence=plan.evidence,
            folds=3,
        )
        assert router.evidence == ("behaviour",)
        bare = replace(plan, kind=None, router=router, evidence=None)
        with pytest.raises(InputError, match="--run-code"):
            judgements(lambda: mixed(12), bare)


class Writes:
    """A member that writes one program."""

    def __init__(self, name, text):
        self.name, self.text = name, text

    def ask(self, query):
        return Answer(text=self.text)


def pyramid(*programs, **settings):
    crowd = [Writes(name, text) for name, text in zip(CROWD, programs, strict=True)]
    policy = Policy(gather_patience=60.0)
    return Pyramid(crowd=crowd, oracle=Writes(ORACLE, ADDS), policy=policy, **settings)


class TestEndToEnd:
    def test_two_programs_that_do_the_same_are_the_majority(self, sandboxed):
        outcome = pyramid(FORGETS, ADDS, ADDS_TOO, run_code=True).ask(QUESTION)
        first = outcome.trace.judgements[0].assessment
        assert first.chosen == 1
        assert first.p_fail == pytest.approx(1 / 3)

    def test_unless_somebody_says_so_nothing_is_run(self):
        outcome = pyramid(FORGETS, ADDS, ADDS_TOO).ask(QUESTION)
        assert outcome.trace.judgements[0].assessment.p_fail == pytest.approx(2 / 3)
        assert [call.role for call in outcome.trace.calls if call.role == "gather"] == []

    def test_a_unanimous_crowd_is_accepted_without_the_oracle(self, sandboxed):
        outcome = pyramid(ADDS, ADDS_TOO, ADDS, run_code=True).ask(QUESTION)
        assert [call.who for call in outcome.trace.calls if call.role == "oracle"] == []

    def test_a_router_of_that_equivalence_needs_it(self):
        with pytest.raises(InputError, match="run_code=True"):
            pyramid(ADDS, ADDS, ADDS, router=AgreementRouter("behaviour"))

    def test_a_trained_router_selects_by_the_examples(self, trained):
        asked = pyramid(FORGETS, ADDS, COUNTS, router=trained, run_code=True)
        assert asked.router.evidence == ("behaviour",)
        seen = asked.ask(QUESTION).trace.judgements[0].assessment
        assert seen.chosen == 1
        plain = pyramid(FORGETS, ADDS, COUNTS, router=trained)
        assert plain.router.evidence == ()
        assert np.isfinite(
            plain.ask(Query(text=QUESTION, answer_type="code")).trace.judgements[0].assessment.p_fail
        )

    def test_the_card_names_the_families_that_were_read(self, trained):
        card = json.loads(trained.card.as_json())
        assert (card["kind"], card["level"]) == ("consensus", "class")
        assert "class_passes" in {name for name, _ in card["features"]}
        again = LearnedRouter.parse(trained.files, where="again")
        assert again.given(["behaviour"]).evidence == ("behaviour",)


def test_on_the_recorded_programs_first_that_passes_is_counted_as_by_hand(sandboxed):
    crowd = ("CodeQwen1.5-7B-Chat", "DeepSeek-Coder-V2-Lite-Instruct", "StarCoder2-15B")
    from tests.core.recorded import records

    data_folder()
    told = [one for one, _ in zip(records("mbpp_ldb_mgdebugger"), range(24), strict=False)]
    by_hand = 0
    for one in told:
        responses = {response["model"]: response for response in one["responses"]}
        texts = [responses[name]["text"] for name in crowd]
        found = sandboxed.behaviours(texts, one["query"], one["reference"]["visible_tests"])
        passing = [name for name, did in zip(crowd, found, strict=True) if did.visible == "passes"]
        by_hand += responses[(passing or crowd)[0]]["correct"]
    plan = Plan(
        wanted=Wanted(crowd=crowd, oracle="gpt-4 (reflexion simple)"),
        kind=None,
        router=AgreementRouter(),
        evidence=RecordedBehaviour(sandboxed),
        resamples=2,
    )
    found = profile(lambda: told, plan)["baselines"]["first_that_passes"]
    assert found["accuracy_all"] == pytest.approx(by_hand / len(told), abs=1e-6)
