"""What a scenario is, and how the three drivers run it on virtual time.

A scenario gives each member a list of parts: `(seconds, what)`, where `what` is an answer's text, `Boom("...")` for an
error, or `Tok("...")` for a token that comes before the answer. The history that must come out is one line: the time
of each event that led to commands, and the commands.
"""

import asyncio
import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pyramid_core._drive import ReplayConductor, Scripted, ThreadConductor
from pyramid_core._drive.tasks import TaskConductor
from pyramid_core._drive.virtual import VirtualTaskClock, VirtualThreadClock
from pyramid_core.commands import Abstain, Accept, Ask, Cancel, Fail, Gather, Offer, Release, WakeAt
from pyramid_core.decision import ThresholdRule
from pyramid_core.deliberation import Deliberation
from pyramid_core.errors import PyramidAbstained, PyramidFailed
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Answer, Context, Failure, Policy, Query, Token


class Boom(RuntimeError):
    """A member's bad luck."""


@dataclass(frozen=True)
class Tok:
    text: str


Part = tuple[float, Any]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Members by name, each with its parts; a name with several lists in `again` answers further calls from them."""

    name: str
    crowd: dict[str, list[Part]]
    oracles: dict[str, list[Part]]
    history: str
    read: str = ""
    router: Any = field(default_factory=AgreementRouter)
    rule: Any = None
    policy: Policy = field(default_factory=Policy)
    context: Context = field(default_factory=Context)
    evidence: dict[str, Part] = field(default_factory=dict)
    interrupts: tuple[tuple[float, str], ...] = ()

    def machine(self) -> Deliberation:
        rule = (self.rule or ThresholdRule()).resolved(self.router)
        query = Query(text="What is it?")
        return Deliberation(query, tuple(self.crowd), tuple(self.oracles), self.router, rule, self.policy)

    def parts(self, who: str) -> list[Part]:
        return self.crowd[who] if who in self.crowd else self.oracles[who]


def answer_with(what: Any, tokens: list[str]) -> Answer:
    """`what` is a whole `Answer`, or a text that follows the tokens (None: the tokens are all of it)."""
    if isinstance(what, Answer):
        return what
    return Answer(text="".join(tokens) if what is None else what)


class TaskMember:
    def __init__(self, name: str, parts: list[Part], clock: VirtualTaskClock) -> None:
        self.name, self.parts, self.clock = name, parts, clock

    async def astream(self, query: Query):
        tokens = []
        for seconds, what in self.parts:
            await self.clock.sleep(seconds)
            if isinstance(what, BaseException):
                raise what
            if isinstance(what, Tok):
                tokens.append(what.text)
                yield Token(text=what.text)
            else:
                yield answer_with(what, tokens)

    async def aask(self, query: Query):
        tokens = []
        for seconds, what in self.parts:
            await self.clock.sleep(seconds)
            if isinstance(what, BaseException):
                raise what
            if isinstance(what, Tok):
                tokens.append(what.text)
            else:
                return answer_with(what, tokens)
        return None


class ThreadMember:
    def __init__(self, name: str, parts: list[Part], clock: VirtualThreadClock) -> None:
        self.name, self.parts, self.clock = name, parts, clock

    def stream(self, query: Query):
        tokens = []
        for seconds, what in self.parts:
            self.clock.sleep(seconds)
            if isinstance(what, BaseException):
                raise what
            if isinstance(what, Tok):
                tokens.append(what.text)
                yield Token(text=what.text)
            else:
                yield answer_with(what, tokens)

    def ask(self, query: Query):
        tokens = []
        for seconds, what in self.parts:
            self.clock.sleep(seconds)
            if isinstance(what, BaseException):
                raise what
            if isinstance(what, Tok):
                tokens.append(what.text)
            else:
                return answer_with(what, tokens)
        return None


@dataclass
class Run:
    """What one driver made of a scenario."""

    machine: Deliberation
    read: list[tuple[float, Any]]
    error: BaseException | None
    answer: Answer | None

    @property
    def log(self) -> list[tuple[Any, ...]]:
        """Every event with its commands, without what differs by nature (exceptions, `raw`)."""
        return [(e.at, e.event, e.call, e.commands) for e in self.machine.log]


def run_tasks(s: Scenario) -> Run:
    clock = VirtualTaskClock()
    members = {n: TaskMember(n, s.parts(n), clock) for n in (*s.crowd, *s.oracles)}
    read: list[tuple[float, Any]] = []
    machine = s.machine()

    def gatherer(kind: str):
        async def gather(_: Gather):
            await clock.sleep(s.evidence[kind][0])
            if isinstance(s.evidence[kind][1], BaseException):
                raise s.evidence[kind][1]
            return s.evidence[kind][1]

        return gather

    async def interrupt(conductor: TaskConductor, at: float, reason: str) -> None:
        await clock.sleep(at)
        if conductor.end is None:
            conductor.interrupt(reason)

    async def main() -> Run:
        conductor = TaskConductor(
            machine,
            members,
            clock=clock,
            gatherers={kind: gatherer(kind) for kind in s.evidence},
            reader=lambda item: read.append((clock.now(), item)),
        )
        callers = []
        for at, reason in s.interrupts:
            from pyramid_core._drive.conductor import CALL

            CALL.set(1 << 30)
            callers.append(asyncio.ensure_future(interrupt(conductor, at, reason)))
        try:
            outcome = await conductor.run(s.context)
            await conductor.finish()
        except (PyramidFailed, PyramidAbstained) as error:
            return Run(machine, read, error, None)
        finally:
            for caller in callers:
                caller.cancel()
        return Run(machine, read, None, outcome.answer)

    return clock.run(main)


def run_threads(s: Scenario) -> Run:
    clock = VirtualThreadClock()
    members = {n: ThreadMember(n, s.parts(n), clock) for n in (*s.crowd, *s.oracles)}
    read: list[tuple[float, Any]] = []
    machine = s.machine()

    def gatherer(kind: str):
        def gather(_: Gather):
            clock.sleep(s.evidence[kind][0])
            if isinstance(s.evidence[kind][1], BaseException):
                raise s.evidence[kind][1]
            return s.evidence[kind][1]

        return gather

    conductor = ThreadConductor(
        machine,
        members,
        clock=clock,
        gatherers={kind: gatherer(kind) for kind in s.evidence},
        reader=lambda item: read.append((clock.now(), item)),
    )
    for at, reason in s.interrupts:
        clock.sleepers.add(
            at, 1 << 30, lambda r=reason: conductor.interrupt(r) if conductor.end is None else clock.wake_next()
        )
    try:
        outcome = conductor.run(s.context)
        conductor.finish()
    except (PyramidFailed, PyramidAbstained) as error:
        return Run(machine, read, error, None)
    return Run(machine, read, None, outcome.answer)


def scripted(parts: list[Part], *, stream: bool) -> list[Scripted]:
    """A member's parts as the replay driver takes them."""
    found, after, tokens = [], 0.0, []
    for seconds, what in parts:
        after += seconds
        if isinstance(what, Tok):
            tokens.append(what.text)
            if stream:
                found.append(Scripted(after, "token", Token(text=what.text)))
        elif isinstance(what, BaseException):
            return [*found, Scripted(after, "failure", Failure.of(what))]
        else:
            return [*found, Scripted(after, "answer", answer_with(what, tokens))]
    return found


