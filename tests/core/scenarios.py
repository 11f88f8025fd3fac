"""What a scenario is, and how the three drivers run it on virtual time.

Members are written `"a 1 yes; b 2 !; o 1 ~4 1 ~2 1 ="`: a name, then pairs of seconds and what comes after them:

    yes     an answer             ''    the empty answer        None    no answer at all: a bug
    !       an error: bad luck    ~4    a token                 =       the answer that its tokens are

The history that must come out is one line: the time of each event that led to commands, and the commands.
"""

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from pyramid_core._drive import ReplayConductor, Scripted, ThreadConductor, read
from pyramid_core._drive.aside import aread
from pyramid_core._drive.conductor import CALL
from pyramid_core._drive.pool import THREADS
from pyramid_core._drive.tasks import TaskConductor
from pyramid_core._drive.virtual import Deadlock, VirtualTaskClock, VirtualThreadClock
from pyramid_core.commands import Abstain, Accept, Ask, Cancel, Fail, Gather, Offer, Release, WakeAt
from pyramid_core.decision import ThresholdRule
from pyramid_core.deliberation import Deliberation
from pyramid_core.errors import PyramidAbstained, PyramidFailed
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import (
    NAN,
    Answer,
    Assessment,
    Context,
    Decision,
    Failure,
    Foreseen,
    Observation,
    Options,
    Policy,
    Query,
    Token,
    Trace,
    Verdict,
)

QUERY = Query(text="What is it?")
AFTER_CALLS = 1 << 30
Part = tuple[float, Any]


class Boom(RuntimeError):
    """A member's bad luck."""


@dataclass(frozen=True)
class Tok:
    text: str


def cast(text: str) -> dict[str, list[Part]]:
    """Members by name, from the notation above."""
    members: dict[str, list[Part]] = {}
    for member in text.split(";"):
        name, *words = member.split()
        pairs = zip(words[::2], words[1::2], strict=True)
        members[name] = [(float(seconds), _what(word)) for seconds, word in pairs]
    return members


def _what(word: str) -> Any:
    if word.startswith("!"):
        return Boom(word[1:] or "bad luck")
    if word.startswith("~"):
        return Tok(word[1:])
    return {"''": "", "None": _NOTHING, "=": None}.get(word, word)


