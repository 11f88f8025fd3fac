"""The sandbox: what programs return comes out as plain data, and no program does harm, however it is written."""

import contextlib
import math
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyramid_core.sandbox.sandbox as module
from pyramid_core.errors import InputError, SandboxError
from pyramid_core.sandbox import PROTECTIONS, Call, Job, Limits, Opaque, Sandbox, split
from pyramid_core.sandbox.cell import runner, system
from pyramid_core.sandbox.values import decoded

ROOT = Path(__file__).resolve().parents[2]
PATIENT = Limits(seconds=30.0)
BRISK = Limits(seconds=1.0)


def readable_interpreter() -> str:
    """An interpreter whose library everybody may read: this one, or the system's."""
    if os.geteuid() != 0:
        return sys.executable
    hidden = any(not parent.stat().st_mode & 0o001 for parent in Path(os.__file__).resolve().parents)
    return "/usr/bin/python3" if hidden else sys.executable


@pytest.fixture(scope="module")
def temporary():
    """A folder for temporary files that the unprivileged user may pass through, unlike pytest's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = Path(tempfile.mkdtemp(prefix="sandbox-tests-"))
        folder.chmod(0o711)
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def in_mode(mode: str, limits: Limits) -> Sandbox:
    """A sandbox that is settled in one mode, or a skip that says why this system has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MODES", (mode,))
        sandbox = Sandbox(limits=limits, python=None if mode == "jail" else readable_interpreter())
        try:
            assert sandbox.protections
        except SandboxError as error:
            pytest.skip(f"this system has no {mode}: {error}")
    return sandbox


@pytest.fixture(scope="module", params=["jail", "net", "bare"])
def mode(request, temporary):
    return request.param


@pytest.fixture(scope="module")
def sandbox(mode):
    """Each mode in turn, with all the time in the world."""
    return in_mode(mode, PATIENT)


@pytest.fixture(scope="module")
def brisk(mode):
    """Each mode in turn, for programs that never end."""
    return in_mode(mode, BRISK)


@pytest.fixture(scope="module")
def best(temporary):
    """The best that this system offers."""
    sandbox = Sandbox(limits=PATIENT)
    try:
        assert sandbox.protections
    except SandboxError as error:
        pytest.skip(f"programs cannot be run on this system: {error}")
    return sandbox


def needs(sandbox: Sandbox, *names: str) -> None:
    """Skip where this system, in this mode, has not the protection that a test is about."""
    missing = sorted(set(names) - sandbox.protections)
    if missing:
        pytest.skip(f"without the protections {missing} ({sandbox._mode})")


def one(sandbox: Sandbox, program: str, call: str = "f()"):
    """The result of one call."""
    (result,) = sandbox.run(program, [Call(source=call)])
    return result


