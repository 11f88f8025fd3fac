"""A loopback server that does what it is told, byte by byte: the right thing, or exactly one wrong one."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pyramid_core.endpoints.wire import DONE, Chunks, completion_body, event
from pyramid_core.types import Answer, Token, Usage

USAGE = Usage(input_tokens=12, output_tokens=3)


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict
    body: dict
    reader: asyncio.StreamReader


@dataclass
class Server:
    """Behaviours are taken one a request; the last one stays."""

    behaviours: list
    asked: list = field(default_factory=list)
    connections: int = 0
    open: int = 0
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    first: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    def quiet(self):
        """Wait until no connection is open."""
        for _ in range(500):
            if not self.open:
                return
            time.sleep(0.01)
        raise AssertionError(f"{self.open} connections are open")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readexactly(1)
                if head == b"\x16":  # A TLS client greets: a plain server takes it for a bad request.
                    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                    return
                head += await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode().split("\r\n")
                headers = {
                    k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append(Asked(first.split()[1], headers, json.loads(body or b"{}"), reader))
                self.first.set()
                behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await behave(self, self.asked[-1], writer)
                finally:
                    self.at_once -= 1
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        except asyncio.CancelledError:
            writer.transport.abort()  # The test is over, and nobody reads what is not sent yet.
        finally:
            self.open -= 1
            writer.close()


@contextmanager
def serving(*behaviours):
    """A server on a thread of its own."""
    server, ready = Server(list(behaviours)), threading.Event()
    stop: asyncio.Event
    loop: asyncio.AbstractEventLoop

    async def main():
        nonlocal stop, loop
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        # Who was accepted last needs some turns until it is served; closed or cancelled before, it would leave its
        # socket open (CPython's issue 109564).
        for listener in listening.sockets:
            loop.remove_reader(listener.fileno())
        for turn in range(20):
            for task in asyncio.all_tasks() - {asyncio.current_task()} if turn > 9 else ():
                task.cancel()
            await asyncio.sleep(0)
        listening.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def head(status=200, kind="application/json", length=None, **headers):
    """A response's head; without a length the body ends with the connection."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["Connection: close"] if length is None else [f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def says(text="The answer is 4.", *, body=None, status=200, kind="application/json", **headers):
    """A whole answer, or whatever body is given."""

    async def behave(server, asked, writer):
        found = body if body is not None else completion(text)
        sent = found if isinstance(found, bytes) else json.dumps(found).encode()
        writer.write(head(status, kind, len(sent), **headers) + sent)
        await writer.drain()

    return behave


def completion(text="The answer is 4.", **changes):
    """A completion's body; `changes` are of its only choice."""
    body = completion_body(
        Answer(text=text, usage=USAGE, finish_reason="stop"), model="scripted", id="cmpl-1", created=1
    )
    body["choices"][0] |= changes
    return body


def streams(*texts, answer=None, done=True, before=(), after=(), **headers):
    """A stream of these tokens; `before` and `after` are raw bytes put in front of and behind the tokens."""

    async def behave(server, asked, writer):
        chunks = Chunks(
            model="scripted",
            id="cmpl-1",
            created=1,
            include_usage=bool((asked.body.get("stream_options") or {}).get("include_usage")),
        )
        whole = answer or Answer(text="".join(texts), usage=USAGE, finish_reason="stop")
        parts = [event(chunks.first()), *before, *(event(chunks.token(Token(text=t))) for t in texts), *after]
        if done:
            parts += [event(chunk) for chunk in chunks.last(whole, logprobs=bool(whole.logprobs))]
            parts.append(DONE)
        await sends(writer, parts, **headers)

    return behave


async def sends(writer, parts, **headers):
    """An event stream, chunked, so that the connection can be used again."""
    writer.write(
        head(200, "text/event-stream", None, Transfer_Encoding="chunked", **headers).replace(
            b"Connection: close\r\n", b""
        )
    )
    for part in parts:
        writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def raw(*parts, reset=False):
    """These bytes, and then the connection is closed, or reset."""

    async def behave(server, asked, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        if reset:
            writer.transport.abort()
        else:
            writer.close()

    return behave


def silent(*parts):
    """These bytes, and then nothing until the client leaves or the test ends."""

    async def behave(server, asked, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        with suppress(ConnectionError):
            await asked.reader.read()
        server.left.set()

    return behave


def dribbles(data, every):
    """One byte at a time."""

    async def behave(server, asked, writer):
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await writer.drain()
            await asyncio.sleep(every)

    return behave
