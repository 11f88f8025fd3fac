"""Questions to records: every member of a pyramid is asked every question, and each answer is on disk before the next.

    from pyramid_core.collection import collect
    collect(pyramid, "questions.jsonl", "traces.jsonl.gz", grade="number")

Nobody decides anything here: the crowd and the oracle are asked alike, so that what is collected says how good each of
them is on these questions, and a router can be trained on it without bias.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pyramid_core.collection.grading import AUTO, grading_of
from pyramid_core.collection.ledger import Ledger
from pyramid_core.collection.questions import questions_of
from pyramid_core.collection.run import Collected, Progress, Run
from pyramid_core.collection.spending import Spending
from pyramid_core.errors import InputError
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Query
from pyramid_core.types.numbers import check_number

Source = str | Path | Iterable[str | Query | Mapping[str, Any]]


def collect(pyramid: Pyramid, queries: Source, out: str | Path, **settings: Any) -> Collected:
    """Ask every member of `pyramid` every question, and write records.

    The same call again goes on where the last one ended, however it ended: what was answered is not asked again, what
    failed is.

    Args:
        pyramid: whose crowd and oracles are asked; its router and rule play no part.
        queries: a JSONL or CSV file, or texts, queries or rows; see `questions_of`.
        out: the file to make, gzip where its name ends in .gz; until then there is `out`.part.
        settings: see `acollect`.

    Raises:
        InputError: something cannot be used, and nobody has been asked; or the disk is full; or an event loop is
            running, where `acollect` is to be awaited.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(acollect(pyramid, queries, out, **settings))
    raise InputError("an event loop is running here: await acollect(...) instead of collect(...)")


async def acollect(
    pyramid: Pyramid,
    queries: Source,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    grade: Any = AUTO,
    judge: Any = None,
    run_code: bool = False,
    max_queries: int | None = None,
    max_cost: float | None = None,
    concurrency: int = 8,
    patience: float | None = None,
    served_by: Mapping[str, Mapping[str, Any]] | None = None,
    then: Callable[[Progress], None] = lambda _: None,
) -> Collected:
    """As `collect`, on the running event loop; cancelled, it leaves what was answered on disk.

    Args:
        pyramid: see `collect`.
        queries: see `collect`.
        out: see `collect`.
        columns: key of a record -> its name in the rows.
        grade: "auto" (by the answers' kind, where there is a reference), a kind, "judge", "none", or a function.
        judge: the member that grades where `grade` is "judge".
        run_code: programs that models wrote may be run, to grade them.
        max_queries: only so many questions, the first ones.
        max_cost: USD that the whole collection may cost. A question is asked only if the dearest so far would still
            fit in, beside those that are under way.
        concurrency: questions asked at once; each is asked of all members at once.
        patience: seconds for one call; None: as the member has it.
        served_by: what stands behind each member, kept in its responses; where it changes between two runs the
            second one refuses.
        then: is told the progress after every record.

    Raises:
        InputError: see `collect`.
        Exception: a bug in a member or a grader, as it was raised.
    """
    _check_settings(concurrency, max_queries, patience)
    grading = grading_of(grade, judge=judge, run_code=run_code)
    members = dict(pyramid.members)
    spending = Spending(max_cost, [*members.items(), *([("the judge", judge)] if grade == "judge" else [])])
    questions = questions_of(queries, columns)
    run = Run(
        members=members,
        oracles=frozenset(pyramid.oracles),
        questions=questions,
        wanted=questions.ids[:max_queries],
        grading=grading,
        spending=spending,
        patience=patience,
        served_by=served_by or {},
        then=then,
    )
    ledger = Ledger(Path(out), check=run.checker())
    try:
        return await run.work(ledger, concurrency)
    finally:
        ledger.close()


def _check_settings(concurrency: int, max_queries: int | None, patience: float | None) -> None:
    check_number("concurrency", concurrency, low=1, whole=True)
    if max_queries is not None:
        check_number("max_queries", max_queries, low=1, whole=True)
    if patience is not None:
        check_number("patience", patience, low=0.0, above=True, unit="seconds")
