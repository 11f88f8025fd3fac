"""Building: the fields of a `ChatPyramid` become the core's pyramid and what identifies it.

Cheap enough (well under a millisecond) to happen at every call where a field is configured at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_pyramid.roster import Roster, roster_of
from pyramid_core.decision import ThresholdRule, rule_of
from pyramid_core.guarding import EscalateTools
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers.semantic import SIMILARITY, SemanticRouter
from pyramid_core.types.numbers import check_number

PARTS = (
    "crowd",
    "oracle",
    "router",
    "rule",
    "escalate_tools",
    "policy",
    "prices",
    "timeout",
    "explore",
    "embeddings",
    "gatherers",
    "on_trace",
)
"""The fields that a pyramid is built of."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A pyramid, and what it was made from.

    Attributes:
        parts: the values of `PARTS`.
        roster: the members.
        pyramid: the core's.
        identity: what tells it from another, without secrets.
    """

    parts: tuple[Any, ...]
    roster: Roster
    pyramid: Pyramid
    identity: Mapping[str, Any]

    def made_of(self, parts: tuple[Any, ...]) -> bool:
        """Whether these are the very objects it was made from."""
        return all(mine is theirs for mine, theirs in zip(self.parts, parts, strict=True))


def build(model: str, parts: tuple[Any, ...]) -> Built:
    """The pyramid that answers under the name `model`.

    Raises:
        InputError, RouterError: what is wrong with which part.
    """
    given = dict(zip(PARTS, parts, strict=True))
    check_timeout(given["timeout"])
    roster = roster_of(given["crowd"], given["oracle"], given["prices"])
    rule = rule_of(model, given["rule"])
    if given["escalate_tools"]:
        rule = EscalateTools(ThresholdRule() if rule is None else rule, given["escalate_tools"])
    router, gatherers = given["router"], dict(given["gatherers"] or {})
    if given["embeddings"] is not None:
        from langchain_pyramid.semantic import EmbeddingGatherer

        gatherers.setdefault(SIMILARITY, EmbeddingGatherer(given["embeddings"]))
        router = SemanticRouter() if router is None else router
    pyramid = Pyramid(
        crowd=roster.crowd,
        oracle=roster.oracles,
        router=router,
        rule=rule,
        policy=given["policy"],
        deadline=given["timeout"],
        explore=given["explore"],
        gatherers=gatherers,
        on_trace=given["on_trace"],
    )
    identity = {
        "model": model,
        "crowd": list(pyramid.crowd),
        "oracle": list(pyramid.oracles),
        "members": roster.fingerprint,
        "router": pyramid.router.id,
        "rule": repr(pyramid.rule),
        "policy": repr(pyramid.policy),
    }
    return Built(parts=parts, roster=roster, pyramid=pyramid, identity=identity)


def check_timeout(timeout: Any) -> None:
    """Raise unless `timeout` is None or a number of seconds above zero.

    Raises:
        InputError: says what it is.
    """
    if timeout is not None:
        check_number("timeout", timeout, low=0.0, above=True, unit="seconds")
