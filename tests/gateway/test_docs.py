"""The page on serving: its snippets run from top to bottom, and what its tables say is so."""

import re
from pathlib import Path

from pyramid_core.configuration import Limits
from pyramid_core.gateway.metrics import Metrics
from pyramid_core.gateway.settings import MODES
from tests.gateway.serving import running

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "serve.md"
TEXT = GUIDE.read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_every_snippet_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, printed = {}, []
    with running() as server:
        for snippet in SNIPPETS:
            exec(compile(snippet.replace("http://127.0.0.1:8000", server.url), str(GUIDE), "exec"), names)
            printed.append(capsys.readouterr().out)
        names["client"].close()
    names["sink"].close()
    assert "19" in printed[0]
    assert "accept" in printed[0]
    assert "19" in printed[1]
    assert [bool(text) for text in printed] == ["print" in snippet for snippet in SNIPPETS]


def test_the_limits_are_those_that_are_set():
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+|none) \|", TEXT, re.MULTILINE))
    assert {
        name: None if value == "none" else float(value.replace(",", "")) for name, value in told.items()
    } == vars(Limits())


def test_every_metric_is_told_and_every_told_metric_is_there():
    metrics = Metrics(in_flight=lambda: 0.0, mode=lambda: "pyramid", modes=MODES)
    assert set(re.findall(r"^# TYPE (\S+)", metrics.text(), re.MULTILINE)) == set(
        re.findall(r"`(pyramid_\w+)`", TEXT)
    )


def test_every_mode_is_told():
    assert set(MODES) <= set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
