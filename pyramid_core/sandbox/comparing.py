"""Comparisons, made outside the sandbox: expressions over plain values, without a program's help.

An expression is evaluated on its syntax tree. It may hold literals, arithmetic, comparisons, and calls of the
functions in `FUNCTIONS` and `MATH`; anything else is refused, and so is whatever would take long (`Unsafe`).
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

MOST_ITEMS = 1_000_000
MOST_BITS = 100_000


class Unsafe(Exception):
    """The expression is none that is evaluated here."""


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(
            abs,
            all,
            any,
            bool,
            bytes,
            complex,
            dict,
            divmod,
            enumerate,
            float,
            frozenset,
            int,
            isinstance,
            len,
            list,
        ),
        *(max, min, range, reversed, round, set, sorted, str, sum, tuple, type, zip),
    )
}
FUNCTION_NAMES = tuple(sorted(FUNCTIONS))
"""Names that stand for Python's own function, unless a program defines them."""
MATH: Mapping[str, Any] = {
    name: getattr(math, name)
    for name in "ceil cos e exp fabs floor fsum inf isclose isfinite isinf isnan log nan pi sin sqrt tan".split()
}

_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    # Values that crossed a process boundary are never identical; the singletons and small numbers are.
    ast.Is: lambda a, b: a is b or (type(a) is type(b) and a == b),
    ast.IsNot: lambda a, b: not (a is b or (type(a) is type(b) and a == b)),
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def evaluated(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of an expression.

    Args:
        node: its syntax tree.
        names: the values of the names in it.

    Raises:
        Unsafe: something in it is not evaluated here.
        Exception: what the operations themselves raise (TypeError, ZeroDivisionError, ...).
    """
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _name(node.id, names)
        case ast.Tuple() | ast.List() | ast.Set():
            items = [evaluated(item, names) for item in node.elts]
            return (
                items
                if isinstance(node, ast.List)
                else set(items)
                if isinstance(node, ast.Set)
                else tuple(items)
            )
        case ast.Dict():
            if None in node.keys:
                raise Unsafe("** in a dict")
            keys = [evaluated(key, names) for key in node.keys if key is not None]
            return dict(zip(keys, (evaluated(value, names) for value in node.values), strict=True))
        case ast.UnaryOp():
            return _UNARY[type(node.op)](evaluated(node.operand, names))
        case ast.BinOp():
            return _arithmetic(type(node.op), evaluated(node.left, names), evaluated(node.right, names))
        case ast.BoolOp():
            value: Any = isinstance(node.op, ast.And)
            for part in node.values:
                value = evaluated(part, names)
                if bool(value) is isinstance(node.op, ast.Or):
                    break
            return value
        case ast.Compare():
            return _compared(node, names)
        case ast.Subscript():
            return evaluated(node.value, names)[evaluated(node.slice, names)]
        case ast.Call() | ast.Attribute():
            return _called(node, names)
    raise Unsafe(f"{type(node).__name__} is not evaluated outside")


def _name(name: str, names: Mapping[str, Any]) -> Any:
    if name in names:
        return names[name]
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    raise Unsafe(f"the name {name} is not known outside")


def _compared(node: ast.Compare, names: Mapping[str, Any]) -> bool:
    left = evaluated(node.left, names)
    for kind, part in zip(node.ops, node.comparators, strict=True):
        right = evaluated(part, names)
        if not _COMPARE[type(kind)](left, right):
            return False
        left = right
    return True


def _called(node: ast.Call | ast.Attribute, names: Mapping[str, Any]) -> Any:
    function = node.func if isinstance(node, ast.Call) else node
    if (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "math"
    ):
        found = MATH.get(function.attr)
    elif isinstance(function, ast.Name) and function.id not in names:
        found = FUNCTIONS.get(function.id)
    else:
        found = None
    if found is None:
        raise Unsafe("only the plain functions are called outside")
    if isinstance(node, ast.Attribute):
        return found
    given = {word.arg: evaluated(word.value, names) for word in node.keywords if word.arg}
    if len(given) != len(node.keywords) or callable(given.get("key")):
        raise Unsafe("** or key= in a call")
    return found(*(evaluated(item, names) for item in node.args), **given)


def _arithmetic(kind: type[ast.operator], left: Any, right: Any) -> Any:
    """A binary operation whose result is of reasonable size."""
    if kind is ast.Mult:
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, list | tuple | str | bytes) and isinstance(count, int):
                _bounded(len(sequence) * count, MOST_ITEMS)
    if kind in (ast.Pow, ast.LShift) and isinstance(left, int) and isinstance(right, int):
        _bounded(
            max(1, left.bit_length()) * right if kind is ast.Pow else left.bit_length() + right, MOST_BITS
        )
    if kind is ast.Mod and isinstance(left, str | bytes):
        raise Unsafe("% on a string")
    return _OPERATORS[kind](left, right)


def _bounded(size: int, most: int) -> None:
    if size > most:
        raise Unsafe("too large")


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.MatMult: operator.matmul,
}
