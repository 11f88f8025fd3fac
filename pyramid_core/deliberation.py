"""One query, from its start to its answer, without I/O: the law of the whole project lives here.

The machine owns no clock, thread, task or socket. Events come in (`answered`, `failed`, `gathered`, `began`,
`tick`, `interrupt`), commands go out; whoever hands over the same events gets the same commands.

It is level-triggered: an event writes one fact into one `Call`, then `_advance` decides from the facts alone and
loops until nothing follows. Three laws keep it exact:

- time passes only in `tick`: events are handed over in order of time, at a tie the arrival before the alarm;
- a call that was cancelled, and everything after the end, only completes the bill and returns [];
- from `began` on nothing replaces the answer that is going out: it is accepted, or the query fails.
"""

from __future__ import annotations

from enum import Enum, auto
from math import isnan
from typing import Any

from pyramid_core.commands import (
    Abstain,
    Accept,
    Ask,
    Cancel,
    Command,
    End,
    Fail,
    Gather,
    Logged,
    Offer,
    Release,
    WakeAt,
)
from pyramid_core.errors import ContractError, InputError
from pyramid_core.facts import Call, Facts
from pyramid_core.foresight import likeliest_oracle, settles
from pyramid_core.guarding import barred, best_so_far
from pyramid_core.types import (
    Answer,
    Assessment,
    Context,
    Decision,
    Failure,
    Judgement,
    Options,
    Purpose,
    Role,
    Verdict,
)


class _Next(Enum):
    AGAIN = auto()
    WAIT = auto()


