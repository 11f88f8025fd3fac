"""Graders: whether an answer is right, given the reference. One small function a kind of answer.

A grader returns True, False, or None where nothing can be said (no reference, or one of another kind): None is not
wrong, and does not count. An answer that lacks what is asked for (no number, no program, no letter) is wrong. Texts
are read as everywhere else in the project, so that what two members agree on and what is right are one notion.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyramid_core.errors import InputError
from pyramid_core.evaluation.graders.code import CodeGrade, CodeGrader
from pyramid_core.evaluation.graders.final import Grader, choice, custom, exact, literal, numeric
from pyramid_core.evaluation.graders.tool_calls import tool_calls

GRADERS: Mapping[str, Grader] = {
    "text": exact,
    "number": numeric,
    "choice": choice,
    "literal": literal,
    "tool_calls": tool_calls,
}
"""By a record's `answer_type`; code has a `CodeGrader`, which runs what models wrote and is asked for by name."""


def grader_for(answer_type: str, *, code: CodeGrader | None = None) -> Grader:
    """The grader for a kind of answer.

    Args:
        answer_type: as in a record: text, number, choice, literal, tool_calls, code.
        code: what grades code; None: code cannot be graded.

    Raises:
        InputError: the kind is unknown, or is code and `code` is None.
    """
    if answer_type == "code":
        if code is None:
            raise InputError("code is graded by running its tests: pass code=CodeGrader(run_code=True)")
        return code
    try:
        return GRADERS[answer_type]
    except KeyError:
        kinds = ", ".join((*GRADERS, "code"))
        raise InputError(
            f"no grader for answer_type {answer_type!r}: use one of {kinds}, or custom()"
        ) from None


__all__ = [
    "GRADERS",
    "CodeGrade",
    "CodeGrader",
    "Grader",
    "choice",
    "custom",
    "exact",
    "grader_for",
    "literal",
    "numeric",
    "tool_calls",
]
