"""The commands that begin with a `pyramid.toml`: write one, check it, collect answers with it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramid_core.cli.terminal import tidy
from pyramid_core.errors import InputError, PyramidError

if TYPE_CHECKING:
    from pyramid_core.configuration import Configuration

ConfigPath = Annotated[Path, typer.Option("-c", "--config", help="The configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Queries = Annotated[Path | None, typer.Argument(help="Questions: JSONL (plain or gzip), CSV or TSV.")]
FromLangSmith = Annotated[
    Path | None,
    typer.Option("--from-langsmith", help="Ask nobody: runs that LangSmith has recorded, one a line."),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="The file of records; gzip where it ends in .gz.")
]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", help="KEY=COLUMN: what the file calls query, id, reference, ..."),
]
Reference = Annotated[
    str | None, typer.Option(help="The column with the right answers: short for --column reference=...")
]
Grade = Annotated[
    str,
    typer.Option(
        "--grade", help="auto, number, choice, literal, text, tool_calls, code, judge ([judge]) or none."
    ),
]
RunCode = Annotated[bool, typer.Option("--run-code", help="Run programs that models wrote, to grade them.")]
MaxCost = Annotated[
    float | None, typer.Option(help="USD that the whole collection may cost; it stops before that.")
]
MaxQueries = Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Questions asked at once.")]
Timeout = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds for each call; else as the member has it.")
]
DEFAULT = Path("pyramid.toml")


def init(
    *,
    config: ConfigPath = DEFAULT,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Of the models that ship inside: try everything offline.")
    ] = False,
) -> None:
    """Write a commented configuration; nothing is overwritten."""
    with tidy():
        from pyramid_core.configuration.template import template, write_template

        today = dt.datetime.now(tz=dt.UTC).date().isoformat()
        write_template(config, template(embedded=embedded, today=today))
        then = "" if config == DEFAULT else f" -c {config}"
        typer.echo(f"{config} is written. Next: edit it, then pyramid check{then}")


def check(
    *,
    config: ConfigPath = DEFAULT,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for each call.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Call every model of a configuration once, and say what each can do and what to fix; exit code 1 where one is unusable."""
    with tidy():
        from pyramid_core.cli.configured_show import show_probes
        from pyramid_core.cli.terminal import console
        from pyramid_core.collection.probing import probed
        from pyramid_core.configuration import load_configuration

        told = load_configuration(config)
        probes = asyncio.run(probed(_members(told), patience=timeout))
        fault = _fault(told)
        usable = not fault and all(probe.usable for probe in probes)
        if as_json:
            found = {"config": str(config), "usable": usable, "fault": fault}
            found |= {"members": [probe.as_json() for probe in probes]}
            typer.echo(json.dumps(found, indent=2, allow_nan=False))
        else:
            show_probes(console(), str(config), probes, fault=fault)
        if not usable:
            raise typer.Exit(1)


def collect(
    queries: Queries = None,
    *,
    from_langsmith: FromLangSmith = None,
    output: Output = Path("traces.jsonl.gz"),
    config: ConfigPath = DEFAULT,
    column: Column = None,
    reference: Reference = None,
    grade: Grade = "auto",
    run_code: RunCode = False,
    max_cost: MaxCost = None,
    max_queries: MaxQueries = None,
    concurrency: Concurrency = 8,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Ask the crowd and the oracle every question, and write records for train, profile and verify.

    It can be ended at any moment: the same command goes on, asks for nothing that was answered, and asks again what
    failed. Until the end the records are in OUTPUT.part, which train, profile and verify read as well.
    """
    with tidy():
        if from_langsmith is not None or queries is None:
            _from_langsmith(from_langsmith, queries, output, as_json=as_json)
            return
        from pyramid_core.cli.configured_show import collecting, show_collected
        from pyramid_core.cli.terminal import console
        from pyramid_core.collection import acollect
        from pyramid_core.configuration import load_configuration

        told = load_configuration(config)
        told.check_keys()
        # Its router may be what the records are collected for: it is not there yet, and plays no part.
        made = told.pyramid(router="agreement", rule=None)
        with collecting(output) as then:
            found = asyncio.run(
                acollect(
                    made,
                    queries,
                    output,
                    columns=_columns(column, reference),
                    grade=grade,
                    judge=None if told.judge is None else told.member(told.judge),
                    run_code=run_code or told.top.run_code,
                    max_cost=max_cost,
                    max_queries=max_queries,
                    concurrency=concurrency,
                    patience=timeout,
                    served_by=told.served_by,
                    then=then,
                )
            )
        if as_json:
            typer.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
        else:
            show_collected(console(), found, crowd=made.crowd, oracle=made.oracles[0])
        if not found.complete:
            raise typer.Exit(1)


def _from_langsmith(runs: Path | None, queries: Path | None, output: Path, *, as_json: bool) -> None:
    """Write the records that are in a file of LangSmith's runs."""
    if runs is None:
        raise InputError(
            "there is nothing to collect from: give a file of questions, or --from-langsmith FILE"
        )
    if queries is not None:
        raise InputError(f"--from-langsmith {runs} asks nobody: leave {queries} out")
    if output.exists():
        raise InputError(f"{output} exists: name another file with --output")
    from langchain_pyramid.langsmith import read_langsmith
    from pyramid_core.records import write_record

    records = list(read_langsmith(runs))
    if not records:
        raise InputError(f"{runs} has no run of a pyramid: the members' runs must be among them")
    for record in records:
        write_record(output, record)
    told = {"records": len(records), "output": str(output)}
    typer.echo(json.dumps(told) if as_json else f"{len(records)} records are in {output}")


COMMANDS = (init, check, collect)


def _members(told: Configuration) -> list[tuple[str, str, Any]]:
    """Everybody that the configuration names, as (name, role, member)."""
    tables = [("crowd", t) for t in told.crowd] + [("oracle", t) for t in told.oracles]
    named = [(name, role, told.member(table)) for name, (role, table) in zip(told.names, tables, strict=True)]
    if told.judge is not None:
        named.append((told.judge.name, "judge", told.member(told.judge)))
    return named


def _columns(column: list[str] | None, reference: str | None) -> dict[str, str]:
    found = {}
    for one in column or ():
        key, equals, name = one.partition("=")
        if not equals or not key.strip() or not name.strip():
            raise InputError(f"--column {one!r} is not KEY=COLUMN, for example query=Question")
        found[key.strip()] = name.strip()
    if reference is not None:
        found["reference"] = reference
    return found


def _fault(told: Configuration) -> str:
    """Why its members make no pyramid: a router that is not there or does not fit, an unknown operating point; or ""."""
    try:
        told.pyramid()
    except PyramidError as error:
        return str(error)
    return ""