def run_replay(s: Scenario) -> Run:
    read: list[tuple[float, Any]] = []
    machine = s.machine()

    def script(command: Ask | Gather) -> list[Scripted]:
        if isinstance(command, Gather):
            after, value = s.evidence[command.kind]
            failed = isinstance(value, BaseException)
            return [
                Scripted(after, "failure" if failed else "evidence", Failure.of(value) if failed else value)
            ]
        return scripted(s.parts(command.member), stream=command.stream)

    conductor = ReplayConductor(
        machine,
        {},
        script=script,
        interrupts=s.interrupts,
        reader=lambda item: read.append((conductor.now, item)),
    )
    try:
        outcome = conductor.run(s.context)
    except (PyramidFailed, PyramidAbstained) as error:
        return Run(machine, read, error, None)
    return Run(machine, read, None, outcome.answer)


RUNNERS = {"tasks": run_tasks, "threads": run_threads, "replay": run_replay}


def history(machine: Deliberation) -> str:
    """The log on one line: time, then commands; events that led to none are left out."""
    names = {c.number: c.who for c in machine.calls}

    def say(command: Any) -> str:
        match command:
            case Ask():
                return f"ask{'*' if command.stream else ''} {command.member}"
            case Gather():
                return f"gather {command.kind}"
            case Cancel():
                return f"cancel {names[command.call]}"
            case Release():
                return f"release {names[command.call]}"
            case WakeAt():
                return f"wake {command.at:g}"
            case Offer():
                return f"offer {names[command.call]} {command.p_fail:.2f}"
            case Accept():
                return f"accept {names[command.call]} {command.reason}"
            case Abstain():
                return "abstain"
            case Fail():
                return f"fail {len(command.failures)} ({command.reason})"

    moments: list[tuple[float, list[str]]] = []
    for entry in machine.log:
        said = [say(c) for c in entry.commands]
        if said and moments and moments[-1][0] == entry.at:
            moments[-1][1].extend(said)
        elif said:
            moments.append((entry.at, said))
    return " | ".join(f"{at:g}: {', '.join(said)}" for at, said in moments)


def tokens_read(read: list[tuple[float, Any]]) -> str:
    """What the reader was given and when: `2:"ab" 3:"c"`."""
    return " ".join(f'{at:g}:"{item.text}"' for at, item in read if isinstance(item, Token))


def changed(scenario: Scenario, **fields: Any) -> Scenario:
    return dataclasses.replace(scenario, **fields)
