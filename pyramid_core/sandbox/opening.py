"""Tests opened: functions that a test calls with the program's own, and loops over literal cases, as plain asserts."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence

_MOST_ROWS = 1_000


def opened(body: Sequence[ast.stmt], outer: Mapping[str, ast.expr] | None = None) -> Iterator[ast.stmt]:
    """The statements, with functions that are called once with plain names, and loops over literals, opened."""
    functions = {s.name: s for s in body if isinstance(s, ast.FunctionDef) and _can_be_opened(s)}
    literals = dict(outer or {}) | {
        s.targets[0].id: s.value
        for s in body
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name) and len(s.targets) == 1
    }
    calls = [s.value for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
    once = {
        call.func.id: call
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id in functions
        and not call.keywords
        and all(isinstance(item, ast.Name) for item in call.args)
        and len(call.args) == len(functions[call.func.id].args.args)
    }
    for statement in body:
        if isinstance(statement, ast.FunctionDef) and statement.name in once:
            continue
        if (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Call)
            and isinstance(statement.value.func, ast.Name)
            and once.get(statement.value.func.id) is statement.value
        ):
            function = functions[statement.value.func.id]
            for parameter, given in zip(function.args.args, statement.value.args, strict=True):
                yield ast.Assign(targets=[ast.Name(parameter.arg, ast.Store())], value=given, lineno=0)
            yield from opened(function.body, literals)
        elif isinstance(statement, ast.For):
            yield from _unrolled(statement, literals)
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            yield from opened(statement.body, literals)
        else:
            yield statement


def _can_be_opened(function: ast.FunctionDef) -> bool:
    plain = not (
        function.args.vararg or function.args.kwarg or function.args.kwonlyargs or function.decorator_list
    )
    strange = (ast.Return, ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal)
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(function))
    return plain and asserts and not any(isinstance(node, strange) for node in ast.walk(function))


def _unrolled(loop: ast.For, literals: Mapping[str, ast.expr]) -> Iterator[ast.stmt]:
    """The asserts of a loop over literal cases, once for each case; the loop itself where it is another."""
    rows = _rows(loop.iter, literals)
    if loop.orelse or rows is None or not all(isinstance(s, ast.Assert) for s in loop.body):
        yield loop
        return
    bindings = [_bound(loop.target, row) for row in rows]
    if any(binding is None for binding in bindings):
        yield loop
        return
    for binding in bindings:
        for statement in loop.body:
            yield _Put(binding or {}).visit(copy.deepcopy(statement))


def _rows(node: ast.expr, literals: Mapping[str, ast.expr]) -> list[ast.expr] | None:
    found: list[ast.expr] | None = None
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            found = list(items)
        case ast.Name(id=name) if name in literals and not isinstance(literals[name], ast.Name):
            found = _rows(literals[name], literals)
        case ast.Call(func=ast.Name(id="zip"), args=parts, keywords=[]) if parts:
            columns = [_rows(part, literals) for part in parts]
            if all(column is not None for column in columns):
                found = [
                    ast.Tuple(list(row), ast.Load()) for row in zip(*(c or [] for c in columns), strict=False)
                ]
        case ast.Call(func=ast.Name(id="enumerate"), args=[part], keywords=[]):
            rows = _rows(part, literals)
            if rows is not None:
                found = [ast.Tuple([ast.Constant(at), row], ast.Load()) for at, row in enumerate(rows)]
    usable = (
        found is not None and len(found) <= _MOST_ROWS and not any(isinstance(r, ast.Starred) for r in found)
    )
    return found if usable else None


def _bound(target: ast.expr, row: ast.expr) -> dict[str, ast.expr] | None:
    """What each name of a loop's target stands for in one row."""
    if isinstance(target, ast.Name):
        return {target.id: row}
    if not isinstance(target, ast.Tuple | ast.List) or not isinstance(row, ast.Tuple | ast.List):
        return None
    if len(target.elts) != len(row.elts):
        return None
    found: dict[str, ast.expr] = {}
    for part, item in zip(target.elts, row.elts, strict=True):
        inner = _bound(part, item)
        if inner is None:
            return None
        found |= inner
    return found


class _Put(ast.NodeTransformer):
    """Puts expressions where names stand."""

    def __init__(self, binding: Mapping[str, ast.expr]) -> None:
        self.binding = binding

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.binding.get(node.id, node)) if isinstance(node.ctx, ast.Load) else node
