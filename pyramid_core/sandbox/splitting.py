"""Tests taken apart: what goes to the program (calls and their arguments), and what is compared outside.

`assert f([3, 1]) == [1, 3]` becomes the call `f([3, 1])` and the comparison of its value with `[1, 3]`. A program
cannot return what it cannot know, patch a comparison that happens elsewhere, or leave before one. Functions that are
called with the program's own (`check(candidate)`) are opened, and loops over literal cases are unrolled. What cannot
be taken apart (a comparison by the test's own helper, a loop over computed cases) runs in the sandbox as it stands and
is marked `forgeable`.
"""

from __future__ import annotations

import ast
import contextlib
import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from pyramid_core.sandbox.comparing import FUNCTIONS, evaluated
from pyramid_core.sandbox.opening import opened
from pyramid_core.sandbox.programs import parsed
from pyramid_core.sandbox.sandbox import Call, Result


@dataclass(frozen=True, kw_only=True)
class Check:
    """What must hold of some results.

    Attributes:
        source: the test as it was written.
        places: the calls whose results it is about.
        condition: an expression in which the names `0`, `1`, ... stand for these results' values; None: the calls
            must come to an end without an exception, and no more.
        names: the values of its other names.
    """

    source: str
    places: tuple[int, ...]
    condition: ast.expr | None
    names: Mapping[str, Any]

    def holds(self, results: Sequence[Result]) -> bool:
        """Whether it holds; a call that gave no value, or was not made, fails it."""
        wanted = [results[place] for place in self.places if place < len(results)]
        if len(wanted) < len(self.places) or any(result.status != "value" for result in wanted):
            return False
        if self.condition is None:
            return True
        values = {str(at): result.value for at, result in enumerate(wanted)}
        try:
            return bool(evaluated(self.condition, {**self.names, **values}))
        except Exception:  # noqa: BLE001 - comparing what cannot be compared fails a test, whatever it raises.
            return False


@dataclass(frozen=True, kw_only=True)
class Tests:
    """The calls to make, in order, and what must hold of their results."""

    calls: tuple[Call, ...]
    checks: tuple[Check, ...]

    @property
    def forgeable(self) -> bool:
        """Whether a part of the expected results is among what the program can see."""
        return any(call.forgeable for call in self.calls)

    def passed(self, results: Sequence[Result]) -> bool:
        """Whether every check holds."""
        return all(check.holds(results) for check in self.checks)

    def failed_at(self, place: int, result: Result) -> bool:
        """Whether a check that is about this call alone fails: nothing after it can save the test."""
        return any(
            check.places == (place,) and not check.holds([result] * (place + 1)) for check in self.checks
        )


def split(source: str, *, own: Collection[str] = ()) -> Tests | None:
    """The calls and the checks of a test: asserts, with whatever they need before them.

    Args:
        source: the test.
        own: the names that the program defines, where Python has a function of that name (`sum`).

    Returns:
        None where `source` is not Python or asserts nothing.
    """
    tree = parsed(source)
    if tree is None:
        return None
    try:
        statements = list(opened(tree.body))
        tests = _Splitter(statements, FUNCTIONS.keys() - set(own)).tests()
    except RecursionError:
        return None
    return tests if tests.checks and any(isinstance(node, ast.Assert) for node in ast.walk(tree)) else None


class _Inseparable(Exception):
    """A test whose comparison cannot be told from what the program is given."""


