"""The guide's snippets and the ten programs, run offline with scripted models in place of the reader's."""

import re
from pathlib import Path

import pytest

from tests.langchain.clever import Clever
from tests.langchain.scripted import Scripted

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "langchain.md"
SNIPPETS_PAGE = GUIDE.with_name("langchain_snippets.md")
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


TEN = re.findall(
    r"^## (.*?)\n\n```python\n(.*?)^```", SNIPPETS_PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
LINE = re.compile(
    r"^llm = ChatPyramid\(crowd=\[small_a, small_b, small_c\], oracle=big\)  # was: (llm = big)$",
    re.MULTILINE,
)


@pytest.mark.parametrize("snippet", [text for _, text in TEN], ids=[title for title, _ in TEN])
def test_a_program_with_one_line_changed_prints_the_same(snippet, capsys):
    printed = []
    before, changes = LINE.subn(r"\1", snippet)
    assert changes == 1
    for program in (before, snippet):
        models = {name: Clever(name) for name in ("small_a", "small_b", "small_c", "big")}
        exec(compile(program, str(SNIPPETS_PAGE), "exec"), models)
        printed.append(capsys.readouterr().out)
        # The router of tool calls may want the oracle's word as well.
        assert bool(models["small_a"].calls) is (program is snippet)
    assert printed[0].strip()
    assert printed[0] == printed[1]


def test_there_are_ten():
    assert len(TEN) == 10