class Deliberation(Facts):
    """One query: events in, commands out. The machine sees names only, never a member."""

    # Events

    def start(self, now: float, context: Context) -> list[Command]:
        """Begin at `now`; `context` is frozen into the trace."""
        self._start = now
        if context.pinned is not None and context.pinned not in (*self.oracles, "crowd"):
            raise InputError(f"pinned must be 'crowd' or one of {list(self.oracles)}, not {context.pinned!r}")
        self.context = context
        return self._advance(now, "start", None)

    def answered(self, call: int, answer: Answer, now: float) -> list[Command]:
        """A member's answer has come."""
        return self._arrived(call, answer, now, "answered")

    def failed(self, call: int, failure: Failure, now: float) -> list[Command]:
        """A member, or the computing of evidence, has failed."""
        return self._arrived(call, failure, now, "failed")

    def gathered(self, call: int, evidence: object, now: float) -> list[Command]:
        """What a `Gather` asked for has come."""
        return self._arrived(call, evidence, now, "gathered")

    def began(self, call: int, now: float) -> list[Command]:
        """The first token of the released call is about to go out to the caller."""
        if call != self.live:
            raise ContractError(f"call {call} began without having been released")
        self.calls[call].first_token = now
        return self._advance(now, "began", call)

    def tick(self, now: float) -> list[Command]:
        """The alarm; harmless at any time."""
        if self.end is not None:
            return []
        self._ticked = now
        return self._advance(now, "tick", None)

    def interrupt(self, reason: str, now: float) -> list[Command]:
        """The caller wants no more: "enough" takes the best so far; "left" and "error" end it."""
        if self.end is not None:
            return []
        self._out = []
        if reason == "enough":
            self._close("enough", now)
        else:
            self._finish(Fail(reason=reason, failures=self._failures()), now)
        return self._logged(now, f"interrupt:{reason}", None)

    def _arrived(self, number: int, result: Any, now: float, event: str) -> list[Command]:
        call = self.calls[number]
        if call.state == "done":
            raise ContractError(f"call {number} ({call.who}) has ended already")
        call.result = result
        if call.state == "cancelled":
            return []
        call.state = "done"
        call.ended = now
        self._facts += 1
        return self._advance(now, event, number) if self.end is None else []

    # The one method

    def _advance(self, now: float, event: str, number: int | None) -> list[Command]:
        self._out = []
        while self.end is None and self._step(now) is _Next.AGAIN:
            pass
        if self.end is None:
            due = self._due()
            if due != self._alarm:
                self._alarm = due
                self._out.append(WakeAt(at=due))
        return self._logged(now, event, number)

    def _logged(self, now: float, event: str, number: int | None) -> list[Command]:
        out = self._out
        self.log.append(Logged(at=now - self._start, event=event, call=number, commands=tuple(out)))
        return out

    def _step(self, now: float) -> _Next:
        if self.context.deadline is not None and self._ticked >= self._start + self.context.deadline:
            self._close("deadline", now)
            return _Next.WAIT
        if any(c.heeded for c in self._running("oracle")):
            return _Next.WAIT
        if self.begun:
            return self._gone_out(now)
        if self._crowd_to_cut():
            self._cut_crowd(now)
            return _Next.AGAIN
        pinned = self.context.pinned
        if pinned is not None and pinned in self._open():
            return self._escalate(pinned, now)
        if not self._complete():
            return self._consider(now)
        waiting = self._gather(now)
        if waiting is not None:
            return waiting
        judgement = self._judge(now, may_wait=False)
        self._offer(judgement.assessment)
        return self._act(judgement, now)

    def _gone_out(self, now: float) -> _Next:
        live = self.live
        if live is not None and isinstance(self.calls[live].result, Answer):
            self._accept(live, "decided", now)
        else:
            self._finish(Fail(reason="the stream broke off", failures=self._failures()), now)
        return _Next.WAIT

    def _crowd_to_cut(self) -> bool:
        late = self._ticked >= self._patience_ends() or (self.fusing and self._oracles_answered() > 0)
        return late and not self.cut and bool(self._running("crowd") or self._unasked())

    def _gather(self, now: float) -> _Next | None:
        if not self.router.evidence:
            return None
        over = self._answers()
        if len(over) < 2 or (self._oracles_answered() and not self.fusing):
            return None
        asked = {c.who: c for c in self.calls if c.role == "gather" and c.over == over}
        for kind in self.router.evidence:
            if kind not in asked:
                call = self._new("gather", kind, "policy", now)
                call.over = over
                answers = tuple(self.calls[n].result for n in over)
                self._out.append(Gather(call=call.number, kind=kind, query=self.query, answers=answers))
                asked[kind] = call
        running = [c for c in asked.values() if c.state == "running"]
        late = [c for c in running if self._ticked >= c.asked + self.policy.gather_patience]
        self._cancel(late, now)
        return _Next.WAIT if len(running) > len(late) else None

    def _judge(self, now: float, *, may_wait: bool) -> Judgement:
        key = (self._facts, may_wait)
        if self._judged is not None and self._judged[0] == key:
            return self._judged[1]
        assessment = self._assess()
        decision = self._decide(assessment, self._options(may_wait=may_wait))
        judgement = self._judgement(assessment, decision, now)
        self._judged = (key, judgement)
        return judgement

    def _assess(self) -> Assessment:
        assessment = self.router.assess(self.observation())
        if not isinstance(assessment, Assessment):
            raise ContractError(
                f"router {self.router.id!r} gave {type(assessment).__name__}, not an Assessment"
            )
        if not (0.0 <= assessment.p_fail <= 1.0 or isnan(assessment.p_fail)):
            raise ContractError(
                f"router {self.router.id!r} gave p_fail {assessment.p_fail!r}, no probability"
            )
        return assessment

    def _options(self, *, may_wait: bool) -> Options:
        oracles = () if self.context.pinned == "crowd" else self._open()
        replies = self.observation().replies
        return Options(oracles=oracles, may_wait=may_wait, context=self.context, replies=replies)

    def _decide(self, assessment: Assessment, options: Options) -> Decision:
        decision = self.rule.decide(assessment, options)
        if not isinstance(decision, Decision):
            raise ContractError(f"the rule gave {type(decision).__name__}, not a Decision")
        if decision.verdict is Verdict.ESCALATE and decision.oracle not in options.oracles:
            raise ContractError(
                f"the rule names oracle {decision.oracle!r}; open are {list(options.oracles)}"
            )
        if decision.verdict is Verdict.WAIT and not options.may_wait:
            raise ContractError("the rule says WAIT, but nothing is on its way")
        return decision

    # A crowd that is not complete

    def _consider(self, now: float) -> _Next:
        if not any(c.role == "crowd" for c in self.calls):
            if self.policy.ask_before and self._open():
                judgement = self._judge(now, may_wait=True)
                verdict = judgement.decision.verdict
                if verdict is Verdict.ESCALATE or (
                    verdict is Verdict.ABSTAIN and self.policy.on_abstain == "raise"
                ):
                    return self._act(judgement, now)
        elif any(c.role == "crowd" and c.state == "done" for c in self.calls):
            settled = self._settle(now)
            if settled is not None:
                return settled
        unasked = self._unasked()
        room = (self.policy.width or len(self.crowd)) - len(self._running("crowd"))
        for name in unasked[: max(room, 0)]:
            self._ask("crowd", name, "policy", now)
        return _Next.WAIT

    def _settle(self, now: float) -> _Next | None:
        """Act now where no answer still missing could change the verdict; else perhaps start an oracle early."""
        policy = self.policy
        if self.context.watching:
            self._offer(self._judge(now, may_wait=True).assessment)
        if policy.early_stop is None and policy.speculate is None:
            return None
        complete = self._options(may_wait=False)
        foreseen = self.router.foresee(self.observation(), lambda a: self._decide(a, complete))
        if not foreseen:
            return None
        if policy.early_stop is not None:
            judgement = self._judge(now, may_wait=True)
            if settles(judgement, foreseen, 1.0 - policy.early_stop):
                return self._act(judgement, now)
        if policy.speculate is not None and not self._running("oracle"):
            name, p = likeliest_oracle(foreseen)
            known = {c.who for c in self.calls if c.role == "oracle"}
            if name is not None and name not in known and p >= policy.speculate:
                self._ask("oracle", name, "speculation", now).heeded = False
        return None

    # Acts

    def _act(self, judgement: Judgement, now: float) -> _Next:
        decision, chosen = judgement.decision, judgement.assessment.chosen
        if decision.verdict is Verdict.ESCALATE:
            return self._escalate(str(decision.oracle), now)
        if decision.verdict is Verdict.ABSTAIN:
            if self.policy.on_abstain == "raise" or chosen is None:
                self._finish(Abstain(reason=decision.reason), now)
            else:
                self._accept(chosen, "abstained", now)
            return _Next.WAIT
        if chosen is None:
            oracles = self._open()
            if oracles:
                return self._escalate(oracles[0], now)
            self._finish(Fail(reason="no answer stands", failures=self._failures()), now)
            return _Next.WAIT
        if (
            self.context.explore
            and not any(c.role == "oracle" and c.heeded for c in self.calls)
            and self._open()
        ):
            self._explore(now)
        self._accept(chosen, "fallback" if self._fell_back() else "decided", now)
        return _Next.WAIT

    def _escalate(self, oracle: str, now: float) -> _Next:
        if any(c.role == "crowd" for c in self.calls) and not self.fusing:
            self._cut_crowd(now)
        early = [c for c in self.calls if c.role == "oracle" and not c.heeded]
        self._cancel([c for c in early if c.who != oracle], now)
        mine = next((c for c in early if c.who == oracle and c.state != "cancelled"), None)
        release = self._may_release()
        if mine is None:
            mine = self._ask("oracle", oracle, "policy", now)
        mine.heeded = True
        self._facts += 1
        if mine.state == "running" and release:
            self.live = mine.number
            self._out.append(Release(call=mine.number))
        return _Next.AGAIN

    def _cut_crowd(self, now: float) -> None:
        self._cancel(self._running("crowd"), now)
        self.cut = True
        self._facts += 1

    def _explore(self, now: float) -> None:
        """Ask an oracle although the answer is accepted, unless one has started early; it goes on after the end."""
        started = (c for c in self.calls if c.role == "oracle" and c.state != "cancelled" and not c.failed)
        early = next(started, None)
        if early is not None:
            early.purpose = "exploration"
            return
        self._cancel([c for c in self.calls if c.state == "running"], now)
        self._ask("oracle", self._open()[0], "exploration", now)

    def _close(self, reason: str, now: float) -> None:
        """No time is left: what follows from the facts, else the best so far."""
        if self.begun:
            self._finish(
                Fail(reason=f"{reason} while the answer was going out", failures=self._failures()), now
            )
            return
        awaited = any(c.heeded for c in self._running("oracle"))
        oracles = [c for c in self.calls if c.role == "oracle" and c.state == "done" and not c.failed]
        early = [c for c in oracles if not c.heeded]
        for call in early:
            call.heeded = True
            self._facts += 1
        assessment, options = self._assess(), self._options(may_wait=False)
        decision, mark = Decision(verdict=Verdict.ACCEPT, reason=reason), reason
        if reason == "deadline" and self._complete() and not awaited and not early:
            decision = self._decide(assessment, options)
            mark = {Verdict.ACCEPT: "decided", Verdict.ABSTAIN: "abstained"}.get(decision.verdict, reason)
        decision = best_so_far(self.rule, decision, assessment, options)
        self._judgement(assessment, decision, now)
        if decision.verdict is Verdict.ABSTAIN and self.policy.on_abstain == "raise":
            self._finish(Abstain(reason=decision.reason), now)
        elif assessment.chosen is None:
            self._finish(Fail(reason=f"{reason} before the first answer", failures=self._failures()), now)
        else:
            self._accept(assessment.chosen, mark, now)

    def _accept(self, chosen: int, reason: str, now: float) -> None:
        self._finish(Accept(call=chosen, answer=self._answer(chosen), reason=reason), now)

    def _answer(self, chosen: int) -> Answer:
        call = self.calls[chosen] if 0 <= chosen < len(self.calls) else None
        if call is None or call.state != "done" or not isinstance(call.result, Answer):
            raise ContractError(f"the router chose call {chosen}, which is no answer")
        return call.result

    def _finish(self, end: End, now: float) -> None:
        running = [c for c in self.calls if c.state == "running" and c.purpose != "exploration"]
        keep = isinstance(end, Accept)
        self._cancel(running if keep else [c for c in self.calls if c.state == "running"], now)
        self._out.append(end)
        self.end = end
        self.ended = now

    def _offer(self, assessment: Assessment) -> None:
        chosen = assessment.chosen
        if not self.context.watching or barred(self.rule, assessment, self._options(may_wait=False)):
            return
        if chosen is not None and chosen != self._offered:
            self._offered = chosen
            self._out.append(Offer(call=chosen, answer=self._answer(chosen), p_fail=assessment.p_fail))

    def _ask(self, role: Role, who: str, purpose: Purpose, now: float) -> Call:
        stream = role == "oracle" and purpose != "exploration" and self._may_release()
        call = self._new(role, who, purpose, now)
        self._out.append(Ask(call=call.number, member=who, stream=stream))
        return call

    def _new(self, role: Role, who: str, purpose: Purpose, now: float) -> Call:
        call = Call(number=len(self.calls), role=role, who=who, purpose=purpose, asked=now)
        self.calls.append(call)
        return call

    def _cancel(self, calls: list[Call], now: float) -> None:
        for call in calls:
            if call.state == "running":
                call.state = "cancelled"
                call.ended = now
                self._facts += 1
                self._out.append(Cancel(call=call.number))
