"""From questions to a served pyramid, as a user types it, on real models behind real servers."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from pyramid_core.records import read_records
from tests.core.recorded import records

PYRAMID = str(Path(sys.executable).parent / "pyramid")
QUESTIONS = int(os.environ.get("PYRAMID_LLM_QUESTIONS", "12"))
"""Of each set, ten or more: a router is trained on twenty questions at least. A dozen takes about ten minutes on two cores."""

MODELS = """
router = "agreement"

[[crowd]]
name = "small"
base_url = "{small}"
model = "smollm2-135m"
temperature = 0.0
max_tokens = 200
top_logprobs = 1

[[crowd]]
name = "medium-1"
base_url = "{medium}"
model = "qwen2.5-coder-0.5b"
temperature = 0.8
max_tokens = 200
top_logprobs = 1
extra = {{ seed = 1 }}

[[crowd]]
name = "medium-2"
base_url = "{medium}"
model = "qwen2.5-coder-0.5b"
temperature = 0.8
max_tokens = 200
top_logprobs = 1
extra = {{ seed = 2 }}

[[oracle]]
name = "medium-greedy"
base_url = "{medium}"
model = "qwen2.5-coder-0.5b"
temperature = 0.0
max_tokens = 300
top_logprobs = 1

[server]
port = 0
"""


GSM8K, MBPP = "gsm8k_zeroeval", "mbpp_ldb_mgdebugger"
TELL = {
    GSM8K: "\n\nThink step by step, and end with a line: #### number",
    MBPP: "\nComplete this function. Answer with the code alone, in one block.",
}
CROWD = ["--crowd", "small", "--crowd", "medium-1", "--crowd", "medium-2", "--oracle", "medium-greedy"]


def questions(name):
    """The first questions of a recorded set, with what their grader needs."""
    for record in itertools.islice(records(name), QUESTIONS):
        yield {key: record[key] for key in ("id", "reference")} | {"query": record["query"] + TELL[name]}


@pytest.fixture(scope="module")
def walked(tmp_path_factory, small, medium):
    """A folder in which everything up to the trained router has run, and what each command printed."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "pyramid.toml").write_text(MODELS.format(small=small, medium=medium))
    told = {}

    def run(*arguments):
        done = subprocess.run(
            [PYRAMID, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        told[arguments[0]] = done.stdout

    run("check", "--json")
    for name, grade in ((GSM8K, ["--grade", "number"]), (MBPP, ["--grade", "code", "--run-code"])):
        lines = "".join(json.dumps(question) + "\n" for question in questions(name))
        (folder / f"{name}.jsonl").write_text(lines)
        run("collect", f"{name}.jsonl", "-o", f"{name}.out.jsonl.gz", "--concurrency", "2", *grade)
    both = b"".join((folder / f"{name}.out.jsonl.gz").read_bytes() for name in (GSM8K, MBPP))
    (folder / "traces.jsonl.gz").write_bytes(both)
    run("train", "traces.jsonl.gz", *CROWD, "--cv", "2", "-o", "./router")
    run("profile", "traces.jsonl.gz", *CROWD, "--router", "agreement", "--json")
    return folder, told


def test_the_check_sees_log_probabilities_and_usage_of_each(walked):
    found = json.loads(walked[1]["check"])
    assert all(probe["reachable"] and probe["usage"] and probe["logprobs"] for probe in found["members"])


def test_every_question_has_a_graded_record_with_real_log_probabilities(walked):
    found = list(read_records(walked[0] / "traces.jsonl.gz"))
    assert len(found) == 2 * QUESTIONS
    for record in found:
        assert len(record["responses"]) == 4
        for response in record["responses"]:
            assert response["correct"] in (True, False)
            assert response["logprobs"]
            assert response["latency"] > 0


def test_the_profile_counts_every_question(walked):
    assert json.loads(walked[1]["profile"])["n"] == 2 * QUESTIONS


def test_the_trained_router_is_served_to_a_real_client(walked):
    configuration = walked[0] / "pyramid.toml"
    configuration.write_text(configuration.read_text().replace('"agreement"', '"./router"'))
    server = subprocess.Popen(
        [PYRAMID, "serve"], cwd=walked[0], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        url = next(found[0] for line in server.stdout if (found := re.findall(r"http://[\d.:]+", line)))
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=300) as client:
            asked = [{"role": "user", "content": "What is 3 + 4? Answer with the number."}]
            answer = client.chat.completions.create(model="pyramid", messages=asked)
        assert answer.choices[0].message.content
        assert answer.pyramid["verdict"] in ("accept", "escalate")
        assert answer.usage.completion_tokens > 0
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0
