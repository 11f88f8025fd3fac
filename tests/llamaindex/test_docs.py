"""The guide's snippets, run offline from top to bottom with scripted LLMs in place of the reader's."""

import ast
import gc
import inspect
import re
import warnings
from pathlib import Path

import pytest
from llama_index.core import Settings

from tests.llamaindex.instruments import HashedWords
from tests.llamaindex.scripted import ScriptedLLM, clever
from tests.llamaindex.test_engines import CORPUS

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "llamaindex.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def reader(monkeypatch):
    """What the guide says that the reader has."""
    for name in ("_llm", "_embed_model"):
        monkeypatch.setattr(Settings, name, None)
    names = {
        name: ScriptedLLM(name=name, script=clever("It has 7."))
        for name in ("small_a", "small_b", "small_c", "big")
    }
    had = {**names, "documents": CORPUS, "embed_model": HashedWords()}
    yield had
    had.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def run(code, names):
    found = eval(compile(code, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(found):
        await found


class TestGuide:
    def test_it_has_ten_snippets_or_more(self):
        assert len(SNIPPETS) >= 10

    @pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
    @pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
    async def test_its_snippets_run(self, reader, capsys):
        printed = []
        for snippet in SNIPPETS:
            await run(snippet, reader)
            printed.append(capsys.readouterr().out)
        assert "The answer is 8" in printed[0]
        assert [bool(text) for text in printed] == ["print" in snippet for snippet in SNIPPETS]
        assert any("accept" in text for text in printed)
