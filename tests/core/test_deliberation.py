"""The deliberation: the table, on which its three drivers agree, and what it refuses."""

from typing import Any

import pytest

from pyramid_core.commands import Accept
from pyramid_core.deliberation import Deliberation
from pyramid_core.errors import ContractError, InputError
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Answer, Context, Failure
from tests.core.scenarios import (
    RUNNERS,
    By,
    Chooses,
    Evident,
    Scenario,
    changed,
    history,
    run_replay,
    scenario,
    tokens_read,
)
from tests.core.table import GROUPS, MAJORITY, TABLE

LINES = [pytest.param(s, id=name) for name, s in TABLE.items()]


@pytest.mark.parametrize("driver", RUNNERS)
@pytest.mark.parametrize("s", LINES)
def test_a_scenario_has_this_history(driver, s):
    run = RUNNERS[driver](s)
    assert (history(run.machine), tokens_read(run.read)) == (s.history, s.read)


@pytest.mark.parametrize("s", LINES)
def test_the_drivers_agree_event_by_event(s):
    tasks, threads, replay = (run(s) for run in RUNNERS.values())
    assert tasks.log == threads.log
    assert tasks.log == replay.log


@pytest.mark.parametrize("s", LINES)
def test_the_drivers_give_the_reader_the_same(s):
    tasks, threads, replay = (run(s).read for run in RUNNERS.values())
    assert tasks == threads
    assert tasks == replay


def test_no_two_lines_have_one_name():
    assert len(TABLE) == sum(len(scenarios) for scenarios in GROUPS.values())


# What breaks the protocol is a programming error, whoever drives.

UNTIL_ORACLE = "escalate o"
BREACHES: list[tuple[str, Scenario, str]] = [
    (
        "an oracle that has been asked",
        scenario("", "a 1 x", "o 1 z", "", rule=By(UNTIL_ORACLE)),
        r"names oracle 'o'; open are \[\]",
    ),
    (
        "an oracle that does not exist",
        scenario("", "a 1 x", "o 1 z", "", rule=By("escalate p")),
        r"names oracle 'p'; open are \['o'\]",
    ),
    (
        "an oracle for a conversation that is pinned to the crowd",
        scenario("", "a 1 x", "o 1 z", "", rule=By(UNTIL_ORACLE), pinned="crowd"),
        r"names oracle 'o'; open are \[\]",
    ),
    (
        "an oracle where none may be asked",
        scenario("", "a 1 x", "o 1 z", "", rule=By(UNTIL_ORACLE), escalations=0),
        r"names oracle 'o'",
    ),
    ("WAIT when nothing is on its way", scenario("", "a 1 x", "o 1 z", "", rule=By("wait")), "says WAIT"),
    (
        "WAIT when it foresees the complete crowd",
        scenario("", "a 1 x; b 2 x", "o 1 z", "", rule=By("wait")),
        "says WAIT",
    ),
    (
        "a call that was never made",
        scenario("", "a 1 x", "o 1 z", "", router=Chooses(9), rule=By("accept")),
        "chose call 9",
    ),
    (
        "a call before the first",
        scenario("", "a 1 x", "o 1 z", "", router=Chooses(-1), rule=By("accept")),
        "chose call -1",
    ),
    (
        "a call that failed",
        scenario("", "a 1 x; b 2 !", "o 1 z", "", router=Chooses(1), rule=By("accept"), early_stop=None),
        "chose call 1",
    ),
    (
        "a call that is still running",
        scenario("", "a 1 x; b 2 x", "o 1 z", "", router=Chooses(1), rule=By("accept")),
        "chose call 1",
    ),
    (
        "a call that was cancelled",
        scenario(
            "",
            "a 1 x; b 2 x",
            "o 1 z",
            "",
            router=Chooses(1),
            rule=By("accept"),
            deadline=1.5,
            early_stop=None,
        ),
        "chose call 1",
    ),
    (
        "a solution that is no answer",
        scenario("", "a 1 x; b 2 x", "o 1 z", "", router=Chooses(9), watching=True),
        "chose call 9",
    ),
    (
        "nothing, from a member of the crowd",
        scenario("", "a 1 None; b 2 x", "o 1 z", ""),
        "member 'a' returned NoneType, not an Answer",
    ),
    (
        "nothing, from an oracle",
        scenario("", "a 1 x; b 1 y", "o 1 None", ""),
        "member 'o' returned NoneType, not an Answer",
    ),
    (
        "nothing, at the end of a stream",
        scenario("", "a 1 x; b 1 y", "o 1 ~p 1 None", "", listening=True),
        "member 'o' returned NoneType, not an Answer",
    ),
    (
        "a text that differs from its tokens",
        scenario("", "a 1 x; b 1 y", "o 1 ~p 1 q", "", listening=True),
        "member 'o' streamed a text that differs",
    ),
    (
        "a text that lacks a token",
        scenario("", "a 1 x; b 1 y", "o 1 ~p 1 ~q 1 p", "", listening=True),
        "member 'o' streamed a text that differs",
    ),
]


