"""Four laws, on random scenarios and on those of the table.

1. The three drivers' logs are equal, event by event. 2. A slow reader changes nothing. 3. A trace replays exactly, also
from another start time. 4. Every started call ends, is cancelled or is abandoned in the record.

Times are drawn from a small grid, so that ties are frequent; answers from a small set, so that agreement is.
"""

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping
from math import isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_core._drive import ReplayConductor, recording
from pyramid_core.commands import Ask, Cancel, Gather, Offer
from pyramid_core.decision import EscalationRule, ThresholdRule
from pyramid_core.deliberation import Deliberation
from pyramid_core.errors import PyramidAbstained, PyramidFailed
from pyramid_core.pyramid import Pyramid, Recorded
from pyramid_core.records import record_to_trace, trace_to_record
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import (
    NAN,
    Answer,
    Assessment,
    Context,
    Decision,
    Foreseen,
    Observation,
    Options,
    Outcome,
    Policy,
    Trace,
    Verdict,
)
from tests.core.scenarios import (
    Boom,
    Run,
    Scenario,
    Tok,
    beside_tasks,
    beside_threads,
    changed,
    on_replay,
    on_tasks,
    on_threads,
)
from tests.core.table import TABLE

BINARY = (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)
DECIMAL = (0.0, 0.1, 0.2, 0.3, 0.7, 1.1)
LINES = [pytest.param(s, id=name) for name, s in TABLE.items()]


# Routers and rules that say anything, but the same to everybody


def drawn(*facts: Any) -> int:
    return zlib.crc32(repr(facts).encode())


class Whims(AgreementRouter):
    """The plurality stands; p_fail and foresight are drawn from what is observed."""

    def __init__(self, seed: int, kinds: tuple[str, ...], *, fuses: bool) -> None:
        super().__init__()
        self._seed, self._kinds, self._fuses = seed, kinds, fuses

    evidence = property(lambda self: self._kinds)
    fuses = property(lambda self: self._fuses)

    def draw(self, observation: Observation, what: str) -> int:
        replies = [(r.call, r.who, getattr(r.result, "text", None)) for r in observation.replies]
        return drawn(self._seed, what, replies, sorted(observation.evidence.items()), observation.pending)

    def assess(self, observation: Observation) -> Assessment:
        p_fail = (0.0, 0.3, 0.6, 1.0, NAN)[self.draw(observation, "p_fail") % 5]
        return dataclasses.replace(super().assess(observation), p_fail=p_fail)

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        draw = self.draw(observation, "foresight")
        if draw % 4 == 0:
            return {}
        found: dict[Foreseen, float] = {}
        ways = 1 + draw % 3
        for way in range(ways):
            seen = dataclasses.replace(super().assess(observation), p_fail=(0.1, 0.5, 0.9)[(draw + way) % 3])
            decision = decide(seen)
            outcome = Foreseen(verdict=decision.verdict, oracle=decision.oracle, same=(draw + way) % 5 > 0)
            found[outcome] = found.get(outcome, 0.0) + 1.0 / ways
        return found


