"""A gateway that really runs: uvicorn on a loopback port, on a thread of its own, and members that do as they are told."""

import asyncio
import json
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx

from pyramid_core.gateway import Gateway, Settings, embedded_build
from pyramid_core.gateway.server import Server, listen
from pyramid_core.prices import Price
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Answer, Query, Token, Usage

QUESTION = "Ann has 12 apples. She finds 7 more. How many apples does Ann have now?"
HARD = "Sue has 13 boxes with 17 pens each. She gives away 25 pens. How many pens are left?"


@dataclass
class Running:
    """A gateway, its server and its address."""

    gateway: Gateway
    server: Server
    url: str
    loop: asyncio.AbstractEventLoop = field(repr=False)

    def client(self, **settings):
        # Without certificates to read, a client is made in a millisecond.
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, verify=False, **settings)

    def ask(self, text=QUESTION, *, model="pyramid", headers=None, **settings):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **settings}
        with self.client() as client:
            return client.post("/v1/chat/completions", json=body, headers=headers)

    def tasks(self):
        """The names of what runs on the server's loop."""

        async def found():
            return {task.get_coro().__qualname__ for task in asyncio.all_tasks()}

        return asyncio.run_coroutine_threadsafe(found(), self.loop).result(10)


@contextmanager
def running(build=None, settings=None, *, sink=None):
    """Serve what `build` makes; by default the embedded models."""
    gateway = Gateway(build or embedded_build(), settings or Settings(port=0), sink=sink)
    ready, found = threading.Event(), {}

    def is_ready(address):
        found["url"] = address
        ready.set()

    server = Server(gateway, ready=is_ready)

    async def main():
        found["loop"] = asyncio.get_running_loop()
        with listen("127.0.0.1", 0) as listening:
            await server.serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield Running(gateway, server, found["url"], found["loop"])
    except BaseException:
        # A test that has failed may have left members waiting for ever.
        gateway.draining = server.should_exit = True
        found["loop"].call_soon_threadsafe(gateway.cancel_all)
        raise
    finally:
        if not gateway.draining:
            server.handle_exit(signal.SIGTERM, None)
        thread.join(30)
        assert not thread.is_alive()


@dataclass
class Told:
    """A member that says what it is told to, waits for an event if it has one, and notes whether it was cancelled."""

    name: str
    text: str = "42"
    wait: threading.Event | None = None
    error: Exception | None = None
    price: Price | None = None
    usage: Usage | None = None
    asked: list = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    pieces: int = 1

    async def aask(self, query: Query) -> Answer:
        self.asked.append(query)
        self.started.set()
        try:
            while self.wait is not None and not self.wait.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        cost = {} if self.price is None else {"cost": self.price.cost(self.usage)}
        return Answer(text=self.text, usage=self.usage, finish_reason="stop", **cost)

    async def astream(self, query: Query):
        for _ in range(self.pieces - 1):
            yield Token(text="")
        answer = await self.aask(query)
        yield Token(text=answer.text)
        yield answer


def told_build(*crowd, oracle, **arguments):
    return partial(
        Pyramid, crowd=list(crowd), oracle=oracle, router=arguments.pop("router", None), **arguments
    )


def events(text):
    """The data of each server-sent event."""
    told = [line[6:] for line in text.split("\n\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in told]


def is_openai_error(response):
    """Whether a response is an error as OpenAI's clients read it."""
    body = response.json()
    return set(body) <= {"error", "pyramid"} and set(body["error"]) == {"message", "type", "param", "code"}
