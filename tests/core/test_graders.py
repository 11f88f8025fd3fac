"""Graders, a case a rule; and how they agree with the grades of the recorded sets."""

import copy
import json

import pytest

from pyramid_core.errors import InputError, SandboxError
from pyramid_core.evaluation.graders import (
    GRADERS,
    CodeGrader,
    choice,
    custom,
    exact,
    grader_for,
    literal,
    numeric,
    tool_calls,
)
from pyramid_core.sandbox import Limits, Sandbox
from pyramid_core.types import Answer, Query, ToolCall
from tests.core.recorded import records


@pytest.fixture(scope="module")
def code():
    found = CodeGrader(run_code=True)
    try:
        assert found.sandbox.protections
    except SandboxError as error:
        pytest.skip(f"programs cannot be run on this system: {error}")
    return found


class TestExact:
    @pytest.mark.parametrize(
        ("answer", "reference", "right"),
        [
            ("Paris", "Paris", True),
            ("the city of Paris.", "Paris", False),
            ("  paris. ", "Paris", True),
            ("The Beatles", "Beatles", True),
            ("Answer: Paris", "paris", True),
            ("2,718", "2718", True),
            ("London", ["Paris", "London"], True),
            ("Rome", ["Paris", "London"], False),
            ("", "Paris", False),
            ("Paris", None, None),
            ("Paris", [], None),
            ("Paris", "", None),
        ],
    )
    def test_compares_normal_forms(self, answer, reference, right):
        assert exact(answer, reference, "") is right


class TestNumeric:
    @pytest.mark.parametrize(
        ("answer", "reference", "right"),
        [
            ("So she has 18.", "18", True),
            ("#### 18", "18", True),
            (r"\boxed{18}", 18, True),
            ('{"answer": "$1,800.00"}', "1800", True),
            ("It is 17.", "18", False),
            ("18 of 20, so the answer is 2", "2", True),
            ("18.0", "#### 18", True),
            ("no idea", "18", False),
            ("", "18", False),
            ("18", "eighteen hundred dogs", None),
            ("18", None, None),
            ("#### 1/2", "0.5", True),
        ],
    )
    def test_compares_values(self, answer, reference, right):
        assert numeric(answer, reference, "") is right

    def test_an_answer_that_was_cut_off_states_no_number(self):
        assert numeric(Answer(text="She has 18", finish_reason="length"), "18", "") is False

    def test_the_sources_extraction_stands_in_for_a_text(self):
        assert numeric(Answer(text="", extracted="18"), "18", "") is True


OPTIONS = "Which?\nOptions:\nA. one\nB. two\nC. three"


class TestChoice:
    @pytest.mark.parametrize(
        ("answer", "reference", "right"),
        [
            ("The answer is (B).", "B", True),
            ("B", "(B)", True),
            ("Answer: C", "B", False),
            ("The answer is two", "B", True),
            ("B", "two", True),
            ("I do not know", "B", False),
            ("", "B", False),
            ("B", "Z", None),
            ("B", None, None),
        ],
    )
    def test_compares_letters(self, answer, reference, right):
        assert choice(answer, reference, OPTIONS) is right

    def test_reads_the_options_of_a_query(self):
        assert choice("The answer is two", "B", Query(text=OPTIONS)) is True


class TestLiteral:
    @pytest.mark.parametrize(
        ("answer", "reference", "right"),
        [
            ("[(4, 1)]", "[(4,1)]", True),
            ("[[4, 1]]", "[(4, 1)]", False),
            ("{\"answer\": \"{'b': 1, 'a': 2}\"}", "{'a': 2, 'b': 1}", True),
            ('{"answer": "89"}', "'89'", True),
            ('{"answer": "89"}', "89", True),
            ('{"answer": "90"}', "'89'", False),
            ("[1, 2]", [1, 2], True),
            ("", "[]", False),
            ("[]", "f(x)", None),
            ("[]", None, None),
        ],
    )
    def test_compares_python_values(self, answer, reference, right):
        assert literal(answer, reference, "") is right


class TestCustom:
    def test_is_given_whole_objects(self):
        seen = []
        grader = custom(lambda answer, reference, query: bool(seen.append((answer, reference, query))))
        assert grader("x", 5, "q") is False
        assert seen == [(Answer(text="x"), 5, Query(text="q"))]

    def test_may_decline(self):
        assert custom(lambda answer, reference, query: None)("x", 5, "q") is None

    @pytest.mark.parametrize("verdict", [1, "yes", 0.5])
    def test_must_say_true_false_or_none(self, verdict):
        with pytest.raises(InputError, match=r"True, False or None"):
            custom(lambda answer, reference, query: verdict)("x", 5, "q")


