"""The label `grader`: the grader of a record's kind of answer judges every response anew, by the record's reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyramid_core.equivalence import kind_of
from pyramid_core.evaluation.graders import CodeGrader, grader_for
from pyramid_core.records import answer_of, query_of
from pyramid_core.text import number_form, options_of
from pyramid_core.training import observation_of
from pyramid_core.training.examples import responses_of
from pyramid_core.types import Answer, Query

GRADER = "grader"

_ANSWER_TYPES = {"numeric": "number", "exact": "text"}


def graded_anew(
    records: Iterable[Mapping[str, Any]], *, code: CodeGrader | None = None
) -> Iterator[dict[str, Any]]:
    """The records, with the grade `grader` for every response.

    A record's kind is its `answer_type`, else what its reference plainly is (a number, calls of tools, the letter of an
    option), else what its answers turn out to be.

    Args:
        records: with references.
        code: runs programs; None: records of code cannot be graded.

    Raises:
        InputError: a record is of a kind that cannot be graded.
        TraceError: a record is malformed.
    """
    for record in records:
        responses, query = responses_of(record), query_of(record)
        kind = record.get("answer_type") or _kind_of_reference(record.get("reference"), query)
        if kind is None:
            found = kind_of(observation_of(record, crowd=tuple(responses)))
            kind = _ANSWER_TYPES.get(found, found)
        grade, fresh = grader_for(kind, code=code), []
        for response in responses.values():
            result = answer_of(response) if not response.get("cancelled") else None
            right = grade(result, record.get("reference"), query) if isinstance(result, Answer) else None
            fresh.append({**response, "grades": {**(response.get("grades") or {}), GRADER: right}})
        yield {**record, "responses": fresh}


def _kind_of_reference(reference: Any, query: Query) -> str | None:
    """The kind of answer that a reference can only be of; None where it could be of several."""
    many = reference if isinstance(reference, list | tuple) else [reference]
    if many and all(isinstance(one, Mapping) and {"name", "arguments"} <= one.keys() for one in many):
        return "tool_calls"
    texts = [str(one).strip() for one in many if isinstance(one, str | int | float)]
    if not texts or len(texts) != len(many):
        return None
    options = options_of(query.text[:20_000])
    if options and all(text.strip("().").upper() in options for text in texts):
        return "choice"
    numbers = [number_form(text.rpartition("####")[2].strip()) for text in texts]
    return "number" if all(number is not None for number in numbers) else None
