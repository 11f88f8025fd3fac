"""What the gateway says to those who may not come in, ask for too much, or speak otherwise than they should."""

import json
import socket
import subprocess
import sys
import threading

import pytest

from pyramid_core.configuration import Limits
from pyramid_core.errors import InputError
from pyramid_core.gateway import Keys, Settings
from pyramid_core.types import Policy
from tests.gateway.serving import QUESTION, Told, events, is_openai_error, running, told_build

KEY = "a-key-that-is-long-enough"
ADMIN = "another-key-for-the-operator"
MESSAGES = [{"role": "user", "content": "six times seven?"}]
BODY = {"model": "pyramid", "messages": MESSAGES}


@pytest.fixture(scope="module")
def server():
    with running(told_build(Told("a"), Told("b"), oracle=Told("big"))) as found:
        yield found


@pytest.fixture(scope="module")
def locked():
    settings = Settings(port=0, keys=Keys([KEY]), admin_keys=Keys([ADMIN]))
    with running(told_build(Told("a"), Told("b"), oracle=Told("big")), settings) as found:
        yield found


@pytest.fixture(scope="module")
def small():
    limits = Limits(body=2000, messages=3, tokens=50, reading=0.3)
    with running(
        told_build(Told("a"), Told("b"), oracle=Told("big")), Settings(port=0, limits=limits)
    ) as found:
        yield found


def bearer(key):
    return {"authorization": f"Bearer {key}"}


