"""The conformance suite on LlamaIndex's own OpenAI adapters against a loopback server, and on a pyramid over them."""

import gc
import warnings

import pytest

from llamaindex_pyramid import PyramidLLM
from pyramid_core import ConstantRouter
from tests.llamaindex.conformance import LLMConformance
from tests.llamaindex.openai_server import WORDS, serving

openai_like = pytest.importorskip(
    "llama_index.llms.openai_like", reason="llama-index-llms-openai-like is not installed"
)
KEY = "sk-loopback-0123456789"
# The SDK leaves the connections of closed event loops to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def url():
    with serving() as address:
        yield address
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def like(url, model, **fields):
    return openai_like.OpenAILike(
        model=model,
        api_base=url,
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        **fields,
    )


class OfOpenAI(LLMConformance):
    """Findings: its configuration holds the key, its streams tell no usage unless they are told to, the history that
    tools are offered with is added to, and its connections die with the event loop that made them.
    """

    has_tools = True
    secret = KEY
    is_saved_safely = False
    refuses_empty = False
    streams_usage = False
    keeps_history = False
    survives_loops = False


class TestOpenAI(OfOpenAI):
    @pytest.fixture
    def llm(self, url):
        from llama_index.llms.openai import OpenAI

        return OpenAI(model="gpt-4o-mini", api_base=url, api_key=KEY, max_retries=0)


class TestOpenAILike(OfOpenAI):
    @pytest.fixture
    def llm(self, url):
        return like(url, "m")


class OfPyramid(LLMConformance):
    has_tools = True
    secret = KEY
    survives_loops = False


class TestUnanimousPyramid(OfPyramid):
    @pytest.fixture
    def llm(self, url):
        return PyramidLLM(crowd=[like(url, name) for name in "abc"], oracle=like(url, "oracle"))


class TestEscalatingPyramid(OfPyramid):
    @pytest.fixture
    def llm(self, url):
        crowd = [like(url, name) for name in "abc"]
        return PyramidLLM(crowd=crowd, oracle=like(url, "oracle"), router=ConstantRouter(1.0))


class TestWhatArrives:
    def test_logprobs_reach_the_core(self, url):
        seen = []
        llm = PyramidLLM(crowd=[like(url, "a", logprobs=True)], oracle=like(url, "o"), on_trace=seen.append)
        llm.complete("?")
        assert seen[0].calls[0].result.logprobs == (-0.1,) * len(WORDS)
