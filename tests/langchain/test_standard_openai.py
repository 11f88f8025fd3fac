"""LangChain's own tests over `ChatOpenAI` members on a scripted loopback server, and on `ChatOpenAI` itself beside it."""

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_pyramid import ChatPyramid
from pyramid_core.routers import ConstantRouter
from tests.langchain.openai_server import serving
from tests.langchain.test_standard import SKIPS, UNIT_SKIPS

openai = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")

ANTHROPIC = {"test_anthropic_inputs": "ChatOpenAI does not claim to read Anthropic's blocks"}


@pytest.fixture(scope="module", autouse=True)
def server():
    with serving() as running:
        OverHttp.server = running
        yield running
    OverHttp.server = None


class OverHttp:
    """Members that ask the server as they would ask OpenAI."""

    server = None
    supports_json_mode = True
    supports_model_override = True

    def member(self, model):
        return {"model": model, "base_url": self.server.url, "api_key": "sk-made-up", "stream_usage": True}


class Pyramid(OverHttp):
    """A pyramid of them."""

    chat_model_class = ChatPyramid
    model_override_value = "pyramid:baseline-match"
    router = None

    @property
    def chat_model_params(self):
        small, other, big = (openai.ChatOpenAI(**self.member(name)) for name in ("small", "other", "big"))
        return {"crowd": [small, other], "oracle": big, "router": self.router}


class TestUnit(Pyramid, ChatModelUnitTests):
    SKIPS = UNIT_SKIPS


class TestAccepted(Pyramid, ChatModelIntegrationTests):
    SKIPS = SKIPS | ANTHROPIC


class TestEscalated(Pyramid, ChatModelIntegrationTests):
    SKIPS = SKIPS | ANTHROPIC
    router = ConstantRouter(0.9)


# It warns of its own way with pydantic classes in JSON schema mode, which it takes where none is named.
@pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning")
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
class TestMember(OverHttp, ChatModelIntegrationTests):
    """The same suite on one member alone."""

    SKIPS = SKIPS | ANTHROPIC
    model_override_value = "other"

    @property
    def chat_model_class(self):
        return openai.ChatOpenAI

    @property
    def chat_model_params(self):
        return self.member("small")


@pytest.mark.parametrize(("suite", "verdict"), [(TestAccepted, "accept"), (TestEscalated, "escalate")])
def test_the_suites_go_the_way_that_they_are_named_for(suite, verdict):
    message = ChatPyramid(**suite().chat_model_params).invoke("Hello")
    assert message.response_metadata["pyramid"]["verdict"] == verdict
