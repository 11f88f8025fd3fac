"""A chat completion: read as an answer, and written from one; errors likewise, in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pyramid_core.endpoints.logprobs import openai_logprobs, read_logprobs
from pyramid_core.errors import EndpointGarbled, EndpointRefused
from pyramid_core.types import FINISH_REASONS, Answer, ToolCall, Usage

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_CACHED = ("cached_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")


def read_answer(body: Any) -> Answer:
    """The answer in the body of a completion; its cost is not known here.

    Raises:
        EndpointGarbled: the body is no completion; says what is missing.
        EndpointRefused: it is an error, which some servers send with a good status.
    """
    if not isinstance(body, Mapping):
        raise EndpointGarbled(f"the body is {type(body).__name__}, not an object with choices")
    choices = body.get("choices")
    if body.get("error") and not choices:
        said, code = read_error(body)
        raise EndpointRefused(f"the server answers with an error: {said[:300]}", code=code)
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    if not isinstance(first, Mapping) or not isinstance(message, Mapping):
        raise EndpointGarbled(
            f"the body has no choices[0].message, only {', '.join(map(str, body)) or 'nothing'}"
        )
    text, refused = text_of(message)
    calls = message.get("tool_calls")
    legacy = message.get("function_call")
    return Answer(
        text=text,
        tool_calls=tuple(
            [call_of(call) for call in calls if isinstance(call, Mapping)]
            if isinstance(calls, list)
            else [call_of({"function": legacy})]
            if isinstance(legacy, Mapping)
            else []
        ),
        raw=body,
        finish_reason="content_filter" if refused else finish_of(first.get("finish_reason")),
        usage=usage_of(body.get("usage")),
        **read_logprobs(first.get("logprobs")),
    )


def text_of(message: Mapping[str, Any]) -> tuple[str, bool]:
    """What a message or a delta says, and whether that is a refusal; parts that are no text (thoughts) are left out."""
    content = message.get("content")
    if isinstance(content, str) and content:
        return content, False
    if isinstance(content, list):
        parts = [
            part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"
        ]
        return "".join(text for text in parts if isinstance(text, str)), False
    refusal = message.get("refusal")
    return (refusal, True) if isinstance(refusal, str) and refusal else ("", False)


def finish_of(reason: Any) -> str | None:
    """Why an answer ended, in the core's words; None where the server does not say or says something else."""
    return FINISH_REASONS.get(reason.lower()) if isinstance(reason, str) else None


def call_of(call: Mapping[str, Any]) -> ToolCall:
    """A tool call, its arguments parsed where they are an object."""
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments: Any = function.get("arguments")
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            parsed = None
        arguments = parsed if isinstance(parsed, dict) else arguments
    elif not isinstance(arguments, Mapping):
        arguments = ""
    name, own = function.get("name"), call.get("id")
    return ToolCall(
        name=name if isinstance(name, str) else "",
        arguments=arguments,
        id=own if isinstance(own, str) else None,
    )


def usage_of(found: Any) -> Usage | None:
    """Tokens read and written, and those of the prompt that came from a cache or went into one; None where nothing is said."""
    if not isinstance(found, Mapping):
        return None
    details: Mapping[str, Any] = next(
        (found[name] for name in _DETAILS if isinstance(found.get(name), Mapping)), {}
    )
    usage = Usage(
        input_tokens=_count(found, _INPUT),
        output_tokens=_count(found, _OUTPUT),
        cached_tokens=_count(details, _CACHED, found),
        cache_write_tokens=_count(details, _WRITTEN, found),
    )
    return None if usage == Usage() else usage


def _count(
    found: Mapping[str, Any], names: Iterable[str], other: Mapping[str, Any] | None = None
) -> int | None:
    for source in (found, other or {}):
        for name in names:
            value = source.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
    return None


def usage_body(usage: Usage | None) -> dict[str, Any] | None:
    """Usage in OpenAI's words; None where a count is not known, for the format has no word for that."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    body: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        body["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return body


def completion_body(
    answer: Answer,
    *,
    model: str,
    id: str,  # noqa: A002 - as the format names it
    created: int,
    usage: Usage | None = None,
    logprobs: bool = False,
    **extra: Any,
) -> dict[str, Any]:
    """The body of a completion.

    Args:
        answer: what is said.
        model: the name that the caller asked for.
        id: of this completion.
        created: seconds since 1970.
        usage: to report; by default the answer's own.
        logprobs: whether the caller asked for log-probabilities.
        extra: further keys (`pyramid`: the routing record).
    """
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = calls_body(answer, id)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": logprobs_body(answer) if logprobs else None,
        "finish_reason": finish_body(answer),
    }
    body = {"id": id, "object": "chat.completion", "created": created, "model": model, "choices": [choice]}
    told = usage_body(answer.usage if usage is None else usage)
    return body | ({} if told is None else {"usage": told}) | extra


def calls_body(answer: Answer, id: str) -> list[dict[str, Any]]:  # noqa: A002 - as above
    """The tool calls in OpenAI's words; one without an id is given one that is unique to this completion."""
    return [call_body(call, f"call_{id}_{place}") for place, call in enumerate(answer.tool_calls)]


def call_body(call: ToolCall, id: str) -> dict[str, Any]:  # noqa: A002 - as above
    """One tool call in OpenAI's words; `id` is for one that has none."""
    arguments = call.arguments
    return {
        "id": call.id or id,
        "type": "function",
        "function": {
            "name": call.name,
            "arguments": arguments
            if isinstance(arguments, str)
            else json.dumps(dict(arguments), default=str),
        },
    }


def finish_body(answer: Answer) -> str:
    """Why the answer ended; the format has no word for not knowing, and `stop` is what servers say then."""
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def logprobs_body(answer: Answer) -> dict[str, Any] | None:
    """Log-probabilities in OpenAI's shape, with the tokens' bytes; None where there are none."""
    entries = openai_logprobs(answer)
    for entry in entries:
        for token in (entry, *entry["top_logprobs"]):
            token["bytes"] = list(token["token"].encode(errors="surrogatepass"))
    return {"content": entries, "refusal": None} if entries else None


def error_body(
    message: str,
    *,
    type: str = "invalid_request_error",  # noqa: A002 - as the format names it
    param: str | None = None,
    code: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": type, "param": param, "code": code, **extra}}


def read_error(body: Any) -> tuple[str, str]:
    """What an error's body says, and its code or type; ("", "") where it is none of the known shapes.

    OpenAI's is {"error": {"message", "type", "code"}}; others give {"error": text}, {"message": text} or, FastAPI's,
    {"detail": text or list}.
    """
    if not isinstance(body, Mapping):
        return "", ""
    error = body.get("error")
    found = error if isinstance(error, Mapping) else body
    said = error if isinstance(error, str) else found.get("message") or found.get("detail")
    code = next((c for name in ("code", "type") if isinstance(c := found.get(name), str) and c), "")
    if said is None and not isinstance(error, Mapping):
        return "", ""
    return (said if isinstance(said, str) else json.dumps(said, default=str)), code
