"""The label `grader`: the grader of a record's kind of answer judges every response anew, by the record's reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyramid_core.equivalence import kind_of
from pyramid_core.evaluation.graders import CodeGrader, grader_for
from pyramid_core.records import answer_of, query_of
from pyramid_core.training import observation_of
from pyramid_core.training.examples import responses_of
from pyramid_core.types import Answer

GRADER = "grader"

_ANSWER_TYPES = {"numeric": "number", "exact": "text"}


def graded_anew(
    records: Iterable[Mapping[str, Any]], *, code: CodeGrader | None = None
) -> Iterator[dict[str, Any]]:
    """The records, with the grade `grader` for every response; a record's kind is its `answer_type`, else inferred.

    Args:
        records: with references.
        code: runs programs; None: records of code cannot be graded.

    Raises:
        InputError: a record is of a kind that cannot be graded.
        TraceError: a record is malformed.
    """
    for record in records:
        responses = responses_of(record)
        kind = record.get("answer_type")
        if kind is None:
            found = kind_of(observation_of(record, crowd=tuple(responses)))
            kind = _ANSWER_TYPES.get(found, found)
        grade = grader_for(kind, code=code)
        query, fresh = query_of(record), []
        for response in responses.values():
            result = answer_of(response) if not response.get("cancelled") else None
            right = grade(result, record.get("reference"), query) if isinstance(result, Answer) else None
            fresh.append({**response, "grades": {**(response.get("grades") or {}), GRADER: right}})
        yield {**record, "responses": fresh}
