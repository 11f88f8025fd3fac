"""Agent episodes: a calculator, a search over a small corpus and a form to fill, by a plan that stands in the question.

The models are `ChatOpenAI` on a loopback server that follows the plan (`planned`): they make the next call until all
are made, then say what came out. A model whose name is in a plan's `wrong` gets that step wrong.

Run as a program it plays the first half of an episode, keeps its checkpoints in a file, and ends: a process that stops in the
middle of its work.
"""

import json
import pickle
import random
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langchain_pyramid import ChatPyramid
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Policy

CORPUS = {
    "Arla": "Arla has 7 wells and 2 lighthouses.",
    "Borr": "Borr has 3 ferries and no well.",
    "Cind": "Cind is known for 12 windmills.",
}
FIELDS = ("name", "street", "town", "born", "wells")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool
def search(words: str) -> str:
    """Search the corpus."""
    return CORPUS.get(words, "Nothing was found.")


@tool
def fill(field: str, value: str) -> str:
    """Fill a field of the form."""
    return f"{field} is {value}"


TOOLS = [add, multiply, search, fill]


def plan(number: int) -> list[dict]:
    """The calls of one episode: two to seven, then a last word, so three to eight steps; the same for a number."""
    draw = random.Random(number)
    makers = (
        lambda: {"name": "add", "args": {"a": draw.randint(0, 99), "b": draw.randint(0, 99)}},
        lambda: {"name": "multiply", "args": {"a": draw.randint(0, 99), "b": draw.randint(0, 99)}},
        lambda: {"name": "search", "args": {"words": draw.choice(sorted(CORPUS))}},
        lambda: {"name": "fill", "args": {"field": draw.choice(FIELDS), "value": f"v{draw.randint(0, 99)}"}},
    )
    return [draw.choice(makers)() for _ in range(2 + number % 6)]


def asked(number: int, wrong: dict | None = None) -> dict:
    """What an episode begins with; `wrong` has the step that a model gets wrong, by its name."""
    words = json.dumps({"plan": plan(number), "wrong": wrong or {}})
    return {"messages": [("human", words)]}


def planned(body: dict):
    """What the server answers: the next call of the plan, or the last word."""
    said = [m for m in body["messages"] if m["role"] == "user"][-1]["content"]
    told = json.loads(said)
    done = [m["content"] for m in body["messages"] if m["role"] == "tool"]
    if len(done) >= len(told["plan"]):
        return f"All is done: {' / '.join(done)}", {}
    step = told["plan"][len(done)]
    arguments = dict(step["args"])
    if told["wrong"].get(body["model"]) == len(done):
        arguments = {
            key: value + 1 if isinstance(value, int) else f"not {value}" for key, value in arguments.items()
        }
    function = {"name": step["name"], "arguments": json.dumps(arguments)}
    return None, {"tool_calls": [{"id": f"call_{len(done)}", "type": "function", "function": function}]}


@dataclass
class Models:
    """Models on a server."""

    url: str

    def model(self, name: str) -> ChatOpenAI:
        return ChatOpenAI(
            model=name, base_url=self.url, api_key="sk-made-up", stream_usage=True, max_retries=0
        )

    @cached_property
    def oracle(self) -> ChatOpenAI:
        return self.model("big")

    @cached_property
    def pyramid(self) -> ChatPyramid:
        crowd = [self.model(name) for name in ("small", "other", "third")]
        return ChatPyramid(
            crowd=crowd, oracle=self.oracle, router=AgreementRouter(), policy=Policy(early_stop=None)
        )


def saver() -> InMemorySaver:
    """A checkpointer that takes nothing but plain types."""
    return InMemorySaver(serde=JsonPlusSerializer())


def keep(checkpoints: InMemorySaver, path: Path) -> None:
    """Write checkpoints to a file."""
    storage = {
        thread: {ns: dict(kept) for ns, kept in spaces.items()}
        for thread, spaces in checkpoints.storage.items()
    }
    path.write_bytes(pickle.dumps((storage, dict(checkpoints.writes), dict(checkpoints.blobs))))


def kept(path: Path) -> InMemorySaver:
    """Checkpoints out of a file."""
    checkpoints = saver()
    storage, writes, blobs = pickle.loads(path.read_bytes())
    for thread, spaces in storage.items():
        checkpoints.storage[thread] = defaultdict(dict, spaces)
    checkpoints.writes.update(writes)
    checkpoints.blobs.update(blobs)
    return checkpoints


def state_of(messages: list) -> list:
    """What counts of a final state: who said what, which calls, which results."""
    return [
        (
            message.type,
            str(message.text),
            [(c["name"], c["args"]) for c in getattr(message, "tool_calls", ())],
        )
        for message in messages
    ]


def records_of(messages: list) -> list[dict]:
    """The record of each step."""
    return [m.response_metadata.get("pyramid") for m in messages if isinstance(m, AIMessage)]


def results_of(messages: list) -> list[str]:
    return [str(m.content) for m in messages if isinstance(m, ToolMessage)]


def first_half(url: str, number: int, path: str) -> None:
    """Play an episode up to its second tool, keep what is there, and stop."""
    checkpoints = saver()
    agent = create_agent(Models(url).pyramid, TOOLS, checkpointer=checkpoints, interrupt_before=["tools"])
    config = {"configurable": {"thread_id": str(number)}}
    agent.invoke(asked(number), config)
    agent.invoke(None, config)
    keep(checkpoints, Path(path))


if __name__ == "__main__":
    first_half(sys.argv[1], int(sys.argv[2]), sys.argv[3])
