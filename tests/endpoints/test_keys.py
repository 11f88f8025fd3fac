"""Keys are planted, everything is made to fail, and everything that is left behind is searched."""

import io
import json
import logging
import pickle
import traceback
from dataclasses import asdict

import pytest

from pyramid_core import InputError, PyramidFailed, Query, routing_record, trace_to_record, write_record
from pyramid_core.endpoints import Endpoint, Retries
from pyramid_core.endpoints.keys import KeySource
from pyramid_core.errors import EndpointError
from pyramid_core.pyramid import Pyramid
from pyramid_core.routers import ConstantRouter
from tests.endpoints.server import raw, says, serving, streams

# It looks like no key that a pattern would know.
KEY = "planted.Zebra+4711/violin="
QUESTION = Query(text="2 + 2?")


@pytest.fixture
def key_env(monkeypatch):
    monkeypatch.setenv("PLANTED_KEY", KEY)
    return {"api_key_env": "PLANTED_KEY"}


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    return {"api_key_file": str(path)}


@pytest.fixture(params=["key_env", "key_file"])
def key(request):
    return request.getfixturevalue(request.param)


async def echoes(server, asked, writer):
    """A server that quotes the key, as servers do that refuse it."""
    quoted = f"Incorrect API key provided: {asked.headers['authorization'].split()[-1]}"
    await says(body={"error": {"message": quoted, "code": KEY}}, status=401)(server, asked, writer)


async def echoes_in_a_page(server, asked, writer):
    await says(body=f"<p>{asked.headers['authorization']}</p>".encode(), kind="text/html")(
        server, asked, writer
    )


async def echoes_in_a_stream(server, asked, writer):
    act = streams("The ", done=False, after=[f'data: {{"error": {{"message": "no {KEY}"}}}}\n\n'.encode()])
    await act(server, asked, writer)


async def echoes_in_a_redirect(server, asked, writer):
    await says(body=b"", status=307, Location=f"http://localhost:1/{KEY}?k={KEY}")(server, asked, writer)


def test_the_key_arrives(key):
    with serving(says()) as server, Endpoint(server.url, "m", **key) as member:
        member.ask(QUESTION)
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_the_key_arrives_in_another_header(key):
    with serving(says()) as server, Endpoint(server.url, "m", key_header="api-key", **key) as member:
        member.ask(QUESTION)
        assert server.asked[0].headers["api-key"] == KEY
        assert "authorization" not in server.asked[0].headers


def test_no_key_no_header():
    with serving(says()) as server, Endpoint(server.url, "m") as member:
        member.ask(QUESTION)
        assert "authorization" not in server.asked[0].headers


def test_a_changed_key_is_the_one_that_is_used(monkeypatch, key_env):
    with serving(says()) as server, Endpoint(server.url, "m", **key_env) as member:
        member.ask(QUESTION)
        monkeypatch.setenv("PLANTED_KEY", "another")
        member.ask(QUESTION)
        assert [asked.headers["authorization"] for asked in server.asked] == [
            f"Bearer {KEY}",
            "Bearer another",
        ]


def test_an_endpoint_that_has_asked_holds_no_key(key):
    with serving(says()) as server, Endpoint(server.url, "m", **key) as member:
        answer = member.ask(QUESTION)
        held = [repr(member), str(asdict(member)), str(vars(member)), repr(vars(member._calls)), repr(answer)]
        held += [str(answer.raw), pickle.dumps(member).decode("latin1")]
    assert not [text for text in held if KEY in text]


@pytest.mark.parametrize(
    "behave", [echoes, echoes_in_a_page, echoes_in_a_redirect, raw(KEY.encode() + b"\r\n\r\n")]
)
def test_whatever_a_server_quotes_the_key_is_left_nowhere(behave, key, tmp_path):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    traces = []
    try:
        with serving(behave) as server:
            members = [
                Endpoint(server.url, "m", name=name, retries=Retries(base=0.01), **key)
                for name in ("one", "two", "oracle")
            ]
            pyramid = Pyramid(
                crowd=members[:2],
                oracle=members[2],
                router=ConstantRouter(p_fail=0.0),
                on_trace=traces.append,
            )
            with pytest.raises(PyramidFailed) as caught:
                pyramid.ask(QUESTION)
            with pytest.raises(EndpointError) as alone:
                members[0].ask(QUESTION)
            for member in members:
                member.close()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    write_record(tmp_path / "trace.jsonl", trace_to_record(traces[0]))
    left = {
        "log": log.getvalue(),
        "traces": (tmp_path / "trace.jsonl").read_text(),
        "record": json.dumps(routing_record(traces[0])),
        "traceback": "".join(traceback.format_exception(caught.value)),
        "member's traceback": "".join(traceback.format_exception(alone.value)),
        "error": repr(alone.value) + str(vars(alone.value)),
        "failures": "".join(map(repr, caught.value.failures)),
    }
    assert [where for where, text in left.items() if KEY in text] == []


@pytest.mark.parametrize("behave", [says(body=b"{}", status=500), raw()])
def test_a_traceback_that_shows_variables_does_not_show_the_key(behave, key):
    with (
        serving(behave) as server,
        Endpoint(server.url, "m", retries=Retries(attempts=1), **key) as member,
        pytest.raises(EndpointError) as caught,
    ):
        member.ask(QUESTION)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in shown.stack if "tests" not in frame.filename]
    assert [f"{frame.name} in {frame.filename}" for frame in frames if KEY in str(frame.locals)] == []
    assert any("[redacted]" in str(frame.locals) for frame in frames)


def test_a_key_that_a_stream_quotes_is_taken_out(key):
    with (
        serving(echoes_in_a_stream) as server,
        Endpoint(server.url, "m", **key) as member,
        pytest.raises(EndpointError, match="broke off with an error") as caught,
    ):
        list(member.stream(QUESTION))
    assert KEY not in "".join(traceback.format_exception(caught.value))


class TestKeySource:
    def test_a_variable_that_is_not_set_is_named(self, monkeypatch):
        monkeypatch.delenv("PLANTED_KEY", raising=False)
        with pytest.raises(InputError, match="PLANTED_KEY is not set"):
            KeySource(env="PLANTED_KEY").read()

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(InputError, match="none cannot be read: No such file"):
            KeySource(file=str(tmp_path / "none")).read()

    @pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"\xff\xfe", "not text")])
    def test_a_file_without_a_key_is_named(self, tmp_path, content, words):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(InputError, match=words):
            KeySource(file=str(tmp_path / "key")).read()

    @pytest.mark.parametrize("value", ["two words", "planted\r\nX-Evil: 1", "plänted"])
    def test_what_cannot_be_a_key_is_not_shown(self, monkeypatch, value):
        monkeypatch.setenv("PLANTED_KEY", value)
        with pytest.raises(InputError, match="cannot be a key") as caught:
            KeySource(env="PLANTED_KEY").read()
        assert value not in str(caught.value)

    def test_a_missing_key_is_one_answer_fewer(self, monkeypatch):
        monkeypatch.delenv("PLANTED_KEY", raising=False)
        with serving(says()) as server:
            members = [
                Endpoint(server.url, "m", name="keyless", api_key_env="PLANTED_KEY"),
                Endpoint(server.url, "m", name="other"),
            ]
            pyramid = Pyramid(
                crowd=members, oracle=Endpoint(server.url, "o"), router=ConstantRouter(p_fail=0.0)
            )
            outcome = pyramid.ask(QUESTION)
        assert [call.result.kind for call in outcome.trace.calls if call.who == "keyless"] == ["InputError"]
        assert outcome.answer.member == "other"
