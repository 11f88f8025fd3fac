"""Folds by question: twins of a question never lie on both sides of a cut."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_OPTION = re.compile(r"^\s*[A-Z][.)]\s*", re.MULTILINE)


def question_key(text: str) -> str:
    """What makes two queries the same question: the stem before `Options:` and the sorted set of the options' texts.

    Multiple choice questions are often repeated with their options in another order.
    """
    stem, found, options = text.partition("Options:")
    if not found:
        return " ".join(text.split())
    texts = sorted({" ".join(part.split()) for part in _OPTION.split(options) if part.strip()})
    return "\n".join([" ".join(stem.split()), *texts])


def folds_of(keys: Sequence[str], *, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each query, from its key and the seed alone, whatever the order of records.

    Keys are dealt out evenly in the order of their hashes, so folds differ by at most one question.
    """
    hashes = {
        key: hashlib.sha256(f"{seed}\n{key}".encode("utf-8", "surrogatepass")).digest() for key in set(keys)
    }
    dealt = {key: place % folds for place, key in enumerate(sorted(hashes, key=hashes.__getitem__))}
    return np.array([dealt[key] for key in keys], dtype=np.int64)
