"""An endpoint against servers that behave: what is sent, what comes back, and on whatever thread or loop."""

import asyncio
import copy
import gc
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pyramid_core import InputError, Policy, Price, Query
from pyramid_core._drive.pool import THREADS
from pyramid_core.endpoints import Endpoint, Retries, Timeouts
from pyramid_core.endpoints.loops import BACKGROUND
from pyramid_core.endpoints.wire import Settings, completion_body, event
from pyramid_core.errors import EndpointTimeout
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers import ConstantRouter
from pyramid_core.types import UNKNOWN_COST, Answer, Cost, Member, Priced, Token, ToolCall
from tests.endpoints.server import USAGE, completion, head, says, serving, silent, streams

QUESTION = Query(text="2 + 2?")
OPEN = Path("/proc/self/fd")


def open_files():
    """How many files and connections this process has open."""
    return len(list(OPEN.iterdir()))


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}


async def collected(items):
    return [item async for item in items]


WAYS = {
    "ask": lambda member, query: member.ask(query),
    "aask": lambda member, query: asyncio.run(member.aask(query)),
    "stream": lambda member, query: list(member.stream(query))[-1],
    "astream": lambda member, query: asyncio.run(collected(member.astream(query)))[-1],
}


@pytest.fixture
def server():
    async def behave(server, asked, writer):
        act = streams("The ", "answer ", "is 4.") if asked.body.get("stream") else says()
        await act(server, asked, writer)

    with serving(behave) as running:
        yield running


@pytest.fixture
def member(server):
    with Endpoint(server.url, "scripted", name="four") as made:
        yield made


@pytest.mark.parametrize("way", WAYS)
class TestEachWayOfAsking:
    def test_gives_the_answer(self, member, way):
        assert WAYS[way](member, QUESTION) == Answer(
            text="The answer is 4.", member="four", finish_reason="stop", usage=USAGE
        )

    def test_sends_the_same_question(self, server, member, way):
        WAYS[way](member, QUESTION)
        stream = {"stream": True, "stream_options": {"include_usage": True}} if "stream" in way else {}
        assert server.asked[0].body == {
            "model": "scripted",
            "messages": [{"role": "user", "content": "2 + 2?"}],
            **stream,
        }

    def test_sends_tools_their_choice_and_what_the_query_sets(self, server, way):
        member = Endpoint(server.url, "m", temperature=0.5, top_logprobs=3, extra={"seed": 1, "top_k": 9})
        raw = Settings(body={"temperature": 0.0, "response_format": SCHEMA})
        WAYS[way](member, Query(text="?", tools=(TOOL,), tool_choice="required", raw=raw))
        sent = server.asked[0].body
        assert (sent["tools"], sent["tool_choice"], sent["response_format"]) == ([TOOL], "required", SCHEMA)
        assert (sent["temperature"], sent["seed"], sent["top_k"]) == (0.0, 1, 9)
        assert ("logprobs" in sent, "top_logprobs" in sent) == ("stream" not in way, "stream" not in way)

    def test_asks_for_log_probabilities(self, server, way):
        WAYS[way](Endpoint(server.url, "m", top_logprobs=3), QUESTION)
        sent = server.asked[0].body
        assert (sent["logprobs"], sent["top_logprobs"]) == (True, 3)

    def test_gives_tool_calls_and_log_probabilities(self, way):
        answer = Answer(
            text="4",
            tool_calls=(ToolCall(name="add", arguments={"x": 2}, id="a"),),
            logprobs=(-0.25,),
            token_texts=("4",),
            top_logprobs=((("4", -0.25), ("5", -3.0)),),
            finish_reason="tool_calls",
            usage=USAGE,
        )
        if "stream" in way:
            behave = streams("4", answer=answer)
        else:
            behave = says(body=completion_body(answer, model="m", id="1", created=1, logprobs=True))
        with serving(behave) as running:
            assert WAYS[way](Endpoint(running.url, "m"), QUESTION) == replace(answer, member="m")

    def test_is_priced(self, server, way):
        price = Price(input=0.001, output=0.01, source="my contract", date="2026-11-01")
        answer = WAYS[way](Endpoint(server.url, "m", price=price), QUESTION)
        assert answer.cost == Cost(usd=pytest.approx(0.042), complete=True)
        assert answer.priced == Priced(asked="m", matched="m", source="my contract", date="2026-11-01")

    def test_is_of_unknown_cost_on_ones_own_machine(self, server, way):
        answer = WAYS[way](Endpoint(server.url, "gpt-4o-mini"), QUESTION)
        assert (answer.cost, answer.priced) == (UNKNOWN_COST, None)


