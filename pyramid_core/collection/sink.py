"""Where the traces of a running pyramid go: lines of records, redacted, in files that do not grow for ever.

    sink = TraceSink("traces.jsonl", redact=without_names)
    Pyramid(..., on_trace=sink)

Records are made and written on a thread of the sink's own, so that neither an event loop nor a caller waits for a disk.
Where it cannot keep up, traces are dropped and counted: an answer is worth more than its trace.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pyramid_core.collection.lock import Lock
from pyramid_core.errors import InputError
from pyramid_core.records import trace_to_record, write_record
from pyramid_core.types import Trace
from pyramid_core.types.numbers import check_number

Redact = Callable[[dict[str, Any]], "dict[str, Any] | None"]
"""Given a record, gives the record to write, or None for none."""

_LOG = logging.getLogger(__name__)


class TraceSink:
    """Takes finished traces and appends them to a file as records.

    A full file is renamed to `NAME.TIME.jsonl` beside it, and a new one is begun. `train`, `profile` and `verify` read
    all of them.

    Args:
        path: the file that is written; ends in .jsonl.
        redact: what may be done to a record before it is written, one after another; one that raises loses the trace,
            never the redaction.
        max_bytes: the size at which a file is full.
        keep: how many full files are kept, the newest; None: all.
        pending: how many traces may wait to be written.

    Attributes:
        written: traces written.
        dropped: traces lost, because the disk was too slow or a redaction failed.

    Raises:
        InputError: a value is out of range, the folder is missing, or another process writes this file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        redact: Redact | Iterable[Redact] = (),
        max_bytes: int = 256_000_000,
        keep: int | None = None,
        pending: int = 10_000,
    ) -> None:
        self.path = Path(path)
        check_number("max_bytes", max_bytes, low=1, whole=True, unit="bytes")
        check_number("pending", pending, low=1, whole=True)
        if keep is not None:
            check_number("keep", keep, low=0, whole=True)
        if self.path.suffix != ".jsonl":
            raise InputError(f"the file of traces must end in .jsonl, not {self.path.name!r}")
        if not self.path.absolute().parent.is_dir():
            raise InputError(f"{self.path.parent} is not a folder: make it, or name another file")
        self._redact = (redact,) if callable(redact) else tuple(redact)
        self._max_bytes, self._keep = max_bytes, keep
        self.written = 0
        self.dropped = 0
        self._lock = Lock(self.path.with_name(f"{self.path.name}.lock"), self.path)
        self._waiting: queue.Queue[tuple[Trace, Mapping[str, Any]] | None] = queue.Queue(maxsize=pending)
        self._thread = threading.Thread(target=self._write_all, name="pyramid-traces", daemon=True)
        self._thread.start()

    def __call__(self, trace: Trace, **words: Any) -> None:
        """Take a trace; returns at once.

        Args:
            trace: a finished one.
            words: further keys of its record (`mode`).
        """
        try:
            self._waiting.put_nowait((trace, words))
        except queue.Full:
            self._drop("the disk is too slow")

    def close(self) -> None:
        """Write what waits, and let go of the file; a second time does nothing."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        self._lock.release()

    def _write_all(self) -> None:
        while (item := self._waiting.get()) is not None:
            trace, words = item
            try:
                self._write({**trace_to_record(trace), **words})
            except Exception:  # noqa: BLE001 - a full disk or a bad redaction must not stop the pyramid
                _LOG.exception("a trace of %s was not written", self.path)
                self.dropped += 1

    def _write(self, record: dict[str, Any]) -> None:
        for redact in self._redact:
            changed = redact(record)
            if changed is None:
                return
            record = changed
        if self.path.exists() and self.path.stat().st_size >= self._max_bytes:
            self._rotate()
        write_record(self.path, record)
        self.written += 1

    def _rotate(self) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        number = 0
        while (full := self._full(f"{stamp}-{number:03d}")).exists():
            number += 1
        self.path.rename(full)
        if self._keep is not None:
            kept = sorted(self.path.parent.glob(f"{self.path.stem}.????????T??????-???.jsonl"))
            for old in kept[: max(len(kept) - self._keep, 0)]:
                old.unlink()

    def _full(self, stamp: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{stamp}.jsonl")

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if self.dropped == 1:
            _LOG.warning("traces of %s are dropped: %s", self.path, why)


def without_texts(record: dict[str, Any]) -> dict[str, Any]:
    """A redaction that leaves nothing of what was asked and said, and all that is counted and decided.

    Features of such a record cannot be computed again: it serves reports, not training.
    """
    hidden = ("text", "answer", "extracted", "token_texts", "top_logprobs", "tool_calls", "error")
    responses = [
        {key: value for key, value in response.items() if key not in hidden}
        | ({"text": ""} if response.get("error") is None else {"error": {"type": response["error"]["type"]}})
        for response in record["responses"]
    ]
    kept = {key: value for key, value in record.items() if key not in ("messages", "tools", "tool_choice")}
    return {**kept, "query": "", "responses": responses}
