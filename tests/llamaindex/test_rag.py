"""A RAG run over a hundred questions: all six response modes, synchronous, asynchronous and streamed.

Every verdict equals the core's on the same answers, nothing of the crowd leaks, tokens are counted once, spans nest.
The members are scripted readers of the context, in process, and behind HTTP under LlamaIndex's own OpenAI adapter (there
with every tenth question, with PYRAMID_RAG=all or `make test-rag` with all of them).
"""

import asyncio
import gc
import os
import re
import warnings

import pytest
from llama_index.core import PromptTemplate, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.node_parser import SentenceSplitter

from llamaindex_pyramid import PyramidLLM, RecordedQueryEngine, context_similarity, routing_records
from pyramid_core import AgreementRouter, Policy, Pyramid, routing_record
from pyramid_core.features import CONTEXT_FEATURES, FeatureSet
from pyramid_core.types import Answer, Observation, Reply
from tests.llamaindex.conformance import RESPONSE_MODES
from tests.llamaindex.instruments import HashedWords, recording
from tests.llamaindex.openai_server import serving
from tests.llamaindex.scripted import Asked, ScriptedLLM
from tests.llamaindex.test_engines import CORPUS, QUESTIONS, reader

WHOLE = Policy(early_stop=None)
BLIND = {"blind-to-wells": {"wells", "towers"}, "blind-to-ferries": {"ferries", "towers"}, "sees-all": ()}
"""The crowd: on towers two of three err alike, on wells and ferries one errs."""

STREAMING = [mode for mode in RESPONSE_MODES if "accumulate" not in mode]
RUNS = [(mode, way) for mode in RESPONSE_MODES for way in ("sync", "async")]
RUNS += [(mode, "stream") for mode in STREAMING]

ALL_OVER_HTTP = os.environ.get("PYRAMID_RAG") == "all"


@pytest.fixture(scope="module")
def index():
    return VectorStoreIndex.from_documents(
        CORPUS, embed_model=HashedWords(), transformations=[SentenceSplitter(chunk_size=512)]
    )


class Run:
    """What a pyramid did for some questions in one mode and way."""

    def __init__(self, crowd, oracle, **fields):
        self.traces, self.counter = [], TokenCountingHandler(tokenizer=str.split)
        self.llm = PyramidLLM(
            crowd=crowd,
            oracle=oracle,
            policy=WHOLE,
            on_trace=self.traces.append,
            **fields,
        )
        self.texts, self.of_question, self.records = [], [], []

    def ask(self, index, questions, mode, way):
        engine = index.as_query_engine(
            llm=self.llm, response_mode=mode, similarity_top_k=2, streaming=way == "stream"
        )
        # The engine has given its LLM the manager of `Settings`.
        self.llm.callback_manager = CallbackManager([self.counter])

        async def queried():
            for question in questions:
                self.heard(str(await engine.aquery(question)))

        with recording() as self.spans, routing_records() as self.records:
            if way == "async":
                asyncio.run(queried())
            else:
                for question in questions:
                    response = engine.query(question)
                    self.heard("".join(response.response_gen) if way == "stream" else str(response))
        return self

    def heard(self, text):
        seen = sum(map(len, self.of_question))
        self.texts.append(text)
        self.of_question.append(self.traces[seen:])


def as_the_core_says(trace):
    """The routing record of the core's own pyramid over members that say just what was said."""

    class Said:
        def __init__(self, name):
            self.name = name

        def ask(self, query):
            return Answer(text=said[self.name])

    said = {call.who: call.result.text for call in trace.calls}
    core = Pyramid(crowd=[Said(n) for n in trace.crowd], oracle=Said(trace.oracles[0]), policy=WHOLE)
    return routing_record(core.ask(trace.query.text).trace)


def check_verdicts(run):
    assert len(run.records) == len(run.traces) > 0
    for record, trace in zip(run.records, run.traces, strict=True):
        expected = as_the_core_says(trace)
        same = ("verdict", "answered_by", "p_fail", "escalated", "end")
        assert {name: record[name] for name in same} == {name: expected[name] for name in same}
    assert {record["verdict"] for record in run.records} == {"accept", "escalate"}


