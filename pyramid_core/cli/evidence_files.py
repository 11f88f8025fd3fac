"""What the commands of evidence read: records, a file's hash, and what programs do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyramid_core.errors import InputError

if TYPE_CHECKING:
    from pyramid_core.evidence import RecordedEvidence


def evidence_for(equivalence: str, cache: Path | None, *, run_code: bool) -> RecordedEvidence | None:
    """What runs the programs; None where nobody wants them run."""
    from pyramid_core.evidence import BehaviourCache, BehaviourGatherer, RecordedBehaviour, usual_path

    if not run_code:
        if equivalence == "behaviour":
            raise InputError(
                "to compare programs by what they do, what models wrote is run on this machine (in a sandbox, see "
                "docs/sandbox.md), which is your decision: add --run-code"
            )
        return None
    gatherer = BehaviourGatherer(run_code=True, cache=BehaviourCache(cache or usual_path()))
    return RecordedBehaviour(gatherer, equivalence.replace("-", "_"))


def records_of(file: Path) -> Iterable[Mapping[str, Any]]:
    """The file's records, from its beginning each time."""
    from pyramid_core.records import read_records

    return read_records(file)


def counted(records: Iterable[Mapping[str, Any]], step: Any) -> Iterable[Mapping[str, Any]]:
    """The same records; `step` is called after each."""
    for record in records:
        yield record
        step()


def digest_of(file: Path) -> dict[str, Any]:
    """The file's name and the sha256 of its content, for a card."""
    import hashlib

    if not file.is_file():
        return {"file": file.name, "sha256": None}
    with file.open("rb") as content:
        return {"file": file.name, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}
