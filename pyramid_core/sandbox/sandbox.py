"""The sandbox: a program and its calls in, results out, each with the protections that were in place.

A program is loaded once and makes its calls one after another, in one process of its own. A call that does not
return in time, or ends the process, costs that process: the calls after it get a new one. Programs run side by side
in as many processes as the sandbox has workers.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from time import monotonic
from typing import Any, Literal

from pyramid_core.errors import InputError, SandboxError
from pyramid_core.sandbox.running import Ended, Running
from pyramid_core.sandbox.values import decoded

NOBODY = 65534

PROTECTIONS: Mapping[str, str] = {
    "session": "has a session and process group of its own",
    "unprivileged": "is not root, whoever started it",
    "no new privileges": "cannot gain any by running another program",
    "files": "sees the interpreter, read-only, and an empty scratch folder in memory; no other file exists for it",
    "network": "has no network, not even this machine's own",
    "processes": "sees and signals no process but its own, which all end with it",
    "messages": "shares no System V or POSIX message queues and semaphores",
    "cpu": "has a limit on CPU seconds",
    "memory": "has a limit on memory, for each of its processes",
    "children": "has a limit on the number of processes and threads",
    "open files": "has a limit on open files",
    "file size": "has a limit on what it writes",
    "wall clock": "is ended when its time is over",
    "output": "has a limit on what is read from it",
    "scratch": "works in a folder that is removed afterwards",
}
"""Everything that can protect you, and what it means: the program ..."""

_ALWAYS = frozenset({"wall clock", "output", "scratch"})
_MODES = ("jail", "net", "bare")

Status = Literal["value", "error", "timed out", "cannot run"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: of the clock for loading it, and for each call.
        cpu_seconds: of CPU time for one process with all its calls.
        memory_bytes: for each process.
        processes: how many processes and threads.
        open_files: descriptors.
        file_bytes: of a file, and of the whole scratch folder where it is in memory.
        result_chars: of one result.
        output_bytes: of all results of one process.
        restarts: new processes after calls that ended theirs; calls that are left then are not tried.
        startup_seconds: for the process itself to be ready, on a busy machine.
    """

    seconds: float = 5.0
    cpu_seconds: int = 20
    memory_bytes: int = 1 << 29
    processes: int = 8
    open_files: int = 32
    file_bytes: int = 1 << 24
    result_chars: int = 200_000
    output_bytes: int = 8_000_000
    restarts: int = 2
    startup_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0 and not (name == "restarts" and value == 0):
                raise InputError(f"{name} must be a positive number, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One step in the program's namespace.

    Attributes:
        source: an expression, or statements.
        kind: "eval" for an expression, whose value is the result; "exec" for statements, whose result is None.
        again: a preparation: made anew in every new process, before the calls that are left.
        forgeable: what is expected is part of the source, so a program can bring the result about by other means.
    """

    source: str
    kind: Literal["eval", "exec"] = "eval"
    again: bool = False
    forgeable: bool = False

    @staticmethod
    def of(name: str, *args: Any, **kwargs: Any) -> Call:
        """The call of a function with literal arguments."""
        given = [repr(value) for value in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        return Call(source=f"{name}({', '.join(given)})")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a call.

    Attributes:
        status: "value"; "error" (the call raised, or ended its process); "timed out"; "cannot run" (the program could
            not be loaded, or ended too many processes before).
        value: a plain value, where the status is "value".
        error: the exception's class name, `exit 0`, a signal's name, or why it was not tried.
        forgeable: as the call has it.
        seconds: by the clock, from the result before.
        protections: which of `PROTECTIONS` were in place.
    """

    status: Status
    value: Any = None
    error: str = ""
    forgeable: bool = False
    seconds: float = 0.0
    protections: frozenset[str] = field(default=frozenset(), repr=False)


Stop = Callable[[int, Result], bool]
"""(the call's place, its result) -> whether the calls after it are not wanted any more."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A program, its calls, and when to stop: what `Sandbox.run` takes."""

    program: str
    calls: Sequence[Call]
    stop: Stop | None = None


class Sandbox:
    """Runs programs where they can do no harm.

    Args:
        limits: what each may use.
        workers: how many programs run at once in `run_many`.
        python: the interpreter to run them with; None: this one. Its library must be readable.
        require: names out of `PROTECTIONS` without which nothing is run.

    Raises:
        InputError: a name in `require` is unknown.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        workers: int = 2,
        python: str | None = None,
        require: Collection[str] = (),
    ) -> None:
        unknown = sorted(set(require) - set(PROTECTIONS))
        if unknown:
            raise InputError(f"unknown protections {unknown}: use some of {', '.join(PROTECTIONS)}")
        self.limits = limits or Limits()
        self.workers = workers
        self.python = python or sys.executable
        self.require = frozenset(require)
        self._lock = threading.Lock()
        self._mode: str | None = None
        self._protections: frozenset[str] = frozenset()

    @property
    def protections(self) -> frozenset[str]:
        """What is in place on this system, found by running a program that does nothing.

        Raises:
            SandboxError: nothing can be run here, or not with the required protections; says why.
        """
        self._settle()
        return self._protections

    def run(self, program: str, calls: Sequence[Call], *, stop: Stop | None = None) -> list[Result]:
        """Load a program and make calls, in order.

        Args:
            program: its source.
            calls: the steps.
            stop: asked after each result; the results end with the one that it says yes to.

        Returns:
            one result a call, or fewer where `stop` said so.

        Raises:
            SandboxError: nothing can be run here, or not with the required protections; says why.
        """
        mode = self._settle()
        results: list[Result] = []
        lost = 0
        while len(results) < len(calls):
            if lost > self.limits.restarts:
                left = calls[len(results) :]
                results += [self._result(call, "cannot run", error="not tried") for call in left]
                break
            done = len(results)
            redo = [call for call in calls[:done] if call.again]
            fresh = self._once(mode, program, redo, calls[done:])
            for place, result in enumerate(fresh, done):
                results.append(result)
                if stop is not None and stop(place, result):
                    return results
            lost += 1
        return results

    def run_many(self, jobs: Iterable[Job]) -> Iterator[list[Result]]:
        """As `run` for every job, in order, `workers` at once; jobs are taken as they are needed.

        Raises:
            SandboxError: as `run`.
        """
        todo = iter(jobs)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox") as pool:

            def begun(count: int) -> list[Any]:
                return [
                    pool.submit(self.run, job.program, job.calls, stop=job.stop)
                    for job in islice(todo, count)
                ]

            waiting = begun(4 * self.workers)
            try:
                while waiting:
                    yield waiting.pop(0).result()
                    waiting += begun(1)
            finally:
                for future in waiting:
                    future.cancel()

    def _once(self, mode: str, program: str, redo: Sequence[Call], calls: Sequence[Call]) -> Iterator[Result]:
        """The results of one process: of all calls, or up to the one that ended it."""
        with self._started(mode, program, [*redo, *calls]) as running:
            try:
                ready = running.line(self.limits.startup_seconds)
            except Ended as ended:
                ready = f"refused the process ended: {ended.how}"
            if ready is None or not ready.startswith("ready"):
                reason = "it was not ready in time" if ready is None else ready.partition(" ")[2]
                raise SandboxError(f"a program could not be run: {reason}")
            loaded = _heard(running, self.limits.seconds)
            if loaded == ("loaded", ""):
                for _ in redo:
                    loaded = _heard(running, self.limits.seconds)
                    if loaded[0] not in ("value", "error"):
                        break
                else:
                    yield from self._listen(running, calls)
                    return
        for call in calls:
            yield self._result(call, "cannot run", error=loaded[1] or loaded[0])

    def _listen(self, running: Running, calls: Sequence[Call]) -> Iterator[Result]:
        for call in calls:
            start = monotonic()
            said, rest = _heard(running, self.limits.seconds)
            took = monotonic() - start
            if said == "value":
                try:
                    yield self._result(call, "value", value=decoded(rest), seconds=took)
                    continue
                except ValueError:
                    said, rest = "lost", "unreadable result"
            if said == "error":
                yield self._result(call, "error", error=rest, seconds=took)
                continue
            if said == "timed out":
                yield self._result(call, "timed out", seconds=took)
            else:
                yield self._result(call, "error", error=rest, seconds=took)
            return

    def _result(self, call: Call, status: Status, **known: Any) -> Result:
        return Result(status=status, forgeable=call.forgeable, protections=self._protections, **known)

    def _started(self, mode: str, program: str, calls: Sequence[Call]) -> Running:
        job = {
            "program": program,
            "steps": [(call.kind, call.source) for call in calls],
            "limits": {name: int(value) for name, value in asdict(self.limits).items()},
        }
        owner = NOBODY if mode != "jail" and os.geteuid() == 0 else None
        return Running(
            python=self.python, mode=mode, job=job, owner=owner, output_bytes=self.limits.output_bytes
        )

    def _settle(self) -> str:
        """The most protective mode that works here."""
        with self._lock:
            if self._mode is None:
                self._mode, self._protections = self._tried()
            return self._mode

    def _tried(self) -> tuple[str, frozenset[str]]:
        if os.name != "posix":
            raise SandboxError(
                "programs can be confined on Linux and macOS only: run this one there, or in a container"
            )
        reasons = []
        for mode in _MODES:
            said = self._answer_of(mode)
            if said.startswith("ready"):
                found = _ALWAYS | (set(said.partition(" ")[2].split(",")) & set(PROTECTIONS))
                missing = sorted(self.require - found)
                if not missing:
                    return mode, found
                said = f"refused it has no protection {missing}"
            reasons.append(f"{mode}: {said.partition(' ')[2]}")
        raise SandboxError(
            "programs cannot be run safely here ("
            + "; ".join(reasons)
            + "): start the process as a user other than "
            "root, allow user namespaces, require less, or give another interpreter with python="
        )

    def _answer_of(self, mode: str) -> str:
        """What a mode says to a program that does nothing: ready, or refused and why."""
        try:
            with self._started(mode, "", []) as running:
                said = running.line(self.limits.startup_seconds)
        except Ended as ended:
            return f"refused the process ended: {ended.how}"
        except OSError as error:
            return f"refused {error}"
        return said or f"refused it was not ready after {self.limits.startup_seconds:g} s"


def _heard(running: Running, seconds: float) -> tuple[str, str]:
    """The next thing said, as (word, rest): also "timed out", and "lost" with how the process ended."""
    try:
        said = running.line(seconds)
    except Ended as ended:
        return ("timed out", "") if ended.how == "timed out" else ("lost", ended.how)
    if said is None:
        return "timed out", ""
    word, _, rest = said.partition(" ")
    return (word, rest) if word in ("value", "error", "loaded", "unloaded") else ("lost", "unreadable result")
