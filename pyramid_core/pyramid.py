"""A pyramid: a crowd, an oracle, a router and a rule, asked as if they were one model.

This module checks what the user gave, freezes each query's context, picks a driver and updates what is shared from
finished traces. It decides nothing itself: that is the router's, the rule's and the deliberation's.
"""

from __future__ import annotations

import inspect
import logging
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyramid_core._drive import (
    Gatherer,
    Reader,
    ReplayConductor,
    ThreadConductor,
    read,
    recording,
    run,
)
from pyramid_core.commands import Offer
from pyramid_core.decision import EscalationRule, ThresholdRule
from pyramid_core.deliberation import Deliberation
from pyramid_core.equivalence import BEHAVIOUR, kind_stated
from pyramid_core.errors import InputError, RouterError
from pyramid_core.routers import AgreementRouter, LearnedRouter, load_router
from pyramid_core.routers.steps import TOOLS, StepRouter, with_tools
from pyramid_core.types import Answer, Context, Outcome, Policy, Query, Router, Rule, Token, Trace
from pyramid_core.types.given import crowd_and_oracles
from pyramid_core.types.names import unique_names
from pyramid_core.types.numbers import check_number

if TYPE_CHECKING:
    from pyramid_core._drive.tasks import TaskConductor

_LOG = logging.getLogger(__name__)
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


