"""SIGKILL at random moments: nothing that was answered is lost or asked again but what was in flight at each kill.

So many kills as the environment variable PYRAMID_KILLS says, 10 by default; the moments are drawn anew in every run.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager

import pytest

from pyramid_core.records import read_records
from tests.endpoints.server import completion, head, serving

KILLS = int(os.environ.get("PYRAMID_KILLS", "10"))
MODELS = ("small-a", "small-b", "small-c", "large")
CONCURRENCY = 3
QUESTIONS = 12 * KILLS + 30

# Everything is imported once, and each run is a fork, so that a kill hits a run and not an import.
NURSERY = """
import json, os, sys
from pyramid_core.cli import main
import aiohttp, pyramid_core.cli.configured_show, pyramid_core.collection.collecting, pyramid_core.endpoints
import pyramid_core.configuration, pyramid_core.endpoints.transport
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        main(json.loads(line))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Runs the command in forks of one process; `start` gives the fork's number, `wait` its exit code."""

    def __init__(self, process):
        self.process = process

    def start(self, *arguments):
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self):
        return int(self.process.stdout.readline())


@contextmanager
def nursery():
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Nursery(process)
        process.stdin.close()


async def answers(server, asked, writer):
    await asyncio.sleep(random.random() * 0.01)
    sent = json.dumps(completion("I think. " * 30 + "The answer is 4.")).encode()
    writer.write(head(length=len(sent)) + sent)
    await writer.drain()


def pairs(server):
    """How often each (question, model) was asked, as the server saw it."""
    asked = [one.body for one in list(server.asked) if one.body]
    return Counter((body["messages"][-1]["content"], body["model"]) for body in asked)


def settled(server):
    """As `pairs`, once the server has read all that a killed run had sent: what comes now is read after that."""
    with urllib.request.urlopen(f"{server.url}/chat/completions", timeout=60) as response:
        response.read()
    return pairs(server)


def kept(out):
    """What is on disk, found as a reader of these files would: (question, model) of every answer."""
    found = set()
    part, calls = (out.with_name(f"{out.name}.{end}") for end in ("part", "calls"))
    if part.exists():
        for record in read_records(part):  # Readable at every moment: it raises where a line is damaged.
            found |= {(record["query"], response["model"]) for response in record["responses"]}
    if calls.exists():
        *lines, _cut = calls.read_bytes().split(b"\n")
        notes = [json.loads(line) for line in lines]
        found |= {(note["id"].replace("q", "Question ") + "?", note["response"]["model"]) for note in notes}
    return found


@pytest.fixture
def files(tmp_path):
    def made(url):
        (tmp_path / "q.jsonl").write_text(
            "".join(
                json.dumps({"id": f"q{n}", "query": f"Question {n}?", "reference": "4"}) + "\n"
                for n in range(QUESTIONS)
            )
        )
        tables = [
            f'[[{"oracle" if name == "large" else "crowd"}]]\nbase_url = "{url}"\nmodel = "{name}"\n'
            for name in MODELS
        ]
        (tmp_path / "pyramid.toml").write_text("\n".join(tables))
        return tmp_path

    return made


def test_a_kill_repeats_at_most_what_was_in_flight(files, capsys):
    with serving(answers) as server, nursery() as runs:
        folder = files(server.url)
        out = folder / "traces.jsonl.gz"
        command = [
            *("collect", str(folder / "q.jsonl"), "-c", str(folder / "pyramid.toml"), "-o", str(out)),
            *("--concurrency", str(CONCURRENCY)),
        ]
        lost = Counter()
        for _ in range(KILLS):
            before, more = pairs(server), random.randrange(40)
            child = runs.start(*command)
            until = time.monotonic() + 60
            while pairs(server).total() < before.total() + more and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(random.random() * 0.02)
            os.kill(child, signal.SIGKILL)
            assert runs.wait() == -signal.SIGKILL
            in_flight = (settled(server) - before).keys() - kept(out)
            assert len(in_flight) <= CONCURRENCY * len(MODELS)
            lost.update(in_flight)
        runs.start(*command)
        assert runs.wait() == 0
        repeated = {pair: times - 1 for pair, times in pairs(server).items() if times > 1}
    assert repeated == dict(lost)
    records = list(read_records(out))
    assert [record["id"] for record in records] == [f"q{n}" for n in range(QUESTIONS)]
    assert all([r["model"] for r in record["responses"]] == list(MODELS) for record in records)
    assert all(r["correct"] for record in records for r in record["responses"])
    assert sorted(path.name for path in folder.iterdir()) == ["pyramid.toml", "q.jsonl", out.name]
    with capsys.disabled():
        sys.stdout.write(f"{lost.total()} of {QUESTIONS * len(MODELS)} calls twice after {KILLS} kills ")