_NOTHING = object()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Members by name, each with its parts, and what must become of them.

    Attributes:
        history: see `history`.
        read: what the reader is given and when, see `tokens_read`.
        plain: members that cannot stream.
        evidence: by kind, after how many seconds comes what.
        interrupts: when the caller interrupts, and why.
    """

    name: str
    crowd: Mapping[str, list[Part]]
    oracles: Mapping[str, list[Part]]
    history: str
    read: str = ""
    router: Any = field(default_factory=AgreementRouter)
    rule: Any = None
    policy: Policy = field(default_factory=Policy)
    context: Context = field(default_factory=Context)
    plain: tuple[str, ...] = ()
    evidence: Mapping[str, Part] = field(default_factory=dict)
    interrupts: tuple[tuple[float, str], ...] = ()

    def machine(self) -> Deliberation:
        rule = (self.rule or ThresholdRule()).resolved(self.router)
        return Deliberation(QUERY, tuple(self.crowd), tuple(self.oracles), self.router, rule, self.policy)

    def parts(self, who: str) -> list[Part]:
        return self.crowd[who] if who in self.crowd else self.oracles[who]


_POLICY = {f.name for f in dataclasses.fields(Policy)}
_CONTEXT = {f.name for f in dataclasses.fields(Context)}


def scenario(name: str, crowd: Any, oracles: Any, history: str, read: str = "", **fields: Any) -> Scenario:
    """A scenario on one line: fields of the policy and the context are given beside its own."""
    policy = {k: fields.pop(k) for k in list(fields) if k in _POLICY}
    context = {k: fields.pop(k) for k in list(fields) if k in _CONTEXT}
    return Scenario(
        name=name,
        crowd=cast(crowd) if isinstance(crowd, str) else crowd,
        oracles=cast(oracles) if isinstance(oracles, str) else oracles,
        history=history,
        read=read,
        policy=Policy(**policy),
        context=Context(**context),
        **fields,
    )


# Routers and rules with a will of their own


class Fusing(AgreementRouter):
    """Lets an oracle vote with the crowd."""

    fuses = True


class Evident(AgreementRouter):
    """Believes the gathered evidence, a p_fail; without it nothing can be said of a complete crowd.

    It expects, after `expects` replies, the oracle o to be asked.
    """

    def __init__(self, *kinds: str, fuses: bool = False, expects: int = -1) -> None:
        super().__init__()
        self._kinds, self._fuses, self._expects = kinds, fuses, expects

    evidence = property(lambda self: self._kinds)
    fuses = property(lambda self: self._fuses)

    def assess(self, observation: Observation) -> Assessment:
        seen = super().assess(observation)
        if observation.pending or (not self.fuses and any(r.role == "oracle" for r in observation.replies)):
            return seen
        found = [observation.evidence[kind] for kind in self._kinds if kind in observation.evidence]
        return dataclasses.replace(seen, p_fail=max(found) if len(found) == len(self._kinds) else NAN)

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        expected = len(observation.replies) == self._expects
        return {Foreseen(verdict=Verdict.ESCALATE, oracle="o"): 0.9} if expected else {}


class Forecast(AgreementRouter):
    """Has a p_fail before anybody has answered."""

    def __init__(self, p_fail: float) -> None:
        super().__init__()
        self._forecast = p_fail

    def assess(self, observation: Observation) -> Assessment:
        seen = super().assess(observation)
        return seen if observation.replies else dataclasses.replace(seen, p_fail=self._forecast)


class Unsure(AgreementRouter):
    """Never knows whether an answer is right."""

    def assess(self, observation: Observation) -> Assessment:
        return dataclasses.replace(super().assess(observation), p_fail=NAN)


class Foresees(AgreementRouter):
    """Expects, after so many replies, this oracle to be asked with this probability (None: that what stands is accepted)."""

    def __init__(self, expected: Mapping[int, tuple[str | None, float]]) -> None:
        super().__init__()
        self._expected = expected

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        oracle, p = self._expected.get(len(observation.replies), (None, 0.0))
        verdict = Verdict.ACCEPT if oracle is None else Verdict.ESCALATE
        return {Foreseen(verdict=verdict, oracle=oracle): p} if p else {}


class Chooses(AgreementRouter):
    """Lets the answer of this call stand, whatever it is."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self._call = call

    def assess(self, observation: Observation) -> Assessment:
        return dataclasses.replace(super().assess(observation), chosen=self._call)


class By:
    """A rule that says `accept`, `wait`, `abstain`, `escalate` (to the first open oracle) or `escalate NAME`."""

    def __init__(self, say: str | Callable[[Assessment, Options], str]) -> None:
        self._say = say

    def resolved(self, router: Any) -> "By":
        return self

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        said = self._say if isinstance(self._say, str) else self._say(assessment, options)
        verdict, _, oracle = said.partition(" ")
        if verdict == "escalate" and not oracle:
            oracle = options.oracles[0] if options.oracles else "nobody"
        return Decision(verdict=Verdict(verdict), oracle=oracle or None, reason="because")


# Members


def answer_with(what: Any, tokens: list[str]) -> Any:
    """`what` is a whole `Answer`, or a text that follows the tokens (None: the tokens are all of it)."""
    if what is _NOTHING:
        return None
    if isinstance(what, Answer):
        return what
    return Answer(text="".join(tokens) if what is None else what)


@dataclass
class Member:
    """A member on virtual time; `asked` and `over` count what was begun and what has ended, in whatever way."""

    name: str
    parts: list[Part]
    clock: Any
    asked: int = 0
    over: int = 0

    @contextlib.contextmanager
    def counted(self):
        self.asked += 1
        try:
            yield
        finally:
            self.over += 1


class PlainTaskMember(Member):
    async def items(self):
        tokens = []
        with self.counted():
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
        return [item async for item in self.items()][-1]


class TaskMember(PlainTaskMember):
    def astream(self, query: Query):
        return self.items()


class PlainThreadMember(Member):
    def items(self):
        tokens = []
        with self.counted():
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
        return list(self.items())[-1]


class ThreadMember(PlainThreadMember):
    def stream(self, query: Query):
        return self.items()


