"""What is shown to readers is run: the examples, the README's snippets and its record, the guide's walk."""

import ast
import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pyramid_core.cli.app import app
from tests.test_house import HOUSE

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# How long something took is another figure every time.
TIMES = {"seconds", "latency"}
# The guide's walk of a query: (depth, floor, file, name) a line.
STEPS = [
    (len(m[2]), int(m[1]), m[3], m[4])
    for m in re.finditer(r"^    (\d)( {2,})(\S+\.py) +([\w.]+)", GUIDE, re.MULTILINE)
]


def blocks(language):
    """The README's code blocks of one language, with the line on which each starts."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [pytest.param(m[1], id=f"line {README[: m.start()].count(chr(10)) + 1}") for m in found]


def run(source):
    """What a snippet prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "README.md", "exec"), {"__name__": "__main__"})
    return out.getvalue()


def comparable(value, number=lambda value: value):
    """`value` without times, and with what `number` makes of each float; figures within sentences are left out."""
    if isinstance(value, dict):
        return {key: comparable(item, number) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [comparable(item, number) for item in value]
    if isinstance(value, float):
        return number(value)
    return re.sub(r"\d+\.\d{3}\b", "", value) if isinstance(value, str) else value


def nearly(value):
    """Machines differ in the last digits, and the README rounds."""
    return pytest.approx(value, rel=0.1)


def demo(*arguments):
    told = CliRunner().invoke(app, ["demo", *arguments])
    assert told.exit_code == 0
    return told.stdout


def rows_of(text):
    """The summary's lines: name -> accuracy and the two ends of its interval."""
    line = r"^ (\S.*?) {2,}([\d.]+) +([\d.]+) - ([\d.]+) "
    return {m[1]: [float(m[2]), float(m[3]), float(m[4])] for m in re.finditer(line, text, re.MULTILINE)}


class TestExamples:
    @pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
    def test_runs_offline_and_says_something(self, path):
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) >= 4

    @pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
    def test_is_short_and_says_what_it_shows(self, path):
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) < 60
        assert ast.get_docstring(ast.parse(source))

    def test_both_ways_of_use_have_one(self):
        assert {"plain_python.py", "langchain_chain.py", "stream.py"} <= {path.name for path in EXAMPLES}


class TestReadme:
    @pytest.mark.parametrize("source", blocks("python"))
    def test_a_snippet_runs(self, source):
        run(source)

    def test_there_are_snippets_for_plain_python_and_langchain(self):
        sources = "".join(block.values[0] for block in blocks("python"))
        assert "from pyramid_core import" in sources
        assert "from langchain_pyramid import" in sources

    def test_its_record_is_what_the_snippet_before_it_prints(self):
        (shown,) = [block.values[0] for block in blocks("json")]
        before = README[: README.index(shown)]
        *_, snippet = re.findall(r"^```python\n(.*?)^```$", before, re.MULTILINE | re.DOTALL)
        assert comparable(json.loads(run(snippet))) == comparable(json.loads(shown), nearly)

    def test_its_table_is_the_demo_s(self):
        (table,) = [block.values[0] for block in blocks("text")]
        shown, found = rows_of(table), rows_of(demo())
        assert len(shown) == 8
        assert shown == {name: pytest.approx(numbers, abs=0.02) for name, numbers in found.items()}

    def test_its_larger_runs_are_the_demo_s(self):
        *_, row = re.findall(r"^\| (\d+) \|(.*)\|$", README, re.MULTILINE)
        seed, shown = row[0], [float(n.strip("%")) for n in re.findall(r"[\d.]+%?", row[1])]
        found = json.loads(demo("-n", "500", "--seed", seed, "--json"))
        assert shown == pytest.approx(
            [
                max(found["members"].values()),
                found["vote_accuracy"],
                found["random_accuracy"],
                *found["random_accuracy_ci"],
                found["oracle_accuracy"],
                found["pyramid_accuracy"],
                *found["pyramid_accuracy_ci"],
                100 * found["escalation_rate"],
                100 * (1 - found["cost_ratio"]),
            ],
            rel=0.02,
        )

    @pytest.mark.parametrize("line", re.findall(r"`pyramid (\w[^`]*)`", README))
    def test_a_command_that_it_names_exists(self, line):
        name, options = line.split()[0], re.findall(r"(?<= )(--?[a-z]+)", line)
        told = CliRunner().invoke(app, [name, "--help"]).stdout
        assert [option for option in options if option not in told] == []

    @pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
    def test_a_file_that_it_links_to_exists(self, path):
        assert (ROOT / path).exists()


class TestWalk:
    @staticmethod
    def module(path):
        return path.removesuffix(".py").replace("/", ".")

    def test_goes_from_langchain_to_the_record(self):
        names = [name for _, _, _, name in STEPS]
        assert names[0] == "ChatPyramid._generate"
        assert {"Pyramid.ask", "Deliberation.start", "Member.ask", "ThresholdRule.decide"} <= set(names)
        assert names[-1] == "routing_record"

    @pytest.mark.parametrize(("path", "name"), [step[2:] for step in STEPS])
    def test_a_name_is_where_the_guide_says(self, path, name):
        found = reduce(getattr, name.split("."), importlib.import_module(self.module(path)))
        home = sys.modules[found.__module__].__file__
        assert Path(home) == ROOT / path

    @pytest.mark.parametrize(("floor", "path"), [(step[1], step[2]) for step in STEPS])
    def test_a_floor_is_the_one_that_the_house_enforces(self, floor, path):
        unit = HOUSE.unit(self.module(path))
        # The core's front door stands between floors 5 and 6 and has no number.
        assert HOUSE.floor(unit) == floor + (floor > 5)

    def test_no_call_goes_up_a_floor(self):
        callers = []
        for depth, floor, _, name in STEPS:
            while callers and callers[-1][0] >= depth:
                callers.pop()
            assert not callers or callers[-1][1] >= floor, name
            callers.append((depth, floor))
