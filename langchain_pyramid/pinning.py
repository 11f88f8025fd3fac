"""Pinning: how often an agent decides between crowd and oracle, read off the records of the turns before.

Each step of an agent sends the whole conversation again, and a provider's prompt cache makes the part that it has seen
cheap. Going to and fro between models pays for that part again and again. So a decision may be kept: for one step, for a
run (until the next message of the user), or for the conversation. Nothing is remembered anywhere else: the records are in
the messages, so a restart or another process finds the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_pyramid.messages import RECORD
from pyramid_core.errors import InputError

Decide = Literal["step", "run", "conversation"]


def check_decide(decide: object) -> None:
    """Raise unless it is one of the three.

    Raises:
        InputError: says what it is.
    """
    if decide not in get_args(Decide):
        raise InputError(f"decide must be step, run or conversation, not {decide!r}")


def kept_decision(
    messages: Sequence[BaseMessage], decide: Decide, oracles: Sequence[str], *, guarded: bool = False
) -> dict[str, Any]:
    """Fields of the query's `Context`: `pinned`, where an earlier turn has decided, and `warm`, whose cache is warm.

    Args:
        messages: the conversation.
        decide: how long a decision is kept.
        oracles: the names of the pyramid's oracles; a record of another pyramid pins nothing.
        guarded: some calls are an oracle's to make, so that the crowd alone may not be pinned.
    """
    found: dict[str, Any] = {}
    last = next(_records(reversed(messages)), None)
    if last is not None:
        asked = {call["member"] for call in last.get("calls", ()) if call.get("state") == "done"}
        warm = tuple(oracle for oracle in oracles if oracle in asked)
        found |= {"warm": warm} if warm else {}
    if decide == "step":
        return found
    start = 0
    if decide == "run":
        humans = (n for n in range(len(messages) - 1, -1, -1) if isinstance(messages[n], HumanMessage))
        start = next(humans, 0)
    first = next(_records(messages[start:]), None)
    if first is not None:
        who = first.get("answered_by")
        if not first.get("escalated"):
            found |= {} if guarded else {"pinned": "crowd"}
        elif who in oracles:
            found["pinned"] = who
    return found


def _records(messages: Any) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        record = message.response_metadata.get(RECORD) if isinstance(message, AIMessage) else None
        if isinstance(record, Mapping):
            yield record
