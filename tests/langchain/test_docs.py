"""The guide's snippets, run offline from top to bottom with scripted models in place of the reader's."""

import re
from pathlib import Path

import pytest

from tests.langchain.scripted import Scripted

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "langchain.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


class Reader(Scripted):
    """Answers in JSON where it is asked for JSON."""

    def __init__(self, model):
        super().__init__(
            model, lambda messages: '{"wells": 7}' if "JSON" in messages[-1].text else "It has 7."
        )


@pytest.fixture
def reader():
    """What the guide says that the reader has."""
    return {name: Reader(name) for name in ("small_a", "small_b", "small_c", "big")}


def test_every_snippet_runs_and_prints_what_it_says(reader, capsys):
    printed = []
    for snippet in SNIPPETS:
        exec(compile(snippet, str(GUIDE), "exec"), reader)
        printed.append(capsys.readouterr().out)
    assert len(SNIPPETS) >= 9
    assert "The answer is 8" in printed[0]
    assert [bool(text) for text in printed] == ["print" in snippet for snippet in SNIPPETS]
    assert any("None" in text for text in printed)
