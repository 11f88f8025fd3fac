"""What a chat request asks for: OpenAI's body, and beside it what this server limits and what a request may override."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyramid_core.configuration import Limits
from pyramid_core.endpoints.wire import Request, Settings, read_request
from pyramid_core.gateway.refusals import bad
from pyramid_core.pyramid import checked_query
from pyramid_core.types import Query
from pyramid_core.types.numbers import is_number

_DEEPEST = 100
_LENGTHS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A checked request.

    Attributes:
        request: as the wire has it.
        query: what is asked, under the request's id.
        max_cost: USD that the query may cost, or None.
        deadline: seconds that the query may take, or None.
    """

    request: Request
    query: Query
    max_cost: float | None = None
    deadline: float | None = None

    @property
    def model(self) -> str:
        """Who is asked."""
        return self.request.model


def parse(raw: bytes) -> Mapping[str, Any]:
    """The JSON object in a request's body.

    Raises:
        Refusal: it is none.
    """
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad(f"the body is not JSON ({error})", code="invalid_json") from None
    if not isinstance(body, dict):
        raise bad(f"the body must be a JSON object, not {type(body).__name__}", code="invalid_json")
    if _is_deep(body):
        raise bad(f"the body is nested deeper than {_DEEPEST} levels", code="invalid_json")
    return body


def checked(body: Mapping[str, Any], limits: Limits, *, name: str) -> Asked:
    """The request in `body`, called `name` in its trace.

    Raises:
        Refusal: it is beyond a limit, or overrides what it may not.
        RequestError, InputError: a value cannot be used.
    """
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > limits.messages:
        raise bad(
            f"messages has {len(messages)} messages, but at most {limits.messages} are taken: shorten the conversation",
            param="messages",
            code="context_length_exceeded",
        )
    request = read_request(_limited(body, limits))
    own = _overrides(request.overrides, limits)
    return Asked(
        request=request,
        query=checked_query(replace(request.query, id=name)),
        max_cost=own.get("max_cost"),
        deadline=own.get("deadline"),
    )


def settings_of(query: Query) -> Mapping[str, Any]:
    """What the call sets beside its messages and tools."""
    return query.raw.body if isinstance(query.raw, Settings) else {}


def _overrides(given: Mapping[str, Any], limits: Limits) -> Mapping[str, float]:
    """What a request sets for itself: `max_cost` in USD, `deadline` in seconds."""
    highest: Mapping[str, float | None] = {"max_cost": None, "deadline": limits.seconds}
    chosen: dict[str, float] = {}
    for name, value in given.items():
        if name not in highest:
            raise bad(f"pyramid has the keys {', '.join(highest)}, not {name[:40]!r}", param="pyramid")
        if value is None:
            continue
        most = highest[name]
        if not is_number(value) or value <= 0 or (most is not None and value > most):
            wanted = "above 0" if most is None else f"above 0 and of at most {most:g}"
            unit = "USD" if name == "max_cost" else "seconds"
            raise bad(f"pyramid.{name} must be a number of {unit} {wanted}", param=f"pyramid.{name}")
        chosen[name] = float(value)
    return chosen


def _limited(body: Mapping[str, Any], limits: Limits) -> Mapping[str, Any]:
    """`body` with the server's limit on tokens."""
    most = limits.tokens
    if most is None:
        return body
    named = [name for name in _LENGTHS if body.get(name) is not None]
    for name in named:
        if is_number(body[name]) and body[name] > most:
            raise bad(f"{name} is {body[name]}, but this server gives at most {most}", param=name)
    return body if named else {**body, _LENGTHS[0]: most}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
