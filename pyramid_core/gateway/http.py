"""HTTP's own matters, apart from what is served: reading bodies within limits, clients that leave, JSON, streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Send

from pyramid_core.configuration import Limits
from pyramid_core.endpoints.wire import event
from pyramid_core.gateway.refusals import Refusal, bad, busy

T = TypeVar("T")

PING = b": waiting\n\n"


class Left(Exception):
    """The client has gone; there is nobody to tell."""


def json_response(
    body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`body` in ASCII, so that whatever characters a model wrote can be sent."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return Response(text, status_code=status, media_type="application/json", headers=headers)


def refusal_response(refusal: Refusal) -> Response:
    """An error in OpenAI's shape."""
    return json_response(refusal.body(), status=refusal.status, headers=refusal.headers)


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request for JSON.

    Raises:
        Refusal: it is said to be something else, is too long, or comes too slowly.
        Left: the client has gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Also what keeps other sites' pages out: a browser sends this type across sites only if it is allowed to.
        raise bad("the content-type must be application/json", status=415, code="unsupported_media_type")
    too_long = Refusal(
        status=413,
        message=f"the body has more than {limits.body} bytes",
        code="request_too_large",
        headers={"connection": "close"},
    )
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said[:20]) > limits.body:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(limits.reading):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.body:
                    raise too_long
    except TimeoutError:
        raise Refusal(
            status=408,
            message=f"the body did not arrive within {limits.reading:g} seconds",
            code="request_timeout",
            headers={"connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Left from None
    return bytes(body)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; if the client leaves before, it is cancelled.

    Raises:
        Left: the client has gone.
        Refusal: the work was cancelled from elsewhere, because the server stops.
    """
    loop = asyncio.get_running_loop()
    task, gone = loop.create_task(work), loop.create_task(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = gone.done() and not task.done()
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
    if left:
        raise Left
    if task.cancelled():
        raise busy("the server has stopped before the answer was complete", status=503, code="draining")
    return task.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Line:
    """A stream of server-sent events, whose head goes out with the first of them.

    Args:
        send: of the ASGI server.
        limits: how long to wait before the head, and between pings.
    """

    def __init__(self, send: Send, limits: Limits) -> None:
        self.begun = False
        self._send = send
        self._limits = limits
        self._turn = asyncio.Lock()  # The head goes before what it is the head of, whoever sends it.
        self._quiet_since = asyncio.get_running_loop().time()

    async def event(self, data: Mapping[str, Any]) -> None:
        """Send one event."""
        await self.write(event(data))

    async def write(self, piece: bytes) -> None:
        """Send bytes."""
        self._quiet_since = asyncio.get_running_loop().time()
        async with self._turn:
            await self._begin()
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def close(self) -> None:
        """End the stream."""
        async with self._turn:
            await self._begin()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def keep_open(self) -> None:
        """Until cancelled, send the head when it has waited long enough, and a comment in every silence.

        Proxies close connections on which nothing comes.
        """
        await asyncio.sleep(self._limits.opening)
        while True:
            silent = asyncio.get_running_loop().time() - self._quiet_since
            if not self.begun or silent >= self._limits.ping:
                await self.write(PING)
                silent = 0.0
            await asyncio.sleep(self._limits.ping - silent)

    async def _begin(self) -> None:
        if self.begun:
            return
        self.begun = True
        headers = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-store"))
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                # Asks reverse proxies not to hold events back.
                "headers": [(k.encode(), v.encode()) for k, v in (*headers, ("x-accel-buffering", "no"))],
            }
        )
