"""Semantic agreement through LangChain's embeddings: one batch a query, off the event loop, and only where it can matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings

from pyramid_core.commands import Gather
from pyramid_core.errors import InputError, MissingExtra

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class EmbeddingGatherer:
    """Gathers how alike answers are, for routers that want `similarity` (`pyramid_core.routers.SemanticRouter`).

    The driver calls it on a thread. Texts that are equal but for case and space are not embedded: nothing depends on it.

    Args:
        embeddings: any of LangChain's, or what else `embeddings_of` takes.

    Raises:
        InputError, MissingExtra: as `embeddings_of`.
    """

    def __init__(self, embeddings: Any) -> None:
        self._embeddings = embeddings_of(embeddings)

    def __call__(self, gather: Gather) -> dict[str, Any]:
        """`{"same": True}`, or `{"cosines": rows}` in the order of the answers."""
        texts = [answer.text for answer in gather.answers]
        if len({" ".join(text.lower().split()) for text in texts}) < 2:
            return {"same": True}
        vectors = [_unit(vector) for vector in self._embeddings.embed_documents(texts)]
        return {"cosines": [[_dot(a, b) for b in vectors] for a in vectors]}


def embeddings_of(given: Any) -> Embeddings:
    """What a user may give for embeddings: LangChain's own, or a name for sentence-transformers; True: the usual one.

    Raises:
        InputError: it is neither.
        MissingExtra: sentence-transformers is not installed.
    """
    if given is True:
        return SentenceEmbeddings(DEFAULT_MODEL)
    if isinstance(given, str):
        return SentenceEmbeddings(given)
    if not isinstance(given, Embeddings):
        raise InputError(
            f"embeddings must be a LangChain Embeddings, a sentence-transformers model's name or True, not of type "
            f"{type(given).__name__}"
        )
    return given


class SentenceEmbeddings(Embeddings):
    """A sentence-transformers model, loaded when it is first needed, from the user's own cache or hub.

    Args:
        name: of the model, or its folder.

    Raises:
        MissingExtra: sentence-transformers is not installed.
    """

    def __init__(self, name: str) -> None:
        try:
            import sentence_transformers
        except ImportError as error:
            raise MissingExtra("sentence-transformers", "semantic") from error
        self._make = sentence_transformers.SentenceTransformer
        self._name = name
        self._model: Any = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text."""
        if self._model is None:
            self._model = self._make(self._name)
        return [[float(value) for value in vector] for vector in self._model.encode(texts)]

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_documents([text])[0]


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