# Runs


@dataclass
class Run:
    """What one driver made of a scenario."""

    machine: Deliberation
    read: list[tuple[float, Any]]
    members: Mapping[str, Member]
    error: BaseException | None = None
    answer: Answer | None = None

    @property
    def log(self) -> list[tuple[Any, ...]]:
        """Every event with its commands, without what differs by nature (exceptions, `raw`)."""
        return [(e.at, e.event, e.call, e.commands) for e in self.machine.log]

    @property
    def trace(self) -> Trace:
        return self.machine.trace


def task_cast(s: Scenario, clock: VirtualTaskClock) -> tuple[dict[str, Member], dict[str, Any]]:
    """The members and gatherers for the asyncio driver."""

    def gatherer(kind: str):
        seconds, value = s.evidence[kind]

        async def gather(_: Gather):
            await clock.sleep(seconds)
            if isinstance(value, BaseException):
                raise value
            return value

        return gather

    members = {
        name: (PlainTaskMember if name in s.plain else TaskMember)(name, s.parts(name), clock)
        for name in (*s.crowd, *s.oracles)
    }
    return members, {kind: gatherer(kind) for kind in s.evidence}


def thread_cast(s: Scenario, clock: VirtualThreadClock) -> tuple[dict[str, Member], dict[str, Any]]:
    """The members and gatherers for the thread driver."""

    def gatherer(kind: str):
        seconds, value = s.evidence[kind]

        def gather(_: Gather):
            clock.sleep(seconds)
            if isinstance(value, BaseException):
                raise value
            return value

        return gather

    members = {
        name: (PlainThreadMember if name in s.plain else ThreadMember)(name, s.parts(name), clock)
        for name in (*s.crowd, *s.oracles)
    }
    return members, {kind: gatherer(kind) for kind in s.evidence}


def on_tasks(s: Scenario) -> Run:
    """On asyncio tasks; whatever is raised is the run's error."""
    clock = VirtualTaskClock()
    members, gatherers = task_cast(s, clock)
    run = Run(s.machine(), [], members)

    async def interrupt(conductor: TaskConductor, at: float, reason: str) -> None:
        CALL.set(AFTER_CALLS)
        await clock.sleep(at)
        conductor.interrupt(reason)

    async def main() -> None:
        conductor = TaskConductor(
            run.machine,
            members,
            clock=clock,
            gatherers=gatherers,
            reader=lambda item: run.read.append((clock.now(), item)),
        )
        callers = [asyncio.ensure_future(interrupt(conductor, *when)) for when in s.interrupts]
        try:
            outcome = await conductor.run(s.context)
            await conductor.finish()
            run.answer = outcome.answer
        except Exception as error:
            run.error = error
        finally:
            for caller in callers:
                caller.cancel()

    clock.run(main)
    return run


def on_threads(s: Scenario) -> Run:
    """On threads; whatever is raised is the run's error."""
    clock = VirtualThreadClock()
    members, gatherers = thread_cast(s, clock)
    run = Run(s.machine(), [], members)
    conductor = ThreadConductor(
        run.machine,
        members,
        clock=clock,
        gatherers=gatherers,
        reader=lambda item: run.read.append((clock.now(), item)),
    )

    def interrupt(at: float, reason: str) -> None:
        CALL.set(AFTER_CALLS)
        clock.sleep(at)
        conductor.interrupt(reason)
        clock.ended()

    for at, reason in s.interrupts:
        clock.started()
        THREADS.submit(lambda at=at, reason=reason: interrupt(at, reason))
    try:
        outcome = conductor.run(s.context)
        conductor.finish()
        run.answer = outcome.answer
    except Exception as error:
        run.error = error
    wake_everybody(clock)
    return run


def wake_everybody(clock: VirtualThreadClock) -> None:
    """Let abandoned calls come to their end, so that no thread stays behind."""
    with contextlib.suppress(Deadlock):
        clock.wait(threading.Event(), inf)


