"""What the gateway costs beside its members, and whether it stands a load; the server is a process of its own.

    python benchmarks/gateway_speed.py cost                       CPU and latency of a query, over a direct call
    python benchmarks/gateway_speed.py load [--seconds 60]        128 clients at once, slow members; nothing may leak

- cost: CPU time is the server process's own (its clients are elsewhere), latency the client's; "direct" is the same call
  of the same member, or of the same pyramid, in a process without a server. Members are an instant one, whose CPU is
  next to nothing, so that the difference is the gateway, and the embedded models.
- load: memory is compared between a sixth of the time and the end, tasks and files between before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from pyramid_core import Answer, Pyramid, Query, Usage
from pyramid_core.configuration import Limits
from pyramid_core.embedded import embedded_crowd, embedded_oracle
from pyramid_core.gateway import Gateway, Settings
from pyramid_core.gateway.server import Server, listen

QUESTION = "Ann has 12 apples. She finds 7 more. How many apples does Ann have now?"
AT_ONCE = (1, 16, 128)
ROUNDS = 3
SLOW = 0.05


class Instant:
    """A member that knows the answer."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def aask(self, query: Query) -> Answer:
        """The answer, at once."""
        return Answer(text="19", finish_reason="stop", usage=Usage(input_tokens=20, output_tokens=1))


class Slow:
    """An embedded model that waits first, as a distant one would."""

    def __init__(self, model: Any) -> None:
        self.name, self._model = model.name, model

    async def aask(self, query: Query) -> Answer:
        """The model's answer, later."""
        await asyncio.sleep(SLOW)
        answer: Answer = await self._model.aask(query)
        return answer


def build(kind: str) -> Callable[..., Pyramid]:
    """What makes the pyramid of a kind: instant, embedded or slow."""
    if kind == "instant":
        return partial(Pyramid, crowd=[Instant(name) for name in "abc"], oracle=Instant("o"))
    crowd, oracle = list(embedded_crowd()), embedded_oracle()
    if kind == "slow":
        return partial(Pyramid, crowd=[Slow(m) for m in crowd], oracle=Slow(oracle), router="embedded")
    return partial(Pyramid, crowd=crowd, oracle=oracle, router="embedded")


def sizes() -> dict[str, float]:
    """What this process has: CPU seconds, files, tasks, and megabytes of memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "cpu": time.process_time(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "tasks": len(asyncio.all_tasks()),
        "memory": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
    }


# The server, in its own process; a line on its standard input is answered with its sizes.


async def serve(kind: str) -> None:
    gateway = Gateway(build(kind), Settings(port=0, limits=Limits(concurrent=1000)))
    server = Server(gateway, ready=lambda address: print(address, flush=True))
    loop = asyncio.get_running_loop()

    def tell() -> None:
        if sys.stdin.readline():
            gc.collect()
            print(json.dumps(sizes()), flush=True)
        else:
            loop.remove_reader(sys.stdin)
            gateway.draining = True

    loop.add_reader(sys.stdin, tell)
    with listen("127.0.0.1", 0) as listening:
        await server.serve(sockets=[listening])


class Served:
    """A server process."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.url = self._out.readline().strip()

    def sizes(self) -> dict[str, float]:
        self._in.write("\n")
        self._in.flush()
        told: dict[str, float] = json.loads(self._out.readline())
        return told

    def close(self) -> None:
        self._in.close()
        self._process.wait(60)
        self._out.close()


# Cost


async def measured(ask: Callable[[], Awaitable[Any]], at_once: int, times: int) -> list[float]:
    """The latency of each of `times` calls, `at_once` at a time, in seconds."""
    found: list[float] = []
    left = iter(range(times))

    async def worker() -> None:
        for _ in left:
            start = time.perf_counter()
            await ask()
            found.append(time.perf_counter() - start)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return found


async def direct(kind: str, model: str) -> None:
    """The same calls without a server; prints CPU milliseconds and median latency for each number at once."""
    pyramid = build(kind)()
    asked = pyramid if model == "pyramid" else pyramid.members[model]
    ask = lambda: asked.aask(Query(text=QUESTION))  # noqa: E731 - a call of the one or the other
    await measured(ask, 1, 20)
    for at_once in AT_ONCE:
        start = time.process_time()
        found = await measured(ask, at_once, count(kind, at_once))
        used = (time.process_time() - start) / len(found)
        print(json.dumps([1e3 * used, 1e3 * statistics.median(found)]), flush=True)


def count(kind: str, at_once: int) -> int:
    """How many queries are enough."""
    return max(2000 if kind == "instant" else 300, 4 * at_once)


