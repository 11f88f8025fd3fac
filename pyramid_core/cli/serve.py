"""`pyramid serve`: what can be typed, and a server made of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyramid_core.cli.terminal import tidy
from pyramid_core.errors import InputError

if TYPE_CHECKING:
    from pyramid_core.configuration import ServerSettings
    from pyramid_core.gateway import Settings
    from pyramid_core.pyramid import Pyramid


def serve(
    *,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="The configuration; pyramid.toml by default.")
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Serve the models that ship inside the package.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Where to listen; this machine alone by default.")] = None,
    port: Annotated[int | None, typer.Option(help="8000 by default; 0 takes a free one.")] = None,
    mode: Annotated[str | None, typer.Option(help="Who answers: pyramid, shadow, oracle or crowd.")] = None,
    traces: Annotated[Path | None, typer.Option(help="Append finished traces to this file (.jsonl).")] = None,
    explore: Annotated[
        float | None, typer.Option(help="The share of accepted queries that also ask the oracle, 0 to 1.")
    ] = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Let the whole network in without a key.")
    ] = False,
    log_content: Annotated[
        bool, typer.Option("--log-content", help="Write questions and answers into the log.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log warnings and errors only.")] = False,
) -> None:
    """Serve the pyramid over HTTP, in the form that OpenAI's clients speak.

    Callers need a key where the environment variable PYRAMID_SERVER_KEY holds some, one a line; PYRAMID_ADMIN_KEY holds
    those that may switch the mode.
    """
    with tidy():
        from pyramid_core.gateway import Settings

        server, build = _described(config, embedded=embedded)
        given = {
            "host": host,
            "port": port,
            "mode": mode,
            "without_key": without_key or None,
            "log_content": log_content or None,
        }
        settings = Settings.read(server, **{key: value for key, value in given.items() if value is not None})
        if explore is not None:
            build = partial(build, explore=explore)
        _run(build, settings, traces or server.trace_file, quiet=quiet)


def _run(build: Callable[..., Pyramid], settings: Settings, file: Path | None, *, quiet: bool) -> None:
    from pyramid_core.collection.sink import TraceSink
    from pyramid_core.gateway import Gateway
    from pyramid_core.gateway import serve as serve_gateway
    from pyramid_core.gateway.logs import write_logs

    sink = None if file is None else TraceSink(file)
    try:
        gateway = Gateway(build, settings, sink=sink)
        write_logs(level=logging.WARNING if quiet else logging.INFO)
        serve_gateway(gateway, ready=lambda address: typer.echo(f"pyramid serves {address}"))
    finally:
        if sink is not None:
            sink.close()


def _described(config: Path | None, *, embedded: bool) -> tuple[ServerSettings, Callable[..., Pyramid]]:
    """The server's settings, and what makes the pyramid."""
    from pyramid_core.configuration import FILE, ServerSettings, load_configuration

    if embedded:
        if config is not None:
            raise InputError("--embedded and -c name two pyramids: give one of them")
        from pyramid_core.gateway import embedded_build

        return ServerSettings(), embedded_build()
    configuration = load_configuration(config or FILE)
    # Now, and not when the first user asks.
    configuration.check_keys()
    return configuration.server, configuration.pyramid
