"""The package's front door."""

import subprocess
import sys

import langchain_pyramid


def test_its_names_are_pinned():
    assert langchain_pyramid.__all__ == [
        "ChatPyramid",
        "EmbeddedChat",
        "PyramidMiddleware",
        "PyramidRunnable",
        "embedded_chat_crowd",
        "embedded_chat_oracle",
    ]


def test_without_langchain_it_says_what_to_install():
    code = "import sys; sys.modules['langchain_core'] = None; import langchain_pyramid"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.endswith(
        'MissingExtra: langchain-core is not installed: pip install "pyramid-moa[langchain]"'
    )


def test_it_loads_neither_llamaindex_nor_langgraph():
    code = "import sys, langchain_pyramid; print(sorted({'llama_index', 'langgraph', 'langchain'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