class TestGraderFor:
    @pytest.mark.parametrize("kind", GRADERS)
    def test_gives_the_grader_of_a_kind(self, kind):
        assert grader_for(kind) is GRADERS[kind]

    def test_gives_code_its_own(self):
        grader = CodeGrader(run_code=True)
        assert grader_for("code", code=grader) is grader

    def test_refuses_code_without_one(self):
        with pytest.raises(InputError, match="run_code=True"):
            grader_for("code")

    def test_refuses_an_unknown_kind_and_lists_the_known(self):
        with pytest.raises(InputError, match=r"'poem'.*number.*code"):
            grader_for("poem")


PASSING = "def f(x):\n    return x + 1"
TEST = "assert f(1) == 2\nassert f(5) == 6"


class TestCode:
    @pytest.mark.parametrize(
        ("answer", "right"),
        [
            (PASSING, True),
            (f"Sure!\n```python\n{PASSING}\n```\nDone.", True),
            ("def f(x):\n    return 2 * x", False),
            ("def f(x:", False),
            ("def g(x):\n    return x + 1", False),
            ("import os\nos._exit(0)", False),
            ("", False),
            ("I cannot.", False),
        ],
    )
    def test_is_right_where_its_tests_pass(self, code, answer, right):
        assert code(answer, TEST, "") is right

    def test_is_wrong_where_it_does_not_end(self, code):
        brisk = CodeGrader(run_code=True, sandbox=Sandbox(limits=Limits(seconds=1.0)))
        assert brisk("def f(x):\n    while True: pass", TEST, "") is False

    @pytest.mark.parametrize(
        "reference", [None, "", "x = 1", "not python", {"entry_point": "f"}, {"test": 5}, ["x"]]
    )
    def test_is_not_graded_without_tests(self, code, reference):
        assert code(PASSING, reference, "") is None

    def test_a_check_that_nobody_calls_is_called_with_the_entry_point(self, code):
        reference = {"test": "def check(candidate):\n    assert candidate(1) == 2", "entry_point": "f"}
        assert code(PASSING, reference, "") is True
        assert code("def f(x): return 0", reference, "") is False

    def test_a_continuation_is_graded_with_its_question(self, code):
        assert code("    return x + 1", {"test": TEST, "entry_point": "f"}, "def f(x):\n") is True

    def test_forgotten_imports_are_forgiven(self, code):
        assert code("def f(x): return int(math.sqrt(x * x)) + 1", TEST, "") is True

    def test_many_are_graded_in_order(self, code):
        answers = [PASSING, "def f(x): return 0", ""] * 3
        grades = list(code.grade_many((answer, TEST, "") for answer in answers))
        assert [grade.right for grade in grades] == [True, False, False] * 3

    def test_a_grade_names_the_protections_and_what_could_be_forged(self, code):
        plain = code.grade(PASSING, TEST)
        loose = code.grade(PASSING, "assert all(x == 2 for x in [f(1)])")
        assert (plain.right, plain.forgeable) == (True, False)
        assert (loose.right, loose.forgeable) == (True, True)
        assert plain.protections == code.sandbox.protections

    def test_runs_nothing_without_the_users_word(self):
        with pytest.raises(InputError, match=r"your decision.*run_code=True"):
            CodeGrader(run_code=False)


def calls(*made):
    return Answer(
        text="", tool_calls=tuple(ToolCall(name=name, arguments=arguments) for name, arguments in made)
    )


def want(name, **accepted):
    return {"name": name, "arguments": accepted}


RIDE = want("ride", to=["Berkeley", "Berkeley, CA"], seats=[2], kind=["", "plus"])
TOOLS = (
    {"type": "function", "function": {"name": "ride", "parameters": {"properties": {}, "required": ["to"]}}},
    {"type": "function", "function": {"name": "car.rent", "parameters": {}}},
)

