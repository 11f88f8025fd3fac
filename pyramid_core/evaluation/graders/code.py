"""The grader of code: its tests run in the sandbox, and what they expect stays outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyramid_core.errors import InputError
from pyramid_core.sandbox import (
    FUNCTION_NAMES,
    Job,
    Limits,
    Result,
    Sandbox,
    Tests,
    defines,
    program_of,
    split,
    with_imports,
)
from pyramid_core.types import Answer, Query

LIMITS = Limits(seconds=10.0, cpu_seconds=30)
"""Generous: a right program on a busy machine must not be taken for one that never ends."""


@dataclass(frozen=True, kw_only=True)
class CodeGrade:
    """What became of one answer's tests.

    Attributes:
        right: whether all of them passed; None: there are none, or none that can be read.
        forgeable: whether a part of what they expect was among what the program could see.
        protections: what was in place while it ran.
    """

    right: bool | None
    forgeable: bool = False
    protections: frozenset[str] = frozenset()


class CodeGrader:
    """Grades programs by running them on tests.

    A reference is a test's source, or an object with `test` and, where the test only defines `check(candidate)`,
    `entry_point`. Names that every Python programmer imports without a thought (`math`, `List`, ...) are imported for
    a program that forgot to.

    Args:
        run_code: must be True: running what models wrote is the user's decision.
        sandbox: what runs it; None: one with this grader's limits.

    Raises:
        InputError: `run_code` is not True.
    """

    def __init__(self, *, run_code: bool, sandbox: Sandbox | None = None) -> None:
        if run_code is not True:
            raise InputError(
                "grading code runs programs that models wrote, which is your decision: pass run_code=True (--run-code)"
            )
        self.sandbox = sandbox or Sandbox(limits=LIMITS)

    def __call__(self, answer: Answer | str, reference: Any, query: Query | str = "") -> bool | None:
        """Whether the program passes; None where there is nothing to test it by."""
        return self.grade(answer, reference, query).right

    def grade(self, answer: Answer | str, reference: Any, query: Query | str = "") -> CodeGrade:
        """As a call, with what was in place.

        Raises:
            SandboxError: programs cannot be run here.
        """
        return next(self.grade_many([(answer, reference, query)]))

    def grade_many(self, items: Iterable[tuple[Answer | str, Any, Query | str]]) -> Iterator[CodeGrade]:
        """The grades of many (answer, reference, query), in order, several at once.

        Raises:
            SandboxError: programs cannot be run here.
        """
        waiting: list[tuple[str, Tests | None]] = []

        def jobs() -> Iterator[Job]:
            for answer, reference, query in items:
                program, tests = _prepared(answer, reference, query)
                waiting.append((program, tests))
                if tests is None or not program:
                    yield Job(program="", calls=())
                else:
                    yield Job(program=program, calls=tests.calls, stop=tests.failed_at)

        for results in self.sandbox.run_many(jobs()):
            program, tests = waiting.pop(0)
            yield _grade(program, tests, results)


def _prepared(answer: Answer | str, reference: Any, query: Query | str) -> tuple[str, Tests | None]:
    source, entry = _test_of(reference)
    text = answer if isinstance(answer, str) else answer.text or answer.extracted or ""
    program = program_of(text, entry, query if isinstance(query, str) else query.text)
    own = [name for name in FUNCTION_NAMES if defines(program, name)]
    return with_imports(program), split(source, own=own) if source else None


def _test_of(reference: Any) -> tuple[str, str | None]:
    """The test's source and the name of what it tests, where these are given."""
    if isinstance(reference, str):
        return reference, None
    if not isinstance(reference, Mapping):
        return "", None
    test, entry = reference.get("test"), reference.get("entry_point")
    if not isinstance(test, str):
        return "", None
    if not isinstance(entry, str) or not entry.isidentifier():
        return test, None
    if defines(test, "check") and not any(line.startswith("check(") for line in test.splitlines()):
        test = f"{test}\ncheck({entry})\n"
    return test, entry


def _grade(program: str, tests: Tests | None, results: list[Result]) -> CodeGrade:
    if tests is None:
        return CodeGrade(right=None)
    if not program:
        return CodeGrade(right=False)
    protections = results[0].protections if results else frozenset()
    return CodeGrade(right=tests.passed(results), forgeable=tests.forgeable, protections=protections)
