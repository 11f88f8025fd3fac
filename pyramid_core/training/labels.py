"""What "right" means where nobody has written gold answers: a label as one more grade of every response.

    reference          the record's own grade
    grader             an answer is right where the grader of its kind accepts it against the record's reference
    oracle-agreement   an answer is right where it is the same answer as the oracle's; the oracle is right by definition

A router trained on agreement with the oracle learns when asking it would change the answer, not when the crowd is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pyramid_core.equivalence import classes
from pyramid_core.errors import InputError
from pyramid_core.training.examples import observation_of, responses_of

ORACLE_AGREEMENT = "oracle-agreement"


def agreeing_with_oracle(
    records: Iterable[Mapping[str, Any]], *, crowd: Sequence[str], oracle: str, equivalence: str = "auto"
) -> Iterator[dict[str, Any]]:
    """The records, with the grade `oracle-agreement` for the crowd and the oracle; None where the oracle has not answered.

    Raises:
        InputError: no record has an answer of the oracle, once all have been read.
        TraceError: a record is malformed.
    """
    compared = 0
    for record in records:
        observation = observation_of(record, crowd=crowd, oracle=oracle, fused=True)
        number = next((reply.call for reply in observation.replies if reply.role == "oracle"), None)
        groups = classes(observation, equivalence)
        same = next((set(group.members) for group in groups if number in group.calls), None)
        compared += same is not None
        yield {
            **record,
            "responses": [_graded(r, same, crowd, oracle) for r in responses_of(record).values()],
        }
    if not compared:
        raise InputError(
            f"no record has an answer of {oracle!r} to compare with: the label needs the oracle's answers"
        )


def _graded(
    response: Mapping[str, Any], same: set[str] | None, crowd: Sequence[str], oracle: str
) -> Mapping[str, Any]:
    model = response.get("model")
    if model != oracle and model not in crowd:
        return response
    grade = None if same is None else model == oracle or model in same
    return {**response, "grades": {**(response.get("grades") or {}), ORACLE_AGREEMENT: grade}}
