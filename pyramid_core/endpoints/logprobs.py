"""Log-probabilities as they arrive, in one of three shapes, and as they are written, in OpenAI's.

    OpenAI      {"content": [{"token", "logprob", "top_logprobs": [{"token", "logprob"}, ...]}, ...]}
    Ollama      the list alone
    Together    {"tokens": [...], "token_logprobs": [...], "top_logprobs": [{token: logprob, ...}, ...]}

A list that lacks one value is no list: a mean over what is left would not be the answer's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyramid_core.types import Answer

LEAST = -9999.0
"""What OpenAI writes where a log-probability is minus infinity, which JSON cannot say."""


def read_logprobs(found: Any) -> dict[str, Any]:
    """`logprobs`, `token_texts` and `top_logprobs` of an `Answer`, each only where it was given.

    Args:
        found: in any of the three shapes, as mappings or as objects with attributes.
    """
    if _of(found, "token_logprobs") is not None:
        values, tokens = _of(found, "token_logprobs"), _of(found, "tokens")
        return _read(values, tokens, _of(found, "top_logprobs"))
    entries = found if _is_list(found) else _of(found, "content")
    if not _is_list(entries):
        return {}
    usual = _usual(entries)
    if usual is not None:
        return usual
    values = [_of(entry, "logprob") for entry in entries]
    tokens = [_of(entry, "token") for entry in entries]
    return _read(values, tokens, [_of(entry, "top_logprobs") for entry in entries])


def entries_of(found: Any) -> Sequence[Any]:
    """The entries, one a token, of one chunk of a stream; in Together's shape they are made here."""
    if _of(found, "token_logprobs") is not None:
        tokens, values = _of(found, "tokens"), _of(found, "token_logprobs")
        if not _is_list(tokens) or not _is_list(values) or len(tokens) != len(values):
            return ()
        return [{"token": token, "logprob": value} for token, value in zip(tokens, values, strict=True)]
    entries = found if _is_list(found) else _of(found, "content")
    return entries if _is_list(entries) else ()


def openai_logprobs(answer: Answer) -> list[dict[str, Any]]:
    """An answer's log-probabilities as OpenAI's chat completions give them, one entry a token."""
    values = answer.logprobs or ()
    texts = answer.token_texts or ("",) * len(values)
    alternatives = answer.top_logprobs or ((),) * len(values)
    return [
        {
            "token": text,
            "logprob": _finite(value),
            "top_logprobs": [{"token": token, "logprob": _finite(logprob)} for token, logprob in top],
        }
        for text, value, top in zip(texts, values, alternatives, strict=True)
    ]


def _usual(entries: Sequence[Any]) -> dict[str, Any] | None:
    """`_read` for entries that are what nearly all are, mappings with every value there: ten times as fast."""
    try:
        values = [entry["logprob"] for entry in entries]
        tokens = [entry["token"] for entry in entries]
        pairs = [[(other["token"], other["logprob"]) for other in entry["top_logprobs"]] for entry in entries]
    except (KeyError, TypeError):
        return None
    others = [pair for some in pairs for pair in some]
    numbers = [*values, *(value for _, value in others)]
    texts = [*tokens, *(text for text, _ in others)]
    if set(map(type, numbers)) != {float} or set(map(type, texts)) != {str} or math.isnan(sum(numbers)):
        return None
    found: dict[str, Any] = {"logprobs": tuple(values), "token_texts": tuple(tokens)}
    return found | ({"top_logprobs": tuple(map(tuple, pairs))} if others else {})


def _read(values: Any, tokens: Any, alternatives: Any) -> dict[str, Any]:
    if not _is_list(values) or not values or not all(map(_is_number, values)):
        return {}
    found: dict[str, Any] = {"logprobs": tuple(map(float, values))}
    if _is_list(tokens) and len(tokens) == len(values) and all(isinstance(text, str) for text in tokens):
        found["token_texts"] = tuple(tokens)
    if _is_list(alternatives) and len(alternatives) == len(values) and any(alternatives):
        found["top_logprobs"] = tuple(tuple(_pairs(some)) for some in alternatives)
    return found


def _pairs(found: Any) -> Iterable[tuple[str, float]]:
    pairs = (
        found.items()
        if isinstance(found, Mapping)
        else ((_of(e, "token"), _of(e, "logprob")) for e in found or ())
    )
    return ((text, float(value)) for text, value in pairs if isinstance(text, str) and _is_number(value))


def _of(value: Any, name: str) -> Any:
    if type(value) is dict or isinstance(value, Mapping):  # the first is quick, and nearly always so
        return value.get(name)
    return getattr(value, name, None)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _finite(value: float) -> float | None:
    if math.isnan(value):
        return None
    return max(value, LEAST)
