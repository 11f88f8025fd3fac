"""From a record to rows: pure functions, so that they run in a loop or in many processes alike.

Traces of a running pyramid are biased: only where it escalated, or was told to explore, is the oracle's answer known.
What its answers count is in `chances`.

One query gives several *views*, each with a row for the query or for each class: the complete crowd; a partial crowd,
because a router is asked about those too; at class level, the crowd with the oracle's answer among the classes; and,
for routers that name no member, other crowds, drawn from all who have answered the same question.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramid_core.equivalence import classes
from pyramid_core.errors import InputError
from pyramid_core.evidence import RecordedEvidence
from pyramid_core.features import FeatureSet
from pyramid_core.records import answer_of, query_of, trace_to_record
from pyramid_core.routers.standing import spokesman
from pyramid_core.training.chances import Chance, chance_of, weighed
from pyramid_core.training.folds import question_key
from pyramid_core.types import Answer, Observation, Reply, Trace

COMPLETE, PARTIAL, FUSED, OTHER = 0, 1, 2, 3
"""The views of a query."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What rows are made for.

    Attributes:
        crowd: the members' names, in order.
        oracle: the oracle's name; None: without one.
        features: the columns.
        grade: the key of a response that says whether it is right: `correct`, or one of its `grades`.
        least: the smallest partial crowd.
        seed: of the choice of partial crowds.
        evidence: what is gathered for the answers of a record; None: nothing is.
        others: how many other crowds, of two to four who have answered it, each query is seen with as well.
    """

    crowd: tuple[str, ...]
    oracle: str | None
    features: FeatureSet
    grade: str = "correct"
    least: int = 1
    seed: int = 0
    evidence: RecordedEvidence | None = None
    others: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Rows of many queries.

    Attributes:
        rows: [rows, columns] float32; NaN is missing.
        wrong: [rows] whether the row's answer is wrong; NaN where that is not known.
        query: [rows] the number of the query.
        view: [rows] COMPLETE, PARTIAL, FUSED or OTHER.
        leads: [rows] whether the row is of the class with most votes (always, at query level).
        members: [rows] how many of the crowd had answered in this view.
        calls: [rows] bits of the calls in the row's class.
        keys: [queries] what makes two queries the same question.
        oracle_right: [queries] whether the oracle is right; NaN where that is not known.
        singles: [queries, members] whether each member alone is right; NaN where that is not known.
        oracle_weight: [queries] what the oracle's answer counts: the inverse of the probability with which it came; None: 1.
        by_class: whether rows are of classes, so that another class than the largest may be selected.
    """

    rows: npt.NDArray[np.float32]
    wrong: npt.NDArray[np.float64]
    query: npt.NDArray[np.int64]
    view: npt.NDArray[np.int64]
    leads: npt.NDArray[np.bool_]
    members: npt.NDArray[np.int64]
    calls: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    oracle_right: npt.NDArray[np.float64]
    singles: npt.NDArray[np.float64]
    oracle_weight: npt.NDArray[np.float64] | None = None
    by_class: bool = False

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return len(self.keys)

    @property
    def weight(self) -> npt.NDArray[np.float64]:
        """[queries] what the oracle's answer counts."""
        return np.ones(self.queries) if self.oracle_weight is None else self.oracle_weight

    @property
    def row_weight(self) -> npt.NDArray[np.float64] | None:
        """[rows] what each row counts in training; None: all alike.

        Rows that are graded whatever the oracle did count once. Those that the oracle's answer has joined, and all
        where an answer is only graded beside the oracle's, count as its answer does.
        """
        if self.oracle_weight is None or (self.oracle_weight == 1).all():
            return None
        missing = np.isnan(self.oracle_right)[self.query]
        beside = not (missing & ~np.isnan(self.wrong)).any()
        mine = np.ones(len(self.view), dtype=bool) if beside else self.view == FUSED
        return np.where(mine, self.oracle_weight[self.query], 1.0)


Row = tuple[list[float], float, int, int, bool, int, int]


def examples_of(records: Iterable[Mapping[str, Any] | Trace], setting: Setting) -> Examples:
    """The rows of all records that have an answer of the crowd; records are not kept.

    Raises:
        InputError: no record has one, or none has a grade, or all of the oracle's answers came from the policy.
        TraceError: a record is malformed.
    """
    rows: list[Row] = []
    chances: list[Chance] = []
    keys: list[str] = []
    oracle_right: list[float] = []
    singles: list[list[float]] = []
    for record in records:
        told = trace_to_record(record) if isinstance(record, Trace) else record
        found = rows_of(told, setting, number=len(keys))
        if found is None:
            continue
        rows += found
        responses = responses_of(told)
        keys.append(question_key(query_of(told).text))
        oracle_right.append(grade_of(responses.get(setting.oracle or ""), setting.grade))
        chances.append(chance_of(told, responses.get(setting.oracle or "")))
        singles.append([grade_of(responses.get(name), setting.grade) for name in setting.crowd])
    if not rows:
        raise InputError(
            f"no record has an answer of {', '.join(setting.crowd)}: name the crowd as the records' `model` has it"
        )
    table, wrong, query, view, leads, members, calls = zip(*rows, strict=True)
    if np.isnan(wrong).all():
        raise InputError(f"no answer has a grade: responses need {setting.grade!r}, true or false")
    graded, weight = weighed(np.asarray(oracle_right, dtype=float), chances)
    with np.errstate(over="ignore"):
        narrow = np.asarray(table, dtype=np.float64).astype(np.float32)
    return Examples(
        rows=np.where(np.isinf(narrow), np.nan, narrow),
        wrong=np.asarray(wrong, dtype=float),
        query=np.asarray(query, dtype=np.int64),
        view=np.asarray(view, dtype=np.int64),
        leads=np.asarray(leads, dtype=bool),
        members=np.asarray(members, dtype=np.int64),
        calls=np.asarray(calls, dtype=np.int64),
        keys=tuple(keys),
        oracle_right=graded,
        oracle_weight=weight,
        singles=np.asarray(singles, dtype=float),
        by_class=setting.features.level == "class",
    )


