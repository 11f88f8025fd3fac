"""A request for a chat completion: from a query, and back to one with everything in it checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pyramid_core.errors import RequestError
from pyramid_core.records.responses import last_words
from pyramid_core.types import Query
from pyramid_core.types.numbers import is_number

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

NUMBERS: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
WHOLE: Mapping[str, tuple[float, float]] = {
    "max_tokens": (1, 2**31),
    "max_completion_tokens": (1, 2**31),
    "top_logprobs": (0, 20),
    "seed": (-(2**63), 2**63),
    "n": (1, 1),
}
"""Settings that are numbers, each with the range that it may have."""

PASSED = ("reasoning_effort", "verbosity", "service_tier", "user", "metadata", "store", "prompt_cache_key")
"""Settings that are taken as they come: what they mean is the member's business."""

SEVERAL = ("parallel_tool_calls", "logprobs")
"""Settings that are true or false."""

MAX_STOPS = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one call sets beside its messages and tools; as `Query.raw` it reaches every `Endpoint`.

    Attributes:
        body: keys of the request body (temperature, max_tokens, stop, response_format, logprobs, seed, ...); they win
            over the endpoint's own.
    """

    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request body that was read.

    Attributes:
        query: what is asked; its `raw` is the `Settings`, so that members which are endpoints obey them.
        model: the name that was asked for.
        stream: whether the answer is to come in chunks.
        include_usage: whether a last chunk is to tell the usage.
        logprobs: whether log-probabilities are wanted.
        settings: the rest of the request, as it goes on to the members.
        overrides: the object under `pyramid`, unread.
        ignored: keys that are not known here and go nowhere.
    """

    query: Query
    model: str
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    settings: Settings = field(default_factory=Settings)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def request_body(
    query: Query, model: str, *, stream: bool = False, system: str | None = None, **settings: Any
) -> dict[str, Any]:
    """The body of a request for `query`.

    Args:
        query: its messages, or its text as the user's only message, its tools, and the `Settings` in `raw`.
        model: the endpoint's name for the model.
        stream: ask for chunks, and for the usage in the last one.
        system: a system message for conversations that have none.
        settings: the endpoint's defaults; what the query sets wins, and a value of None is left out.
    """
    messages = [dict(message) for message in query.messages] or [{"role": "user", "content": query.text}]
    if system and not any(message.get("role") in ("system", "developer") for message in messages):
        messages.insert(0, {"role": "system", "content": system})
    own = query.raw.body if isinstance(query.raw, Settings) else {}
    body: dict[str, Any] = {"model": model, "messages": messages}
    body |= {name: value for name, value in {**settings, **own}.items() if value is not None}
    if query.tools:
        body["tools"] = [dict(tool) for tool in query.tools]
        if query.tool_choice is not None:
            body["tool_choice"] = query.tool_choice
    else:
        body.pop("parallel_tool_calls", None)
    if stream:
        body["stream"] = True
        body.setdefault("stream_options", {"include_usage": True})
    return body


def read_request(body: Any) -> Request:
    """The request in a body, checked key by key.

    Raises:
        RequestError: the body is not a request; names the parameter, what it must be and what it is.
    """
    if not isinstance(body, Mapping):
        raise RequestError(f"the body must be a JSON object, not {_kind(body)}")
    model = _text(body, "model")
    messages = _messages(body.get("messages"))
    settings = _settings(body)
    tools = _tools(body.get("tools"))
    options = _object(body, "stream_options") or {}
    query = Query(
        text=last_words(messages),
        messages=messages,
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        answer_type="fields" if _is_structured(settings) else None,
        raw=Settings(body=settings),
    )
    known = {"model", "messages", "tools", "tool_choice", "stream", "stream_options", "pyramid", "n"}
    return Request(
        query=query,
        model=model,
        stream=_flag(body, "stream") or False,
        include_usage=_flag(options, "include_usage", "stream_options.include_usage") or False,
        logprobs=bool(settings.get("logprobs")),
        settings=Settings(body=settings),
        overrides=_object(body, "pyramid") or {},
        ignored=tuple(str(name) for name in body if name not in known and name not in settings),
    )


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: body[name] for name in PASSED if body.get(name) is not None}
    for names, whole in ((NUMBERS, False), (WHOLE, True)):
        for name, (low, high) in names.items():
            value = body.get(name)
            if value is None:
                continue
            if not is_number(value) or not low <= value <= high or (whole and value != int(value)):
                kind = "a whole number" if whole else "a number"
                raise RequestError(
                    f"{name} must be {kind} from {low:g} to {high:g}, not {_shown(value)}", param=name
                )
            found[name] = int(value) if whole else value
    found |= {name: flag for name in SEVERAL if (flag := _flag(body, name)) is not None}
    if found.get("top_logprobs") and not found.get("logprobs"):
        raise RequestError("top_logprobs needs logprobs: true beside it", param="top_logprobs")
    found.pop("n", None)
    stop = body.get("stop")
    if stop is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if (
            not isinstance(stops, list)
            or len(stops) > MAX_STOPS
            or not all(isinstance(s, str) and s for s in stops)
        ):
            raise RequestError(
                f"stop must be a text or at most {MAX_STOPS} texts, none of them empty, not {_shown(stop)}",
                param="stop",
            )
        found["stop"] = stop
    form = _object(body, "response_format")
    if form is not None:
        found["response_format"] = _response_format(form)
    return found


