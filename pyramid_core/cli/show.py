"""Figures and deliberations as tables and sentences; nothing is computed here that a program would need."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from pyramid_core.cli.demo import Figures, Walk, number_of, observed
from pyramid_core.cli.terminal import new_table, readable
from pyramid_core.decision import escalates
from pyramid_core.equivalence import classes
from pyramid_core.records import routing_judgement, routing_record
from pyramid_core.types import Answer, CallRecord, Cost, Failure, Judgement, Outcome, Trace

if TYPE_CHECKING:
    from rich.console import Console

    from pyramid_core.pyramid import Pyramid

GOOD, BAD = "green", "red"


def show_demo(
    console: Console, pyramid: Pyramid, walks: Sequence[Walk], found: Figures, *, seed: int
) -> None:
    """A handful of questions, then the figures."""
    crowd, oracle = ", ".join(pyramid.crowd), pyramid.oracles[0]
    console.print(f"{found.n} fresh problems (seed {seed}); crowd: {crowd}; oracle: {oracle}")
    console.print(f"router: {pyramid.router.id}; rule: {pyramid.rule!r}")
    for title, shown in _handful(walks):
        console.print(Text(f"\n{title}", style="bold"))
        _show_walk(console, shown)
    console.print(Text(f"\nAll {found.n}", style="bold"))
    console.print(_summary(found))
    console.print()
    for line in _reading(found):
        console.print(line)


def show_deliberation(console: Console, pyramid: Pyramid, outcome: Outcome) -> None:
    """One question's whole way: who said what, how the answers were judged, what was decided, when, for how much."""
    trace = outcome.trace
    record = routing_record(trace)
    console.print(Text(readable(trace.query.text), style="bold"))
    for part in (_calls(trace), _classes(pyramid, trace)):
        console.print()
        console.print(part)
    console.print()
    judged = routing_judgement(trace)
    if judged is not None:
        console.print(_verdict(judged))
        for note in judged.assessment.notes:
            console.print(f"note: {note}")
    console.print(f"  {record['answered_by']} answers ({trace.reason}): {readable(outcome.answer.text)}")
    total = Cost(usd=record["cost"]["usd"], complete=record["cost"]["complete"])
    if record["saving"] is not None:
        alone = f"the oracle alone {Cost(usd=record['oracle_alone'])}"
    else:
        alone = "what the oracle alone would have cost is not known: it was not asked"
    console.print(f"  cost: {total} at notional prices; {alone}\n")
    console.print(_timeline(trace))


def _handful(walks: Sequence[Walk]) -> Iterator[tuple[str, Walk]]:
    """The first of each sort of walk that there is, each walk once."""
    shown: list[Walk] = []
    sorts: tuple[tuple[str, Callable[[Walk], bool]], ...] = (
        ("Accepted: the crowd's answer stands", lambda w: not w.record["escalated"] and w.right(w.answer)),
        (
            "Escalated: the crowd's answer was wrong",
            lambda w: w.record["escalated"] and not w.right(w.stands),
        ),
        (
            "Escalated although the crowd's answer was right",
            lambda w: w.record["escalated"] and w.right(w.stands),
        ),
        ("Accepted, but wrong", lambda w: not w.record["escalated"] and not w.right(w.answer)),
        ("Escalated, and the oracle was wrong", lambda w: w.record["escalated"] and not w.right(w.oracle)),
    )
    for title, fits in sorts:
        one = next((w for w in walks if fits(w) and w not in shown), None)
        if one is not None:
            shown.append(one)
            yield title, one


def _show_walk(console: Console, walk: Walk) -> None:
    console.print(f"{readable(walk.problem.question)} [{walk.problem.answer}]")
    grid = Table.grid(padding=(0, 2))
    answers = dict(walk.members)
    if walk.record["escalated"]:
        answers |= {walk.trace.oracles[0]: walk.oracle}
    for name, said in answers.items():
        words = readable(said.text, limit=240) if isinstance(said, Answer) else str(said)
        grid.add_row(f"  {name}", words.strip(), _mark(right=walk.right(said)))
    console.print(grid)
    judged = routing_judgement(walk.trace)
    if judged is not None:
        console.print(_verdict(judged))
    console.print(
        Text(f"  {walk.record['answered_by']} answers: ").append_text(_mark(right=walk.right(walk.answer)))
    )


def _verdict(judged: Judgement) -> Text:
    p_fail, decided = judged.assessment.p_fail, judged.decision
    costs, imperfect = decided.cost_barrier, decided.imperfection_barrier
    sign = (
        "?"
        if math.isnan(p_fail + costs + imperfect)
        else ">"
        if escalates(p_fail, costs, imperfect)
        else "<="
    )
    line = Text(f"  p_fail {_number(p_fail)} {sign} {_number(costs + imperfect)} = ")
    line.append(f"cost barrier {_number(costs)} + imperfection barrier {_number(imperfect)}: ")
    return line.append(str(decided.verdict), style="bold")


