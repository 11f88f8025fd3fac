"""Members that do what they are told, and count what they are asked."""

import asyncio
from dataclasses import dataclass, field

from pyramid_core.prices import Price
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Answer, Usage

PRICE = Price.per_million(input=1.0, output=2.0, source="made up", date="2026-03-05")


@dataclass
class Scripted:
    """Answers by a function of the query's text; what it returns that is an exception is raised."""

    name: str
    say: object = "It is 4."
    price: Price | None = PRICE
    usage: Usage | None = field(default_factory=lambda: Usage(input_tokens=100, output_tokens=10))
    asked: list = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def aask(self, query):
        self.asked.append(query)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            said = self.say(query.text) if callable(self.say) else self.say
            if isinstance(said, BaseException):
                raise said
            if isinstance(said, Answer):
                return said
            cost = {} if self.price is None else {"cost": self.price.cost(self.usage)}
            return Answer(text=said, usage=self.usage, finish_reason="stop", **cost)
        finally:
            self.at_once -= 1

    @property
    def texts(self):
        return [query.text for query in self.asked]


@dataclass
class Blocking:
    """A member that can only be asked on a thread."""

    name: str
    say: str = "It is 4."

    def ask(self, query):
        return Answer(text=self.say)


def pyramid_of(*crowd, oracle=None):
    return Pyramid(crowd=list(crowd), oracle=oracle or Scripted("oracle", "The answer is 4."))


def numbered(count, start=0):
    """Rows with ids whose answer is 4."""
    return [{"id": f"q{n}", "query": f"Question {n}?", "reference": "4"} for n in range(start, start + count)]
