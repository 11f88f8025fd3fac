"""Connections: aiohttp's, one session for each event loop, and what goes wrong in words of our own.

httpx's own pool collapses at a hundred concurrent queries; aiohttp's does not, and without httpx's interface over it a
call costs about a third less CPU time (`benchmarks/endpoint_speed.py`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from pyramid_core.endpoints.limits import Tries
from pyramid_core.endpoints.settings import Timeouts
from pyramid_core.errors import (
    EndpointGarbled,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnreachable,
    MissingExtra,
)

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

REDIRECTS = (301, 302, 303, 307, 308)
FOLLOWED = (307, 308)
"""Redirects that keep the method and the body."""

MAX_REDIRECTS = 3
KEEP_SECONDS = 30.0
"""How long an idle connection is kept."""

LAST_PIECE_SECONDS = 0.05
"""How long a stream that has said `[DONE]` may take to end, so that its connection can be used again."""


class Connections:
    """The sessions of one endpoint; those of a loop are closed when it ends, or by `close`.

    Raises:
        MissingExtra: aiohttp is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import aiohttp  # noqa: F401 - here, where it may take its time, and not in the first call on a loop
        except ImportError as error:
            raise MissingExtra("aiohttp", "endpoints") from error
        self.proxy = _proxy(url)
        self._sessions: dict[
            asyncio.AbstractEventLoop, tuple[ClientSession, weakref.finalize[Any, Connections]]
        ] = {}

    async def session(self) -> ClientSession:
        """The running loop's session."""
        loop = asyncio.get_running_loop()
        found = self._sessions.get(loop)
        if found is not None and not found[0].closed:
            return found[0]
        for other in [other for other in self._sessions if other.is_closed() or other is loop]:
            self._sessions.pop(other)[1].detach()
        keeper = _kept_session()
        session = await anext(keeper)
        # The finalizer holds the session, so that one collected with its endpoint is closed before it is freed.
        self._sessions[loop] = session, weakref.finalize(self, _let_go, loop, keeper)
        return session

    async def close(self) -> None:
        """Close the sessions of all loops that still run."""
        here = asyncio.get_running_loop()
        sessions, self._sessions = self._sessions, {}
        for loop, (_, finalizer) in sessions.items():
            found = finalizer.detach()
            if found is None or loop.is_closed():
                continue
            keeper: AsyncGenerator[ClientSession, None] = found[2][1]
            if loop is here:
                await keeper.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_ended(keeper), loop))


def _let_go(loop: asyncio.AbstractEventLoop, keeper: AsyncGenerator[ClientSession, None]) -> None:
    """Close a session whose endpoint is gone, if its loop still runs."""
    with suppress(RuntimeError):  # closed meanwhile, and the session with it
        loop.call_soon_threadsafe(lambda: loop.create_task(_ended(keeper)))


async def _ended(keeper: AsyncGenerator[ClientSession, None]) -> None:
    await keeper.aclose()


async def _kept_session() -> AsyncGenerator[ClientSession, None]:
    """Yields a session and closes it when the loop shuts its generators down, as `asyncio.run` does at its end.

    That is the one hook by which a library learns of a loop's end; without it each `asyncio.run` would leave open
    connections behind, and a warning.
    """
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

    session = ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS, ssl=_tls()),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None, sock_connect=None, sock_read=None),
        auto_decompress=True,
    )
    try:
        yield session
    finally:
        await session.close()


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address. Asked once: aiohttp would ask for every request, and read
    keys out of a .netrc file as well.
    """
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


@cache
def _tls() -> ssl.SSLContext:
    """The system's certificates and certifi's together: the one has a company's own, the other is never empty."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


