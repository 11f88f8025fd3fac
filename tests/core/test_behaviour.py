"""Agreement by what programs do: the inputs, the classes, what the question says of its examples, and a whole record."""

import json

import pytest

from pyramid_core.commands import Gather
from pyramid_core.errors import InputError, SandboxError
from pyramid_core.evidence import CANNOT_RUN, FAILS, PASSES, BehaviourGatherer, classes_of, key_of
from pyramid_core.evidence.behaviour import output_of
from pyramid_core.evidence.inputs import Example, asserts_of, examples_of, varied
from pyramid_core.sandbox import Opaque, Result, split
from pyramid_core.types import Answer, Query
from tests.core.recorded import records

QUESTION = "Write a function total(xs) that adds up a list.\n\nassert total([1, 2, 3]) == 6\n"
ADDS = "def total(xs):\n    return sum(xs)"
ADDS_TOO = "Here:\n```python\ndef total(xs):\n    t = 0\n    for x in xs:\n        t += x\n    return t\n```"
COUNTS = "def total(xs):\n    return len(xs) * 2"
FORGETS = "def total(xs):\n    return sum(xs[1:])"
RAISES = "def total(xs):\n    raise ValueError"
BROKEN = "def total(xs:\n    return"
OTHER = "def sum_up(xs):\n    return sum(xs)"
ENDLESS = "def total(xs):\n    while True: pass"


@pytest.fixture(scope="module")
def gatherer():
    found = BehaviourGatherer(run_code=True)
    try:
        assert found.sandbox.protections
    except SandboxError as error:
        pytest.skip(f"programs cannot be run on this system: {error}")
    return found


def behaviours(gatherer, *answers, question=QUESTION, visible=()):
    return gatherer.behaviours(answers, question, visible)


class TestClasses:
    def test_programs_that_do_the_same_are_one_class(self, gatherer):
        assert classes_of(behaviours(gatherer, ADDS, FORGETS, ADDS_TOO)) == [(0, 2), (1,)]

    def test_agreeing_on_the_example_alone_is_not_enough(self, gatherer):
        adds, counts = behaviours(gatherer, ADDS, COUNTS)
        assert (adds.visible, counts.visible) == (PASSES, PASSES)
        assert classes_of([adds, counts]) == [(0,), (1,)]

    @pytest.mark.parametrize("idle", [RAISES, BROKEN, OTHER, "", "I cannot do that."])
    def test_a_program_that_gives_no_value_has_no_vote(self, gatherer, idle):
        found = behaviours(gatherer, idle, ADDS, idle)
        assert classes_of(found) == [(1,)]
        assert (found[0].signature, found[0].ran, key_of(found[0])) == ((), 0, None)

    def test_the_order_of_answers_changes_no_class(self, gatherer):
        forth = behaviours(gatherer, ADDS, FORGETS, ADDS_TOO, COUNTS)
        back = behaviours(gatherer, COUNTS, ADDS_TOO, FORGETS, ADDS)
        assert list(reversed(back)) == forth

    def test_the_same_question_gives_the_same_behaviour(self, gatherer):
        assert behaviours(gatherer, ADDS, FORGETS) == behaviours(gatherer, ADDS, FORGETS)

    def test_sums_in_another_order_are_the_same_to_ten_digits(self, gatherer):
        question = "assert total([0.1, 0.2, 0.3]) == 0.6"
        backwards = "def total(xs):\n    return sum(reversed(xs))"
        assert classes_of(behaviours(gatherer, ADDS, backwards, question=question)) == [(0, 1)]

    def test_what_a_program_does_to_its_argument_stays_with_it(self, gatherer):
        spoils = "def total(xs):\n    t = sum(xs)\n    xs.clear()\n    return t"
        assert classes_of(behaviours(gatherer, ADDS, spoils)) == [(0, 1)]

    def test_inputs_on_which_most_programs_fail_do_not_count(self, gatherer):
        picky = "def total(xs):\n    assert len(xs) == 3\n    return sum(xs)"
        alone, *_ = behaviours(gatherer, ADDS)
        adds, *_ = behaviours(gatherer, ADDS, picky, picky)
        assert 1 <= len(adds.signature) < len(alone.signature)

    def test_ties_go_to_the_earliest(self):
        entries = [{"signature": [letter]} for letter in "abab"]
        assert classes_of(entries) == [(0, 2), (1, 3)]

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            (1, 1.0, True),
            (0.1 + 0.2, 0.3, True),
            ([1], (1,), False),
            ({1, 2}, {2, 1}, True),
            ({"a": 0.1 + 0.2}, {"a": 0.3}, True),
            ("1", 1, False),
            (None, 0, False),
            (Opaque(kind="map"), Opaque(kind="map"), True),
            (float("nan"), float("nan"), True),
        ],
    )
    def test_outputs_are_the_same_where_python_says_equal(self, one, other, same):
        first, second = (output_of(Result(status="value", value=value)) for value in (one, other))
        assert (first == second) is same


