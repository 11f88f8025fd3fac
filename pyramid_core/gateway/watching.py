"""A deliberation as it goes on, for those who look: who is asked, what comes, p_fail, both barriers, the verdict.

Members and rule are the pyramid's own, with somebody looking over their shoulders; nothing is decided here. What is
watched waits for the whole crowd, so that everybody is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from pyramid_core.errors import ContractError, PyramidAbstained, PyramidFailed
from pyramid_core.gateway.direct import ask_member, closing_stream
from pyramid_core.gateway.gateway import Gateway
from pyramid_core.gateway.refusals import refusal_of
from pyramid_core.gateway.requests import Asked
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import routing_record
from pyramid_core.records.plain import from_number
from pyramid_core.types import Answer, Assessment, Decision, Failure, Options, Outcome, Query, Router, Rule

Tell = Callable[[Mapping[str, Any]], None]


class Seen:
    """A member whose answers are told.

    Args:
        label: what the pyramid calls it.
        member: asked.
        role: crowd or oracle.
        tell: is given what happens.
    """

    def __init__(self, label: str, member: Any, role: str, tell: Tell) -> None:
        self.name: str = member.name
        self._about = {"member": label, "role": role}
        self._member = member
        self._tell = tell

    async def aask(self, query: Query) -> Answer:
        """The member's answer."""
        clock = asyncio.get_running_loop().time
        start = clock()
        self._tell({"event": "asked", **self._about})
        try:
            answer = await ask_member(self._member, query)
        except asyncio.CancelledError:
            self._tell({"event": "cancelled", **self._about})
            raise
        except Exception as error:
            failure = Failure.of(error)
            self._tell(
                {"event": "failed", **self._about, "error": failure.kind, "message": failure.message[:500]}
            )
            raise
        cost = {"usd": answer.cost.usd, "complete": answer.cost.complete}
        seconds = clock() - start
        self._tell(
            {"event": "answered", **self._about, "text": answer.text, "cost": cost, "seconds": seconds}
        )
        return answer


class SeenRule:
    """A rule whose verdicts are told.

    Args:
        rule: decides.
        tell: is given what it decides.
    """

    def __init__(self, rule: Rule, tell: Tell) -> None:
        self._rule = rule
        self._tell = tell

    def resolved(self, router: Router) -> SeenRule:
        """This rule with the other one resolved."""
        return SeenRule(self._rule.resolved(router), self._tell)

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        """The other rule's verdict."""
        decision = self._rule.decide(assessment, options)
        who = {reply.call: reply.who for reply in options.replies}
        self._tell(
            {
                "event": "judged",
                "answers": len(options.replies),
                "stands": who.get(-1 if assessment.chosen is None else assessment.chosen),
                "p_fail": from_number(assessment.p_fail),
                "cost_barrier": from_number(decision.cost_barrier),
                "imperfection_barrier": from_number(decision.imperfection_barrier),
                "verdict": str(decision.verdict),
                "reason": decision.reason,
                "final": not options.may_wait,
                "routes": all(reply.role == "crowd" for reply in options.replies),
            }
        )
        return decision

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)


async def watch(gateway: Gateway, asked: Asked) -> AsyncIterator[Mapping[str, Any]]:
    """What happens to a query, event by event; the last is `done` or `error`.

    Raises:
        Refusal, InputError: the query cannot be asked.
    """
    told: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
    pyramid, context = gateway.watched(asked)
    tell = told.put_nowait
    roles = (*(("crowd", name) for name in pyramid.crowd), *(("oracle", name) for name in pyramid.oracles))
    seen = [Seen(name, pyramid.members[name], role, tell) for role, name in roles]
    watched = gateway.build(
        crowd=seen[: len(pyramid.crowd)],
        oracle=seen[len(pyramid.crowd) :],
        rule=SeenRule(pyramid.rule, tell),
        policy=replace(pyramid.policy, early_stop=None, speculate=None),
        on_trace=gateway.taking("pyramid"),
    )
    yield {"event": "started", "crowd": list(pyramid.crowd), "oracles": list(pyramid.oracles)}
    task = asyncio.get_running_loop().create_task(_outcome(watched, asked.query, context))
    task.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (item := await told.get()) is not None:
            yield item
        yield _end(task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _outcome(pyramid: Pyramid, query: Query, context: Mapping[str, Any]) -> Outcome:
    """The outcome of a deliberation that is judged anew at every answer, as it is for those who want each solution."""
    async with closing_stream(pyramid.astream_solutions(query, **context)) as items:
        async for item in items:
            if isinstance(item, Outcome):
                return item
    raise ContractError("a deliberation ended without an outcome")


def _end(task: asyncio.Task[Outcome]) -> Mapping[str, Any]:
    try:
        outcome = task.result()
    except (PyramidFailed, PyramidAbstained) as error:
        return {"event": "error", **refusal_of(error).body()}
    return {"event": "done", "text": outcome.answer.text, "record": routing_record(outcome.trace)}
