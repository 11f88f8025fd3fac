"""Finding routers: shipped ones by name, saved ones by folder. What was parsed once is kept while it does not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pyramid_core.errors import InputError, RouterError
from pyramid_core.routers.agreement import AgreementRouter
from pyramid_core.routers.card import CARD
from pyramid_core.routers.learned import LearnedRouter, digest, read_folder
from pyramid_core.types import Router

SHIPPED = Path(__file__).parent / "shipped"


def shipped() -> tuple[str, ...]:
    """The names of the routers that ship inside the package."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}")))


def load_router(
    router: str | Path,
    crowd: Sequence[str] | None = None,
    *,
    oracle_accuracy: float | Mapping[str, float] | None = None,
) -> Router:
    """The router of that name or in that folder.

    Args:
        router: "agreement"; the name of a shipped router; or a folder: a `Path`, or a string with a path separator.
        crowd: the members' names, which a router that was trained for one crowd is checked against.
        oracle_accuracy: how often an oracle that the router was not trained with is right on queries like yours: one
            number, or by name.

    Raises:
        InputError: no router has this name, or an accuracy is not between 0 and 1.
        RouterError: the folder is missing, incomplete, of another version, or does not fit the features or the crowd.
    """
    if router == "agreement":
        return AgreementRouter(oracle_accuracy=oracle_accuracy)
    if isinstance(router, Path) or "/" in router or "\\" in router:
        folder = Path(router)
    elif router in shipped():
        folder = SHIPPED / router
    else:
        names = ", ".join(["agreement", *shipped()])
        raise InputError(
            f"there is no router named {router!r}, only {names}; a folder needs a path separator: ./{router}"
        )
    folder = folder.absolute()
    found = _loaded(folder, digest(read_folder(folder))).for_crowd(crowd)
    return found if oracle_accuracy is None else found.for_oracle(oracle_accuracy)


@lru_cache(maxsize=32)
def _loaded(folder: Path, expected: str) -> LearnedRouter:
    """The parsed router, kept by folder and hash of content, so that building a pyramid does not parse again."""
    router = LearnedRouter.load(folder)
    if digest(router.files) != expected:
        raise RouterError(f"{folder} changed while it was read: load it again")
    return router
