"""Text, read the same way everywhere: final answers and their normal forms, and what features look at.

Features read the first and last 4,000 characters of a text, the extraction of final answers the last 20,000, so
that a text of any length costs the same. No function here raises on any string.
"""

from pyramid_core.text.final import (
    asks_number,
    code_of,
    json_object,
    looks_like_code,
    options_of,
    plainly_number,
)
from pyramid_core.text.lazy import lazy
from pyramid_core.text.marks import EXTRACTION_CHARS, Marks, first_sentence
from pyramid_core.text.normal import field_form, float_form, literal_form, number_form, text_form, value_form
from pyramid_core.text.reading import Reading
from pyramid_core.text.turns import pieces, question_in
from pyramid_core.text.words import (
    FEATURE_CHARS,
    clip,
    doubts,
    equations_of,
    is_clipped,
    names_of,
    numbers_of,
    refuses,
    stated_confidence,
    words_of,
)

__all__ = [
    "EXTRACTION_CHARS",
    "FEATURE_CHARS",
    "Marks",
    "Reading",
    "asks_number",
    "clip",
    "code_of",
    "doubts",
    "equations_of",
    "field_form",
    "first_sentence",
    "float_form",
    "is_clipped",
    "json_object",
    "lazy",
    "literal_form",
    "looks_like_code",
    "names_of",
    "number_form",
    "numbers_of",
    "options_of",
    "pieces",
    "plainly_number",
    "question_in",
    "refuses",
    "stated_confidence",
    "text_form",
    "value_form",
    "words_of",
]
