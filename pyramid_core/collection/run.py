"""One run of a collection: what is missing is asked, graded and written, and what was found is told from it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyramid_core.collection.asking import reported
from pyramid_core.collection.grading import Grading
from pyramid_core.collection.ledger import Ledger
from pyramid_core.collection.questions import Question, Questions, asked_digest
from pyramid_core.collection.spending import Spending
from pyramid_core.errors import InputError
from pyramid_core.records import FORMAT, response_of
from pyramid_core.types import Cost, Failure, Query

GIVE_UP_AFTER = 10
"""Failures of a member in a row after which nobody is asked any more: what follows would fail as well."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a collection is.

    Attributes:
        done: finished records, those of earlier runs too.
        total: records that there will be.
        asked: calls made by this run.
        failed: calls of this run that failed.
        cost: of the whole collection in USD, earlier runs and the judge included.
        seconds: since this run began.
        found: finished records that this run found.
    """

    done: int
    total: int
    asked: int = 0
    failed: int = 0
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    found: int = 0

    @property
    def rate(self) -> float:
        """Records a second, of this run."""
        return (self.done - self.found) / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until the end, at this rate; None where nothing was finished yet."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What came of a run.

    Attributes:
        out: the file of records; the plain part beside it where `complete` is False.
        complete: whether every question has its record, and `out` was made.
        stopped: why it ended before, in words; "" where it did not.
        failures: the latest failure of each member that has some in the records, in words.
        progress: at the end.
    """

    out: Path
    complete: bool
    stopped: str
    failures: Mapping[str, str]
    progress: Progress

    def as_json(self) -> dict[str, Any]:
        """In plain JSON types."""
        at = self.progress
        return {
            "out": str(self.out),
            "complete": self.complete,
            "stopped": self.stopped,
            "failures": dict(self.failures),
            "records": at.done,
            "total": at.total,
            "earlier": at.found,
            "calls": at.asked,
            "failed": at.failed,
            "cost": {"usd": at.cost.usd, "complete": at.cost.complete},
            "seconds": at.seconds,
        }


