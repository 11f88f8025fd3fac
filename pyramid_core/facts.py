"""What is so in one query, and what can be derived from it; what follows is in `deliberation`.

An event writes one fact into one `Call`. The phase, what is pending, which oracles are open, the errors and the
trace are never stored: they are read off the calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from pyramid_core.commands import Accept, Command, End, Logged
from pyramid_core.types import (
    NAN,
    Answer,
    Assessment,
    CallRecord,
    CallState,
    Context,
    Decision,
    Failure,
    Judgement,
    Observation,
    Policy,
    Purpose,
    Query,
    Reply,
    Role,
    Router,
    Rule,
    Trace,
)


@dataclass(kw_only=True, slots=True)
class Call:
    """One call's facts. `heeded` is False for an oracle that started early and that no verdict has asked for."""

    number: int
    role: Role
    who: str
    purpose: Purpose
    asked: float
    state: CallState = "running"
    result: Any = None
    ended: float | None = None
    first_token: float | None = None
    heeded: bool = True
    over: tuple[int, ...] = ()
    told: Reply | None = None

    @property
    def reply(self) -> Reply:
        """What observations hold of it: one object for all of them, since it no longer changes."""
        if self.told is None:
            self.told = Reply(call=self.number, role=self.role, who=self.who, result=self.result)
        return self.told

    @property
    def failed(self) -> bool:
        """Whether it failed while it mattered; what a cancelled call still brings only completes the bill."""
        return self.state == "done" and isinstance(self.result, Failure)


