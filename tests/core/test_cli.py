"""The command line: what it prints, where, with which exit code, and that its figures are right."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from typer.testing import CliRunner

from pyramid_core import __version__
from pyramid_core.cli import demo, main
from pyramid_core.cli.app import app
from pyramid_core.cli.terminal import readable
from pyramid_core.embedded import embedded_crowd
from pyramid_core.embedded.problems import Problem
from pyramid_core.prices import Price
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import record_to_trace
from pyramid_core.routers import AgreementRouter
from pyramid_core.types import Answer, Policy, Usage

KEYS = [
    "members",
    "vote_accuracy",
    "oracle_accuracy",
    "pyramid_accuracy",
    "pyramid_accuracy_ci",
    "random_accuracy",
    "random_accuracy_ci",
    "escalation_rate",
    "cost_ratio",
    "n",
]
CROWD = [member.name for member in embedded_crowd()]
QUESTION = "Ann has 12 apples. She finds 7 more. How many apples does Ann have now?"
ESCAPE = "\x1b["


HEEDING_INTERRUPTS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from pyramid_core.cli import main
main()
"""


def command(*arguments):
    return [sys.executable, "-m", "pyramid_core.cli", *arguments]


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"}}
    return {**kept, "TERM": "xterm", **changes}


def pyramid(*arguments, given="", **changes):
    """The real command in a process of its own, its output to pipes."""
    return subprocess.run(
        command(*arguments),
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(**changes),
        check=False,
    )


@pytest.fixture(scope="module")
def told():
    """What `pyramid demo` prints to a pipe."""
    return pyramid("demo", "-n", "40", "--seed", "71")


@pytest.fixture(scope="module")
def counted():
    """What `pyramid demo --json` prints to a pipe."""
    return pyramid("demo", "-n", "40", "--seed", "71", "--json")


@pytest.fixture(scope="module")
def shown():
    """What `pyramid ask` prints to a pipe."""
    return pyramid("ask", QUESTION).stdout


