"""Routers predict from an observation whether the answer that would stand is right.

Untrained: `AgreementRouter`, `SemanticRouter`, and the baselines `ConstantRouter` and `RandomRouter`. Learned: `LearnedRouter` of three
kinds (Table 2 of the paper, and beyond), loaded from a folder by name or path: `ConsensusRouter` (agreement first),
`AnytimeRouter` (log-probabilities first), `ValueRouter` (selects, and knows the oracle's chances as well).
"""

from __future__ import annotations

from pathlib import Path

from pyramid_core.errors import RouterError
from pyramid_core.routers.agreement import AgreementRouter
from pyramid_core.routers.baselines import ConstantRouter, RandomRouter
from pyramid_core.routers.card import Card
from pyramid_core.routers.learned import LearnedRouter
from pyramid_core.routers.loading import load_router, shipped
from pyramid_core.routers.semantic import SemanticRouter
from pyramid_core.routers.trees import Forest


def ConsensusRouter(folder: str | Path) -> LearnedRouter:  # noqa: N802 - one of Table 2's routers
    """The consensus router in `folder`.

    Raises:
        RouterError: it cannot be loaded, or is of another kind.
    """
    return _of_kind(folder, "consensus")


def AnytimeRouter(folder: str | Path) -> LearnedRouter:  # noqa: N802 - one of Table 2's routers
    """The anytime router in `folder`.

    Raises:
        RouterError: it cannot be loaded, or is of another kind.
    """
    return _of_kind(folder, "anytime")


def ValueRouter(folder: str | Path) -> LearnedRouter:  # noqa: N802 - beside Table 2's routers
    """The value router in `folder`.

    Raises:
        RouterError: it cannot be loaded, or is of another kind.
    """
    return _of_kind(folder, "value")


def _of_kind(folder: str | Path, kind: str) -> LearnedRouter:
    router = LearnedRouter.load(folder)
    if router.card.kind != kind:
        raise RouterError(f"{folder} is of kind {router.card.kind!r}, not {kind!r}: load it with load_router")
    return router


__all__ = [
    "AgreementRouter",
    "AnytimeRouter",
    "Card",
    "ConsensusRouter",
    "ConstantRouter",
    "Forest",
    "LearnedRouter",
    "RandomRouter",
    "SemanticRouter",
    "ValueRouter",
    "load_router",
    "shipped",
]
