"""The router of queries that have tools bound, where nobody has chosen one: votes where they decide, else learning.

Where the whole crowd makes the same call, or declines to make any, that is enough; where no two of it agree, the oracle is
asked, as under agreement alone. Between the two, where some agree and others do not, the router that ships as `tools`
says whether the call that stands is right, and which should stand. So this default asks the oracle only where agreement
would have asked it too, and accepts no answer that nobody seconds.

That router was never asked which of several texts answers best; where an agent's tools have spoken and no member calls
another, the answers are such texts, and agreement on the words judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyramid_core.equivalence import classes
from pyramid_core.routers.agreement import AgreementRouter
from pyramid_core.types import (
    Answer,
    Assessment,
    Decision,
    Foreseen,
    Observation,
    OperatingPoint,
    Query,
    Router,
)

TOOLS = "tools"
"""The shipped router that judges calls."""

LEAST = 2
"""Fewer members than this cannot disagree, and no router was trained on so few."""


class StepRouter:
    """Three routers in one, chosen by what the members do.

    Args:
        calls: of tool calls; its operating points are those of the whole.
    """

    def __init__(self, calls: Router) -> None:
        self.calls = calls
        self.votes = AgreementRouter("tool_calls")
        self.words = AgreementRouter()

    @property
    def id(self) -> str:
        """That of the router of calls; an assessment says which one it is from."""
        return self.calls.id

    @property
    def evidence(self) -> tuple[str, ...]:
        """That of the router of calls."""
        return self.calls.evidence

    @property
    def fuses(self) -> bool:
        """Whether the router of calls does."""
        return self.calls.fuses

    @property
    def operating_points(self) -> Mapping[str, OperatingPoint]:
        """Those of the router of calls."""
        return self.calls.operating_points

    @property
    def crowd(self) -> tuple[str, ...] | None:
        """The crowd that the router of calls was trained for."""
        return self.calls.crowd

    @property
    def min_members(self) -> int:
        """What the router of calls needs."""
        return self.calls.min_members

    def assess(self, observation: Observation) -> Assessment:
        """What the one says that this observation is for."""
        return self._judge(observation).assess(observation)

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        """What the router of calls foresees; nothing where a member that is still missing may yet call."""
        return {} if ends_in_words(observation) else self.calls.foresee(observation, decide)

    def _judge(self, observation: Observation) -> Router:
        if ends_in_words(observation):
            return self.words
        if observation.pending or observation.fused:
            return self.calls
        groups = classes(observation, "tool_calls")
        return self.votes if groups and groups[0].votes in (1, len(observation.crowd)) else self.calls


def with_tools(query: Query, crowd: tuple[str, ...]) -> bool:
    """Whether a query is one that `StepRouter` is for: tools may be called or not, nothing else is wanted, several are asked."""
    free = query.tool_choice in (None, "auto")
    return bool(query.tools) and free and query.answer_type in (None, "tool_calls") and len(crowd) >= LEAST


def ends_in_words(observation: Observation) -> bool:
    """Whether tools have spoken last in the conversation and no member calls another."""
    messages = observation.query.messages
    if not messages or messages[-1].get("role") != "tool":
        return False
    answers = [reply.result for reply in observation.replies if isinstance(reply.result, Answer)]
    return bool(answers) and not any(answer.tool_calls for answer in answers)