class TestStart:
    def test_the_script_is_main(self):
        (script,) = entry_points(group="console_scripts", name="pyramid")
        assert script.load() is main

    def test_it_says_its_version(self):
        assert pyramid("--version").stdout == f"pyramid {__version__}\n"

    def test_without_a_command_it_names_the_commands(self):
        run = pyramid()
        assert {"demo", "ask"} <= set(re.findall(r"^\s+(\w+) ", run.stdout + run.stderr, re.MULTILINE))

    def test_help_loads_neither_models_nor_tables(self):
        code = (
            "import sys\nfrom pyramid_core.cli import main\n"
            "try: main(['demo', '--help'])\nexcept SystemExit: pass\n"
            "print(sorted({'rich', 'pyramid_core.embedded'} & set(sys.modules)))"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.splitlines()[-1] == "[]"


class TestDemo:
    def test_prints_the_agreed_keys_as_strict_json(self, counted):
        def refuse(constant):
            raise AssertionError(f"{constant} is not JSON")

        found = json.loads(counted.stdout, parse_constant=refuse)
        assert list(found) == KEYS
        assert list(found["members"]) == CROWD
        assert found["n"] == 40

    def test_says_nothing_beside_the_json(self, counted):
        assert counted.stdout.endswith("}\n")
        assert (counted.returncode, counted.stderr) == (0, "")

    def test_can_be_repeated_to_the_digit(self, counted):
        assert pyramid("demo", "-n", "40", "--seed", "71", "--json").stdout == counted.stdout

    def test_draws_other_questions_with_another_seed(self, told):
        def asked(text):
            return set(re.findall(r"^.*\? \[\d+\]$", text, re.MULTILINE))

        other = pyramid("demo", "-n", "40", "--seed", "72").stdout
        assert asked(told.stdout)
        assert asked(told.stdout).isdisjoint(asked(other))

    def test_shows_a_handful_of_questions_with_every_answer_and_the_decision(self, told):
        handful, _, _ = told.stdout.partition("All 40")
        verdicts = re.findall(
            r"p_fail \S+ (?:>|<=) \S+ = cost barrier \S+ \+ imperfection barrier \S+: (accept|escalate)\n",
            handful,
        )
        assert {"accept", "escalate"} == set(verdicts)
        for member in CROWD:
            assert len(re.findall(rf"^  {member}  .* (?:right|wrong)$", handful, re.MULTILINE)) == len(
                verdicts
            )

    def test_sums_up_every_way_of_asking(self, told, counted):
        figures = json.loads(counted.stdout)
        _, _, summary = told.stdout.partition("All 40")
        for name, accuracy in {
            **figures["members"],
            "crowd, by vote": figures["vote_accuracy"],
            "oracle": figures["oracle_accuracy"],
            "as many at random": figures["random_accuracy"],
            "pyramid": figures["pyramid_accuracy"],
        }.items():
            assert re.search(rf"^ {name}\b.*? {accuracy:.3f} ", summary, re.MULTILINE), name
        assert f"{figures['escalation_rate']:.1%} of the questions" in summary
        assert "best single" in summary

    def test_is_plain_text_in_a_pipe(self, told):
        assert (told.returncode, told.stderr) == (0, "")
        assert ESCAPE not in told.stdout

    def test_needs_no_unicode_of_its_reader(self):
        run = pyramid("demo", "-n", "2", "--seed", "71", PYTHONIOENCODING="ascii")
        assert (run.returncode, run.stderr) == (0, "")

    def test_takes_the_router_by_name(self):
        assert "router: agreement;" in pyramid("demo", "-n", "2", "--router", "agreement").stdout

    @pytest.mark.parametrize("n", ["0", "-3", "many"])
    def test_refuses_a_number_of_questions_that_is_none(self, n):
        run = pyramid("demo", "-n", n)
        assert run.returncode == 2
        assert "-n" in run.stderr
        assert "Traceback" not in run.stderr


class TestAsk:
    @pytest.mark.parametrize(
        "part", [QUESTION, "tiny-add", "tiny-short", "tiny-times", "mean logprob", "votes"]
    )
    def test_shows_the_answers(self, shown, part):
        assert part in shown

    def test_shows_the_decision_and_the_bill(self, shown):
        assert re.search(
            r"p_fail \S+ (>|<=) \S+ = cost barrier \S+ \+ imperfection barrier \S+: \w+\n", shown
        )
        assert re.search(r"\w+ answers \(decided\): ", shown)
        assert re.search(r"cost: \$\S+ at notional prices", shown)

    def test_shows_when_things_happened_in_order(self, shown):
        moments = [float(at) for at in re.findall(r"^ *([\d.]+) ms  ", shown, re.MULTILINE)]
        assert len(moments) >= 8
        assert moments == sorted(moments)

    def test_gives_a_trace_that_replays(self):
        trace = record_to_trace(json.loads(pyramid("ask", QUESTION, "--json").stdout))
        again = demo.embedded_pyramid("embedded").replay(trace).trace
        assert [j.decision for j in again.judgements] == [j.decision for j in trace.judgements]
        assert again.answered == trace.answered

    def test_reads_a_question_from_standard_input(self):
        assert json.loads(pyramid("ask", "-", "--json", given=QUESTION).stdout)["query"] == QUESTION

    def test_leaves_markup_in_questions_alone(self):
        question = "Ann has [red]12[/red] apples :apple:. How many apples does Ann have now?"
        assert question in pyramid("ask", question).stdout


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("ask", ""), "the prompt is empty"),
            (("ask", "Ann has 3\x07 apples."), "control or surrogate character"),
            (("ask", "word " * 400), "shorten the prompt"),
            (("ask", QUESTION, "--router", "no-such-router"), "no-such-router"),
            (("demo", "-n", "2", "--router", "no-such-router"), "no-such-router"),
        ],
        ids=["empty", "control", "long", "router", "demo's router"],
    )
    def test_of_the_tree_are_one_line_and_exit_2(self, arguments, says):
        run = pyramid(*arguments)
        assert run.returncode == 2
        assert run.stdout == ""
        assert run.stderr.startswith("pyramid: ")
        assert run.stderr.count("\n") == 1
        assert says in run.stderr

    @pytest.mark.parametrize("raised", [TypeError("a bug"), ZeroDivisionError("a bug")])
    def test_of_programming_keep_their_traceback(self, monkeypatch, raised):
        def broken(_router):
            raise raised

        monkeypatch.setattr(demo, "embedded_pyramid", broken)
        assert CliRunner().invoke(app, ["ask", QUESTION]).exception is raised

    def test_a_broken_contract_is_a_programming_error(self, monkeypatch):
        class Silent:
            name = "silent"

            def ask(self, _query):
                return None

        monkeypatch.setattr(demo, "embedded_crowd", lambda: [Silent()])
        result = CliRunner().invoke(app, ["ask", QUESTION, "--router", "agreement"])
        assert isinstance(result.exception, TypeError)
        assert result.exit_code == 1