class TestKeys:
    @pytest.mark.parametrize(
        "path", ["/v1/models", "/v1/status", "/metrics", "/v1/models/pyramid", "/nothing"]
    )
    @pytest.mark.parametrize(
        "headers",
        [{}, bearer("wrong"), {"authorization": "Bearer"}, {"authorization": KEY}, bearer(KEY + "x")],
    )
    def test_nobody_comes_in_without_one(self, locked, path, headers):
        with locked.client() as client:
            response = client.get(path, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"

    def test_who_has_one_comes_in(self, locked):
        assert locked.ask(headers=bearer(KEY)).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
    def test_health_and_the_page_are_open(self, locked, path):
        with locked.client() as client:
            assert client.get(path).status_code == 200

    def test_a_callers_key_is_no_operators(self, locked):
        with locked.client() as client:
            response = client.post("/admin/mode", json={"mode": "oracle"}, headers=bearer(KEY))
        assert response.status_code == 401
        assert locked.gateway.mode == "pyramid"

    def test_a_key_of_another_length_or_script_is_just_wrong(self, locked):
        with locked.client() as client:
            for key in ("k" * 10_000, "é" * 30):
                headers = {"authorization": b"Bearer " + key.encode()}
                assert client.get("/v1/models", headers=headers).status_code == 401

    def test_are_compared_by_digests_of_one_length(self):
        keys = Keys([KEY, ADMIN])
        assert [keys.let_in(key) for key in (KEY, ADMIN, KEY[:-1], "")] == [True, True, False, False]
        assert KEY not in repr(vars(keys))

    def test_a_short_key_is_refused_without_showing_it(self):
        with pytest.raises(InputError, match="16 characters") as caught:
            Keys(["hunter2"])
        assert "hunter2" not in str(caught.value)

    def test_come_from_the_environment_and_a_file(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SOME_KEYS", f"{KEY}\n")
        (tmp_path / "keys").write_text(f"{ADMIN}\n\n")
        keys = Keys.read(env="SOME_KEYS", file=tmp_path / "keys")
        assert keys.let_in(KEY)
        assert keys.let_in(ADMIN)


class TestTheNetwork:
    @pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
    def test_is_not_let_in_without_a_key(self, host):
        with pytest.raises(InputError, match="server key"):
            Settings(host=host)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1", "localhost"])
    def test_this_machine_needs_none(self, host):
        assert Settings(host=host).local

    def test_is_let_in_with_a_key_or_on_purpose(self):
        assert Settings(host="0.0.0.0", keys=Keys([KEY]))
        assert Settings(host="0.0.0.0", without_key=True)

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[fe80::1]:80"]
    )
    def test_a_page_of_another_site_does_not_reach_it_by_a_name_of_its_own(self, server, host):
        with server.client() as client:
            response = client.get("/v1/models", headers={"host": host})
        assert response.status_code == 403
        assert is_openai_error(response)

    @pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:8000"])
    def test_this_machine_may_go_by_its_names(self, server, host):
        with server.client() as client:
            assert client.get("/v1/models", headers={"host": host}).status_code == 200

    def test_a_form_of_another_site_is_no_request(self, server):
        with server.client() as client:
            response = client.post(
                "/v1/chat/completions", content=json.dumps(BODY), headers={"content-type": "text/plain"}
            )
        assert response.status_code == 415


class TestLimits:
    def test_a_long_body_is_refused(self, small):
        response = small.ask("x" * 3000)
        assert response.status_code == 413
        assert is_openai_error(response)

    def test_a_long_body_that_does_not_say_so_is_refused(self, small):
        with small.client() as client:
            response = client.post(
                "/v1/chat/completions",
                content=iter([b"x" * 1500, b"x" * 1500]),
                headers={"content-type": "application/json"},
            )
        assert response.status_code == 413

    def test_a_long_conversation_is_refused(self, small):
        with small.client() as client:
            response = client.post(
                "/v1/chat/completions", json={"model": "pyramid", "messages": MESSAGES * 4}
            )
        assert response.json()["error"]["code"] == "context_length_exceeded"

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    def test_a_long_answer_is_refused(self, small, name):
        response = small.ask(**{name: 51})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == name

    def test_an_answer_of_no_named_length_gets_the_limit(self, small):
        member = small.gateway._members["a"].member
        small.ask()
        assert member.asked[-1].raw.body["max_tokens"] == 50

    def test_a_body_that_does_not_come_is_not_waited_for(self, small):
        host, port = small.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: 100\r\n\r\n{"
            )
            head = connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 408")

    @pytest.mark.parametrize(
        ("before", "begun"), [(False, b""), (False, b"POST / HTTP/1.1\r\nhost: loc"), (True, b"POST / HTT")]
    )
    def test_a_head_that_does_not_come_is_not_waited_for(self, small, before, begun):
        host, port = small.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            if before:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                told = b""
                while not told.endswith(b"}"):
                    told += connection.recv(4096)
            connection.sendall(begun)
            assert connection.makefile("rb").read().startswith(b"HTTP/1.1 408")

    def test_one_query_too_many_is_told_to_come_again(self):
        wait = threading.Event()
        member = Told("a", wait=wait)
        settings = Settings(port=0, limits=Limits(concurrent=1))
        with running(told_build(member, oracle=Told("big")), settings) as found:
            asking = threading.Thread(target=found.ask)
            asking.start()
            assert member.started.wait(10)
            response = found.ask()
            wait.set()
            asking.join()
            assert found.ask().status_code == 200
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert is_openai_error(response)

    def test_an_answer_that_takes_too_long_is_given_up(self):
        member = Told("a", wait=threading.Event())
        with running(
            told_build(member, oracle=Told("big")), Settings(port=0, limits=Limits(seconds=0.2))
        ) as found:
            response = found.ask()
            streamed = found.ask(stream=True)
        assert response.status_code == streamed.status_code == 504
        assert member.cancelled.is_set()


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "method", "status"),
        [
            ("/nothing", "GET", 404),
            ("/v1/models/", "GET", 404),
            ("/v1/models/none", "GET", 404),
            ("/v1/chat/completions", "GET", 405),
            ("/v1/models", "POST", 405),
            ("/v1/chat/completions/", "POST", 404),
        ],
    )
    def test_of_the_address_have_openais_shape(self, server, path, method, status):
        with server.client() as client:
            response = client.request(method, path)
        assert response.status_code == status
        assert is_openai_error(response)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"1",
            b'{"model": NaN}',
            b"\xff\xfe",
            b"[" * 5000,
            b'{"a":' * 300 + b"1" + b"}" * 300,
        ],
    )
    def test_of_the_body_have_openais_shape(self, server, content):
        with server.client() as client:
            response = client.post(
                "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
            )
        assert response.status_code == 400
        assert is_openai_error(response)

    def test_of_what_is_no_http_have_openais_shape(self, server):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"NONSENSE\x00\r\n\r\n")
            told = connection.makefile("rb").read()
        head, _, body = told.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}

    @pytest.mark.parametrize(
        ("own", "param"),
        [
            ({"max_cost": -1}, "pyramid.max_cost"),
            ({"max_cost": "cheap"}, "pyramid.max_cost"),
            ({"deadline": 0}, "pyramid.deadline"),
            ({"deadline": 1e9}, "pyramid.deadline"),
            ({"deadline": True}, "pyramid.deadline"),
            ({"threshold": 0.1}, "pyramid"),
            ("all", "pyramid"),
        ],
    )
    def test_of_an_override_name_it(self, server, own, param):
        response = server.ask(pyramid=own)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param

    def test_of_every_member_are_told_with_all_causes(self):
        crowd = [Told(name, error=ConnectionError(f"{name} is away")) for name in ("a", "b")]
        oracle = Told("big", error=ConnectionError("big is away"))
        with running(told_build(*crowd, oracle=oracle, policy=Policy(early_stop=None))) as found:
            response = found.ask()
        assert response.status_code == 502
        assert is_openai_error(response)
        for name in ("a", "b", "big"):
            assert f"{name} is away" in response.json()["error"]["message"]
        assert response.json()["pyramid"]["end"] == "fail"

    def test_of_a_member_that_has_a_bug_say_nothing_of_it(self):
        with running(told_build(Told("a", error=TypeError("secret detail")), oracle=Told("big"))) as found:
            response = found.ask()
        assert response.status_code == 500
        assert is_openai_error(response)
        assert "secret detail" not in response.text

    def test_before_the_first_token_of_a_stream_have_a_status(self, server):
        response = server.ask(model="none", stream=True)
        assert response.status_code == 404
        assert is_openai_error(response)

    def test_after_the_first_token_of_a_stream_are_events(self):
        class Breaks(Told):
            async def astream(self, query):
                from pyramid_core.types import Token

                yield Token(text="The answer")
                raise ConnectionError("it broke")

        with running(told_build(Told("a"), oracle=Breaks("big"))) as found:
            response = found.ask(model="big", stream=True)
        assert response.status_code == 200
        *_, last = events(response.text)
        assert "it broke" in last["error"]["message"]

    @pytest.mark.parametrize("model", ["pyramid", "big"])
    def test_of_a_text_that_no_model_can_read_are_the_same_for_everybody(self, server, model):
        body = {"model": model, "messages": [{"role": "user", "content": "\ud800 apples"}]}
        with server.client() as client:
            response = client.post(
                "/v1/chat/completions",
                content=json.dumps(body).encode(),
                headers={"content-type": "application/json"},
            )
        assert response.status_code == 400
        assert "surrogate" in response.json()["error"]["message"]


