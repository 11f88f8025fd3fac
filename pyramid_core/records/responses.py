"""One query and one answer, to and from the keys of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pyramid_core.errors import ReplayError, TraceError, redacted
from pyramid_core.records.plain import (
    from_number,
    plain,
    to_mapping,
    to_number,
    to_optional,
    to_sequence,
)
from pyramid_core.text import question_in
from pyramid_core.types import UNKNOWN_COST, Answer, Cost, Failure, Priced, Query, Reported, ToolCall, Usage

_CACHE = ("cached_tokens", "cache_write_tokens")

FORMAT = 1
"""The version of the record that is written and read."""


def query_of(record: Mapping[str, Any]) -> Query:
    """What was asked.

    The text is `query`, else what the user's last message says.

    Raises:
        TraceError: the record has neither `query` nor `messages`, or they are malformed.
    """
    messages = tuple(
        to_mapping(m, "a message") for m in to_sequence(record.get("messages") or (), "messages")
    )
    text = record.get("query")
    if text is None:
        if not messages:
            raise TraceError(
                f"record {record.get('id')!r} has neither query nor messages: it needs one of them"
            )
        text = last_words(messages)
    if not isinstance(text, str):
        raise TraceError(f"record {record.get('id')!r}: query is {type(text).__name__}, not a text")
    return Query(
        text=text,
        messages=messages,
        tools=tuple(to_mapping(t, "a tool") for t in to_sequence(record.get("tools") or (), "tools")),
        tool_choice=record.get("tool_choice"),
        answer_type=record.get("answer_type"),
        id=str(record.get("id") or ""),
        context=tuple(map(str, to_sequence(record.get("context") or (), "context"))),
    )


def query_keys(query: Query) -> dict[str, Any]:
    """The keys of a record that `query_of` reads."""
    return {
        "id": query.id,
        "query": query.text,
        "messages": plain(query.messages),
        "tools": plain(query.tools),
        "tool_choice": plain(query.tool_choice),
        "answer_type": query.answer_type,
    } | ({"context": list(query.context)} if query.context else {})


def answer_of(response: Mapping[str, Any]) -> Reported:
    """The answer or failure that a response stands for.

    A source's extracted `answer` is used only where `text` is null: else answers are extracted from their texts.

    Raises:
        ReplayError: the call was cancelled, so that there is none.
        TraceError: a value is malformed.
    """
    model = str(response.get("model", ""))
    error = response.get("error")
    if error is None and response.get("cancelled"):
        raise ReplayError(f"the answer of {model!r} was cancelled when this record was made: there is none")
    elapsed = to_number(response.get("latency"), "latency")
    member = str(response.get("member", response.get("who", model)))
    if error is not None:
        words = error if isinstance(error, Mapping) else {"message": error}
        kind, message = str(words.get("type", "Error")), str(words.get("message", ""))
        return Failure(member=member, kind=kind, message=redacted(message), elapsed=elapsed)
    text = response.get("text")
    if not isinstance(text, str | None):
        raise TraceError(f"the text of {model!r} is {type(text).__name__}, not a text")
    extracted = response.get("extracted", response.get("answer") if text is None else None)
    logprobs = _numbers(response, "logprobs")
    return Answer(
        text=text or "",
        member=member,
        tool_calls=tuple(
            _tool_call(call) for call in to_sequence(response.get("tool_calls") or (), "tool_calls")
        ),
        extracted=None if extracted is None else str(extracted),
        logprobs=logprobs,
        token_texts=_texts(response, "token_texts"),
        top_logprobs=_alternatives(response),
        answer_span=_span(response, logprobs),
        mean_prob=to_optional(response.get("mean_prob"), "mean_prob"),
        confidence=to_optional(response.get("confidence"), "confidence"),
        finish_reason=response.get("finish_reason"),
        usage=_usage(response),
        cost=_cost(response),
        priced=_priced(response),
        elapsed=elapsed,
    )


def response_of(result: Reported, *, model: str) -> dict[str, Any]:
    """A response with the answer or failure in it, such that `answer_of` gives it back; `raw` is left out."""
    response: dict[str, Any] = {"model": model}
    if result.member != model:
        response["member"] = result.member
    if isinstance(result, Failure):
        error = {"type": result.kind, "message": result.message}
        return response | {"text": None, "error": error, "latency": from_number(result.elapsed)}
    keeps_text = bool(result.text) or result.extracted is None
    response["text"] = result.text if keeps_text else None
    if result.extracted is not None:
        response["extracted" if keeps_text else "answer"] = result.extracted
    if result.tool_calls:
        response["tool_calls"] = [
            {"name": call.name, "arguments": plain(call.arguments)}
            | ({} if call.id is None else {"id": call.id})
            for call in result.tool_calls
        ]
    for name in ("logprobs", "top_logprobs", "token_texts", "answer_span", "mean_prob", "confidence"):
        value = getattr(result, name)
        if value is not None:
            response[name] = plain(value)
    if result.finish_reason is not None:
        response["finish_reason"] = result.finish_reason
    if result.usage is not None:
        response["input_tokens"] = result.usage.input_tokens
        response["tokens"] = result.usage.output_tokens
        for name in _CACHE:
            if getattr(result.usage, name) is not None:
                response[name] = getattr(result.usage, name)
    if result.cost != UNKNOWN_COST:
        response["cost"] = result.cost.usd
        if not result.cost.complete:
            response["cost_complete"] = False
    if result.priced is not None:
        response["priced"] = asdict(result.priced)
    return response | {"latency": from_number(result.elapsed)}


def last_words(messages: tuple[Mapping[str, Any], ...]) -> str:
    """What the user says last, its parts of text joined; everything where no message is a user's."""
    return question_in(messages, asks=lambda message: message.get("role") == "user", says=_words_of)


