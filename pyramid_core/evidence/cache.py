"""What programs did, kept on disk: the same program on the same inputs is run once.

An entry's key is a hash of all that its content depends on: the program, the calls, the tests, the sandbox's limits
and this module's version. So nothing is ever out of date, and a table that was made from the cache is made again
exactly, also where a program's time is just at a limit. The file is a database of SQLite, so that several processes
may use it at once; it holds no question and no program, only hashes and outputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pyramid_core.errors import InputError

VERSION = 1
"""Rises when the same inputs may be judged differently: older entries are then never found."""

_PATIENCE = 30.0
_AT_ONCE = 500


class BehaviourCache:
    """A file of what programs did.

    Args:
        path: of the file; it and its folder are made where they are missing.

    Raises:
        InputError: the file cannot be written, or is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS tried (key TEXT PRIMARY KEY, found TEXT NOT NULL)"
                )
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"the cache {self.path} cannot be used ({error}): name a file that can be written, or remove it"
            ) from error

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """What is known of some keys."""
        wanted, found = list(keys), {}
        with closing(self._open()) as database:
            for at in range(0, len(wanted), _AT_ONCE):
                part = wanted[at : at + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = database.execute(f"SELECT key, found FROM tried WHERE key IN ({marks})", part)  # noqa: S608
                found.update({key: json.loads(told) for key, told in rows})
        return found

    def put(self, entries: Mapping[str, Any]) -> None:
        """Keep what was found; an entry that another process has written meanwhile stays."""
        rows = [(key, json.dumps(found)) for key, found in entries.items()]
        with closing(self._open()) as database, database:
            database.executemany("INSERT OR IGNORE INTO tried VALUES (?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_PATIENCE)


def key_for(parts: Mapping[str, Any]) -> str:
    """The key of an entry that depends on `parts`, which are plain JSON."""
    told = json.dumps({**parts, "version": VERSION}, sort_keys=True).encode("utf-8", "surrogatepass")
    return hashlib.sha256(told).hexdigest()


def usual_path() -> Path:
    """Where the command line keeps its cache: below XDG_CACHE_HOME, else `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pyramid-moa" / "behaviour.sqlite"
