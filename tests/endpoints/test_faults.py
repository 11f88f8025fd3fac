"""Every way in which a server can misbehave, and what becomes of it: docs/endpoints.md has the same table."""

import json
import re
import socket
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest

from pyramid_core import PyramidFailed, Query
from pyramid_core.endpoints import Endpoint, Retries, Timeouts
from pyramid_core.endpoints.wire import DONE, event
from pyramid_core.errors import (
    EndpointError,
    EndpointGarbled,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnreachable,
)
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers import ConstantRouter
from pyramid_core.types import Answer, Failure, Token
from tests.endpoints.server import (
    completion,
    dribbles,
    head,
    raw,
    says,
    sends,
    serving,
    silent,
    streams,
)

DOCS = Path(__file__).resolve().parents[2] / "docs" / "endpoints.md"
QUICK = Retries(attempts=3, base=0.01, longest=5.0)
PATIENT = Timeouts(connect=10, first=20, between=20, total=60)
ERROR = {"error": {"message": "Something about it.", "type": "some_error", "code": "some_code"}}


@dataclass
class Fault:
    """What a server does, and what an endpoint makes of it.

    Attributes:
        name: as the table in the docs has it.
        behave: what the server does each time.
        error: the exception's class; None: there is an answer.
        says: in the message.
        tries: how often the server is asked.
        stream: it happens to streams.
        timeouts: for faults that are a matter of time.
        expect: of the answer, where there is one.
    """

    name: str
    behave: object
    error: type | None = None
    says: str = ""
    tries: int = 1
    stream: bool = False
    timeouts: Timeouts = PATIENT
    expect: dict = field(default_factory=dict)


