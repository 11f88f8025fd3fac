"""OpenInference's own instrumentation of LlamaIndex: the tree of spans, the tokens on each, and no key anywhere."""

import json

import pytest

from tests.llamaindex.scripted import KEY
from tests.llamaindex.test_llm import WAYS, pyramid, responses

openinference = pytest.importorskip(
    "openinference.instrumentation.llama_index",
    reason="openinference-instrumentation-llama-index is not installed",
)

# It reads models in pydantic's older way; as an error, that would keep its spans from being opened.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


@pytest.fixture
def finished():
    """The finished spans."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = openinference.LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter.get_finished_spans
    instrumentor.uninstrument()


def tokens(spans):
    kinds = ("llm.token_count.prompt", "llm.token_count.completion")
    return sum(span.attributes.get(kind, 0) for span in spans for kind in kinds)


@pytest.mark.parametrize("way", WAYS)
def test_members_lie_under_the_pyramid(finished, way):
    responses(pyramid("5", "6", "7"), way)
    own = [span for span in finished() if span.name.startswith("PyramidLLM.")]
    members = [span for span in finished() if span.name.startswith("ScriptedLLM.")]
    assert [span.name for span in own] == [f"PyramidLLM.{way}"]
    assert [span.parent.span_id for span in members] == [own[0].context.span_id] * 4


@pytest.mark.parametrize("way", WAYS)
def test_tokens_are_on_the_pyramid_and_again_on_its_members(finished, way):
    """A query of five words to three members who say a word each: 18 on the pyramid, and as many on its members."""
    responses(pyramid("5", "5", "5"), way)
    own = [span for span in finished() if span.name.startswith("PyramidLLM.")]
    assert tokens(own) == 18
    assert tokens(finished()) == 2 * 18


@pytest.mark.parametrize("way", WAYS)
def test_a_live_oracle_leaves_the_pyramids_own_span_without_tokens(finished, way):
    """It ends a span that waits for a stream as soon as a stream beneath it ends, before the pyramid has told its sum."""
    responses(pyramid("5", "6", "7"), way)
    own = [span for span in finished() if span.name.startswith("PyramidLLM.")]
    assert tokens(own) == (0 if "stream" in way else 26)
    assert tokens(finished()) - tokens(own) == 26


def test_no_attribute_shows_a_key(finished):
    responses(pyramid("5", "6", "7"), "chat")
    shown = json.dumps([dict(span.attributes) for span in finished()], default=str)
    assert len(finished()) == 5
    assert KEY not in shown
