"""The conformance suite over the gateway: LlamaIndex's own adapter for OpenAI-compatible servers asks a served pyramid.

The embedded models answer, so tools and long prompts are not theirs; what can be checked is that a pyramid behind HTTP is
an LLM like any other, streamed or not, and that a pyramid of such pyramids is one too.
"""

import gc
import warnings

import pytest

from llamaindex_pyramid import PyramidLLM
from tests.gateway.serving import running
from tests.llamaindex.conformance import LLMConformance
from tests.llamaindex.test_openai import KEY, OfOpenAI

openai_like = pytest.importorskip(
    "llama_index.llms.openai_like", reason="llama-index-llms-openai-like is not installed"
)
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def url():
    with running() as served:
        yield f"{served.url}/v1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def served(url, **fields):
    return openai_like.OpenAILike(
        model="pyramid", api_base=url, api_key=KEY, is_chat_model=True, max_retries=0, **fields
    )


class TestOpenAILikeOverTheGateway(OfOpenAI):
    """Findings as on any server (see `OfOpenAI`); the gateway itself refuses an empty conversation."""

    has_tools = False
    holds_prompts = False
    refuses_empty = True

    @pytest.fixture
    def llm(self, url):
        return served(url)


class TestPyramidOverGateways(LLMConformance):
    """Its streams are replayed, so their usage is known."""

    holds_prompts = False
    survives_loops = False
    secret = KEY

    @pytest.fixture
    def llm(self, url):
        return PyramidLLM(crowd=[served(url) for _ in range(2)], oracle=served(url))


class TestRecord:
    def test_the_gateways_record_stands_in_the_members_own_reply(self, url):
        told = []
        llm = PyramidLLM(crowd=[served(url)], oracle=served(url), on_trace=told.append)
        llm.complete("Tom has 5 apples. He buys 3 more. How many apples does he have now?")
        assert told[0].calls[0].result.raw.raw.pyramid["verdict"] in ("accept", "escalate")
