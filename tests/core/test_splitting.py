"""Tests taken apart, comparisons made outside, and programs found in answers: all without running anything."""

import ast

import pytest

from pyramid_core.sandbox import Result, defines, program_of, split, with_imports
from pyramid_core.sandbox.comparing import Unsafe, evaluated
from pyramid_core.sandbox.values import Opaque


def calls(test, **known):
    """The sources that go into the sandbox."""
    return [call.source for call in split(test, **known).calls]


def values(*results):
    return [Result(status="value", value=value) for value in results]


class TestWhatGoesInside:
    @pytest.mark.parametrize(
        ("test", "inside"),
        [
            ("assert f([3, 1]) == [1, 3]", ["f([3, 1])"]),
            ("assert [1, 3] == f([3, 1]), 'order'", ["f([3, 1])"]),
            ("assert f(x=1, *[2], **{'y': 3}) == 9", ["f(*[2], x=1, **{'y': 3})"]),
            ("assert f(1)", ["f(1)"]),
            ("assert not f(1)", ["f(1)"]),
            ("assert f(1) is None", ["f(1)"]),
            ("assert 7 in f(1)", ["f(1)"]),
            ("assert abs(f(1) - 7.5) < 1e-6", ["f(1)"]),
            ("import math\nassert math.isclose(f(1), 7.5, rel_tol=0.1)", ["import math", "f(1)"]),
            ("assert round(f(1), 2) == 7.25", ["f(1)"]),
            ("assert isinstance(f(1), list)", ["f(1)"]),
            ("assert len(f(1)) == 7", ["len(f(1))"]),
            ("assert sorted(f(1)) == [7]", ["sorted(f(1))"]),
            ("assert list(f(1)) == [7]", ["list(f(1))"]),
            ("assert set(f(1)) == set([7, 8])", ["set(f(1))"]),
            ("assert f(1) == f(2)", ["f(1)", "f(2)"]),
            ("assert f(1) == 7 and f(2) == 8", ["f(1)", "f(2)"]),
            ("assert 6 < f(1) <= 7", ["f(1)"]),
            ("assert f(g(1), 2) == 7", ["f(g(1), 2)"]),
            ("assert f(1)[0] == 7", ["f(1)[0]"]),
            ("assert f(1).strip() == '7'", ["f(1).strip()"]),
            ("assert Solution().solve([1], 2) == 7", ["Solution().solve([1], 2)"]),
            ("assert [f(1), f(2)] == [7, 8]", ["f(1)", "f(2)"]),
            ("assert {'a': f(1)} == {'a': 7}", ["f(1)"]),
            ("expected = 7\nassert f(1) == expected", ["f(1)"]),
            ("seven = 7\nexpected = [seven]\nassert f(1) == expected", ["f(1)"]),
            ("x = [3, 1]\nassert f(x) == [7]", ["x = [3, 1]", "f(x)"]),
            ("x = [3, 1]\nassert f(x) == x", ["x = [3, 1]", "f(x)", "x"]),
            ("r = f(1)\nassert r == 7", ["r = f(1)", "r"]),
            ("for a, b in [(1, 7), (2, 8)]:\n    assert f(a) == b", ["f(1)", "f(2)"]),
            (
                "ins = [1, 2]\nouts = [7, 8]\nfor a, b in zip(ins, outs):\n    assert f(a) == b",
                ["f(1)", "f(2)"],
            ),
            ("for n, (a, b) in enumerate([(1, 7)]):\n    assert f(a) == b, n", ["f(1)"]),
            (
                "def check(candidate):\n    assert candidate(1) == 7\ncheck(f)",
                ["candidate = f", "candidate(1)"],
            ),
            ("META = {'a': 7}\ndef check(c):\n    'doc'\n    assert c(1) == 7\ncheck(f)", ["c = f", "c(1)"]),
            ("if __name__ == '__main__':\n    assert f(1) == 7", ["f(1)"]),
        ],
    )
    def test_is_calls_and_arguments_alone(self, test, inside):
        tests = split(test)
        assert [call.source for call in tests.calls] == inside
        assert not tests.forgeable

    @pytest.mark.parametrize(
        "test",
        [
            "assert all(x == 7 for x in f(1))",
            "assert f(1).startswith('seven')",
            "assert f(1).equals([7])",
            "from numpy import allclose\nassert allclose(f(1), [7])",
            "def same(a, b): return a == b\nassert same(f(1), 7)",
            "def same(a, b): return a == b\ndef check(candidate):\n    assert same(candidate(1), 7)\ncheck(f)",
            "for n in range(3):\n    assert f(n) == n + 7",
            "def test():\n    for n in g():\n        assert f(n) == 7\n    return 1\ntest()",
            "with open('x') as x:\n    assert f(x) == 7",
            "assert (lambda x: x == 7)(f(1))",
            "assert f'{f(1)}' == '7'",
        ],
    )
    def test_is_the_whole_comparison_where_it_must_be_and_then_marked(self, test):
        assert split(test).forgeable

    @pytest.mark.parametrize(
        "test", ["f(1) == 7", "x = 1", "", "assert", "assert f(", "def check(c):\n    pass"]
    )
    def test_nothing_where_nothing_is_asserted(self, test):
        assert split(test) is None

    def test_a_name_of_pythons_that_the_program_defines_is_the_programs(self):
        test = "assert sum(10, 15) == 6"
        assert calls(test, own=["sum"]) == ["sum(10, 15)"]
        assert calls(test) == []

    def test_strange_escapes_are_what_they_mean_and_no_warning(self):
        assert calls(r"assert f('\d', r'\d', '\n') == '\d'") == [r"f('\\d', '\\d', '\n')"]

    def test_preparations_are_made_again_and_tests_are_not(self):
        prepared, checked = split("y = g()\nassert all(x == 7 for x in f(y))").calls
        assert (prepared.again, checked.again) == (True, False)

    def test_the_left_side_is_called_before_the_right(self):
        assert calls("assert f(1) == g(2)") == ["f(1)", "g(2)"]


