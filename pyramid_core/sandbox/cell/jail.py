"""The inside of a sandbox, before the program: take away what the process could do harm with, then let it run.

This module runs in a fresh interpreter of its own and imports nothing of the project. The process that starts it (the
warden) builds the cell, forks the inmate into it, and waits for one of two things: the inmate's end, or the end of
the leash, a pipe whose other end is held by the process that wanted the program run. So nothing outlives the user's
process, however that ends. All three modes limit CPU time, memory, processes, open files and file sizes, and give the
inmate a session of its own:

    jail    namespaces for users, files, processes, network and messages: sees a read-only interpreter, an empty
            scratch folder in memory, itself, and no network
    net     the same without the files (where mounts are refused): privileges are dropped before the namespaces
    bare    no namespaces (where the system has none): as root, privileges are dropped; otherwise none are added

What was really put in place is reported back (`protections`). A step that fails refuses the mode by its name; the
outside then tries the next, or gives up. Nothing is ever run as root.
"""

# ruff: noqa: PTH102, PTH103, PTH110, PTH112, PTH114, PTH115, PTH117, PTH118, PTH120, PTH211 - pathlib would double
# the time that a fresh interpreter takes to start.

from __future__ import annotations

import contextlib
import marshal
import os
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .system import (
    MS,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    MS_REMOUNT,
    NEW_IPC,
    NEW_NET,
    NEW_NS,
    NEW_PID,
    NEW_USER,
    NEW_UTS,
    NOBODY,
    SET_CHILD_SUBREAPER,
    SET_DUMPABLE,
    SET_NO_NEW_PRIVS,
    SET_PDEATHSIG,
    SIGKILL,
    Refused,
    await_end,
    checked,
    drop,
    kill_strays,
    mapper,
    mount,
    mounts_below,
    no_capabilities,
    prctl,
    setgroups_none,
    write,
)

_LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
)
"""What an interpreter's own modules may load, and the devices that hold nothing."""


def main(work: Callable[[Mapping[str, Any], Callable[[str], None]], None]) -> None:
    """Build the cell that the arguments name, run `work` in it, and exit as it did.

    Arguments: the mode, the descriptors of the results and of the leash, and the scratch folder. The job comes on
    standard input, marshalled.
    """
    mode, results, leash, scratch = sys.argv[-4], int(sys.argv[-3]), int(sys.argv[-2]), sys.argv[-1]
    with os.fdopen(0, "rb") as given:
        job: dict[str, Any] = marshal.load(given)  # noqa: S302 - from the trusted side, before the program runs.
    token = job.pop("token")

    def say(text: str) -> None:
        data = f"{token} {text}\n".encode("ascii", "backslashreplace")
        while data:
            data = data[os.write(results, data) :]

    try:
        cell = Cell(mode, scratch, job["limits"])
        inmate = os.fork()
    except (Refused, OSError) as error:
        say(f"refused {error}")
        os._exit(3)
    if inmate:
        os.close(results)
        os._exit(cell.watch(inmate, leash))
    try:
        os.close(leash)
        cell.enter()
        say("ready " + ",".join(sorted(cell.protections)))
    except (Refused, OSError) as error:
        say(f"refused {error}")
        os._exit(3)
    work(job, say)