class TestTerminal:
    """What somebody at a terminal sees, through a pseudo-terminal."""

    def run_on_terminal(self, *arguments, streams, **changes):
        """The exit code, what the terminal got, and what the other stream got."""
        ours, theirs = pty.openpty()
        other = {"stdout", "stderr"} - set(streams)
        pipes = dict.fromkeys(streams, theirs) | dict.fromkeys(other, subprocess.PIPE)
        with subprocess.Popen(command(*arguments), env=environment(**changes), **pipes) as process:
            os.close(theirs)
            terminal = b"".join(iter(lambda: _read(ours), b"")).decode()
            rest = "".join(getattr(process, name).read().decode() for name in other)
        os.close(ours)
        return process.returncode, terminal, rest

    def test_the_bar_runs_on_stderr_alone(self):
        code, terminal, out = self.run_on_terminal("demo", "-n", "20", "--json", streams=["stderr"])
        assert code == 0
        assert "20/20" in terminal
        assert list(json.loads(out)) == KEYS

    def test_verdicts_are_coloured(self):
        _, terminal, _ = self.run_on_terminal("demo", "-n", "3", streams=["stdout"])
        assert re.search(r"\x1b\[[\d;]*32mright", terminal)

    def test_no_color_is_respected(self):
        _, terminal, _ = self.run_on_terminal("demo", "-n", "3", streams=["stdout"], NO_COLOR="1")
        assert not re.search(r"\x1b\[[\d;]*3\dm", terminal)

    def test_a_reader_that_leaves_ends_it_quietly(self):
        with subprocess.Popen(
            command("demo", "-n", "3"),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            process.stdout.close()
            said = process.stderr.read()
        assert said == b""
        assert process.returncode == 1

    def test_ctrl_c_ends_it_quietly(self):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            # A test run in the background may have been told to ignore interrupts, and children inherit that.
            [sys.executable, "-c", HEEDING_INTERRUPTS, "demo", "-n", "5000"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            seen = b""
            while b"/5000" not in seen and (more := _read(ours)):
                seen += more
            process.send_signal(signal.SIGINT)
            rest = b"".join(iter(lambda: _read(ours), b""))
            out = process.stdout.read()
        os.close(ours)
        assert process.returncode == 130
        assert b"Traceback" not in seen + rest
        assert out == b""

    def test_characters_that_act_on_a_terminal_are_shown_as_what_they_are(self):
        assert readable("a\x1b[2J\x07b\n") == "a\\x1b[2J\\x07b\n"

    def test_long_texts_are_cut_where_asked(self):
        assert readable("x" * 20, limit=10) == "xxxxxxx..."


def _read(terminal):
    """What a pseudo-terminal has; empty once nobody writes to it any more (Linux says so by an error)."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


class Scripted:
    """A member that gives its answers in turn, each token for `each` USD."""

    def __init__(self, name, answers, *, each):
        self.name, self.answers, self.each = name, answers, each
        self.asked = []

    def ask(self, query):
        self.asked.append(query.text)
        usage = Usage(input_tokens=1, output_tokens=1)
        price = Price(input=self.each, output=self.each)
        return Answer(
            text=f"the answer is {self.answers[query.text]}",
            usage=usage,
            cost=price.cost(usage),
            finish_reason="stop",
        )


class TestFigures:
    """Four problems, each with the answer 1, whose every figure can be counted by hand."""

    QUESTIONS = ("How many are a?", "How many are b?", "How many are c?", "How many are d?")

    @pytest.fixture
    def oracle(self):
        return Scripted("oracle", dict(zip(self.QUESTIONS, (9, 1, 1, 1), strict=True)), each=1.0)

    @pytest.fixture
    def found(self, oracle):
        said = [(1, 1, 1), (1, 1, 2), (2, 1, 3), (2, 2, 1)]
        crowd = [
            Scripted(name, {q: s[i] for q, s in zip(self.QUESTIONS, said, strict=True)}, each=0.1)
            for i, name in enumerate("xyz")
        ]
        made = Pyramid(crowd=crowd, oracle=oracle, router=AgreementRouter(), policy=Policy(early_stop=None))
        walks = [demo.walk(made, Problem(question=q, answer=1, steps=1, work=())) for q in self.QUESTIONS]
        return demo.figures(walks, seed=0)

    def test_accuracies(self, found):
        values = {way: estimate.value for way, estimate in found.accuracies.items()}
        assert values == {
            "x": 0.5,
            "y": 0.75,
            "z": 0.5,
            "vote": 0.5,
            "chosen": 0.5,
            "oracle": 0.75,
            "pyramid": 1.0,
            "random": 0.6875,
        }

    def test_only_the_unanimous_question_stays_with_the_crowd(self, found):
        assert found.escalation_rate == 0.75

    def test_the_bill_is_what_each_way_asks(self, found):
        bills = {way: (round(cost.usd, 9), cost.complete) for way, cost in found.costs.items()}
        assert bills == {
            "x": (0.8, True),
            "y": (0.8, True),
            "z": (0.8, True),
            "vote": (2.4, True),
            "chosen": (2.4, True),
            "oracle": (8.0, True),
            "pyramid": (8.4, True),
            "random": (8.4, True),
        }
        assert found.cost_ratio() == pytest.approx(1.05)

    def test_the_oracle_is_asked_each_question_once(self, found, oracle):
        assert sorted(oracle.asked) == sorted(self.QUESTIONS)