@pytest.mark.parametrize("driver", RUNNERS)
@pytest.mark.parametrize(("s", "message"), [pytest.param(s, m, id=name) for name, s, m in BREACHES])
def test_a_breach_of_the_protocol_is_a_programming_error(driver, s, message):
    with pytest.raises(ContractError, match=message) as caught:
        RUNNERS[driver](s)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("driver", ["tasks", "threads"])
def test_a_stream_without_an_answer_is_a_programming_error(driver):
    with pytest.raises(ContractError, match="member 'o' ended its stream without an Answer"):
        RUNNERS[driver](scenario("", "a 1 x; b 1 y", "o 1 ~p", "", listening=True))


# The machine by itself


def machine(**fields: Any) -> Deliberation:
    return scenario("", "a 1 x; b 1 x; c 1 x", "o 1 z", "", **{"rule": MAJORITY, **fields}).machine()


def said(text: str = "x") -> Answer:
    return Answer(text=text)


def test_what_comes_after_the_end_is_answered_with_nothing():
    m = machine()
    m.start(0.0, Context(deadline=9.0))
    m.answered(0, said(), 1.0)
    assert isinstance(m.answered(1, said(), 1.0)[-1], Accept)
    ended = m.log[:]
    assert m.answered(2, said(), 2.0) == []
    assert m.tick(9.0) == []
    assert m.interrupt("enough", 9.0) == []
    assert m.interrupt("left", 9.0) == []
    assert m.log == ended


@pytest.mark.parametrize("late", [said(), Failure(kind="Boom")])
def test_what_a_cancelled_call_still_brings_completes_the_bill_and_nothing_else(late):
    m = machine(rule=None)
    m.start(0.0, Context())
    m.answered(0, said("x"), 1.0)
    m.answered(1, said("y"), 1.0)
    before = m.trace
    event = m.answered if isinstance(late, Answer) else m.failed
    assert event(2, late, 2.0) == []
    cancelled = m.trace.calls[2]
    assert (cancelled.state, cancelled.result, cancelled.ended_at) == ("cancelled", late, 1.0)
    assert m.trace.judgements == before.judgements


def test_what_has_not_ended_is_not_settled():
    m = machine()
    assert (m.settled, m.trace.end, m.trace.settled) == (False, "", False)
    m.start(0.0, Context())
    assert (m.settled, m.trace.end, m.trace.settled) == (False, "", False)


def test_a_call_ends_once():
    m = machine()
    m.start(0.0, Context())
    m.answered(0, said(), 1.0)
    with pytest.raises(ContractError, match=r"call 0 .* has ended already"):
        m.answered(0, said(), 2.0)


def test_only_a_released_call_can_begin():
    m = machine()
    m.start(0.0, Context(listening=True))
    with pytest.raises(ContractError, match="call 0 began without having been released"):
        m.began(0, 0.5)


def test_a_pin_to_nobody_is_named():
    with pytest.raises(InputError, match=r"pinned must be 'crowd' or one of \['o'\], not 'p'"):
        machine().start(0.0, Context(pinned="p"))


def test_a_trace_of_an_accepted_query_tells_who_was_asked_why_and_what_became_of_it():
    s = TABLE["speculation: not needed: cancelled"]
    trace = run_replay(s).trace
    assert [(c.who, c.role, c.purpose, c.state, c.asked_at, c.ended_at) for c in trace.calls] == [
        ("a", "crowd", "policy", "done", 0.0, 1.0),
        ("b", "crowd", "policy", "done", 0.0, 2.0),
        ("c", "crowd", "policy", "done", 0.0, 3.0),
        ("o", "oracle", "speculation", "cancelled", 2.0, 3.0),
    ]
    assert (trace.end, trace.reason, trace.answered, trace.at, trace.settled) == (
        "accept",
        "decided",
        1,
        3.0,
        True,
    )