# (the rule, the calls made, the reference, right)
ONE_PARAMETER = [
    ("an accepted value", "a", ["a"], True),
    ("the second of the accepted values", "b", ["a", "b"], True),
    ("no accepted value", "c", ["a", "b"], False),
    ("no accepted value at all", "c", [], False),
    ("an empty list where there is no accepted value", [], [], True),
    ("case does not matter", "BERKELEY", ["Berkeley"], True),
    ("spaces do not matter", "New  York", ["NewYork"], True),
    ("commas do not matter", "April 1, 2024", ["April 1 2024"], True),
    ("hyphens do not matter", "2024-04-01", ["20240401"], True),
    ("slashes do not matter", "a/b", ["ab"], True),
    ("underscores do not matter", "comfort_ride", ["comfort ride"], True),
    ("full stops do not matter", "St. Ives", ["St Ives"], True),
    ("stars and carets do not matter", "x^2*y", ["x2y"], True),
    ("quotes are alike", "it's", ['it"s'], True),
    ("question marks do matter", "really?", ["really"], False),
    ("accents do matter", "café", ["cafe"], False),
    ("other scripts are compared too", "可口可乐", ["可口可乐"], True),
    ("an integer", 2, [2], True),
    ("2.0 for 2", 2.0, [2], True),
    ("2 for 2.0", 2, [2.0], True),
    ("another number", 3, [2], False),
    ("2.5 for 2", 2.5, [2], False),
    ("a negative number", -2, [2], False),
    ("a number in quotes is a string", "2", [2], False),
    ("a string that is a number", 2, ["2"], False),
    ("true for true", True, [True], True),
    ("false for true", False, [True], False),
    ("1 is not true", 1, [True], False),
    ("true is not 1", True, [1], False),
    ("true in quotes is a string", "true", [True], False),
    ("null for null", None, [None], True),
    ("null where null is not accepted", None, ["a"], False),
    ("null where leaving out is accepted", None, ["", "a"], False),
    ("null where both are accepted", None, ["", None], True),
    ("zero is not null", 0, [None], False),
    ("zero is not false", 0, [False], False),
    ("an empty string where leaving out is accepted", "", ["", "a"], True),
    ("an empty string where it is not", "", ["a"], False),
    ("a list", ["a", "b"], [["a", "b"]], True),
    ("one of two accepted lists", ["b"], [["a"], ["b"]], True),
    ("a list in another order", ["b", "a"], [["a", "b"]], False),
    ("a shorter list", ["a"], [["a", "b"]], False),
    ("a longer list", ["a", "b", "c"], [["a", "b"]], False),
    ("an empty list for an empty list", [], ["", []], True),
    ("an empty list for another", [], [["a"]], False),
    ("strings in a list in normal form", ["New York", "LA"], [["new-york", "l.a."]], True),
    ("numbers in a list by value", [1.0, 2], [[1, 2.0]], True),
    ("a list of lists", [[1, 2], [3]], [[[1, 2], [3]]], True),
    ("a list of other lists", [[1, 2], [4]], [[[1, 2], [3]]], False),
    ("a value where a list is accepted", "a", [["a"]], False),
    ("a list where a value is accepted", ["a"], ["a"], False),
    ("an object", {"x": 1}, [{"x": [1]}], True),
    ("an object with another value", {"x": 2}, [{"x": [1]}], False),
    ("one of the accepted values of a field", {"x": 2}, [{"x": [1, 2]}], True),
    ("one of two accepted objects", {"y": 2}, [{"x": [1]}, {"y": [2]}], True),
    ("a field that may be left out", {"x": 1}, [{"x": [1], "y": ["", 2]}], True),
    ("a field that may not", {"x": 1}, [{"x": [1], "y": [2]}], False),
    ("a field that is not known", {"x": 1, "z": 3}, [{"x": [1]}], False),
    ("all fields left out", {}, [{"x": ["", 1]}], True),
    ("an object in an object", {"x": {"y": "A b"}}, [{"x": [{"y": ["ab"]}]}], True),
    ("another object in an object", {"x": {"y": "c"}}, [{"x": [{"y": ["ab"]}]}], False),
    ("a field that is a list", {"x": [1, 2]}, [{"x": [[1, 2]]}], True),
    ("a list of objects", [{"x": 1}, {"x": 2}], [[{"x": [1]}, {"x": [2, 3]}]], True),
    ("a list of objects in another order", [{"x": 2}, {"x": 1}], [[{"x": [1]}, {"x": [2]}]], False),
    ("a list of objects, one too few", [{"x": 1}], [[{"x": [1]}, {"x": [2]}]], False),
    ("a field whose accepted value stands alone", {"x": 1}, [{"x": 1}], True),
    ("an object where a string is accepted", {"x": 1}, ["x"], False),
]

