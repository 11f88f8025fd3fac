"""The door that every request goes through: its id, who is let in, its errors, its line in the log.

A server on this machine alone lets everybody on it in. It looks at the Host header then, so that no other site's page
can reach it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyramid_core.errors import PyramidError
from pyramid_core.gateway.gateway import Gateway
from pyramid_core.gateway.http import Left, refusal_response
from pyramid_core.gateway.logs import log
from pyramid_core.gateway.refusals import Refusal, bad, refusal_of
from pyramid_core.gateway.settings import Keys, is_local

OPEN = ("/", "/healthz", "/readyz")
"""What is shown without a key: the page holds nothing, and says nothing without one."""

ADMIN = "/admin/"

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ROUTES = {
    "/v1/chat/completions": "chat",
    "/v1/models": "models",
    "/v1/watch": "watch",
    "/v1/status": "status",
    "/admin/mode": "mode",
    "/healthz": "health",
    "/readyz": "ready",
    "/metrics": "metrics",
    "/": "page",
}


class Door:
    """ASGI around the routes.

    Args:
        app: the routes.
        gateway: what they serve.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, in OpenAI's shape."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope, send)
        # Starlette's routes raise where they would otherwise answer in their own words.
        scope["app"] = self
        scope["state"] = {**scope.get("state", {}), "visit": visit}
        try:
            self._let_in(scope)
            await self._app(scope, receive, visit.send)
        except Left:
            self._gateway.metrics.left.add()
            visit.fields["left"] = True
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - every request is answered
            await self._refuse(error, visit, scope, receive)
        finally:
            self._leave(visit)

    async def _refuse(self, error: Exception, visit: _Visit, scope: Scope, receive: Receive) -> None:
        if isinstance(error, HTTPException):
            refusal = _not_found(error)
        else:
            refusal = refusal_of(error)
        visit.fields["code"] = refusal.code
        if refusal.status >= 500 and not isinstance(error, Refusal | PyramidError | TimeoutError):
            log(logging.ERROR, "bug", error=error, request=visit.id)
        if visit.status is None:
            await refusal_response(refusal)(scope, receive, visit.send)

    def _leave(self, visit: _Visit) -> None:
        route = _ROUTES.get(visit.path, "model" if visit.path.startswith("/v1/models/") else "other")
        self._gateway.metrics.responses.add(route, str(visit.status or "none"))
        level = logging.DEBUG if route in ("health", "ready", "metrics", "status") else logging.INFO
        log(
            level,
            "request",
            request=visit.id,
            method=visit.method,
            path=visit.path[:200],
            status=visit.status,
            seconds=round(time.monotonic() - visit.began, 4),
            **visit.fields,
        )

    def _let_in(self, scope: Scope) -> None:
        """Raise unless the caller may come in.

        Raises:
            Refusal: the key is missing or wrong, or the Host is another site's.
        """
        settings, headers, path = self._gateway.settings, Headers(scope=scope), scope["path"]
        if settings.local and not settings.keys and not _host_is_local(headers.get("host", "")):
            raise bad(
                "the Host header names another machine: this server answers this one alone",
                status=403,
                code="host_not_allowed",
            )
        if path.startswith(ADMIN):
            if not settings.admin_keys:
                raise bad(
                    "the mode cannot be switched over HTTP: start the server with an admin key, or send it a signal",
                    status=403,
                    code="no_admin_key",
                )
            _check(settings.admin_keys, headers)
        elif settings.keys and path not in OPEN:
            _check(settings.keys, headers)


class _Visit:
    """One request on its way through.

    Attributes:
        id: of the request; the client's own where it is harmless.
        own: an id that no other request has, for the answer and its trace.
        status: what was answered, or None.
        fields: what the log is to say about it.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self.own = uuid4().hex
        self.id = given if _SAFE_ID.fullmatch(given) else self.own
        self.began = time.monotonic()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.status: int | None = None
        self.fields: dict[str, Any] = {}
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self.id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)


def _check(keys: Keys, headers: Headers) -> None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not keys.let_in(key.strip()):
        raise Refusal(
            status=401,
            message="the API key is missing or wrong: send Authorization: Bearer <key>",
            kind="authentication_error",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


def _host_is_local(host: str) -> bool:
    """Whether a Host header names this machine; without one nothing is claimed."""
    if not host:
        return True
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_local(name)


def _not_found(error: HTTPException) -> Refusal:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return Refusal(
            status=405,
            message=f"this address takes {allowed or 'another method'}",
            code="method_not_allowed",
            headers=dict(error.headers or {}),
        )
    return Refusal(
        status=error.status_code,
        message=f"there is nothing here: the addresses are {', '.join(_ROUTES)}",
        code="not_found",
    )