def _response_format(form: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = form.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise RequestError(
            f"response_format.type must be text, json_object or json_schema, not {_shown(kind)}",
            param="response_format.type",
        )
    schema = form.get("json_schema")
    if kind == "json_schema" and not (
        isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping)
    ):
        raise RequestError(
            'response_format of type json_schema needs {"json_schema": {"name": ..., "schema": {...}}}',
            param="response_format.json_schema",
        )
    return form


def _is_structured(settings: Mapping[str, Any]) -> bool:
    return settings.get("response_format", {}).get("type") in ("json_object", "json_schema")


def _messages(found: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(found, list) or not found:
        raise RequestError("messages must be a list with at least one message", param="messages")
    for place, message in enumerate(found):
        where = f"messages[{place}]"
        if not isinstance(message, Mapping):
            raise RequestError(
                f"{where} must be an object with role and content, not {_kind(message)}", param=where
            )
        if message.get("role") not in ROLES:
            raise RequestError(
                f"{where}.role must be one of {', '.join(ROLES)}, not {_shown(message.get('role'))}",
                param=f"{where}.role",
            )
        _content(message, where)
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(isinstance(c, Mapping) for c in calls)):
            raise RequestError(f"{where}.tool_calls must be a list of objects", param=f"{where}.tool_calls")
    return tuple(found)


def _content(message: Mapping[str, Any], where: str) -> None:
    content, param = message.get("content"), f"{where}.content"
    if content is None:
        if message["role"] == "assistant":
            return
        raise RequestError(f"{param} must be a text or a list of parts, and is missing", param=param)
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(
        isinstance(p, Mapping) and isinstance(p.get("type"), str) for p in parts
    ):
        raise RequestError(
            f"{param} must be a text or a list of parts with a type each, not {_kind(content)}", param=param
        )
    for part in parts:
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise RequestError(
                f"{param} has a part of type text whose text is {_kind(part.get('text'))}", param=param
            )


def _tools(found: Any) -> tuple[Mapping[str, Any], ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise RequestError(f"tools must be a list, not {_kind(found)}", param="tools")
    for place, tool in enumerate(found):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if (
            not isinstance(function, Mapping)
            or not isinstance(function.get("name"), str)
            or not function["name"]
        ):
            raise RequestError(
                f'tools[{place}] must be {{"type": "function", "function": {{"name": ...}}}}',
                param=f"tools[{place}]",
            )
        if not isinstance(function.get("parameters", {}), Mapping):
            raise RequestError(
                f"tools[{place}].function.parameters must be a JSON schema", param=f"tools[{place}]"
            )
    return tuple(found)


def _tool_choice(found: Any, tools: tuple[Mapping[str, Any], ...]) -> Any:
    """As it was given, if it can be obeyed."""
    if found is None or found == "none":
        return found
    if found in ("auto", "required"):
        if not tools:
            raise RequestError(f"tool_choice is {found!r}, but there are no tools", param="tool_choice")
        return found
    function = found.get("function") if isinstance(found, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    names = [tool["function"]["name"] for tool in tools]
    if not isinstance(name, str) or name not in names:
        raise RequestError(
            "tool_choice must be none, auto, required or "
            f'{{"type": "function", "function": {{"name": one of {names}}}}}, not {_shown(found)}',
            param="tool_choice",
        )
    return found


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(f"{name} must be a text, not {_shown(value)}", param=name)
    return value


def _flag(body: Mapping[str, Any], name: str, param: str | None = None) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestError(f"{param or name} must be true or false, not {_shown(value)}", param=param or name)
    return value


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise RequestError(f"{name} must be an object, not {_kind(value)}", param=name)
    return value


_KINDS: Mapping[type, Literal["null", "true or false", "a number", "a text", "a list"]] = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "an object")


def _shown(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
