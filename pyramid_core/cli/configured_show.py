"""How checks and collections are shown: a table of what each model can do, a bar with rate, cost and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyramid_core.cli.terminal import new_table, readable

if TYPE_CHECKING:
    from rich.console import Console

    from pyramid_core.collection import Collected, Progress
    from pyramid_core.collection.probing import Probe

LINE_SECONDS = 15.0
"""How often progress is a line where nobody looks at a terminal."""

_WORDS = {True: "yes", False: "no", None: "-"}


def show_probes(console: Console, config: str, probes: list[Probe], *, fault: str) -> None:
    """One line a member, and below it what to fix."""
    table = new_table(
        "member",
        "role",
        "reachable",
        "usage",
        "log-probs",
        "tools",
        "streaming",
        "price",
        numbers=("latency", "calls"),
    )
    for probe in probes:
        table.add_row(
            readable(probe.name, limit=32),
            probe.role,
            _WORDS[probe.latency is not None],
            *(
                _WORDS[one]
                for one in (probe.usage, probe.logprobs, probe.tools, probe.streaming, probe.price)
            ),
            "-" if probe.latency is None else f"{probe.latency:.2f} s",
            str(probe.calls),
        )
    console.print(table)
    for probe in probes:
        for words in probe.fix:
            console.print(f"{readable(probe.name)}: {readable(words)}", soft_wrap=True)
    if fault:
        console.print(readable(fault), soft_wrap=True)
    bad = [probe.name for probe in probes if not probe.usable] + (["the pyramid"] if fault else [])
    if bad:
        console.print(f"{config} cannot be used as it is: {', '.join(map(readable, bad))}", soft_wrap=True)
    else:
        console.print(f"{config} can be used.", soft_wrap=True)


def show_collected(console: Console, found: Collected, *, crowd: tuple[str, ...], oracle: str) -> None:
    """What came of a collection, and what comes next."""
    at = found.progress
    earlier = f", {at.found} of them from earlier runs" if at.found else ""
    console.print(
        f"{at.done} of {at.total} records are in {found.out}{earlier}: {at.asked} calls, {at.failed} failed, "
        f"{at.cost} altogether, {at.seconds:.1f} s",
        soft_wrap=True,
    )
    for name, words in found.failures.items():
        console.print(
            f"{readable(name)} failed, the last time with {readable(words, limit=300)}", soft_wrap=True
        )
    if found.stopped:
        console.print(f"stopped: {readable(found.stopped, limit=400)}", soft_wrap=True)
    if not found.complete or found.failures:
        console.print("The same command goes on where this one ended, and asks again what failed.")
    else:
        members = " ".join(f"--crowd {_argument(name)}" for name in crowd)
        console.print(
            f"Next: pyramid train {found.out} {members} --oracle {_argument(oracle)} -o ./router",
            soft_wrap=True,
        )


@contextmanager
def collecting(out: Path) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr, or now and then a line where that is no terminal; Ctrl-C says what is kept."""
    try:
        with _bar() if sys.stderr.isatty() else _lines() as then:
            yield then
    except KeyboardInterrupt:
        sys.stderr.write(
            f"pyramid: interrupted; what was answered is in {out}.part and {out}.calls, the same command goes on\n"
        )
        raise


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("collecting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, told="")
        yield lambda at: bar.update(task, completed=at.done, total=at.total, told=_told(at))


@contextmanager
def _lines() -> Iterator[Callable[[Progress], None]]:
    last = time.monotonic()

    def then(at: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            sys.stderr.write(f"{at.done} of {at.total} records, {_told(at)}\n")
            sys.stderr.flush()

    yield then


def _told(at: Progress) -> str:
    """Rate, cost so far, failures, time left."""
    failed = f", {at.failed} failed" if at.failed else ""
    left = "" if at.left is None else f", {_time(at.left)} left"
    return f"{at.rate:.2f}/s, {at.cost}{failed}{left}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _argument(name: str) -> str:
    import shlex

    return shlex.quote(name)