def cut(text, place):
    return text[: len(text) * place // 10]


WHOLE = json.dumps(completion()).encode()


async def stream_event(server, asked, writer):
    first = {"id": "1", "choices": [{"index": 0, "delta": {"content": "The"}}]}
    await sends(writer, [event(first), b'data: {"choices": [{"del\n\n', DONE])


async def stream_error(server, asked, writer):
    first = {"id": "1", "choices": [{"index": 0, "delta": {"content": "The"}}]}
    await sends(writer, [event(first), event({"error": {"message": "out of memory", "code": "oom"}})])


FAULTS = [
    Fault("reset before the answer", raw(reset=True), EndpointUnreachable, "closed the connection", 3),
    Fault("closed before the answer", raw(), EndpointUnreachable, "closed the connection", 3),
    Fault(
        "reset in the middle of the body",
        raw(head(length=len(WHOLE)) + cut(WHOLE, 5), reset=True),
        EndpointUnreachable,
        "broke off in the middle|closed the connection",
        3,
    ),
    Fault(
        "closed in the middle of the body",
        raw(head(length=len(WHOLE)) + cut(WHOLE, 5)),
        EndpointUnreachable,
        "broke off in the middle",
        3,
    ),
    Fault(
        "silence before the headers",
        silent(),
        EndpointTimeout,
        "first byte took more than",
        timeouts=Timeouts(connect=0.2, first=0.2),
    ),
    Fault(
        "headers, then silence",
        silent(head(length=len(WHOLE))),
        EndpointTimeout,
        "silence in the middle of the answer took more than 0.2 s",
        timeouts=Timeouts(between=0.2),
    ),
    Fault(
        "one byte a second",
        dribbles(head(length=len(WHOLE)) + WHOLE, 0.02),
        EndpointTimeout,
        "the whole call took more than 1 s",
        timeouts=Timeouts(between=20, total=1),
    ),
    Fault("truncated JSON", says(body=cut(WHOLE, 7)), EndpointGarbled, "cut off or no JSON", 3),
    Fault("an empty body", says(body=b""), EndpointGarbled, "body is empty", 3),
    Fault(
        "a wrong content type",
        says(body=b"<html><title>Sign in</title></html>", kind="text/html"),
        EndpointGarbled,
        "the answer is text/html, not JSON: 'Sign in'; look at base_url",
    ),
    Fault("JSON without choices", says(body={"ok": True}), EndpointGarbled, r"no choices\[0\].message"),
    Fault(
        "an error with status 200", says(body=ERROR), EndpointRefused, "with an error: Something about it."
    ),
    Fault("JSON that is a list", says(body=[1]), EndpointGarbled, "list, not an object"),
    *(
        Fault(f"status {status}", says(body=ERROR, status=status), EndpointRefused, words, tries)
        for status, words, tries in (
            (400, "HTTP 400 – Something about it.", 1),
            (401, "HTTP 401 – Something about it. .*api_key_env", 1),
            (403, "HTTP 403 – Something about it. .*its rights", 1),
            (404, "HTTP 404 – Something about it. .*base_url", 1),
            (408, "HTTP 408 – Something about it.", 3),
            (413, "HTTP 413 – Something about it. .*too large", 1),
            (422, "HTTP 422 – Something about it.", 1),
            (429, "HTTP 429 – Something about it. .*max_concurrency", 3),
            (500, "HTTP 500 – Something about it.", 3),
            (503, "HTTP 503 – Something about it.", 3),
        )
    ),
    Fault(
        "status 429, and Retry-After in seconds",
        says(body=ERROR, status=429, Retry_After="0"),
        EndpointRefused,
        "HTTP 429",
        3,
    ),
    Fault(
        "status 429, and Retry-After as a date",
        says(body=ERROR, status=429, Retry_After=formatdate(time.time() - 5, usegmt=True)),
        EndpointRefused,
        "HTTP 429",
        3,
    ),
    Fault(
        "status 429, and a Retry-After that is too long",
        says(body=ERROR, status=429, Retry_After="3600"),
        EndpointRefused,
        "HTTP 429",
        1,
    ),
    Fault(
        "status 429, and the quota is used up",
        says(body={"error": {"message": "No money.", "code": "insufficient_quota"}}, status=429),
        EndpointRefused,
        "No money",
        1,
    ),
    Fault("no HTTP at all", raw(b"220 mail.example.com ready\r\n\r\n"), EndpointGarbled, "no HTTP"),
    Fault(
        "a body of 50 MB",
        says(body=b'{"choices": "' + b"x" * 50_000_000 + b'"}'),
        EndpointGarbled,
        "more than 33,554,432 bytes",
    ),
    Fault(
        "a redirect within the place, that loses the request",
        says(body=b"", status=302, Location="/elsewhere"),
        EndpointRefused,
        "would lose the request",
    ),
    Fault("log-probabilities that are null", says(body=completion(logprobs=None)), expect={"logprobs": None}),
    Fault(
        "no usage",
        says(body={key: value for key, value in completion().items() if key != "usage"}),
        expect={"usage": None},
    ),
    Fault(
        "finish_reason length",
        says(body=completion(finish_reason="length")),
        expect={"finish_reason": "length"},
    ),
    Fault(
        "finish_reason content_filter",
        says(body=completion("", finish_reason="content_filter")),
        expect={"finish_reason": "content_filter", "text": ""},
    ),
    Fault(
        "a finish_reason that nobody knows",
        says(body=completion(finish_reason="eaten")),
        expect={"finish_reason": None},
    ),
    Fault(
        "a stream without [DONE]",
        streams(
            "The ", "answer", done=False, after=[event({"choices": [{"delta": {}, "finish_reason": "stop"}]})]
        ),
        stream=True,
        expect={"text": "The answer", "finish_reason": "stop"},
    ),
    Fault(
        "a stream that ends in the middle",
        streams("The ", "answer", done=False),
        EndpointGarbled,
        "the stream ended after 2 tokens",
        1,
        stream=True,
    ),
    Fault(
        "a stream that ends before the first token",
        streams(done=False),
        EndpointGarbled,
        "before the first token",
        3,
        stream=True,
    ),
    Fault("a stream with a broken event", stream_event, EndpointGarbled, 'not JSON: {"choices"', stream=True),
    Fault("a stream with an error in it", stream_error, EndpointRefused, "out of memory", stream=True),
    Fault(
        "a stream with comments",
        streams("The ", "answer", before=[b": ping\n\n"], after=[b":\n\n", b"event: ping\nid: 7\n\n"]),
        stream=True,
        expect={"text": "The answer"},
    ),
    Fault(
        "a stream that falls silent",
        silent(
            head(200, "text/event-stream") + event({"choices": [{"index": 0, "delta": {"content": "The"}}]})
        ),
        EndpointTimeout,
        "silence in the middle",
        stream=True,
        timeouts=Timeouts(between=0.2),
    ),
    Fault(
        "a whole answer where a stream was wanted",
        says(),
        stream=True,
        expect={"text": "The answer is 4.", "finish_reason": "stop"},
    ),
]


def endpoint(url, fault=None, **settings):
    """An endpoint with quick retries."""
    timeouts = fault.timeouts if fault else PATIENT
    return Endpoint(url, "scripted", timeouts=timeouts, retries=QUICK, **settings)


def asked(member, *, stream=False):
    """What comes of asking: the answer, or the error."""
    try:
        if not stream:
            return member.ask(Query(text="2 + 2?"))
        *tokens, answer = member.stream(Query(text="2 + 2?"))
        assert all(isinstance(token, Token) for token in tokens)
        assert "".join(token.text for token in tokens) == answer.text
        return answer
    except EndpointError as error:
        return error


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_becomes_what_the_table_says(fault):
    with serving(fault.behave) as server, endpoint(server.url, fault) as member:
        found = asked(member, stream=fault.stream)
        if fault.error is None:
            assert isinstance(found, Answer)
            assert {name: getattr(found, name) for name in fault.expect} == fault.expect
        else:
            assert type(found) is fault.error
            assert re.search(fault.says, str(found))
            assert ("(3 tries)" in str(found)) == (fault.tries == 3)
        assert len(server.asked) == fault.tries


def pyramid_of(p_fail, crowd, oracle):
    """One whose router always says the same; the endpoints' names are their places'."""
    return Pyramid(crowd=crowd, oracle=oracle, router=ConstantRouter(p_fail=p_fail))


@pytest.mark.parametrize("fault", [f for f in FAULTS if not f.stream], ids=lambda fault: fault.name)
def test_a_pyramid_with_a_faulty_member_has_one_answer_fewer_at_most(fault):
    """The faulty one is the first of three; the two others agree."""
    with serving(fault.behave) as bad, serving(says()) as good:
        crowd = [endpoint(bad.url, fault, name="bad"), endpoint(good.url, name="one")]
        pyramid = pyramid_of(0.0, crowd, endpoint(good.url, name="oracle"))
        outcome = pyramid.ask("2 + 2?")
        assert outcome.trace.end == "accept"
        failed = [call.result.kind for call in outcome.trace.calls if isinstance(call.result, Failure)]
        assert failed == ([fault.error.__name__] if fault.error else [])
        assert [call.who for call in outcome.trace.calls] == ["bad", "one"]


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.stream], ids=lambda fault: fault.name)
def test_a_pyramid_streams_a_faulty_oracle_or_falls_back_to_its_crowd(fault):
    """After the first token there is no way back: the error carries what has gone out."""
    with serving(fault.behave) as bad, serving(says("4")) as good:
        crowd = [endpoint(good.url, name="one"), endpoint(good.url, name="two")]
        pyramid = pyramid_of(1.0, crowd, endpoint(bad.url, fault, name="bad"))
        if fault.error is not None and fault.tries == 1:
            with pytest.raises(PyramidFailed) as caught:
                list(pyramid.stream("2 + 2?"))
            assert caught.value.partial_text.startswith("The")
            assert [failure.kind for failure in caught.value.failures] == [fault.error.__name__]
        else:
            *_, outcome = pyramid.stream("2 + 2?")
            assert outcome.answer.member in ({"bad"} if fault.error is None else {"one", "two"})