def test_tokens_come_as_they_are_sent(member):
    *tokens, answer = member.stream(QUESTION)
    assert tokens == [Token(text=text) for text in ("The ", "answer ", "is 4.")]
    assert answer.text == "The answer is 4."


def test_a_stream_can_do_without_usage(server):
    *_, answer = Endpoint(server.url, "m", stream_usage=False).stream(QUESTION)
    assert "stream_options" not in server.asked[0].body
    assert answer.usage is None


def test_it_is_a_member(member):
    assert isinstance(member, Member)


class TestConnections:
    def test_one_serves_many_calls(self, server, member):
        for _ in range(5):
            member.ask(QUESTION)
        list(member.stream(QUESTION))
        member.ask(QUESTION)
        assert server.connections == 1

    def test_several_loops_and_threads_share_an_endpoint(self, server, member):
        def in_a_loop(_):
            async def twice():
                return await asyncio.gather(member.aask(QUESTION), member.aask(QUESTION))

            return asyncio.run(twice())

        with ThreadPoolExecutor(4) as pool:
            answers = [*pool.map(in_a_loop, range(8)), *pool.map(lambda _: [member.ask(QUESTION)], range(8))]
        assert {answer.text for some in answers for answer in some} == {"The answer is 4."}
        assert len(server.asked) == 24

    def test_a_loop_that_ends_closes_its_own(self, server):
        member = Endpoint(server.url, "m")
        asyncio.run(member.aask(QUESTION))
        assert server.left.wait(5)

    def test_close_closes_those_of_every_loop(self, server, member):
        async def main():
            await member.aask(QUESTION)
            await asyncio.to_thread(member.ask, QUESTION)
            await asyncio.to_thread(member.close)
            return server.connections

        assert asyncio.run(main()) == 2
        assert server.left.wait(5)
        assert member.ask(QUESTION).text == "The answer is 4."

    async def test_async_with(self, server):
        async with Endpoint(server.url, "m") as member:
            assert (await member.aask(QUESTION)).text == "The answer is 4."
        assert await asyncio.to_thread(server.left.wait, 5)

    def test_an_endpoint_that_is_forgotten_closes_its_own(self, server):
        """In a cycle, so that the collector finds session and endpoint at once; a warning would be an error."""
        member = Endpoint(server.url, "m")
        member.ask(QUESTION)
        cycle = [member]
        cycle.append(cycle)
        del member, cycle
        gc.collect()
        assert server.left.wait(5)

    def test_the_background_loop_starts_again_after_it_was_stopped(self, member):
        member.ask(QUESTION)
        BACKGROUND.stop()
        assert member.ask(QUESTION).text == "The answer is 4."

    @pytest.mark.skipif(not OPEN.is_dir(), reason="open files are counted where /proc is")
    def test_many_calls_leave_nothing_open(self, server):
        """Neither those that end well nor those that are cancelled."""

        async def main(member):
            calls = [asyncio.create_task(member.aask(QUESTION)) for _ in range(128)]
            for call in calls[::4]:
                call.cancel()
            return await asyncio.gather(*calls, return_exceptions=True)

        with Endpoint(server.url, "m") as member:
            member.ask(QUESTION)  # the loop behind it stays open, by design
            member.close()
            asyncio.run(main(member))
            server.quiet()
            before = open_files()
            for _ in range(3):
                found = asyncio.run(main(member))
                assert sum(isinstance(one, Answer) for one in found) == 96
        server.quiet()
        for _ in range(500):  # the server's own ends close a moment after its handlers
            if open_files() <= before:
                break
            time.sleep(0.01)
        assert open_files() <= before