class TestChecks:
    @pytest.mark.parametrize(
        ("test", "right", "wrong"),
        [
            ("assert f(1) == [1, 3]", [1, 3], (1, 3)),
            ("assert f(1) == 1", True, "1"),
            ("assert f(1) != 1", 2, 1.0),
            ("assert f(1)", [0], []),
            ("assert f(1) is None", None, 0),
            ("assert f(1) is True", True, 1),
            ("assert f(1) is not None", 0, None),
            ("assert 7 in f(1)", {7}, 7),
            ("assert 7 not in f(1)", [], [7]),
            ("assert abs(f(1) - 7.5) < 1e-6", 7.5 + 1e-9, 7.6),
            ("import math\nassert math.isclose(f(1), 7.5, rel_tol=0.1)", 7.4, 5),
            ("assert isinstance(f(1), list)", [], ()),
            ("assert round(f(1), 1) == 7.3", 7.26, 7.2),
            ("assert 6 < f(1) <= 7", 7, 6),
            ("assert f(1) == 7 or f(1) == 8", 7, 9),
            ("assert f(1) == {'a': (1, {2})}", {"a": (1, {2})}, {"a": [1, {2}]}),
            ("assert f(1) == set()", set(), frozenset({1})),
            ("assert f(1) == -7", -7, 7),
            ("assert f(1) == 2 ** 10 * 3", 3072, 3073),
            ("assert f(1) == [0] * 3", [0, 0, 0], [0]),
            ("assert f(1) == float('inf')", float("inf"), float("nan")),
        ],
    )
    def test_hold_of_what_is_right_alone(self, test, right, wrong):
        tests = split(test)
        before = values(*[None] * (test.count("import")))
        times = len(tests.calls) - len(before)
        assert tests.passed(before + values(*[right] * times))
        assert not tests.passed(before + values(*[wrong] * times))

    @pytest.mark.parametrize("status", ["error", "timed out", "cannot run"])
    def test_fail_where_there_is_no_value(self, status):
        assert not split("assert f(1) is None").passed([Result(status=status)])

    def test_fail_where_results_are_missing(self):
        assert not split("assert f(1) == f(2)").passed(values(1))

    @pytest.mark.parametrize("value", [Opaque(kind="generator"), [Opaque(kind="A")]])
    def test_fail_for_what_is_no_literal(self, value):
        assert not split("assert f(1) == f(2)").passed(values(value, Opaque(kind="generator")))

    def test_fail_where_a_comparison_is_impossible(self):
        assert not split("assert f(1) < 3").passed(values("x"))

    def test_a_preparation_that_fails_fails_the_test(self):
        tests = split("y = g()\nassert f(1) == 7")
        assert not tests.passed([Result(status="error"), *values(7)])

    def test_a_failure_is_known_as_soon_as_its_call_is_back(self):
        tests = split("assert f(1) == 7\nassert f(2) == 8")
        assert tests.failed_at(0, values(6)[0])
        assert not tests.failed_at(0, values(7)[0])


