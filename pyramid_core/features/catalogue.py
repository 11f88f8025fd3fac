"""All features, in one place: a new one is a function in its family's module, and that module's tuple.

The default sets are about twenty columns each, chosen for what they say on the recorded sets and for what they
cost; features that read every token's alternatives, or that are nearly twins of another, stay out of them.
"""

from __future__ import annotations

from pyramid_core.features import agreement, confidence, crowd, lengths, logprobs, query, similarity
from pyramid_core.features.view import Feature

QUERY_FEATURES: tuple[Feature, ...] = (
    *agreement.QUERY,
    *lengths.QUERY,
    *confidence.QUERY,
    *logprobs.QUERY,
    *similarity.QUERY,
    *query.QUERY,
    *crowd.QUERY,
)
"""Every feature of a whole observation."""

CLASS_FEATURES: tuple[Feature, ...] = (
    *agreement.CLASS,
    *lengths.CLASS,
    *confidence.CLASS,
    *logprobs.CLASS,
    *similarity.CLASS,
    *crowd.CLASS,
)
"""Every feature of one class of equivalent answers."""

_DEFAULT_QUERY = (
    "agreement",
    "answer_entropy",
    "vote_margin",
    "vote_share",
    "length_mean",
    "length_variation",
    "length_chosen",
    "confidence_mean",
    "confidence_chosen",
    "avg_logprob",
    "avg_logprob_chosen",
    "min_logprob",
    "min_logprob_chosen",
    "mean_prob_chosen",
    "answer_similarity",
    "final_similarity",
    "question_similarity",
    "question_numbers_used",
    "numbers_shared",
    "equations_wrong",
    "query_length",
    "query_numbers",
    "doubts_chosen",
)

_DEFAULT_CLASS = (
    "class_agreement",
    "class_margin",
)


def named(*names: str) -> tuple[Feature, ...]:
    """The catalogue's features of these names, in this order."""
    known = {feature.name: feature for feature in (*QUERY_FEATURES, *CLASS_FEATURES)}
    return tuple(known[name] for name in names)


DEFAULT_QUERY_FEATURES: tuple[Feature, ...] = named(*_DEFAULT_QUERY)
"""The columns of a router of level query, unless it is told otherwise."""

DEFAULT_CLASS_FEATURES: tuple[Feature, ...] = named(*_DEFAULT_QUERY, *_DEFAULT_CLASS)
"""The columns of a router of level class, unless it is told otherwise."""
