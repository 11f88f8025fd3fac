"""Shadow mode: the oracle has answered the user, and the crowd is asked beside it, for its traces alone.

A second deliberation, whose oracle is the answer that was already delivered: it is asked in any case (explored with
propensity 1), so that every trace can be trained on, and no user's answer has changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pyramid_core.configuration import ShadowBudget
from pyramid_core.gateway.building import Build
from pyramid_core.types import Answer, CallRecord, Policy, Query, Trace


class Delivered:
    """A member whose answer is known: what the oracle has told the user.

    Args:
        name: the oracle's.
        answer: its answer.
    """

    def __init__(self, name: str, answer: Answer) -> None:
        self.name = name
        self._answer = answer

    async def aask(self, query: Query) -> Answer:
        """The delivered answer."""
        return self._answer


class Shadow:
    """Asks the crowd about what the oracle has answered, as long as the budget lasts.

    Args:
        build: makes the pyramid.
        policy: of the pyramid.
        budget: what may be spent.
        seed: of the draws of the share.
        on_trace: is given each finished trace.
    """

    def __init__(
        self,
        build: Build,
        policy: Policy,
        budget: ShadowBudget,
        *,
        seed: int | None,
        on_trace: Callable[[Trace], None],
    ) -> None:
        # Everybody is waited for: a trace that lacks a member teaches less.
        policy = replace(policy, early_stop=None, speculate=None, ask_before=False, fuse=False)
        self._build = partial(build, policy=policy, deadline=None, explore=0.0)
        self._budget = budget
        self._random = random.Random(seed)
        self._on_trace = on_trace
        self._running = 0
        self.spent = 0.0

    def refusal(self) -> str | None:
        """Why the next query is not shadowed ("share", "busy", "budget"), or None; a draw is made each time."""
        if self._random.random() >= self._budget.share:
            return "share"
        if self._running >= self._budget.concurrent:
            return "busy"
        if self._budget.usd is not None and self.spent >= self._budget.usd:
            return "budget"
        return None

    async def ask(self, query: Query, name: str, answer: Answer) -> None:
        """Ask the crowd about `query`, which the oracle called `name` has answered."""
        pyramid = self._build(
            oracle=Delivered(name, answer), on_trace=lambda trace: self._take(trace, answer)
        )
        self._running += 1
        try:
            await pyramid.aask(query, explore=True, propensity=1.0)
        finally:
            self._running -= 1

    def _take(self, trace: Trace, answer: Answer) -> None:
        self.spent += sum(
            call.result.cost.usd
            for call in trace.calls
            if call.role == "crowd" and isinstance(call.result, Answer)
        )
        self._on_trace(replace(trace, calls=tuple(_as_it_was(call, answer) for call in trace.calls)))


def _as_it_was(call: CallRecord, answer: Answer) -> CallRecord:
    """The delivered answer with the time that it really took."""
    known = call.role == "oracle" and isinstance(call.result, Answer)
    return replace(call, result=answer) if known else call
