"""`pyramid init`, `check` and `collect` as they are typed: what they print, where, and with which exit code."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pyramid_core.cli.app import app
from pyramid_core.embedded.problems import problems
from pyramid_core.records import read_records
from tests.endpoints.server import completion, head, says, serving, silent

ESCAPE = "\x1b["
KEY = "planted-key-0123456789abcdef"

HEEDING_INTERRUPTS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from pyramid_core.cli import main
main()
"""


def typed(*arguments):
    told = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    return told


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def questions(here):
    path = here / "q.jsonl"
    rows = [{"query": p.question, "reference": str(p.answer)} for p in problems(20_310_101, 6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def endpoints(here, url, *, more=""):
    text = "".join(
        f'[[{table}]]\nbase_url = "{url}"\nmodel = "{name}"\n{more}\n'
        for table, name in [("crowd", "small"), ("oracle", "large")]
    )
    (here / "pyramid.toml").write_text(text)


class TestInit:
    def test_writes_what_check_can_read(self, here):
        assert typed("init", "--embedded").exit_code == 0
        assert typed("check").exit_code == 0

    def test_overwrites_nothing(self, here):
        (here / "pyramid.toml").write_text("mine")
        told = typed("init")
        assert (told.exit_code, (here / "pyramid.toml").read_text()) == (2, "mine")
        assert "is there already and is not overwritten" in told.stderr

    def test_writes_where_it_is_told(self, here):
        told = typed("init", "-c", "other.toml")
        assert "Next: edit it, then pyramid check -c other.toml" in told.stdout
        assert (here / "other.toml").is_file()


class TestCheck:
    def test_shows_a_line_for_each_member(self, here):
        typed("init", "--embedded")
        told = typed("check")
        for name in ("tiny-times", "tiny-short", "tiny-add"):
            line = rf"{name} +crowd +yes +yes +yes +no +yes +yes +[\d.]+ s +2"
            assert re.search(line, told.stdout), told.stdout
        assert "pyramid.toml can be used." in told.stdout

    def test_exit_code_1_and_what_to_fix_where_one_is_unusable(self, here):
        with serving(says(body={"error": {"message": "no"}}, status=401)) as server:
            endpoints(here, server.url)
            told = typed("check")
        assert told.exit_code == 1
        assert "look at api_key_env" in told.stdout
        assert "cannot be used as it is: small, large" in told.stdout

    @pytest.mark.parametrize("as_json", [(), ("--json",)])
    def test_a_router_that_is_not_there_is_a_fault(self, here, as_json):
        typed("init", "--embedded")
        text = (here / "pyramid.toml").read_text()
        (here / "pyramid.toml").write_text(text.replace('router = "embedded"', 'router = "./router"'))
        told = typed("check", *as_json)
        assert told.exit_code == 1
        line = text.splitlines().index('router = "embedded"') + 1
        assert f"pyramid.toml, line {line}: " in told.stdout

    def test_json_says_the_same(self, here):
        with serving(says(body={"error": {"message": "no"}}, status=401)) as server:
            endpoints(here, server.url)
            told = typed("check", "--json")
        found = json.loads(told.stdout)
        assert (told.exit_code, found["usable"]) == (1, False)
        assert [(m["name"], m["role"], m["reachable"]) for m in found["members"]] == [
            ("small", "crowd", False),
            ("large", "oracle", False),
        ]

    def test_a_wrong_configuration_is_exit_code_2(self, here):
        (here / "pyramid.toml").write_text("crowd = 1\n")
        told = typed("check")
        assert told.exit_code == 2
        assert told.stderr.startswith("pyramid: pyramid.toml, line 1: ")

    def test_without_a_configuration_it_says_what_writes_one(self, here):
        assert "`pyramid init` writes one" in typed("check").stderr


class TestCollect:
    def test_says_what_came_and_what_comes_next(self, here, questions):
        typed("init", "--embedded")
        told = typed("collect", "q.jsonl")
        assert told.exit_code == 0
        assert "6 of 6 records are in traces.jsonl.gz: 24 calls, 0 failed, $" in told.stdout
        assert (
            "Next: pyramid train traces.jsonl.gz --crowd tiny-times --crowd tiny-short --crowd tiny-add "
            "--oracle oracle -o ./router" in told.stdout
        )
        records = list(read_records(here / "traces.jsonl.gz"))
        assert all(r["correct"] is not None for record in records for r in record["responses"])
        assert records[0]["responses"][0]["served_by"]["model"] == "tiny-times"

    def test_again_asks_nobody(self, here, questions):
        typed("init", "--embedded")
        typed("collect", "q.jsonl")
        found = json.loads(typed("collect", "q.jsonl", "--json").stdout)
        assert (found["complete"], found["records"], found["earlier"], found["calls"]) == (True, 6, 6, 0)

    def test_columns_are_named(self, here):
        typed("init", "--embedded")
        rows = "\n".join(f'{n},"{p.question}",{p.answer}' for n, p in enumerate(problems(20_310_101, 3)))
        (here / "q.csv").write_text(f"number,Question,Right\n{rows}\n")
        told = typed(
            *(
                "collect",
                "q.csv",
                "--column",
                "query=Question",
                "--column",
                "id=number",
                "--reference",
                "Right",
            ),
            *("--max-queries", "2"),
        )
        assert told.exit_code == 0
        records = list(read_records(here / "traces.jsonl.gz"))
        assert [(record["id"], record["reference"]) for record in records] == [
            (str(n), str(p.answer)) for n, p in enumerate(problems(20_310_101, 2))
        ]

    def test_a_stop_is_exit_code_1_and_the_part_is_named(self, here, questions):
        typed("init", "--embedded")
        told = typed("collect", "q.jsonl", "--max-cost", "0.00005")
        assert told.exit_code == 1
        assert "records are in traces.jsonl.gz.part" in told.stdout
        assert "stopped: max_cost" in told.stdout
        assert "The same command goes on" in told.stdout

    def test_the_part_is_a_file_of_records_for_the_other_commands(self, here, questions):
        typed("init", "--embedded")
        typed("collect", "q.jsonl", "--max-cost", "0.0002", "--concurrency", "1")
        part = here / "traces.jsonl.gz.part"
        with part.open("ab") as file:
            file.write(b'{"id": "cut')
        crowd = [word for name in ("tiny-times", "tiny-short", "tiny-add") for word in ("--crowd", name)]
        for command in (("profile", part, "--router", "agreement"), ("verify", part)):
            told = typed(*command, *crowd, "--oracle", "oracle")
            assert told.exit_code == 0, told.stderr

    def test_the_configuration_may_not_change_what_answers(self, here, questions):
        typed("init", "--embedded")
        typed("collect", "q.jsonl")
        text = (here / "pyramid.toml").read_text()
        (here / "pyramid.toml").write_text(
            text.replace('name = "tiny-add"', 'name = "tiny-add"\nmodel = "oracle"')
        )
        told = typed("collect", "q.jsonl")
        assert told.exit_code == 2
        assert "'tiny-add' is not what answered before (model was 'tiny-add', is 'oracle')" in told.stderr

    def test_a_router_that_is_not_there_yet_does_not_matter(self, here, questions):
        typed("init", "--embedded")
        text = (here / "pyramid.toml").read_text()
        (here / "pyramid.toml").write_text(text.replace('router = "embedded"', 'router = "./router"'))
        assert typed("collect", "q.jsonl", "--max-queries", "1").exit_code == 0

    def test_a_key_that_is_not_set_is_found_before_anybody_is_asked(self, here, questions, monkeypatch):
        monkeypatch.delenv("NOBODYS_KEY", raising=False)
        with serving(says("The answer is 4.")) as server:
            endpoints(here, server.url, more='api_key_env = "NOBODYS_KEY"')
            told = typed("collect", "q.jsonl")
        assert told.exit_code == 2
        assert "line 4: small: the environment variable NOBODYS_KEY is not set" in told.stderr
        assert server.asked == []

    def test_a_price_that_is_not_known_is_found_before_anybody_is_asked(self, here, questions):
        with serving(says("The answer is 4.")) as server:
            endpoints(here, server.url)
            told = typed("collect", "q.jsonl", "--max-cost", "1")
        assert told.exit_code == 2
        assert "the price of small is not known" in told.stderr
        assert server.asked == []

    def test_a_judge_of_the_configuration_grades(self, here, questions):
        async def judges(server, asked, writer):
            grading = "You grade an answer" in asked.body["messages"][-1]["content"]
            await says("yes" if grading else "It is 4.")(server, asked, writer)

        with serving(judges) as server:
            endpoints(here, server.url)
            text = (here / "pyramid.toml").read_text()
            (here / "pyramid.toml").write_text(f'{text}[judge]\nbase_url = "{server.url}"\nmodel = "judge"\n')
            told = typed("collect", "q.jsonl", "--grade", "judge")
        assert told.exit_code == 0
        records = list(read_records(here / "traces.jsonl.gz"))
        assert all(r["correct"] is True for record in records for r in record["responses"])
        assert all(asked.body["model"] in ("small", "large", "judge") for asked in server.asked)

    def test_planted_keys_are_nowhere(self, here, questions, monkeypatch):
        monkeypatch.setenv("PLANTED", KEY)
        keys = []

        async def quotes(server, asked, writer):
            keys.append(asked.headers["authorization"])
            said = {"error": {"message": f"this key is wrong: {KEY}"}}
            answer = (
                says(body=said, status=400) if len(keys) % 2 else says(f"Your key is not {len(KEY)} long.")
            )
            await answer(server, asked, writer)

        with serving(quotes) as server:
            endpoints(here, server.url, more='api_key_env = "PLANTED"')
            told = [
                typed("check"),
                typed("check", "--json"),
                typed("collect", "q.jsonl"),
                typed("collect", "q.jsonl"),
            ]
        assert keys[0] == f"Bearer {KEY}"
        assert not any(KEY in one.stdout + one.stderr for one in told)
        written = [path.read_bytes() for path in here.iterdir() if path.suffix != ".gz"]
        written += [json.dumps(record).encode() for record in read_records(here / "traces.jsonl.gz")]
        assert not any(KEY.encode() in content for content in written)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("none.jsonl",), "the queries none.jsonl are not there"),
            (("q.jsonl", "--column", "query"), "--column 'query' is not KEY=COLUMN"),
            (("q.jsonl", "--column", "query=Q"), "there is no column 'Q'"),
            (("q.jsonl", "--grade", "nmber"), "grade must be one of"),
            (("q.jsonl", "--grade", "judge"), "there is none: describe it under [judge]"),
            (("q.jsonl", "-o", "none/t.jsonl.gz"), "the folder none of t.jsonl.gz is not there"),
            (("q.jsonl", "-c", "none.toml"), "there is no configuration none.toml"),
            (("q.jsonl", "--max-cost", "-1"), "max_cost must be a number of USD above 0"),
        ],
    )
    def test_what_is_wrong_is_one_line_and_exit_code_2(self, here, questions, arguments, words):
        typed("init", "--embedded")
        told = typed("collect", *arguments)
        assert told.exit_code == 2
        assert words in told.stderr
        assert len(told.stderr.splitlines()) == 1


