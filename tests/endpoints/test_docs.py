"""The page on models over HTTP: its code runs (the one line that would leave the machine aside), its settings exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from pyramid_core.endpoints import Endpoint, Retries, Timeouts

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "endpoints.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
OUTSIDE = "print(pyramid.ask("


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_runs(code):
    kept = "\n".join(line for line in code.splitlines() if not line.startswith(OUTSIDE))
    exec(compile(kept, "docs/endpoints.md", "exec"), {})


def test_every_setting_is_on_the_page_and_no_other():
    table = PAGE.partition("## Settings")[2].partition("\n\nA query")[0]
    named = {
        name
        for row in re.findall(r"^\| (`[^|]+?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named == {field.name for field in fields(Endpoint) if not field.name.startswith("_")}


def test_the_defaults_on_the_page_are_the_defaults():
    shown = re.search(r"`Timeouts\((.*?)\)`.*?`Retries\((.*?)\)`", PAGE, re.DOTALL)
    for text, kind in zip(shown.groups(), (Timeouts, Retries), strict=True):
        assert (
            kind(**{k: float(v) if "." in v else int(v) for k, v in re.findall(r"(\w+)=([\d.]+)", text)})
            == kind()
        )
