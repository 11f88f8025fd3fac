"""What asking over HTTP costs: the endpoint client beside bare aiohttp, httpx and the openai SDK, in one run.

    python benchmarks/endpoint_speed.py [--logprobs] [--queries N] [--seconds S] [client ...]

A query is three calls at once, as of a crowd of three, to a server on loopback that answers after 50 ms. Printed are the
client's CPU time a query, which other work on the machine disturbs little, and the median latency beyond the 50 ms:

- 1, 16 and 128: so many users, each of whom asks again as soon as the answer is there. At 128 users every client is
  limited by its own CPU time, and the latency says how long queries stand in line for it;
- 128 paced: 128 users who together ask 100 queries a second, which one process can bear.

Each client has a process of its own; the server has another. With --logprobs every answer has 200 tokens with their
log-probabilities and one alternative each; else it is a sentence.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

LATENCY = 0.05
RATE = 100.0
CALLS = 3
Ask = Callable[[], Awaitable[Any]]


def body(*, logprobs: bool) -> bytes:
    tokens = ["token "] * 200 if logprobs else ["A train that goes 60 km/h for 2.5 hours covers 150 km."]
    told = {
        "content": [
            {
                "token": text,
                "logprob": -0.25,
                "bytes": list(text.encode()),
                "top_logprobs": [{"token": text, "logprob": -0.25, "bytes": []}],
            }
            for text in tokens
        ]
    }
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(tokens)},
        "finish_reason": "stop",
        "logprobs": told if logprobs else None,
    }
    usage = {"prompt_tokens": 20, "completion_tokens": len(tokens), "total_tokens": 20 + len(tokens)}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


class Server(asyncio.Protocol):
    """The least that speaks HTTP: it answers every request after 50 ms."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.seen = transport, b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, found, rest = self.seen.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        if len(rest) >= length:
            self.seen = rest[length:]
            asyncio.get_running_loop().call_later(LATENCY, self.reply)

    def reply(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.answer)


async def serve(*, logprobs: bool) -> None:
    sent = body(logprobs=logprobs)
    Server.answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent
    )
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


QUESTION = "A train goes 60 km/h for 2.5 hours. How far?"
BODY = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}


async def endpoint(url: str) -> Ask:
    from pyramid_core import Query
    from pyramid_core.endpoints import Endpoint

    member, query = Endpoint(url, "m", max_concurrency=10_000), Query(text=QUESTION)
    return lambda: member.aask(query)


async def endpoint_on_threads(url: str) -> Ask:
    from pyramid_core import Query
    from pyramid_core.endpoints import Endpoint

    member, query = Endpoint(url, "m", max_concurrency=10_000), Query(text=QUESTION)
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(128 * CALLS)
    return lambda: loop.run_in_executor(pool, member.ask, query)


async def aiohttp(url: str) -> Ask:
    from aiohttp import ClientSession, TCPConnector

    session = ClientSession(connector=TCPConnector(limit=0))

    async def ask() -> Any:
        async with session.post(f"{url}/chat/completions", json=BODY) as response:
            return await response.json()

    return ask


async def httpx(url: str) -> Ask:
    import httpx as library

    client = library.AsyncClient(timeout=600)

    async def ask() -> Any:
        return (await client.post(f"{url}/chat/completions", json=BODY)).json()

    return ask


async def httpx_over_aiohttp(url: str) -> Ask:
    import httpx as library
    from httpx_aiohttp import AiohttpTransport

    limits = library.Limits(max_connections=None)
    client = library.AsyncClient(timeout=600, transport=AiohttpTransport(limits=limits))

    async def ask() -> Any:
        return (await client.post(f"{url}/chat/completions", json=BODY)).json()

    return ask


async def openai(url: str) -> Ask:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="-", timeout=600)
    return lambda: client.chat.completions.create(model="m", messages=BODY["messages"])  # type: ignore[arg-type]


async def openai_over_aiohttp(url: str) -> Ask:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    client = AsyncOpenAI(base_url=url, api_key="-", http_client=DefaultAioHttpClient(), timeout=600)
    return lambda: client.chat.completions.create(model="m", messages=BODY["messages"])  # type: ignore[arg-type]


CLIENTS = {
    "Endpoint": (endpoint, "pyramid-moa"),
    "Endpoint, threads": (endpoint_on_threads, "pyramid-moa"),
    "aiohttp": (aiohttp, "aiohttp"),
    "httpx over aiohttp": (httpx_over_aiohttp, "httpx-aiohttp"),
    "httpx": (httpx, "httpx"),
    "openai over aiohttp": (openai_over_aiohttp, "openai"),
    "openai": (openai, "openai"),
}
LOADS = {"1": (1, 0.0), "16": (16, 0.0), "128": (128, 0.0), "128 paced": (128, RATE)}


async def measured(name: str, url: str, load: str, *, queries: int, seconds: float) -> NoReturn:
    """Print CPU milliseconds a query, and the median latency beyond the server's, in milliseconds."""
    users, rate = LOADS[load]
    ask = await CLIENTS[name][0](url)
    latencies: list[float] = []
    stop = time.perf_counter() + 3600

    async def user(place: int) -> None:
        if rate:
            await asyncio.sleep(place / rate)
        while len(latencies) < queries and time.perf_counter() < stop:
            start = time.perf_counter()
            await asyncio.gather(*(ask() for _ in range(CALLS)))
            latencies.append(time.perf_counter() - start)
            if rate:
                await asyncio.sleep(max(users / rate - (time.perf_counter() - start), 0))

    for _ in range(3):  # imports, connections
        await asyncio.gather(*(ask() for _ in range(CALLS)))
    stop, began = time.perf_counter() + seconds, time.process_time()
    await asyncio.gather(*(user(place) for place in range(users)))
    cpu = time.process_time() - began
    print(
        json.dumps([cpu / len(latencies) * 1e3, (statistics.median(latencies) - LATENCY) * 1e3]), flush=True
    )
    os._exit(0)  # Not every client here can be closed in a moment.


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clients", nargs="*", metavar="client", help=f"of {', '.join(CLIENTS)}")
    parser.add_argument("--logprobs", action="store_true")
    parser.add_argument("--queries", type=int, default=600, help="of one measurement, at most")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement, at most")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(logprobs=given.logprobs))
        return
    if given.measure:
        url, load = given.measure
        asyncio.run(measured(given.clients[0], url, load, queries=given.queries, seconds=given.seconds))
    again = [sys.executable, __file__, "--queries", str(given.queries), "--seconds", str(given.seconds)]
    command = [*again, "--serve", *(["--logprobs"] if given.logprobs else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        print("CPU ms a query (ms of latency beyond the server's 50), three calls a query")
        print(f"{'':34}" + "".join(f"{load:>16}" for load in LOADS))
        try:
            for name in given.clients or CLIENTS:
                version = f"{name} ({CLIENTS[name][1]} {importlib.metadata.version(CLIENTS[name][1])})"
                print(f"{version:34}", end="", flush=True)
                for load in LOADS:
                    run = [*again, name, "--measure", url, load]
                    cpu, added = json.loads(subprocess.run(run, stdout=subprocess.PIPE, check=True).stdout)
                    shown = f"{cpu:.2f} ({added:,.1f})"
                    print(f"{shown:>16}", end="", flush=True)
                print()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
