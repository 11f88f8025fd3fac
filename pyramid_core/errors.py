"""Every error that the project raises on purpose, in one tree.

    PyramidError
    ├── InputError (ValueError)          an argument, a prompt, a configuration
    │   └── RequestError                 a request body that came over HTTP; names the parameter
    ├── RouterError (ValueError)         a router's folder: missing, cut off, of another version, not fitting
    ├── TraceError (ValueError)          a trace file or record; names file and line
    ├── ReplayError (LookupError)        a replay asks for an answer that the record does not have
    ├── ContractError (TypeError)        a member, router or rule broke its protocol: a programming error
    ├── MissingExtra (ImportError)       an optional dependency is not installed
    ├── SandboxError (RuntimeError)      programs cannot be run safely on this system
    ├── EndpointError                    a model over HTTP gave no answer; says whether asking again may help
    │   ├── EndpointUnreachable          no connection, or one that broke
    │   ├── EndpointTimeout (TimeoutError)  a phase took too long; says which
    │   ├── EndpointRefused              an answer with an error status
    │   └── EndpointGarbled              an answer that cannot be read
    ├── PyramidFailed                    no answer: every cause is carried along
    └── PyramidAbstained                 the rule declined to answer; the trace is carried along

A member's own exceptions are not in this tree: they become `Failure` data, except for programming errors
(`PROGRAMMING_ERRORS`), which propagate as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyramid_core.types import Failure, Trace

PROGRAMMING_ERRORS: tuple[type[Exception], ...] = (
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    AssertionError,
    NotImplementedError,
)
"""What a member raises by a bug rather than by bad luck; these are never turned into a `Failure`."""

_SECRETS = re.compile(
    r"(?i)\b(?:sk|pk|rk|key|hf|gsk|xai|ls|lsv2|AIza|nvapi|gh[a-z]|github_pat|r8)[-_][A-Za-z0-9_\-*.]{6,}"
    r"|\b(?:AIza[A-Za-z0-9_\-]{20,}|AKIA[A-Z0-9]{12,}|eyJ[A-Za-z0-9_\-]{8,2000}\.[A-Za-z0-9_\-.]+)"
    r"|(?<=bearer )[^\s\"',]+|(?<=authorization: basic )[^\s\"',]+|(?<=://)[^\s\"',/@]+(?=@)"
    r"|(?P<named>api.key[\"']?\s{0,3}[=:]\s{0,3}[\"']?)[^\s\"',&]{4,}"
)


class PyramidError(Exception):
    """The root of the tree."""


class InputError(PyramidError, ValueError):
    """An argument, a prompt or a configuration value cannot be used; says which, why and what to do."""


class RequestError(InputError):
    """A request body cannot be used.

    Attributes:
        param: the key that is wrong, as a path (`messages[0].role`), or None for the body as a whole.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class RouterError(PyramidError, ValueError):
    """A router cannot be loaded or does not fit; says which folder, which key and what to do."""


class TraceError(PyramidError, ValueError):
    """A record cannot be read.

    Attributes:
        path: the file, or "" for a record in memory.
        line: its number in the file, from 1, or 0.
    """

    def __init__(self, message: str, *, path: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


class ReplayError(PyramidError, LookupError):
    """A replay asked for an answer that was not recorded, or that was cancelled in the record."""


class ContractError(PyramidError, TypeError):
    """A member, router or rule broke its protocol. A programming error: never swallowed."""


class MissingExtra(PyramidError, ImportError):
    """An optional dependency is not installed; names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed: pip install "pyramid-moa[{extra}]"')


class SandboxError(PyramidError, RuntimeError):
    """Programs cannot be run on this system with the protections that are asked for; says why and what to do."""


class EndpointError(PyramidError):
    """A model over HTTP gave no answer. Messages hold no key: what a server quotes is redacted.

    Attributes:
        retryable: whether asking again may help.
        retry_after: seconds after which the server wants to be asked again, or None.
        status: the HTTP status, or None where there was none.
        code: the server's own word for what is wrong, or "".
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
        code: str = "",
    ) -> None:
        super().__init__(redacted(message))
        self.retryable = retryable
        self.retry_after = retry_after
        self.status = status
        self.code = code


class EndpointUnreachable(EndpointError):
    """There was no connection, or it broke before the answer was complete."""


class EndpointTimeout(EndpointError, TimeoutError):
    """A phase of a call took too long; says which, and how long was allowed."""


class EndpointRefused(EndpointError):
    """The server answered with an error status, or with an error in the middle of a stream."""


class EndpointGarbled(EndpointError):
    """The server answered with something that is no chat completion."""


class PyramidFailed(PyramidError):
    """No answer could be had.

    Attributes:
        failures: every member's failure, in call order.
        partial_text: what had gone out to the caller before a stream broke; "" otherwise.
        trace: everything that happened.
    """

    def __init__(
        self, message: str, *, failures: tuple[Failure, ...], trace: Trace, partial_text: str = ""
    ) -> None:
        super().__init__(message)
        self.failures = failures
        self.trace = trace
        self.partial_text = partial_text


class PyramidAbstained(PyramidError):
    """The rule declined to answer.

    Attributes:
        reason: in words.
        trace: everything that happened.
    """

    def __init__(self, reason: str, *, trace: Trace) -> None:
        super().__init__(f"the pyramid abstained: {reason}")
        self.reason = reason
        self.trace = trace


def redacted(text: str) -> str:
    """`text` without anything that looks like an API key.

    Provider errors quote the key that they refuse, and a failure's message is stored in traces.
    """
    return _SECRETS.sub(lambda found: f"{found['named'] or ''}[redacted]", text)
