"""What is to be asked: rows of a JSONL or CSV file, or objects in memory, as records that have no answers yet.

A file is read twice, and never held: once to check every row before anything is asked, and once to ask.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz, process

from pyramid_core.errors import InputError, TraceError
from pyramid_core.pyramid import checked_query
from pyramid_core.records import FORMAT, query_of, read_records
from pyramid_core.records.plain import plain
from pyramid_core.records.responses import query_keys
from pyramid_core.types import Query

ANSWER_TYPES = ("number", "choice", "literal", "code", "tool_calls", "fields", "text")
ASKED = ("query", "messages", "tools", "tool_choice")
"""The keys of a record that members get to see."""

_ANSWERED = ("format", "responses", "deliberation")
"""Keys of a row that is a record already: its answers are left behind."""

_JSON_KEYS = ("messages", "tools", "tool_choice")
_PROBABLY = ("question", "prompt", "input", "text", "problem", "instruction")
_FIELD_LIMIT = 100_000_000

Rows = Callable[[], Iterator[tuple[str, Mapping[str, Any]]]]
"""Gives all rows anew, each with where it stands."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One row as a record without answers.

    Attributes:
        id: of the record.
        record: its keys, `id` and `query` or `messages` among them, in plain JSON.
        where: file and line, for errors.
    """

    id: str
    record: Mapping[str, Any]
    where: str

    @property
    def query(self) -> Query:
        """As members are asked."""
        return query_of(self.record)

    @property
    def asked(self) -> str:
        """A digest of what members get to see."""
        return asked_digest(self.record)


@dataclass(frozen=True, kw_only=True)
class Questions:
    """All questions, checked.

    Attributes:
        rows: gives the rows anew.
        columns: key of the record -> name in the rows.
        ids: of all questions, in order.
        source: what they are from, in words.
    """

    rows: Rows
    columns: Mapping[str, str]
    ids: tuple[str, ...]
    source: str

    def __iter__(self) -> Iterator[Question]:
        return (_question(where, row, self.columns) for where, row in self.rows())


def questions_of(
    queries: str | Path | Iterable[str | Query | Mapping[str, Any]], columns: Mapping[str, str] | None = None
) -> Questions:
    """The questions of a file or of objects, each of which was looked at.

    Args:
        queries: a JSONL file (plain or gzip), a CSV or TSV file with a heading, or texts, queries or rows.
        columns: where a key of the record has another name in the rows, as {"query": "Question"}.

    Raises:
        InputError: the file cannot be read, a row cannot be used, or an id comes twice; says which row and what to do.
    """
    columns = dict(columns or {})
    if isinstance(queries, str | Path):
        source, rows = str(queries), _file_rows(Path(queries))
    else:
        source, held = "the queries", list(queries)
        rows = lambda: _held_rows(held)  # noqa: E731 - a name for what is called once a pass
    seen: dict[str, str] = {}
    for where, row in rows():
        question = _question(where, row, columns)
        if question.id in seen:
            raise _twice(question, seen[question.id], has_id="id" in columns or "id" in row)
        seen[question.id] = where
    if not seen:
        raise InputError(f"{source} has no question: give at least one")
    return Questions(rows=rows, columns=columns, ids=tuple(seen), source=source)


def asked_digest(record: Mapping[str, Any]) -> str:
    """A digest of what members get to see of a record."""
    seen = {key: record[key] for key in ASKED if record.get(key) not in (None, [], ())}
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]


def _question(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Question:
    taken = set(columns.values())
    record = {key: value for key, value in row.items() if key not in taken and key not in _ANSWERED}
    for key, column in columns.items():
        if column not in row:
            raise InputError(f"{where}: there is no column {column!r}: {_columns(column, row)}")
        record[key] = row[column]
    record = {key: value for key, value in record.items() if value is not None}
    if "query" not in record and "messages" not in record:
        raise InputError(f"{where}: {_no_query(row)}")
    kind = record.get("answer_type")
    if kind is not None and kind not in ANSWER_TYPES:
        raise InputError(f"{where}: answer_type {kind!r} is none of {', '.join(ANSWER_TYPES)}")
    name = str(record.pop("id", "")).strip() or asked_digest(record)
    record = {"id": name, **record}
    try:
        checked_query(query_of(record))
    except (InputError, TraceError) as error:
        raise InputError(f"{where}: {error}") from error
    return Question(id=name, record=record, where=where)


def _file_rows(path: Path) -> Rows:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise InputError(f"the queries {path} are {what}: give a JSONL or CSV file")
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return (lambda: _csv_rows(path)) if suffix.lower() in (".csv", ".tsv") else (lambda: _json_rows(path))


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    records = read_records(path)
    try:
        for record in records:
            yield f"{path}, line {records.line}", record
    except TraceError as error:
        hint = ""
        if error.line == 1 and ("list" in str(error) or _begins_list(path)):
            hint = ": a list in one piece cannot be read, write one object a line (jq -c '.[]')"
        raise InputError(f"{error}{hint}") from error


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(_FIELD_LIMIT)
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        with io.TextIOWrapper(
            gzip.open(path, "rb") if compressed else path.open("rb"), encoding="utf-8-sig", newline=""
        ) as text:
            yield from _table_rows(path, text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}): save it in that encoding") from error
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error})") from error


def _table_rows(path: Path, text: io.TextIOWrapper) -> Iterator[tuple[str, Mapping[str, Any]]]:
    heading = text.readline()
    text.seek(0)
    delimiter = max(",;\t", key=heading.count) if path.suffix.lower() != ".tsv" else "\t"
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    names: list[str] = []
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not names:
                names = _heading(where, cells)
            elif cells:
                yield where, _table_row(where, names, cells)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error})") from error


def _heading(where: str, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled or not all(names):
        what = (
            f"the column {doubled.pop()!r} comes twice" if doubled and all(names) else "a column has no name"
        )
        raise InputError(f"{where}: {what}: the first line names each column once")
    return names


def _table_row(where: str, names: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(names):
        raise InputError(
            f"{where}: {len(cells)} cells where the heading has {len(names)}: texts with the separator or a line's end "
            "in them stand in double quotes"
        )
    row: dict[str, Any] = {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
    for key in _JSON_KEYS:
        if row.get(key, "").lstrip()[:1] in ("[", "{"):
            try:
                row[key] = json.loads(row[key])
            except ValueError as error:
                raise InputError(f"{where}: {key} is not JSON ({error})") from error
    # An empty cell is a missing value, and its column is there all the same.
    return {name: row.get(name) for name in names}


def _held_rows(held: list[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, one in enumerate(held):
        where = f"query {number}"
        if isinstance(one, str):
            yield where, {"query": one}
        elif isinstance(one, Query):
            yield where, {key: value for key, value in query_keys(one).items() if value not in (None, "", [])}
        elif isinstance(one, Mapping):
            yield where, {str(key): plain(value) for key, value in one.items()}
        else:
            raise InputError(f"{where} is a {type(one).__name__}: give a text, a Query or a mapping")


def _begins_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"["


def _twice(question: Question, before: str, *, has_id: bool) -> InputError:
    if has_id:
        return InputError(
            f"{question.where}: the id {question.id!r} was there before ({before}): each needs its own"
        )
    return InputError(
        f"{question.where}: asks the same as {before}, and neither has an id: leave one out, or give both ids"
    )


def _no_query(row: Mapping[str, Any]) -> str:
    folded = {str(key).casefold(): key for key in row}
    near = next((folded[word] for word in _PROBABLY if word in folded), None)
    if near is None and "id" in row and len(row) == 1:
        return "the row has no question"
    named = ", ".join(repr(key) for key in row if key not in _ANSWERED) or "nothing"
    return (
        f"there is neither query nor messages, only {named}: say which column has the question, "
        f"--column query={near or 'NAME'}"
    )


def _columns(column: str, row: Mapping[str, Any]) -> str:
    found = process.extractOne(column, [str(key) for key in row], scorer=fuzz.ratio, score_cutoff=60)
    return f"did you mean {found[0]!r}?" if found else f"there are {', '.join(map(repr, row))}"


__all__ = ["ANSWER_TYPES", "FORMAT", "Question", "Questions", "asked_digest", "questions_of"]
