"""What an agent's episode costs, by how long a decision is kept, against a cached oracle alone.

    python benchmarks/agent_bill.py [episodes]

Twenty steps in four runs, over a context of 50,000 tokens to begin with; each step reads everything again, writes 200
tokens and gets 300 back from a tool. Every model has a prompt cache that holds what it has read last, without end and at
its list price (genai-prices), so that the first reading pays for the cache and only what is new is paid in full later.
No model is called: what the crowd says is drawn, a share of the steps in which it does not agree; then the real
`ChatPyramid` with agreement decides. The figures are means over the episodes, in USD; the same draws for every row.
"""

from __future__ import annotations

import random
import statistics
import sys
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_pyramid import ChatPyramid
from pyramid_core.price_lists import find_price
from pyramid_core.prices import Price
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Policy

CONTEXT, WRITES, RESULT, RUNS, STEPS = 50_000, 200, 300, 4, 5
CROWD = (("gpt-4.1-nano", "openai"), ("gpt-4o-mini", "openai"), ("gemini-2.5-flash-lite", "google"))
ORACLE = ("claude-sonnet-4-5", "anthropic")
SHARES = (0.1, 0.25, 0.5)
SEED = 14


class Caching(BaseChatModel):
    """Calls a tool; knows how much of the prompt it has read before."""

    model: str
    disagrees: Any
    seen: Any = None

    @property
    def _llm_type(self) -> str:
        return "caching"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        step = sum(isinstance(message, AIMessage) for message in messages)
        results = sum(isinstance(message, ToolMessage) for message in messages)
        read = CONTEXT + step * WRITES + results * RESULT
        cached = min(self.seen[0], read)
        self.seen[0] = read + WRITES
        argument = f"{self.model} {step}" if step in self.disagrees else f"right {step}"
        message = AIMessage(
            "",
            tool_calls=[{"name": "look", "args": {"at": argument}, "id": f"call_{step}"}],
            response_metadata={"model_name": self.model},
            usage_metadata={
                "input_tokens": read,
                "output_tokens": WRITES,
                "total_tokens": read + WRITES,
                "input_token_details": {"cache_read": cached, "cache_creation": read - cached},
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def prices() -> dict[str, Price]:
    """List prices by model."""
    found: dict[str, Price] = {}
    for model, provider in (*CROWD, ORACLE):
        listing = find_price(model, provider=provider)
        if listing is None or listing.price is None:
            raise SystemExit(f"genai-prices has no price for {model}: pip install 'pyramid-moa[prices]'")
        found[model] = listing.price
    return found


def bill(decide: str, disagrees: set[int], known: dict[str, Price]) -> tuple[float, int]:
    """USD of one episode, and the steps that the oracle answered."""
    crowd = [Caching(model=name, disagrees=disagrees, seen=[0]) for name, _ in CROWD]
    oracle = Caching(model=ORACLE[0], disagrees=set(), seen=[0])
    llm = ChatPyramid(
        crowd=crowd,
        oracle=oracle,
        router=AgreementRouter(),
        prices=known,
        decide="step" if decide == "alone" else decide,
        policy=Policy(early_stop=None),  # A call that is cancelled has a cost that nobody knows.
    )
    messages: list[BaseMessage] = [SystemMessage("A long context.")]
    usd, escalated = 0.0, 0
    for _ in range(RUNS):
        messages.append(HumanMessage("Go on."))
        for _ in range(STEPS):
            if decide == "alone":
                message = oracle.invoke(messages)
                record = {"cost": {"usd": _alone(message, known), "complete": True}, "escalated": True}
            else:
                message = llm.invoke(messages)
                record = message.response_metadata["pyramid"]
            if not record["cost"]["complete"]:
                raise SystemExit(f"a cost is not known: {record['cost']}")
            usd += record["cost"]["usd"]
            escalated += record["escalated"]
            call = message.tool_calls[0]["id"]
            messages += [message, ToolMessage("seen", tool_call_id=call)]
    return usd, escalated


def _alone(message: AIMessage, known: dict[str, Price]) -> float:
    from langchain_pyramid.messages import usage_of

    return known[ORACLE[0]].cost(usage_of(message.usage_metadata)).usd


def main(arguments: list[str]) -> None:
    """Print the table."""
    episodes = int(arguments[0]) if arguments else 40
    known = prices()
    print(f"oracle {ORACLE[0]}; crowd {', '.join(name for name, _ in CROWD)}; {episodes} episodes a row")
    print(f"prices: {known[ORACLE[0]].source}\n")
    print(
        f"{'crowd disagrees in':<20}{'decide':<16}{'USD':>8}{'oracle steps':>14}{'of the oracle alone':>22}"
    )
    for share in SHARES:
        draw = random.Random(SEED)
        drawn = [{n for n in range(RUNS * STEPS) if draw.random() < share} for _ in range(episodes)]
        alone = 0.0
        for decide in ("alone", "step", "run", "conversation"):
            found = [bill(decide, disagrees, known) for disagrees in drawn]
            usd = statistics.mean(cost for cost, _ in found)
            steps = statistics.mean(count for _, count in found)
            alone = usd if decide == "alone" else alone
            name = "oracle alone" if decide == "alone" else decide
            print(f"{share:<20.0%}{name:<16}{usd:>8.3f}{steps:>14.1f}{usd / alone:>21.0%}")
        print()


if __name__ == "__main__":
    main(sys.argv[1:])
