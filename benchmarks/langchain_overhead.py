"""What ChatPyramid costs beside its own members, asked bare in a chain; in one run, in turns.

    python benchmarks/langchain_overhead.py [rounds] [openai]

Three chat models that answer at once, so that nothing is measured but what asking costs. Three ways take turns in every
round: `parallel` is what a user would write, `RunnableParallel` of the three and then a lambda; `floor` is the least
there is, a kept pool (or a gather) of the three and then a lambda; `pyramid` is `ChatPyramid` over the same three. All
are called as runnables, with no callbacks. A figure is the median over the rounds, in ms a query: wall time and CPU time
at one query at a time, CPU time of the process at 16 and 128; the last column is the median of pyramid minus floor. A
machine that is busy with something else is busy for all three.

With `openai` the members are `ChatOpenAI` on a loopback server in another process, with httpx's own transport and with
aiohttp's; the server's time is not on the bill.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda, RunnableParallel

from langchain_pyramid import ChatPyramid

ASKS = [HumanMessage("How many apples does Tom have now, with 5 before and 3 more?")]
SAYS = "The answer is 8."
BUDGET_MS = 0.5


class Instant(BaseChatModel):
    """Answers at once."""

    model: str = "instant"

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        usage = {"input_tokens": 20, "output_tokens": 9, "total_tokens": 29}
        message = AIMessage(SAYS, usage_metadata=usage, response_metadata={"model_name": self.model})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        # A turn of the loop, as whatever waits for a socket does.
        await asyncio.sleep(0)
        return self._generate(messages)


def joined(answers: Mapping[str, AIMessage]) -> AIMessage:
    """The lambda at the end: one of the answers."""
    return next(iter(answers.values()))


class Ways:
    """The three ways over one crowd."""

    def __init__(self, crowd: list[BaseChatModel], oracle: BaseChatModel) -> None:
        self.crowd = crowd
        self.names = [str(n) for n in range(len(crowd))]
        self.pyramid = ChatPyramid(crowd=crowd, oracle=oracle)
        self.parallel = RunnableParallel(dict(zip(self.names, crowd, strict=True))) | RunnableLambda(joined)
        self.pool = ThreadPoolExecutor(400)

    def kept_pool(self) -> AIMessage:
        """The floor, on threads."""
        asked = [self.pool.submit(copy_context().run, model.invoke, ASKS) for model in self.crowd]
        return joined(dict(zip(self.names, (each.result() for each in asked), strict=True)))

    async def gathered(self) -> AIMessage:
        """The floor, on the loop."""
        answers = await asyncio.gather(*(model.ainvoke(ASKS) for model in self.crowd))
        return joined(dict(zip(self.names, answers, strict=True)))

    def sync(self) -> dict[str, Callable[[], Any]]:
        """By name."""
        return {
            "parallel": lambda: self.parallel.invoke(ASKS),
            "floor": self.kept_pool,
            "pyramid": lambda: self.pyramid.invoke(ASKS),
        }

    def on_loop(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """By name."""
        return {
            "parallel": lambda: self.parallel.ainvoke(ASKS),
            "floor": self.gathered,
            "pyramid": lambda: self.pyramid.ainvoke(ASKS),
        }


Clock = Callable[[], float]


def on_threads(ask: Callable[[], Any], concurrent: int, queries: int, clock: Clock) -> float:
    """Milliseconds a query, asked from so many threads."""
    if concurrent == 1:
        start = clock()
        for _ in range(queries):
            ask()
        return 1e3 * (clock() - start) / queries
    with ThreadPoolExecutor(concurrent) as callers:
        list(callers.map(lambda _: ask(), range(concurrent)))
        start = clock()
        list(callers.map(lambda _: ask(), range(queries)))
        return 1e3 * (clock() - start) / queries


async def on_loop(ask: Callable[[], Awaitable[Any]], concurrent: int, queries: int, clock: Clock) -> float:
    """Milliseconds a query, so many at once on one loop."""
    start = clock()
    for _ in range(queries // concurrent):
        await asyncio.gather(*(ask() for _ in range(concurrent)))
    return 1e3 * (clock() - start) / (queries // concurrent * concurrent)


def compared(ways: Ways, concurrent: int, rounds: int, clock: Clock, *, loop: bool) -> dict[str, float]:
    """The medians of the three ways, and that of the differences."""
    queries = max(100, 2 * concurrent)
    asked: Mapping[str, Any] = ways.on_loop() if loop else ways.sync()

    async def around() -> list[dict[str, float]]:
        found = []
        for _ in range(rounds + 1):
            gc.collect()
            found.append(
                {
                    name: await on_loop(ask, concurrent, queries, clock)
                    if loop
                    else on_threads(ask, concurrent, queries, clock)
                    for name, ask in asked.items()
                }
            )
        return found[1:]  # The first one warms up.

    found = asyncio.run(around())
    medians = {name: statistics.median(each[name] for each in found) for name in asked}
    return medians | {"more": statistics.median(each["pyramid"] - each["floor"] for each in found)}


def shown(title: str, ways: Ways, rounds: int, concurrencies: tuple[int, ...]) -> bool:
    """Print one table; whether every difference is within the budget."""
    print(f"{title}, ms a query, median of {rounds} rounds\n")
    print(f"{'':<28}{'parallel':>10}{'floor':>10}{'pyramid':>10}{'more':>10}")
    good = True
    for loop in (False, True):
        for concurrent in concurrencies:
            for kind, clock in (("wall", time.perf_counter), ("CPU", time.process_time)):
                if kind == "wall" and concurrent > 1:
                    continue
                found = compared(ways, concurrent, rounds, clock, loop=loop)
                name = f"{'async' if loop else 'sync'} {concurrent} at once, {kind}"
                print(f"{name:<28}" + "".join(f"{found[w]:>10.3f}" for w in found))
                good = good and found["more"] <= BUDGET_MS
    print()
    return good


class Handler(BaseHTTPRequestHandler):
    """Answers every chat completion alike."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:  # type: ignore[override]
        """Say nothing."""

    def do_POST(self) -> None:
        """One completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        choice = {"index": 0, "message": {"role": "assistant", "content": SAYS}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
        sent = json.dumps({**head, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def serve(port: Any) -> None:
    """A server on a free port, in a process of its own."""
    server = _Server(("127.0.0.1", 0), Handler)
    port.put(server.server_port)
    server.serve_forever()


def over_http(rounds: int) -> bool:
    """The same over `ChatOpenAI`, on both transports."""
    from langchain_openai import ChatOpenAI
    from openai import DefaultAioHttpClient

    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    process = context.Process(target=serve, args=(port,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{port.get()}/v1"
    good = True
    for title, client in (("httpx", lambda: None), ("aiohttp", DefaultAioHttpClient)):

        def model(name: str, client: Any = client) -> BaseChatModel:
            return ChatOpenAI(
                model=name, base_url=url, api_key="sk-none", stream_usage=True, http_async_client=client()
            )

        ways = Ways([model("a"), model("b"), model("c")], model("oracle"))
        good = shown(f"langchain-openai on {title}", ways, rounds, (1, 16)) and good
    process.terminate()
    return good


def main(arguments: list[str]) -> int:
    """Print the tables."""
    rounds = next((int(word) for word in arguments if word.isdigit()), 9)
    if "openai" in arguments:
        return 0 if over_http(rounds) else 1
    ways = Ways([Instant(model=name) for name in "abc"], Instant(model="oracle"))
    return 0 if shown("Chat models that answer at once", ways, rounds, (1, 16, 128)) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
