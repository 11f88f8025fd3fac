"""docs/collect.md is run: every command in its order, in an empty folder, over real loopback HTTP; what it claims is looked at."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pyramid_core.records import read_records

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "collect.md").read_text(encoding="utf-8")
WALK, _, REST = PAGE.partition("\n## pyramid.toml\n")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", WALK, re.MULTILINE | re.DOTALL)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What each block of the walk printed, in the folder where it ran."""
    folder, port = tmp_path_factory.mktemp("walk"), free_port()
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": scripts, "NO_COLOR": "1"}
    told, server = [], None
    try:
        for language, text in BLOCKS:
            block = text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
            if block.strip() == "pyramid serve":
                server = subprocess.Popen(
                    ["pyramid", "serve", "--port", str(port)],
                    cwd=folder,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                told.append(server.stdout.readline() or server.stderr.readline())
                continue
            command = ["bash", "-e"] if language == "sh" else [sys.executable, "-"]
            done = subprocess.run(
                command, input=block, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            told.append(done.stdout)
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
    return folder, told, server.returncode


class TestWalk:
    def test_shows_the_loop_from_a_configuration_to_an_answer(self):
        commands = re.findall(r"^pyramid (\w+)", "".join(text for _, text in BLOCKS), re.MULTILINE)
        assert commands == ["init", "check", "collect", "train", "profile", "serve"]

    def test_every_question_has_its_graded_record(self, walked):
        records = list(read_records(walked[0] / "traces.jsonl.gz"))
        assert len(records) == 300
        assert all(r["correct"] in (True, False) for record in records for r in record["responses"])

    def test_the_router_is_better_than_the_vote(self, walked):
        figures = dict(re.findall(r"(vote_accuracy|chosen_accuracy|oracle_accuracy): ([\d.]+)", walked[1][4]))
        vote, chosen, oracle = map(float, figures.values())
        assert vote < chosen < oracle

    def test_the_profile_knows_what_was_paid(self, walked):
        line = re.search(r"baseline-m\S* .*", walked[1][5])[0]
        assert "unknown" not in line

    def test_a_client_of_openai_gets_the_answer_and_the_record(self, walked):
        answer, record = walked[1][-1].splitlines()
        assert answer.endswith("answer: 19.")
        assert re.fullmatch(r"(accept|escalate) 0\.\d+", record)

    def test_the_server_ends_well(self, walked):
        assert walked[2] == 0

    def test_the_table_of_the_check_is_what_is_printed(self, walked):
        shown = re.search(r"```text\n( member .*?)```", WALK, re.DOTALL)[1]

        def without_times(text):
            return re.sub(r"\d+\.\d\d s", "0.00 s", text).replace(" \n", "\n")

        assert without_times(walked[1][1]) == without_times(shown)


class TestReadme:
    def test_its_commands_are_those_of_the_walk(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        section = readme.partition("\n## On your own traffic\n")[2].partition("\n## ")[0]
        commands, asking = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        _install, _, rest = commands.partition("\n\n")
        shell = [text.strip() for language, text in BLOCKS if language == "sh"]
        assert re.sub(r"\n+", "\n", rest).strip() == re.sub(r"\n+", "\n", "\n".join(shell))
        (python,) = [text for language, text in BLOCKS if language == "python"]
        assert asking == f"python - <<'END'\n{python}END\n"


class TestPage:
    def test_its_python_runs(self, tmp_path):
        (source,) = re.findall(r"^```python\n(.*?)^```$", REST, re.MULTILINE | re.DOTALL)
        done = subprocess.run(
            [sys.executable, "-"], input=source, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("1 True $")