class TestVisible:
    @pytest.mark.parametrize(
        ("answer", "visible"),
        [
            (ADDS, PASSES),
            (FORGETS, FAILS),
            (RAISES, FAILS),
            (BROKEN, CANNOT_RUN),
            (OTHER, CANNOT_RUN),
            ("", CANNOT_RUN),
        ],
    )
    def test_says_whether_the_questions_example_holds(self, gatherer, answer, visible):
        assert behaviours(gatherer, answer)[0].visible == visible

    def test_the_expected_value_is_no_part_of_the_signature(self, gatherer):
        right = behaviours(gatherer, ADDS, question="assert total([1, 2, 3]) == 6")
        wrong = behaviours(gatherer, ADDS, question="assert total([1, 2, 3]) == 7")
        assert (right[0].visible, wrong[0].visible) == (PASSES, FAILS)
        assert right[0].signature == wrong[0].signature

    def test_a_program_that_never_ends_fails(self):
        impatient = BehaviourGatherer(run_code=True)
        found = behaviours(impatient, ENDLESS, ADDS)
        assert [behaviour.visible for behaviour in found] == [FAILS, PASSES]

    def test_without_examples_there_is_nothing_to_run(self, gatherer):
        (found,) = behaviours(gatherer, ADDS, question="Add up a list.")
        assert (found.signature, found.visible, found.ran) == ((), None, 0)

    def test_a_name_of_pythons_that_the_program_defines_is_tested(self, gatherer):
        own = "def sum(a, b):\n    return a - b"
        assert behaviours(gatherer, own, question="assert sum(7, 2) == 5")[0].visible == PASSES


class TestGatherer:
    def test_runs_nothing_without_the_users_word(self):
        with pytest.raises(InputError, match=r"your decision.*run_code=True"):
            BehaviourGatherer(run_code=False)

    def test_answers_a_gather_in_plain_json(self, gatherer):
        gather = Gather(
            call=3,
            kind="behaviour",
            query=Query(text=QUESTION),
            answers=tuple(Answer(text=text) for text in (ADDS, FORGETS)),
        )
        found = gatherer(gather)
        assert json.loads(json.dumps(found)) == found
        assert [found[place]["visible"] for place in ("0", "1")] == [PASSES, FAILS]

    def test_takes_further_examples_from_the_query(self, gatherer):
        known = BehaviourGatherer(
            run_code=True, sandbox=gatherer.sandbox, examples=lambda query: ["assert total([4]) == 4"]
        )
        gather = Gather(call=3, kind="behaviour", query=Query(text="Add up."), answers=(Answer(text=ADDS),))
        assert known(gather)["0"]["visible"] == PASSES