def rows_of(record: Mapping[str, Any], setting: Setting, *, number: int = 0) -> list[Row] | None:
    """All rows of one record, `number` being its query's; None where no member of the crowd has answered."""
    responses = responses_of(record)
    crowd = [name for name in setting.crowd if _answered(responses.get(name))]
    if not crowd:
        return None
    rows = _view(record, responses, crowd, setting, number=number, view=COMPLETE)
    smaller = partial_crowd(record, crowd, setting)
    if smaller:
        rows += _view(record, responses, smaller, setting, number=number, view=PARTIAL)
    fusible = setting.features.level == "class" and setting.oracle is not None
    if fusible and _answered(responses.get(setting.oracle or "")):
        rows += _view(record, responses, crowd, setting, number=number, view=FUSED)
    for cast in other_crowds(record, setting):
        rows += _view(record, responses, cast, replace(setting, crowd=cast), number=number, view=OTHER)
    return rows


def observation_of(
    record: Mapping[str, Any],
    *,
    crowd: Sequence[str],
    oracle: str | None = None,
    heard: Sequence[str] | None = None,
    fused: bool = False,
) -> Observation:
    """What a router sees of a record's answers: of the members in `heard` (all by default), and of a fused oracle.

    Calls are numbered by the members' places in the crowd, the oracle's behind them.
    """
    responses = responses_of(record)
    replies = [
        Reply(call=place, role="crowd", who=name, result=answer_of(responses[name]))
        for place, name in enumerate(crowd)
        if _answered(responses.get(name)) and (heard is None or name in heard)
    ]
    if fused and oracle is not None and _answered(responses.get(oracle)):
        replies.append(Reply(call=len(crowd), role="oracle", who=oracle, result=answer_of(responses[oracle])))
    return Observation(
        query=query_of(record),
        crowd=tuple(crowd),
        replies=tuple(replies),
        oracles=() if oracle is None else (oracle,),
        fused=fused,
    )


def partial_crowd(record: Mapping[str, Any], crowd: Sequence[str], setting: Setting) -> list[str]:
    """A smaller crowd, drawn from the question and the seed alone; [] where there is none to draw."""
    sizes = range(setting.least, len(crowd))
    if not sizes:
        return []
    said = f"{setting.seed}\n{query_of(record).text}".encode("utf-8", "surrogatepass")
    drawn = int.from_bytes(hashlib.sha256(said).digest()[:8])
    size = sizes[drawn % len(sizes)]
    order = sorted(crowd, key=lambda name: hashlib.sha256(f"{drawn} {name}".encode()).digest())
    return [name for name in crowd if name in order[:size]]


def other_crowds(record: Mapping[str, Any], setting: Setting) -> list[tuple[str, ...]]:
    """Crowds of two to four of those who have answered, but for the oracle; drawn from the question and the seed alone."""
    answered = [
        name for name, one in responses_of(record).items() if _answered(one) and name != setting.oracle
    ]
    if not setting.others or len(answered) <= len(setting.crowd):
        return []
    draw = random.Random(f"{setting.seed}\n{query_of(record).text}")
    sizes = range(2, min(4, len(answered)) + 1)
    return [tuple(draw.sample(sorted(answered), draw.choice(sizes))) for _ in range(setting.others)]


def responses_of(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A record's responses, by model."""
    return {str(response.get("model")): response for response in record.get("responses") or ()}


def grade_of(response: Mapping[str, Any] | None, grade: str) -> float:
    """1 where a response is right, 0 where it is wrong, NaN where that is not known. A failure is wrong."""
    if response is None or response.get("cancelled"):
        return math.nan
    if response.get("error") is not None:
        return 0.0
    found = response.get(grade, (response.get("grades") or {}).get(grade))
    return math.nan if found is None else float(bool(found))


def _answered(response: Mapping[str, Any] | None) -> bool:
    return response is not None and not (response.get("cancelled") and response.get("error") is None)


def _view(
    record: Mapping[str, Any],
    responses: Mapping[str, Mapping[str, Any]],
    heard: Sequence[str],
    setting: Setting,
    *,
    number: int,
    view: int,
) -> list[Row]:
    observation = observation_of(
        record, crowd=setting.crowd, oracle=setting.oracle, heard=heard, fused=view == FUSED
    )
    if setting.evidence is not None:
        observation = replace(observation, evidence=setting.evidence(record, observation), cache={})
    groups = classes(observation, setting.features.equivalence)
    answered = sum(
        reply.role == "crowd" and isinstance(reply.result, Answer) for reply in observation.replies
    )
    names = {reply.call: reply.who for reply in observation.replies}
    rows: list[Row] = []
    if not groups:
        return rows
    for place, values in enumerate(setting.features.rows(observation)):
        group = groups[place]
        right = grade_of(responses[names[spokesman(observation, group)]], setting.grade)
        bits = sum(1 << call for call in group.calls)
        rows.append((values, 1.0 - right, number, view, place == 0, answered, bits))
    return rows
