"""Many clients at once over slow embedded members, for a short while; PYRAMID_LOAD_SECONDS=60 for the whole test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gateway_speed.py"
SECONDS = float(os.environ.get("PYRAMID_LOAD_SECONDS", "3"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_128_clients_at_once_meet_no_error_and_leave_nothing_behind():
    run = subprocess.run(
        [sys.executable, str(BENCHMARK), "load", "--seconds", str(SECONDS)],
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["failed"] == 0, found["errors"]
    assert found["queries"] >= 128
    assert found["tasks"][1] <= found["tasks"][0]
    assert found["files"][1] <= found["files"][0]
    # Flat: what is kept does not grow with what was answered.
    assert found["memory_mb"]["late"] < 1.15 * found["memory_mb"]["early"] + 5