class Moods:
    """A rule that draws a verdict from those that are allowed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def resolved(self, router: Any) -> "Moods":
        return self

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        said = [(Verdict.ACCEPT, None), (Verdict.ACCEPT, None), (Verdict.ABSTAIN, None)]
        said += [(Verdict.ESCALATE, oracle) for oracle in options.oracles] * 2
        if options.may_wait:
            said.append((Verdict.WAIT, None))
        p_fail = None if isnan(assessment.p_fail) else assessment.p_fail
        draw = drawn(self._seed, assessment.chosen, p_fail, options.oracles, options.may_wait)
        verdict, oracle = said[draw % len(said)]
        return Decision(verdict=verdict, oracle=oracle, reason="enough of it")


# Random scenarios


def parts(moments: tuple[float, ...], *, bugs: bool) -> st.SearchStrategy[list[tuple[float, Any]]]:
    moment = st.sampled_from(moments)
    tokens = st.lists(st.tuples(moment, st.sampled_from("pq").map(Tok)), max_size=2)
    ends = [st.sampled_from(("x", "x", "y", "z", "")), st.builds(Boom, st.just("bad luck"))]
    if bugs:
        ends.append(st.builds(TypeError, st.just("bug")))
    plain = st.tuples(moment, st.one_of(*ends)).map(lambda end: [end])
    broken = st.tuples(tokens, moment).map(lambda p: [*p[0], (p[1], Boom("broke off"))])
    streamed = st.tuples(tokens, moment).map(lambda p: [*p[0], (p[1], None)])
    return st.one_of(plain, plain, streamed, broken)


def policies() -> st.SearchStrategy[Policy]:
    some = st.sampled_from
    return st.builds(
        Policy,
        width=some((None, None, 1, 2)),
        early_stop=some((0.0, 0.0, None, 0.4)),
        ask_before=st.booleans(),
        speculate=some((None, 0.0, 0.3, 0.6)),
        fuse=st.booleans(),
        fuse_streams=st.booleans(),
        escalations=some((1, 1, 2, 0)),
        patience=some((None, None, 1.0, 2.0)),
        gather_patience=some((0.5, 1.0, 2.0)),
        on_abstain=some(("raise", "answer")),
    )


@st.composite
def scenarios(
    draw: Any, moments: tuple[float, ...] = BINARY, *, bugs: bool = False, interrupts: bool = True
) -> Scenario:
    crowd = {name: draw(parts(moments, bugs=bugs)) for name in "abcd"[: draw(st.integers(1, 4))]}
    oracles = {name: draw(parts(moments, bugs=bugs)) for name in ("o", "p")[: draw(st.integers(1, 2))]}
    kinds = draw(st.sampled_from(((), (), ("near",), ("near", "far"))))
    value = st.one_of(st.sampled_from((0.1, 0.9)), st.just(Boom("no model")))
    seed = draw(st.integers(0, 10_000))
    calls = st.tuples(st.sampled_from(moments), st.sampled_from(("enough", "left", "error")))
    return Scenario(
        name="drawn",
        crowd=crowd,
        oracles=oracles,
        history="",
        router=draw(
            st.one_of(
                st.just(AgreementRouter()),
                st.builds(Whims, st.just(seed), st.just(kinds), fuses=st.booleans()),
            )
        ),
        rule=draw(
            st.sampled_from(
                (ThresholdRule(0.0), ThresholdRule(0.4), EscalationRule(c_esc=0.5), Moods(seed), Moods(seed))
            )
        ),
        policy=draw(policies()),
        context=draw(
            st.builds(
                Context,
                deadline=st.sampled_from((None, None, *moments[1:])),
                explore=st.booleans(),
                pinned=st.sampled_from((None, None, None, None, "crowd", "o")),
                listening=st.booleans(),
                watching=st.booleans(),
            )
        ),
        plain=tuple(name for name in (*crowd, *oracles) if draw(st.integers(0, 4)) == 0),
        evidence={kind: (draw(st.sampled_from(moments)), draw(value)) for kind in kinds},
        interrupts=(draw(calls),) if interrupts and draw(st.integers(0, 3)) == 0 else (),
    )


def without_late_news(trace: Trace) -> dict[str, Any]:
    """The trace as a record; what an abandoned call still brought depends on the driver."""
    calls = tuple(
        dataclasses.replace(call, result=None) if call.state == "cancelled" else call for call in trace.calls
    )
    return trace_to_record(dataclasses.replace(trace, calls=calls))


def log_of(run: Run) -> str:
    """The log as text, in which NaN equals NaN."""
    return "\n".join(map(repr, run.log))


# 1. The three drivers agree


@settings(max_examples=400)
@given(scenarios(bugs=True))
def test_the_three_drivers_agree_event_by_event(s):
    tasks, threads, replay = on_tasks(s), on_threads(s), on_replay(s)
    assert type(tasks.error) is type(threads.error) is type(replay.error)
    if isinstance(tasks.error, TypeError):  # A replay has nothing to clean up.
        assert log_of(tasks) == log_of(threads)
        assert log_of(tasks).startswith(log_of(replay))
    else:
        assert log_of(tasks) == log_of(threads) == log_of(replay)
        assert without_late_news(tasks.trace) == without_late_news(threads.trace)
        assert without_late_news(tasks.trace) == without_late_news(replay.trace)
    assert tasks.answer == threads.answer == replay.answer
    assert repr(tasks.read) == repr(threads.read) == repr(replay.read)


# 2. A slow reader changes nothing


def read_of(run: Run) -> list[str]:
    return [repr(item) for _, item in run.read if not isinstance(item, Outcome)]


@settings(max_examples=150)
@given(scenarios(interrupts=False), st.sampled_from((0.0, 0.5, 3.0, 50.0)))
def test_a_slow_reader_changes_nothing(s, pause):
    alone = on_replay(s)
    for beside in (beside_tasks(s, pause), beside_threads(s, pause)):
        assert log_of(beside) == log_of(alone)
        assert read_of(beside) == read_of(alone)
        assert type(beside.error) is type(alone.error)


@pytest.mark.parametrize("beside", [beside_tasks, beside_threads])
@pytest.mark.parametrize(
    "s", [pytest.param(s, id=n) for n, s in TABLE.items() if s.read and not s.interrupts]
)
def test_a_slow_reader_changes_nothing_in_the_table(beside, s):
    run = beside(s, 10.0)
    assert log_of(run) == log_of(on_replay(s))
    assert read_of(run) == read_of(on_replay(s))


# 3. A trace replays exactly


def replayed(s: Scenario, record: Any) -> Trace:
    pyramid = Pyramid(
        crowd=[Recorded(name) for name in s.crowd],
        oracle=[Recorded(name) for name in s.oracles],
        router=s.router,
        rule=s.rule,
        policy=s.policy,
        gatherers=dict.fromkeys(s.evidence, lambda _: None),
    )
    try:
        return pyramid.replay(record).trace
    except (PyramidFailed, PyramidAbstained) as error:
        return error.trace


def replayed_from(s: Scenario, trace: Trace, start: float) -> Deliberation:
    told = recording(trace)
    machine = s.machine()
    conductor = ReplayConductor(machine, {}, script=told.script, interrupts=told.interrupts, start=start)
    try:
        conductor.run(trace.context)
    except (PyramidFailed, PyramidAbstained):
        pass
    return machine


@settings(max_examples=250)
@given(scenarios(DECIMAL))
def test_a_trace_replays_exactly(s):
    trace = on_tasks(s).trace
    assert trace_to_record(replayed(s, trace)) == trace_to_record(trace)


@settings(max_examples=150)
@given(scenarios(DECIMAL))
def test_a_trace_replays_exactly_from_its_record(s):
    trace = on_threads(s).trace
    record = json.loads(json.dumps(trace_to_record(trace), allow_nan=False))
    assert without_late_news(replayed(s, record)) == without_late_news(record_to_trace(record))


@settings(max_examples=150)
@given(scenarios(BINARY), st.sampled_from((0.25, 1024.0, 2.0**30)))
def test_a_trace_replays_exactly_from_another_start(s, start):
    run = on_replay(s)
    again = replayed_from(s, run.trace, start)
    assert without_late_news(again.trace) == without_late_news(run.trace)


@settings(max_examples=150)
@given(scenarios(DECIMAL), st.sampled_from((0.1, 1000.7)))
def test_the_same_is_decided_from_another_start_whatever_is_rounded(s, start):
    """Ties stay ties, so that the same follows in the same order."""
    run = on_replay(s)
    again = replayed_from(s, run.trace, start)

    def story(log: Any) -> list[Any]:
        return [(e.event, e.call, [type(c).__name__ for c in e.commands]) for e in log]

    assert story(again.log) == story(run.machine.log)


@settings(max_examples=150)
@given(scenarios(BINARY), st.sampled_from((0.25, 1024.0, 2.0**30)))
def test_a_query_does_not_depend_on_when_it_starts(s, start):
    here, there = on_replay(s), on_replay(s, start=start)

    def shifted(run: Run) -> list[tuple[float, str]]:
        return [(at - start, repr(item)) for at, item in run.read]

    assert [e[:3] for e in here.log] == [e[:3] for e in there.log]
    assert without_late_news(here.trace) == without_late_news(there.trace)
    assert shifted(there) == [(at, repr(item)) for at, item in here.read]


@pytest.mark.parametrize("s", LINES)
def test_every_line_of_the_table_replays_exactly(s):
    s = changed(s, rule=(s.rule or ThresholdRule()).resolved(s.router))
    trace = on_tasks(s).trace
    record = json.loads(json.dumps(trace_to_record(trace), allow_nan=False))
    assert trace_to_record(replayed(s, trace)) == trace_to_record(trace)
    assert trace_to_record(replayed(s, record)) == trace_to_record(trace)


# 4. Every call has an end


def assert_all_is_accounted_for(run: Run) -> None:
    commands = [command for entry in run.machine.log for command in entry.commands]
    calls = run.trace.calls
    assert [c.call for c in calls] == [c.call for c in commands if isinstance(c, Ask | Gather)]
    assert {c.call for c in calls if c.state == "cancelled"} == {
        c.call for c in commands if isinstance(c, Cancel)
    }
    assert run.trace.settled
    assert all(c.state in ("done", "cancelled") and c.ended_at is not None for c in calls)
    assert all(c.result is not None for c in calls if c.state == "done")
    assert all(c.asked_at <= c.ended_at for c in calls)
    for name, member in run.members.items():
        assert member.over == member.asked <= sum(c.who == name for c in calls)


@settings(max_examples=300)
@given(scenarios(bugs=True), st.sampled_from((on_tasks, on_threads)))
def test_every_started_call_has_an_end(s, driver):
    run = driver(s)
    if isinstance(run.error, TypeError):
        assert (run.trace.end, run.trace.settled) == ("fail", True)
        assert all(member.over == member.asked for member in run.members.values())
    else:
        assert_all_is_accounted_for(run)


@pytest.mark.parametrize("driver", [on_tasks, on_threads])
@pytest.mark.parametrize("s", LINES)
def test_every_call_of_the_table_has_an_end(s, driver):
    assert_all_is_accounted_for(driver(s))


# And what holds of every query


@settings(max_examples=150)
@given(scenarios())
def test_what_is_returned_is_an_answer_that_was_given(s):
    run = on_replay(s)
    if run.answer is not None:
        answered = run.trace.calls[run.trace.answered]
        assert answered.result == run.answer
        assert isinstance(run.answer, Answer)
        assert answered.ended_at <= run.trace.at
        assert (answered.role, answered.state) in (("crowd", "done"), ("oracle", "done"))


@settings(max_examples=150)
@given(scenarios())
def test_what_went_out_is_the_answer_and_is_never_taken_back(s):
    run = on_replay(changed(s, context=dataclasses.replace(s.context, listening=True)))
    text = "".join(item.text for _, item in run.read if not isinstance(item, Offer))
    if run.answer is not None:
        assert text == run.answer.text
    elif isinstance(run.error, PyramidFailed):
        assert text == run.error.partial_text
    else:
        assert text == ""


@settings(max_examples=150)
@given(scenarios())
def test_no_deadline_is_overrun(s):
    run = on_replay(s)
    if s.context.deadline is not None:
        assert run.trace.at <= s.context.deadline


@settings(max_examples=150)
@given(scenarios())
def test_no_more_oracles_answer_for_a_verdict_than_may(s):
    run = on_replay(s)
    answered = [
        c
        for c in run.trace.calls
        if c.role == "oracle" and c.purpose == "policy" and isinstance(c.result, Answer) and c.state == "done"
    ]
    assert len(answered) <= max(s.policy.escalations, 0)
