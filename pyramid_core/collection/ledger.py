"""What a collection keeps on disk, such that a process may be killed between any two instructions.

    OUT.part    finished records, plain JSON lines: one write a record, so that at any moment it is a file of records
    OUT.calls   single answers of queries that are not finished: one write an answer
    OUT.lock    who is writing
    OUT         made from OUT.part at the end, whole or not at all

An answer is in OUT.calls before its query is finished, and in OUT.part from then on; whoever resumes finds it in one of
them and asks for it no more. What a kill can lose is therefore what was in flight. A line that a kill has cut off is the
last of its file: it is cut away on resuming.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyramid_core.collection.lock import Lock
from pyramid_core.collection.questions import asked_digest
from pyramid_core.errors import InputError, TraceError
from pyramid_core.records import read_records
from pyramid_core.records.plain import plain

Responses = dict[str, dict[str, Any]]

COMPACT_BYTES = 64_000_000
"""The size of OUT.calls above which answers of finished queries are taken out of it."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Where a finished record stands in OUT.part: bytes [start, end)."""

    start: int
    end: int


class Ledger:
    """The files of one collection, opened and locked.

    Args:
        out: the file to make; gzip where its name ends in .gz.
        check: is given every record found, and says whether it is finished; what it raises ends the opening.

    Attributes:
        reopened: OUT had been made before, and nothing was written since.
        kept: the finished records, by id.
        pending: answers of queries that are not finished, by id and model.
        asked: a digest of what was asked there, by id.

    Raises:
        InputError: the files cannot be written, are no records, or somebody else is writing them.
    """

    def __init__(self, out: Path, *, check: Callable[[dict[str, Any]], bool]) -> None:
        self.out = out
        self.part, self.calls = (out.with_name(f"{out.name}.{end}") for end in ("part", "calls"))
        self.kept: dict[str, Kept] = {}
        self.pending: dict[str, Responses] = {}
        self.asked: dict[str, str] = {}
        if out.is_dir():
            raise InputError(f"{out} is a folder: name a file, {out / 'traces.jsonl.gz'}")
        if not out.absolute().parent.is_dir():
            raise InputError(f"the folder {out.parent} of {out.name} is not there: make it first")
        self.reopened = False
        self._lock = Lock(out.with_name(f"{out.name}.lock"), out)
        self._writing: IO[bytes] | None = None
        self._noting: IO[bytes] | None = None
        try:
            self._open(check)
        except BaseException:
            if self.reopened:
                self.leave()
            self.close()
            raise

    # Opening

    def _open(self, check: Callable[[dict[str, Any]], bool]) -> None:
        with self._writable():
            self.reopened = self.out.exists() and not self.part.exists()
            if self.reopened:
                self._reopen()
            _cut_last_line(self.part)
            _cut_last_line(self.calls)
            for told in _lines(self.calls):
                self.pending.setdefault(told["id"], {})[told["response"]["model"]] = told["response"]
                self.asked[told["id"]] = told["asked"]
            unfinished = self._scan(check)
            if unfinished or self.calls.exists():
                self._compact()
            if unfinished:
                self._take_out()
            self._writing = self.part.open("ab", buffering=0)
            self._end = self.part.stat().st_size
            self._noting = self.calls.open("ab", buffering=0)

    def _reopen(self) -> None:
        """Go on with a collection that had been made: its records are the part again."""
        beside = self.part.with_name(f"{self.part.name}.new")
        try:
            with beside.open("wb") as copy:
                for record in read_records(self.out):
                    copy.write(_line(record))
        except TraceError as error:
            beside.unlink()
            raise InputError(
                f"{self.out} is there and holds something else ({error}): name another"
            ) from error
        beside.replace(self.part)

    def _scan(self, check: Callable[[dict[str, Any]], bool]) -> bool:
        """Look at every record of the part; whether one is not finished."""
        unfinished = False
        for start, raw in _raw_lines(self.part):
            record = _parsed(self.part, raw, start)
            name = str(record.get("id"))
            if check(record):
                self.kept[name] = Kept(start=start, end=start + len(raw))
                self.pending.pop(name, None)
            else:
                unfinished = True
                found = {response["model"]: response for response in record.get("responses") or ()}
                self.pending[name] = {**found, **self.pending.get(name, {})}
                self.asked[name] = asked_digest(record)
        return unfinished

    def _take_out(self) -> None:
        """Leave only finished records in the part; the answers of others are in OUT.calls by now."""
        beside, kept, place = self.part.with_name(f"{self.part.name}.new"), {}, 0
        with self.part.open("rb") as old, beside.open("wb") as new:
            for name, line in self.kept.items():
                raw = _slice(old, line)
                new.write(raw)
                kept[name] = Kept(start=place, end=place + len(raw))
                place += len(raw)
        beside.replace(self.part)
        self.kept = kept

    def _compact(self) -> None:
        """Leave only answers of unfinished queries in OUT.calls."""
        beside = self.calls.with_name(f"{self.calls.name}.new")
        with beside.open("wb") as new:
            for name, responses in self.pending.items():
                for response in responses.values():
                    new.write(_line(self._note(name, response)))
        beside.replace(self.calls)
        if self._noting is not None:
            self._noting.close()
            self._noting = self.calls.open("ab", buffering=0)

    # Writing

    def note(self, name: str, asked: str, response: Mapping[str, Any]) -> None:
        """Keep one answer, or failure, of a query that is not finished; it replaces an earlier one of this model.

        Args:
            name: the query's id.
            asked: a digest of what was asked.
            response: as a record has it.
        """
        self.asked[name] = asked
        self.pending.setdefault(name, {})[str(response["model"])] = dict(response)
        self._append(self._noting, self._note(name, response))
        assert self._noting is not None
        if self._noting.tell() > COMPACT_BYTES:
            self._compact()

    def finish(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep a query's record; its single answers are in it."""
        size = self._append(self._writing, record)
        self.kept[name] = Kept(start=self._end, end=self._end + size)
        self._end += size
        self.pending.pop(name, None)

    def _note(self, name: str, response: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": name, "asked": self.asked[name], "response": response}

    def _append(self, file: IO[bytes] | None, record: Mapping[str, Any]) -> int:
        assert file is not None
        line, place = _line(record), os.fstat(file.fileno()).st_size
        try:
            written = file.write(line)
        except OSError as error:
            written, why = 0, error.strerror
        else:
            why = "the disk is full"
        if written != len(line):
            with contextlib.suppress(OSError):
                file.truncate(place)
            raise InputError(
                f"{file.name} cannot be written any further ({why}): what was answered is kept, make room and "
                "run the same again"
            )
        return len(line)

    # The end

    def make(self, order: Iterable[str]) -> None:
        """Make OUT from the part, whole or not at all, its records in the order of their questions."""
        self._stop_writing()
        beside = self.out.with_name(f"{self.out.name}.new")
        with self._writable():
            with self.part.open("rb") as part, beside.open("wb") as raw:
                if self.out.suffix == ".gz":
                    with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
                        _copy(part, packed, self._in(order))
                else:
                    _copy(part, raw, self._in(order))
                raw.flush()
                os.fsync(raw.fileno())
            beside.replace(self.out)
            self.part.unlink()
            self.calls.unlink(missing_ok=True)

    def leave(self) -> None:
        """Undo the opening of a collection that had been made and needed nothing."""
        self._stop_writing()
        for path in (self.part, self.calls):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files and let go of the lock; what is on disk stays as it is."""
        self._stop_writing()
        for path in (self.calls, self.part):
            with contextlib.suppress(OSError):
                if path.exists() and path.stat().st_size == 0:
                    path.unlink()
        self._lock.release()

    def _in(self, order: Iterable[str]) -> Iterator[Kept]:
        found = dict.fromkeys(name for name in order if name in self.kept)
        return (self.kept[name] for name in (found | dict.fromkeys(self.kept)))

    def _stop_writing(self) -> None:
        for file in (self._writing, self._noting):
            if file is not None:
                file.close()

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{error.filename or self.out} cannot be written ({error.strerror}): name a file that can"
            ) from error


def _line(record: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(record, allow_nan=False)
    except (ValueError, TypeError):
        text = json.dumps(plain(record), allow_nan=False)
    return text.encode("ascii") + b"\n"


def _cut_last_line(path: Path) -> None:
    """Take away what follows the last line's end: a kill has cut it off."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            file.truncate(end)


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        start = 0
        for raw in file:
            if raw.strip():
                yield start, raw
            start += len(raw)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return (_parsed(path, raw, start) for start, raw in _raw_lines(path))


def _parsed(path: Path, raw: bytes, start: int) -> dict[str, Any]:
    try:
        found = json.loads(raw)
        if not isinstance(found, dict) or "id" not in found:
            raise ValueError("no record with an id")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged at byte {start} ({error}): remove that line, or the file to begin anew"
        ) from error
    return found


def _slice(file: IO[bytes], line: Kept) -> bytes:
    file.seek(line.start)
    return file.read(line.end - line.start)


def _copy(part: IO[bytes], to: Any, lines: Iterator[Kept]) -> None:
    for line in lines:
        to.write(_slice(part, line))


__all__ = ["Kept", "Ledger", "Responses"]
