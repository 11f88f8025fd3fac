"""LangSmith: what it has recorded of a pyramid becomes records again, for training and for measuring.

`Client.list_runs` gives `Run` objects; a file holds them as JSON lines (`run.model_dump_json()`). A pyramid's run is one
that has members below it: runs whose metadata says `pyramid_member`. Runs of other things are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_pyramid.calls import plain, question
from langchain_pyramid.messages import answer_of
from langchain_pyramid.runs import CANCELLED
from pyramid_core.errors import TraceError
from pyramid_core.records import FORMAT, response_of
from pyramid_core.types import Failure

_KINDS = (AIMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage)
_CLASSES: Mapping[str, type[BaseMessage]] = {kind.__name__: kind for kind in _KINDS}
_SHOWN = 200


def read_langsmith(path: str | Path) -> Iterator[dict[str, Any]]:
    """The records of a file of runs.

    Args:
        path: JSON lines, one `Run` each, in any order.

    Raises:
        TraceError: names the line that is no run.
    """
    runs = []
    if not Path(path).is_file():
        raise TraceError(f"{path} is not a file: give runs of LangSmith's as JSON lines", path=str(path))
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                run = json.loads(line)
                str(run["id"]), run["run_type"]
            except (ValueError, TypeError, KeyError) as error:
                raise TraceError(
                    f"{path}, line {number}: this is no run of LangSmith's ({type(error).__name__}: {error}): "
                    "write one run.model_dump_json() a line",
                    path=str(path),
                    line=number,
                ) from error
            runs.append(run)
    return records_of(runs)


def records_of(runs: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record for each query of a pyramid, in the order in which they began.

    Args:
        runs: as LangSmith's client gives them, in plain JSON. Members that were cancelled are told as cancelled, those
            that failed as failures.
    """
    known = {str(run["id"]): run for run in runs}
    members: dict[str, list[Mapping[str, Any]]] = {}
    for run in known.values():
        if "pyramid_member" in _metadata(run) and run.get("parent_run_id") is not None:
            members.setdefault(str(run["parent_run_id"]), []).append(run)
    owners = [known[owner] for owner in members if owner in known]
    for owner in sorted(owners, key=lambda run: str(run.get("start_time"))):
        yield _record(owner, sorted(members[str(owner["id"])], key=lambda run: str(run.get("start_time"))))


def _record(owner: Mapping[str, Any], members: list[Mapping[str, Any]]) -> dict[str, Any]:
    messages = [_message(told) for told in _first((owner.get("inputs") or {}).get("messages")) or ()]
    invoked = (owner.get("extra") or {}).get("invocation_params") or {}
    tools = [convert_to_openai_tool(tool) for tool in invoked.get("tools") or ()]
    return {
        "format": FORMAT,
        "id": str(owner["id"]),
        "query": question(messages),
        "messages": [plain(message) for message in messages],
        "tools": tools,
        "tool_choice": invoked.get("tool_choice"),
        "responses": [_response(run) for run in members],
    }


def _response(run: Mapping[str, Any]) -> dict[str, Any]:
    metadata = _metadata(run)
    about = {"role": metadata.get("pyramid_role"), "latency": _seconds(run)}
    name = str(metadata["pyramid_member"])
    if CANCELLED in (run.get("tags") or ()):
        return {"model": name, "text": None, "cancelled": True, **about}
    generation = _first((run.get("outputs") or {}).get("generations"))
    if run.get("error") or not generation:
        words = str(run.get("error") or "the run has no output").partition("\n")[0][:_SHOWN]
        kind = words.partition("(")[0] if "(" in words else "Error"
        return response_of(Failure(member=name, kind=kind, message=words), model=name) | about
    message = _message(_first(generation, deep=False)["message"])
    said = message if isinstance(message, AIMessage) else AIMessage(str(message.text))
    return response_of(replace(answer_of(said), member=name), model=name) | about


def _metadata(run: Mapping[str, Any]) -> Mapping[str, Any]:
    return (run.get("extra") or {}).get("metadata") or {}


def _first(found: Any, *, deep: bool = True) -> Any:
    """The one element of a list, where LangChain's batches always hold one; a flat list of messages is itself."""
    if not isinstance(found, list) or not found:
        return None
    return found[0] if not deep or isinstance(found[0], list) else found


def _message(told: Mapping[str, Any]) -> BaseMessage:
    """A message as LangChain's tracer has dumped it."""
    kind = _CLASSES.get(str((told.get("id") or ["HumanMessage"])[-1]).removesuffix("Chunk"), HumanMessage)
    return kind(**{"content": "", **(told.get("kwargs") or {})})


def _seconds(run: Mapping[str, Any]) -> float | None:
    start, end = run.get("start_time"), run.get("end_time")
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))).total_seconds()