def _words_of(message: Mapping[str, Any]) -> str:
    """What a message says, its parts of text joined."""
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [
        part if isinstance(part, str) else part.get("text")
        for part in parts
        if isinstance(part, str | Mapping)
    ]
    return "\n".join(text for text in texts if isinstance(text, str))


def _tool_call(call: Any) -> ToolCall:
    found = to_mapping(call, "a tool call")
    arguments = found.get("arguments")
    if not isinstance(arguments, Mapping | str):
        arguments = {} if arguments is None else str(arguments)
    return ToolCall(name=str(found.get("name", "")), arguments=arguments, id=found.get("id"))


def _numbers(response: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    values = response.get(name)
    if values is None:
        return None
    return tuple(to_number(value, name) for value in to_sequence(values, name))


def _texts(response: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    values = response.get(name)
    return None if values is None else tuple(str(value) for value in to_sequence(values, name))


def _alternatives(response: Mapping[str, Any]) -> tuple[tuple[tuple[str, float], ...], ...] | None:
    tokens = response.get("top_logprobs")
    if tokens is None:
        return None
    name = "top_logprobs"
    pairs = [t.items() if isinstance(t, Mapping) else to_sequence(t, name) for t in to_sequence(tokens, name)]
    try:
        return tuple(tuple((str(text), to_number(value, name)) for text, value in token) for token in pairs)
    except ValueError as error:
        if isinstance(error, TraceError):
            raise
        raise TraceError(f"{name} has something else than pairs of text and log-probability") from error


def _span(response: Mapping[str, Any], logprobs: tuple[float, ...] | None) -> tuple[int, int] | None:
    """The answer's tokens; where a source gives their log-probabilities instead, where these stand in the whole."""
    span = response.get("answer_span")
    if span is not None:
        ends = to_sequence(span, "answer_span")
        if len(ends) != 2 or not all(isinstance(end, int) for end in ends):
            raise TraceError(f"answer_span is {span!r}, not [start, end)")
        return ends[0], ends[1]
    inner = _numbers(response, "answer_logprobs")
    if not inner or not logprobs:
        return None
    starts = range(len(logprobs) - len(inner) + 1)
    found = (start for start in starts if logprobs[start : start + len(inner)] == inner)
    start = next(found, None)
    return None if start is None else (start, start + len(inner))


def _usage(response: Mapping[str, Any]) -> Usage | None:
    counts = [response.get("input_tokens"), response.get("tokens")]
    cache = {name: response.get(name) for name in _CACHE}
    for value in (*counts, *cache.values()):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TraceError(f"a token count is {value!r}, not an integer")
    if counts == [None, None] and not ("input_tokens" in response and "tokens" in response):
        return None
    return Usage(input_tokens=counts[0], output_tokens=counts[1], **cache)


def _cost(response: Mapping[str, Any]) -> Cost:
    usd = response.get("cost")
    if usd is None:
        return UNKNOWN_COST
    return Cost(usd=to_number(usd, "cost"), complete=bool(response.get("cost_complete", True)))


def _priced(response: Mapping[str, Any]) -> Priced | None:
    found = response.get("priced")
    if found is None:
        return None
    words = to_mapping(found, "priced")
    return Priced(
        **{name: str(words.get(name, "")) for name in ("asked", "matched", "provider", "source", "date")}
    )
