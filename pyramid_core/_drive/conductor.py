"""What all drivers share: obeying commands, holding tokens, handing events over in order of time.

The shared part never waits. A driver adds how a call is started (`begin`, `begin_gather`), how it is stopped
(`stop`), and a loop that waits for arrivals or the alarm and then calls `hand_over`. Arrivals are stamped when
they come, so a busy loop hands an answer that came before the deadline over before the deadline.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, TypeVar

from pyramid_core._drive.pool import cancel_event
from pyramid_core.commands import (
    Abstain,
    Accept,
    Ask,
    Cancel,
    Command,
    End,
    Fail,
    Gather,
    Offer,
    Release,
    WakeAt,
)
from pyramid_core.deliberation import Deliberation
from pyramid_core.errors import PROGRAMMING_ERRORS, ContractError, InputError, PyramidAbstained, PyramidFailed
from pyramid_core.text import pieces
from pyramid_core.types import Answer, Context, Failure, Outcome, Query, Token

_LOG = logging.getLogger(__name__)

AFTER_CALLS = 1 << 30
"""The number that interrupts are ordered by: at a tie the arrivals of calls come first."""

CALL: ContextVar[int] = ContextVar("pyramid_call", default=-1)
"""The number of the call that is running in this context; the virtual clocks order sleepers by it."""

Kind = Literal["answer", "evidence", "failure", "token", "bug", "interrupt"]
Reader = Callable[[Token | Offer], None]
Gatherer = Callable[[Gather], Any]
Result = TypeVar("Result", Answer, Failure)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something that came, with the time at which it came."""

    at: float
    call: int
    kind: Kind
    value: Any


