"""How long a crowd of three keeps one waiting for a tool call: for all three, or until the first two agree.

    python benchmarks/tool_latency.py

The recorded calls are replayed on the replay clock with the latencies of the real requests that they were recorded from,
network and provider included; nobody is asked. Agreement decides: two of three are enough, else the oracle is asked. The
recorded sets are looked for in PYRAMID_DATA, else beside the project.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recorded import ROOT, SETS, print_table

from pyramid_core import AgreementRouter, Pyramid, Recorded, ThresholdRule
from pyramid_core.records import read_records, routing_judgement
from pyramid_core.types import Policy

NAMES = ("tools-a", "tools-b", "tools-c")
TWO_OF_THREE = 0.5
WAYS: Mapping[str, Policy] = {
    "all three": Policy(early_stop=None),
    "until two agree": Policy(early_stop=0.0),
}


def main() -> None:
    """Replay every set both ways."""
    path = (
        Path(os.environ.get("PYRAMID_DATA") or ROOT.parent / "shared" / "data") / "bfcl_tool_calls.jsonl.gz"
    )
    if not path.is_file():
        sys.exit(f"the recorded calls are not at {path}: set PYRAMID_DATA to their folder")
    records = list(read_records(path))
    lines = [line(name, way, records) for name in NAMES for way in WAYS]
    headings = ("set", "waiting for", "verdict, median", "p95", "answer, median", "p95", "escalated", "right")
    print_table("Seconds until the verdict, and until the answer", headings, lines)


def line(name: str, way: str, records: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Median and 95th percentile of one set."""
    row = SETS[name]
    pyramid = Pyramid(
        crowd=[Recorded(member) for member in row.crowd],
        oracle=Recorded(row.oracle),
        router=AgreementRouter("tool_calls"),
        rule=ThresholdRule(TWO_OF_THREE),
        policy=WAYS[way],
    )
    verdicts, ends, escalated, right = [], [], 0, 0
    for record in records:
        trace = pyramid.replay(record).trace
        judged = routing_judgement(trace)
        verdicts.append(trace.at if judged is None else judged.at)
        ends.append(trace.at)
        answered = next(call.who for call in trace.calls if call.call == trace.answered)
        escalated += answered == row.oracle
        right += next(one["correct"] for one in record["responses"] if one["model"] == answered)
    times = [np.quantile(seconds, q) for seconds in (verdicts, ends) for q in (0.5, 0.95)]
    shares = (f"{escalated / len(records):.1%}", f"{right / len(records):.3f}")
    return (name, way, *(f"{seconds:.2f}" for seconds in times), *shares)


if __name__ == "__main__":
    main()
