"""Pyramids that share their members and their router, behind other rules, policies or watchers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid_core.embedded import EmbeddedModel
from pyramid_core.gateway.embedded import EmbeddedMember
from pyramid_core.pyramid import Pyramid

Build = Callable[..., Pyramid]
"""Makes a pyramid, as the constructor of `Pyramid` does; keywords are arguments that differ."""


def sharing(build: Build) -> tuple[Pyramid, Build]:
    """A pyramid that `build` makes, and what makes further ones out of the same members and the same router.

    Raises:
        InputError, RouterError: it cannot be made.
    """
    first = build()
    members = {name: _obedient(member) for name, member in first.members.items()}
    shared = partial(
        build,
        crowd=[members[name] for name in first.crowd],
        oracle=[members[name] for name in first.oracles],
        router=first.router if first.given[0] is not None else None,
    )
    return shared(), shared


def _obedient(member: Any) -> Any:
    return EmbeddedMember(member) if isinstance(member, EmbeddedModel) else member
