"""xgboost, imported where it is used: the core runs without it."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pyramid_core.errors import InputError, MissingExtra

DISTRIBUTIONS = ("xgboost", "xgboost-cpu")
"""Two distributions of the same import name: whichever was installed last overwrote the other's files."""


def xgboost() -> Any:
    """The module.

    Raises:
        MissingExtra: neither distribution is installed.
        InputError: both are, which leaves a mixture of two versions' files.
    """
    found = [name for name in DISTRIBUTIONS if _installed(name)]
    if len(found) > 1:
        raise InputError(
            f"{' and '.join(found)} are both installed and overwrite each other's files: "
            'pip uninstall -y xgboost xgboost-cpu, then pip install "pyramid-moa[train]"'
        )
    try:
        return import_module("xgboost")
    except ModuleNotFoundError as error:
        raise MissingExtra("xgboost", "train") from error


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
