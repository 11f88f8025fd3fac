"""Members' streams on the real clock: who computes them, who closes them, and when they stop."""

import asyncio
import threading

from pyramid_core import cancel_event
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Answer, Token

PATIENCE = 5.0


class Says:
    def __init__(self, name, text):
        self.name, self.text = name, text

    def ask(self, query):
        return Answer(text=self.text)


class Streams(Says):
    """Streams words on whatever thread it is asked, and says which; a patient one waits after two to be abandoned."""

    def __init__(self, *, words, patient=False):
        super().__init__("oracle", "word " * words)
        self.words, self.patient = words, patient
        self.threads = set()
        self.given = 0
        self.closed = threading.Event()

    def stream(self, query):
        try:
            for _ in range(self.words):
                self.threads.add(threading.current_thread().name)
                if self.patient and self.given == 2:
                    cancel_event().wait(PATIENCE)
                self.given += 1
                yield Token(text="word ")
            yield Answer(text=self.text)
        finally:
            self.closed.set()


class StreamsAsync(Says):
    """Remembers the tasks that opened and closed its stream."""

    opened = closed = None

    async def astream(self, query):
        self.opened = asyncio.current_task()
        try:
            yield Token(text=self.text)
            yield Answer(text=self.text)
        finally:
            self.closed = asyncio.current_task()


def divided(oracle):
    return Pyramid(crowd=[Says("a", "1"), Says("b", "2")], oracle=oracle)


def all_of(oracle):
    async def items():
        return [item async for item in divided(oracle).astream("q")]

    return asyncio.run(items())


def test_a_synchronous_member_streams_live_on_the_event_loop():
    *tokens, outcome = all_of(Streams(words=3))
    assert [token.text for token in tokens] == ["word "] * 3
    assert outcome.trace.began is not None


def test_a_synchronous_member_streams_on_a_thread_that_no_loop_waits_for():
    oracle = Streams(words=3)
    all_of(oracle)
    assert oracle.threads == {"pyramid"}


def test_a_stream_that_nobody_reads_any_more_stops_at_its_next_word():
    oracle = Streams(words=9, patient=True)
    items = divided(oracle).stream("q")
    next(items)
    items.close()
    assert oracle.closed.wait(PATIENCE)
    assert oracle.given == 3


def test_a_stream_that_nobody_awaits_any_more_stops_at_its_next_word():
    oracle = Streams(words=9, patient=True)

    async def leave_early():
        items = divided(oracle).astream("q")
        await anext(items)
        await items.aclose()

    asyncio.run(leave_early())
    assert oracle.closed.wait(PATIENCE)
    assert oracle.given == 3


def test_the_task_that_opened_a_stream_closes_it():
    oracle = StreamsAsync("oracle", "3")

    all_of(oracle)
    assert oracle.opened is not None
    assert oracle.closed is oracle.opened
