"""Where calls differ, in words: for the record, so that a reader sees at once what the members disagree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pyramid_core.calls.scene import Scene, SeenCall
from pyramid_core.types import ToolCall

SHOWN = 12
"""So many arguments are named."""


def differing(scene: Scene, answers: Iterable[Sequence[ToolCall]]) -> tuple[str, ...]:
    """`tool(argument)` for each argument on which the answers that call this tool are not alike, in order of names.

    A default is as good as left out, and calls in parallel have no order.
    """
    values: dict[str, list[Counter[tuple[str, str]]]] = {}
    for calls in answers:
        mine: dict[str, Counter[tuple[str, str]]] = {}
        for seen in map(scene.seen, calls):
            mine.setdefault(seen.name, Counter()).update(_said(seen))
        for name, said in mine.items():
            values.setdefault(name, []).append(said)
    found = set()
    for name, each in values.items():
        for one in each[1:]:
            apart = (one - each[0]) + (each[0] - one)
            found |= {f"{name}({argument})" for argument, _ in apart}
    return tuple(sorted(found)[:SHOWN])


def _said(seen: SeenCall) -> dict[tuple[str, str], int]:
    return dict.fromkeys(seen.said.items(), 1)
