"""`pyramid check` over loopback: what it says of servers that can much, little, or nothing."""

import asyncio
import json

import pytest

from pyramid_core.collection.probing import ATTEMPTS, probed
from pyramid_core.embedded import embedded_oracle
from pyramid_core.endpoints import Endpoint, Retries
from pyramid_core.types import Answer, Usage
from tests.collection.scripted import PRICE, Blocking, Scripted
from tests.endpoints.server import completion, raw, says, serving, silent, streams

ANSWER = Answer(
    text="1 2 3",
    usage=Usage(input_tokens=9, output_tokens=3),
    finish_reason="stop",
    logprobs=(-0.1, -0.2, -0.3),
    token_texts=("1", " 2", " 3"),
    top_logprobs=((), (), ()),
)
STREAM = streams("1", " 2", " 3", answer=ANSWER)


def refusing(*keys):
    """A server that takes no request with one of these keys."""

    async def behave(server, asked, writer):
        found = [key for key in keys if asked.body.get(key)]
        if found:
            await says(body={"error": {"message": f"{found[0]} is not supported"}}, status=400)(
                server, asked, writer
            )
        elif asked.body.get("stream"):
            await STREAM(server, asked, writer)
        else:
            await says("1 2 3")(server, asked, writer)

    return behave


async def probe(*behaviours, **settings):
    with serving(*behaviours) as server:
        settings = {"price": PRICE, "retries": Retries(attempts=1), **settings}
        member = Endpoint(server.url, "m", **settings)
        (found,) = await probed([("m", "crowd", member)], patience=settings.pop("patience", 20.0))
        return found, server


class TestWhatItCan:
    async def test_one_call_finds_everything_that_is_there(self):
        found, server = await probe(STREAM, top_logprobs=5)
        assert (found.usable, found.usage, found.logprobs, found.tools, found.streaming, found.price) == (
            True,
        ) * 6
        assert (found.calls, len(server.asked), found.fix) == (1, 1, ())
        assert found.cost.usd == pytest.approx(15e-6)

    @pytest.mark.parametrize(
        ("keys", "calls", "can"),
        [
            (("tools",), 2, {"tools": False, "logprobs": True, "streaming": True}),
            (("logprobs",), 3, {"tools": True, "logprobs": False, "streaming": True}),
            (("tools", "logprobs"), 4, {"tools": False, "logprobs": False, "streaming": True}),
            (("tools", "logprobs", "stream"), 5, {"tools": False, "logprobs": False, "streaming": False}),
        ],
    )
    async def test_what_a_server_refuses_is_found_by_asking_for_less(self, keys, calls, can):
        found, server = await probe(refusing(*keys))
        assert found.usable
        assert {name: getattr(found, name) for name in can} == can
        assert found.calls == len(server.asked) == calls <= len(ATTEMPTS)

    async def test_an_answer_in_one_piece_is_no_stream(self):
        found, _ = await probe(says("1 2 3 4 5"))
        assert (found.usable, found.streaming) == (True, False)

    async def test_a_member_in_process_is_probed_alike(self):
        (found,) = await probed([("oracle", "oracle", embedded_oracle())])
        assert (found.usable, found.usage, found.logprobs, found.streaming, found.price) == (True,) * 5
        assert found.tools is False

    async def test_a_member_without_streams_is(self):
        a, b = await probed([("a", "crowd", Scripted("a")), ("b", "crowd", Blocking("b"))])
        assert (a.usable, a.usage, a.streaming, a.price) == (True, True, False, True)
        assert (b.usable, b.usage, b.streaming, b.price) == (True, False, False, None)

    async def test_all_are_asked_at_once(self):
        here = asyncio.Barrier(3)

        class Waits(Scripted):
            async def aask(self, query):
                await here.wait()
                return await super().aask(query)

        assert len(await probed([(name, "crowd", Waits(name)) for name in "abc"], patience=20)) == 3


class TestWhatToFix:
    @pytest.mark.parametrize(
        ("behaviour", "words"),
        [
            (says(body={"error": {"message": "bad key"}}, status=401), "look at api_key_env"),
            (says(body={"error": {"message": "no such model"}}, status=404), "look at base_url"),
            (says(body={"error": {"message": "slow down"}}, status=429), "lower max_concurrency"),
            (says(body=b"<html>hello</html>", kind="text/html"), "look at base_url"),
            (raw(), "closed"),
        ],
    )
    async def test_an_endpoint_that_does_not_answer_says_what_to_look_at(self, behaviour, words):
        found, _ = await probe(behaviour)
        assert not found.usable
        assert words in found.fix[0]
        assert found.latency is None

    async def test_nobody_there(self):
        member = Endpoint("http://127.0.0.1:9/v1", "m", price=PRICE, retries=Retries(attempts=1))
        (found,) = await probed([("m", "crowd", member)])
        assert not found.usable
        assert "127.0.0.1:9" in found.fix[0]

    async def test_silence(self):
        with serving(silent()) as server:
            member = Endpoint(server.url, "m", price=PRICE)
            (found,) = await probed([("m", "crowd", member)], patience=0.2)
        assert (found.usable, found.fix) == (False, ("no answer within 0.2 s",))

    async def test_a_key_that_is_not_set(self, monkeypatch):
        monkeypatch.delenv("NOBODYS_KEY", raising=False)
        found, server = await probe(STREAM, api_key_env="NOBODYS_KEY")
        assert not found.usable
        assert "the environment variable NOBODYS_KEY is not set" in found.fix[0]
        assert server.asked == []

    async def test_a_refused_key_is_not_shown(self, monkeypatch):
        monkeypatch.setenv("SOMEBODYS_KEY", "planted-0123456789-key")

        async def quotes(server, asked, writer):
            said = {"error": {"message": f"bad key {asked.headers['authorization']}"}}
            await says(body=said, status=401)(server, asked, writer)

        found, _ = await probe(quotes, api_key_env="SOMEBODYS_KEY")
        assert "planted" not in json.dumps(found.as_json())

    async def test_logprobs_that_are_set_and_refused_make_it_unusable(self):
        found, _ = await probe(refusing("logprobs"), top_logprobs=5)
        assert not found.usable
        assert "leave top_logprobs out" in found.fix[0]

    async def test_logprobs_that_are_set_and_not_given_are_named(self):
        found, _ = await probe(streams("1", " 2"), top_logprobs=5)
        assert found.usable
        assert "gave none" in found.fix[0]

    async def test_logprobs_that_could_be_had_are_named(self):
        found, _ = await probe(STREAM)
        assert "with top_logprobs = 5 a router can learn from them" in found.fix[0]

    async def test_a_price_that_is_not_known_is_named(self):
        found, _ = await probe(STREAM, price=None, top_logprobs=5)
        assert found.price is False
        assert found.fix == ("its price is not known: give it under [prices.m], or name its provider",)

    async def test_usage_that_is_not_told_is_named(self):
        body = completion("1 2 3")
        del body["usage"]
        found, _ = await probe(says(body=body))
        assert found.usage is False
        assert "it tells no usage, so costs are lower bounds" in found.fix

    async def test_an_empty_answer_is_named(self):
        found, _ = await probe(says(body=completion("", finish_reason="length")))
        assert "its answer was empty (finish_reason length)" in " ".join(found.fix)

    async def test_a_bug_is_raised(self):
        with pytest.raises(TypeError, match="mine"):
            await probed([("a", "crowd", Scripted("a", TypeError("mine")))])
