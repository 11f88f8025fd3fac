"""The gateway without HTTP: names of models and the mode decide who is asked; traces are counted, kept and shown.

It decides nothing about an answer: that is the pyramid's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from pyramid_core.configuration import Mode
from pyramid_core.decision import NAME, ThresholdRule
from pyramid_core.errors import PyramidAbstained, PyramidFailed
from pyramid_core.gateway.building import Build, sharing
from pyramid_core.gateway.ceilings import CostCeiling, price_of
from pyramid_core.gateway.direct import Direct, closing_stream
from pyramid_core.gateway.logs import log
from pyramid_core.gateway.metrics import Metrics
from pyramid_core.gateway.refusals import bad, busy
from pyramid_core.gateway.requests import Asked, settings_of
from pyramid_core.gateway.settings import MODES, Settings, check_mode
from pyramid_core.gateway.shadow import Shadow
from pyramid_core.gateway.spans import Caller, spans
from pyramid_core.guarding import EscalateTools
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import routing_record
from pyramid_core.types import Answer, Outcome, Rule, Token, Trace, Usage

Sink = Callable[..., None]
"""Takes a finished trace, and words about it as keywords."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An outcome, and what the caller is told beside the answer.

    Attributes:
        answer: what is said.
        record: the routing record, with the mode and the query's id.
        usage: the sum over every member that said what it used; None where none did.
    """

    answer: Answer
    record: Mapping[str, Any]
    usage: Usage | None


_CALLER: ContextVar[Caller | None] = ContextVar("pyramid_caller", default=None)
"""Who asked what is being answered in this context; a trace may be finished after its answer has gone out."""


class Gateway:
    """Everything that requests share.

    Args:
        build: makes the pyramid that is served, as `Pyramid` or a configuration's `pyramid` do.
        settings: how.
        sink: is given every finished trace that a crowd had a part in.

    Raises:
        InputError, RouterError: it cannot be made.
    """

    def __init__(self, build: Build, settings: Settings | None = None, *, sink: Sink | None = None) -> None:
        self.settings = settings or Settings()
        self.mode: Mode = self.settings.mode
        self.draining = False
        self.metrics = Metrics(in_flight=lambda: len(self._running), mode=lambda: self.mode, modes=MODES)
        self._sink = sink
        self._spans = spans()
        self._running: set[asyncio.Task[Any]] = set()
        self._behind: set[asyncio.Task[None]] = set()
        self._exploring: set[str] = set()
        base, self.build = sharing(build)
        self._pyramids = self._named_pyramids(base)
        policy = replace(base.policy, escalations=0, speculate=None, ask_before=False)
        self._crowd = self.build(policy=policy, explore=0.0, on_trace=self.taking("crowd"))
        self._members = {
            name: Direct(name, member, "oracle" if name in base.oracles else "crowd", self.taking("member"))
            for name, member in base.members.items()
        }
        oracle = base.oracles[0]
        self._oracle = Direct(oracle, base.members[oracle], "oracle", self.taking("oracle"))
        self._shadow = Shadow(
            self.build,
            base.policy,
            self.settings.shadow,
            seed=self.settings.seed,
            on_trace=self.taking("shadow"),
        )

    @property
    def models(self) -> tuple[str, ...]:
        """Every name that can be asked for."""
        return tuple(dict.fromkeys([*self._pyramids, *self._members]))

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered, and nobody is being asked behind an answer."""
        return not self._running and not self._behind and not self._exploring

    def switch(self, mode: object) -> Mode:
        """Change who answers, from the next query on.

        Raises:
            InputError: there is no such mode.
        """
        before, self.mode = self.mode, check_mode(mode)
        log(logging.WARNING, "mode switched", before=before, mode=self.mode)
        return self.mode

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the queries that are answered at once, for the running task.

        Raises:
            Refusal: there is none, or the server is about to stop.
        """
        task = asyncio.current_task()
        assert task is not None
        if self.draining:
            raise busy("the server is about to stop: ask again", status=503, code="draining")
        if len(self._running) >= self.settings.limits.concurrent:
            raise busy(
                f"{self.settings.limits.concurrent} queries are being answered, which is all that are taken at once"
            )
        self._running.add(task)
        try:
            yield
        finally:
            self._running.discard(task)

    async def aclose(self) -> None:
        """Let go of what is kept open: the members' connections, the file of traces."""
        for member in {id(direct.member): direct.member for direct in self._members.values()}.values():
            if hasattr(member, "aclose"):
                await member.aclose()
        close = getattr(self._sink, "close", None)
        if close is not None:
            await asyncio.to_thread(close)

    def cancel_all(self) -> None:
        """Break off everything that runs."""
        for task in (*self._running, *self._behind):
            task.cancel()

    # One query

    async def answer(self, asked: Asked, caller: Caller) -> Answered:
        """The whole answer.

        Raises:
            Refusal, PyramidFailed, PyramidAbstained, InputError: there is none.
        """
        mode = self.mode
        way, context = self._way(asked, mode)
        _CALLER.set(caller)
        return self._answered(asked, mode, way, await way.aask(asked.query, **context))

    async def stream(self, asked: Asked, caller: Caller) -> AsyncIterator[Token | Answered]:
        """Tokens as they may go out, then the answer with its record; raises as `answer`."""
        mode = self.mode
        way, context = self._way(asked, mode)
        _CALLER.set(caller)
        async with closing_stream(way.astream(asked.query, **context)) as items:
            async for item in items:
                yield self._answered(asked, mode, way, item) if isinstance(item, Outcome) else item

    def watched(self, asked: Asked) -> tuple[Pyramid, dict[str, Any]]:
        """The pyramid that is asked where somebody watches, whatever the mode, and with what context.

        Raises:
            Refusal: what is asked for is no pyramid.
        """
        way, context = self._way(asked, "pyramid")
        if isinstance(way, Direct):
            raise bad("only a pyramid's deliberation can be watched", param="model")
        return way, context

    def _way(self, asked: Asked, mode: Mode) -> tuple[Pyramid | Direct, dict[str, Any]]:
        """Who is asked, and with what context."""
        context = {} if asked.deadline is None else {"deadline": asked.deadline}
        if asked.model in self._pyramids:
            if mode == "crowd":
                return self._crowd, context
            if mode != "pyramid":
                return self._oracle, context
            return self._under_ceiling(asked, self._pyramids[asked.model]), context
        if asked.model not in self._members:
            raise bad(
                f"there is no model {asked.model[:80]!r}, only {', '.join(self.models)}",
                param="model",
                code="model_not_found",
                status=404,
            )
        if asked.max_cost is not None:
            raise bad(
                "pyramid.max_cost says when no oracle may be asked: give it with a pyramid's name",
                param="pyramid.max_cost",
            )
        return self._members[asked.model], context

    def _under_ceiling(self, asked: Asked, pyramid: Pyramid) -> Pyramid:
        if asked.max_cost is None:
            return pyramid
        priced = {name: price_of(pyramid.members[name]) for name in pyramid.oracles}
        prices = {name: price for name, price in priced.items() if price is not None}
        unknown = [name for name in priced if name not in prices]
        if unknown:
            raise bad(
                f"pyramid.max_cost cannot be kept: the price of {', '.join(unknown)} is not known",
                param="pyramid.max_cost",
            )
        settings = settings_of(asked.query)
        rule = CostCeiling(
            rule=pyramid.rule,
            max_cost=asked.max_cost,
            prices=prices,
            tokens=settings.get("max_completion_tokens") or settings.get("max_tokens"),
        )
        return self.build(rule=rule, on_trace=self.taking("pyramid"))

    def _answered(self, asked: Asked, mode: Mode, way: Pyramid | Direct, outcome: Outcome) -> Answered:
        if mode == "shadow" and way is self._oracle:
            self._ask_behind(asked, way.name, outcome.answer)
        if not outcome.trace.settled:
            self._exploring.add(asked.query.id)
        told = {"mode": mode, "query": asked.query.id}
        return Answered(
            answer=outcome.answer,
            record=routing_record(outcome.trace) | told,
            usage=_total_usage(outcome.trace),
        )

    # What comes after

    def _ask_behind(self, asked: Asked, name: str, answer: Answer) -> None:
        refusal = self._shadow.refusal()
        if refusal is not None:
            self.metrics.shadow_skipped.add(refusal)
            return
        self.metrics.shadowed.add()
        task = asyncio.get_running_loop().create_task(self._behind_answer(asked, name, answer))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _behind_answer(self, asked: Asked, name: str, answer: Answer) -> None:
        _CALLER.set(None)
        try:
            await self._shadow.ask(asked.query, name, answer)
        except (PyramidFailed, PyramidAbstained):
            return
        except Exception as error:  # noqa: BLE001 - the user has had the answer long since
            log(logging.ERROR, "shadow failed", error=error, request=asked.query.id)

    def _named_pyramids(self, base: Pyramid) -> dict[str, Pyramid]:
        """The pyramid, and one for each operating point of its router's card."""
        taking = self.taking("pyramid")
        return {NAME: self.build(on_trace=taking)} | {
            f"{NAME}:{point}": self.build(rule=_guarded(base.rule, point), on_trace=taking)
            for point in sorted(base.router.operating_points)
        }

    def taking(self, mode: str) -> Callable[[Trace], None]:
        """What takes finished traces of a mode: they are counted, shown and kept."""

        def take(trace: Trace) -> None:
            self._exploring.discard(trace.query.id)
            record = self.metrics.finished(trace, mode)
            caller = _CALLER.get()
            if self._spans is not None and caller is not None:
                self._spans(trace, record, caller)
            if self._sink is not None and mode in _KEPT:
                self._sink(trace, mode=mode)

        return take


_KEPT = ("pyramid", "crowd", "shadow")
"""Modes whose traces hold a crowd's answers."""


def _guarded(rule: Rule, point: str) -> Rule:
    """The rule of an operating point; what only an oracle may do under `rule` stays so."""
    at_point = ThresholdRule(operating_point=point)
    return EscalateTools(at_point, rule.tools) if isinstance(rule, EscalateTools) else at_point


def _total_usage(trace: Trace) -> Usage | None:
    """The sum over every call that said what it used; None where none did."""
    said = [
        call.result.usage
        for call in trace.calls
        if isinstance(call.result, Answer) and call.result.usage is not None
    ]
    return sum(said[1:], start=said[0]) if said else None