class TestProcess:
    """The real command in a process of its own."""

    def test_two_processes_may_not_write_one_file(self, here, questions):
        with serving(silent()) as server:
            endpoints(here, server.url)
            command = [sys.executable, "-m", "pyramid_core.cli", "collect", "q.jsonl"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as first:
                try:
                    while not server.asked and first.poll() is None:
                        os.sched_yield()
                    told = typed("collect", "q.jsonl")
                finally:
                    first.kill()
        assert told.exit_code == 2
        assert f"traces.jsonl.gz is being written by process {first.pid} on " in told.stderr

    def test_an_interrupt_says_what_is_kept(self, here, questions):
        with serving(silent()) as server:
            endpoints(here, server.url)
            command = [sys.executable, "-c", HEEDING_INTERRUPTS, "collect", "q.jsonl"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
                while not server.asked and run.poll() is None:
                    os.sched_yield()
                run.send_signal(signal.SIGINT)
                out, err = run.communicate(timeout=60)
        assert (run.returncode, out) == (130, "")
        assert err == (
            "pyramid: interrupted; what was answered is in traces.jsonl.gz.part and traces.jsonl.gz.calls, the same "
            "command goes on\n"
        )

    def test_a_terminal_sees_a_bar_with_rate_cost_and_time_left(self, here, questions):
        async def says_four(server, asked, writer):
            sent = json.dumps(completion()).encode()
            writer.write(head(length=len(sent)) + sent)
            await writer.drain()

        with serving(says_four) as server:
            endpoints(here, server.url)
            leader, follower = pty.openpty()
            command = [sys.executable, "-m", "pyramid_core.cli", "collect", "q.jsonl", "--concurrency", "1"]
            environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
            with subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=follower, env=environment
            ) as run:
                os.close(follower)
                seen = b""
                while True:
                    try:
                        piece = os.read(leader, 65_536)
                    except OSError:  # A terminal whose other end is closed.
                        break
                    if not piece:
                        break
                    seen += piece
            os.close(leader)
        assert run.returncode == 0
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
        assert re.search(r"collecting .* 6/6 \d+\.\d\d/s, ≥ \$0, 0:00 left", text), text
