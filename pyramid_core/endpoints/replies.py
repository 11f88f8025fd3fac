"""Reading a response: what its status, its headers and the beginning of its body mean for the call."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from pyramid_core.endpoints.wire import read_error
from pyramid_core.errors import EndpointGarbled, EndpointRefused

TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
"""Statuses after which the same request may succeed; the last four are those of well-known proxies and providers."""

FINAL_CODES = ("insufficient_quota", "billing_hard_limit_reached", "exceed_context_size_error")
"""Codes that say that it will not, whatever the status is."""

WHAT_TO_DO: Mapping[int, str] = {
    401: "the key is missing or not accepted: look at api_key_env or api_key_file",
    403: "the key may not do this: look at its rights, and at the model's name",
    404: "there is no such path or model: look at base_url (does it lack /v1?) and model",
    405: "the path takes no POST: look at base_url (does it lack /v1?)",
    413: "the request is too large for the server",
    422: "the server does not take one of the request's settings",
    429: "too many requests, or the quota is used up: lower max_concurrency, or ask for a higher limit",
}


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> EndpointRefused:
    """The error that a response with an error status stands for."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    said, code = read_error(parsed)
    said = said or _plain_words(body)
    advice = WHAT_TO_DO.get(status)
    parts = [f"HTTP {status}", said[:300], advice and f"({advice})"]
    return EndpointRefused(
        " ".join(part if place != 1 else f"– {part}" for place, part in enumerate(parts) if part),
        status=status,
        code=code,
        retryable=status in TRANSIENT and code not in FINAL_CODES,
        retry_after=retry_after(headers),
    )


def _plain_words(body: bytes) -> str:
    """The text of a page or a bare message."""
    text = re.sub(
        r"<(script|style)\b.*?</\1>|<[^>]{0,500}>",
        " ",
        body[:4000].decode(errors="replace"),
        flags=re.DOTALL | re.IGNORECASE,
    )
    return " ".join(text.split())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now after which the server wants to be asked again, 0 or more.

    `retry-after-ms` is some providers' own; `Retry-After` has seconds or a date (RFC 9110, section 10.2.3), which counts
    from the server's own clock where the response has a `Date`.
    """
    for name, unit in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        value = (headers.get(name) or "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * unit
    until, now = _date(headers.get("Retry-After")), _date(headers.get("Date"))
    if until is None:
        return None
    return max(until - (time.time() if now is None else now), 0.0)


def _date(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (ValueError, OverflowError):
        return None


def parsed(body: bytes, content_type: str) -> Any:
    """The JSON in a body.

    Raises:
        EndpointGarbled: there is none. A cut one may be whole the next time; another content type will not be.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        if content_type not in ("application/json", "", "text/plain"):
            raise EndpointGarbled(
                f"the answer is {content_type}, not JSON: {_plain_words(body)[:80]!r}; look at base_url"
            ) from None
        if not body.strip():
            raise EndpointGarbled("the answer's body is empty", retryable=True) from None
        raise EndpointGarbled(f"the answer is cut off or no JSON ({error})", retryable=True) from None