@asynccontextmanager
async def posted(
    session: ClientSession,
    url: str,
    *,
    proxy: str | None,
    headers: Mapping[str, str],
    data: bytes,
    timeouts: Timeouts,
    tries: Tries,
) -> AsyncIterator[ClientResponse]:
    """The response to a POST, its body not read yet.

    Redirects are followed within the same scheme, host and port only: a key goes nowhere else.

    Raises:
        EndpointError: there is none; says what went wrong.
    """
    from aiohttp import ClientTimeout

    response, first = None, timeouts.first
    # The timer for the first byte runs from here on, the connection's own inside it.
    allowed = None if first is None else first + (timeouts.connect or 0.0)
    limit = ClientTimeout(total=None, connect=timeouts.connect, sock_connect=timeouts.connect)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            async with tries.phase("waiting for the answer's first byte", allowed):
                with translated(url):
                    response = await session.post(
                        url, data=data, headers=headers, allow_redirects=False, timeout=limit, proxy=proxy
                    )
            if response.status not in REDIRECTS:
                break
            url = _next(url, response)
            response.release()
        else:
            raise EndpointRefused(f"more than {MAX_REDIRECTS} redirects: give the final address as base_url")
        yield response
    finally:
        if response is not None:
            response.release()


def _next(url: str, response: ClientResponse) -> str:
    """Where a redirect leads, if it may be followed."""
    target = urljoin(url, response.headers.get("Location", ""))
    here, there = urlsplit(url), urlsplit(target)
    shown = f"{there.scheme}://{there.hostname}{f':{there.port}' if there.port else ''}{there.path}"
    if (here.scheme, here.hostname, here.port) != (there.scheme, there.hostname, there.port):
        raise EndpointRefused(
            f"the server redirects to {shown}, another place: no key was sent there; if it is meant, give it as base_url",
            status=response.status,
        )
    if response.status not in FOLLOWED:
        raise EndpointRefused(
            f"the server redirects ({response.status}) to {shown}, which would lose the request: give that as base_url",
            status=response.status,
        )
    return target


class translated:  # noqa: N801 - reads as what it does: with translated(url)
    """aiohttp's errors as the project's, within a `with`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, Exception):
            return
        import aiohttp

        parts = urlsplit(self._url)
        place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            again = error.os_error.errno == socket.EAI_AGAIN
            raise EndpointUnreachable(
                f"{place}: this name does not resolve ({why})", retryable=again
            ) from None
        if isinstance(error, aiohttp.ClientSSLError):
            raise EndpointUnreachable(
                f"no TLS with {place} ({why}): does it speak https, and is its certificate known here?"
            ) from None
        if isinstance(error, aiohttp.ClientHttpProxyError):
            raise EndpointUnreachable(
                f"the proxy that the environment names does not lead to {place} (HTTP {error.status})"
            ) from None
        if isinstance(error, aiohttp.ServerTimeoutError):
            raise EndpointTimeout(f"connecting to {place} took too long", retryable=True) from None
        if isinstance(error, aiohttp.ClientConnectorError):
            raise EndpointUnreachable(
                f"no connection to {place} ({why}): is the server running?", retryable=True
            ) from None
        if isinstance(error, aiohttp.ClientPayloadError):
            raise EndpointUnreachable(
                f"{place} broke off in the middle of its answer", retryable=True
            ) from None
        if isinstance(error, aiohttp.ClientResponseError):
            raise EndpointGarbled(
                f"{place} answers with something that is no HTTP: does base_url lack https?"
            ) from None
        if isinstance(error, aiohttp.ClientConnectionError | OSError) and not isinstance(error, TimeoutError):
            raise EndpointUnreachable(
                f"{place} closed the connection without an answer ({why})", retryable=True
            ) from None
        if isinstance(error, aiohttp.ClientError | ValueError):
            raise EndpointUnreachable(f"{place}: {why}") from None


async def pieces(
    response: ClientResponse, *, timeouts: Timeouts, tries: Tries, most: int
) -> AsyncGenerator[bytes, None]:
    """The body as it comes.

    Raises:
        EndpointError: it broke off, fell silent or is larger than `most` bytes.
    """
    seen, url = 0, str(response.url)
    while True:
        async with tries.phase("silence in the middle of the answer", timeouts.between):
            with translated(url):
                piece = await response.content.readany()
        if not piece:
            return
        seen += len(piece)
        if seen > most:
            raise EndpointGarbled(
                f"the answer has more than {most:,} bytes (max_bytes), and was dropped there"
            )
        yield piece
        if response.content.at_eof():
            return


async def drain(response: ClientResponse) -> None:
    """Read what is left of a stream that has said its last word."""
    try:
        async with asyncio.timeout(LAST_PIECE_SECONDS):
            while await response.content.readany():
                pass
    except (TimeoutError, OSError, ValueError):
        return
