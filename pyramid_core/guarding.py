"""Guarding: what a crowd may never do, however sure it is of it, and however little time is left.

A rule that has a method `bars` has the last word on what goes out: where a deadline, or a reader who has seen enough,
ends a query before the rule could be asked, an answer that it bars is not handed out; nor is one offered to a watcher.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pyramid_core.errors import InputError
from pyramid_core.types import Answer, Assessment, Decision, Options, Reply, Router, Rule, Verdict


def barred(rule: Rule, assessment: Assessment, options: Options) -> str:
    """Why `rule` never lets the standing answer out; "" where it may go, as under any rule without a method `bars`."""
    bars = getattr(rule, "bars", None)
    return "" if bars is None else str(bars(assessment, options))


def best_so_far(rule: Rule, decision: Decision, assessment: Assessment, options: Options) -> Decision:
    """`decision` where nobody can be asked any more; it abstains where the rule bars the answer that stands."""
    why = barred(rule, assessment, options)
    reason = f"{why}, and there is no time to ask one"
    return replace(decision, verdict=Verdict.ABSTAIN, oracle=None, reason=reason) if why else decision


@dataclass(frozen=True, init=False)
class EscalateTools:
    """Another rule, but for calls of some tools: those are an oracle's to make, however sure the crowd is.

    Where the crowd's standing answer calls one of them, an open oracle is asked; where none is open, or no time is
    left, the rule abstains. A call that an oracle's answer has made alike may stand.

    Attributes:
        rule: what decides everything else.
        tools: names.

    Raises:
        InputError: `tools` holds no name.
    """

    rule: Rule
    tools: frozenset[str]

    def __init__(self, rule: Rule, tools: Iterable[Any]) -> None:
        names = frozenset() if isinstance(tools, str) else frozenset(tools)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError(f"tools must be a set of tool names, not {tools!r}")
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "tools", names)

    def __repr__(self) -> str:
        return f"EscalateTools({self.rule!r}, {sorted(self.tools)})"

    def resolved(self, router: Router) -> EscalateTools:
        """This rule with the other one resolved."""
        return EscalateTools(self.rule.resolved(router), self.tools)

    def decide(self, assessment: Assessment, options: Options) -> Decision:
        """The other rule's verdict, unless that would accept such a call of the crowd's."""
        decision = self.rule.decide(assessment, options)
        why = self.bars(assessment, options)
        if decision.verdict is not Verdict.ACCEPT or not why:
            return decision
        if options.oracles:
            oracle = options.oracles[0]
            return replace(decision, verdict=Verdict.ESCALATE, oracle=oracle, reason=f"{why}: ask it")
        return replace(decision, verdict=Verdict.ABSTAIN, oracle=None, reason=f"{why}, and none is open")

    def bars(self, assessment: Assessment, options: Options) -> str:
        """Why the answer that stands may not stand; "" where it may."""
        answers = {reply.call: reply for reply in options.replies if isinstance(reply.result, Answer)}
        standing = answers.get(-1 if assessment.chosen is None else assessment.chosen)
        if standing is None or standing.role == "oracle":
            return ""
        heard = [call for reply in answers.values() if reply.role == "oracle" for call in _calls(reply)]
        called = {name for name, arguments in _calls(standing) if (name, arguments) not in heard} & self.tools
        return f"the crowd calls {', '.join(sorted(called))}, which only an oracle may" if called else ""


def _calls(reply: Reply) -> list[tuple[str, Any]]:
    """What a reply calls, by name and arguments."""
    calls = reply.result.tool_calls if isinstance(reply.result, Answer) else ()
    return [(call.name, call.arguments) for call in calls]
