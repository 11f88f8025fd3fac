"""All that a driver understands: the commands that a deliberation issues, a closed union.

Times are absolute, on the clock whose `now` the driver hands to the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyramid_core.types import Answer, Failure, Query


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Ask a member; `stream` where its tokens may later be released. A member that cannot stream just answers."""

    call: int
    member: str
    stream: bool


@dataclass(frozen=True, kw_only=True)
class Gather:
    """Compute evidence of a kind from these answers, off the loop; late or failed evidence is simply missing."""

    call: int
    kind: str
    query: Query
    answers: tuple[Answer, ...]


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """The result of this call no longer matters: cancel its task, or abandon its thread."""

    call: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """The tokens of this call are the answer now: pass on what has come and what comes."""

    call: int


@dataclass(frozen=True, kw_only=True)
class WakeAt:
    """The one alarm: call `tick` at this time; it replaces the one before. Infinity: no alarm."""

    at: float


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A better solution so far, for those who watch."""

    call: int
    answer: Answer
    p_fail: float


@dataclass(frozen=True, kw_only=True)
class Accept:
    """The end: this is the answer. `reason`: decided, deadline, enough, fallback or abstained."""

    call: int
    answer: Answer
    reason: str


@dataclass(frozen=True, kw_only=True)
class Abstain:
    """The end: no answer is given, on purpose."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Fail:
    """The end: no answer could be had, or the one that was going out broke off."""

    reason: str
    failures: tuple[Failure, ...]


Command = Ask | Gather | Cancel | Release | WakeAt | Offer | Accept | Abstain | Fail
End = Accept | Abstain | Fail


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One event as it was handled, and what followed; `at` is seconds from the start."""

    at: float
    event: str
    call: int | None
    commands: tuple[Command, ...]