class TestRequestIds:
    def test_a_clients_own_comes_back(self, server):
        assert server.ask(headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"

    def test_do_not_name_answers_which_have_names_of_their_own(self, server):
        one, other = (server.ask(headers={"x-request-id": "abc-1"}).json() for _ in range(2))
        assert one["id"] == f"chatcmpl-{one['pyramid']['query']}"
        assert one["id"] != other["id"]

    @pytest.mark.parametrize("name", ["a b", "x" * 65, 'a"b', "../a"])
    def test_one_that_could_do_harm_is_replaced(self, server, name):
        assert server.ask(headers={"x-request-id": name}).headers["x-request-id"] != name


def test_without_its_extra_the_package_says_which_to_install():
    code = "import sys; sys.modules['starlette'] = None\ntry: import pyramid_core.gateway\nexcept ImportError as e: print(e)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "pyramid-moa[serve]"' in run.stdout


def test_a_silent_stream_is_kept_open():
    wait = threading.Event()
    settings = Settings(port=0, limits=Limits(opening=0.05, ping=0.05))
    with running(told_build(Told("a", wait=wait), oracle=Told("big")), settings) as found:
        body = {"model": "pyramid", "messages": MESSAGES, "stream": True}
        with found.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines) == ": waiting"
            wait.set()
            assert [line for line in lines if line][-1] == "data: [DONE]"


def test_a_ceiling_on_cost_keeps_a_dear_oracle_from_being_asked():
    from pyramid_core.prices import Price
    from pyramid_core.routers import ConstantRouter
    from pyramid_core.types import Usage

    usage = Usage(input_tokens=100, output_tokens=100)
    cheap, dear = Price(input=1e-8, output=1e-8), Price(input=1e-4, output=1e-4)
    oracle = Told("big", price=dear, usage=usage)
    crowd = [Told(name, price=cheap, usage=usage) for name in ("a", "b")]
    with running(told_build(*crowd, oracle=oracle, router=ConstantRouter(0.9))) as found:
        kept = found.ask(pyramid={"max_cost": 0.01}).json()["pyramid"]
        asked = found.ask(pyramid={"max_cost": 1.0}).json()["pyramid"]
        alone = found.ask(model="big", pyramid={"max_cost": 1.0})
    assert (kept["answered_by"], asked["answered_by"]) == ("a", "big")
    assert "max_cost" in kept["reason"]
    assert alone.status_code == 400


def test_what_only_an_oracle_may_do_stays_so_at_every_operating_point_and_under_a_ceiling():
    from pyramid_core.decision import ThresholdRule
    from pyramid_core.guarding import EscalateTools
    from pyramid_core.prices import Price
    from pyramid_core.types import ToolCall, Usage

    class Pays(Told):
        async def aask(self, query):
            from dataclasses import replace

            return replace(
                await super().aask(query), text="", tool_calls=(ToolCall(name="pay", arguments={}),)
            )

    price, usage = Price(input=0.1, output=0.1), Usage(input_tokens=5, output_tokens=5)
    oracle = Told("big", text="no", price=price, usage=usage)
    tools = [{"type": "function", "function": {"name": "pay"}}]
    rule = EscalateTools(ThresholdRule(1.0), {"pay"})
    with running(told_build(Pays("a"), Pays("b"), oracle=oracle, rule=rule)) as found:
        for model in ("pyramid", "pyramid:economy"):
            assert found.ask(model=model, tools=tools).json()["pyramid"]["answered_by"] == "big"
        poor = found.ask(tools=tools, pyramid={"max_cost": 0.001})
        late = found.ask(tools=tools, pyramid={"max_cost": 0.001, "deadline": 1e-9})
    assert poor.status_code == 422
    assert late.status_code in {422, 504}


def test_a_ceiling_that_cannot_be_kept_is_refused(server):
    response = server.ask(pyramid={"max_cost": 0.01})
    assert response.status_code == 400
    assert "price of big is not known" in response.json()["error"]["message"]


def test_a_question_that_is_all_there_is_is_answered(server):
    assert server.ask(QUESTION).json()["choices"][0]["message"]["content"] == "42"