REFUSED = "connection refused"
DNS = "a name that does not resolve"
TLS = "TLS to a plain port"
REDIRECT = "a redirect to another host"


def test_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = asked(endpoint(f"http://127.0.0.1:{port}/v1"))
    assert type(found) is EndpointUnreachable
    assert re.search(r"no connection to 127.0.0.1:\d+ .*is the server running\? \(3 tries\)", str(found))


@pytest.mark.parametrize(
    ("code", "tries"), [(socket.EAI_NONAME, ""), (socket.EAI_AGAIN, " (3 tries)")], ids=["unknown", "later"]
)
def test_a_name_that_does_not_resolve(monkeypatch, code, tries):
    def look_up(*args, **kwargs):
        raise socket.gaierror(code, "it is not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    found = asked(endpoint("http://models.example.invalid/v1"))
    assert type(found) is EndpointUnreachable
    assert str(found) == (f"models.example.invalid:80: this name does not resolve (it is not known){tries}")


def test_tls_to_a_plain_port():
    with serving(says()) as server:
        found = asked(endpoint(server.url.replace("http", "https")))
    assert type(found) is EndpointUnreachable
    assert re.search("no TLS with 127.0.0.1:.*does it speak https", str(found))


def test_a_key_does_not_follow_a_redirect_to_another_host(monkeypatch):
    monkeypatch.setenv("PLANTED", "planted-4a1f")
    with serving(says()) as other:
        location = other.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        with serving(says(body=b"", status=307, Location=location)) as server:
            found = asked(endpoint(server.url, api_key_env="PLANTED"))
    assert type(found) is EndpointRefused
    assert "redirects to http://localhost" in str(found)
    assert other.asked == []


def test_a_redirect_within_the_place_is_followed_with_key_and_body(monkeypatch):
    monkeypatch.setenv("PLANTED", "planted-4a1f")
    with serving(says(body=b"", status=308, Location="/v2/chat/completions"), says()) as server:
        found = asked(endpoint(server.url, api_key_env="PLANTED"))
    assert found.text == "The answer is 4."
    assert [request.path for request in server.asked] == ["/v1/chat/completions", "/v2/chat/completions"]
    assert server.asked[1].headers["authorization"] == "Bearer planted-4a1f"
    assert server.asked[1].body == server.asked[0].body


def test_redirects_in_a_circle_end():
    with serving(says(body=b"", status=307, Location="/v1/chat/completions")) as server:
        assert "more than 3 redirects" in str(asked(endpoint(server.url)))


def test_where_every_member_fails_the_error_has_every_cause():
    behaviours = [says(body=ERROR, status=401), says(body=b"<p>Hello</p>", kind="text/html"), raw()]
    with serving(behaviours[0]) as a, serving(behaviours[1]) as b, serving(behaviours[2]) as c:
        members = [endpoint(s.url, name=name) for s, name in ((a, "keyless"), (b, "page"), (c, "gone"))]
        pyramid = Pyramid(crowd=members[:2], oracle=members[2], router=ConstantRouter(p_fail=0.0))
        with pytest.raises(PyramidFailed) as caught:
            pyramid.ask("2 + 2?")
        for words in ("keyless", "HTTP 401", "page", "text/html", "gone", "closed the connection"):
            assert words in str(caught.value)
        for member in members:
            member.close()


def test_a_crowd_that_is_down_escalates():
    with serving(says(body=ERROR, status=503)) as bad, serving(says("4")) as good:
        crowd = [endpoint(bad.url, name=name) for name in ("one", "two", "three")]
        oracle = endpoint(good.url, name="oracle")
        outcome = Pyramid(crowd=crowd, oracle=oracle, router=ConstantRouter(p_fail=0.0)).ask("2 + 2?")
        assert outcome.answer.member == "oracle"
        for member in (*crowd, oracle):
            member.close()


def test_the_table_in_the_docs_has_these_faults():
    names = {fault.name for fault in FAULTS} | {REFUSED, DNS, TLS, REDIRECT}
    rows = re.findall(
        r"^\| ([^|]+?) \|", DOCS.read_text(encoding="utf-8").partition("## Faults")[2], re.MULTILINE
    )
    assert {row.replace("`", "") for row in rows} - {"what happens", "---"} == names
