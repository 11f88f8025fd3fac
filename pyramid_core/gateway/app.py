"""The routes: chat completions and models as OpenAI's clients know them, health, metrics, the mode, and the page."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from pyramid_core.endpoints.wire import DONE, Chunks, completion_body
from pyramid_core.gateway import metrics
from pyramid_core.gateway.direct import closing_stream
from pyramid_core.gateway.door import Door
from pyramid_core.gateway.gateway import Answered, Gateway
from pyramid_core.gateway.http import Left, Line, json_response, read_body, while_connected
from pyramid_core.gateway.page import page
from pyramid_core.gateway.refusals import bad, refusal_of
from pyramid_core.gateway.requests import Asked, checked, parse
from pyramid_core.gateway.settings import MODES
from pyramid_core.gateway.spans import Caller
from pyramid_core.gateway.watching import watch
from pyramid_core.types import Token

OWNER = "pyramid"


def build_app(gateway: Gateway) -> ASGIApp:
    """The ASGI application that serves `gateway`."""
    routes = Routes(gateway)
    router = Router(
        [
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/models", routes.models),
            Route("/v1/models/{model:path}", routes.model),
            Route("/v1/watch", routes.watch, methods=["POST"]),
            Route("/v1/status", routes.status),
            Route("/admin/mode", routes.mode, methods=["GET", "POST"]),
            Route("/healthz", routes.health),
            Route("/readyz", routes.ready),
            Route("/metrics", routes.metrics),
            Route("/", routes.page),
        ],
        redirect_slashes=False,
        lifespan=routes.lifespan,
    )
    return Door(router, gateway)


class Routes:
    """What is done for each address.

    Args:
        gateway: what is served.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._started = int(time.time())
        self._page = page()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """From the first request to the last."""
        yield
        self._gateway.draining = True
        await self._gateway.aclose()

    async def chat(self, request: Request) -> ASGIApp:
        """POST /v1/chat/completions."""
        asked = await self._asked(request)
        caller = Caller(asked.model if asked.model in self._gateway.models else "unknown", request.headers)
        if asked.request.stream:
            return ChatStream(self._gateway, asked, caller, request.state.visit.fields)
        answered = await while_connected(request.receive, self._answer(asked, caller))
        _note(request.state.visit.fields, self._gateway, answered)
        body = completion_body(
            answered.answer,
            model=asked.model,
            id=_id(asked),
            created=int(time.time()),
            usage=answered.usage,
            logprobs=asked.request.logprobs,
            pyramid=answered.record,
        )
        return json_response(body, headers=short_headers(answered.record))

    async def watch(self, request: Request) -> ASGIApp:
        """POST /v1/watch: a deliberation as it goes on, for the page."""
        return WatchStream(self._gateway, await self._asked(request))

    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        return json_response({"object": "list", "data": [self._model(name) for name in self._gateway.models]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/NAME."""
        name = request.path_params["model"]
        if name not in self._gateway.models:
            raise bad(
                f"there is no such model, only {', '.join(self._gateway.models)}",
                param="model",
                code="model_not_found",
                status=404,
            )
        return json_response(self._model(name))

    async def status(self, request: Request) -> Response:
        """GET /v1/status: what the page shows of the server."""
        found = self._gateway.metrics
        rate = found.escalation_rate()
        return json_response(
            {
                "mode": self._gateway.mode,
                "models": list(self._gateway.models),
                "queries": int(found.queries.total()),
                "escalation_rate": None if math.isnan(rate) else rate,
                "cost_usd": found.cost.total(),
                "cost_complete": found.unpriced.total() == 0,
                "draining": self._gateway.draining,
            }
        )

    async def mode(self, request: Request) -> Response:
        """GET and POST /admin/mode: who answers."""
        if request.method == "POST":
            body = parse(await read_body(request, self._gateway.settings.limits))
            if body.get("mode") not in MODES:
                raise bad(f"mode must be one of {', '.join(MODES)}", param="mode")
            self._gateway.switch(body["mode"])
        return json_response({"mode": self._gateway.mode, "modes": list(MODES)})

    async def health(self, request: Request) -> Response:
        """GET /healthz: the process runs."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /readyz: whether to send queries here."""
        if self._gateway.draining:
            return json_response({"status": "draining"}, status=503)
        return json_response({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics, for Prometheus."""
        return Response(self._gateway.metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})

    async def page(self, request: Request) -> Response:
        """GET /."""
        return Response(self._page.html, headers=self._page.headers)

    async def _asked(self, request: Request) -> Asked:
        limits = self._gateway.settings.limits
        body = parse(await read_body(request, limits))
        visit = request.state.visit
        asked = checked(body, limits, name=visit.own)
        visit.fields |= {"model": asked.model[:80], "query": visit.own}
        if self._gateway.settings.log_content:
            visit.fields["asked"] = asked.query.text
        return asked

    async def _answer(self, asked: Asked, caller: Caller) -> Answered:
        with self._gateway.place():
            async with asyncio.timeout(self._gateway.settings.limits.seconds):
                return await self._gateway.answer(asked, caller)

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": OWNER}


class Stream:
    """An answer as server-sent events: an error before the first has its own status, a later one is an event.

    Args:
        gateway: what is served.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        line = Line(send, self._gateway.settings.limits)
        try:
            await while_connected(receive, self._run(line))
        except Left:
            raise
        except Exception as error:
            if not line.begun:
                raise
            await line.event(refusal_of(error).body())
            await line.close()
            raise
        await line.close()

    async def _run(self, line: Line) -> None:
        keeper = asyncio.get_running_loop().create_task(line.keep_open())
        try:
            with self._gateway.place():
                async with asyncio.timeout(self._gateway.settings.limits.seconds):
                    await self._write(line)
        finally:
            keeper.cancel()

    async def _write(self, line: Line) -> None:
        raise NotImplementedError


class ChatStream(Stream):
    """A completion in chunks; the routing record rides on the last."""

    def __init__(self, gateway: Gateway, asked: Asked, caller: Caller, fields: dict[str, Any]) -> None:
        super().__init__(gateway)
        self._asked = asked
        self._caller = caller
        self._fields = fields

    async def _write(self, line: Line) -> None:
        asked = self._asked
        chunks = Chunks(
            model=asked.model,
            id=_id(asked),
            created=int(time.time()),
            include_usage=asked.request.include_usage,
        )
        first = True
        async with closing_stream(self._gateway.stream(asked, self._caller)) as items:
            async for item in items:
                if first:
                    first = False
                    await line.event(chunks.first())
                if isinstance(item, Token):
                    await line.event(chunks.token(item))
                else:
                    await self._last(line, chunks, item)

    async def _last(self, line: Line, chunks: Chunks, item: Answered) -> None:
        _note(self._fields, self._gateway, item)
        last = chunks.last(
            item.answer, usage=item.usage, logprobs=self._asked.request.logprobs, pyramid=item.record
        )
        for chunk in last:
            await line.event(chunk)
        await line.write(DONE)


class WatchStream(Stream):
    """A deliberation as it goes on."""

    def __init__(self, gateway: Gateway, asked: Asked) -> None:
        super().__init__(gateway)
        self._asked = asked

    async def _write(self, line: Line) -> None:
        async with closing_stream(watch(self._gateway, self._asked)) as seen:
            async for told in seen:
                await line.event(told)


def short_headers(record: Mapping[str, Any]) -> dict[str, str]:
    """The record in short; what is not known is left out."""
    cost = record["cost"]
    found = {
        "mode": record["mode"],
        "verdict": record["verdict"],
        "answered-by": record["answered_by"],
        "escalated": str(record["escalated"]).lower(),
        "p-fail": None if record["p_fail"] is None else f"{record['p_fail']:.4f}",
        "cost-usd": f"{cost['usd']:.3g}" if cost["complete"] else f">={cost['usd']:.3g}",
    }
    return {
        f"x-pyramid-{name}": value.encode("ascii", "replace").decode()
        for name, value in found.items()
        if value is not None
    }


def _id(asked: Asked) -> str:
    return f"chatcmpl-{asked.query.id}"


def _note(fields: dict[str, Any], gateway: Gateway, answered: Answered) -> None:
    """What the log says about an answer."""
    record = answered.record
    fields |= {
        "mode": record["mode"],
        "verdict": record["verdict"],
        "answered_by": record["answered_by"],
        "p_fail": record["p_fail"],
        "cost_usd": record["cost"]["usd"],
    }
    if gateway.settings.log_content:
        fields["answered"] = answered.answer.text