class TestComparing:
    @pytest.mark.parametrize(
        "source",
        [
            "x.y",
            "open('f')",
            "(lambda: 1)()",
            "[a for a in b]",
            "10 ** 10 ** 10",
            "1 << 10 ** 9",
            "[0] * 10 ** 9",
            "10 ** 9 * 'x'",
            "'%1000000000d' % 1",
            "unknown",
            "{**a}",
            "f(**a)",
            "max([1], key=len)",
            "().__class__",
        ],
    )
    def test_refuses_what_is_not_plain_or_takes_long(self, source):
        with pytest.raises(Unsafe):
            evaluated(ast.parse(source, mode="eval").body, {})


BODY = "    return x + 1\n"
HEADER = 'def f(x):\n    """Add one."""\n'


class TestProgramOf:
    @pytest.mark.parametrize(
        ("text", "program"),
        [
            ("def f(x):\n" + BODY, "def f(x):\n" + BODY.rstrip("\n")),
            ("```python\ndef f(x):\n" + BODY + "```", "def f(x):\n" + BODY.rstrip("\n")),
            ("Sure:\n\n```\ndef f(x):\n" + BODY + "```\nIt adds.", "def f(x):\n" + BODY.rstrip("\n")),
            ("```python\ndef f(x):\n" + BODY, "def f(x):\n" + BODY.rstrip("\n")),
            ("```bash\npip install everything and more\n```\n```py\nf = 1\n```", "f = 1"),
            (
                "```python\nprint(f(2), 'a long example of use', 123456789)\n```\n```python\ndef f(x): return 1\n```",
                "def f(x): return 1",
            ),
            ("Here it is:\ndef f(x):\n" + BODY + "I hope this helps!", "def f(x):\n" + BODY.rstrip("\n")),
            ("import re\ndef f(x):\n" + BODY + "```", "import re\ndef f(x):\n" + BODY.rstrip("\n")),
            ("1. First:\n   ```python\n   def f(x):\n       return 1\n   ```", "def f(x):\n    return 1"),
            ("def f(x):\r\n    return 1\r\n", "def f(x):\n    return 1"),
            ("", ""),
        ],
    )
    def test_finds_the_program(self, text, program):
        assert program_of(text, "f") == program

    def test_a_continuation_is_joined_to_the_question(self):
        assert program_of(BODY, "f", HEADER) == HEADER + BODY

    def test_a_whole_program_is_not(self):
        assert program_of("def f(x):\n" + BODY, "f", HEADER) == "def f(x):\n    return x + 1"

    def test_a_fenced_continuation_is_joined(self):
        assert (
            program_of(f"```python\n{BODY}```", "f", f"Complete:\n```python\n{HEADER}```\n") == HEADER + BODY
        )

    def test_prose_is_no_program_and_stays_what_it_is(self):
        assert program_of("I cannot do that.", "f", "What?") == "I cannot do that."

    @pytest.mark.parametrize(
        "text", ["(" * 20_000, "def " * 9000, "```" * 9000, "\\" * 20_000, "x = '\ud800'\0"]
    )
    def test_hostile_texts_are_read_in_no_time(self, text):
        assert isinstance(program_of(text, "f", text), str)

    @pytest.mark.parametrize(
        ("program", "yes"),
        [
            *((text, True) for text in ("def f(): pass", "async def f(): pass", "class f: pass", "f = g")),
            *((text, False) for text in ("f == g", "def fg(): pass", "    def f(): pass", "f()")),
        ],
    )
    def test_knows_what_is_defined(self, program, yes):
        assert defines(program, "f") is yes


class TestWithImports:
    @pytest.mark.parametrize(
        ("program", "first"),
        [
            ("def f(x): return math.sqrt(x)", "import math"),
            ("def f(x: List[int]): pass", "from typing import List"),
            ("def f(x): return Counter(x)", "from collections import Counter"),
            ("import math\ndef f(x): return math.sqrt(x)", "import math"),
            ("def f(math): return math", "def f(math): return math"),
            ("def gcd(a, b): pass\ndef f(x): return gcd(x, 2)", "def gcd(a, b): pass"),
            ("from math import *\ndef f(x): return sqrt(x)", "from math import *"),
            (
                "from __future__ import annotations\ndef f(x): return math.pi",
                "from __future__ import annotations",
            ),
            ("def f(: math.pi", "def f(: math.pi"),
        ],
    )
    def test_adds_what_is_missing_and_no_more(self, program, first):
        lines = with_imports(program).splitlines()
        assert lines[0] == first
        assert lines[-len(program.splitlines()) :] == program.splitlines()
