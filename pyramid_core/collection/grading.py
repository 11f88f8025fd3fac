"""Whether a collected answer is right: by a grader of its kind, by the user's own, or by a judge that is asked.

A grade stands in the response twice: under its name in `grades`, and as `correct`, which training and profiles read.
What cannot be graded has the grade null: that is not wrong, and does not count.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pyramid_core._drive.tasks import off_loop
from pyramid_core.collection.asking import reported
from pyramid_core.collection.questions import ANSWER_TYPES
from pyramid_core.errors import InputError
from pyramid_core.evaluation.graders import CodeGrader, Grader
from pyramid_core.evaluation.labels import GRADER, graded_anew
from pyramid_core.records import answer_of, query_of
from pyramid_core.records.responses import response_of
from pyramid_core.types import Answer, Failure, Query

Record = Mapping[str, Any]
Response = dict[str, Any]

AUTO, NONE, JUDGE = "auto", "none", "judge"
GRADES = (AUTO, NONE, *(kind for kind in ANSWER_TYPES if kind != "fields"), JUDGE)
"""What `--grade` may be."""

INSTRUCTION = """\
You grade an answer to a question. Judge only whether its final answer is right, not how it is written.

Question:
{question}
{reference}
Answer to grade:
{answer}

Is the answer right? End with one word on a line of its own: yes or no."""
"""What a judge is asked."""

_WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class Grading(Protocol):
    """How responses get their grades.

    Attributes:
        name: of the grade in a response's `grades`.
    """

    name: str

    def wanted(self, record: Record) -> bool:
        """Whether this record's responses can have a grade."""
        ...

    async def grade(self, record: Record, responses: Sequence[Response]) -> list[Response]:
        """The responses with their grades; one that was to have one and has none is asked about again."""
        ...


def grading_of(grade: Any, *, judge: Any = None, run_code: bool = False) -> Grading | None:
    """The grading that is meant.

    Args:
        grade: one of `GRADES`, a function of (answer, reference, query), or None for no grades.
        judge: the member that judges.
        run_code: programs that models wrote may be run.

    Raises:
        InputError: there is no such grading, or it lacks its judge or the permission to run programs.
    """
    if grade in (None, NONE):
        return None
    if callable(grade):
        return ByFunction(grade)
    if grade == JUDGE:
        if judge is None:
            raise InputError(
                "a judge is to grade, and there is none: describe it under [judge], or pass judge="
            )
        return ByJudge(judge)
    if grade not in GRADES:
        raise InputError(f"grade must be one of {', '.join(GRADES)}, not {grade!r}")
    code = CodeGrader(run_code=run_code) if run_code or grade == "code" else None
    return ByKind(kind=None if grade == AUTO else grade, code=code)


class ByKind:
    """The project's graders: of the kind given, or of each record's own (its `answer_type`, else inferred).

    Args:
        kind: of answers; None: each record's own.
        code: runs programs; None: programs get no grade.
    """

    def __init__(self, *, kind: str | None, code: CodeGrader | None) -> None:
        self.kind, self.code = kind, code
        self.name = kind or GRADER

    def wanted(self, record: Record) -> bool:
        """Whether there is a reference, and somebody to compare with it."""
        kind = self.kind or record.get("answer_type")
        if kind == "fields" or (kind == "code" and self.code is None):
            return False
        return record.get("reference") is not None or kind == "tool_calls"

    async def grade(self, record: Record, responses: Sequence[Response]) -> list[Response]:
        """The responses with their grades."""
        told: dict[str, Any] = {**record, "responses": list(responses)}
        if self.kind is not None:
            told["answer_type"] = self.kind

        def work() -> list[Response]:
            try:
                return list(next(graded_anew([told], code=self.code))["responses"])
            except InputError:
                # Answers that turn out to be of a kind without a grader: nothing can be said of them.
                return [
                    {**response, "grades": {**(response.get("grades") or {}), GRADER: None}}
                    for response in responses
                ]

        graded = await off_loop(work) if self.code is not None else work()
        return [_named(response, GRADER, self.name) for response in graded]


