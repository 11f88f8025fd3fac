"""The router of queries that have tools bound, where nobody has chosen one: calls by learning, final words by votes.

What ships as `tools` says whether anything should be called and which call stands. It was never asked which of several
texts answers best; where an agent's tools have spoken and no member calls another, the answers are such texts, and
agreement judges them.

Where the whole crowd makes the same call, that is enough: p_fail is held to the lowest operating point, so that this
default asks the oracle only where agreement would have asked it too. On recorded crowds of three that cost less than
three right answers in a thousand, and an agent that makes one call after another, which looks half done to a router that
has seen single questions, is not sent to the oracle at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

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

_NOTE = "the whole crowd says the same: p_fail is held to the lowest operating point"

LEAST = 2
"""Fewer members than this cannot disagree, and no router was trained on so few."""


class StepRouter:
    """Two routers in one, chosen by what the members do.

    Args:
        calls: of tool calls; its operating points are those of the pair.
        words: of texts; agreement by default, whose p_fail is above every operating point unless all agree.
    """

    def __init__(self, calls: Router, words: Router | None = None) -> None:
        self.calls = calls
        self.words = words or AgreementRouter()

    @property
    def id(self) -> str:
        """That of the router of calls; an assessment says which of the two it is from."""
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
        """What the one of the two says that this observation is for."""
        found = self._judge(observation).assess(observation)
        held = min((point.threshold for point in self.operating_points.values()), default=1.0)
        if not (found.p_fail > held and is_unanimous(found, observation)):
            return found
        return replace(found, p_fail=held, notes=(*found.notes, _NOTE))

    def foresee(
        self, observation: Observation, decide: Callable[[Assessment], Decision]
    ) -> Mapping[Foreseen, float]:
        """What the router of calls foresees; nothing where a member that is still missing may yet call."""
        judge = self._judge(observation)
        return judge.foresee(observation, decide) if judge is self.calls else {}

    def _judge(self, observation: Observation) -> Router:
        return self.words if ends_in_words(observation) else self.calls


def with_tools(query: Query, crowd: tuple[str, ...]) -> bool:
    """Whether a query is one that `StepRouter` is for: tools are bound, no other kind of answer is, several are asked."""
    return bool(query.tools) and query.answer_type in (None, "tool_calls") and len(crowd) >= LEAST


def is_unanimous(found: Assessment, observation: Observation) -> bool:
    """Whether the whole crowd has answered, and all alike."""
    return len(found.p_right) == 1 and len(found.p_right[0].calls) == len(observation.crowd)


def ends_in_words(observation: Observation) -> bool:
    """Whether tools have spoken last in the conversation and no member calls another."""
    messages = observation.query.messages
    if not messages or messages[-1].get("role") != "tool":
        return False
    answers = [reply.result for reply in observation.replies if isinstance(reply.result, Answer)]
    return bool(answers) and not any(answer.tool_calls for answer in answers)
