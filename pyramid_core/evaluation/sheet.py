"""What is known of each query of a file before any router looks: grades, lengths, costs, and the question's key.

One pass over a stream of records; what is wrong with a file is found here, before anything is trained. Only numbers
are kept, so that memory grows by some hundred bytes a record.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.equivalence import behaviours
from pyramid_core.errors import InputError
from pyramid_core.evidence import PASSES, RecordedEvidence
from pyramid_core.prices import Price
from pyramid_core.records import answer_of, query_of
from pyramid_core.training import observation_of, question_key
from pyramid_core.training.chances import Chance, chance_of, weighed
from pyramid_core.training.examples import grade_of, responses_of
from pyramid_core.types import Answer

Floats = npt.NDArray[np.float64]

NEAREST = 5
"""How many names an error about an unknown name offers."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked of a file.

    Attributes:
        crowd: the members' names, in order; one or more.
        oracle: the oracle's name.
        weak: a model that stands for the weak side of gaps; None: the crowd's vote does.
        grade: the key of a response that says whether it is right.
        prices: of every model, where costs are wanted.
    """

    crowd: tuple[str, ...]
    oracle: str
    weak: str | None = None
    grade: str = "correct"
    prices: Mapping[str, Price] | None = None

    def __post_init__(self) -> None:
        if not self.crowd or len(set(self.crowd)) != len(self.crowd):
            raise InputError(f"the crowd must be different models, at least one, not {list(self.crowd)}")
        if self.oracle in self.crowd:
            raise InputError(
                f"{self.oracle!r} is both in the crowd and the oracle: name an oracle outside the crowd"
            )
        for name in (*self.crowd, self.oracle):
            if self.prices is not None and name not in self.prices:
                raise InputError(
                    f"the prices have none for {name!r}: add it, or leave the prices out ({_near(name, self.prices)})"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """One row a query, in the file's order; NaN is not known.

    Attributes:
        keys: what makes two queries the same question.
        singles: [n, members] whether each member alone is right.
        oracle_right: [n] whether the oracle is.
        weak_right: [n] whether the weak model is; None where none was named.
        length: [n] characters of the question.
        propensity: [n] the probability with which the oracle was asked; 1 where every query was.
        crowd_usd: [n] what the crowd's answers cost.
        oracle_usd: [n] what the oracle's did.
        member_usd: [n, members] what each member's answer cost; None: not known.
        left_out: records without any answer of the crowd.
        passing: [n, members] whether a member's program passes the question's own examples; None where none was run.
        declining: [n, members] whether a member had tools and answered in words alone; None where nobody had any.
    """

    keys: tuple[str, ...]
    singles: Floats
    oracle_right: Floats
    weak_right: Floats | None
    length: Floats
    propensity: Floats
    crowd_usd: Floats
    oracle_usd: Floats
    left_out: int
    passing: Floats | None = None
    member_usd: Floats | None = None
    declining: npt.NDArray[np.bool_] | None = None

    @property
    def questions(self) -> int:
        """How many different questions there are."""
        return len(set(self.keys))

    def order(self, crowd: Sequence[str], among: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        """The crowd by its accuracy on the queries `among`, most accurate first; equal: in the crowd's order."""
        graded = self.singles[among]
        known = ~np.isnan(graded)
        accuracy = np.where(known, graded, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return tuple(crowd[place] for place in np.argsort(-accuracy, kind="stable"))

    def first_passing(self, crowd: Sequence[str], order: Sequence[str]) -> Floats:
        """[n] whether the first member in `order` is right whose program passes the examples, else the first of all."""
        places = [crowd.index(name) for name in order]
        passing = self.singles[:, places] * 0 if self.passing is None else self.passing[:, places]
        first = np.argmax(passing == 1, axis=1)
        found: Floats = self.singles[:, places][np.arange(len(first)), first]
        return found

    def any_refusal(self, vote: Floats) -> Floats | None:
        """[n] whether it is right to make no call where any member declines to, else what the vote says; None without tools."""
        if self.declining is None:
            return None
        first = np.argmax(self.declining, axis=1)
        declined = self.singles[np.arange(len(first)), first]
        return np.where(self.declining.any(axis=1), declined, vote)


def sheet_of(
    records: Iterable[Mapping[str, Any]], wanted: Wanted, evidence: RecordedEvidence | None = None
) -> Sheet:
    """The sheet of a stream of records; `evidence` runs their programs, where somebody wants that.

    Raises:
        InputError: a name occurs in no record, an id twice, no answer has the grade, no record has the oracle's
            answer, or the oracle was only asked where the policy wanted it.
        TraceError: a record cannot be read.
    """
    rows: list[tuple[Any, ...]] = []
    ids: set[str] = set()
    models: set[str] = set()
    keys: list[str] = []
    asked: set[tuple[str, bool]] = set()
    chances: list[Chance] = []
    passing: list[list[float]] = []
    declining: list[list[bool]] = []
    left_out = 0
    for record in records:
        _once(record, ids)
        responses = responses_of(record)
        models |= responses.keys()
        if not any(answered(responses.get(name)) for name in wanted.crowd):
            left_out += 1
            continue
        oracle = responses.get(wanted.oracle)
        if answered(oracle) and oracle is not None:
            asked.add((str(oracle.get("asked")), oracle.get("propensity") is not None))
        query = query_of(record)
        keys.append(question_key(query.text))
        rows.append(_row(responses, wanted, len(query.text)))
        declining.append([bool(query.tools) and declines(responses.get(name)) for name in wanted.crowd])
        chances.append(chance_of(record, oracle))
        if evidence is not None:
            passing.append(_passing(record, wanted, evidence))
    _check_names(wanted, models)
    if not rows:
        raise InputError("no record has an answer of the crowd: give a file of recorded answers")
    sheet = _sheet(rows, chances, wanted, tuple(keys), left_out)
    if passing and not np.isnan(passing).all():
        sheet = replace(sheet, passing=np.asarray(passing, dtype=float))
    if np.any(declining):
        sheet = replace(sheet, declining=np.asarray(declining, dtype=bool))
    _check_grades(sheet, wanted, asked)
    return sheet


def read_prices(path: Path) -> dict[str, Price]:
    """The prices of a JSON object: model -> {input, output: USD per million tokens; source; date: YYYY-MM-DD}.

    Raises:
        InputError: the file cannot be read, or an entry is malformed or does not say where it is from.
    """
    try:
        kept = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"the prices {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"the prices {path} are not JSON ({error})") from error
    wanted = {"input", "output", "source", "date"}
    if not isinstance(kept, dict):
        raise InputError(f"the prices {path} must be an object, model -> {{{', '.join(sorted(wanted))}}}")
    for name, entry in kept.items():
        if not isinstance(entry, dict) or set(entry) != wanted or not entry["source"] or not entry["date"]:
            raise InputError(
                f"the price of {name!r} must have input and output (USD per million tokens), source and date: a price "
                "means nothing without them"
            )
    return {name: Price.per_million(**entry) for name, entry in kept.items()}


def answered(response: Mapping[str, Any] | None) -> bool:
    """Whether a model was asked and neither was cancelled nor is missing; a failure is an answer that is wrong."""
    return response is not None and not (response.get("cancelled") and response.get("error") is None)


def declines(response: Mapping[str, Any] | None) -> bool:
    """Whether a model answered, in words and without calling a tool."""
    return answered(response) and bool(response and response.get("text") and not response.get("tool_calls"))


def _row(responses: Mapping[str, Mapping[str, Any]], wanted: Wanted, length: int) -> tuple[Any, ...]:
    oracle = responses.get(wanted.oracle)
    return (
        [grade_of(responses.get(name), wanted.grade) for name in wanted.crowd],
        grade_of(oracle, wanted.grade),
        math.nan if wanted.weak is None else grade_of(responses.get(wanted.weak), wanted.grade),
        length,
        [_usd(responses.get(name), name, wanted) for name in wanted.crowd],
        _usd(oracle, wanted.oracle, wanted),
    )


def _sheet(
    rows: list[tuple[Any, ...]],
    chances: list[Chance],
    wanted: Wanted,
    keys: tuple[str, ...],
    left_out: int,
) -> Sheet:
    columns = (np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    singles, oracle, weak, length, member_usd, oracle_usd = columns
    oracle, weight = weighed(oracle, chances)
    return Sheet(
        keys=keys,
        singles=singles,
        oracle_right=oracle,
        weak_right=None if wanted.weak is None else weak,
        length=length,
        propensity=1.0 / weight,
        crowd_usd=member_usd.sum(axis=1),
        member_usd=member_usd,
        oracle_usd=oracle_usd,
        left_out=left_out,
    )


def _passing(record: Mapping[str, Any], wanted: Wanted, evidence: RecordedEvidence) -> list[float]:
    """Whether each member's program passes the question's own examples; NaN where that is not known."""
    observation = observation_of(record, crowd=wanted.crowd)
    done = behaviours(replace(observation, evidence=evidence(record, observation), cache={}))
    told = {reply.who: done[reply.call]["visible"] for reply in observation.replies if reply.call in done}
    return [math.nan if told.get(name) is None else float(told[name] == PASSES) for name in wanted.crowd]


def _usd(response: Mapping[str, Any] | None, name: str, wanted: Wanted) -> float:
    """What an answer cost, by the prices given, else as it was recorded; NaN where that is not known."""
    result = None if response is None or response.get("cancelled") else answer_of(response)
    if not isinstance(result, Answer):
        return math.nan
    cost = result.cost if wanted.prices is None else wanted.prices[name].cost(result.usage)
    return cost.usd if cost.complete else math.nan


def _once(record: Mapping[str, Any], ids: set[str]) -> None:
    name = record.get("id")
    if name is None:
        return
    if str(name) in ids:
        raise InputError(
            f"the id {name!r} occurs twice: each query must be there once, with an id of its own"
        )
    ids.add(str(name))


def check_records(records: Iterable[Mapping[str, Any]], names: Iterable[str]) -> None:
    """Raise unless each id is there once, and an answer of everybody who is named.

    Raises:
        InputError: an id occurs twice, or a name occurs in no record.
        TraceError: a record cannot be read.
    """
    ids: set[str] = set()
    models: set[str] = set()
    for record in records:
        _once(record, ids)
        models |= responses_of(record).keys()
    _check_known(names, models)


def _check_names(wanted: Wanted, models: set[str]) -> None:
    _check_known((*wanted.crowd, wanted.oracle, *([wanted.weak] if wanted.weak else [])), models)


def _check_known(names: Iterable[str], models: set[str]) -> None:
    if not models:
        raise InputError("the file has no record with an answer: give a file of recorded answers")
    for name in names:
        if name not in models:
            raise InputError(f"no record has an answer of {name!r}: {_near(name, models)}")


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    folded = {one.casefold(): one for one in names}
    near = [folded[one] for one in difflib.get_close_matches(name.casefold(), folded, NEAREST, 0.5)]
    near += [one for one in names if name.casefold() in one.casefold() and one not in near]
    if near:
        return f"nearest are {', '.join(near[:NEAREST])}"
    return f"there are {', '.join(names[:12])}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _check_grades(sheet: Sheet, wanted: Wanted, asked: set[tuple[str, bool]]) -> None:
    if np.isnan(sheet.singles).all():
        raise InputError(
            f"no answer of the crowd has the grade {wanted.grade!r}: responses need it, true or false, by themselves "
            "or under `grades`"
        )
    if np.isnan(sheet.oracle_right).all():
        raise InputError(
            f"no answer of the oracle {wanted.oracle!r} has the grade {wanted.grade!r}: nothing can be said of escalation"
        )
    if asked and asked <= {("policy", False), ("speculation", False)}:
        raise InputError(
            "the oracle was only asked where the policy wanted it, so the rest is not known and figures would be biased: "
            "record with explore=, which asks it on a random share and notes the propensity, or ask it on all queries"
        )
