"""The main job: questions go through the pyramid of embedded models, and what came of it stands beside the rest.

What is compared, over the same questions: each member alone, the crowd's vote, the crowd's answer that the router would
let stand, the oracle on everything, the pyramid, and the pyramid if it escalated as many questions chosen at random. An
answer is right if its final number is the problem's. Costs are those of the calls that each way needs, at the models'
notional prices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyramid_core.embedded import embedded_crowd, embedded_oracle
from pyramid_core.embedded.problems import Problem
from pyramid_core.evaluation.bootstrap import Estimate, mean_with_interval, random_escalation
from pyramid_core.evaluation.graders import numeric
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import routing_judgement, routing_record
from pyramid_core.routers import AgreementRouter
from pyramid_core.text import Reading
from pyramid_core.types import UNKNOWN_COST, Answer, Cost, Observation, Policy, Query, Reply, Reported, Trace


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One problem's way through the pyramid, and what would have been said otherwise.

    Attributes:
        problem: with its solution.
        trace: of the pyramid.
        record: the routing record of that trace.
        members: what each member of the crowd said, by name.
        vote: the crowd's answer by plurality; None where it has none.
        stands: the crowd's answer that would stand without the oracle, by the router; None where it has none.
        oracle: what the oracle says, whether or not the pyramid asked it.
    """

    problem: Problem
    trace: Trace
    record: Mapping[str, Any]
    members: Mapping[str, Reported]
    vote: Answer | None
    stands: Answer | None
    oracle: Reported

    @property
    def answer(self) -> Reported | None:
        """What the pyramid answered."""
        return next((call.result for call in self.trace.calls if call.call == self.trace.answered), None)

    def right(self, answer: Reported | None) -> bool:
        """Whether `answer` solves the problem; a failure does not."""
        return isinstance(answer, Answer) and bool(numeric(answer, self.problem.answer))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What came of a number of walks, by who or what is asked.

    The ways are the members by name, "vote" (the crowd's plurality), "chosen" (the crowd's answer that the router lets
    stand), "oracle" (on everything), "pyramid", and "random": as many escalated at random, the router's choice standing
    for the others, so that it differs from the pyramid in nothing but whom it escalates.

    Attributes:
        n: how many problems.
        members: the crowd's names.
        accuracies: the share of the `n` that each way solves, with a 95 % interval.
        costs: what all `n` cost each way, in USD.
        escalation_rate: the share that went to the oracle, 0 to 1.
    """

    n: int
    members: tuple[str, ...]
    accuracies: Mapping[str, Estimate]
    costs: Mapping[str, Cost]
    escalation_rate: float

    def cost_ratio(self, way: str = "pyramid") -> float | None:
        """The cost of a way over the oracle's on everything; None where one of them is not completely known."""
        ours, alone = self.costs[way], self.costs["oracle"]
        return ours.usd / alone.usd if ours.complete and alone.complete and alone.usd > 0 else None

    def as_json(self) -> dict[str, Any]:
        """The figures in plain JSON types."""
        found = self.accuracies
        return {
            "members": {name: found[name].value for name in self.members},
            "vote_accuracy": found["vote"].value,
            "oracle_accuracy": found["oracle"].value,
            "pyramid_accuracy": found["pyramid"].value,
            "pyramid_accuracy_ci": [found["pyramid"].low, found["pyramid"].high],
            "random_accuracy": found["random"].value,
            "random_accuracy_ci": [found["random"].low, found["random"].high],
            "escalation_rate": self.escalation_rate,
            "cost_ratio": self.cost_ratio(),
            "n": self.n,
        }


def embedded_pyramid(router: str) -> Pyramid:
    """The embedded crowd and oracle behind `router`: "agreement", a shipped router's name, or a folder.

    It waits for every member, so that each is known on every question, the bill is complete and a run can be repeated
    to the digit; stopping early would cancel whoever happens to be last.

    Raises:
        RouterError: there is no such router, or it does not fit.
    """
    return Pyramid(
        crowd=embedded_crowd(),
        oracle=embedded_oracle(),
        router=router,
        policy=Policy(early_stop=None),
    )


def walk(pyramid: Pyramid, problem: Problem, *, then: Callable[[], None] = lambda: None) -> Walk:
    """Ask the pyramid, and outside of it the oracle where the pyramid did not; call `then` at the end."""
    trace = pyramid.ask(problem.question).trace
    results = {call.call: call.result for call in trace.calls}
    replies = {call.who: call.result for call in trace.calls if call.result is not None}
    judged = routing_judgement(trace)
    by_votes = AgreementRouter().assess(observed(trace)).chosen
    by_router = judged.assessment.chosen if judged else by_votes
    name = pyramid.oracles[0]
    if name not in replies:
        replies[name] = pyramid.members[name].ask(Query(text=problem.question))
    then()
    return Walk(
        problem=problem,
        trace=trace,
        record=routing_record(trace),
        members={member: replies[member] for member in pyramid.crowd},
        vote=_answer(results, by_votes),
        stands=_answer(results, by_router),
        oracle=replies[name],
    )


def figures(walks: Sequence[Walk], *, seed: int) -> Figures:
    """The figures of `walks`, at least one; `seed` is the bootstrap's."""
    n = len(walks)
    names = tuple(walks[0].members)
    said: dict[str, list[Reported | None]] = {name: [w.members[name] for w in walks] for name in names}
    said |= {
        "vote": [w.vote for w in walks],
        "chosen": [w.stands for w in walks],
        "oracle": [w.oracle for w in walks],
        "pyramid": [w.answer for w in walks],
    }
    right = {
        way: [float(w.right(one)) for w, one in zip(walks, answers, strict=True)]
        for way, answers in said.items()
    }
    escalated = sum(bool(w.record["escalated"]) for w in walks)
    accuracies = {way: mean_with_interval(values, seed=seed) for way, values in right.items()}
    accuracies["random"] = random_escalation(
        crowd=right["chosen"], oracle=right["oracle"], escalated=escalated, seed=seed
    )
    costs = {way: _bill(said[way]) for way in (*names, "oracle")}
    costs["vote"] = costs["chosen"] = sum((costs[name] for name in names), start=Cost())
    costs["pyramid"] = _bill([call.result for w in walks for call in w.trace.calls if call.role != "gather"])
    costs["random"] = costs["vote"] + _share(costs["oracle"], escalated / n)
    return Figures(n=n, members=names, accuracies=accuracies, costs=costs, escalation_rate=escalated / n)


def observed(trace: Trace) -> Observation:
    """What the crowd had said at the end of `trace`."""
    return Observation(
        query=trace.query,
        crowd=trace.crowd,
        replies=tuple(
            Reply(call=call.call, role=call.role, who=call.who, result=call.result)
            for call in trace.calls
            if call.role == "crowd" and call.result is not None
        ),
        oracles=trace.oracles,
    )


def number_of(answer: Answer) -> str | None:
    """The final number of an answer, in normal form; None where it gives none."""
    return Reading(answer.text, cut=answer.finish_reason == "length", extracted=answer.extracted).number


def _answer(results: Mapping[int, object], call: int | None) -> Answer | None:
    found = None if call is None else results.get(call)
    return found if isinstance(found, Answer) else None


def _bill(results: Sequence[object]) -> Cost:
    costs = (result.cost if isinstance(result, Answer) else UNKNOWN_COST for result in results)
    return sum(costs, start=Cost())


def _share(cost: Cost, share: float) -> Cost:
    return Cost(usd=cost.usd * share, complete=cost.complete)
