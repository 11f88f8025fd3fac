"""The house: who may import whom, how large its rooms are, and what importing it costs."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import OutsideWorldError
from tests.floors import House, Module, imports, long_functions, read_modules

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pyramid_core", "langchain_pyramid", "llamaindex_pyramid")

# Imports go strictly downward: a unit imports from the floors below its own. `pyramid_core` itself (its __init__) only
# re-exports; it stands between floors 5 and 6, so nothing in the core imports from it.
FLOORS = (
    # 0: the words (standard library only)
    ("pyramid_core.types", "pyramid_core.errors"),
    # 1: pure functions over texts, numbers and records (numpy, rapidfuzz)
    (
        "pyramid_core.text",
        "pyramid_core.calls",
        "pyramid_core.equivalence",
        "pyramid_core.calibration",
        "pyramid_core.profiles",
        "pyramid_core.prices",
        "pyramid_core.tool_schemas",
        "pyramid_core.price_lists",
        "pyramid_core.sandbox",
        "pyramid_core.records",
    ),
    # 2: what is seen in a crowd's answers, and what to do about it
    (
        "pyramid_core.features",
        "pyramid_core.decision",
        "pyramid_core.foresight",
        "pyramid_core.guarding",
        "pyramid_core.monitoring",
    ),
    # 3: one query as a machine without I/O, the routers it asks, the evidence it may ask for
    (
        "pyramid_core.commands",
        "pyramid_core.facts",
        "pyramid_core.deliberation",
        "pyramid_core.routers",
        "pyramid_core.evidence",
    ),
    # 4: clocks, tasks, threads, sockets
    ("pyramid_core._drive", "pyramid_core.endpoints"),
    # 5: what a user holds
    (
        "pyramid_core.pyramid",
        "pyramid_core.training",
        "pyramid_core.evaluation",
        "pyramid_core.collection",
        "pyramid_core.embedded",
        "pyramid_core.configuration",
    ),
    # the front door of the core
    ("pyramid_core",),
    # 6: the frameworks, which never import each other
    ("langchain_pyramid", "llamaindex_pyramid", "pyramid_core.gateway"),
    # 7: the command line
    ("pyramid_core.cli",),
)

# Imports between two units of one floor, each with its reason.
SIDEWAYS = {
    ("pyramid_core.types", "pyramid_core.errors"): "the words refuse what they cannot mean",
    (
        "pyramid_core.errors",
        "pyramid_core.types",
    ): "an error carries failures and trace: names for the type checker only",
    (
        "pyramid_core.calls",
        "pyramid_core.text",
    ): "values in arguments are compared in the texts' normal forms",
    ("pyramid_core.equivalence", "pyramid_core.calls"): "calls are the same call by their schemas",
    (
        "pyramid_core.equivalence",
        "pyramid_core.text",
    ): "answers are equivalent after normalisation and extraction",
    (
        "pyramid_core.records",
        "pyramid_core.text",
    ): "a record says where features read only the ends of a text",
    ("pyramid_core.price_lists", "pyramid_core.prices"): "what a list says becomes a price",
    (
        "pyramid_core.endpoints",
        "pyramid_core._drive",
    ): "a call on a thread looks whether the driver has abandoned it",
    ("pyramid_core.evaluation", "pyramid_core.training"): "cross-validation trains inside each fold",
    ("pyramid_core.configuration", "pyramid_core.pyramid"): "a configuration describes a pyramid",
    ("pyramid_core.configuration", "pyramid_core.embedded"): "a member may be an embedded model",
    ("pyramid_core.collection", "pyramid_core.pyramid"): "it asks the members of a pyramid",
    ("pyramid_core.collection", "pyramid_core.evaluation"): "answers are graded as they come",
    ("pyramid_core.facts", "pyramid_core.commands"): "one of the facts is how it ended, which is a command",
    ("pyramid_core.deliberation", "pyramid_core.commands"): "commands are what a deliberation says",
    ("pyramid_core.deliberation", "pyramid_core.facts"): "what is so, apart from what follows from it",
}
# The one pair that goes both ways.
MUTUAL = {("pyramid_core.types", "pyramid_core.errors"), ("pyramid_core.errors", "pyramid_core.types")}

# Who may import what from outside: these units, or every floor from this one up. Whatever is not here and not in the
# standard library may not be imported at all.
OUTSIDE: dict[str, tuple[str, ...] | int] = {
    "numpy": 1,
    "rapidfuzz": 1,
    "aiohttp": ("pyramid_core.endpoints",),
    "certifi": ("pyramid_core.endpoints",),
    "jsonschema": ("pyramid_core.tool_schemas",),
    "genai_prices": ("pyramid_core.price_lists",),
    "rich": ("pyramid_core.cli",),
    "typer": ("pyramid_core.cli",),
    "xgboost": ("pyramid_core.routers", "pyramid_core.training"),
    "sentence_transformers": ("pyramid_core.evidence", "langchain_pyramid"),
    "starlette": ("pyramid_core.gateway",),
    "uvicorn": ("pyramid_core.gateway", "pyramid_core.cli"),
    "h11": ("pyramid_core.gateway",),
    "opentelemetry": ("pyramid_core.gateway",),
    "pydantic": ("langchain_pyramid", "llamaindex_pyramid"),
    "langchain_core": ("langchain_pyramid",),
    "langchain": ("langchain_pyramid",),
    "langgraph": ("langchain_pyramid",),
    "llama_index": ("llamaindex_pyramid",),
    # Deliberations are driven in one place, `_drive`; the others use asyncio for I/O and computing of their own.
    "asyncio": (
        "pyramid_core._drive",
        "pyramid_core.endpoints",
        "pyramid_core.collection",
        "pyramid_core.embedded",
        "pyramid_core.gateway",
        "pyramid_core.cli",
        "langchain_pyramid",
        "llamaindex_pyramid",
    ),
}

HOUSE = House(floors=FLOORS, sideways=SIDEWAYS, outside=OUTSIDE)

# A deliberation owns no clock, thread, task or socket.
SANS_IO = (
    "pyramid_core.decision",
    "pyramid_core.features",
    "pyramid_core.foresight",
    "pyramid_core.guarding",
    "pyramid_core.commands",
    "pyramid_core.facts",
    "pyramid_core.deliberation",
)
IO_MODULES = {"asyncio", "concurrent", "queue", "selectors", "socket", "subprocess", "threading", "time"}

HEAVY = {
    "langchain",
    "langchain_core",
    "langgraph",
    "llama_index",
    "sentence_transformers",
    "torch",
    "xgboost",
}
NOT_AT_THE_FRONT_DOOR = HEAVY | {"aiohttp", "genai_prices", "httpx", "rich", "typer"}


@pytest.fixture(scope="module")
def modules():
    return read_modules(ROOT, PACKAGES)


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


class TestFloors:
    def test_imports_go_strictly_downward(self, modules):
        found = HOUSE.violations(modules)
        assert not found, "\n".join(found)

    def test_no_unit_stands_on_two_floors(self):
        units = [unit for floor in FLOORS for unit in floor]
        assert len(units) == len(set(units))

    def test_sideways_imports_stay_on_one_floor(self):
        assert [pair for pair in SIDEWAYS if HOUSE.floor(pair[0]) != HOUSE.floor(pair[1])] == []

    def test_sideways_imports_go_one_way_but_for_the_words_and_their_errors(self):
        assert {(a, b) for a, b in SIDEWAYS if (b, a) in SIDEWAYS} == MUTUAL

    def test_the_deliberation_and_what_it_asks_do_no_io(self, modules):
        names = {module.name for module in modules}
        found = [
            f"{module.name}:{line} imports {target}"
            for module in modules
            if HOUSE.unit(module.name) in SANS_IO
            for line, target in imports(module, names)
            if target.partition(".")[0] in IO_MODULES
        ]
        assert found == []


class TestFloorChecker:
    """The checker itself finds what it is there to find."""

    BELOW = Module.parse("pyramid_core.types", "")

    @pytest.mark.parametrize(
        ("name", "source", "complaint"),
        [
            ("pyramid_core.text", "import pyramid_core.decision", "further up"),
            ("pyramid_core.text", "from pyramid_core.decision import x", "further up"),
            ("pyramid_core.text", "from pyramid_core import decision", "further up"),
            ("pyramid_core.text", "from . import decision", "further up"),
            ("pyramid_core.text", "from .decision import x", "further up"),
            ("pyramid_core.text", "def f():\n    from pyramid_core import decision", "further up"),
            ("pyramid_core.text", "if TYPE_CHECKING:\n    from pyramid_core.decision import x", "further up"),
            (
                "pyramid_core.text",
                "import importlib\nimportlib.import_module('pyramid_core.decision')",
                "further up",
            ),
            ("pyramid_core.features.deep", "from ...pyramid_core.pyramid import x", "further up"),
            ("pyramid_core.text", "from pyramid_core import Pyramid", "further up"),
            ("pyramid_core.text", "from pyramid_core import prices", "same floor"),
            ("langchain_pyramid.chat", "import llamaindex_pyramid.llm", "same floor"),
            ("langchain_pyramid.chat", "from pyramid_core.gateway import app", "same floor"),
            ("pyramid_core.text", "import pyramid_core.nowhere", "on no floor"),
            ("pyramid_core.nowhere", "", "on no floor"),
            ("pyramid_core.types.answers", "import numpy", "begins at floor 1"),
            ("pyramid_core.features", "import xgboost", "belongs to"),
            ("pyramid_core.decision", "import asyncio.tasks", "belongs to"),
            ("langchain_pyramid.chat", "from llama_index.core.llms import LLM", "belongs to"),
            ("pyramid_core.text", "import pandas", "not a dependency"),
        ],
    )
    def test_complains_of(self, name, source, complaint):
        others = [Module.parse(f"pyramid_core.{unit}", "") for unit in ("decision", "prices", "pyramid")]
        modules = [m for m in others if m.name != name] + [Module.parse(name, source)]
        found = HOUSE.violations(modules)
        assert len(found) == 1
        assert complaint in found[0]

    @pytest.mark.parametrize(
        ("name", "source"),
        [
            ("pyramid_core.text", "import re, numpy, rapidfuzz.fuzz\nfrom pyramid_core.types import Answer"),
            ("pyramid_core.equivalence", "from pyramid_core import text"),
            (
                "pyramid_core.features.agreement",
                "from pyramid_core.features import lengths\nfrom .lengths import x",
            ),
            ("pyramid_core.routers", "def export():\n    import xgboost"),
            (
                "langchain_pyramid.chat",
                "from pyramid_core import Pyramid\nfrom langchain_core.messages import AIMessage",
            ),
            ("pyramid_core.cli.demo", "from pyramid_core import Pyramid\nimport langchain_pyramid"),
        ],
    )
    def test_accepts(self, name, source):
        assert (
            HOUSE.violations([self.BELOW, Module.parse("pyramid_core.text", ""), Module.parse(name, source)])
            == []
        )

    def test_relative_imports_of_a_package_start_in_it(self):
        package = Module.parse(
            "pyramid_core.features", "from .lengths import x\nfrom ..types import y", is_package=True
        )
        assert [target for _, target in imports(package, set())] == [
            "pyramid_core.features.lengths",
            "pyramid_core.types",
        ]

    def test_measures_a_function_from_def_to_end(self):
        module = Module.parse(
            "m", "def f():\n" + "    x = 1\n" * 60 + "async def g():\n" + "    x = 1\n" * 59
        )
        assert long_functions(module, 60) == ["m:1 f has 61 lines"]


class TestSizes:
    def test_modules_have_at_most_400_lines(self):
        paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
        lengths = {
            str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths
        }
        assert {path: n for path, n in lengths.items() if n > 400} == {}

    def test_functions_have_at_most_60_lines(self, modules):
        assert [found for module in modules for found in long_functions(module, 60)] == []


class TestImports:
    def test_the_core_loads_no_framework_and_nothing_heavy(self):
        assert loaded_by("import pyramid_core") & NOT_AT_THE_FRONT_DOOR == set()

    def test_no_module_of_the_core_loads_a_framework_or_xgboost_on_import(self, modules):
        names = [module.name for module in modules if module.name.startswith("pyramid_core")]
        names = [name for name in names if not name.startswith(("pyramid_core.gateway", "pyramid_core.cli"))]
        assert loaded_by("import " + ", ".join(names)) & HEAVY == set()

    def test_the_probe_sees_what_is_loaded(self):
        assert "rapidfuzz" in loaded_by("import rapidfuzz.fuzz")

    @pytest.mark.parametrize(
        ("package", "needs", "extra"),
        [
            ("langchain_pyramid", "langchain_core", "langchain"),
            ("llamaindex_pyramid", "llama_index", "llamaindex"),
        ],
    )
    def test_a_package_without_its_extra_says_which_to_install(self, package, needs, extra):
        code = (
            "import sys\n"
            "class Absent:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name.partition('.')[0] == {needs!r}: raise ModuleNotFoundError(name, name=name)\n"
            "sys.meta_path.insert(0, Absent())\n"
            f"try:\n    import {package}\n"
            "except ImportError as error: print(error)\n"
        )
        run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
        assert f'pip install "pyramid-moa[{extra}]"' in run.stdout

    @pytest.mark.parametrize("package", PACKAGES)
    def test_a_package_ships_its_types(self, package):
        assert (ROOT / package / "py.typed").is_file()


class TestTrackedFiles:
    # Folders of one developer's machine, and hosts that a mirror or a proxy would replace.
    FORBIDDEN = re.compile(r"/(?:work|farm|root)/[a-z.]|/home/[a-z]+/|pypi\.org|pythonhosted\.org")

    def test_name_no_folder_of_a_machine_and_no_registry(self):
        if not (ROOT / ".git").exists():
            pytest.skip("not a git checkout: which files are tracked is not known")
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        found = []
        for name in filter(None, listed.stdout.split("\0")):
            try:
                text = (ROOT / name).read_text(encoding="utf-8")
            except (UnicodeDecodeError, FileNotFoundError):  # Weights; a file that is being removed.
                continue
            found += [
                f"{name}:{number}: {line.strip()[:100]}"
                for number, line in enumerate(text.splitlines(), 1)
                if self.FORBIDDEN.search(line)
            ]
        assert [hit for hit in found if not hit.startswith("tests/test_house.py:")] == []

    @pytest.mark.parametrize(
        "text", ["see /" + "work/main", "/" + "home/ann/x", "https://" + "pypi.org/simple"]
    )
    def test_the_pattern_finds_such_names(self, text):
        assert self.FORBIDDEN.search(text)


class TestNetwork:
    """Tests reach this machine and no other."""

    def test_a_connection_elsewhere_is_refused(self):
        with socket.socket() as s, pytest.raises(OutsideWorldError, match=r"192\.0\.2\.1"):
            s.connect(("192.0.2.1", 80))

    def test_a_datagram_elsewhere_is_refused(self):
        with socket.socket(type=socket.SOCK_DGRAM) as s, pytest.raises(OutsideWorldError):
            s.sendto(b"x", ("192.0.2.1", 53))

    def test_a_name_elsewhere_is_not_looked_up(self):
        with pytest.raises(OutsideWorldError, match=r"example\.com"):
            socket.getaddrinfo("example.com", 80)

    def test_loopback_works(self):
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
        ):
            assert client.getpeername() == server.getsockname()