class ByFunction:
    """The user's own grader."""

    def __init__(self, function: Grader) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def wanted(self, record: Record) -> bool:
        """Whatever the record says: the function decides."""
        return True

    async def grade(self, record: Record, responses: Sequence[Response]) -> list[Response]:
        """The responses with their grades.

        Raises:
            InputError: the function returned neither True, False nor None.
        """
        query, reference, graded = query_of(record), record.get("reference"), []
        for response in responses:
            result = answer_of(response)
            found = self.function(result, reference, query) if isinstance(result, Answer) else None
            if found is not None and not isinstance(found, bool):
                raise InputError(
                    f"the grader {self.name} returned {found!r}: it must return True, False or None"
                )
            graded.append(_with(response, self.name, found))
        return graded


class ByJudge:
    """A member that is asked about each answer; the same answer of two members is asked about once.

    What it cost stands in the response as `judged`, beside its words. Where it fails there is no grade, and the next
    run asks it again.

    Args:
        judge: the member.
    """

    def __init__(self, judge: Any) -> None:
        self.judge = judge
        self.name = JUDGE

    def wanted(self, record: Record) -> bool:
        """Always: a judge needs no reference, though one helps."""
        return True

    async def grade(self, record: Record, responses: Sequence[Response]) -> list[Response]:
        """The responses with the judge's grades."""
        query = query_of(record)
        texts: dict[str, Response] = {}
        for response in responses:
            if response.get("error") is None and JUDGE not in (response.get("grades") or {}):
                texts.setdefault(_said(response), response)
        asked = [self._asked(query, record.get("reference"), said) for said in texts]
        told = dict(zip(texts, await asyncio.gather(*asked), strict=True))
        return [
            self._graded(response, told, first=texts.get(_said(response)) is response)
            for response in responses
        ]

    async def _asked(self, query: Query, reference: Any, said: str) -> Answer | Failure:
        known = f"\nReference answer:\n{reference}\n" if reference is not None else ""
        prompt = INSTRUCTION.format(question=query.text, reference=known, answer=said)
        return await reported(self.judge, getattr(self.judge, "name", JUDGE), Query(text=prompt))

    def _graded(self, response: Response, told: Mapping[str, Answer | Failure], *, first: bool) -> Response:
        if response.get("error") is not None or JUDGE in (response.get("grades") or {}):
            return _with(response, JUDGE, (response.get("grades") or {}).get(JUDGE))
        found = told[_said(response)]
        judged = response_of(found, model=found.member)
        kept = {key: judged.get(key) for key in ("model", "text", "error", "latency") if judged.get(key)}
        if first:
            kept |= {key: judged[key] for key in ("cost", "input_tokens", "tokens") if key in judged}
        else:
            kept["cost"] = 0.0  # The call is on the bill of the answer that it was made for.
        if isinstance(found, Failure):
            return {**response, "judged": kept}
        words = _WORD.findall(found.text)
        return _with({**response, "judged": kept}, JUDGE, words[-1].lower() == "yes" if words else None)


def _said(response: Response) -> str:
    """What a judge is shown of an answer."""
    calls = response.get("tool_calls") or ()
    shown = [f"{call.get('name')}({call.get('arguments')})" for call in calls]
    return (
        "\n".join([str(response.get("text") or response.get("answer") or ""), *shown]).strip() or "(nothing)"
    )


def _named(response: Response, old: str, new: str) -> Response:
    grades = dict(response.get("grades") or {})
    return _with({**response, "grades": grades}, new, grades.pop(old, None))


def _with(response: Response, name: str, grade: bool | None) -> Response:
    grades = {**(response.get("grades") or {}), name: grade}
    return {**response, "correct": grade, "grades": grades}