class TestExamples:
    @pytest.mark.parametrize(
        ("question", "found"),
        [
            ("assert f(1) == 2", ["assert f(1) == 2"]),
            ("Do it.\n    assert f(1) == 2, 'no'\nassert f(2)\n", ["assert f(1) == 2, 'no'", "assert f(2)"]),
            ('def f(x):\n    """Add.\n    >>> f(1)\n    2\n    """', ["assert (f(1)) == (2)"]),
            (">>> f([1,\n...    2])\n3", ["assert (f([1,\n   2])) == (3)"]),
            (">>> f(1)\n2\n>>> f(2)\n3\n\n>>> x = 3", ["assert (f(1)) == (2)", "assert (f(2)) == (3)"]),
            ("They assert f is right.", []),
            ("assert that it works", []),
            ("", []),
        ],
    )
    def test_are_the_asserts_and_doctests_of_a_question(self, question, found):
        assert asserts_of(question) == found

    def test_are_calls_with_literal_arguments(self):
        tests = [
            split(source)
            for source in ("assert f([1], 'a') == 1", "assert f(g(1)) == 1", "assert f(x=1) == 1")
        ]
        assert examples_of(tests) == [Example(name="f", args=([1], "a"))]

    @pytest.mark.parametrize(
        "text", ["assert " * 5000, ">>> " * 5000, "\n>>> f(1)\n" * 2000, "assert f(" + "(" * 9000]
    )
    def test_hostile_questions_are_read_in_no_time(self, text):
        assert isinstance(asserts_of(text), list)


class TestVariations:
    @pytest.mark.parametrize(
        "args",
        [
            (5,),
            ("word",),
            ([3, 1, 2],),
            ((1, "a"),),
            ({"a": 1, "b": 2},),
            ({1, 2, 3},),
            (2.5,),
            (True, 3, "x"),
        ],
    )
    def test_keep_the_types_of_the_arguments(self, args):
        found = varied(Example(name="f", args=args), 8)
        assert found
        assert {tuple(map(type, example.args)) for example in found} == {tuple(map(type, args))}

    def test_are_different_from_the_example_and_each_other(self):
        example = Example(name="f", args=([1, 2, 3], "abc"))
        found = [example, *varied(example, 10)]
        assert len({repr(each) for each in found}) == 11

    def test_are_the_same_for_the_same_seed_and_others_for_another(self):
        example = Example(name="f", args=([1, 2, 3, 4], 2, "abc"))
        assert varied(example, 8, seed=1) == varied(example, 8, seed=1) != varied(example, 8, seed=2)

    def test_a_number_that_is_a_length_stays_one(self):
        for example in varied(Example(name="f", args=([7, 8, 9, 10], 4)), 30):
            items, count = example.args
            assert count == len(items) or items == [7, 8, 9, 10]

    def test_numbers_stay_small(self):
        found = varied(Example(name="f", args=(30,)), 30)
        assert max(example.args[0] for example in found) <= 60

    @pytest.mark.parametrize("args", [(), (None,), (b"x",)])
    def test_there_are_none_where_nothing_can_be_varied(self, args):
        assert varied(Example(name="f", args=args), 5) == []


class TestRecordedPrograms:
    def test_classes_say_more_of_recorded_programs_than_their_text(self, gatherer):
        crowd = ["CodeQwen1.5-7B-Chat", "DeepSeek-Coder-V2-Lite-Instruct", "StarCoder2-15B"]
        right_same = right_other = mixed_same = mixed_other = 0
        for at, record in enumerate(records("mbpp_ldb_mgdebugger")):
            if at % 25:
                continue
            by_model = {response["model"]: response for response in record["responses"]}
            answers = [by_model[name]["text"] for name in crowd]
            found = gatherer.behaviours(answers, record["query"], record["reference"]["visible_tests"])
            for one in range(3):
                for other in range(one):
                    same = key_of(found[one]) is not None and key_of(found[one]) == key_of(found[other])
                    grades = {by_model[crowd[one]]["correct"], by_model[crowd[other]]["correct"]}
                    right_same += grades == {True} and same
                    right_other += grades == {True} and not same
                    mixed_same += len(grades) == 2 and same
                    mixed_other += len(grades) == 2 and not same
        assert right_same > 2 * right_other
        assert mixed_other > 2 * mixed_same
