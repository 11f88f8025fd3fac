"""Agreement by what programs do: candidates run on the same inputs, and those with the same outputs are one class.

Two programs seldom share their text, so textual agreement says little about code. What they return on the examples of
the question, and on inputs varied from these (`pyramid_core.evidence.inputs`), says more. Nothing but the question is
used: no hidden test, no reference solution. What the question says an example should return is kept apart from
the outputs (`visible`), so that its worth can be measured.

An input on which most programs raise an exception is taken for one that the question does not mean, and is left out.

Running programs that models wrote is the user's decision (`run_code=True`); `docs/sandbox.md` says what protects them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Protocol

from pyramid_core.equivalence import behaviour_key
from pyramid_core.errors import InputError
from pyramid_core.evidence.cache import BehaviourCache, key_for
from pyramid_core.evidence.inputs import Example, asserts_of, examples_of, varied
from pyramid_core.sandbox import (
    FUNCTION_NAMES,
    Call,
    Job,
    Limits,
    Opaque,
    Result,
    Sandbox,
    Tests,
    defines,
    program_of,
    split,
    with_imports,
)
from pyramid_core.text import value_form
from pyramid_core.types import Answer, Query

LIMITS = Limits(seconds=1.0, cpu_seconds=10, restarts=0)
"""Evidence is worth little time: whoever waits for it waits for two seconds (`Policy.gather_patience`)."""

_CALLED = re.compile(r"([A-Za-z_]\w*)\(")

PASSES, FAILS, CANNOT_RUN = "passes", "fails", "cannot run"


class Asked(Protocol):
    """What a gatherer is given: the question and the answers."""

    @property
    def query(self) -> Query:
        """What was asked."""
        ...

    @property
    def answers(self) -> tuple[Answer, ...]:
        """What came."""
        ...


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What one program does.

    Attributes:
        signature: its output on each input that counts: a value's normal form, or the kind of its end; empty where
            it gave no value at all.
        visible: whether what the question says of its examples holds: passes, fails, cannot run; None where it
            says nothing.
        ran: on how many of the inputs it gave a value.
    """

    signature: tuple[str, ...]
    visible: str | None
    ran: int

    def as_json(self) -> dict[str, Any]:
        """As it is stored in a trace."""
        return {"signature": list(self.signature), "visible": self.visible, "ran": self.ran}


class BehaviourGatherer:
    """Computes the evidence `behaviour` for a set of answers.

    Args:
        run_code: must be True: running what models wrote is the user's decision.
        sandbox: what runs it; None: one with this module's limits.
        examples: further tests that belong to a question (a record's `visible_tests`), from the query.
        inputs: on how many inputs each program is run.
        seed: of the variations.
        cache: where what programs did is kept, so that each is run once; None: nothing is kept.

    Raises:
        InputError: `run_code` is not True.
    """

    def __init__(
        self,
        *,
        run_code: bool,
        sandbox: Sandbox | None = None,
        examples: Callable[[Query], Sequence[str]] | None = None,
        inputs: int = 12,
        seed: int = 0,
        cache: BehaviourCache | None = None,
    ) -> None:
        if run_code is not True:
            raise InputError(
                "evidence from behaviour runs programs that models wrote, which is your decision: pass run_code=True "
                "(--run-code)"
            )
        self.sandbox = sandbox or Sandbox(limits=LIMITS, workers=4)
        self.examples = examples
        self.inputs = inputs
        self.seed = seed
        self.cache = cache

    def __call__(self, gather: Asked) -> dict[str, Any]:
        """The evidence as plain JSON: the place of each answer (as a string) -> its behaviour.

        Raises:
            SandboxError: programs cannot be run here.
        """
        extra = self.examples(gather.query) if self.examples else ()
        found = self.behaviours([answer.text for answer in gather.answers], gather.query.text, extra)
        return {str(at): behaviour.as_json() for at, behaviour in enumerate(found)}

    def behaviours(
        self, answers: Sequence[str], question: str, visible_tests: Sequence[str] = ()
    ) -> list[Behaviour]:
        """What the programs in some answers do, on inputs taken from the question.

        Args:
            answers: whole texts.
            question: what was asked; its asserts and doctests are examples.
            visible_tests: asserts that belong to the question but do not stand in it.

        Returns:
            one behaviour an answer, in order; without examples there is nothing to run, and all are empty.

        Raises:
            SandboxError: programs cannot be run here.
        """
        sources = list(dict.fromkeys([*visible_tests, *asserts_of(question)]))
        name = _tested(sources)
        programs = [program_of(text, name, question) for text in answers]
        own = [word for word in FUNCTION_NAMES if any(defines(program, word) for program in programs)]
        tests = {source: test for source in sources if (test := split(source, own=own)) is not None}
        trial = _Trial(tests, self._variations(list(tests.values())))
        tried = self._tried(trial, list(dict.fromkeys(programs)) if trial.calls else [])
        outputs = [tried[program].outputs if program in tried else [] for program in programs]
        counted = _counted(outputs, trial.kept)
        nothing = trial.tried(())
        return [trial.behaviour(tried.get(program, nothing), counted) for program in programs]

    def _tried(self, trial: _Trial, programs: Sequence[str]) -> dict[str, _Tried]:
        """What each program did: known from the cache, or found out now."""
        keys = {program: trial.key(program, self.sandbox.limits) for program in programs}
        known = self.cache.get(keys.values()) if self.cache else {}
        new = [program for program in programs if keys[program] not in known]
        ran = zip(new, self.sandbox.run_many(map(trial.job, new)), strict=True) if new else ()
        fresh = {program: trial.tried(results) for program, results in ran}
        if self.cache and fresh:
            self.cache.put({keys[program]: asdict(tried) for program, tried in fresh.items()})
        return {p: fresh[p] if p in fresh else _Tried(**known[keys[p]]) for p in programs}

    def _variations(self, tests: Sequence[Tests]) -> list[Example]:
        """As many variations of the tests' examples, in turn, as make up the number of inputs."""
        examples = examples_of(tests)
        if not examples or len(examples) >= self.inputs:
            return []
        left = self.inputs - len(examples)
        each = [varied(example, left, self.seed) for example in examples]
        return [example for row in zip_longest(*each) for example in row if example is not None][:left]


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What came of one program: an output for each input, and whether the visible tests hold."""

    outputs: list[str]
    visible: str | None


class _Trial:
    """What every program is run on, and what the results mean: the visible tests, then variations of their inputs.

    The tests come first: on a variation a program may not end.
    """

    def __init__(self, tests: Mapping[str, Tests], variations: Sequence[Example]) -> None:
        self.sources, self.tests = list(tests), list(tests.values())
        self.calls = [call for test in self.tests for call in test.calls]
        self._inputs = [at for at, call in enumerate(self.calls) if call.kind == "eval"]
        self.kept = len(self._inputs)
        self._inputs += range(len(self.calls), len(self.calls) + len(variations))
        self.calls += [Call.of(example.name, *example.args) for example in variations]

    def job(self, program: str) -> Job:
        """One program's run."""
        return Job(program=with_imports(program), calls=self.calls if program else ())

    def key(self, program: str, limits: Limits) -> str:
        """Of a program in the cache."""
        calls = [(call.source, call.kind, call.again) for call in self.calls]
        parts = {"program": program, "calls": calls, "tests": self.sources, "limits": asdict(limits)}
        return key_for(parts)

    def tried(self, results: Sequence[Result]) -> _Tried:
        """What came of a program; nothing where there was none."""
        outputs = [output_of(results[at]) for at in self._inputs] if results else []
        return _Tried(outputs=outputs, visible=self._visible(results))

    def behaviour(self, tried: _Tried, counted: list[int]) -> Behaviour:
        """What the program does."""
        ran = sum(map(_is_value, tried.outputs))
        signature = tuple(tried.outputs[at] for at in counted) if ran else ()
        return Behaviour(signature=signature, visible=tried.visible, ran=ran)

    def _visible(self, results: Sequence[Result]) -> str | None:
        if not self.tests:
            return None
        at, verdicts = 0, []
        for test in self.tests:
            part = results[at : at + len(test.calls)]
            at += len(test.calls)
            if not part or any(r.status == "cannot run" or r.error == "NameError" for r in part):
                return CANNOT_RUN
            verdicts.append(test.passed(part))
        return PASSES if all(verdicts) else FAILS


