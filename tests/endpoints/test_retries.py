"""When a failed call is tried again, and how long it waits: laws over numbers, and one look at the whole."""

import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_core import Query
from pyramid_core.endpoints import Endpoint, Retries, Timeouts, limits
from pyramid_core.endpoints.replies import refusal, retry_after
from pyramid_core.errors import EndpointRefused
from tests.endpoints.server import says, serving

draws = st.floats(0, 1, exclude_max=True)
NOW = 1_790_000_000


def error(**what):
    return EndpointRefused("no", **{"retryable": True, **what})


@given(st.integers(1, 9), draws)
def test_a_pause_is_drawn_from_zero_to_a_bound_that_doubles(tries, draw):
    retries = Retries(attempts=10, base=0.5, longest=8.0)
    assert retries.pause(error(), tries, draw) == draw * min(0.5 * 2 ** (tries - 1), 8.0)


@given(st.floats(0, 30), draws)
def test_a_server_is_asked_no_earlier_than_it_wants_and_at_most_a_tenth_later(wanted, draw):
    pause = Retries().pause(error(retry_after=wanted), 1, draw)
    assert wanted <= pause <= wanted * 1.1


def test_a_server_that_wants_a_longer_pause_is_not_asked_again():
    assert Retries(longest=10).pause(error(retry_after=10.5), 1, 0.5) is None


def test_what_will_not_help_is_not_tried():
    assert Retries().pause(error(retryable=False), 1, 0.5) is None


def test_tries_come_to_an_end():
    assert Retries(attempts=2).pause(error(), 1, 0.5) is not None
    assert Retries(attempts=2).pause(error(), 2, 0.5) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-7"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After": formatdate(NOW + 9, usegmt=True), "Date": formatdate(NOW, usegmt=True)}, 9.0),
        ({"Retry-After": formatdate(NOW - 9, usegmt=True), "Date": formatdate(NOW, usegmt=True)}, 0.0),
        ({"Retry-After": "Mon, 99 Foo 2026 00:00:00 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_without_a_servers_clock_counts_from_ours():
    assert retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("status", "body", "again"),
    [
        (429, b"{}", True),
        (529, b"{}", True),
        (400, b"{}", False),
        (429, b'{"error": {"message": "x", "code": "insufficient_quota"}}', False),
        (500, b'{"error": {"message": "x", "type": "exceed_context_size_error", "code": 500}}', False),
    ],
)
def test_a_status_says_whether_to_try_again_unless_its_code_knows_better(status, body, again):
    assert refusal(status, {}, body).retryable is again


def test_a_page_is_quoted_by_its_words():
    body = b"<html><style>p{}</style><script>x</script><p>Bad\n gateway</p></html>"
    assert str(refusal(502, {}, body)) == "HTTP 502 – Bad gateway"


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries, none of them waited for."""
    found, sleep = [], asyncio.sleep

    async def record(seconds):
        found.append(seconds)
        await sleep(0)

    class Spy:
        def __getattr__(self, name):
            return record if name == "sleep" else getattr(asyncio, name)

    monkeypatch.setattr(limits, "asyncio", Spy())
    return found


@pytest.mark.parametrize("value", ["20", formatdate(NOW + 20, usegmt=True)], ids=["seconds", "date"])
async def test_a_call_waits_as_long_as_the_server_says_and_then_succeeds(pauses, value):
    busy = says(
        body={"error": {"message": "busy"}}, status=429, Retry_After=value, Date=formatdate(NOW, usegmt=True)
    )
    with serving(busy, says()) as server:
        async with Endpoint(server.url, "m") as member:
            assert (await member.aask(Query(text="?"))).text == "The answer is 4."
    assert len(pauses) == 1
    assert 20 <= pauses[0] <= 22


async def test_a_pause_beyond_the_whole_calls_time_is_not_begun(pauses):
    busy = says(body={"error": {"message": "busy"}}, status=429, Retry_After="20")
    with serving(busy) as server:
        async with Endpoint(server.url, "m", timeouts=Timeouts(total=15)) as member:
            with pytest.raises(EndpointRefused, match="HTTP 429 – busy"):
                await member.aask(Query(text="?"))
    assert (len(server.asked), pauses) == (1, [])
