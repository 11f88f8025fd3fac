"""One call of one member, whatever it can: its answer or failure as a response of a record."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from pyramid_core._drive.conductor import classified
from pyramid_core._drive.tasks import off_loop
from pyramid_core.errors import ContractError
from pyramid_core.types import Answer, Failure, Query, Reported


async def reported(member: Any, name: str, query: Query, *, patience: float | None = None) -> Reported:
    """What the member says, or that it failed; a failure is data.

    Args:
        member: with `aask`, or with `ask` alone, which then runs on a thread.
        name: what it is called in records.
        query: what is asked.
        patience: seconds after which it has failed; None: never.

    Raises:
        ContractError: it returned something else than an answer.
        Exception: a bug in the member, as it was raised.
    """
    began = time.monotonic()
    result: Reported
    try:
        async with asyncio.timeout(patience):
            found = await (
                member.aask(query) if hasattr(member, "aask") else off_loop(lambda: member.ask(query))
            )
        if not isinstance(found, Answer):
            raise ContractError(f"member {name!r} returned {type(found).__name__}, not an Answer")
        result = found
    except asyncio.CancelledError:
        raise
    except Exception as error:
        kind, value = classified(error)
        if kind == "bug":
            raise
        result = value if str(error) or not isinstance(error, TimeoutError) else _late(patience)
    return replace(result, member=name, elapsed=time.monotonic() - began)


def _late(patience: float | None) -> Failure:
    return Failure(kind="TimeoutError", message=f"no answer within {patience:g} s")
