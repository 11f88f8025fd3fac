"""What can be seen from outside: metrics, spans, the log."""

import io
import json
import logging
import math

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pyramid_core.gateway.logs import JsonLines, log
from pyramid_core.gateway.metrics import Counter, Histogram
from pyramid_core.prices import Price
from pyramid_core.routers import ConstantRouter
from pyramid_core.types import Usage
from tests.gateway.serving import Told, running, told_build

PRICE, USAGE = Price(input=0.001, output=0.001), Usage(input_tokens=3, output_tokens=4)


def samples(text):
    """The samples of a text in Prometheus' format, each line of which must be one."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            name, value = line.rsplit(" ", 1)
            assert name not in found
            found[name] = float(value)
    return found


def served(p_fail, *, oracle_error=None):
    crowd = [Told("a", price=PRICE, usage=USAGE), Told("b", error=ConnectionError("away"))]
    oracle = Told("big", price=PRICE, usage=USAGE, error=oracle_error)
    return told_build(*crowd, oracle=oracle, router=ConstantRouter(p_fail))


def metrics(found):
    with found.client() as client:
        return client.get("/metrics")


class TestMetrics:
    def test_count_verdicts_costs_failures_and_escalations(self):
        with running(served(0.9)) as found:
            for _ in range(3):
                found.ask()
            told = samples(metrics(found).text)
        assert (
            told['pyramid_queries_total{mode="pyramid",verdict="escalate",end="accept",reason="decided"}']
            == 3
        )
        assert told['pyramid_cost_usd_total{role="crowd"}'] == pytest.approx(3 * 0.007)
        assert told['pyramid_cost_usd_total{role="oracle"}'] == pytest.approx(3 * 0.007)
        assert told['pyramid_member_failures_total{member="b",kind="ConnectionError"}'] == 3
        assert told["pyramid_escalation_rate"] == 1.0
        assert told['pyramid_p_fail_bucket{le="0.8"}'] == 0
        assert told['pyramid_p_fail_bucket{le="0.9"}'] == 3
        assert told['pyramid_http_responses_total{route="chat",status="200"}'] == 3
        assert told['pyramid_mode{mode="pyramid"}'] == 1
        for phase in ("crowd", "oracle", "total"):
            assert told[f'pyramid_latency_seconds_count{{phase="{phase}"}}'] == 3

    def test_are_empty_and_honest_before_the_first_query(self):
        with running(served(0.1)) as found:
            response = metrics(found)
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert math.isnan(samples(response.text)["pyramid_escalation_rate"])

    def test_no_client_can_make_a_series(self):
        with running(served(0.1)) as found, found.client() as client:
            before = len(samples(metrics(found).text))
            for n in range(20):
                found.ask(model=f"made-up-{n}")
                client.get(f"/made-up-{n}")
            after = len(samples(metrics(found).text))
        assert after - before <= 3

    def test_histograms_are_cumulative_and_skip_what_is_missing(self):
        histogram = Histogram("h", "about", (1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 9.0, math.nan):
            histogram.observe(value)
        assert list(histogram.lines()) == [
            'h_bucket{le="1"} 2', 'h_bucket{le="2"} 3', 'h_bucket{le="+Inf"} 4', "h_sum 12", "h_count 4",
        ]  # fmt: skip

    def test_labels_are_escaped(self):
        counter = Counter("c", "about", ("member",))
        counter.add('a"b\\c\nd')
        assert list(counter.lines()) == ['c{member="a\\"b\\\\c\\nd"} 1']


@pytest.fixture(scope="module")
def exporter():
    """Spans in memory; OpenTelemetry takes one provider a process."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    yield kept
    trace._TRACER_PROVIDER = before


class TestSpans:
    def test_one_for_the_query_and_one_for_each_call_within_the_callers(self, exporter):
        exporter.clear()
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        with running(served(0.9)) as found:
            found.ask("a secret question", headers={"traceparent": parent})
        spans = {span.name: span for span in exporter.get_finished_spans()}
        query = spans["chat pyramid"]
        assert f"{query.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert f"{query.parent.span_id:016x}" == "b7ad6b7169203331"
        assert set(spans) == {"chat pyramid", "chat a", "chat b", "chat big"}
        for name in ("chat a", "chat b", "chat big"):
            assert spans[name].parent.span_id == query.context.span_id
            assert query.start_time <= spans[name].start_time <= spans[name].end_time <= query.end_time
        assert query.attributes["gen_ai.operation.name"] == "chat"
        assert query.attributes["gen_ai.response.model"] == "big"
        assert query.attributes["pyramid.verdict"] == "escalate"
        assert query.attributes["gen_ai.usage.input_tokens"] == 6
        assert spans["chat b"].attributes["error.type"] == "ConnectionError"
        assert "secret" not in "".join(span.to_json() for span in spans.values())

    def test_a_query_that_fails_is_marked(self, exporter):
        exporter.clear()
        build = told_build(
            Told("a", error=ConnectionError("away")), oracle=Told("big", error=ConnectionError("away"))
        )
        with running(build) as found:
            found.ask(stream=True)
        [query] = [span for span in exporter.get_finished_spans() if span.name == "chat pyramid"]
        assert query.status.status_code is trace.StatusCode.ERROR


class TestLog:
    def written(self, event, **fields):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JsonLines())
        logger = logging.getLogger("pyramid.gateway")
        logger.addHandler(handler)
        try:
            log(logging.ERROR, event, **fields)
        finally:
            logger.removeHandler(handler)
        return stream.getvalue()

    def test_is_one_object_a_line_whatever_is_in_it(self):
        line = self.written("request", path='/a\n{"forged": 1}', p_fail=math.nan, error=ValueError("x\ny"))
        assert line.count("\n") == 1
        told = json.loads(line)
        assert told["path"] == '/a\n{"forged": 1}'
        assert told["p_fail"] is None
        assert "ValueError: x" in told["traceback"]

    def test_shows_nothing_that_looks_like_a_key(self):
        assert "abcdef" not in self.written(
            "request", path="/v1/sk-abcdef1234567890", deep={"a": ["sk-abcdef1234567890"]}
        )

    def test_says_what_became_of_a_query_and_not_what_it_was(self, caplog):
        caplog.set_level(logging.INFO)
        with running(served(0.9)) as found:
            found.ask("a secret question", headers={"x-request-id": "r-1"})
        [record] = [r for r in caplog.records if r.getMessage() == "request"]
        fields = record.pyramid_fields
        assert {
            "request": "r-1",
            "status": 200,
            "model": "pyramid",
            "verdict": "escalate",
        }.items() <= fields.items()
        assert "secret" not in json.dumps(fields)
