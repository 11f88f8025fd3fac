"""One process writes one file: a lock that the operating system lets go of when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from pyramid_core.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none; whoever only imports this package shall not notice.
    fcntl = None  # type: ignore[assignment]


class Lock:
    """Held from its making to `release`; the file says who holds it.

    Args:
        path: of the lock's own file.
        what: that is locked, for the error.

    Raises:
        InputError: somebody else holds it; says who, where and since when. Or the file cannot be made, or the
            system has no such locks.
    """

    def __init__(self, path: Path, what: Path) -> None:
        if fcntl is None:
            raise InputError("collecting needs the file locks of a POSIX system, which this one has not")
        self.path = path
        self._file = self._locked(what)
        holder = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(holder).encode(), 0)

    def _locked(self, what: Path) -> int:
        while True:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise InputError(
                    f"{what} cannot be written ({error.strerror}): name a file in a folder that can"
                ) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = _holder(file)
                os.close(file)
                raise InputError(
                    f"{what} is being written by {holder}: wait for it, stop it, or name another file"
                ) from None
            # Its last holder may have removed the file between our opening and our locking it.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), self.path.stat()):
                    return file
            os.close(file)

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._file >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


def _holder(file: int) -> str:
    try:
        told = json.loads(os.pread(file, 4096, 0))
        return f"process {told['process']} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
