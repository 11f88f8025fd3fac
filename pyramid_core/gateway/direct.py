"""Asking one member alone, with a trace of the same kind as a deliberation's, so that one record fits all.

Nothing is decided here: there is one call, and its answer is the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import Any, TypeVar, cast

from pyramid_core._drive.tasks import off_loop
from pyramid_core.errors import PROGRAMMING_ERRORS, ContractError, PyramidFailed
from pyramid_core.types import (
    Answer,
    CallRecord,
    Context,
    Failure,
    Outcome,
    Policy,
    Query,
    Role,
    Token,
    Trace,
)

T = TypeVar("T")


def closing_stream(items: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """A stream that is closed where its reader leaves; the core's streams are generators, and say so to nobody."""
    return aclosing(cast("AsyncGenerator[T, None]", items))


async def ask_member(member: Any, query: Query) -> Answer:
    """What `member` answers; one that cannot be awaited runs on a thread."""
    answer = (
        await member.aask(query) if hasattr(member, "aask") else await off_loop(lambda: member.ask(query))
    )
    if not isinstance(answer, Answer):
        raise ContractError(f"member {member.name!r} returned {type(answer).__name__}, not an Answer")
    return answer


class Direct:
    """One member that is asked alone.

    Args:
        name: what it is called.
        member: asked.
        role: what it is in the pyramid.
        on_trace: is given every finished trace.
    """

    def __init__(self, name: str, member: Any, role: Role, on_trace: Callable[[Trace], None]) -> None:
        self.name = name
        self.role: Role = role
        self.on_trace = on_trace
        self.member = member

    async def aask(self, query: Query, *, deadline: float | None = None) -> Outcome:
        """Its answer.

        Raises:
            PyramidFailed: it failed, or the deadline came first.
        """
        run = _Run(self, query, deadline)
        try:
            async with run.in_time():
                answer = await ask_member(self.member, query)
        except PROGRAMMING_ERRORS:
            raise
        except Exception as error:
            raise run.failed(error, "") from error
        return run.outcome(answer)

    async def astream(self, query: Query, *, deadline: float | None = None) -> AsyncIterator[Token | Outcome]:
        """Its tokens as they come, then the outcome; a member that cannot stream gives the outcome alone."""
        if not hasattr(self.member, "astream"):
            yield await self.aask(query, deadline=deadline)
            return
        run, text = _Run(self, query, deadline), ""
        async with aclosing(self.member.astream(query)) as items:
            while True:
                try:
                    # Not around the `yield`: the timeout would cancel whoever reads.
                    async with run.in_time():
                        item = await anext(items, None)
                except PROGRAMMING_ERRORS:
                    raise
                except Exception as error:
                    raise run.failed(error, text) from error
                if not isinstance(item, Token):
                    break
                text += item.text
                run.began()
                yield item
        if not isinstance(item, Answer):
            raise ContractError(f"member {self.name!r} ended its stream without an Answer")
        yield run.outcome(item)


class _Run:
    """One call, timed."""

    def __init__(self, direct: Direct, query: Query, deadline: float | None) -> None:
        self._direct = direct
        self._query = query
        self._context = Context(deadline=deadline)
        self._start = time.monotonic()
        self._first: float | None = None

    def in_time(self) -> asyncio.Timeout:
        """Until the deadline, and no longer."""
        deadline = self._context.deadline
        return asyncio.timeout_at(None if deadline is None else self._end(deadline))

    def _end(self, deadline: float) -> float:
        return asyncio.get_running_loop().time() + deadline - (time.monotonic() - self._start)

    def began(self) -> None:
        if self._first is None:
            self._first = time.monotonic() - self._start

    def outcome(self, answer: Answer) -> Outcome:
        at = time.monotonic() - self._start
        answer = replace(answer, member=self._direct.name, elapsed=at)
        trace = self._trace(answer, at, end="accept", reason="decided", answered=0)
        self._direct.on_trace(trace)
        return Outcome(answer=answer, trace=trace)

    def failed(self, error: Exception, text: str) -> PyramidFailed:
        """What the caller gets."""
        at = time.monotonic() - self._start
        # An endpoint's own timeout is a kind of this too, but not the deadline.
        late = type(error) is TimeoutError
        reason = "deadline before the answer" if late else "the member failed"
        failure = replace(Failure.of(error), member=self._direct.name, elapsed=at)
        trace = self._trace(failure, at, end="fail", reason=reason)
        self._direct.on_trace(trace)
        return PyramidFailed(
            f"no answer: {reason}\n  {failure}",
            failures=(failure,),
            trace=trace,
            partial_text=text,
        )

    def _trace(
        self, result: Answer | Failure, at: float, *, end: str, reason: str, answered: int | None = None
    ) -> Trace:
        role, name = self._direct.role, self._direct.name
        call = CallRecord(
            call=0,
            role=role,
            who=name,
            purpose="policy",
            state="done",
            result=result,
            asked_at=0.0,
            first_token_at=self._first,
            ended_at=at,
        )
        return Trace(
            query=self._query,
            crowd=(name,) if role == "crowd" else (),
            oracles=(name,) if role == "oracle" else (),
            router="",
            policy=Policy(),
            context=self._context,
            calls=(call,),
            end=end,
            reason=reason,
            answered=answered,
            at=at,
            settled=True,
        )
