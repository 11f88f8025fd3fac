"""Files of records, read as streams: whatever happened to a file, its good lines load and its bad line is named."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Generator, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

from pyramid_core.errors import InputError, TraceError
from pyramid_core.records.plain import plain
from pyramid_core.records.responses import FORMAT

Record = dict[str, Any]

PART = ".part"
"""What the name of a file ends in that is still being written: a last line without an end is not there yet."""

_GZIP = b"\x1f\x8b"


class RecordFile(Iterator[Record]):
    """The records of one file, one after another; never more than one line is held.

    Attributes:
        path: the file.
        line: the number of the line last read, from 1.
        errors: with `errors="collect"`, one `TraceError` for each bad line so far.
    """

    def __init__(self, path: Path, *, collect: bool) -> None:
        self.path = path
        self.line = 0
        self.errors: list[TraceError] = []
        self._collect = collect
        self._growing = path.suffix == PART
        self._lines = _lines(path)

    def __next__(self) -> Record:
        while True:
            try:
                self.line, raw = next(self._lines)
                if raw.strip() and not (self._growing and not raw.endswith(b"\n")):
                    return _parsed(raw, self.path, self.line)
            except TraceError as error:
                if not self._collect:
                    self._lines.close()
                    raise
                self.errors.append(error)


def read_records(path: str | Path, *, errors: Literal["raise", "collect"] = "raise") -> RecordFile:
    """The records of `path`, plain or gzip, in order; empty lines are skipped.

    Args:
        path: a file with one JSON object a line.
        errors: what a bad line does. "raise": after the good lines before it have been handed out, `TraceError`
            with `path` and `line`, and nothing follows. "collect": it goes into the iterator's `errors`, and
            reading goes on behind it. A gzip stream that is cut off ends the reading either way.

    Raises:
        TraceError: the file does not exist or cannot be read; while iterating: a line is bad.
    """
    if errors not in ("raise", "collect"):
        raise InputError(f"errors must be 'raise' or 'collect', not {errors!r}")
    where = Path(path)
    if not where.is_file():
        raise TraceError(
            f"{where} is not a file: give a file of records, one JSON object a line", path=str(where)
        )
    return RecordFile(where, collect=errors == "collect")


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Append one record to `path` as one line; gzip where the name ends in .gz. NaN is written as null,
    and what JSON cannot say as the words it prints as.

    A line that an earlier writer left unfinished is closed first, so that it spoils no other.
    """
    where = Path(path)
    try:
        text = json.dumps(record, allow_nan=False)
    except (ValueError, TypeError):
        text = json.dumps(plain(record), allow_nan=False)
    line = text.encode("ascii") + b"\n"
    if where.suffix == ".gz":
        line = gzip.compress(line, mtime=0)
    else:
        line = (b"\n" if _unfinished(where) else b"") + line
    with where.open("ab") as file:
        file.write(line)


def _lines(path: Path) -> Generator[tuple[int, bytes], None, None]:
    number = 0
    try:
        with _opened(path) as file:
            for raw in file:
                number += 1
                yield number, raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad(path, number + 1, f"the compressed file is cut off or damaged here ({error})") from error
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}", path=str(path), line=number) from error


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    return gzip.open(path, "rb") if compressed else path.open("rb")


def _parsed(raw: bytes, path: Path, line: int) -> Record:
    try:
        record = json.loads(raw, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise _bad(path, line, f"not a complete JSON object ({error})") from error
    if not isinstance(record, dict):
        raise _bad(path, line, f"a record is a JSON object, not {type(record).__name__}")
    if record.get("format", FORMAT) != FORMAT:
        raise _bad(path, line, f"format {record['format']!r} is not known here, only {FORMAT}")
    return record


def _bad(path: Path, line: int, what: str) -> TraceError:
    return TraceError(f"{path}, line {line}: {what}", path=str(path), line=line)


def _unfinished(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                return False
            file.seek(-1, 2)
            return file.read(1) != b"\n"
    except FileNotFoundError:
        return False