class Cell:
    """What is taken away from a process; built by the warden, entered by the inmate."""

    def __init__(self, mode: str, scratch: str, limits: Mapping[str, int]) -> None:
        self.mode = mode
        self.scratch = scratch
        self.limits = limits
        self.root = os.geteuid() == 0
        self.protections: set[str] = set()
        self.linux = sys.platform == "linux"
        os.umask(0o022)
        with contextlib.suppress(OSError):  # Where memory runs out, this goes first.
            write("/proc/self/oom_score_adj", "1000")
        if mode == "bare":
            if self.linux:
                prctl(SET_CHILD_SUBREAPER, 1)
        elif not self.linux:
            raise Refused("namespaces exist on Linux only")
        elif mode == "jail":
            self._new_namespaces(NEW_NS, outside=True)
            self._build()
            self.protections.add("files")
        else:
            if self.root:
                drop()
            prctl(SET_DUMPABLE, 1)  # Else its own /proc entries belong to root.
            self._new_namespaces(0, outside=False)

    def _new_namespaces(self, more: int, *, outside: bool) -> None:
        """Leave the namespaces of users, processes, network, messages and host name, and those in `more`."""
        uid, gid = os.geteuid(), os.getegid()
        if self.root and outside:
            setgroups_none()
        mapping = self.root and outside
        finish = mapper(os.getpid()) if mapping else None
        try:
            checked("unshare", NEW_USER | NEW_PID | NEW_NET | NEW_IPC | NEW_UTS | more)
        finally:
            mapped = finish() if finish else True
        if not mapped:
            raise Refused("user ids cannot be mapped into a user namespace")
        if not mapping:
            with contextlib.suppress(FileNotFoundError):
                write("/proc/self/setgroups", "deny")
            write("/proc/self/uid_map", f"{uid} {uid} 1")
            write("/proc/self/gid_map", f"{gid} {gid} 1")
        self.protections |= {"network", "processes", "messages"}

    def _build(self) -> None:
        """Make the scratch folder a root of its own, in memory: the interpreter's files, read-only, and a workplace."""
        new, size = self.scratch, self.limits["file_bytes"]
        mount(None, "/", None, MS_REC | MS_PRIVATE, None)
        mount("tmpfs", new, "tmpfs", MS["nosuid"] | MS["nodev"], "mode=755,size=1m")
        for path in _needed():
            self._bring(path)
        os.mkdir(new + "/scratch")
        if not os.path.lexists(new + "/tmp"):  # noqa: S108 - inside, this is the scratch folder.
            os.symlink("scratch", new + "/tmp")  # noqa: S108
        mount(
            "tmpfs",
            new + "/scratch",
            "tmpfs",
            MS["nosuid"] | MS["nodev"],
            f"mode=700,size={size},nr_inodes=256",
        )
        if self.root:
            os.chown(new + "/scratch", NOBODY, NOBODY)
        for place, flags in mounts_below(new):
            if place != new + "/scratch":
                mount(None, place, None, MS_BIND | MS_REMOUNT | MS["ro"] | flags, None)

    def _bring(self, path: str) -> None:
        """Show `path` at the same place below the new root; a symbolic link stays one."""
        inside = self.scratch + path
        if os.path.lexists(inside):
            return
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), inside)
            return
        if os.path.isdir(path):
            os.mkdir(inside)
        else:
            os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o600))
        mount(path, inside, None, MS_BIND | MS_REC, None)

    def enter(self) -> None:
        """Become the inmate: shut in, limited, nobody, and with no way back."""
        os.setsid()
        self.protections.add("session")
        if self.mode == "jail":
            os.chroot(self.scratch)
            os.chdir("/scratch")
        else:
            os.chdir(self.scratch)
        nothing = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        if nothing > 2:
            os.close(nothing)
        if self.root and self.mode != "net":
            drop()
        if os.geteuid() == 0 or os.getuid() == 0:
            raise Refused("root's privileges cannot be dropped")
        self.protections.add("unprivileged")
        if not os.access(os.__file__, os.R_OK):
            raise Refused(f"uid {os.getuid()} cannot read the interpreter's library at {os.__file__}")
        if self.linux:
            prctl(SET_NO_NEW_PRIVS, 1)
            no_capabilities()
            prctl(SET_PDEATHSIG, SIGKILL)
            self.protections.add("no new privileges")
        self._limit()

    def _limit(self) -> None:
        wanted = {
            "cpu": ("RLIMIT_CPU", self.limits["cpu_seconds"]),
            "memory": ("RLIMIT_AS", self.limits["memory_bytes"]),
            "children": ("RLIMIT_NPROC", self.limits["processes"]),
            "open files": ("RLIMIT_NOFILE", self.limits["open_files"]),
            "file size": ("RLIMIT_FSIZE", self.limits["file_bytes"]),
            "core": ("RLIMIT_CORE", 0),
        }
        for name, (limit, value) in wanted.items():
            if name == "memory" and not self.linux:  # Accepted elsewhere, and without effect.
                continue
            number = getattr(resource, limit, None)
            if number is None:
                continue
            hard = resource.getrlimit(number)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (most, most))
            self.protections.add(name)
        self.protections.discard("core")

    def watch(self, inmate: int, leash: int) -> int:
        """Wait for the inmate or for the leash; see that nothing is left. Returns the exit status to end with."""
        status, seconds = await_end(inmate, leash)
        if self.mode == "bare":
            kill_strays(inmate)
        if os.WIFSIGNALED(status):
            spent = seconds >= self.limits["cpu_seconds"] - 0.2
            return 124 if spent else 128 + os.WTERMSIG(status)
        return min(os.WEXITSTATUS(status), 100)


def _needed() -> list[str]:
    """The files and folders that the interpreter needs, without those inside another of them."""
    home = os.path.join(sys.base_prefix, "lib")
    paths = [path for path in (*_LIBRARIES, home, *sys.path) if os.path.isabs(path) and os.path.exists(path)]
    found: list[str] = []
    for path in paths:
        found += [os.path.normpath(path), os.path.realpath(path)]
    found = sorted(dict.fromkeys(found), key=len)
    return [path for path in found if not any(path.startswith(other + "/") for other in found)]
