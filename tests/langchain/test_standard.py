"""LangChain's own tests of chat models, unit and integration, over scripted members and over the embedded models.

The answers are scripted (`clever.py`); what is tested is the way there and back. Each class lists in `SKIPS` what its
model cannot do, and why; `conftest.py` fails where that list is not true.
"""

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_pyramid import ChatPyramid, EmbeddedChat, embedded_chat_crowd, embedded_chat_oracle
from pyramid_core.routers import ConstantRouter
from tests.langchain.clever import Clever

MEDIA = "the scripted members read text alone, and the suite fetches its pictures and sounds from the network"

UNIT_SKIPS = {
    "test_serdes": "it is not serialisable: a pyramid's members hold keys, an embedded model is made by its name",
    "test_init_from_env": "it reads nothing from the environment: a pyramid's members have keys of their own",
}

SKIPS = {
    "test_pdf_inputs": MEDIA,
    "test_audio_inputs": MEDIA,
    "test_image_inputs": MEDIA,
    "test_image_tool_message": MEDIA,
    "test_pdf_tool_message": MEDIA,
    "test_stream_time": "it measures recorded HTTP traffic, and there is none",
}

NO_TOOLS = dict.fromkeys(
    (
        "test_agent_loop",
        "test_bind_runnables_as_tools",
        "test_json_mode",
        "test_structured_few_shot_examples",
        "test_structured_output",
        "test_structured_output_async",
        "test_structured_output_optional_param",
        "test_structured_output_pydantic_2_v1",
        "test_tool_calling",
        "test_tool_calling_async",
        "test_tool_calling_with_no_arguments",
        "test_tool_choice",
        "test_tool_message_error_status",
        "test_tool_message_histories_list_content",
        "test_tool_message_histories_string_content",
        "test_unicode_tool_call_integration",
        "test_anthropic_inputs",
    ),
    "the embedded models have no tool calling and no structured output, and say so",
)

ONE_MODEL = {
    f"test_{way}_with_model_override": "an EmbeddedChat is one model"
    for way in "invoke ainvoke stream astream".split()
}


class OfAPyramid:
    """What every pyramid over tool-calling members can do."""

    @property
    def chat_model_class(self):
        return ChatPyramid

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True

    @property
    def supports_model_override(self):
        return True

    @property
    def model_override_value(self):
        return "pyramid:baseline-match"


class Agreeing(OfAPyramid):
    """The crowd agrees and its answer stands."""

    @property
    def chat_model_params(self):
        return {"crowd": [Clever("small"), Clever("other")], "oracle": Clever("big")}


class Escalating(OfAPyramid):
    """The router trusts no crowd: every answer is the oracle's."""

    @property
    def chat_model_params(self):
        never = ConstantRouter(0.9)
        return {"crowd": [Clever("small"), Clever("other")], "oracle": Clever("big"), "router": never}


class TestUnit(Agreeing, ChatModelUnitTests):
    SKIPS = UNIT_SKIPS


class TestAccepted(Agreeing, ChatModelIntegrationTests):
    SKIPS = SKIPS


class TestEscalated(Escalating, ChatModelIntegrationTests):
    SKIPS = SKIPS


class Embedded:
    """The models that ship with the core."""

    @property
    def chat_model_class(self):
        return EmbeddedChat

    @property
    def has_tool_calling(self):
        return False

    @property
    def has_structured_output(self):
        return False


class TestEmbeddedUnit(Embedded, ChatModelUnitTests):
    SKIPS = UNIT_SKIPS


class TestEmbedded(Embedded, ChatModelIntegrationTests):
    SKIPS = SKIPS | NO_TOOLS | ONE_MODEL


class TestPyramidOfEmbedded(OfAPyramid, ChatModelIntegrationTests):
    SKIPS = SKIPS | NO_TOOLS

    has_tool_calling = has_structured_output = supports_json_mode = supports_anthropic_inputs = False

    @property
    def chat_model_params(self):
        return {"crowd": embedded_chat_crowd(), "oracle": embedded_chat_oracle()}


@pytest.mark.parametrize(("suite", "verdict"), [(TestAccepted, "accept"), (TestEscalated, "escalate")])
def test_the_suites_go_the_way_that_they_are_named_for(suite, verdict):
    message = ChatPyramid(**suite().chat_model_params).invoke("Hello")
    assert message.response_metadata["pyramid"]["verdict"] == verdict
