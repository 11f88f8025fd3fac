"""What a member can do, found out by asking it once: does it answer, stream, take tools, tell usage and log-probabilities.

The one call asks for everything. Only where it is refused is less asked for, until it is known what was refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from pyramid_core._drive.tasks import off_loop
from pyramid_core.collection.spending import price_known
from pyramid_core.endpoints.wire import Settings
from pyramid_core.errors import PROGRAMMING_ERRORS, EndpointRefused, InputError
from pyramid_core.types import UNKNOWN_COST, Answer, Cost, Failure, Query, Token

QUESTION = "Count from 1 to 5, in digits."
"""Any model answers it in a few tokens, and needs no tool for it."""

TOOL = {
    "type": "function",
    "function": {
        "name": "current_time",
        "description": "The time of day in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

TOOLS, LOGPROBS, STREAM = "tools", "logprobs", "streaming"
ATTEMPTS = ((TOOLS, LOGPROBS, STREAM), (LOGPROBS, STREAM), (TOOLS, STREAM), (STREAM,), ())
"""What is asked for, most first."""

_TOO_MUCH = (400, 404, 405, 415, 422, 500, 501)
"""Statuses by which servers refuse a feature."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was found about one member; None is not known.

    Attributes:
        name: of the member.
        role: crowd, oracle or judge.
        usable: it answers what the pyramid will ask of it.
        latency: seconds of the call that was answered.
        usage: it tells how many tokens it read and wrote.
        logprobs: it gives log-probabilities where it is asked for them.
        tools: it takes tools.
        streaming: its answer came in more than one piece.
        price: the price of its tokens is known.
        calls: how many it took to find out.
        cost: of the call that was answered.
        fix: what to do, in sentences; what stops it first.
    """

    name: str
    role: str
    usable: bool
    latency: float | None = None
    usage: bool | None = None
    logprobs: bool | None = None
    tools: bool | None = None
    streaming: bool | None = None
    price: bool | None = None
    calls: int = 1
    cost: Cost = UNKNOWN_COST
    fix: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """In plain JSON types."""
        told = asdict(self)
        return {**told, "reachable": self.latency is not None, "fix": list(self.fix)}


async def probed(members: Sequence[tuple[str, str, Any]], *, patience: float = 60.0) -> list[Probe]:
    """What each of (name, role, member) can do, asked at once; never raises for a member's bad luck.

    Args:
        members: whom to ask.
        patience: seconds for each call.

    Raises:
        Exception: a bug in a member, as it was raised.
    """
    return list(await asyncio.gather(*(_probe(*member, patience=patience) for member in members)))


async def _probe(name: str, role: str, member: Any, *, patience: float) -> Probe:
    refused, last = "", Exception()
    for calls, wanted in zip(count(1), ATTEMPTS, strict=False):
        if STREAM in wanted and not hasattr(member, "astream") and not hasattr(member, "stream"):
            continue
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                answer, pieces = await _asked(member, wanted)
        except PROGRAMMING_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - what a member fails with is what is looked for
            if not _refuses(error):
                return _unusable(name, role, member, error, calls, patience)
            refused = refused or str(error)
            last = error
            continue
        return _found(
            name,
            role,
            member,
            answer,
            wanted=wanted,
            pieces=pieces,
            calls=calls,
            latency=time.monotonic() - began,
            refused=refused,
        )
    return _unusable(name, role, member, last, len(ATTEMPTS), patience)


async def _asked(member: Any, wanted: Sequence[str]) -> tuple[Answer, int]:
    """The answer, and in how many pieces it came."""
    logprobs = {"logprobs": True, "top_logprobs": 5} if LOGPROBS in wanted else {}
    body = {"logprobs": None, "top_logprobs": None, **logprobs}
    query = Query(
        text=QUESTION,
        messages=({"role": "user", "content": QUESTION},),
        tools=(TOOL,) if TOOLS in wanted else (),
        raw=Settings(body=body),
    )
    if STREAM not in wanted or not hasattr(member, "astream"):
        found = await (member.aask(query) if hasattr(member, "aask") else off_loop(lambda: member.ask(query)))
        return found, 0
    pieces = 0
    async for item in member.astream(query):
        if not isinstance(item, Token):
            return item, pieces
        pieces += 1
    raise InputError("its stream ended without an answer")


def _refuses(error: Exception) -> bool:
    """Whether the error says that too much was asked for."""
    if isinstance(error, EndpointRefused):
        return error.status in _TOO_MUCH
    return isinstance(error, InputError) and "tool" in str(error)


def _found(
    name: str,
    role: str,
    member: Any,
    answer: Answer,
    *,
    wanted: Sequence[str],
    pieces: int,
    calls: int,
    latency: float,
    refused: str,
) -> Probe:
    usage = answer.usage is not None and answer.usage.output_tokens is not None
    given, asks = answer.logprobs is not None, getattr(member, "top_logprobs", None) is not None
    price = price_known(member)
    fix = []
    if asks and LOGPROBS not in wanted:
        fix.append(f"it takes no logprobs, so every call would fail: leave top_logprobs out ({refused})")
    elif asks and not given:
        fix.append("it was asked for log-probabilities and gave none: routers will do without them")
    elif given and not asks:
        fix.append("it gives log-probabilities: with top_logprobs = 5 a router can learn from them")
    if not answer.text.strip() and not answer.tool_calls:
        why = f" (finish_reason {answer.finish_reason})" if answer.finish_reason else ""
        fix.append(f"its answer was empty{why}: is max_tokens too small for a model that thinks first?")
    if not usage:
        fix.append("it tells no usage, so costs are lower bounds")
    if price is False:
        fix.append(f"its price is not known: give it under [prices.{_quoted(name)}], or name its provider")
    return Probe(
        name=name,
        role=role,
        usable=not (asks and LOGPROBS not in wanted),
        latency=latency,
        usage=usage,
        logprobs=given if LOGPROBS in wanted else False,
        tools=TOOLS in wanted,
        streaming=STREAM in wanted and (pieces > 1 if answer.text else None),
        price=price,
        calls=calls,
        cost=answer.cost,
        fix=tuple(fix),
    )


def _unusable(name: str, role: str, member: Any, error: Exception, calls: int, patience: float) -> Probe:
    failure = Failure.of(error)
    late = isinstance(error, TimeoutError) and not failure.message
    words = f"no answer within {patience:g} s" if late else failure.message or failure.kind
    return Probe(name=name, role=role, usable=False, price=price_known(member), calls=calls, fix=(words,))


def _quoted(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else f'"{name}"'
