"""What can be typed. Each command checks what it was given, runs, and shows; the work is loaded when it is asked for."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from pyramid_core import __version__
from pyramid_core.cli import configured, evidence
from pyramid_core.cli.serve import serve
from pyramid_core.cli.terminal import tidy

DEFAULT_SEED = 20_260_305
"""Of the demo's questions, so that it can be repeated; nothing was trained, tuned or tested with it."""

app = typer.Typer(
    name="pyramid",
    help="Ask a crowd of cheap language models first, and an oracle only where that is worth its cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
RouterName = Annotated[
    str,
    typer.Option("--router", help="embedded (trained for these models), agreement, or a router's folder."),
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pyramid {__version__}")
        raise typer.Exit


@app.callback()
def pyramid(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Ask a crowd of cheap language models first, and an oracle only where that is worth its cost."""


@app.command()
def demo(
    *,
    n: Annotated[int, typer.Option("-n", min=1, help="How many questions.")] = 200,
    seed: Annotated[
        int, typer.Option(help="Which questions: the same seed, the same questions.")
    ] = DEFAULT_SEED,
    router: RouterName = "embedded",
    as_json: AsJson = False,
) -> None:
    """Send fresh questions through the pyramid of embedded models and compare it with what else could be done.

    The questions are arithmetic word problems that no model and no router was trained on. The oracle is also asked
    those that the pyramid kept, outside of it and not on its bill, to know what it would have said.
    """
    with tidy():
        from pyramid_core.cli.demo import embedded_pyramid, figures, walk
        from pyramid_core.cli.show import show_demo
        from pyramid_core.cli.terminal import console, progress
        from pyramid_core.embedded.problems import problems

        made = embedded_pyramid(router)
        with progress("asking", n) as step:
            walks = [walk(made, problem, then=step) for problem in problems(seed, n)]
        found = figures(walks, seed=seed)
        if as_json:
            typer.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
        else:
            show_demo(console(), made, walks, found, seed=seed)


@app.command()
def ask(
    question: Annotated[
        str, typer.Argument(help="A word problem in the embedded models' language; - reads stdin.")
    ],
    *,
    router: RouterName = "embedded",
    as_json: AsJson = False,
) -> None:
    """Ask one question and show the whole deliberation: every answer, p_fail, both barriers, the verdict.

    The embedded models know arithmetic word problems ("Ann has 12 apples. She finds 7 more. How many apples does Ann
    have now?") and nothing else.
    """
    with tidy():
        from pyramid_core.cli.demo import embedded_pyramid
        from pyramid_core.cli.show import show_deliberation
        from pyramid_core.cli.terminal import console
        from pyramid_core.records import trace_to_record

        made = embedded_pyramid(router)
        outcome = made.ask(sys.stdin.read() if question == "-" else question)
        if as_json:
            typer.echo(json.dumps(trace_to_record(outcome.trace), indent=2, allow_nan=False))
        else:
            show_deliberation(console(), made, outcome)


for command in (*configured.COMMANDS, *evidence.COMMANDS):
    app.command()(command)
app.command()(serve)
