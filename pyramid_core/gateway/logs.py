"""One JSON object a line for everything that happens, under the request's id, without what was asked or answered."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from pyramid_core.errors import redacted
from pyramid_core.records.plain import plain

LOGGER = "pyramid.gateway"

_FIELDS = "pyramid_fields"


class JsonLines(logging.Formatter):
    """Records as JSON; fields come in `extra`, and nothing that looks like a key goes out."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            told["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(_clean(told))


def log(level: int, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """Write one event.

    Args:
        level: of `logging`.
        event: what happened, in a few words that are always the same.
        error: whose traceback goes with it.
        fields: what is known about it.
    """
    logging.getLogger(LOGGER).log(level, event, exc_info=error, extra={_FIELDS: fields})


def write_logs(*, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send this server's log, and that of the server below it, to a stream; standard error by default."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (LOGGER, "pyramid_core", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return plain(value)