class TestGivingUp:
    async def test_a_cancelled_call_closes_its_connection(self):
        with serving(silent()) as server:
            member = Endpoint(server.url, "m")
            call = asyncio.create_task(member.aask(QUESTION))
            assert await asyncio.to_thread(server.first.wait, 5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(server.left.wait, 5)
            await member.aclose()

    async def test_a_stream_that_nobody_reads_on_closes_its_connection(self):
        first = event({"choices": [{"index": 0, "delta": {"content": "The "}}]})
        with serving(silent(head(200, "text/event-stream") + first)) as server:
            member = Endpoint(server.url, "m")
            items = member.astream(QUESTION)
            assert (await anext(items)).text == "The "
            await items.aclose()
            assert await asyncio.to_thread(server.left.wait, 5)
            await member.aclose()

    def test_a_call_on_a_thread_that_is_abandoned_is_cancelled(self):
        with serving(silent()) as server:
            member, interrupted = Endpoint(server.url, "m"), threading.Event()

            def call():
                try:
                    member.ask(QUESTION)
                except InterruptedError:
                    interrupted.set()

            abandon = THREADS.submit(call)
            assert server.first.wait(5)
            abandon()
            assert server.left.wait(5)
            member.close()
        assert interrupted.wait(5)

    def test_a_pyramid_that_has_enough_stops_the_slow_one(self):
        with serving(silent()) as slow, serving(says()) as quick:
            crowd = [
                Endpoint(slow.url, "slow"),
                Endpoint(quick.url, "one"),
                Endpoint(quick.url, "two"),
            ]
            pyramid = Pyramid(
                crowd=crowd,
                oracle=Endpoint(quick.url, "oracle"),
                router=ConstantRouter(p_fail=0.0),
                policy=Policy(patience=0.5),
            )
            assert pyramid.ask("2 + 2?").answer.text == "The answer is 4."
            assert slow.left.wait(5)


class TestTurns:
    async def test_no_more_calls_run_at_once_than_allowed(self):
        async def behave(server, asked, writer):
            await asyncio.sleep(0.02)
            await says()(server, asked, writer)

        with serving(behave) as server:
            async with Endpoint(server.url, "m", max_concurrency=3) as member:
                there = asyncio.gather(*(member.aask(QUESTION) for _ in range(9)))
                elsewhere = asyncio.to_thread(lambda: [member.ask(QUESTION) for _ in range(3)])
                await asyncio.gather(there, elsewhere)
        assert len(server.asked) == 12
        assert server.most_at_once <= 3

    async def test_a_turn_that_is_given_up_goes_to_the_next(self):
        with serving(silent(), says()) as server:
            async with Endpoint(server.url, "m", max_concurrency=1) as member:
                calls = [asyncio.create_task(member.aask(QUESTION)) for _ in range(3)]
                assert await asyncio.to_thread(server.first.wait, 5)
                calls[1].cancel()  # while it waits for its turn
                calls[0].cancel()  # while it has it
                assert (await calls[2]).text == "The answer is 4."

    async def test_waiting_for_a_turn_counts(self, server):
        timeouts = Timeouts(total=0.2)
        async with Endpoint(server.url, "m", max_concurrency=1, timeouts=timeouts) as member:
            await member._calls._gate.enter()
            with pytest.raises(EndpointTimeout, match=r"more than 0.2 s \(it was waiting for its turn"):
                await member.aask(QUESTION)
        assert server.asked == []


class TestSettings:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("localhost:8000/v1", "with http or https"),
            ("", "with http or https"),
            (None, "with http or https"),
            ("http://h:99999/v1", "no address"),
            ("https://user:planted@h/v1", "keys belong in"),
            ("https://h/v1?api-key=planted", "keys belong in"),
        ],
    )
    def test_an_address_is_an_address_and_nothing_more(self, url, words):
        with pytest.raises(InputError, match=words) as caught:
            Endpoint(url, "m")
        assert "planted" not in str(caught.value)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"max_concurrency": 0}, "max_concurrency must be"),
            ({"max_bytes": 0}, "max_bytes must be"),
            ({"temperature": -1}, "temperature must be"),
            ({"max_tokens": 0}, "max_tokens must be"),
            ({"top_logprobs": 0}, "top_logprobs must be"),
            ({"price": 0.1}, "price must be"),
            ({"extra": {"stream": True}}, "extra has 'stream'"),
            ({"headers": {"Authorization": "Bearer planted"}}, "headers has 'Authorization'"),
            ({"headers": {"X-Key": "planted"}, "key_header": "x-key"}, "headers has 'X-Key'"),
            ({"api_key_env": "A", "api_key_file": "b"}, "both given"),
            ({"api_key_env": "sk-planted"}, "name of an environment variable"),
        ],
    )
    def test_a_setting_that_cannot_be_used_is_named(self, settings, words):
        with pytest.raises(InputError, match=words) as caught:
            Endpoint("http://localhost/v1", "m", **settings)
        assert "planted" not in str(caught.value)

    def test_a_model_is_named(self):
        with pytest.raises(InputError, match="model must be"):
            Endpoint("http://localhost/v1", "")

    @pytest.mark.parametrize("values", [{"connect": 0}, {"first": -1}, {"total": "1"}])
    def test_times_are_above_zero(self, values):
        with pytest.raises(InputError, match="above 0"):
            Timeouts(**values)

    @pytest.mark.parametrize("values", [{"attempts": 0}, {"base": -1}, {"longest": float("inf")}])
    def test_retries_are_in_range(self, values):
        with pytest.raises(InputError, match=next(iter(values))):
            Retries(**values)

    @pytest.mark.parametrize("url", ["http://h/v1", "http://h/v1/", "http://h/v1/chat/completions"])
    def test_the_whole_path_may_be_given(self, url):
        assert Endpoint(url, "m").base_url == "http://h/v1"

    def test_it_goes_by_its_models_name(self):
        assert Endpoint("http://h/v1", "m").name == "m"

    @pytest.mark.parametrize(
        "how", [copy.copy, copy.deepcopy, replace, lambda e: pickle.loads(pickle.dumps(e))]
    )
    def test_a_copy_asks_as_well(self, server, member, how):
        member.ask(QUESTION)
        with how(member) as other:
            assert other.ask(QUESTION).member == "four"
            assert asdict(other) == asdict(member)


@pytest.mark.parametrize(
    ("found", "read"),
    [
        ([{"token": "4", "logprob": -0.5, "top_logprobs": []}], ((-0.5,), ("4",))),
        ({"tokens": ["4"], "token_logprobs": [-0.5]}, ((-0.5,), ("4",))),
        (None, (None, None)),
    ],
    ids=["Ollama", "Together", "none"],
)
def test_log_probabilities_of_other_shapes(found, read):
    with serving(says(body=completion("4", logprobs=found))) as server:
        answer = Endpoint(server.url, "m").ask(QUESTION)
    assert (answer.logprobs, answer.token_texts) == read


def test_the_environments_proxy_is_asked(monkeypatch, server):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    answer = Endpoint("http://models.example.invalid/v1", "m").ask(QUESTION)
    assert answer.text == "The answer is 4."
    assert server.asked[0].path == "http://models.example.invalid/v1/chat/completions"
