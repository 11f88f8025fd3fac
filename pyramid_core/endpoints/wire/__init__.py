"""Chat completions on the wire, both ways, without I/O: the one place that knows the format.

    as a client     Query -> `request_body`;   body -> `read_answer`;   events -> `Collector`: tokens, then the answer
    as a server     body -> `read_request`;    Answer -> `completion_body`;   tokens, then the answer -> `Chunks`

The format is OpenAI's, with what other servers do differently where it was seen.
"""

from pyramid_core.endpoints.wire.chunks import DONE, Chunks, Collector, Events, event
from pyramid_core.endpoints.wire.requests import Request, Settings, read_request, request_body
from pyramid_core.endpoints.wire.responses import (
    completion_body,
    error_body,
    read_answer,
    read_error,
    usage_body,
)

__all__ = [
    "DONE",
    "Chunks",
    "Collector",
    "Events",
    "Request",
    "Settings",
    "completion_body",
    "error_body",
    "event",
    "read_answer",
    "read_error",
    "read_request",
    "request_body",
    "usage_body",
]
