"""The guides' snippets, run offline with scripted LLMs in place of the reader's."""

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

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def snippets(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


TOPICS = re.findall(
    r"^## ([^\n]+)\n+```python\n(.*?)^```",
    (DOCS / "llamaindex_topics.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)

SAYS = {
    "sub_question": '```json\n{"items": [{"sub_question": "How many?", "tool_name": "islands"}]}\n```',
    "choice": '[{"choice": 1, "reason": "it fits"}]',
    "SQL": "SELECT wells FROM islands",
    "YES or NO": "YES",
    "Relevance": "Doc: 1, Relevance: 9",
}
"""What LlamaIndex's prompts have in them, and an answer in the form that they ask for."""


def wise(asked):
    """A script that answers in the form that the prompt asks for."""
    if not asked.tools:
        for word, answer in SAYS.items():
            if word in asked.text:
                return answer
    return clever("It has 7 wells.")(asked)


@pytest.fixture
def had(monkeypatch):
    """What the guides say that the reader has."""
    for name in ("_llm", "_embed_model"):
        monkeypatch.setattr(Settings, name, None)
    names = {
        name: ScriptedLLM(name=name, script=clever("It has 7."))
        for name in ("small_a", "small_b", "small_c", "big")
    }
    crowd = [ScriptedLLM(name=name, script=wise) for name in "abc"]
    had = {
        **names,
        "crowd": crowd,
        "oracle": ScriptedLLM(name="o", script=wise),
        "documents": CORPUS,
        "embed_model": HashedWords(),
    }
    yield had
    had.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def run(code, names, page):
    found = eval(compile(code, str(DOCS / page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(found):
        await found


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
class TestGuides:
    async def test_the_guides_snippets_run(self, had, capsys):
        found, printed = snippets("llamaindex.md"), []
        assert len(found) >= 10
        for snippet in found:
            await run(snippet, had, "llamaindex.md")
            printed.append(capsys.readouterr().out)
        assert "The answer is 8" in printed[0]
        assert [bool(text) for text in printed] == ["print" in snippet for snippet in found]
        assert any("accept" in text for text in printed)

    async def test_the_snippets_on_rag_run(self, had, capsys):
        found = snippets("rag.md")
        assert found
        for snippet in found:
            await run(snippet, had, "rag.md")
            assert bool(capsys.readouterr().out) == ("print" in snippet)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
class TestTopics:
    def test_there_are_ten_or_more(self):
        assert len(TOPICS) >= 10
        assert len(TOPICS) == len(snippets("llamaindex_topics.md"))

    @pytest.mark.parametrize(("topic", "snippet"), TOPICS, ids=[topic for topic, _ in TOPICS])
    async def test_a_topics_snippet_runs(self, had, capsys, topic, snippet):
        await run(snippet, had, "llamaindex_topics.md")
        assert capsys.readouterr().out.strip()
        assert had["crowd"][0].asked, "the pyramid was not asked"

    @pytest.mark.parametrize(("topic", "snippet"), TOPICS, ids=[topic for topic, _ in TOPICS])
    def test_one_line_is_changed(self, topic, snippet):
        changed = [line for line in snippet.splitlines() if "instead of OpenAI(" in line]
        assert len(changed) == 1
        assert "PyramidLLM(crowd=crowd, oracle=oracle)" in changed[0]
        others = [line for line in snippet.splitlines() if line not in changed]
        assert [line for line in others if "yramid" in line] == ["from llamaindex_pyramid import PyramidLLM"]