WHOLE_CALLS = [
    ("the right call", [("ride", {"to": "Berkeley", "seats": 2})], [RIDE], True),
    ("every parameter given", [("ride", {"to": "Berkeley", "seats": 2, "kind": "plus"})], [RIDE], True),
    (
        "an optional parameter with a wrong value",
        [("ride", {"to": "Berkeley", "seats": 2, "kind": "x"})],
        [RIDE],
        False,
    ),
    ("a parameter that may not be left out", [("ride", {"to": "Berkeley"})], [RIDE], False),
    (
        "a required parameter that may be left out",
        [("ride", {"seats": 2})],
        [want("ride", to=["", "x"], seats=[2])],
        True,
    ),
    ("a parameter that is not known", [("ride", {"to": "Berkeley", "seats": 2, "x": 1})], [RIDE], False),
    ("another tool", [("walk", {"to": "Berkeley", "seats": 2})], [RIDE], False),
    ("a name in another case", [("Ride", {"to": "Berkeley", "seats": 2})], [RIDE], False),
    ("a dot for an underscore in a name", [("car.rent", {})], [want("car_rent")], True),
    ("an underscore for a dot in a name", [("car_rent", {})], [want("car.rent")], True),
    ("a hyphen in a name is another name", [("car-rent", {})], [want("car_rent")], False),
    ("no parameters", [("now", {})], [want("now")], True),
    ("arguments as JSON text", [("ride", '{"to": "Berkeley", "seats": 2}')], [RIDE], True),
    ("no arguments as no text", [("now", "")], [want("now")], True),
    ("arguments that are no JSON", [("ride", "to Berkeley")], [RIDE], False),
    ("arguments that are JSON and no object", [("ride", "[1]")], [RIDE], False),
    ("no call where one is due", [], [RIDE], False),
    ("the same call twice", [("now", {}), ("now", {})], [want("now")], False),
    ("two calls", [("now", {}), ("who", {"x": 1})], [want("now"), want("who", x=[1])], True),
    ("two calls in another order", [("who", {"x": 1}), ("now", {})], [want("now"), want("who", x=[1])], True),
    ("one of two calls", [("now", {})], [want("now"), want("who", x=[1])], False),
    ("two calls for one", [("now", {}), ("who", {"x": 1})], [want("now")], False),
    (
        "one call for both of two",
        [("f", {"x": 1}), ("f", {"x": 1})],
        [want("f", x=[1]), want("f", x=[2])],
        False,
    ),
    (
        "the same call due twice",
        [("f", {"x": 1}), ("f", {"x": 1})],
        [want("f", x=[1]), want("f", x=[1])],
        True,
    ),
    (
        "the better of two matchings",
        [("f", {"x": 1}), ("f", {"x": 2})],
        [want("f", x=[1, 2]), want("f", x=[1])],
        True,
    ),
    ("no call where none is right", [], [], True),
    ("a call where none is right", [("now", {})], [], False),
    ("any call of a tool on offer", [("ride", {"to": "x"})], None, True),
    ("any call, its name written with an underscore", [("car_rent", {})], None, True),
    ("any call, of a tool that is not on offer", [("fly", {})], None, False),
    ("any call, with arguments that are none", [("ride", "to x")], None, False),
    ("any call where none is made", [], None, False),
    ("a reference of another kind", [("now", {})], "now()", None),
    ("a reference of half a call", [("now", {})], [{"name": "now"}], None),
]


class TestToolCalls:
    def test_has_a_case_for_sixty_rules(self):
        rules = [case[0] for case in ONE_PARAMETER + WHOLE_CALLS]
        assert len(rules) == len(set(rules)) >= 60

    @pytest.mark.parametrize(
        ("value", "accepted", "right"), [pytest.param(*case[1:], id=case[0]) for case in ONE_PARAMETER]
    )
    def test_of_one_parameter(self, value, accepted, right):
        assert tool_calls(calls(("f", {"x": value})), [want("f", x=accepted)], "") is right

    @pytest.mark.parametrize(
        ("made", "reference", "right"), [pytest.param(*case[1:], id=case[0]) for case in WHOLE_CALLS]
    )
    def test_of_whole_calls(self, made, reference, right):
        assert tool_calls(calls(*made), reference, Query(text="", tools=TOOLS)) is right

    def test_text_beside_the_calls_does_not_matter(self):
        answer = Answer(text="Calling.", tool_calls=(ToolCall(name="now", arguments={}),))
        assert tool_calls(answer, [want("now")], "") is True

    def test_a_text_makes_no_call(self):
        assert tool_calls("now()", [want("now")], "") is False
        assert tool_calls("I cannot.", [], "") is True

    def test_without_tools_any_call_will_do_for_no_reference(self):
        assert tool_calls(calls(("fly", {})), None, "") is True

    @pytest.mark.parametrize(
        "tool", [{}, {"function": None}, {"function": {"name": 5}}, {"name": "f", "parameters": []}]
    )
    def test_tools_that_are_none_are_passed_over(self, tool):
        assert tool_calls(calls(("f", {"x": 1})), [want("f", x=[1])], Query(text="", tools=(tool,))) is True

    def test_a_hundred_parallel_calls(self):
        made = [("f", {"x": n}) for n in range(100)]
        assert tool_calls(calls(*made), [want("f", x=[n]) for n in reversed(range(100))], "") is True

    def test_arguments_nested_without_end_are_wrong(self):
        deep: dict = {}
        inner = deep
        for _ in range(5000):
            inner["x"] = {}
            inner = inner["x"]
        assert tool_calls(calls(("f", {"x": deep})), [want("f", x=[{"x": [deep]}])], "") is False
        assert tool_calls(calls(("f", "[" * 100_000)), [want("f", x=[1])], "") is False


