"""The page at `/`: one file with everything in it, which may load nothing and talk to nobody but this server."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page as it is sent.

    Attributes:
        html: the whole.
        headers: with a policy that lets the page's own style and script run, by their hashes, and nothing else.
    """

    html: bytes
    headers: Mapping[str, str]


def page() -> Page:
    """The page that ships with the package."""
    html = (resources.files(__package__) / "page.html").read_bytes()
    style, script = (_hash(html, tag) for tag in (b"style", b"script"))
    policy = "; ".join(
        (
            "default-src 'none'",
            # The script sets widths, which is styling without a <style>; it makes no markup of what it is sent.
            f"style-src '{style}'",
            f"script-src '{script}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return Page(
        html=html,
        headers={
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": policy,
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
        },
    )


def _hash(html: bytes, tag: bytes) -> str:
    found = re.search(rb"<%s>(.*?)</%s>" % (tag, tag), html, re.DOTALL)
    assert found is not None
    return f"sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}"