def answer_in(trace):
    return next(call.result.text for call in trace.calls if call.call == trace.answered)


def check_no_leak(run, mode):
    """A response is made of the answers that stood, and of nothing else."""
    for text, traces in zip(run.texts, run.of_question, strict=True):
        answers = [answer_in(trace) for trace in traces]
        if "accumulate" in mode:
            found = re.findall(r"Response \d+: (.*?)(?=\n-{3,}|\Z)", text, re.DOTALL)
            assert sorted(part.strip() for part in found) == sorted(answers)
        else:
            assert text == answers[-1]


def check_tokens(run):
    usages = [c.result.usage for trace in run.traces for c in trace.calls if c.result.usage is not None]
    assert len(run.counter.llm_token_counts) == len(run.traces)
    told = [u for u in usages if u.input_tokens is not None]
    assert run.counter.prompt_llm_token_count == sum(u.input_tokens for u in told) > 0
    assert run.counter.completion_llm_token_count == sum(u.output_tokens for u in told)


def check_spans(run, kind):
    own = {span.id_ for span in run.spans.named("PyramidLLM.")}
    members = run.spans.named(kind)
    calls = sum(len(trace.calls) for trace in run.traces)
    # An adapter may call itself once more within its own span.
    outermost = [span for span in members if not (span.parent_id or "").startswith(kind)]
    assert len(outermost) == calls
    assert {span.parent_id for span in outermost} <= own
    assert len({span.parent_id for span in outermost}) == len(run.traces)
    assert not run.spans.open
    # In some modes LlamaIndex asks for a stream when it is read, which is after the query's own span.
    roots = [span.id_.partition("-")[0] for span in run.spans.spans if span.parent_id is None]
    assert roots.count("RetrieverQueryEngine.query") + roots.count("RetrieverQueryEngine.aquery") == len(
        run.texts
    )
    assert set(roots) <= {"RetrieverQueryEngine.query", "RetrieverQueryEngine.aquery", "PyramidLLM.stream"}


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def run(request, index):
    mode, way = request.param
    crowd = [ScriptedLLM(name=name, script=reader(blind=blind)) for name, blind in BLIND.items()]
    asyncio.set_event_loop(None)
    run = Run(crowd, ScriptedLLM(name="oracle", script=reader()))
    run.ask(index, [question for *_, question in QUESTIONS], mode, way)
    run.mode = mode
    return run


class TestInProcess:
    """All hundred questions in every mode and way."""

    def test_the_verdicts_are_the_cores(self, run):
        check_verdicts(run)

    def test_nothing_of_the_crowd_leaks(self, run):
        assert len(run.texts) == 100
        check_no_leak(run, run.mode)

    def test_tokens_are_counted_once(self, run):
        check_tokens(run)

    def test_spans_nest(self, run):
        check_spans(run, "ScriptedLLM.")


@pytest.mark.parametrize("mode", ["accumulate", "compact_accumulate"])
def test_llama_index_itself_streams_nothing_accumulated(index, mode):
    llm = ScriptedLLM(script=reader())
    with pytest.raises(ValueError, match=r"[Uu]nable to stream"):
        index.as_query_engine(llm=llm, response_mode=mode, streaming=True).query(QUESTIONS[0][2])


def over_http(body):
    """The scripted readers as a server: the model's name says what it is blind to."""
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
    return reader(blind=BLIND.get(body["model"], ()))(Asked(text=asked[-1])), []


@pytest.fixture(scope="module")
def url():
    with serving(over_http) as address:
        yield address
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestOverHTTP:
    """The same with LlamaIndex's own client of OpenAI-compatible servers."""

    @pytest.mark.parametrize(("mode", "way"), RUNS)
    def test_a_run(self, index, url, mode, way):
        like = pytest.importorskip(
            "llama_index.llms.openai_like", reason="no adapter for OpenAI is installed"
        )

        def member(name):
            return like.OpenAILike(
                model=name, api_base=url, api_key="none", is_chat_model=True, max_retries=0
            )

        questions = [question for *_, question in (QUESTIONS if ALL_OVER_HTTP else QUESTIONS[::11])]
        run = Run([member(name) for name in BLIND], member("oracle")).ask(index, questions, mode, way)
        check_verdicts(run)
        check_no_leak(run, mode)
        check_tokens(run)
        check_spans(run, "OpenAILike.")


