"""How long a call may take, and how often it is tried."""

from __future__ import annotations

from dataclasses import dataclass

from pyramid_core.errors import EndpointError
from pyramid_core.types.numbers import check_number


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds that each phase of a call may take; None: any time.

    Attributes:
        connect: until there is a connection: name, TCP and TLS.
        first: from the request to the answer's first byte. A whole answer's comes when it is complete, a stream's at once.
        between: silence between two pieces of an answer.
        total: the whole call, waiting for its turn and trying again included.

    Raises:
        InputError: a value is not above zero.
    """

    connect: float | None = 5.0
    first: float | None = 120.0
    between: float | None = 60.0
    total: float | None = 600.0

    def __post_init__(self) -> None:
        for name in ("connect", "first", "between", "total"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low=0.0, above=True, unit="seconds")


@dataclass(frozen=True, kw_only=True)
class Retries:
    """When a call that failed is tried again: after a pause drawn between zero and `base` · 2^(tries so far - 1).

    The pause is drawn over the whole range ("full jitter"), so that calls that failed together do not come back
    together. A server that says when it wants to be asked again (`Retry-After`) is asked no earlier, and up to a tenth
    later.

    Attributes:
        attempts: tries altogether; 1: none but the first.
        base: the longest first pause, in seconds.
        longest: the longest pause, in seconds. A server that wants a longer one is not asked again.

    Raises:
        InputError: a value is out of its range.
    """

    attempts: int = 3
    base: float = 0.5
    longest: float = 30.0

    def __post_init__(self) -> None:
        check_number("attempts", self.attempts, low=1, whole=True)
        check_number("base", self.base, low=0.0, unit="seconds")
        check_number("longest", self.longest, low=0.0, unit="seconds")

    def pause(self, error: EndpointError, tries: int, draw: float) -> float | None:
        """Seconds to wait before the next try; None: there is none.

        Args:
            error: what the last try came to.
            tries: how many there were.
            draw: uniform in [0, 1).
        """
        if not error.retryable or tries >= self.attempts:
            return None
        if error.retry_after is not None:
            return error.retry_after * (1 + 0.1 * draw) if error.retry_after <= self.longest else None
        return min(self.base * 2.0 ** (tries - 1), self.longest) * draw