class Facts:
    """What is so: the calls of one query and everything that can be derived from them.

    Args:
        query: what is asked.
        crowd: the names of the crowd's members, in order.
        oracles: the names of the oracles, in order.
        router: assesses observations.
        rule: turns assessments into verdicts.
        policy: when the rule is asked and what runs meanwhile.
    """

    def __init__(
        self,
        query: Query,
        crowd: tuple[str, ...],
        oracles: tuple[str, ...],
        router: Router,
        rule: Rule,
        policy: Policy,
    ) -> None:
        self.query = query
        self.crowd = crowd
        self.oracles = oracles
        self.router = router
        self.rule = rule
        self.policy = policy
        self.context = Context()
        self.calls: list[Call] = []
        self.judgements: list[Judgement] = []
        self.cut = False
        self.live: int | None = None
        self.end: End | None = None
        self.ended = NAN
        self.log: list[Logged] = []
        self._start = 0.0
        self._ticked = -inf
        self._alarm = inf
        self._offered: int | None = None
        self._out: list[Command] = []
        self._facts = 0
        self._kept: dict[Any, Any] = {}
        self._observed: tuple[int, Observation] | None = None
        self._judged: tuple[tuple[int, bool], Judgement] | None = None

    @property
    def settled(self) -> bool:
        """Whether no call is running any more, so that the bill is complete."""
        return self.end is not None and not any(c.state == "running" for c in self.calls)

    @property
    def begun(self) -> bool:
        """Whether text of the released call has gone out."""
        return self.live is not None and self.calls[self.live].first_token is not None

    @property
    def fusing(self) -> bool:
        """Whether an oracle's answer joins the classes in this query."""
        policy = self.policy
        return policy.fuse and self.router.fuses and (policy.fuse_streams or not self.context.listening)

    def observation(self) -> Observation:
        """What a router may look at now; the same object as long as no fact has changed."""
        if self._observed is None or self._observed[0] != self._facts:
            self._observed = (self._facts, self._observe())
        return self._observed[1]

    def _observe(self) -> Observation:
        heard = [c for c in self.calls if c.state == "done" and c.heeded]
        replies = tuple([c.reply for c in heard if c.role != "gather"])
        gathered = [c for c in heard if c.role == "gather" and not isinstance(c.result, Failure)]
        over = self._answers() if gathered else ()
        evidence = {c.who: c.result for c in gathered if c.over == over}
        waiting = () if self._complete() else tuple(c.who for c in self._running("crowd")) + self._unasked()
        return Observation(
            query=self.query,
            crowd=self.crowd,
            replies=replies,
            pending=waiting,
            oracles=self.oracles,
            fused=self.fusing,
            evidence=evidence,
            kept=self._kept,
        )

    def _running(self, role: Role) -> list[Call]:
        return [c for c in self.calls if c.role == role and c.state == "running"]

    def _unasked(self) -> tuple[str, ...]:
        asked = [c for c in self.calls if c.role == "crowd"]
        return self.crowd[len(asked) :]

    def _answers(self) -> tuple[int, ...]:
        return tuple(
            c.number
            for c in self.calls
            if c.heeded and c.role != "gather" and isinstance(c.result, Answer) and c.state == "done"
        )

    def _failures(self) -> tuple[Failure, ...]:
        return tuple(c.result for c in self.calls if c.role != "gather" and c.failed)

    def _judgement(self, assessment: Assessment, decision: Decision, now: float) -> Judgement:
        heard = any(c.role == "oracle" and c.heeded and c.state == "done" for c in self.calls)
        judgement = Judgement(
            at=now - self._start, assessment=assessment, decision=decision, after_oracle=heard
        )
        self.judgements.append(judgement)
        return judgement

    def _oracles_answered(self) -> int:
        oracles = [c for c in self.calls if c.role == "oracle"]
        return len([c for c in oracles if c.heeded and c.state == "done" and isinstance(c.result, Answer)])

    def _open(self) -> tuple[str, ...]:
        if self._oracles_answered() >= self.policy.escalations:
            return ()
        closed = {c.who for c in self.calls if c.role == "oracle" and (c.heeded or c.failed)}
        return tuple(o for o in self.oracles if o not in closed)

    def _fell_back(self) -> bool:
        """Whether the last oracle that was to answer has failed; an early one counts where no other is open."""
        spoken = [
            c
            for c in self.calls
            if c.role == "oracle" and c.state == "done" and (c.heeded or (c.failed and not self._open()))
        ]
        return bool(spoken) and max(spoken, key=lambda c: c.ended or 0.0).failed

    def _complete(self) -> bool:
        if self.cut or (self._oracles_answered() and not self.fusing):
            return True
        return not self._unasked() and not self._running("crowd")

    def _may_release(self) -> bool:
        return (
            self.context.listening
            and not self.fusing
            and (self._oracles_answered() + 1 >= self.policy.escalations or len(self._open()) <= 1)
        )

    def _patience_ends(self) -> float:
        """When the crowd has been waited for long enough; infinity before it was asked."""
        if self.policy.patience is None:
            return inf
        return next((c.asked + self.policy.patience for c in self.calls if c.role == "crowd"), inf)

    def _due(self) -> float:
        """When to look again; a moment that has passed while an oracle was awaited hides no later one."""
        moments = [c.asked + self.policy.gather_patience for c in self._running("gather")]
        if self.context.deadline is not None:
            moments.append(self._start + self.context.deadline)
        if self.policy.patience is not None and not self._complete():
            moments.append(self._patience_ends())
        return min((moment for moment in moments if moment > self._ticked), default=inf)

    @property
    def trace(self) -> Trace:
        """Everything that has happened so far; times are seconds from the start."""
        end = self.end
        return Trace(
            query=self.query,
            crowd=self.crowd,
            oracles=self.oracles,
            router=self.router.id,
            policy=self.policy,
            context=self.context,
            calls=tuple(self._record(c) for c in self.calls),
            judgements=tuple(self.judgements),
            end="" if end is None else type(end).__name__.lower(),
            reason="" if end is None else end.reason,
            answered=end.call if isinstance(end, Accept) else None,
            at=self.ended - self._start,
            settled=self.settled,
            began=self.live if self.begun else None,
        )

    def _record(self, call: Call) -> CallRecord:
        def since(moment: float | None) -> float | None:
            return None if moment is None else moment - self._start

        return CallRecord(
            call=call.number,
            role=call.role,
            who=call.who,
            purpose=call.purpose,
            state=call.state,
            result=call.result,
            asked_at=call.asked - self._start,
            first_token_at=since(call.first_token),
            ended_at=since(call.ended),
            over=call.over,
        )
