"""Uvicorn around the gateway: it starts, switches modes on signals, and stops without breaking answers off.

SIGTERM, SIGINT   no new work: readyz says so at once, running answers finish within the limit; again: stop now
SIGUSR1           the oracle answers everything
SIGUSR2           back to the mode that the server was started in
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pyramid_core.configuration import Limits
from pyramid_core.errors import InputError
from pyramid_core.gateway.app import build_app
from pyramid_core.gateway.gateway import Gateway
from pyramid_core.gateway.logs import log
from pyramid_core.gateway.refusals import Refusal, bad

_LAST_SECONDS = 1
"""That broken off answers get to say so."""


class Server(uvicorn.Server):
    """Serves a gateway.

    Args:
        gateway: what is served.
        ready: is called once with the address when connections are taken.
    """

    def __init__(self, gateway: Gateway, *, ready: Callable[[str], None] | None = None) -> None:
        settings = gateway.settings
        super().__init__(
            uvicorn.Config(
                build_app(gateway),
                host=settings.host,
                port=settings.port,
                http=type("Protocol", (Protocol,), {"patience": settings.limits.reading}),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_LAST_SECONDS,
            )
        )
        self.gateway = gateway
        self._ready = ready
        self._until: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log(
            logging.INFO, "serving", address=address, mode=self.gateway.mode, models=list(self.gateway.models)
        )
        if self._ready is not None:
            self._ready(address)

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to stop."""
        stop = await super().on_tick(counter)
        if stop or not self.gateway.draining:
            return stop
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self.gateway.settings.limits.drain
        if self.gateway.idle or now >= self._until:
            self.gateway.cancel_all()
            return True
        return False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop when what runs has ended; at the second time, at once."""
        if self.gateway.draining:
            self.gateway.cancel_all()
            self.should_exit = True
        self.gateway.draining = True
        log(logging.INFO, "stopping", signal=signal.Signals(sig).name)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Also the signals that switch the mode, where this is the main thread."""
        with super().capture_signals(), _handled(self.gateway):
            yield


class Protocol(H11Protocol):
    """Uvicorn's HTTP/1.1; requests that are none, or that do not come, are refused in OpenAI's shape as well.

    Attributes:
        patience: seconds that the head of a request may take to arrive.
    """

    patience = Limits.reading
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Read on; uvicorn itself would wait for the rest of a head for ever."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect()
        else:
            self._expect_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and close."""
        self._refuse(bad("this is no valid HTTP request", code="invalid_http"), b"Bad Request")

    def _expect(self) -> None:
        if self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(self.patience, self._give_up)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        refusal = bad("no request came", code="request_timeout", status=408)
        self._refuse(refusal, b"Request Timeout")

    def _refuse(self, refusal: Refusal, reason: bytes) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(refusal.body()).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=refusal.status, headers=headers, reason=reason),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def serve(gateway: Gateway, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal says to stop.

    Args:
        gateway: what is served.
        ready: is called once with the address when connections are taken.

    Raises:
        InputError: the address cannot be listened on.
    """
    with listen(gateway.settings.host, gateway.settings.port) as listening:
        Server(gateway, ready=ready).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        InputError: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small pieces at once (TCP_NODELAY) only on sockets that say they are TCP's; others wait 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(
            f"nothing can listen on {host} port {port} ({error}): choose another with --port"
        ) from error
    return listening


@contextlib.contextmanager
def _handled(gateway: Gateway) -> Iterator[None]:
    modes: dict[int, Any] = {
        signal.SIGUSR1: lambda *_: gateway.switch("oracle"),
        signal.SIGUSR2: lambda *_: gateway.switch(gateway.settings.mode),
    }
    try:
        before = {number: signal.signal(number, handler) for number, handler in modes.items()}
    except ValueError:  # Signals are the main thread's.
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
