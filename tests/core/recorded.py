"""The recorded answers of real models: found by PYRAMID_DATA, else beside the project; never part of it."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pyramid_core.records import answer_of, query_of
from pyramid_core.types import Observation, Reply

ROOT = Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """Where the recorded sets are; skips the test where they are not."""
    folder = Path(os.environ.get("PYRAMID_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the recorded answers are not at {folder}: set PYRAMID_DATA to their folder")
    return folder


def records(name: str) -> Iterator[dict[str, Any]]:
    """The records of one set, one at a time."""
    path = data_folder() / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def observation_of(record: dict[str, Any], crowd: Sequence[str]) -> Observation:
    """What a router sees of a record once the whole crowd has answered."""
    by_model = {response["model"]: response for response in record["responses"]}
    return Observation(
        query=query_of(record),
        crowd=tuple(crowd),
        replies=tuple(
            Reply(call=call, role="crowd", who=name, result=answer_of(by_model[name]))
            for call, name in enumerate(crowd)
        ),
    )


def correct(record: dict[str, Any], model: str) -> bool:
    """The recorded grade of a model's answer."""
    return next(bool(response["correct"]) for response in record["responses"] if response["model"] == model)
