"""A server's life: clients that leave, signals, draining, and nothing that stays behind."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pyramid_core.cli import main
from pyramid_core.configuration import Limits
from pyramid_core.gateway import Settings
from tests.gateway.serving import QUESTION, Told, events, running, told_build
from tests.gateway.test_modes import eventually

BODY = {"model": "pyramid", "messages": [{"role": "user", "content": QUESTION}]}


class TestAClientThatLeaves:
    @pytest.mark.parametrize("mode", ["pyramid", "oracle"])
    @pytest.mark.parametrize("stream", [False, True])
    def test_cancels_the_members(self, mode, stream):
        wait = threading.Event()
        member = Told("a", wait=wait)
        oracle = Told("big", wait=wait)
        asked = {"pyramid": member, "oracle": oracle}[mode]
        with running(told_build(member, oracle=oracle), Settings(port=0, mode=mode)) as found:
            with pytest.raises(httpx.ReadTimeout), found.client() as client:
                client.post("/v1/chat/completions", json={**BODY, "stream": stream}, timeout=0.3)
            assert asked.cancelled.wait(10)
            eventually(lambda: found.gateway.idle and found.gateway.metrics.left.total() == 1)
            assert found.gateway.metrics.failures.total() == 0

    def test_in_the_middle_of_a_stream_cancels_the_members(self):
        class Endless(Told):
            async def astream(self, query):
                import asyncio

                from pyramid_core.types import Token

                try:
                    while True:
                        yield Token(text="and on ")
                        await asyncio.sleep(0.01)
                finally:
                    self.cancelled.set()

        oracle = Endless("big")
        with running(told_build(Told("a"), oracle=oracle)) as found:
            with (
                found.client() as client,
                client.stream(
                    "POST", "/v1/chat/completions", json={**BODY, "model": "big", "stream": True}
                ) as got,
            ):
                next(got.iter_lines())
            assert oracle.cancelled.wait(10)

    def test_before_its_body_is_complete_is_no_error(self):
        import socket

        with running(told_build(Told("a"), oracle=Told("big"))) as found:
            host, port = found.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                    b"content-length: 100\r\n\r\n{"
                )
            eventually(lambda: found.gateway.metrics.left.total() == 1)

    def test_a_watcher_too(self):
        member = Told("a", wait=threading.Event())
        with running(told_build(member, oracle=Told("big"))) as found:
            with found.client() as client, client.stream("POST", "/v1/watch", json=BODY) as got:
                next(got.iter_lines())
                assert member.started.wait(10)
            assert member.cancelled.wait(10)


class TestDraining:
    def test_running_answers_finish_and_no_new_ones_begin(self):
        wait = threading.Event()
        member = Told("a", wait=wait)
        with (
            running(told_build(member, oracle=Told("big"))) as found,
            ThreadPoolExecutor() as pool,
            found.client() as client,
        ):
            running_answer = pool.submit(found.ask)
            running_stream = pool.submit(found.ask, stream=True)
            eventually(lambda: len(member.asked) == 2)
            found.server.handle_exit(signal.SIGTERM, None)
            ready, late = client.get("/readyz"), client.post("/v1/chat/completions", json=BODY)
            healthy = client.get("/healthz")
            wait.set()
            assert running_answer.result().json()["choices"][0]["message"]["content"] == "42"
            assert running_stream.result().text.endswith("[DONE]\n\n")
        assert ready.status_code == 503
        assert healthy.status_code == 200
        assert late.status_code == 503
        assert late.json()["error"]["code"] == "draining"

    def test_ends_at_its_limit(self):
        members = [Told("a", wait=threading.Event())]
        settings = Settings(port=0, limits=Limits(drain=0.2, opening=0.0))
        with (
            running(told_build(*members, oracle=Told("big")), settings) as found,
            ThreadPoolExecutor() as pool,
        ):
            whole, streamed = pool.submit(found.ask), pool.submit(found.ask, stream=True)
            eventually(lambda: len(members[0].asked) == 2)
            found.server.handle_exit(signal.SIGTERM, None)
            assert whole.result().status_code == 503
            assert events(streamed.result().text)[-1]["error"]["code"] == "draining"

    def test_a_second_signal_stops_at_once(self):
        member = Told("a", wait=threading.Event())
        with running(told_build(member, oracle=Told("big"))) as found, ThreadPoolExecutor() as pool:
            answer = pool.submit(found.ask)
            assert member.started.wait(10)
            found.server.handle_exit(signal.SIGINT, None)
            found.server.handle_exit(signal.SIGINT, None)
            assert answer.result().status_code == 503


@contextmanager
def command(*arguments, environment=None, **settings):
    """`pyramid serve`, as a process; gives it and its address."""
    run = subprocess.Popen(
        [sys.executable, "-m", "pyramid_core.cli", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        **settings,
    )
    try:
        line = run.stdout.readline()
        yield run, re.search(r"http://\S+", line)[0]
    finally:
        run.terminate()
        run.communicate(timeout=30)


class TestTheCommand:
    def test_serves_switches_on_signals_and_ends_well(self, tmp_path):
        with command("--embedded", "--traces", str(tmp_path / "t.jsonl")) as (run, url):
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                assert "19" in client.post("/v1/chat/completions", json=BODY).text
                mode = lambda: client.get("/v1/status").json()["mode"]
                run.send_signal(signal.SIGUSR1)
                eventually(lambda: mode() == "oracle")
                run.send_signal(signal.SIGUSR2)
                eventually(lambda: mode() == "pyramid")
            run.send_signal(signal.SIGTERM)
            _, log = run.communicate(timeout=30)
        assert run.returncode == 0
        assert (tmp_path / "t.jsonl").exists()
        lines = [json.loads(line) for line in log.splitlines()]
        [asked] = [line for line in lines if line["event"] == "request" and line.get("model")]
        assert asked["verdict"] == "accept"
        assert "apples" not in log

    def test_serves_what_a_configuration_describes_and_shows_questions_where_it_is_told_to(self, tmp_path):
        (tmp_path / "pyramid.toml").write_text(
            'router = "embedded"\n'
            + "".join(
                f'[[crowd]]\nkind = "embedded"\nname = "{m}"\n'
                for m in ("tiny-times", "tiny-short", "tiny-add")
            )
            + '[[oracle]]\nkind = "embedded"\nname = "oracle"\n[server]\nmode = "oracle"\n'
            + "[server.limits]\nmessages = 1\n"
        )
        with (
            command(cwd=tmp_path) as (_, url),
            httpx.Client(base_url=url, timeout=30, trust_env=False) as client,
        ):
            answer = client.post("/v1/chat/completions", json=BODY).json()
            long = client.post("/v1/chat/completions", json={**BODY, "messages": BODY["messages"] * 2})
        assert answer["pyramid"]["mode"] == "oracle"
        assert long.status_code == 400

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--embedded", "--host", "0.0.0.0"], "--without-key"),
            (["--embedded", "--mode", "best"], "mode"),
            (["--embedded", "-c", "x.toml"], "two pyramids"),
            (["-c", "nothing.toml"], "nothing.toml"),
            (["--embedded", "--traces", "nowhere/t.jsonl"], "nowhere"),
            (["--embedded", "--port", "99999"], "65"),
        ],
    )
    def test_says_what_is_wrong_in_one_line(self, arguments, words, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main(["serve", *arguments])
        told = capsys.readouterr().err
        assert ended.value.code == 2
        assert words in told
        assert told.count("\n") == 1

    def test_says_before_the_first_query_that_a_models_key_is_missing(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("NO_SUCH_KEY", raising=False)
        member = 'base_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
        (tmp_path / "pyramid.toml").write_text(
            f'[[crowd]]\n{member}[[oracle]]\nname = "o"\napi_key_env = "NO_SUCH_KEY"\n{member}'
        )
        with pytest.raises(SystemExit) as ended:
            main(["serve"])
        assert ended.value.code == 2
        assert "NO_SUCH_KEY" in capsys.readouterr().err

    def test_says_that_a_port_is_taken(self):
        import socket

        with socket.create_server(("127.0.0.1", 0)) as taken:
            run = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pyramid_core.cli",
                    "serve",
                    "--embedded",
                    "--port",
                    str(taken.getsockname()[1]),
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert run.returncode == 2
        assert "--port" in run.stderr


FILES = Path("/proc/self/fd")


def open_files():
    return len(list(FILES.iterdir()))


@pytest.mark.skipif(not FILES.is_dir(), reason="open files are counted in /proc")
def test_nothing_stays_behind():
    """Answers, streams, failures and clients that leave: no task and no file more than before."""
    member, wait = Told("a"), threading.Event()
    slow = Told("big", wait=wait)
    with running(told_build(member, Told("b"), oracle=slow)) as found:

        def round_of_everything():
            for settings in ({}, {"stream": True}, {"model": "none"}):
                found.ask(**settings)
            with found.client() as client, pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json={**BODY, "model": "big"}, timeout=0.05)

        round_of_everything()
        eventually(lambda: found.gateway.idle)
        gc.collect()
        tasks, files = found.tasks(), open_files()
        for _ in range(10):
            round_of_everything()
        eventually(lambda: found.gateway.idle and not found.server.server_state.connections)
        time.sleep(0)
        gc.collect()
        assert found.tasks() == tasks
        assert open_files() <= files