class Run:
    """One run: what is missing is asked, graded and written."""

    def __init__(
        self,
        *,
        members: dict[str, Any],
        oracles: frozenset[str],
        questions: Questions,
        wanted: tuple[str, ...],
        grading: Grading | None,
        spending: Spending,
        patience: float | None,
        served_by: Mapping[str, Mapping[str, Any]],
        then: Callable[[Progress], None],
    ) -> None:
        self.members, self.oracles = members, oracles
        self.questions, self.wanted = questions, wanted
        self.grading, self.spending = grading, spending
        self.patience, self.served_by, self.then = patience, served_by, then
        self.asked = self.failed = self.found = self.done = 0
        self.failures: dict[str, str] = {}
        self.stopped = ""
        self.in_a_row = dict.fromkeys(members, 0)
        self.began = time.monotonic()

    # What was found

    def checker(self) -> Callable[[dict[str, Any]], bool]:
        """What tells a finished record from one that is to be asked about, and refuses one of something else.

        Raises (when called):
            InputError: the record's question is none of these, or was another; or another model stood behind a name.
        """
        now = {question.id: (question.asked, _rest(question.record)) for question in self.questions}

        def check(record: dict[str, Any]) -> bool:
            name = str(record.get("id"))
            if name not in now:
                raise InputError(
                    f"the output has a record {name!r}, which {self.questions.source} has not: give the questions that "
                    "it was begun with, or name another output"
                )
            asked, rest = now[name]
            self._check_asked(name, asked_digest(record), asked)
            responses = record.get("responses") or ()
            for response in responses:
                self._check_server(response)
            finished = _rest(record) == rest and self._finished(record, responses)
            if finished:
                self.spending.add_record(responses)
            return finished

        return check

    def _finished(self, record: Mapping[str, Any], responses: Iterable[Mapping[str, Any]]) -> bool:
        answered = {response["model"]: response for response in responses if response.get("error") is None}
        if any(name not in answered for name in self.members):
            return False
        if self.grading is None or not self.grading.wanted(record):
            return True
        return all(self.grading.name in (answered[name].get("grades") or {}) for name in self.members)

    def _check_asked(self, name: str, before: str, now: str) -> None:
        if before != now:
            raise InputError(
                f"the question {name!r} is not the one that was answered before: answers to both would be mixed, name "
                "another output, or give the question another id"
            )

    def _check_server(self, response: Mapping[str, Any]) -> None:
        name = str(response.get("model"))
        before, now = response.get("served_by"), self.served_by.get(name)
        if before is not None and now is not None and before != now:
            changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
            told = ", ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in changed)
            raise InputError(
                f"{name!r} is not what answered before ({told}): answers of both would be mixed, give it another name, "
                "or name another output"
            )

    # Asking

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            done=self.done,
            total=len(self.wanted),
            asked=self.asked,
            failed=self.failed,
            cost=self.spending.total,
            seconds=time.monotonic() - self.began,
            found=self.found,
        )

    async def work(self, ledger: Ledger, concurrency: int) -> Collected:
        """Ask what is missing, and make the output where nothing is missing any more."""
        self.ledger = ledger
        self.found = self.done = sum(name in ledger.kept for name in self.wanted)
        for responses in ledger.pending.values():
            for response in responses.values():
                self._check_server(response)
            self.spending.add_record(list(responses.values()))
        if ledger.reopened and self.found == len(self.wanted):
            ledger.leave()
            return self._collected(complete=True)
        self.then(self.progress)
        await _together(self._worker(missing) for missing in [self._missing()] * concurrency)
        self._keep_failures()
        complete = self.done == len(self.wanted)
        if complete:
            ledger.make(self.questions.ids)
        return self._collected(complete=complete)

    def _collected(self, *, complete: bool) -> Collected:
        return Collected(
            out=self.ledger.out if complete else self.ledger.part,
            complete=complete,
            stopped=self.stopped,
            failures=self.failures,
            progress=self.progress,
        )

    def _missing(self) -> Iterator[Question]:
        wanted = set(self.wanted)
        return (q for q in self.questions if q.id in wanted and q.id not in self.ledger.kept)

    async def _worker(self, missing: Iterator[Question]) -> None:
        while not self.stopped:
            self.stopped = await self.spending.turn() or self.stopped
            question = None if self.stopped else next(missing, None)
            try:
                if question is None:
                    return
                record = await self._record(question)
                self.ledger.finish(question.id, record)
                self.done += 1
                self.then(self.progress)
            finally:
                self.spending.done(None if question is None else question.id)

    async def _record(self, question: Question) -> dict[str, Any]:
        """The record of a question, its missing answers asked for and graded."""
        name, asked = question.id, question.asked
        if name in self.ledger.asked:
            self._check_asked(name, self.ledger.asked[name], asked)
        known = self.ledger.pending.setdefault(name, {})
        missing = [who for who in self.members if known.get(who, {"error": ""}).get("error") is not None]
        query = question.query
        await _together(self._ask(name, asked, who, query) for who in missing)
        responses = self.ledger.pending[name]
        record = {"format": FORMAT, **question.record}
        if self.grading is not None and self.grading.wanted(record):
            for graded in await self.grading.grade(record, list(responses.values())):
                model = graded["model"]
                if graded.get("judged") != responses[model].get("judged"):
                    self.ledger.note(name, asked, graded)
                    self.spending.add(name, graded.get("judged") or {}, by="the judge")
                self.ledger.pending[name][model] = graded
        return self._told(record, self.ledger.pending[name])

    def _told(self, record: dict[str, Any], responses: Mapping[str, Any]) -> dict[str, Any]:
        """The record with its responses, the members in the pyramid's order and others behind them."""
        for model, response in responses.items():
            if response.get("error") is not None:
                self.failures[model] = f"{response['error'].get('type')}: {response['error'].get('message')}"
        order = dict.fromkeys(name for name in self.members if name in responses)
        return {**record, "responses": [responses[model] for model in {**order, **responses}]}

    async def _ask(self, name: str, asked: str, who: str, query: Query) -> None:
        self.asked += 1
        result = await reported(self.members[who], who, query, patience=self.patience)
        response = response_of(result, model=who)
        response["role"] = "oracle" if who in self.oracles else "crowd"
        if who in self.served_by:
            response["served_by"] = dict(self.served_by[who])
        self.ledger.note(name, asked, response)
        self.spending.add(name, response, by=who)
        self.in_a_row[who] = self.in_a_row[who] + 1 if isinstance(result, Failure) else 0
        self.failed += isinstance(result, Failure)
        if self.in_a_row[who] == GIVE_UP_AFTER and not self.stopped:
            self.stopped = f"{GIVE_UP_AFTER} calls in a row failed, the last one was of {result}"

    def _keep_failures(self) -> None:
        """Write the records whose failures this run did not come to ask about again."""
        for question in self.questions if self.stopped else ():
            responses = self.ledger.pending.get(question.id, {})
            if all(name in responses for name in self.members):
                record = {"format": FORMAT, **question.record}
                self.ledger.finish(question.id, self._told(record, responses))


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; the first that raises ends the others, and what it raised is raised as it was."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _rest(record: Mapping[str, Any]) -> str:
    """A digest of what a record says beside its answers."""
    kept = {key: value for key, value in record.items() if key not in ("format", "responses")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