@pytest.mark.parametrize(
    ("name", "judged"),
    [
        ("tiers: two escalations", [(1, "escalate", False), (2, "escalate", True), (3, "accept", True)]),
        (
            "deadlines: in the crowd phase: the best so far",
            [(1, "escalate", False), (2, "escalate", False), (2.5, "accept", False)],
        ),
        (
            "deadlines: in the oracle phase: the crowd's answer",
            [(1, "escalate", False), (2, "escalate", False), (4, "accept", False)],
        ),
        (
            "watchers: the same solution is not offered again",
            [(1, "escalate", False), (2, "escalate", False), (3, "accept", True)],
        ),
        ("evidence: a deadline while gathering: the best so far", [(3, "escalate", False)]),
        (
            "speculation: done before the verdict: hidden, then at hand",
            [
                (1, "escalate", False),
                (2, "escalate", False),
                (2.5, "escalate", False),
                (3, "escalate", False),
                (3, "accept", True),
            ],
        ),
    ],
)
def test_a_trace_tells_each_moment_of_judgement_once(name, judged):
    trace = run_replay(TABLE[name]).trace
    assert [(j.at, str(j.decision.verdict), j.after_oracle) for j in trace.judgements] == judged


@pytest.mark.parametrize(
    "name",
    [
        "exploration: on accepting: the oracle is asked for the record",
        "exploration: an early oracle goes on",
        "exploration: an early oracle has answered: it need not be asked again",
    ],
)
def test_an_explored_oracle_is_recorded_as_such_with_its_answer(name):
    oracle = run_replay(TABLE[name]).trace.calls[3]
    assert (oracle.role, oracle.purpose, oracle.state) == ("oracle", "exploration", "done")
    assert isinstance(oracle.result, Answer)


@pytest.mark.parametrize("driver", RUNNERS)
def test_a_bug_of_an_exploring_call_is_a_failure_in_its_record(driver):
    run = RUNNERS[driver](TABLE["exploration: it has a bug, which nobody waits for any more"])
    assert run.trace.settled
    assert run.trace.calls[3].result.kind == "ContractError"


def test_the_first_token_is_recorded_when_it_goes_out_not_when_it_comes():
    trace = run_replay(TABLE["speculation: streaming: what came is held until the verdict"]).trace
    assert trace.began == 3
    assert trace.calls[3].first_token_at == 4.0


def test_a_gather_is_not_about_an_early_oracle_s_answer():
    trace = run_replay(TABLE["evidence: not of an early oracle's answer"]).trace
    assert [c.over for c in trace.calls if c.role == "gather"] == [(0, 1, 2)]


def test_a_gather_is_recorded_with_what_it_was_about():
    trace = run_replay(TABLE["evidence: under fusion: again over the oracle's answer too"]).trace
    assert [(c.who, c.over, c.result) for c in trace.calls if c.role == "gather"] == [
        ("kind", (0, 1), 0.9),
        ("kind", (0, 1, 3), 0.9),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "sequences: patience ends: the others are never asked",
        "sequences: two differ: the third is never asked either",
        "patience: the slow are cut and the verdict falls without them",
    ],
)
def test_who_was_cut_or_never_asked_is_not_pending(name):
    pending = []

    class Looks(AgreementRouter):
        def assess(self, observation):
            pending.append(observation.pending)
            return super().assess(observation)

    run_replay(changed(TABLE[name], router=Looks()))
    assert pending[-1] == ()


def test_missing_evidence_is_missing_not_zero():
    seen = []

    class Looks(Evident):
        def assess(self, observation):
            seen.append(dict(observation.evidence))
            return super().assess(observation)

    run_replay(changed(TABLE["evidence: failing: it is missing"], router=Looks("kind")))
    assert all(evidence == {} for evidence in seen)


@pytest.mark.parametrize("s", LINES)
def test_ticks_in_between_change_nothing(s):
    """Level-triggered: what follows from the facts has followed already."""
    plain, ticked = run_replay(s), run_replay(s, ticking=True)
    assert [e for e in ticked.log if e[1] != "tick" or e[3]] == [
        e for e in plain.log if e[1] != "tick" or e[3]
    ]