class Recorded:
    """A member that is only a name: its answers are in the records that are replayed.

    Args:
        name: as the records' `model` has it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def ask(self, query: Query) -> Answer:
        """Refuse: there is nobody to ask."""
        raise InputError(f"{self.name!r} is recorded: it can be replayed (Pyramid.replay), not asked")

    async def aask(self, query: Query) -> Answer:
        """Refuse: there is nobody to ask."""
        return self.ask(query)


class Pyramid:
    """A crowd of cheap members, one or more oracles, and what decides between them.

    Args:
        crowd: the members that are asked first; the same one may be given several times.
        oracle: the expensive member, or several, cheapest first.
        router: a router, the name of a shipped one, or a saved one's folder; None: agreement, and on tool calls that
            some but not all agree on, the shipped router of tool calls.
        rule: turns its assessments into verdicts; None: the threshold of the card's `baseline-match` point.
        policy: when the rule is asked, and what runs meanwhile.
        deadline: seconds for each query, unless it brings its own; None: no limit.
        explore: the share of queries whose oracle is asked even if the crowd's answer is accepted, so that traces
            stay fit for training.
        seed: of the exploration's draws.
        gatherers: what computes evidence, by kind, for routers that look at it.
        run_code: compare programs by what they do: what the crowd writes is then run in the sandbox, which is your
            decision (`docs/sandbox.md` says what protects you).
        on_trace: is given every finished trace, on whatever thread or loop the query ended: after an explored call
            or a stream that is not the caller's. What it raises is logged, not propagated.

    Raises:
        InputError: what is wrong with which argument, and what to do.
        RouterError: the router cannot be loaded or does not fit the crowd.
    """

    def __init__(
        self,
        *,
        crowd: Sequence[Any],
        oracle: Any,
        router: Router | str | Path | None = None,
        rule: Rule | None = None,
        policy: Policy | None = None,
        deadline: float | None = None,
        explore: float = 0.0,
        seed: int | None = None,
        gatherers: Mapping[str, Gatherer] | None = None,
        run_code: bool = False,
        on_trace: Callable[[Trace], None] | None = None,
    ) -> None:
        crowd, oracles = crowd_and_oracles(crowd, oracle, kind="a member")
        check_number("explore", explore, low=0.0, high=1.0)
        self.members = _named(crowd, oracles)
        names = tuple(self.members)
        self.crowd, self.oracles = names[: len(crowd)], names[len(crowd) :]
        self._gatherers = _gatherers(gatherers, run_code=run_code)
        self.router = _router(router, self.crowd, self._gatherers)
        self.rule = _rule(rule, self.router)
        self.given = (router, rule)
        if isinstance(self.rule, EscalationRule):
            self.rule.check(self.oracles)
        if policy is not None and not isinstance(policy, Policy):
            raise InputError(f"policy must be a Policy(...), not {policy!r}")
        self.policy = policy or Policy()
        if self.policy.on_abstain == "answer" and hasattr(self.rule, "bars"):
            raise InputError(
                f"policy.on_abstain='answer' would hand out what {self.rule!r} bars: set it to 'raise'"
            )
        self._context = Context(deadline=deadline)
        self._explore = explore
        self._random = random.Random(seed)
        self._on_trace = on_trace
        missing = [kind for kind in self.router.evidence if kind not in self._gatherers]
        if missing:
            raise InputError(
                f"router {self.router.id!r} needs evidence {missing}: pass gatherers={{kind: function}}, or run_code=True for behaviour"
            )
        self._async_only = [n for n, m in self.members.items() if not hasattr(m, "ask")]
        self._async_only += [
            f"gatherers[{kind!r}]"
            for kind in self.router.evidence
            if inspect.iscoroutinefunction(self._gatherers[kind])
        ]

    def ask(self, query: str | Query, **context: Any) -> Outcome:
        """Ask, on the calling thread, with the members' own synchronous clients.

        Args:
            query: a question, or a whole `Query`.
            context: fields of `Context` for this query (deadline, pinned, shadow_price, warm).

        Raises:
            PyramidFailed: no member gave an answer; carries every cause.
            PyramidAbstained: the rule declined to answer.
            InputError: the query cannot be used, or a member cannot be asked synchronously.
        """
        frozen = self._frozen(context)
        return run(self._threads(query)(None), frozen, self._report)

    async def aask(self, query: str | Query, **context: Any) -> Outcome:
        """As `ask`, on the running event loop; cancelling it cancels every call."""
        from pyramid_core._drive.aside import arun

        frozen = self._frozen(context)
        return await arun(self._tasks(query)(None), frozen, self._report)

    def stream(self, query: str | Query, **context: Any) -> Iterator[Token | Outcome]:
        """The answer's tokens as they may go out, then the outcome; text is never taken back.

        The deliberation runs beside the reader: reading slowly changes nothing, leaving ends it.
        """
        frozen = self._frozen(context, listening=True)
        return read(self._threads(query), frozen, self._report, leaving="left")

    def astream(self, query: str | Query, **context: Any) -> AsyncIterator[Token | Outcome]:
        """As `stream`, on the running event loop."""
        return self._aread(query, self._frozen(context, listening=True), "left")

    def solutions(self, query: str | Query, **context: Any) -> Iterator[Offer | Outcome]:
        """Ever better solutions with their p_fail, then the outcome; whoever stops reading has seen enough."""
        frozen = self._frozen(context, watching=True)
        return read(self._threads(query), frozen, self._report, leaving="enough")

    def astream_solutions(self, query: str | Query, **context: Any) -> AsyncIterator[Offer | Outcome]:
        """As `solutions`, on the running event loop."""
        return self._aread(query, self._frozen(context, watching=True), "enough")

    def replay(self, record: Mapping[str, Any] | Trace, **context: Any) -> Outcome:
        """What this pyramid would have done with recorded answers; nobody is asked.

        Args:
            record: a record as `pyramid_core.records` reads it, or a trace, whose own context is used.
            context: fields of `Context` that differ.

        Raises:
            ReplayError: an answer is needed that was not recorded, or was cancelled.
            PyramidFailed, PyramidAbstained: as `ask`.
        """
        told = recording(record)
        conductor = ReplayConductor(
            self._deliberation(told.query), self.members, script=told.script, interrupts=told.interrupts
        )
        return conductor.run(_context(told.context or self._context, context))

    # How a query is run

    def _frozen(self, given: Mapping[str, Any], **how: bool) -> Context:
        """What this query shares with others: what the caller gave, and how the method that was called is read."""
        ours = sorted({"listening", "watching"} & set(given))
        if ours:
            raise InputError(f"{ours} is not for the caller to say: use stream or solutions")
        fields = {**given, **how}
        drawn: dict[str, Any] = {}
        if self._explore and "explore" not in fields:
            drawn = {"explore": self._random.random() < self._explore, "propensity": self._explore}
        return _context(self._context, {**drawn, **fields})

    def _deliberation(self, query: Query) -> Deliberation:
        router, rule = self.router, self.rule
        if self.given[0] is None and with_tools(query, self.crowd):
            router, rule = self._of_tools
        return Deliberation(query, self.crowd, self.oracles, router, rule, self.policy)

    @cached_property
    def _of_tools(self) -> tuple[Router, Rule]:
        """Who judges queries with tools bound, where no router was given."""
        router = StepRouter(load_router(TOOLS))
        return router, _rule(self.given[1], router)

    def _threads(self, query: str | Query) -> Callable[[Reader | None], ThreadConductor]:
        if self._async_only:
            raise InputError(f"{self._async_only} can only be asked asynchronously: use aask or astream")
        machine = self._deliberation(checked_query(query))
        return lambda reader: ThreadConductor(machine, self.members, gatherers=self._gatherers, reader=reader)

    def _tasks(self, query: str | Query) -> Callable[[Reader | None], TaskConductor]:
        from pyramid_core._drive.tasks import TaskConductor

        machine = self._deliberation(checked_query(query))
        return lambda reader: TaskConductor(machine, self.members, gatherers=self._gatherers, reader=reader)

    def _aread(self, query: str | Query, context: Context, leaving: str) -> AsyncIterator[Any]:
        from pyramid_core._drive.aside import aread

        return aread(self._tasks(query), context, self._report, leaving=leaving)

    def _report(self, trace: Trace) -> None:
        if self._on_trace is None:
            return
        try:
            self._on_trace(trace)
        except Exception:  # noqa: BLE001 - a broken sink must not cost the user the answer
            _LOG.exception("on_trace failed; the answer is not affected")

    def __repr__(self) -> str:
        return (
            f"Pyramid(crowd={list(self.crowd)}, oracle={list(self.oracles)}, "
            f"router={self.router.id!r}, rule={self.rule!r})"
        )


def checked_query(query: str | Query) -> Query:
    """`query` as a `Query` whose text can be used.

    Raises:
        InputError: it is empty, or holds control or surrogate characters (an earlier message: surrogates, which no
            request can carry); says where.
    """
    if isinstance(query, str):
        query = Query(text=query)
    elif not isinstance(query, Query):
        raise InputError(f"a query is a text or a Query, not {type(query).__name__}")
    if query.answer_type is not None:
        kind_stated(query.answer_type)
    if not query.text.strip() and not query.messages:
        raise InputError("the prompt is empty: give a question")
    bad = _UNREADABLE.search(query.text)
    if bad is not None:
        raise InputError(
            f"the prompt has the control or surrogate character {bad.group()!a} at position {bad.start()}: "
            "remove it, or decode the text anew with errors='replace'"
        )
    for place, message in enumerate(query.messages):
        content = message.get("content")
        parts = content if isinstance(content, (list, tuple)) else [content]
        texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
        for text in map(str, filter(_has_surrogate, texts)):
            raise InputError(
                f"messages[{place}] ({message.get('role')}) has a surrogate character in {text[:40]!a}: "
                "remove it, or decode the text anew with errors='replace'"
            )
    return query


def _has_surrogate(text: Any) -> bool:
    if not isinstance(text, str) or text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _context(base: Context, fields: Mapping[str, Any]) -> Context:
    known = sorted(Context.__dataclass_fields__)
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise InputError(f"{unknown} is unknown: a query's context has {known}")
    return replace(base, **fields) if fields else base


def _named(crowd: Sequence[Any], oracles: Sequence[Any]) -> dict[str, Any]:
    """The members by name, in order; a name that comes again becomes `name#2`."""
    members = [*crowd, *oracles]
    places = [f"crowd[{n}]" for n in range(len(crowd))] + [f"oracle[{n}]" for n in range(len(oracles))]
    for place, member in zip(places, members, strict=True):
        name = getattr(member, "name", None)
        callables = [m for m in ("ask", "aask") if callable(getattr(member, m, None))]
        if isinstance(member, type):
            raise InputError(f"{place} is the class {member.__name__}, not a model: give an instance of it")
        if not isinstance(name, str) or not name or not callables:
            raise InputError(
                f"{place} is a {type(member).__name__}, not a model: "
                "it needs a name and a method ask(query) or aask(query)"
            )
    return dict(zip(unique_names(member.name for member in members), members, strict=True))


def _rule(rule: Rule | None, router: Router) -> Rule:
    if rule is None:
        return ThresholdRule().resolved(router)
    methods = ("resolved", "decide")
    if isinstance(rule, type) or not all(callable(getattr(rule, name, None)) for name in methods):
        raise InputError(
            f"rule must be a rule such as ThresholdRule(0.3) or EscalationRule(...), not {rule!r}"
        )
    return rule.resolved(router)


def _gatherers(gatherers: Mapping[str, Gatherer] | None, *, run_code: bool) -> dict[str, Gatherer]:
    found = dict(gatherers or {})
    if run_code:
        from pyramid_core.evidence import BehaviourGatherer

        found.setdefault(BEHAVIOUR, BehaviourGatherer(run_code=True))
    return found


def _router(
    router: Router | str | Path | None, crowd: tuple[str, ...], gatherers: Mapping[str, Gatherer]
) -> Router:
    if router is None:
        router = AgreementRouter()
    if isinstance(router, (str, Path)):
        router = load_router(router, crowd=crowd)
    if gatherers and isinstance(router, (AgreementRouter, LearnedRouter)):
        router = router.given(gatherers)
    if isinstance(router, type) or not callable(getattr(router, "assess", None)):
        raise InputError(f"router must be a router, a shipped router's name or a folder, not {router!r}")
    if router.crowd is not None and tuple(router.crowd) != crowd:
        raise RouterError(
            f"router {router.id!r} was trained for the crowd {list(router.crowd)}, not {list(crowd)}: "
            "give that crowd, in that order, or train a router for this one"
        )
    return router
