"""What the cell asks of the system: namespaces, mounts, privileges and the ends of processes.

ctypes stands in for what the standard library does not offer at the oldest Python that is supported. Every refusal of
the system is raised as `Refused`, naming the step.
"""

# ruff: noqa: PTH123 - pathlib would double
# the time that a fresh interpreter takes to start.

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
from collections.abc import Callable
from typing import Any

NOBODY = 65534

NEW_NS, NEW_UTS, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
MS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
SET_PDEATHSIG, SET_DUMPABLE, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 1, 4, 36, 38
SIGKILL = 9


class Refused(Exception):
    """A step of this mode is not possible here."""


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def checked(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns 0.

    Raises:
        Refused: it returned something else.
    """
    if getattr(_libc(), name)(*arguments) != 0:
        code = ctypes.get_errno()
        shown = " ".join(a.decode() for a in arguments if isinstance(a, bytes))
        raise Refused(f"{name} {shown}".rstrip() + f": {errno.errorcode.get(code, code)}")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    """Mount something, or change a mount."""

    def encoded(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    checked("mount", encoded(source), encoded(target), encoded(kind), ctypes.c_ulong(flags), encoded(options))


def mounts_below(root: str) -> list[tuple[str, int]]:
    """The mount points at and below `root`, with the flags that they must keep."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            fields = line.split()
            place = fields[4].replace("\\040", " ").replace("\\134", "\\")
            if place == root or place.startswith(root + "/"):
                found.append(
                    (place, sum(MS.get(option, 0) for option in fields[5].split(",") if option != "ro"))
                )
    return found


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    zero = ctypes.c_ulong(0)
    checked("prctl", option, ctypes.c_ulong(value), zero, zero, zero)


def no_capabilities() -> None:
    """Give up what a new user namespace grants to whoever makes it."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    checked("capset", ctypes.byref(header), ctypes.byref(nothing))


def mapper(target: int) -> Callable[[], bool]:
    """A helper that stays outside the new user namespace and maps root and nobody into it, once told to."""
    hear, tell = os.pipe()
    helper = os.fork()
    if not helper:
        os.close(tell)
        os.read(hear, 1)
        try:
            for kind in ("uid_map", "gid_map"):
                write(f"/proc/{target}/{kind}", f"0 0 1\n{NOBODY} {NOBODY} 1\n")
        except OSError:
            os._exit(1)
        os._exit(0)
    os.close(hear)

    def finish() -> bool:
        os.close(tell)
        return os.waitpid(helper, 0)[1] == 0

    return finish


def drop() -> None:
    """Stop being root, for good."""
    try:
        setgroups_none()
        if hasattr(os, "setresuid"):
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        else:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    except OSError as error:
        raise Refused(f"root's privileges cannot be dropped: {error}") from error
    if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()):
        raise Refused("root's privileges cannot be dropped")


def setgroups_none() -> None:
    """Leave all supplementary groups."""
    if os.getgroups():
        os.setgroups([])


def await_end(inmate: int, leash: int) -> tuple[int, float]:
    """Wait until the inmate has ended, and end it once the leash is let go. Returns status and CPU seconds."""
    try:
        descriptor = os.pidfd_open(inmate)
    except (AttributeError, OSError):
        descriptor = -1
    while True:
        watched = [leash] if descriptor < 0 else [leash, descriptor]
        if leash in select.select(watched, [], [], 0.01 if descriptor < 0 else None)[0]:
            kill(inmate)
            descriptor, flags = -1, 0
        else:
            flags = os.WNOHANG
        process, status, used = os.wait4(inmate, flags)
        if process:
            return status, used.ru_utime + used.ru_stime


def kill(process: int) -> None:
    """End a process, if it is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, SIGKILL)


def kill_strays(inmate: int) -> None:
    """Kill the inmate's group and, where orphans come to us, whatever left it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(inmate, SIGKILL)
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as listed:
                orphans = listed.read().split()
        except OSError:
            return
        if not orphans:
            return
        for orphan in orphans:
            kill(int(orphan))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def write(path: str, text: str) -> None:
    """Write into a file that exists."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
