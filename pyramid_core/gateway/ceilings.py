"""A ceiling on what one query may cost: an oracle that would break through it is as good as closed.

    spent + price_in * tokens_in + price_out * tokens_out <= max_cost

Tokens in are what the crowd read of the same prompt; tokens out are the longest answer that was asked for, or else the
crowd's longest. The crowd itself is asked in any case: the ceiling is on escalating.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyramid_core.prices import Price
from pyramid_core.types import Answer, Assessment, Decision, Options, Reply, Router, Rule, Usage, Verdict


def price_of(member: Any) -> Price | None:
    """What a member's tokens cost now; None where that is not known."""
    price = getattr(member, "price", None)
    if not isinstance(price, Price):
        price = getattr(getattr(member, "listing", None), "price", None)
    return price if isinstance(price, Price) else None


@dataclass(frozen=True, kw_only=True)
class CostCeiling:
    """Another rule, but no oracle is asked that may cost more than is left.

    Where no answer stands and none may come, it abstains instead of asking one.

    Attributes:
        rule: what decides everything else.
        max_cost: USD, for the whole query.
        prices: of the oracles, by name; one without a price is never asked.
        tokens: the longest answer that was asked for, or None.
    """

    rule: Rule
    max_cost: float
    prices: Mapping[str, Price]
    tokens: int | None = None

    def resolved(self, router: Router) -> CostCeiling:
        """This rule with the other one resolved."""
        return replace(self, rule=self.rule.resolved(router))

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        """The other rule's verdict over the oracles that can be paid."""
        left = self.max_cost - sum(
            reply.result.cost.usd for reply in options.replies if isinstance(reply.result, Answer)
        )
        payable = tuple(name for name in options.oracles if self._cost(name, options.replies) <= left)
        decision = self.rule.decide(assessment, replace(options, oracles=payable))
        if payable == options.oracles:
            return decision
        if assessment.chosen is None and not options.may_wait and not payable:
            return replace(
                decision, verdict=Verdict.ABSTAIN, reason=f"no answer stands, and {self._short(left)}"
            )
        return replace(decision, reason=f"{decision.reason} ({self._short(left)})")

    def __getattr__(self, name: str) -> Any:
        # A guard's last word (`bars`) stays the guard's; a rule without one has none here either.
        if name == "bars":
            return self.rule.bars  # type: ignore[attr-defined]
        raise AttributeError(name)

    def _short(self, left: float) -> str:
        return f"max_cost ${self.max_cost:.3g} leaves ${max(left, 0.0):.3g}, too little for an oracle"

    def _cost(self, oracle: str, replies: tuple[Reply, ...]) -> float:
        """What `oracle` may cost, in USD; infinite where that cannot be said."""
        price = self.prices.get(oracle)
        used = [
            reply.result.usage
            for reply in replies
            if reply.role == "crowd" and isinstance(reply.result, Answer) and reply.result.usage is not None
        ]
        read = max((u.input_tokens for u in used if u.input_tokens is not None), default=None)
        written = self.tokens or max(
            (u.output_tokens for u in used if u.output_tokens is not None), default=None
        )
        if price is None or read is None or written is None:
            return float("inf")
        cost = price.cost(Usage(input_tokens=read, output_tokens=written))
        return cost.usd if cost.complete else float("inf")
