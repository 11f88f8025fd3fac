"""Whatever comes in: no 500, no hang, and every refusal in OpenAI's shape.

A few hundred requests each; PYRAMID_FUZZ=5000 says how many.
"""

import copy
import json
import os
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyramid_core.configuration import Limits
from pyramid_core.gateway import Keys, Settings
from tests.gateway.serving import QUESTION, Told, events, is_openai_error, running, told_build

TIMES = int(os.environ.get("PYRAMID_FUZZ", "300"))
SECONDS = 20
KEY = "a-key-that-is-long-enough"

fuzzed = settings(max_examples=TIMES, deadline=None, suppress_health_check=list(HealthCheck))

BODIES = [
    {"model": "pyramid", "messages": [{"role": "user", "content": QUESTION}]},
    {
        "model": "pyramid:economy",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        ],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 20,
        "stop": ["."],
        "seed": 7,
        "n": 1,
        "logprobs": True,
        "top_logprobs": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
        "pyramid": {"max_cost": 0.1, "deadline": 5.0},
    },
    {
        "model": "tiny-add",
        "messages": [
            {"role": "user", "content": "hello"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"type": "object"}},
        },
        "parallel_tool_calls": False,
        "user": "u",
    },
]
# Texts that JSON can say, surrogates and control characters among them.
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.sampled_from(
        ["", "\x00", "\ud800", "pyramid", "oracle", "user", "auto", "1e999", "٣", "\u202e", "a" * 5000]
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e308, -0.0, 2**63, 10**30]),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
KEYS = sorted({key for body in BODIES for key in body})
made_up = st.dictionaries(st.sampled_from(KEYS) | texts, values, max_size=8)


def places(value, here=()):
    """Every place in a value, as a path of keys."""
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*here, key))


@st.composite
def mutated(draw):
    """A good body in which some values were replaced, removed, repeated or added."""
    body = copy.deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([path for path in places(body) if path] or [()]))
        if not path:
            break
        around = body
        for key in path[:-1]:
            around = around[key]
        act = draw(st.sampled_from(["replace", "remove", "wrap", "add", "swap"]))
        if act == "remove":
            del around[path[-1]]
        elif act == "wrap":
            around[path[-1]] = draw(st.sampled_from([[around[path[-1]]], {"type": around[path[-1]]}]))
        elif act == "add" and isinstance(around, dict):
            around[draw(st.sampled_from(KEYS) | texts)] = draw(values)
        elif act == "swap":
            other = draw(st.sampled_from(BODIES))
            around[path[-1]] = copy.deepcopy(other[draw(st.sampled_from(sorted(other)))])
        else:
            around[path[-1]] = draw(values)
    return body


@pytest.fixture(scope="module")
def server():
    with running() as found, found.client() as client:
        yield client


@pytest.fixture(scope="module")
def locked():
    settings = Settings(port=0, keys=Keys([KEY]), limits=Limits(reading=0.5))
    with running(told_build(Told("a"), oracle=Told("big")), settings) as found:
        yield found


def check(response):
    """Raise unless the response is an answer, or a refusal in OpenAI's shape that is the request's own fault."""
    assert response.status_code < 500 or response.json()["error"]["code"] == "deadline_exceeded", (
        response.text
    )
    if response.status_code != 200:
        assert is_openai_error(response)
        assert response.json()["error"]["message"]
    elif response.headers["content-type"].startswith("text/event-stream"):
        *chunks, done = events(response.text)
        assert done == "[DONE]"
        assert chunks[-1]["pyramid"]
    else:
        assert response.json()["choices"][0]["message"]["role"] == "assistant"


def post(client, content):
    return client.post(
        "/v1/chat/completions",
        content=content,
        headers={"content-type": "application/json"},
        timeout=SECONDS,
    )


@fuzzed
@given(body=mutated())
def test_good_bodies_that_were_mutated(server, body):
    check(post(server, json.dumps(body).encode()))


@fuzzed
@given(body=made_up)
def test_bodies_that_were_made_up(server, body):
    check(post(server, json.dumps(body).encode()))


@fuzzed
@given(body=st.sampled_from(BODIES), data=st.data())
def test_good_bodies_whose_bytes_were_changed(server, body, data):
    raw = bytearray(json.dumps(body).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check(post(server, bytes(raw)))


@fuzzed
@given(raw=st.binary(max_size=200))
def test_bytes(server, raw):
    check(post(server, raw))


header_values = st.binary(min_size=0, max_size=60).map(
    lambda b: bytes(c for c in b if c >= 32 and c != 127).strip()
)
header_names = st.sampled_from(
    [
        b"authorization", b"content-type", b"content-length", b"transfer-encoding", b"host", b"x-request-id", b"accept",
        b"expect", b"connection", b"upgrade", b"traceparent", b"cookie", b"x-forwarded-for", b"origin", b"x-" + b"y" * 50,
    ]
)  # fmt: skip
paths = st.one_of(
    st.sampled_from(
        [
            "/",
            "/v1/chat/completions",
            "/v1/models",
            "/v1/models/",
            "/v1/watch",
            "/v1/status",
            "/metrics",
            "/admin/mode",
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60).map(lambda text: f"/{text}"),
    st.binary(max_size=30).map(lambda raw: "/v1/models/" + "".join(f"%{byte:02x}" for byte in raw)),
)
methods = st.sampled_from(
    ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "CONNECT", "FOO"]
)


@fuzzed
@given(
    path=paths,
    method=methods,
    headers=st.lists(st.tuples(header_names, header_values), max_size=6),
    key=st.booleans(),
    body=st.binary(max_size=50),
)
def test_paths_methods_and_headers(locked, path, method, headers, key, body):
    """On a bare connection, so that no client makes them better than they are."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"host: localhost", b"connection: close"]
    lines += [name + b": " + value for name, value in headers]
    if key:
        lines.append(f"authorization: Bearer {KEY}".encode())
    if not any(name in {b"content-length", b"transfer-encoding"} for name, _ in headers):
        lines.append(b"content-length: %d" % len(body))
    check_raw(told(locked, b"\r\n".join(lines) + b"\r\n\r\n" + body), method)


@fuzzed
@given(raw=st.binary(max_size=300))
def test_bytes_that_are_no_http(locked, raw):
    check_raw(told(locked, raw + b"\r\n\r\n"), "")


def told(locked, raw):
    """What comes back on a bare connection until the server closes it or has nothing more to say."""
    host, port = locked.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(65_536):
            found += piece
    return found


def check_raw(found, method):
    if not found:
        return  # A client that says too little and hangs up is told nothing.
    head, _, body = found.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert status < 500 or status == 503, found
    if status >= 400 and method != "HEAD":
        # Behind a first answer another may follow, where the bytes held another request.
        error = json.JSONDecoder().raw_decode(body.decode())[0]["error"]
        assert set(error) == {"message", "type", "param", "code"}
