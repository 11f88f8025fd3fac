"""The conformance suite on PyramidLLM, EmbeddedLLM and LlamaIndex's own MockLLM."""

import pytest
from llama_index.core.llms import MockLLM

from llamaindex_pyramid import EmbeddedLLM, PyramidLLM, embedded_llm_crowd, embedded_llm_oracle
from pyramid_core import ConstantRouter, Policy
from tests.llamaindex.conformance import LLMConformance
from tests.llamaindex.scripted import KEY, ScriptedLLM, clever


class TestScripted(LLMConformance):
    """The scripted LLM itself: what the pyramid's checks rest on."""

    has_tools = True
    secret = KEY
    is_saved_safely = False
    refuses_empty = False

    @pytest.fixture
    def llm(self):
        return ScriptedLLM(script=clever("5 + 3 = 8. The answer is 8."))


class TestUnanimousPyramid(LLMConformance):
    has_tools = True
    secret = KEY

    @pytest.fixture
    def llm(self):
        crowd = [ScriptedLLM(name=f"m{i}", script=clever("5 + 3 = 8. The answer is 8.")) for i in range(3)]
        return PyramidLLM(crowd=crowd, oracle=ScriptedLLM(name="oracle", script="never asked"))


class TestEscalatingPyramid(LLMConformance):
    has_tools = True
    secret = KEY

    @pytest.fixture
    def llm(self):
        crowd = [ScriptedLLM(name=f"m{i}", script=clever(f"The answer is {i}.")) for i in range(3)]
        oracle = ScriptedLLM(name="oracle", script=clever("5 + 3 = 8. The answer is 8."))
        return PyramidLLM(
            crowd=crowd, oracle=oracle, router=ConstantRouter(1.0), policy=Policy(early_stop=None)
        )


class TestEmbedded(LLMConformance):
    holds_prompts = False

    @pytest.fixture
    def llm(self):
        return EmbeddedLLM(model="tiny-add")


class TestEmbeddedPyramid(LLMConformance):
    holds_prompts = False

    @pytest.fixture
    def llm(self):
        return PyramidLLM(crowd=embedded_llm_crowd(), oracle=embedded_llm_oracle())


class TestMock(LLMConformance):
    """LlamaIndex's own: a `CustomLLM`, which chats by completing.

    Findings: a chat is told of twice, as a chat and as the completion in it; asynchronous methods tell twice as well and
    block the loop; the texts of its stream lag one word behind its deltas; an empty conversation gets an answer.
    """

    counts_once = False
    counts_async_once = False

    reports_usage = False
    joins_exactly = False
    async_is_real = False
    refuses_empty = False

    @pytest.fixture
    def llm(self):
        return MockLLM(max_tokens=5)