def scripted(parts: list[Part], *, stream: bool) -> list[Scripted]:
    """A member's parts as the replay driver takes them."""
    found, after, tokens = [], 0.0, []
    for seconds, what in parts:
        after += seconds
        if isinstance(what, Tok):
            tokens.append(what.text)
            if stream:
                found.append(Scripted(after, "token", Token(text=what.text)))
        elif isinstance(what, Boom):
            return [*found, Scripted(after, "failure", Failure.of(what))]
        elif isinstance(what, BaseException):
            return [*found, Scripted(after, "bug", what)]
        else:
            return [*found, Scripted(after, "answer", answer_with(what, tokens))]
    return found


class Ticking(ReplayConductor):
    """Ticks before every arrival, however little there is to see."""

    def receive(self, arrival: Any) -> None:
        if arrival.at < self.alarm:  # At a tie the arrival is first.
            self.obey(self.deliberation.tick(arrival.at), arrival.at)
        super().receive(arrival)


def on_replay(s: Scenario, *, start: float = 0.0, ticking: bool = False) -> Run:
    """From a script; whatever is raised is the run's error."""
    run = Run(s.machine(), [], {})

    def script(command: Ask | Gather) -> list[Scripted]:
        if isinstance(command, Gather):
            after, value = s.evidence[command.kind]
            failed = isinstance(value, BaseException)
            return [
                Scripted(after, "failure" if failed else "evidence", Failure.of(value) if failed else value)
            ]
        return scripted(s.parts(command.member), stream=command.stream and command.member not in s.plain)

    conductor = (Ticking if ticking else ReplayConductor)(
        run.machine,
        {},
        script=script,
        interrupts=s.interrupts,
        start=start,
        reader=lambda item: run.read.append((conductor.now, item)),
    )
    try:
        run.answer = conductor.run(s.context).answer
    except Exception as error:
        run.error = error
    return run


def raising(run_on: Callable[..., Run]) -> Callable[..., Run]:
    """A runner that lets bugs out; that there is no answer is no bug."""

    def run(s: Scenario, **options: Any) -> Run:
        found = run_on(s, **options)
        if found.error is not None and not isinstance(found.error, PyramidFailed | PyramidAbstained):
            raise found.error
        return found

    return run


run_tasks, run_threads, run_replay = raising(on_tasks), raising(on_threads), raising(on_replay)
RUNNERS = {"tasks": run_tasks, "threads": run_threads, "replay": run_replay}


# Beside a reader


def beside_tasks(s: Scenario, pause: float) -> Run:
    """As `on_tasks`, beside a reader who pauses after everything that is read; interrupts are left out."""
    clock = VirtualTaskClock()
    members, gatherers = task_cast(s, clock)
    run = Run(s.machine(), [], members)

    async def main() -> None:
        settled = asyncio.Event()
        items = aread(
            lambda reader: TaskConductor(
                run.machine, members, clock=clock, gatherers=gatherers, reader=reader
            ),
            s.context,
            lambda _: settled.set(),
            leaving="left",
        )
        try:
            async for item in items:
                run.read.append((clock.now(), item))
                await clock.sleep(pause)
        except (PyramidFailed, PyramidAbstained) as error:
            run.error = error
        await settled.wait()

    clock.run(main)
    return run


def beside_threads(s: Scenario, pause: float) -> Run:
    """As `beside_tasks`, on threads.

    The clock counts one running thread from the start, which is the driver's here; the reader counts where it sleeps.
    """
    clock = VirtualThreadClock()
    members, gatherers = thread_cast(s, clock)
    run = Run(s.machine(), [], members)
    items = read(
        lambda reader: ThreadConductor(run.machine, members, clock=clock, gatherers=gatherers, reader=reader),
        s.context,
        lambda _: clock.ended(),
        leaving="left",
    )
    try:
        for item in items:
            run.read.append((clock.now(), item))
            clock.started()
            clock.sleep(pause)
            clock.ended()
    except (PyramidFailed, PyramidAbstained) as error:
        run.error = error
    clock.started()
    wake_everybody(clock)
    return run


# What happened, on one line


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
                return f"abstain ({command.reason})"
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
    """What the reader was given and when: `2:a 3:b`."""
    return " ".join(f"{at:g}:{item.text}" for at, item in read if isinstance(item, Token))


def changed(s: Scenario, **fields: Any) -> Scenario:
    return dataclasses.replace(s, **fields)
