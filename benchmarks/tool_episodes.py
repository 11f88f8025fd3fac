"""Whole tasks instead of single calls: how errors add up over the steps of an episode.

    python benchmarks/tool_episodes.py [--episodes 60] [--seed 0]

An episode is three to eight requests to an assistant with five tools (a calculator, a search over a small corpus, a
calendar and a mailbox in memory), and it is right where everything is in the end as it should be. The members are
scripted: each request is answered as one recorded question of its kind was (one call, one of several tools, parallel
calls, no tool fits), so that members are wrong as often, and together, as the recorded models were. What a wrong
member does is drawn: a value from nowhere, a call left out, another tool, a call where none is due, or words only.

The recorded calls are looked for in PYRAMID_DATA, else beside the project; twice the same command, twice the same table.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recorded import ROOT, SETS, print_table

from pyramid_core import Pyramid, Recorded
from pyramid_core.equivalence import classes
from pyramid_core.records import query_of, read_records, response_of
from pyramid_core.training import observation_of
from pyramid_core.types import Answer, Router, ToolCall

NAME = "tools-a"
LENGTHS = range(3, 9)
KINDS = ("simple", "multiple_function", "parallel_function", "parallel_multiple_function", "relevance")
CORPUS = {
    "opening hours": "The library opens at nine.",
    "parking": "Visitors park behind the east wing.",
    "wifi": "The password hangs at the desk.",
}
PEOPLE, EVENTS = ("Ann", "Bob", "Cleo", "Dev"), ("dentist", "budget review", "choir", "team lunch")
IDLE = (
    "Who wrote the opera Carmen?",
    "What colour do you get from blue and yellow?",
    "Why is the sky blue?",
    "Which river flows through Vienna?",
)


def tool(name: str, description: str, **kinds: str) -> dict[str, Any]:
    """A tool in OpenAI's form; all its arguments are required."""
    properties = {argument: {"type": kind} for argument, kind in kinds.items()}
    parameters = {"type": "object", "properties": properties, "required": sorted(kinds)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS = (
    tool("calculate_product", "Multiply two numbers.", one="number", other="number"),
    tool("search_notes", "Search the notes of the house.", topic="string"),
    tool("add_event", "Add an event to the calendar.", title="string", date="string"),
    tool("cancel_event", "Cancel an event in the calendar.", title="string", date="string"),
    tool("send_mail", "Send a mail to a person.", person="string", text="string"),
)


@dataclass
class World:
    """What the tools act on.

    Attributes:
        events: (title, date) in the calendar.
        mails: (person, text), in any order.
        results: what the calculator and the search have returned.
    """

    events: set[tuple[str, str]] = field(default_factory=set)
    mails: list[tuple[str, str]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def carry_out(self, call: ToolCall) -> None:
        """Do what a call says; one that cannot be done does nothing."""
        given = dict(call.arguments) if isinstance(call.arguments, Mapping) else {}
        act = _ACTS.get(call.name)
        if act is not None:
            act(self, {name: str(value).lower() for name, value in given.items()})

    @property
    def state(self) -> tuple[Any, ...]:
        """Everything, in an order of its own."""
        return sorted(self.events), sorted(self.mails), sorted(map(str, self.results))


def _product(world: World, given: Mapping[str, str]) -> None:
    world.results.append(float(given.get("one", "nan")) * float(given.get("other", "nan")))


_ACTS: Mapping[str, Callable[[World, Mapping[str, str]], Any]] = {
    "calculate_product": _product,
    "search_notes": lambda world, given: world.results.append(CORPUS.get(given.get("topic", ""))),
    "add_event": lambda world, given: world.events.add((given.get("title", ""), given.get("date", ""))),
    "cancel_event": lambda world, given: world.events.discard(
        (given.get("title", ""), given.get("date", ""))
    ),
    "send_mail": lambda world, given: world.mails.append((given.get("person", ""), given.get("text", ""))),
}


@dataclass(frozen=True)
class Step:
    """One request: its kind, its words, the tools on offer, and the calls that are right."""

    kind: str
    text: str
    tools: Sequence[Mapping[str, Any]]
    right: tuple[ToolCall, ...]


def request(draw: random.Random) -> tuple[str, ToolCall]:
    """Words that ask for one call, and the call."""
    what = draw.randrange(4)
    date = f"2025-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    if what == 0:
        one, other = draw.randint(3, 99), draw.randint(3, 99)
        return f"calculate the product of {one} and {other}", call("calculate_product", one=one, other=other)
    if what == 1:
        topic = draw.choice(sorted(CORPUS))
        return f"search the notes for {topic}", call("search_notes", topic=topic)
    if what == 2:
        title = draw.choice(EVENTS)
        return f"add the event '{title}' to my calendar on {date}", call("add_event", title=title, date=date)
    person, text = draw.choice(PEOPLE), draw.choice(("I am late", "see you there", "please call me"))
    return f"send a mail to {person} with the text '{text}'", call("send_mail", person=person, text=text)


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def step(draw: random.Random) -> Step:
    """A request of a kind, the kinds as often as in the recorded questions."""
    kind = draw.choices(KINDS, weights=(200, 100, 100, 100, 120))[0]
    if kind == "relevance":
        return Step(kind, draw.choice(IDLE), TOOLS, ())
    asked = [request(draw)]
    while len(asked) < (2 if kind.startswith("parallel") else 1):
        further = request(draw)
        if kind.startswith("parallel_multiple") == (further[1].name != asked[0][1].name):
            asked.append(further)
    text = " and ".join(words for words, _ in asked)
    names = {made.name for _, made in asked}
    tools = [t for t in TOOLS if t["function"]["name"] in names] if kind == "simple" else TOOLS
    return Step(kind, text[0].upper() + text[1:] + ".", tools, tuple(made for _, made in asked))


def mistaken(right: tuple[ToolCall, ...], draw: random.Random) -> Answer:
    """A wrong answer to a step."""
    if not right:
        return Answer(text="", tool_calls=(request(draw)[1],))
    fault = draw.choice(("value", "value", "value", "left out", "tool", "words"))
    calls = list(right)
    place = draw.randrange(len(calls))
    if fault == "left out" and len(calls) > 1:
        del calls[place]
    elif fault == "tool":
        while calls[place] == right[place]:
            calls[place] = request(draw)[1]
    elif fault == "words":
        return Answer(text="Could you tell me more about what you need?")
    else:
        arguments = dict(calls[place].arguments) if isinstance(calls[place].arguments, Mapping) else {}
        name = draw.choice(sorted(arguments))
        old = arguments[name]
        arguments[name] = old + draw.randint(1, 9) if isinstance(old, int) else f"{old} {draw.choice(PEOPLE)}"
        calls[place] = ToolCall(name=calls[place].name, arguments=arguments)
    return Answer(text="", tool_calls=tuple(calls))


def answers(one: Step, recorded: Mapping[str, Any], draw: random.Random) -> dict[str, Answer]:
    """What each model says: right where the recorded one was; those that were wrong alike are wrong alike."""
    names = [response["model"] for response in recorded["responses"]]
    right = {response["model"]: response["correct"] for response in recorded["responses"]}
    said: dict[str, Answer] = {}
    for group in classes(observation_of(recorded, crowd=names), "tool_calls"):
        wrong = mistaken(one.right, draw)
        for name in group.members:
            said[name] = Answer(text="" if one.right else "No tool is needed.", tool_calls=one.right)
            if not right[name]:
                said[name] = wrong
    return {name: said.get(name, Answer(text="Sorry?")) for name in names}


def main() -> None:
    """Run the episodes in all ways."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=60, help="of each length")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    path = (
        Path(os.environ.get("PYRAMID_DATA") or ROOT.parent / "shared" / "data") / "bfcl_tool_calls.jsonl.gz"
    )
    if not path.is_file():
        sys.exit(f"the recorded calls are not at {path}: set PYRAMID_DATA to their folder")
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for record in read_records(path):
        by_kind.setdefault(record["category"], []).append(record)
    row = SETS[NAME]
    ways: Mapping[str, Router | str | None] = {
        "by default": None,
        "tools router": "tools",
        "unless unanimous": "agreement",
    }
    lines = []
    for length in LENGTHS:
        for way in (*ways, "oracle alone", row.crowd[1] + " alone"):
            pyramid = None
            if way in ways:
                crowd = [Recorded(name) for name in row.crowd]
                pyramid = Pyramid(crowd=crowd, oracle=Recorded(row.oracle), router=ways[way])
            single = row.oracle if way == "oracle alone" else row.crowd[1]
            lines.append((length, way, *run(pyramid, single, length, by_kind, options)))
    headings = ("steps", "who", "end states right", "steps right", "to that power", "oracle's steps")
    print_table(f"{options.episodes} episodes of each length", headings, lines)


def run(
    pyramid: Pyramid | None,
    single: str,
    length: int,
    by_kind: Mapping[str, Sequence[Mapping[str, Any]]],
    options: argparse.Namespace,
) -> tuple[str, ...]:
    """Shares of episodes and steps that are right, what independent steps would give, and the oracle's share."""
    ended = stepped = escalated = 0
    for episode in range(options.episodes):
        draw = random.Random(f"{options.seed} {length} {episode}")
        wanted, found = World(), World()
        for _ in range(length):
            one = step(draw)
            said = answers(one, draw.choice(by_kind[one.kind]), draw)
            answer, who = said[single], single
            if pyramid is not None:
                answer, who = asked(pyramid, one, said)
            for made in one.right:
                wanted.carry_out(made)
            before = World(set(found.events), list(found.mails), list(found.results))
            for made in answer.tool_calls:
                found.carry_out(made)
            for made in one.right:
                before.carry_out(made)
            stepped += found.state == before.state
            escalated += who == SETS[NAME].oracle
        ended += found.state == wanted.state
    steps = options.episodes * length
    right = stepped / steps
    return (
        f"{ended / options.episodes:.2f}",
        f"{right:.3f}",
        f"{right**length:.2f}",
        f"{escalated / steps:.1%}",
    )


def asked(pyramid: Pyramid, one: Step, said: Mapping[str, Answer]) -> tuple[Answer, str]:
    """What the pyramid answers, and who in it."""
    record = {
        "id": one.text,
        "query": one.text,
        "tools": list(one.tools),
        "responses": [response_of(answer, model=name) | {"latency": 1.0} for name, answer in said.items()],
    }
    assert query_of(record).tools
    answer = pyramid.replay(record).answer
    return answer, answer.member


if __name__ == "__main__":
    main()