def accepted_call(wanted):
    """A call with the first accepted value of everything that may not be left out."""

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(pick(options)) for key, options in value.items() if "" not in options}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value

    def pick(options):
        return next((option for option in options if option != ""), [])

    arguments = {
        name: filled(pick(options)) for name, options in wanted["arguments"].items() if "" not in options
    }
    return ToolCall(name=wanted["name"].replace("_", "."), arguments=arguments)


class TestRecordedSets:
    """Agreement with the grades of the sources; what differs is explained in each test."""

    @staticmethod
    def agreement(name, grader, key="correct", every=1):
        same = count = 0
        for at, record in enumerate(records(name)):
            if at % every == 0:
                for response in record["responses"]:
                    if response["text"] is not None:
                        count += 1
                        same += (
                            grader(response["text"], record["reference"], record["query"]) == response[key]
                        )
        return same / count

    def test_numbers_as_in_the_source_but_where_it_read_another(self):
        assert self.agreement("gsm8k_zeroeval", numeric) > 0.99

    def test_numbers_of_a_source_that_graded_otherwise(self):
        assert (
            self.agreement("gsm8k_openai_routellm", numeric) > 0.99
        )  # It differs where no number is restated.

    def test_letters_but_where_a_text_chooses_twice(self):
        assert self.agreement("mmlu_pro", choice, every=5) > 0.98

    def test_literals(self):
        assert self.agreement("cruxeval_zeroeval", literal) > 0.99

    def test_free_text(self):
        assert self.agreement("nq_logprobs", exact, key="exact") > 0.99

    def test_programs_by_their_tests(self, code):
        # Some models answered another form of the question, and were graded by tests that are not recorded.
        same_question = {
            "CodeQwen1.5-7B-Chat",
            "DeepSeek-Coder-V2-Lite-Instruct",
            "StarCoder2-15B",
            "CodeLlama-34B",
            "Codestral-22B",
        }
        cases = [
            (response, record)
            for at, record in enumerate(records("mbpp_ldb_mgdebugger"))
            if at % 20 == 0
            for response in record["responses"]
            if response["model"] in same_question
        ]
        grades = code.grade_many(
            (response["text"], record["reference"], record["query"]) for response, record in cases
        )
        same = sum(
            grade.right == response["correct"] for grade, (response, _) in zip(grades, cases, strict=True)
        )
        assert same / len(cases) > 0.98

    def test_the_accepted_calls_are_right_and_others_are_not(self):
        seen = 0
        for record in records("bfcl_live_tasks"):
            query = Query(text="", tools=tuple(record["tools"]))
            wanted = record["reference"]
            if not wanted:
                continue
            seen += 1
            made = [accepted_call(call) for call in copy.deepcopy(wanted)]
            assert json.loads(json.dumps([dict(call.arguments) for call in made])), record["id"]
            right = Answer(text="", tool_calls=tuple(reversed(made)))
            assert tool_calls(right, wanted, query) is True, record["id"]
            missing = Answer(text="", tool_calls=tuple(made[1:]))
            assert tool_calls(missing, wanted, query) is False, record["id"]
            invented = ToolCall(name=made[0].name, arguments={**made[0].arguments, "invented": 1})
            assert tool_calls(Answer(text="", tool_calls=(invented, *made[1:])), wanted, query) is False, (
                record["id"]
            )
        assert seen > 600
