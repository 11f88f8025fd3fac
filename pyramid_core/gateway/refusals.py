"""Errors as OpenAI's clients read them: a status, and `{"error": {"message", "type", "param", "code"}}`.

What went wrong decides the status, so that a client's own retries do the right thing: 4xx is the request's fault and is
not tried again, 429 and 5xx are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyramid_core.endpoints.wire import error_body
from pyramid_core.errors import InputError, PyramidAbstained, PyramidFailed, RequestError, redacted
from pyramid_core.records import routing_record
from pyramid_core.types import Failure

_THE_REQUESTS = (400, 413, 422)
"""Statuses by which every member says that the request itself cannot be used."""

_LONGEST = 2000
"""Characters of a message; a model's own error may quote a whole prompt."""


# Not frozen: whatever passes an exception on sets its traceback.
@dataclass(kw_only=True, eq=False)
class Refusal(Exception):
    """No answer, and why.

    Attributes:
        status: of HTTP.
        message: what was wrong, which value, and what to do.
        kind: OpenAI's `type`.
        param: the key of the body that is at fault.
        code: a word for programs.
        record: the routing record, where a deliberation took place.
        headers: further ones.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    record: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, Any]:
        """As OpenAI's error, with the routing record beside it where there is one."""
        message = redacted(self.message)
        told = error_body(
            message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ...",
            type=self.kind,
            param=self.param,
            code=self.code,
        )
        return told if self.record is None else {**told, "pyramid": self.record}


def bad(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> Refusal:
    """A request that cannot be used."""
    return Refusal(status=status, message=message, param=param, code=code)


def busy(message: str, *, status: int = 429, code: str = "overloaded", after: int = 1) -> Refusal:
    """A request that may be sent again in `after` seconds."""
    kind = "rate_limit_error" if status == 429 else "server_error"
    return Refusal(status=status, message=message, kind=kind, code=code, headers={"retry-after": str(after)})


def refusal_of(error: BaseException) -> Refusal:
    """How an exception that left a query reaches the client."""
    match error:
        case Refusal():
            return error
        case PyramidFailed():
            return _failed(error)
        case PyramidAbstained():
            return Refusal(
                status=422,
                message=str(error),
                kind="pyramid_abstained",
                code="abstained",
                record=routing_record(error.trace),
            )
        case RequestError():
            return bad(str(error), param=error.param)
        case InputError():
            return bad(str(error))
        case TimeoutError():
            return Refusal(
                status=504, message="the answer took too long", kind="server_error", code="timeout"
            )
        case _:
            # What it says may hold anything; it is in the log, under the request's id.
            return Refusal(
                status=500,
                message="the server has failed; its log says why",
                kind="server_error",
                code="internal_error",
            )


def _failed(error: PyramidFailed) -> Refusal:
    record = routing_record(error.trace)
    failures = error.failures
    if failures and all(isinstance(f.exception, InputError) for f in failures):
        return Refusal(status=400, message=str(error), code="no_member_can", record=record)
    if "deadline" in error.trace.reason:
        return Refusal(
            status=504, message=str(error), kind="server_error", code="deadline_exceeded", record=record
        )
    status = _status(failures)
    if status in _THE_REQUESTS:
        return Refusal(status=400, message=str(error), code="refused_by_every_member", record=record)
    if status == 429:
        return Refusal(
            status=429, message=str(error), kind="rate_limit_error", code="rate_limit_exceeded", record=record
        )
    return Refusal(
        status=502, message=str(error), kind="server_error", code="no_member_answered", record=record
    )


def _status(failures: tuple[Failure, ...]) -> int | None:
    """The HTTP status that every failed member was given, where they agree."""
    found = {getattr(failure.exception, "status", None) for failure in failures}
    status = found.pop() if len(found) == 1 else None
    return status if isinstance(status, int) else None
