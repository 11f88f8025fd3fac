"""Reads which module imports which, for the test of the floors.

A *unit* is a module or a sub-package that stands on one floor; what is inside a unit may import freely. Every import
statement counts, wherever it stands: at the top, inside a function, under `TYPE_CHECKING`, and a call of
`importlib.import_module` with a literal name.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Module:
    """One module's source.

    Attributes:
        name: dotted; a package is named without `__init__`.
        is_package: whether it is an `__init__.py`, from which relative imports start one step lower.
        tree: its syntax tree.
    """

    name: str
    is_package: bool
    tree: ast.Module

    @classmethod
    def parse(cls, name: str, source: str, *, is_package: bool = False) -> "Module":
        return cls(name=name, is_package=is_package, tree=ast.parse(source))


@dataclass(frozen=True, kw_only=True)
class House:
    """The rules.

    Attributes:
        floors: the units, lowest floor first.
        sideways: (importer, imported) on one floor -> why that is right.
        outside: top-level package from outside -> the units that may import it, or the lowest floor that may.
    """

    floors: tuple[tuple[str, ...], ...]
    sideways: Mapping[tuple[str, str], str]
    outside: Mapping[str, tuple[str, ...] | int]

    def floor(self, unit: str) -> int:
        return next(i for i, units in enumerate(self.floors) if unit in units)

    def unit(self, dotted: str) -> str | None:
        """The unit that `dotted` lies in; None where no floor has it."""
        units = {unit for floor in self.floors for unit in floor}
        if dotted in units:
            return dotted
        parts = dotted.split(".")
        # The root package is a unit of its own (its `__init__`), not a home for whatever is not on the table.
        starts = (".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
        return next((start for start in starts if start in units and start != "pyramid_core"), None)

    def violations(self, modules: list[Module]) -> list[str]:
        """One sentence for each import that goes up, sideways without a reason, or out where it may not."""
        found = []
        for module in modules:
            here = self.unit(module.name)
            if here is None:
                found.append(f"{module.name} is on no floor: give it one in the table")
                continue
            for line, target in imports(module, {m.name for m in modules}):
                problem = self._problem(here, target)
                if problem:
                    found.append(f"{module.name}:{line} imports {target}: {problem}")
        return found

    def _problem(self, here: str, target: str) -> str | None:
        root = target.partition(".")[0]
        if root not in {unit.partition(".")[0] for floor in self.floors for unit in floor}:
            return self._outside_problem(here, root)
        there = self.unit(target)
        if there is None:
            return "it is on no floor"
        if here == there or (here, there) in self.sideways:
            return None
        if self.floor(there) > self.floor(here):
            return "that is further up"
        if self.floor(there) == self.floor(here):
            return "that is on the same floor, and no reason is listed"
        return None

    def _outside_problem(self, here: str, root: str) -> str | None:
        allowed = self.outside.get(root)
        if allowed is None:
            standard = root in sys.stdlib_module_names
            return None if standard else f"{root} is not a dependency on the table"
        if isinstance(allowed, int):
            return None if self.floor(here) >= allowed else f"{root} begins at floor {allowed}"
        return None if here in allowed else f"{root} belongs to {', '.join(allowed)}"


def imports(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Every (line, dotted name) that `module` imports; `known` tells a sub-module from a name in a package."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node.module or "", node.level)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in known else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "importlib.import_module",
            "import_module",
            "__import__",
        }:
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                level = len(name.value) - len(name.value.lstrip("."))
                yield node.lineno, _absolute(module, name.value[level:], level)


def _absolute(module: Module, name: str, level: int) -> str:
    if level == 0:
        return name
    parts = module.name.split(".")
    kept = parts[: len(parts) - level + module.is_package]
    return ".".join([*kept, name] if name else kept)


def read_modules(root: Path, packages: tuple[str, ...]) -> list[Module]:
    """Every module of `packages` under `root`, in order of its path."""
    modules = []
    for path in sorted(path for package in packages for path in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module.parse(name, path.read_text(encoding="utf-8"), is_package=is_package))
    return modules


def long_functions(module: Module, limit: int) -> list[str]:
    """Each function of more than `limit` lines, from its `def` to its end, docstring included."""
    return [
        f"{module.name}:{node.lineno} {node.name} has {length} lines"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > limit
    ]
