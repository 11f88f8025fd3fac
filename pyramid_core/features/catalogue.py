"""All features, in one place: a new one is a function in its family's module, and that module's tuple.

The default sets are chosen for what they say and for what they cost; a column that never varies where a router is
trained is dropped there. Features that read every token's alternatives, or are nearly another's twins, stay out.
"""

from __future__ import annotations

from pyramid_core.features import (
    agreement,
    behaviour,
    confidence,
    context,
    crowd,
    lengths,
    logprobs,
    options,
    query,
    similarity,
    tools,
)
from pyramid_core.features.view import Feature

QUERY_FEATURES: tuple[Feature, ...] = (
    *agreement.QUERY,
    *lengths.QUERY,
    *confidence.QUERY,
    *logprobs.QUERY,
    *similarity.QUERY,
    *options.QUERY,
    *query.QUERY,
    *crowd.QUERY,
    *behaviour.QUERY,
    *tools.QUERY,
    *context.QUERY,
)
"""Every feature of a whole observation."""

CLASS_FEATURES: tuple[Feature, ...] = (
    *agreement.CLASS,
    *lengths.CLASS,
    *confidence.CLASS,
    *logprobs.CLASS,
    *similarity.CLASS,
    *options.CLASS,
    *crowd.CLASS,
    *behaviour.CLASS,
    *tools.CLASS,
    *context.CLASS,
)
"""Every feature of one class of equivalent answers."""

_SHARED = (
    "agreement",
    "answer_entropy",
    "vote_margin",
    "length_mean",
    "length_variation",
    "confidence_mean",
    "avg_logprob",
    "min_logprob",
    "text_ratio",
    "final_similarity",
    "final_overlap",
    "question_similarity",
    "question_numbers_used",
    "numbers_shared",
    "query_length",
    "query_numbers",
    "query_sentences",
    "query_type",
    "options_numeric",
    "options_length",
)

_OF_THE_CHOSEN = (
    "length_chosen",
    "tokens_chosen",
    "confidence_chosen",
    "avg_logprob_chosen",
    "min_logprob_chosen",
    "span_min_logprob_chosen",
    "mean_prob_chosen",
    "equations_wrong",
    "option_length",
    "option_length_rank",
    "option_likeness",
    "option_number_rank",
    "final_overlap_chosen",
    "final_words",
    "final_has_number",
    "final_asked",
    "first_logprob",
    "first_logprob_chosen",
    "min_logprob_max",
    "sum_logprob",
    "sum_logprob_chosen",
)

_OF_A_CLASS = (
    "class_agreement",
    "class_margin",
    "class_length",
    "class_length_ratio",
    "class_tokens",
    "class_confidence",
    "class_confidence_lead",
    "class_avg_logprob",
    "class_avg_logprob_lead",
    "class_min_logprob",
    "class_span_min_logprob",
    "class_mean_prob",
    "class_mean_prob_lead",
    "class_question_numbers_used",
    "class_equations_wrong",
    "class_final_size",
    "class_final_whole",
    "class_final_overlap",
    "class_final_words",
    "class_final_asked",
    "class_option_place",
    "class_option_length",
    "class_option_length_ratio",
    "class_option_length_rank",
    "class_option_likeness",
    "class_option_nearest",
    "class_option_asked",
    "class_option_number_rank",
    "class_option_number_size",
    "class_option_number_shared",
    "class_has_oracle",
)


def named(*names: str) -> tuple[Feature, ...]:
    """The catalogue's features of these names, in this order."""
    known = {feature.name: feature for feature in (*QUERY_FEATURES, *CLASS_FEATURES)}
    return tuple(known[name] for name in names)


DEFAULT_QUERY_FEATURES: tuple[Feature, ...] = named(*_SHARED, *_OF_THE_CHOSEN)
"""The columns of a router of level query, unless it is told otherwise."""

DEFAULT_CLASS_FEATURES: tuple[Feature, ...] = named(*_SHARED, *_OF_A_CLASS)
"""The columns of a router of level class, unless it is told otherwise."""

BEHAVIOUR_FEATURES: tuple[Feature, ...] = behaviour.QUERY
"""What a router of level query looks at as well where programs are run."""

BEHAVIOUR_CLASS_FEATURES: tuple[Feature, ...] = (*behaviour.QUERY, *behaviour.CLASS)
"""The same for a router of level class."""

PROGRAM_FEATURES: tuple[Feature, ...] = (
    *named(
        "agreement",
        "answer_entropy",
        "vote_margin",
        "length_mean",
        "length_variation",
        "text_ratio",
        "final_similarity",
        "question_similarity",
        "question_numbers_used",
        "numbers_shared",
        "query_length",
        "query_numbers",
        "query_sentences",
        "query_type",
        "class_agreement",
        "class_margin",
        "class_length",
        "class_length_ratio",
        "class_question_numbers_used",
        "class_final_size",
        "class_has_oracle",
    ),
    *BEHAVIOUR_CLASS_FEATURES,
)
"""The columns of a consensus router for programs that are run: without what reads an answer's wording or options."""

PROGRAMS = ("behaviour", "expected-value")
"""The families that read what programs do."""

CONTEXT_FEATURES: tuple[Feature, ...] = context.QUERY
"""What a router of level query can look at as well where queries come with the passages that were retrieved for them."""

CONTEXT_CLASS_FEATURES: tuple[Feature, ...] = (*context.QUERY, *context.CLASS)
"""The same for a router of level class."""

CONTEXT = context.CONTEXT
"""The kind of evidence that the family `context-meaning` reads."""

TOOL_FEATURES: tuple[Feature, ...] = named(
    "agreement",
    "answer_entropy",
    "vote_margin",
    "class_count",
    "vote_share",
    "failed",
    "query_length",
    "query_numbers",
    "class_agreement",
    "class_margin",
    "class_tied",
    "class_refused",
    "class_doubts",
    "class_has_oracle",
    *(feature.name for feature in (*tools.QUERY, *tools.CLASS)),
)
"""The columns of a tools router. None names a member, and none is in a unit that differs from model to model."""