def processes_below(folder: Path) -> list[int]:
    """The processes that were started with a scratch folder in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return [number for number in found if number != os.getpid()]


def nothing_is_left(temporary: Path) -> bool:
    return processes_below(temporary) == [] and list(temporary.glob("pyramid-sandbox-*")) == []


class TestResults:
    def test_a_value_comes_out(self, sandbox):
        result = one(sandbox, "def f(a, b=1): return [a, {b: (a,)}]", "f('x', b=2)")
        assert (result.status, result.value) == ("value", ["x", {2: ("x",)}])

    def test_every_result_names_its_protections(self, sandbox):
        assert one(sandbox, "def f(): pass").protections == sandbox.protections <= set(PROTECTIONS)

    def test_calls_are_made_in_order_in_one_namespace(self, best):
        program = "seen = []\ndef f(x): seen.append(x); return list(seen)"
        results = best.run(
            program, [Call.of("f", 1), Call(source="seen += [5]", kind="exec"), Call.of("f", 2)]
        )
        assert [result.value for result in results] == [[1], None, [1, 5, 2]]

    @pytest.mark.parametrize(
        ("program", "error"),
        [
            ("def f(): return 1 / 0", "ZeroDivisionError"),
            ("def f(): raise SystemExit(0)", "SystemExit"),
            ("def f(): raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("class Own(Exception): pass\ndef f(): raise Own", "Own"),
            ("def g(): pass", "NameError"),
            ("def f(): return input()", "EOFError"),
            ("def f(): return f()", "RecursionError"),
        ],
    )
    def test_what_a_call_raises_is_its_result(self, best, program, error):
        result = one(best, program)
        assert (result.status, result.error) == ("error", error)

    @pytest.mark.parametrize(
        ("program", "error"),
        [
            ("def f(: pass", "SyntaxError"),
            ("import no_such_module", "ModuleNotFoundError"),
            ("raise ValueError", "ValueError"),
            ("\0", "ValueError"),
            ("x = '\ud800'", "UnicodeEncodeError"),
            ("(" * 300, "SyntaxError"),
        ],
    )
    def test_a_program_that_cannot_be_loaded_cannot_run(self, best, program, error):
        results = best.run(program, [Call.of("f"), Call.of("g")])
        expected = {
            error,
            "SyntaxError",
        }  # Which of the two a strange character is depends on Python's version.
        assert [r.status for r in results] == ["cannot run"] * 2
        assert {r.error for r in results} <= expected

    def test_a_main_block_is_not_run(self, best):
        assert one(best, "if __name__ == '__main__': f = 1 / 0\nelse:\n def f(): return 7").value == 7

    def test_dataclasses_and_annotations_work(self, best):
        program = (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass P:\n    x: int\n    y: 'list[int]'\ndef f(): return P(1, [2]).x"
        )
        assert one(best, program).value == 1

    def test_sets_are_listed_in_the_same_order_in_every_process(self, best):
        program = "def f(): return list({'one', 'two', 'three', 'four', 'five', 'six'})"
        assert one(best, program).value == one(best, program).value

    def test_the_calls_after_the_one_that_stop_says_yes_to_are_not_made(self, best):
        results = best.run(
            "def f(x): return x", [Call.of("f", n) for n in range(5)], stop=lambda at, r: at == 1
        )
        assert [result.value for result in results] == [0, 1]

    def test_no_calls_give_no_results(self, best):
        assert best.run("1 / 0", []) == []

    def test_jobs_come_back_in_their_order(self, best):
        jobs = (Job(program=f"def f(): return {n}", calls=[Call.of("f")]) for n in range(12))
        assert [results[0].value for results in best.run_many(jobs)] == list(range(12))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.text())
    ),
    max_leaves=20,
)


def shape(value):
    """A value with the types of its parts; sets in one order, numbers that are none equal to themselves."""
    if isinstance(value, dict):
        return "dict", [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        parts = [shape(item) for item in value]
        return type(value).__name__, sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts
    return type(value).__name__, repr(value)


class TestValues:
    @given(plain)
    @settings(max_examples=200)
    def test_plain_values_cross_unchanged(self, value):
        assert shape(decoded(runner.encoded(value, [10**6]))) == shape(value)

    @pytest.mark.parametrize(
        ("source", "value"),
        [
            ("float('inf')", math.inf),
            ("__import__('fractions').Fraction(1, 3)", Fraction(1, 3)),
            ("__import__('decimal').Decimal('0.5')", 0.5),
            ("__import__('collections').Counter('aab')", {"a": 2, "b": 1}),
            ("__import__('collections').namedtuple('P', 'x y')(1, 2)", (1, 2)),
            ("'\\ud800'", "\ud800"),
            ("bytearray(b'ab')", b"ab"),
        ],
    )
    def test_subclasses_and_odd_values_are_their_base_values(self, best, source, value):
        assert one(best, "", source).value == value

    @pytest.mark.parametrize(
        "source", ["map(int, [1])", "object()", "range(3)", "print", "(x for x in [1])", "int"]
    )
    def test_what_is_no_literal_is_opaque(self, best, source):
        result = one(best, "", source)
        assert isinstance(result.value, Opaque)

    def test_an_opaque_value_is_equal_to_no_other(self):
        assert Opaque(kind="object") != Opaque(kind="object")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{}",
            '{"a": 1}',
            '["set", ["list"]]',
            '["none"]',
            "[]",
            "[" * 10_000,
            '["int", "zz"]',
            '["dict", 1]',
        ],
    )
    def test_what_the_child_does_not_write_is_refused(self, text):
        with pytest.raises(ValueError, match="not a result"):
            decoded(text)


class TestHostilePrograms:
    """Each is what a program could try; afterwards nothing is left and the next program runs."""

    @pytest.fixture(autouse=True)
    def afterwards(self, sandbox, temporary):
        yield
        assert nothing_is_left(temporary)
        assert one(sandbox, "def f(): return 7").value == 7

    def test_a_fork_bomb_is_ended(self, brisk):
        needs(brisk, "children")
        program = (
            "import os\ndef f():\n    while True:\n        try: os.fork()\n        except OSError: pass\n"
        )
        assert one(brisk, program).status in {"timed out", "error"}

    def test_processes_are_limited_in_number(self, sandbox):
        needs(sandbox, "children")
        program = (
            "import os, time\n"
            "def f():\n"
            "    for n in range(100):\n"
            "        try:\n"
            "            if not os.fork(): time.sleep(60)\n"
            "        except OSError: return n\n"
        )
        assert one(sandbox, program).value < PATIENT.processes

    def test_a_process_that_leaves_its_session_is_ended_with_the_program(self, sandbox):
        if not sys.platform.startswith("linux"):
            pytest.skip("strays are found on Linux only")
        program = (
            "import os, time\n"
            "def f():\n"
            "    if not os.fork():\n"
            "        os.setsid()\n"
            "        if not os.fork(): time.sleep(600)\n"
            "        os._exit(0)\n"
            "    return 1\n"
        )
        assert one(sandbox, program).value == 1

    def test_endless_output_goes_nowhere(self, brisk):
        program = "def f():\n    while True: print('x' * 10_000, flush=True)"
        assert one(brisk, program).status == "timed out"

    def test_endless_output_on_every_descriptor_is_cut_off(self, brisk):
        program = (
            "import os\n"
            "def f():\n"
            "    while True:\n"
            "        for n in range(64):\n"
            "            try: os.write(n, b'x' * 60_000)\n"
            "            except OSError: pass\n"
        )
        result = one(brisk, program)
        assert result.status == "timed out" or result.error == "flood"

    @pytest.mark.parametrize(
        "loop", ["while True: pass", "import time\n    time.sleep(600)", "10 ** 10 ** 10"]
    )
    def test_an_endless_call_times_out(self, brisk, loop):
        assert one(brisk, f"def f():\n    {loop}").status in {"timed out", "error"}

    def test_an_endless_program_cannot_run(self, brisk):
        result = one(brisk, "while True: pass")
        assert (result.status, result.error) == ("cannot run", "timed out")

    def test_the_calls_after_an_endless_one_are_made(self, brisk):
        results = brisk.run(
            "def f(x):\n    while x == 1: pass\n    return x",
            [Call.of("f", 0), Call.of("f", 1), Call.of("f", 2)],
        )
        assert [(r.status, r.value) for r in results] == [("value", 0), ("timed out", None), ("value", 2)]

    def test_preparations_are_made_again_in_a_new_process(self, sandbox):
        calls = [Call(source="x = 5", kind="exec", again=True), Call(source="f()"), Call(source="x")]
        results = sandbox.run("import os\ndef f(): os._exit(0)", calls)
        assert [r.status for r in results] == ["value", "error", "value"]
        assert results[2].value == 5

    def test_a_program_that_ends_every_process_is_given_up(self, sandbox):
        results = sandbox.run("import os\ndef f(): os._exit(0)", [Call.of("f")] * 6)
        assert [r.status for r in results] == ["error"] * 3 + ["cannot run"] * 3

    def test_cpu_time_is_limited(self, mode):
        sandbox = in_mode(mode, Limits(seconds=60.0, cpu_seconds=1))
        assert one(sandbox, "def f():\n    while True: pass").status == "timed out"

    def test_memory_is_limited(self, sandbox):
        needs(sandbox, "memory")
        assert one(sandbox, "def f(): return len(bytearray(10 ** 10))").error == "MemoryError"

    def test_open_files_are_limited(self, sandbox):
        program = "def f(): return len([open('/dev/null') for _ in range(1000)])"
        assert one(sandbox, program).error == "OSError"

    def test_files_are_limited_in_size(self, sandbox):
        program = (
            "def f():\n    with open('big', 'wb') as file:\n        while True: file.write(bytes(1 << 20))"
        )
        result = one(sandbox, program)
        assert result.status == "error"
        assert result.error in {"OSError", "SIGXFSZ"}

    def test_limits_cannot_be_raised(self, sandbox):
        program = (
            "import resource\n"
            "def f():\n"
            "    for name in ('CPU', 'AS', 'NPROC', 'NOFILE', 'FSIZE'):\n"
            "        limit = getattr(resource, 'RLIMIT_' + name)\n"
            "        try: resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
            "        except ValueError: continue\n"
            "        return name\n"
        )
        result = one(sandbox, program)
        assert (result.status, result.value) == ("value", None)

    def test_nothing_is_written_outside_the_scratch_folder(self, sandbox, temporary, tmp_path):
        needs(sandbox, "unprivileged")
        if "files" not in sandbox.protections and os.geteuid() != 0:
            pytest.skip(
                "as the same user, without a file system of its own, a program writes what the user may"
            )
        tmp_path.chmod(0o755)
        places = [str(tmp_path), str(ROOT), "/etc", "/usr", "/", str(temporary)]
        program = (
            "def f(places):\n"
            "    done = []\n"
            "    for place in places:\n"
            "        try: open(place + '/planted', 'w').close(); done.append(place)\n"
            "        except OSError: pass\n"
            "    return done\n"
        )
        assert one(sandbox, program, f"f({places!r})").value == []
        assert not any(Path(place, "planted").exists() for place in places)

    def test_the_files_of_the_machine_do_not_exist(self, sandbox, tmp_path):
        needs(sandbox, "files")
        secret = tmp_path / "secret"
        secret.write_text("x")
        places = [
            str(secret),
            str(ROOT / "pyproject.toml"),
            "/etc/passwd",
            "/proc/self",
            "/proc/1",
            "/home",
            "/sys",
        ]
        program = "import os\ndef f(places): return [place for place in places if os.path.lexists(place)]"
        assert one(sandbox, program, f"f({places!r})").value == []

    def test_the_scratch_folder_is_a_workplace_and_then_gone(self, sandbox):
        program = (
            "import os, tempfile\n"
            "def f():\n"
            "    with tempfile.NamedTemporaryFile('w') as file: file.write('x')\n"
            "    os.makedirs('a/b/c'); open('a/b/c/d', 'w').close()\n"
            "    os.symlink('/', 'a/root'); os.chmod('a/b/c', 0); os.chmod('a/b', 0); os.chmod('.', 0)\n"
            "    return True\n"
        )
        assert one(sandbox, program).value is True
        assert Path("/etc").exists()

    def test_the_program_is_not_root(self, sandbox):
        program = "import os\ndef f(): return 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *os.getgroups())"
        assert one(sandbox, program).value is (os.getgid() == 0 and os.geteuid() != 0)

    @pytest.mark.parametrize("call", ["os.setuid(0)", "os.seteuid(0)", "os.chroot('/')", "os.nice(-5)"])
    def test_privileges_do_not_come_back(self, sandbox, call):
        assert one(sandbox, "import os", call).error in {"PermissionError", "OSError"}

    @pytest.mark.parametrize(
        "name", ["unshare(0x10000000)", "unshare(0x00020000)", "mount(b'x', b'/', b'tmpfs', 0, 0)"]
    )
    def test_no_further_namespaces_and_mounts(self, sandbox, name):
        needs(sandbox, "files")
        assert one(sandbox, "import ctypes", f"ctypes.CDLL(None).{name}").value == -1

    def test_there_is_no_network(self, sandbox):
        needs(sandbox, "network")
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            program = "import socket\ndef f(port): socket.create_connection(('127.0.0.1', port), 2)"
            assert one(sandbox, program, f"f({port})").error in {"OSError", "ConnectionRefusedError"}
            server.settimeout(0.1)
            with pytest.raises(TimeoutError):
                server.accept()

    def test_an_abstract_socket_of_the_machine_is_out_of_reach(self, sandbox):
        needs(sandbox, "network")
        name = f"\0sandbox-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
            server.listen()
            program = "import socket\ndef f(name): socket.socket(socket.AF_UNIX).connect(name)"
            assert one(sandbox, program, f"f({name!r})").error == "ConnectionRefusedError"

    def test_killing_everything_kills_nobody_else(self, sandbox):
        needs(sandbox, "processes")
        program = (
            "import os, signal\n"
            "def f():\n"
            "    for target in (os.getppid(), 0, -1, 1, *range(2, 5000)):\n"
            "        if target != os.getpid():\n"
            "            try: os.kill(target, signal.SIGKILL)\n"
            "            except OSError: pass\n"
            "    return 'alive'\n"
        )
        jobs = [
            Job(program=program, calls=[Call.of("f")]),
            Job(program="def f(): return 7", calls=[Call.of("f")]),
        ] * 4
        results = [result[0] for result in sandbox.run_many(jobs)]
        assert [r.value for r in results[1::2]] == [7] * 4

    def test_a_program_that_kills_itself_says_by_what(self, sandbox):
        result = one(sandbox, "import os, signal\ndef f(): os.kill(os.getpid(), 11); os.abort()")
        assert result.status == "error"
        assert result.error.startswith("SIG")

    def test_recursion_without_limit_ends_the_process_alone(self, sandbox):
        program = "import sys\nsys.setrecursionlimit(10 ** 9)\ndef g(x): return list(map(g, [x]))\ndef f(): return g(1)"
        assert one(sandbox, program).status == "error"

    def test_no_method_of_a_value_is_called(self, sandbox):
        program = (
            "class Evil(list):\n"
            "    def __iter__(self): return iter(['forged'])\n"
            "    def __repr__(self): return repr(self)\n"
            "    def __eq__(self, other): return True\n"
            "    def __len__(self): return 10 ** 9\n"
            "class Name(str):\n"
            "    def __str__(self): return 'forged'\n"
            "class Whatever:\n"
            "    def __eq__(self, other): return True\n"
            "    def __repr__(self): return repr(self)\n"
            "def f(): return [Evil([1]), Name('x'), Whatever()]\n"
        )
        values = one(sandbox, program).value
        assert values[:2] == [[1], "x"]
        assert values[2] != 5

    def test_a_value_that_contains_itself_has_an_end(self, sandbox):
        assert one(sandbox, "def f():\n    x = []\n    x.append(x)\n    return x").status == "value"

    @pytest.mark.parametrize(
        "value", ["'x' * 10 ** 8", "list(range(10 ** 6))", "1 << 10 ** 8", "b'x' * 10 ** 7"]
    )
    def test_a_huge_value_is_an_error(self, sandbox, value):
        assert one(sandbox, f"def f(): return {value}").error == "TooLarge"

    def test_many_large_values_are_a_flood(self, mode):
        sandbox = in_mode(mode, Limits(seconds=30.0, output_bytes=500_000))
        results = sandbox.run("def f(): return 'x' * 190_000", [Call.of("f")] * 6)
        assert "flood" in [result.error for result in results]


SEARCH = r"""
import gc, os, re, sys
WANTED = re.compile(rb"sentinel:[0-9a-f]{32}")
def f(x):
    places = {"arguments": repr(sys.argv), "orig": repr(sys.orig_argv), "environment": repr(os.environ)}
    places["objects"] = repr([o for o in gc.get_objects() if isinstance(o, (list, dict, tuple, set))])[:10**8]
    frame, seen = sys._getframe(), []
    while frame:
        seen.append(repr(frame.f_locals)); seen.append(repr(frame.f_globals)); frame = frame.f_back
    places["frames"] = "".join(seen)
    found = [name for name, text in places.items() if WANTED.search(text.encode("utf-8", "replace"))]
    outside = ["/proc", "/tmp", "/var/tmp", "/dev/shm", "/run", "."]  # Where a process could have left something.
    walks = [os.walk(place) for place in (outside if os.path.exists("/proc") else ["/"])]
    for folder, folders, files in (step for walk in walks for step in walk):
        folders[:] = [n for n in folders if n not in ("lib", "lib64", "usr")]
        for name in files:
            path = os.path.join(folder, name)
            try:
                if os.path.isfile(path) and os.path.getsize(path) < 10 ** 6 and WANTED.search(open(path, "rb").read()):
                    found.append(path)
            except OSError: pass
    for n in range(64):
        try: found += WANTED.findall(os.pread(n, 10 ** 6, 0))
        except OSError: pass
    try:
        for line in open("/proc/self/maps"):
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            if " rw" in line and high - low < 10 ** 8:
                with open("/proc/self/mem", "rb") as memory:
                    memory.seek(low)
                    if WANTED.search(memory.read(high - low)): found.append("memory")
    except OSError: pass
    return [str(place) for place in found]
