"""What is kept of a query: its calls, the moments of judgement, the trace and the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pyramid_core.types.answers import NAN, Answer, Query, Role
from pyramid_core.types.judging import Assessment, Decision
from pyramid_core.types.settings import Context, Policy

Purpose = Literal["policy", "speculation", "exploration"]
CallState = Literal["running", "done", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """One call as the trace keeps it; times are seconds from the start.

    Attributes:
        call: its number.
        role: crowd, oracle or gather.
        who: the member, or the kind of evidence.
        purpose: why it was asked.
        state: how it ended.
        result: the answer or failure; the evidence of a gather; None where nothing came.
        asked_at: when it was asked.
        first_token_at: when its first token went out to the caller.
        ended_at: when its result came or it was cancelled.
        over: the calls that a gather was about.
    """

    call: int
    role: Role
    who: str
    purpose: Purpose
    state: CallState
    result: Any
    asked_at: float
    first_token_at: float | None = None
    ended_at: float | None = None
    over: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One moment at which the rule was asked.

    Attributes:
        at: seconds from the start.
        assessment: what the router said.
        decision: what the rule made of it.
        after_oracle: whether an oracle that a verdict had asked for had answered or failed by then.
    """

    at: float
    assessment: Assessment
    decision: Decision
    after_oracle: bool = False


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Everything that happened to one query.

    Attributes:
        query: what was asked.
        crowd: the crowd's names in order.
        oracles: the oracles' names in order.
        router: the router's id.
        policy: as the pyramid has it.
        context: as it was frozen at the start.
        calls: every call, in order.
        judgements: every moment at which the rule was asked.
        end: accept, abstain, fail, or "" while it is running.
        reason: decided, deadline, enough, fallback or abstained; or the reason for abstaining or failing.
        answered: the call whose answer was returned.
        at: seconds from the start to the end.
        settled: no call is running any more: the bill is complete.
        began: the call whose tokens went out live.
    """

    query: Query
    crowd: tuple[str, ...]
    oracles: tuple[str, ...]
    router: str
    policy: Policy
    context: Context
    calls: tuple[CallRecord, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    end: str = ""
    reason: str = ""
    answered: int | None = None
    at: float = NAN
    settled: bool = False
    began: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a pyramid returns: the answer as if one model had given it, and the trace of how it came about."""

    answer: Answer
    trace: Trace