class Conductor:
    """One run of one deliberation.

    Args:
        deliberation: the machine; not yet started.
        members: the crowd's members and the oracles by name.
        gatherers: by kind of evidence, what computes it.
        reader: is given tokens and offers as they may go out; it must not block.
    """

    def __init__(
        self,
        deliberation: Deliberation,
        members: Mapping[str, Any],
        *,
        gatherers: Mapping[str, Gatherer] | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.deliberation = deliberation
        self.members = members
        self.gatherers = gatherers or {}
        self.reader = reader
        self.arrivals: deque[Arrival] = deque()
        self.alarm = inf
        self.end: End | None = None
        self._held: dict[int, list[Token]] = {}
        self._asked: dict[int, tuple[str, float]] = {}
        self._live: int | None = None
        self._begun = False
        self._sent = 0

    # What a driver adds

    def begin(self, ask: Ask) -> None:
        """Start asking a member."""
        raise NotImplementedError

    def begin_gather(self, gather: Gather) -> None:
        """Start computing evidence."""
        raise NotImplementedError

    def stop(self, call: int) -> None:
        """Cancel or abandon a call."""
        raise NotImplementedError

    # What they share

    def start(self, context: Context, now: float) -> None:
        """Begin the deliberation."""
        self.obey(self.deliberation.start(now, context), now)

    def obey(self, commands: list[Command], now: float) -> None:
        """Carry the commands out, in order."""
        for command in commands:
            match command:
                case Ask():
                    self._asked[command.call] = (command.member, now)
                    self.begin(command)
                case Gather():
                    self.begin_gather(command)
                case Cancel():
                    self.stop(command.call)
                case Release():
                    self._live = command.call
                    if self._held.get(command.call):
                        self._pass_on(now)
                case WakeAt():
                    self.alarm = command.at
                case Offer():
                    self._read(command)
                case Accept():
                    self._replay_tokens(command)
                    self._ended(command)
                case Abstain() | Fail():
                    self._ended(command)

    def hand_over(self, now: float, *, rang: bool) -> None:
        """Give the machine what has arrived, in order of time, and the alarm; at a tie arrivals first."""
        arrived = sorted(
            (self.arrivals.popleft() for _ in range(len(self.arrivals))), key=lambda a: (a.at, a.call)
        )
        for arrival in arrived:
            while self.alarm < arrival.at and self.end is None:
                self.ring()
            self.receive(arrival)
        if rang and self.alarm <= now and self.end is None:
            self.ring()

    def ring(self) -> None:
        """The alarm's time has come."""
        at, self.alarm = self.alarm, inf
        self.obey(self.deliberation.tick(at), at)

    def receive(self, arrival: Arrival) -> None:
        """Give the machine one arrival."""
        machine, call, at = self.deliberation, arrival.call, arrival.at
        kind, value = arrival.kind, arrival.value
        if kind == "answer":
            kind, value = self._checked(call, value)
        if kind == "bug" and (machine.end is not None or machine.calls[call].state == "cancelled"):
            # Nobody waits for it, so there is nobody to raise it to: it only completes the bill.
            _LOG.error("call %s, whose answer was no longer needed, has a bug", call, exc_info=value)
            kind, value = "failure", Failure.of(value)
        match kind:
            case "token":
                self._held.setdefault(call, []).append(value)
                if call == self._live and self.end is None:
                    self._pass_on(at)
            case "answer":
                member, asked = self._asked[call]
                self.obey(machine.answered(call, _signed(value, member, at - asked), at), at)
            case "failure":
                if call in self._asked:
                    member, asked = self._asked[call]
                    value = _signed(value, member, at - asked)
                self.obey(machine.failed(call, value, at), at)
            case "evidence":
                self.obey(machine.gathered(call, value, at), at)
            case "interrupt":
                self.obey(machine.interrupt(value, at), at)
            case "bug":
                raise value

    def _checked(self, call: int, answer: Any) -> tuple[Kind, Any]:
        member = self._asked[call][0]
        if not isinstance(answer, Answer):
            return "bug", ContractError(f"member {member!r} returned {type(answer).__name__}, not an Answer")
        held = self._held.get(call)
        if held and "".join(token.text for token in held) != answer.text:
            return "bug", ContractError(
                f"member {member!r} streamed a text that differs from its answer's text"
            )
        return "answer", answer

    def _ended(self, end: End) -> None:
        self.end = end
        self.alarm = inf

    def _pass_on(self, now: float) -> None:
        call = self._live
        if call is None:
            return
        if not self._begun:
            self._begun = True
            self.obey(self.deliberation.began(call, now), now)
        held = self._held[call]
        for token in held[self._sent :]:
            self._read(token)
        self._sent = len(held)

    def _replay_tokens(self, accept: Accept) -> None:
        if self._begun or not self.deliberation.context.listening:
            return
        for token in self._held.get(accept.call) or map(_token, pieces(accept.answer.text)):
            self._read(token)

    def _read(self, item: Token | Offer) -> None:
        if self.reader is not None:
            self.reader(item)

    def sent_text(self) -> str:
        """What has gone out live so far."""
        if self._live is None or not self._begun:
            return ""
        return "".join(token.text for token in self._held[self._live][: self._sent])

    def outcome(self) -> Outcome:
        """The end as the caller gets it.

        Raises:
            PyramidFailed: no answer could be had; carries every cause.
            PyramidAbstained: the rule declined.
        """
        trace = self.deliberation.trace
        match self.end:
            case Accept() as accepted:
                return Outcome(answer=accepted.answer, trace=trace)
            case Abstain() as abstained:
                raise PyramidAbstained(abstained.reason, trace=trace)
            case Fail() as failed:
                causes = "".join(f"\n  {failure}" for failure in failed.failures)
                error = PyramidFailed(
                    f"no answer: {failed.reason}{causes}",
                    failures=failed.failures,
                    trace=trace,
                    partial_text=self.sent_text(),
                )
                raise error from next((f.exception for f in failed.failures if f.exception is not None), None)
            case None:
                raise ContractError("the deliberation has not ended")

    def linger(self, now: float) -> None:
        """From now on, calls that go on after the end have as long as the policy gives them."""
        self.alarm = now + self.deliberation.policy.explore_patience

    def lingered(self, now: float) -> bool:
        """Whether they have all ended, or had their time."""
        return self.deliberation.settled or now >= self.alarm

    def give_up(self) -> None:
        """End the calls that have gone on for too long after the end: their bill stays open."""
        seconds = self.deliberation.policy.explore_patience
        for call in self.deliberation.calls:
            if call.state == "running":
                self.stop(call.number)
                late = Failure.of(TimeoutError(f"no answer within {seconds:g} s after the end"))
                self.receive(Arrival(self.alarm, call.number, "failure", late))

    def close_down(self) -> None:
        """Stop everything that runs, whatever the machine thinks; for bugs and for callers who leave.

        A bug may have come between a call's state and the command that says so: all are stopped, ended or not.
        """
        for call in self.deliberation.calls:
            self.stop(call.number)


def _signed(result: Result, member: str, elapsed: float) -> Result:
    """The answer or failure with who gave it and after how long; `replace` would check all its fields once more."""
    signed = object.__new__(type(result))
    signed.__dict__.update(result.__dict__, member=member, elapsed=elapsed)
    return signed


def _token(piece: str) -> Token:
    return Token(text=piece)


def ask_here(member: Any, ask: Ask, query: Query, pass_on: Callable[[Token], None]) -> Any:
    """What the member answers on the calling thread; of a stream no more is read than still matters.

    Raises:
        InterruptedError: the call was abandoned while it streamed.
        ContractError: a stream ended without an answer.
    """
    if not (ask.stream and hasattr(member, "stream")):
        return member.ask(query)
    abandoned = cancel_event()
    for item in member.stream(query):
        if not isinstance(item, Token):
            return item
        if abandoned is not None and abandoned.is_set():
            raise InterruptedError(f"the answer of member {ask.member!r} no longer matters")
        pass_on(item)
    raise streamed_no_answer(ask)


def streamed_no_answer(ask: Ask) -> ContractError:
    """A stream's last item must be an answer."""
    return ContractError(f"member {ask.member!r} ended its stream without an Answer")


def classified(error: BaseException) -> tuple[Kind, Any]:
    """A member's exception: bad luck is a failure, a bug stays what it is."""
    if isinstance(error, Exception) and not isinstance(error, PROGRAMMING_ERRORS):
        return "failure", Failure.of(error)
    return "bug", error


def missing(gather: Gather, error: Exception) -> Failure:
    """Evidence that could not be computed: it is missing, whatever the cause, but a bug is not passed over in silence."""
    if isinstance(error, PROGRAMMING_ERRORS):
        _LOG.error(
            "the gatherer of %r evidence has a bug: the evidence is missing", gather.kind, exc_info=error
        )
    return Failure.of(error)


def gatherer_for(conductor: Conductor, gather: Gather) -> Gatherer:
    """What computes this kind of evidence.

    Raises:
        InputError: nothing does.
    """
    try:
        return conductor.gatherers[gather.kind]
    except KeyError:
        known = sorted(conductor.gatherers)
        raise InputError(
            f"the router wants {gather.kind!r} evidence, but gatherers= has only {known}"
        ) from None
