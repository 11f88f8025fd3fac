"""What is promised to whoever installs the distribution: extras, ranges and a lock that fit together, no GPU builds."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import pyramid_core

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()
}
LOCK = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)
LOCKED = {canonicalize_name(name): Version(version) for name, version in LOCK.items()}
FOR_USERS = {"langchain", "llamaindex", "train", "semantic", "agents", "endpoints", "prices", "serve", "otel"}
# What `make lock` resolves; torch's CPU builds have an index of their own, so what needs torch is not in the lock.
IN_THE_LOCK = sorted((FOR_USERS - {"semantic"}) | {"dev"})


def brings(extra: str) -> set[str]:
    """The names of the distributions that an extra asks for, through the extras that it includes."""
    names = set()
    for requirement in EXTRAS[extra]:
        if requirement.name == "pyramid-moa":
            names |= {name for inner in requirement.extras for name in brings(inner)}
        else:
            names.add(requirement.name)
    return names


def test_every_extra_is_there():
    assert set(EXTRAS) == FOR_USERS | {"all", "dev", "embedded-train"}


def test_all_brings_what_the_others_bring():
    assert brings("all") == {name for extra in FOR_USERS for name in brings(extra)}


def test_no_framework_brings_the_other():
    assert not {name for name in brings("langchain") | brings("agents") if name.startswith("llama")}
    assert not {name for name in brings("llamaindex") if name.startswith("lang")}


def test_only_training_the_embedded_models_asks_for_torch():
    assert [extra for extra in sorted(EXTRAS) if "torch" in brings(extra)] == ["embedded-train"]


def test_linux_never_gets_the_gpu_build_of_xgboost():
    linux = {"sys_platform": "linux"}
    named = [r.name for r in EXTRAS["train"] if r.marker is None or r.marker.evaluate(linux)]
    assert named == ["xgboost-cpu"]


def test_the_core_asks_for_four_libraries():
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == {
        "numpy",
        "rapidfuzz",
        "rich",
        "typer",
    }


def test_dependencies_are_ranges_not_pins():
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in map(str, extra))]
    outside = [r for r in map(Requirement, lines) if r.name != "pyramid-moa"]
    assert [str(r) for r in outside if {s.operator for s in r.specifier}.isdisjoint({">=", "~="})] == []
    assert [str(r) for r in outside if any(s.operator == "==" for s in r.specifier)] == []


def test_the_lock_holds_no_gpu_build_and_no_torch():
    assert [name for name in LOCKED if re.match(r"torch|nvidia|triton|xgboost$", name)] == []


@pytest.mark.parametrize("extra", ["", *IN_THE_LOCK])
def test_the_lock_fits_the_ranges(extra):
    lines = EXTRAS[extra] if extra else [Requirement(line) for line in PROJECT["dependencies"]]
    here = [
        r
        for r in lines
        if r.name != "pyramid-moa" and (r.marker is None or r.marker.evaluate({"sys_platform": "linux"}))
    ]
    assert [r.name for r in here if canonicalize_name(r.name) not in LOCKED] == []
    assert [str(r) for r in here if LOCKED[canonicalize_name(r.name)] not in r.specifier] == []


def test_the_changelog_has_this_version():
    assert f"## [{pyramid_core.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
