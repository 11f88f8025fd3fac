"""One process that runs one program: started, listened to under deadlines, and ended with everything it left.

The expected values of a test never come near it: what is handed over is the program and the calls.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import secrets
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from cell.jail import main; from cell.runner import work;"
    " del sys.path[0]; main(work)"
)
_HERE = Path(__file__).resolve().parent
_ALIKE = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
"""The child's whole environment, but for where its scratch folder is. One hash seed, so that sets are listed alike."""


class Ended(Exception):
    """The process has ended; `how` says in which way: `exit 0`, `SIGSEGV`, `timed out` (CPU time), `flood`."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Running:
    """A started process; a context manager that leaves nothing behind.

    Args:
        python: the interpreter.
        mode: jail, net or bare.
        job: the program, the steps and the limits, marshallable.
        owner: the user id that the scratch folder belongs to, or None.
        output_bytes: what may be read from it before it is taken for a flood.
    """

    def __init__(
        self, *, python: str, mode: str, job: Mapping[str, Any], owner: int | None, output_bytes: int
    ) -> None:
        self._token = secrets.token_hex(16)
        self._room = output_bytes
        self._buffer = b""
        self._scratch = Path(tempfile.mkdtemp(prefix="pyramid-sandbox-"))
        opened: list[int] = []
        try:
            if owner is not None:
                os.chown(self._scratch, owner, owner)
            results, write = os.pipe()
            opened += [results, write]
            leash, self._leash = os.pipe()
            opened += [leash, self._leash]
            with tempfile.TemporaryFile() as given:
                marshal.dump({**job, "token": self._token}, given, 4)
                given.seek(0)
                inside = "/scratch" if mode == "jail" else str(self._scratch)
                self._process = subprocess.Popen(  # noqa: S603 - the interpreter, with our own arguments.
                    [
                        *(python, "-s", "-S", "-P", "-X", "utf8", "-c", _START, str(_HERE)),
                        *(mode, str(write), str(leash), str(self._scratch)),
                    ],
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={**_ALIKE, "HOME": inside, "TMPDIR": inside},
                    pass_fds=(write, leash),
                    start_new_session=True,
                )
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            _remove(self._scratch)
            raise
        os.close(write)
        os.close(leash)
        self._results = results
        self._poll = select.poll()
        self._poll.register(results, select.POLLIN | select.POLLHUP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def line(self, seconds: float) -> str | None:
        """The next line that the child says, without its token; None where none comes within `seconds`.

        Raises:
            Ended: the process has ended, or wrote more than anybody would read.
        """
        mark, until = f"{self._token} ".encode(), time.monotonic() + seconds
        while True:
            whole, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                at = whole.find(mark)
                if at >= 0:  # Whatever else was written there was not written by the child's own side.
                    return whole[at + len(mark) :].decode("ascii", "replace")
                continue
            left = until - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                return None
            chunk = os.read(self._results, 1 << 16)
            if not chunk:
                raise Ended(self._how())
            self._room -= len(chunk)
            if self._room < 0:
                raise Ended("flood")
            self._buffer += chunk

    def close(self) -> None:
        """Let the leash go, and wait until the warden has seen to it that nothing is left."""
        if self._leash < 0:
            return
        os.close(self._leash)
        self._leash = -1
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            os.close(self._results)
            _remove(self._scratch)

    def _how(self) -> str:
        code = self._process.wait()
        if code == 124:
            return "timed out"
        if code > 128:
            with contextlib.suppress(ValueError):
                return signal.Signals(code - 128).name
        return f"exit {code}"


def _remove(folder: Path) -> None:
    """Remove a scratch folder, whatever modes its contents were given; links are not followed."""
    try:
        folder.rmdir()
    except OSError:
        with contextlib.suppress(OSError):
            folder.chmod(stat.S_IRWXU)
            for inner, _, _ in os.walk(
                folder
            ):  # From the top, so that each can be entered once it is its turn.
                for entry in os.scandir(inner):
                    if entry.is_dir(follow_symlinks=False):
                        Path(entry.path).chmod(stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)