"""


class TestForgery:
    """What a program would have to return is known outside alone."""

    EXPECTED = "sentinel:" + secrets.token_hex(16)

    def passes(self, sandbox, program, test=None):
        tests = split(test or f"assert f(1) == {self.EXPECTED!r}")
        results = sandbox.run(program, tests.calls)
        return tests.passed(results), results

    def test_the_right_value_passes(self, sandbox):
        assert self.passes(sandbox, f"def f(x): return {self.EXPECTED!r}")[0]

    def test_the_expected_value_is_nowhere_to_be_found(self, sandbox):
        passed, (result,) = self.passes(sandbox, SEARCH)
        assert (result.status, result.value) == ("value", [])
        assert not passed

    def test_the_search_finds_what_is_there(self, sandbox):
        _, (result,) = self.passes(sandbox, SEARCH, f"assert f({self.EXPECTED!r}) == 1")
        assert {"objects", "frames"} <= set(result.value)

    @pytest.mark.parametrize(
        "program",
        [
            "import os\ndef f(x): os._exit(0)",
            "import os\nos._exit(0)",
            "import sys\ndef f(x): sys.exit(0)",
            "import sys\nsys.exit(0)",
            "import sys, os\nsys.exit = os._exit = lambda *a: None\ndef f(x): pass",
            "import builtins\nbuiltins.AssertionError = Warning\nclass A:\n def __eq__(s, o): return True\ndef f(x): return A()",
            "import builtins\nbuiltins.eval = lambda *a: True\nbuiltins.exec = lambda *a: True\ndef f(x): return 1",
            "import unittest.mock as m\ndef f(x): return m.ANY",
            "def f(x):\n print('value \"sentinel:0\"', flush=True)",
        ],
    )
    def test_leaving_and_patching_do_not_pass(self, sandbox, program):
        assert not self.passes(sandbox, program)[0]

    def test_lines_written_blindly_are_not_results(self, sandbox):
        program = (
            "import os\n"
            "def f(x):\n"
            "    for n in range(64):\n"
            "        for line in ('value 7', 'loaded', 'ready', '0' * 32 + ' value 7'):\n"
            "            try: os.write(n, (line + '\\n').encode())\n"
            "            except OSError: pass\n"
            "    return 1\n"
        )
        assert one(sandbox, program, "f(1)").value == 1

    def test_half_a_line_written_blindly_spoils_no_result(self, sandbox):
        program = (
            "import os\n"
            "def f(x):\n"
            "    for n in range(64):\n"
            "        try: os.write(n, b'half a line')\n"
            "        except OSError: pass\n"
            "    return 1\n"
        )
        assert one(sandbox, program, "f(1)").value == 1

    def test_a_program_that_finds_the_channel_forges_only_wrong_values(self, sandbox):
        program = (
            "import os, sys\n"
            "def f(x):\n"
            "    frame = sys._getframe()\n"
            "    while frame:\n"
            "        if 'say' in frame.f_locals: frame.f_locals['say']('value \"forged\"')\n"
            "        frame = frame.f_back\n"
            "    os._exit(0)\n"
        )
        passed, results = self.passes(sandbox, program)
        assert results[0].value == "forged"
        assert not passed

    def test_a_forged_test_is_marked(self, sandbox):
        tests = split("assert all(x == 3 for x in f(1))")
        assert tests.forgeable
        assert all(result.forgeable for result in sandbox.run("def f(x): return [3]", tests.calls))


class TestWhoeverStartsIt:
    def test_nothing_survives_the_process_that_wanted_it(self, best, temporary):
        needs(best, "wall clock")
        if not sys.platform.startswith("linux"):
            pytest.skip("processes are looked up in /proc")
        code = (
            "from pyramid_core.sandbox import *\n"
            "Sandbox(limits=Limits(seconds=600.0)).run('while True: pass', [Call.of('f')])"
        )
        environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
        with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
            until = time.monotonic() + 60
            while len(processes_below(temporary)) < 2 and time.monotonic() < until:
                time.sleep(0.05)
            assert len(processes_below(temporary)) >= 2
            process.send_signal(signal.SIGKILL)
        while processes_below(temporary) and time.monotonic() < until:
            time.sleep(0.05)
        assert processes_below(temporary) == []
        for folder in temporary.glob("pyramid-sandbox-*"):
            shutil.rmtree(folder)

    def test_an_interrupt_ends_the_program(self, best, temporary):
        def interrupt(at, result):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            best.run(
                "def f(): return 1\ndef g():\n while True: pass", [Call.of("f"), Call.of("g")], stop=interrupt
            )
        assert nothing_is_left(temporary)

    def test_a_path_where_no_interpreter_is_is_refused(self):
        with pytest.raises(SandboxError, match="/no/such/python"):
            Sandbox(python="/no/such/python").run("", [Call.of("f")])

    def test_what_is_no_interpreter_is_refused_with_every_reason(self):
        with pytest.raises(SandboxError, match=r"(?s)jail: .*net: .*bare: .*user other than root"):
            Sandbox(python=shutil.which("false")).run("", [Call.of("f")])

    def test_a_required_protection_that_is_missing_refuses(self, temporary):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_MODES", ("bare",))
            sandbox = Sandbox(python=readable_interpreter(), require={"files"})
            with pytest.raises(SandboxError, match="files"):
                sandbox.run("", [Call.of("f")])

    def test_an_unknown_protection_is_refused(self):
        with pytest.raises(InputError, match=r"\['netwrok'\].*network"):
            Sandbox(require={"netwrok"})

    @pytest.mark.parametrize("name", ["seconds", "memory_bytes", "processes", "cpu_seconds"])
    def test_a_limit_of_nothing_is_refused(self, name):
        with pytest.raises(InputError, match=name):
            Limits(**{name: 0})

    def test_root_that_cannot_be_dropped_is_refused(self, monkeypatch):
        def denied(*ids):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "setresgid", denied)
        monkeypatch.setattr(os, "getgroups", list)
        with pytest.raises(system.Refused, match="cannot be dropped"):
            system.drop()

    @pytest.mark.parametrize("lost", ["-setuid", "-setuid,-setgid", "-all"])
    def test_root_without_the_capability_to_drop_refuses(self, temporary, lost):
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            pytest.skip("needs root and setpriv, to take root's capabilities away")
        code = (
            "from pyramid_core.errors import SandboxError\nfrom pyramid_core.sandbox import *\n"
            "try: Sandbox().run('', [Call.of('f')])\nexcept SandboxError as error: print('refused:', error)"
        )
        less = ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"]
        run = subprocess.run(
            [*less, sys.executable, "-c", code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.stdout.startswith("refused:"), run.stderr
        assert "start the process as a user other than root" in run.stdout


class TestPage:
    PAGE = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")

    def test_names_every_protection_in_the_same_words(self):
        table = [line.split("|")[1:3] for line in self.PAGE.splitlines() if line.startswith("| `")]
        assert {name.strip(" `"): meaning.strip() for name, meaning in table} == dict(PROTECTIONS)

    def test_claims_for_each_mode_what_is_in_place(self, sandbox):
        column = {"jail": 3, "net": 4, "bare": 5}[sandbox._mode]
        rows = [
            [cell.strip(" `") for cell in line.split("|")]
            for line in self.PAGE.splitlines()
            if line[:3] == "| `"
        ]
        if not sys.platform.startswith("linux"):
            column = 6
        assert {row[1] for row in rows if row[column] == "yes"} == sandbox.protections

    def test_shows_what_the_code_does(self, best, capsys):
        scope = {}
        for block in re.findall(r"```python\n(.*?)```", self.PAGE, re.DOTALL):
            exec(block, scope)
        said = capsys.readouterr().out.splitlines()
        shown = re.findall(r"^print\(.*# (.+)$", self.PAGE, re.MULTILINE)
        assert [line for line in said if line in shown] == [
            line for line in shown if "what is in place" not in line
        ]
