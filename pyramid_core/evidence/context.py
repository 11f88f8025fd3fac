"""How near answers lie to what they were given to read, by an embedding of the user's.

    cosine(a, p) = a . p / (|a| |p|),   and of an answer the greatest over the passages

Words in common say that an answer uses the passages; an embedding sees it in other words too. It takes time and often a
network, so it is gathered, not computed within a router.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pyramid_core.evidence.behaviour import Asked

PASSAGE_CHARS = 4_000
"""Of a passage so many characters are embedded; embeddings read no more, and most less."""

Vectors = Sequence[Sequence[float]]


class ContextSimilarity:
    """Gathers the evidence `context`: pass it as `gatherers={"context": ContextSimilarity(embed)}`.

    Args:
        embed: vectors of some texts, in order; called on a thread, once a query.
    """

    def __init__(self, embed: Callable[[list[str]], Vectors]) -> None:
        self._embed = embed

    def __call__(self, gather: Asked) -> dict[str, float]:
        """The place of each answer (as a string) -> the greatest cosine with a passage; nothing without passages."""
        passages = [text[:PASSAGE_CHARS] for text in gather.query.context if text.strip()]
        said = {
            str(place): a.text[:PASSAGE_CHARS] for place, a in enumerate(gather.answers) if a.text.strip()
        }
        if not passages or not said:
            return {}
        vectors = self._embed([*passages, *said.values()])
        read, spoken = vectors[: len(passages)], vectors[len(passages) :]
        return {
            place: max(_cosine(answer, passage) for passage in read)
            for place, answer in zip(said, spoken, strict=True)
        }


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    length = math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))
    return product / length if length else 0.0
