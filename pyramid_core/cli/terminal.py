"""What a terminal is owed: colour and a bar where someone looks, plain text where a program reads, a quiet end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from pyramid_core.errors import ContractError, PyramidError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 100
"""Columns of what is written to a file or a pipe."""


@contextmanager
def tidy() -> Iterator[None]:
    """Run a command so that it ends as a command should.

    An error of the project's tree is one line on stderr and exit code 2; Ctrl-C is a silent 130; a reader that has
    left (`| head`) is a silent 1. Anything else is a bug here or in a member, and keeps its traceback.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        yield
        sys.stdout.flush()
    except ContractError:
        raise
    except PyramidError as error:
        sys.stderr.write(f"pyramid: {readable(' '.join(str(error).split()))}\n")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # What is still buffered would raise once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


def console() -> Console:
    """Where a command's result goes; colour only on a terminal, and not where NO_COLOR is set."""
    from rich.console import Console

    # Questions and answers are texts, not markup.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, where that is a terminal; what it gives is called once a step."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def readable(text: str, *, limit: int | None = None) -> str:
    """`text` without characters that would act on a terminal, cut to `limit` characters."""
    cut = text if limit is None or len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in cut)


def new_table(*words: str, numbers: tuple[str, ...]) -> Table:
    """An empty table: columns of words, then columns of numbers, which stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table