def _tested(sources: Sequence[str]) -> str | None:
    """The name of the function that the tests call first."""
    tests = [test for source in sources if (test := split(source, own=FUNCTION_NAMES)) is not None]
    for call in (call for test in tests for call in test.calls if call.kind == "eval"):
        found = _CALLED.match(call.source)
        if found:
            return found[1]
    return None


def output_of(result: Result) -> str:
    """A result in one word, the same for outputs that are the same: equal values, or ends of one kind."""
    if result.status == "value":
        return value_form(_rounded(result.value))[:4000]
    return f"{result.status}: {result.error}" if result.error else result.status


def classes_of(behaviours: Sequence[Mapping[str, Any] | Behaviour]) -> list[tuple[int, ...]]:
    """The places of programs that do the same, the largest class first, then the one with the earliest program."""
    groups: dict[str, list[int]] = {}
    for at, behaviour in enumerate(behaviours):
        key = key_of(behaviour)
        if key is not None:
            groups.setdefault(key, []).append(at)
    return [tuple(places) for places in sorted(groups.values(), key=lambda places: (-len(places), places[0]))]


def key_of(behaviour: Mapping[str, Any] | Behaviour) -> str | None:
    """The name of the class that a behaviour belongs to; None: it did nothing, so it has no vote."""
    signature = behaviour.signature if isinstance(behaviour, Behaviour) else behaviour["signature"]
    return behaviour_key(signature)


def _counted(outputs: Sequence[Sequence[str]], kept: int) -> list[int]:
    """The inputs that count: the examples, and those on which at least half of the programs give a value."""
    running = [each for each in outputs if any(_is_value(output) for output in each)]
    count = max(map(len, running), default=0)
    good = Counter(at for each in running for at, output in enumerate(each) if _is_value(output))
    return [at for at in range(count) if at < kept or 2 * good[at] >= len(running)]


def _is_value(output: str) -> bool:
    return not output.startswith(("error", "timed out", "cannot run"))


def _rounded(value: Any) -> Any:
    """The value with numbers to ten digits, so that two ways to add up the same are the same."""
    match value:
        case float():
            return float(f"{value:.10g}")
        case complex():
            return complex(_rounded(value.real), _rounded(value.imag))
        case list() | tuple() | set() | frozenset():
            return type(value)(_rounded(item) for item in value)
        case dict():
            return {_rounded(key): _rounded(item) for key, item in value.items()}
        case Opaque():
            return f"object {value.kind}"
    return value
