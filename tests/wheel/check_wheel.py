"""`make test-wheel`: what a user gets from the built wheel, seen in fresh environments, one for each framework.

The wheel is built from the working tree and must hold every tracked file of the packages. In each environment it is
first installed bare, where importing a framework's package must name the missing extra, and then with its extra, where
the import must work and `pip list` must show nothing of the other framework. Ends with 1 where any of this fails.

Usage: python tests/wheel/check_wheel.py [arguments for every pip install]
"""

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "wheel"
PACKAGES = ("pyramid_core", "langchain_pyramid", "llamaindex_pyramid")
# pip names of each framework start with one of these.
LANGCHAIN = ("langchain", "langgraph", "langsmith")
LLAMAINDEX = ("llama-index", "llama-cloud", "llama-parse")
NEVER = ("torch", "nvidia-", "xgboost")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One environment: which extra it gets, which package that opens, and whose distributions may not come."""

    extra: str
    package: str
    own: tuple[str, ...]
    foreign: tuple[str, ...]


CASES = (
    Case(extra="langchain", package="langchain_pyramid", own=LANGCHAIN, foreign=LLAMAINDEX),
    Case(extra="llamaindex", package="llamaindex_pyramid", own=LLAMAINDEX, foreign=LANGCHAIN),
)


class Report:
    """Prints each check as it falls and remembers whether all held."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, name: str, problem: str) -> None:
        """Report `name` as held where `problem` is empty."""
        self.failed += bool(problem)
        print(f"  FAILED  {name}: {problem}" if problem else f"  ok      {name}", flush=True)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout, so that nothing is imported from it."""
    return subprocess.run([str(c) for c in command], cwd=WORK, capture_output=True, text=True, check=False)


def must(*command: str | Path) -> str:
    """Run a command that the checks rest on; its output, or the end of everything."""
    done = run(*command)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_wheel() -> Path:
    """Build the wheel into an empty folder."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    must(sys.executable, "-m", "build", "--wheel", "--outdir", WORK / "dist", ROOT)
    (wheel,) = (WORK / "dist").glob("*.whl")
    return wheel


def missing_from(wheel: Path) -> list[str]:
    """The packages' tracked files that the wheel lacks."""
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    return sorted(name for name in listed if name and (ROOT / name).exists() and name not in held)


def importing(python: Path, package: str) -> str:
    """Import `package`; "" where that works, otherwise the last line of the error."""
    done = run(python, "-I", "-c", f"import {package}")
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def installed(python: Path) -> list[str]:
    """What `pip list` lists."""
    listed = json.loads(must(python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"))
    return sorted(f"{item['name'].lower()}=={item['version']}" for item in listed)


def check_case(case: Case, wheel: Path, pip_args: Sequence[str], report: Report) -> None:
    """One environment, bare and then with its extra."""
    folder = WORK / case.extra
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["-c", str(ROOT / "constraints.txt"), *pip_args]

    print(f"\n{wheel.name}, bare:", flush=True)
    must(*pip, wheel)
    report.check("pyramid_core imports", importing(python, "pyramid_core"))
    helped = run(python.with_name("pyramid"), "--help")
    report.check("the command runs", helped.stderr.strip().rpartition("\n")[2] if helped.returncode else "")
    for other in CASES:
        said = importing(python, other.package)
        wanted = f'pip install "pyramid-moa[{other.extra}]"'
        report.check(f"{other.package} asks for its extra", "" if wanted in said else said or "it imports")
    report.check(
        "no framework comes along", ", ".join(starting(installed(python), LANGCHAIN + LLAMAINDEX + NEVER))
    )

    print(f"\n{wheel.name}[{case.extra}]:", flush=True)
    must(*pip, f"pyramid-moa[{case.extra}] @ {wheel.as_uri()}")
    report.check(f"{case.package} imports", importing(python, case.package))
    report.check(
        "pip check finds no conflict",
        run(python, "-m", "pip", "check").stdout.replace("No broken requirements found.", "").strip(),
    )
    have = installed(python)
    print("  pip list: " + " ".join(have), flush=True)
    report.check(
        "its framework comes along", "" if starting(have, case.own) else f"none of {', '.join(case.own)}"
    )
    report.check(
        "nothing of the other framework, no GPU build", ", ".join(starting(have, case.foreign + NEVER))
    )


def starting(names: list[str], starts: tuple[str, ...]) -> list[str]:
    """Those of `names` that begin with one of `starts`."""
    return [name for name in names if name.startswith(starts)]


def main(pip_args: Sequence[str]) -> int:
    """Build, install, look; 0 where everything holds."""
    report = Report()
    wheel = build_wheel()
    print(f"{wheel.name}:", flush=True)
    report.check("holds every tracked file of the packages", ", ".join(missing_from(wheel)))
    for case in CASES:
        check_case(case, wheel, pip_args, report)
    print(f"\n{report.failed} checks failed" if report.failed else "\nall checks held")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