async def over_http(kind: str, model: str) -> list[list[float]]:
    """CPU milliseconds of the server and median latency, for each number at once."""
    served = Served(kind)
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    found = []
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask() -> None:
                async with session.post(f"{served.url}/v1/chat/completions", json=body) as response:
                    assert response.status == 200, await response.text()
                    await response.read()

            await measured(ask, 1, 20)
            for at_once in AT_ONCE:
                before = served.sizes()["cpu"]
                latencies = await measured(ask, at_once, count(kind, at_once))
                used = (served.sizes()["cpu"] - before) / len(latencies)
                found.append([1e3 * used, 1e3 * statistics.median(latencies)])
    finally:
        served.close()
    return found


def cost() -> None:
    """Gateway over direct, side by side; medians of a few rounds."""
    print(
        "CPU ms a query (of the process that answers), and median latency in ms; medians of", ROUNDS, "rounds"
    )
    print(f"{'member':24}{'at once':>8}{'direct':>16}{'gateway':>16}{'CPU besides':>14}")
    for kind, model in (
        ("instant", "a"),
        ("instant", "pyramid"),
        ("embedded", "tiny-add"),
        ("embedded", "pyramid"),
    ):
        rounds = []
        for _ in range(ROUNDS):
            run = subprocess.run(
                [sys.executable, __file__, "direct", kind, model], capture_output=True, text=True, check=True
            )
            alone = [json.loads(line) for line in run.stdout.splitlines()]
            rounds.append(list(zip(alone, asyncio.run(over_http(kind, model)), strict=True)))
        for place, at_once in enumerate(AT_ONCE):
            cpu, wait, cpu_http, wait_http = (
                statistics.median(one[place][side][what] for one in rounds)
                for side in (0, 1)
                for what in (0, 1)
            )
            besides = statistics.median(one[place][1][0] - one[place][0][0] for one in rounds)
            print(
                f"{kind + ' ' + model:24}{at_once:>8}{cpu:>8.2f}{wait:>8.1f}{cpu_http:>8.2f}{wait_http:>8.1f}{besides:>14.2f}"
            )


# Load


async def load(clients: int, seconds: float) -> dict[str, Any]:
    """What `clients` at once do to a server with slow members; half of them stream, and some leave early."""
    served = Served("slow")
    errors: list[str] = []
    latencies: list[float] = []
    early: dict[str, float] = {}
    body = {"model": "pyramid", "messages": [{"role": "user", "content": QUESTION}]}
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(number: int) -> None:
                start = time.perf_counter()
                sent = {**body, "stream": number % 2 == 0}
                try:
                    async with session.post(f"{served.url}/v1/chat/completions", json=sent) as response:
                        text = await response.text()
                        if response.status != 200 or '"pyramid":' not in text:
                            errors.append(f"{response.status} {text[:200]}")
                except (aiohttp.ClientError, TimeoutError) as error:
                    errors.append(repr(error))
                latencies.append(time.perf_counter() - start)

            await ask(1)
            before = await asyncio.to_thread(served.sizes)
            end = time.perf_counter() + seconds

            async def client(number: int) -> None:
                while time.perf_counter() < end:
                    await ask(number)

            async def look() -> None:
                await asyncio.sleep(seconds / 6)
                early.update(await asyncio.to_thread(served.sizes))

            await asyncio.gather(look(), *(client(number) for number in range(clients)))
            late = await asyncio.to_thread(served.sizes)
        await settled(served, before)
        after = await asyncio.to_thread(served.sizes)
    finally:
        served.close()
    return {
        "clients": clients,
        "seconds": seconds,
        "queries": len(latencies),
        "errors": errors[:5],
        "failed": len(errors),
        "latency_ms": {
            "median": 1e3 * statistics.median(latencies),
            "p95": 1e3 * statistics.quantiles(latencies, n=20)[-1],
        },
        "cpu_ms_a_query": 1e3 * (late["cpu"] - before["cpu"]) / len(latencies),
        "memory_mb": {"early": early["memory"], "late": late["memory"]},
        "tasks": [before["tasks"], after["tasks"]],
        "files": [before["files"], after["files"]],
    }


async def settled(served: Served, before: dict[str, float]) -> None:
    """Wait until the server has noticed that its clients are gone."""
    for _ in range(100):
        now = await asyncio.to_thread(served.sizes)
        if now["files"] <= before["files"]:
            return
        await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("cost", "load", "serve", "direct"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=128)
    told = parser.parse_args()
    if told.what == "cost":
        cost()
    elif told.what == "load":
        print(json.dumps(asyncio.run(load(told.clients, told.seconds)), indent=2))
    else:
        asyncio.run({"serve": serve, "direct": direct}[told.what](*told.words))


if __name__ == "__main__":
    main()