def test_a_responses_metadata_has_every_steps_record_and_their_sum(index):
    crowd = [ScriptedLLM(name=name, script=reader(blind=blind)) for name, blind in BLIND.items()]
    llm = PyramidLLM(crowd=crowd, oracle=ScriptedLLM(name="oracle", script=reader()), policy=WHOLE)
    engine = RecordedQueryEngine(
        index.as_query_engine(llm=llm, response_mode="tree_summarize", similarity_top_k=4)
    )
    told = engine.query(QUESTIONS[8][2]).metadata["pyramid"]
    assert told["total"]["queries"] == len(told["records"])
    assert told["total"]["usage"]["sees-all"]["calls"] == len(told["records"])


class TestContext:
    """Routers see the question and the passages apart, where LlamaIndex's synthesizers fill the prompt."""

    def traces(self, index, mode, way="sync", **fields):
        asyncio.set_event_loop(None)
        crowd = [ScriptedLLM(name=name, script=reader(blind=blind)) for name, blind in BLIND.items()]
        run = Run(crowd, ScriptedLLM(name="oracle", script=reader()), **fields)
        return run.ask(index, [QUESTIONS[0][2]], mode, way).traces

    @pytest.mark.parametrize(("mode", "way"), RUNS)
    def test_every_mode_and_way_tells_them_apart(self, index, mode, way):
        traces = self.traces(index, mode, way)
        assert {trace.query.text for trace in traces} == {QUESTIONS[0][2]}
        assert all("The island of" in passage for trace in traces for passage in trace.query.context)
        assert all(trace.query.context for trace in traces)

    def test_the_members_get_the_whole_prompt(self, index):
        llm = PyramidLLM(crowd=[ScriptedLLM(name="m", script=reader())], oracle=ScriptedLLM(name="o"))
        index.as_query_engine(llm=llm, response_mode="compact").query(QUESTIONS[0][2])
        assert "Context information is below" in llm.crowd[0].asked[0].text

    def test_features_of_the_context_can_be_read(self, index):
        trace = self.traces(index, "simple_summarize")[0]
        replies = [Reply(call=c.call, role=c.role, who=c.who, result=c.result) for c in trace.calls]
        seen = Observation(query=trace.query, crowd=trace.crowd, replies=tuple(replies))
        told = FeatureSet("query", CONTEXT_FEATURES)
        row = dict(zip(told.names, told.rows(seen)[0], strict=True))
        assert row["context_final"] == row["context_final_nearest"] == 1.0
        assert row["context_lacking"] == 0.0

    def test_an_embedding_of_llama_index_gathers_how_near_answers_lie(self, index):
        gathered = []
        gather = context_similarity(HashedWords())

        def noted(asked):
            gathered.append(gather(asked))
            return gathered[-1]

        router = Reading()
        traces = self.traces(index, "simple_summarize", router=router, gatherers={"context": noted})
        assert traces[0].query.context
        assert set(gathered[0]) == {"0", "1", "2"}
        assert all(0.0 < value <= 1.0 for value in gathered[0].values())

    def test_a_prompt_without_passages_is_the_question(self):
        traces = []
        llm = PyramidLLM(crowd=[ScriptedLLM(name="m")], oracle=ScriptedLLM(name="o"), on_trace=traces.append)
        llm.predict(PromptTemplate("Say {query_str}"), query_str="hello")
        assert (traces[0].query.text, traces[0].query.context) == ("Say hello", ())


class Reading(AgreementRouter):
    """Agreement that wants to know how near the answers lie to their passages."""

    evidence = ("context",)