def _summary(found: Figures) -> Table:
    table = new_table(
        "who is asked", numbers=("accuracy", "95 % interval", "oracle", "USD per 1,000", "to oracle's")
    )
    best = max(found.members, key=lambda name: found.accuracies[name].value)
    rates = {"oracle": 1.0, "random": found.escalation_rate, "pyramid": found.escalation_rate}
    names = {name: f"{name} (best single)" if name == best else name for name in found.members}
    names |= {
        "vote": "crowd, by vote",
        "chosen": "crowd, router's choice",
        "random": "as many at random",
        "oracle": "oracle, everything",
        "pyramid": "pyramid",
    }
    for way, name in names.items():
        accuracy, cost, ratio = found.accuracies[way], found.costs[way], found.cost_ratio(way)
        table.add_row(
            name,
            f"{accuracy.value:.3f}",
            f"{accuracy.low:.3f} - {accuracy.high:.3f}",
            f"{rates.get(way, 0.0):.1%}",
            str(Cost(usd=1_000 * cost.usd / found.n, complete=cost.complete)),
            "unknown" if ratio is None else f"{ratio:.1%}",
            style="bold" if way == "pyramid" else "",
        )
    return table


def _reading(found: Figures) -> Iterator[str]:
    ratio = found.cost_ratio()
    if ratio is not None:
        words = f"saves {1 - ratio:.1%} of" if ratio <= 1 else f"adds {ratio - 1:.1%} to"
        yield (
            f"The pyramid asks the oracle {found.escalation_rate:.1%} of the questions and {words} what the oracle "
            "alone would cost, the crowd's own cost included."
        )
    above = found.accuracies["pyramid"].value > found.accuracies["random"].high
    yield (
        f"Its accuracy {'lies' if above else 'does not lie'} above the interval of escalating as many at random."
    )
    yield (
        "What the oracle would have said to the questions that the pyramid kept was asked outside of it, and is not "
        "on its bill. Prices are notional: parameters times tokens."
    )
    yield "These are toy models with honest statistics: nothing here is a result on real LLMs."


def _calls(trace: Trace) -> Table:
    table = new_table("who", "answer", numbers=("final", "mean logprob", "lowest", "cost", "ms"))
    for call in trace.calls:
        if call.role == "gather":
            continue
        said = call.result
        if isinstance(said, Answer):
            words, final = readable(said.text, limit=300).strip(), number_of(said) or "none"
            table.add_row(call.who, words, final, *_sureness(said), str(said.cost), _milliseconds(call))
        else:
            words = (
                readable(f"{said.kind}: {said.message}", limit=300)
                if isinstance(said, Failure)
                else call.state
            )
            table.add_row(call.who, words, "none", "none", "none", "unknown", _milliseconds(call))
    return table


def _sureness(answer: Answer) -> tuple[str, str]:
    logprobs = answer.logprobs
    if not logprobs:
        return "none", "none"
    return f"{sum(logprobs) / len(logprobs):.3f}", f"{min(logprobs):.3f}"


def _milliseconds(call: CallRecord) -> str:
    return "" if call.ended_at is None else f"{1_000 * (call.ended_at - call.asked_at):.1f}"


def _classes(pyramid: Pyramid, trace: Trace) -> Table:
    judged = routing_judgement(trace)
    scores = {score.calls: score.p_right for score in judged.assessment.p_right} if judged else {}
    table = new_table("same answer", "votes", "given by", numbers=("p_right",) if scores else ())
    for group in classes(observed(trace), getattr(pyramid.router, "equivalence", "auto")):
        cells = [readable(group.key or "?", limit=60), str(group.votes), ", ".join(group.members)]
        table.add_row(*cells, *([_number(scores.get(group.calls, math.nan))] if scores else []))
    return table


def _timeline(trace: Trace) -> Table:
    """Every event with its time from the start; at one moment an answer comes before what is made of it."""
    events: list[tuple[float, int, str]] = []
    for call in trace.calls:
        events.append((call.asked_at, 2, f"{call.who} is asked"))
        if call.ended_at is not None:
            events.append((call.ended_at, 0, f"{call.who} {_ending(call)}"))
    for judgement in trace.judgements:
        decided = judgement.decision
        events.append((judgement.at, 1, f"the rule says {decided.verdict}: {decided.reason}"))
    events.append((trace.at, 3, f"the end: {trace.end} ({trace.reason})"))
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column()
    for at, _, what in sorted(events, key=lambda event: event[:2]):
        table.add_row(f"{1_000 * at:.1f} ms", what)
    return table


def _ending(call: CallRecord) -> str:
    if call.state == "done":
        return "fails" if isinstance(call.result, Failure) else "answers"
    return call.state


def _mark(*, right: bool) -> Text:
    return Text("right", style=GOOD) if right else Text("wrong", style=BAD)


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3f}"