class _Splitter:
    """One test's statements, taken apart.

    A name with a literal value is a constant, known outside and not sent, unless the program is given it: then what
    it stands for may change there, and the sandbox alone knows it.
    """

    def __init__(self, statements: Sequence[ast.stmt], functions: AbstractSet[str]) -> None:
        self.statements = statements
        self.functions = functions
        self.owned = {name for statement in statements for name in _defined(statement)}
        self.constants = self._literals()
        while True:
            given = {name for part in self._sent() for name in _names(part)}
            kept = {name: value for name, value in self.constants.items() if name not in given}
            if len(kept) == len(self.constants):
                break
            self.constants = kept

    def tests(self) -> Tests:
        """The calls and the checks."""
        calls: list[Call] = []
        checks: list[Check] = []
        for statement in self.statements:
            if self._is_constant(statement):
                continue
            places: range | tuple[int, ...]
            try:
                condition, parts = self._divided_assert(statement)
            except _Inseparable:
                tested = any(isinstance(node, ast.Assert) for node in ast.walk(statement))
                source = ast.unparse(ast.fix_missing_locations(statement))
                calls.append(Call(source=source, kind="exec", again=not tested, forgeable=tested))
                condition, places = None, (len(calls) - 1,)
            else:
                places = range(len(calls), len(calls) + len(parts))
                calls += [Call(source=ast.unparse(part)) for part in parts]
            source = ast.unparse(ast.fix_missing_locations(statement))
            checks.append(
                Check(source=source, places=tuple(places), condition=condition, names=self.constants)
            )
        return Tests(calls=tuple(calls), checks=tuple(checks))

    def _literals(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        twice: set[str] = set()
        for statement in self.statements:
            for name in _defined(statement):
                if name in found:
                    twice.add(name)
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                with contextlib.suppress(Exception):  # Whatever it raises, it is no literal.
                    found[statement.targets[0].id] = evaluated(statement.value, found)
        return {name: value for name, value in found.items() if name not in twice}

    def _is_constant(self, statement: ast.stmt) -> bool:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        plain = isinstance(statement, ast.Pass) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        )
        return plain or (isinstance(target, ast.Name) and target.id in self.constants)

    def _sent(self) -> Iterator[ast.AST]:
        """What goes into the sandbox, as things stand."""
        for statement in self.statements:
            if not self._is_constant(statement):
                try:
                    yield from self._divided_assert(statement)[1]
                except _Inseparable:
                    yield statement

    def _divided_assert(self, statement: ast.stmt) -> tuple[ast.expr, list[ast.expr]]:
        if not isinstance(statement, ast.Assert):
            raise _Inseparable
        parts: list[ast.expr] = []
        return self._divided(statement.test, parts), parts

    def _divided(self, node: ast.expr, parts: list[ast.expr]) -> ast.expr:
        """The expression with numbered names for what the sandbox evaluates, which is added to `parts`."""
        if self._belongs_inside(node):
            parts.append(node)
            return ast.Name(str(len(parts) - 1), ast.Load())
        match node:
            case ast.Constant() | ast.Name():
                return node
            case ast.Attribute(value=ast.Name(id="math")):
                return node
            case ast.Tuple() | ast.List() | ast.Set():
                whole = copy.copy(node)
                whole.elts = [self._divided(item, parts) for item in node.elts]
                return whole
            case ast.Dict() if None not in node.keys:
                keys = [self._divided(key, parts) for key in node.keys if key is not None]
                return ast.Dict(keys=[*keys], values=[self._divided(value, parts) for value in node.values])
            case ast.UnaryOp():
                return ast.UnaryOp(node.op, self._divided(node.operand, parts))
            case ast.BinOp():
                return ast.BinOp(self._divided(node.left, parts), node.op, self._divided(node.right, parts))
            case ast.BoolOp():
                return ast.BoolOp(node.op, [self._divided(value, parts) for value in node.values])
            case ast.Compare():
                left = self._divided(node.left, parts)
                return ast.Compare(left, node.ops, [self._divided(item, parts) for item in node.comparators])
            case ast.Subscript(slice=ast.Constant() | ast.UnaryOp()):
                return ast.Subscript(self._divided(node.value, parts), node.slice, ast.Load())
            case ast.Call() if self._plain_function(node.func):
                words = [ast.keyword(word.arg, self._divided(word.value, parts)) for word in node.keywords]
                return ast.Call(node.func, [self._divided(item, parts) for item in node.args], words)
        raise _Inseparable

    def _belongs_inside(self, node: ast.expr) -> bool:
        """Whether the sandbox evaluates this whole expression, and may: it holds nothing but the program's input."""
        if isinstance(node, ast.Call) and self._plain_function(node.func):
            return bool(node.args) and all(self._belongs_inside(item) for item in node.args)
        root, calls = _chain(node)
        if not isinstance(root, ast.Name) or root.id in self.constants:
            return False
        if root.id in self.functions or root.id == "math":
            return False
        for at, call in enumerate(calls):
            given = [*call.args, *(word.value for word in call.keywords)]
            # A value's method with arguments ("...".startswith("ab")), or the test's own helper, may compare.
            on_value = at < len(calls) - 1 and not _makes_object(calls[at + 1])
            helper = root.id in self.owned and at == len(calls) - 1 and root.id not in self._aliases()
            holds_call = any(self._of_program(item) for item in given)
            if given and (on_value or (helper and holds_call and len(given) > 1)):
                raise _Inseparable
        return True

    def _plain_function(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return isinstance(node.value, ast.Name) and node.value.id == "math"
        return isinstance(node, ast.Name) and node.id in self.functions and node.id not in self.owned

    def _of_program(self, node: ast.expr) -> bool:
        """Whether an expression names something that is neither the test's own nor Python's."""
        others = (self.owned - self._aliases()) | self.functions | {"math"}
        return any(name not in others for name in _names(node))

    def _aliases(self) -> set[str]:
        """Names that the test gives to the program's functions and to results."""
        return {
            s.targets[0].id
            for s in self.statements
            if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name)
        }


def _chain(node: ast.expr) -> tuple[ast.expr, list[ast.Call]]:
    """Where a chain of calls, attributes and subscripts begins, and its calls, the last first."""
    calls = []
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Call):
            calls.append(node)
            node = node.func
        else:
            node = node.value
    return node, calls


def _makes_object(call: ast.Call) -> bool:
    """Whether a call is that of a class, by its name: `Solution().solve(3)` gives arguments to the program."""
    return isinstance(call.func, ast.Name) and call.func.id[:1].isupper()


def _names(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _defined(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement defines at the top level."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
