"""RAG: every engine of LlamaIndex that calls an LLM, over a small corpus, with the same verdicts as the core's."""

import asyncio
import re

import pytest
from llama_index.core import (
    Document,
    PromptTemplate,
    Settings,
    SummaryIndex,
    VectorStoreIndex,
    get_response_synthesizer,
)
from llama_index.core.evaluation import FaithfulnessEvaluator, RelevancyEvaluator
from llama_index.core.extractors import KeywordExtractor, TitleExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool

from llamaindex_pyramid import PyramidLLM, PyramidQueryEngine, RecordedQueryEngine, routing_records
from pyramid_core import InputError, Policy, Price, Pyramid, PyramidFailed, routing_record
from pyramid_core.records import total_of
from pyramid_core.types import Answer
from tests.llamaindex.conformance import RESPONSE_MODES
from tests.llamaindex.instruments import HashedWords, recording
from tests.llamaindex.scripted import ScriptedLLM, is_plain

ISLANDS = ("Arla", "Brim", "Cove", "Dunn", "Esk", "Fern", "Gull", "Holm", "Isle", "Jura")
FACTS = (
    "lighthouses",
    "ferries",
    "harbours",
    "windmills",
    "bakeries",
    "beaches",
    "bridges",
    "towers",
    "wells",
    "schools",
)


def count(island, fact):
    return 2 + (7 * ISLANDS.index(island) + 3 * FACTS.index(fact)) % 23


CORPUS = [
    Document(
        text=". ".join(f"The island of {island} has {count(island, fact)} {fact}" for fact in FACTS) + "."
    )
    for island in ISLANDS
]
QUESTIONS = [
    (island, fact, f"How many {fact} does the island of {island} have?")
    for island in ISLANDS
    for fact in FACTS
]
"""A hundred questions with one number each for an answer."""

WHOLE = Policy(early_stop=None)


def reader(*, blind=()):
    """A script that reads its context, as a model would; it is off by one on the facts that it is blind to."""

    def script(asked):
        question = re.findall(r"How many (\w+) does the island of (\w+) have", asked.text)
        if not question:
            return "no question"
        fact, island = question[-1]
        found = re.findall(rf"island of {island} has (\d+) {fact}", asked.text)
        if not found:
            return "The context does not say."
        return f"It has {int(found[0]) + (fact in blind)} {fact}."

    return script


def llms(**fields):
    crowd = [
        ScriptedLLM(name="blind-to-wells", script=reader(blind={"wells", "towers"})),
        ScriptedLLM(name="blind-to-ferries", script=reader(blind={"ferries", "towers"})),
        ScriptedLLM(name="sees-all", script=reader()),
    ]
    return PyramidLLM(crowd=crowd, oracle=ScriptedLLM(name="oracle", script=reader()), policy=WHOLE, **fields)


def disagreeing():
    return PyramidLLM(
        crowd=[ScriptedLLM(name=n, script=f"I say {n}") for n in "abc"],
        oracle=ScriptedLLM(name="oracle", script="final"),
        policy=WHOLE,
    )


@pytest.fixture(scope="module")
def index():
    return VectorStoreIndex.from_documents(
        CORPUS, embed_model=HashedWords(), transformations=[SentenceSplitter(chunk_size=512)]
    )


def replayed(llm, prompts_said):
    """What the core alone makes of the answers that were given."""

    class Said:
        def __init__(self, name):
            self.name = name

        def ask(self, query):
            return Answer(text=prompts_said[self.name].pop(0))

    members = [Said(m.name) for m in (*llm.crowd, llm.oracle)]
    return Pyramid(crowd=members[:-1], oracle=members[-1], policy=llm.policy)


class TestHundredQuestions:
    """All of them in compact mode, ten in every mode and way: verdicts equal the core's, tokens are counted once."""

    def check(self, traces, records, llm):
        assert records
        assert len(records) == len(traces)
        for record, trace in zip(records, traces, strict=True):
            said = {call.who: [call.result.text] for call in trace.calls}
            core = replayed(llm, said)
            expected = routing_record(core.ask(trace.query.text).trace)
            same = ("verdict", "answered_by", "p_fail", "escalated", "end")
            assert {k: record[k] for k in same} == {k: expected[k] for k in same}

    def ask(self, index, mode, questions, *, way):
        traces = []
        llm = llms(on_trace=traces.append)
        engine = index.as_query_engine(
            llm=llm, response_mode=mode, similarity_top_k=2, streaming=way == "stream"
        )

        async def queried():
            return [await engine.aquery(question) for *_, question in questions]

        with routing_records() as records:
            if way == "async":
                responses = asyncio.run(queried())
            else:
                responses = [engine.query(question) for *_, question in questions]
            texts = ["".join(r.response_gen) if way == "stream" else str(r) for r in responses]
        return llm, traces, records, texts

    def test_a_hundred_questions(self, index):
        llm, traces, records, texts = self.ask(index, "simple_summarize", QUESTIONS, way="sync")
        assert len(records) == 100
        self.check(traces, records, llm)
        answered = [
            f"It has {count(i, f)} {f}." == text for (i, f, _), text in zip(QUESTIONS, texts, strict=True)
        ]
        retrieved = [text != "The context does not say." for text in texts]
        # Where two of three are blind to the same fact, the crowd is divided and the oracle puts it right.
        assert answered == retrieved
        assert sum(record["escalated"] for record in records) == sum(
            found and fact in ("wells", "towers", "ferries")
            for (_, fact, _), found in zip(QUESTIONS, retrieved, strict=True)
        )

    @pytest.mark.parametrize("mode", RESPONSE_MODES)
    @pytest.mark.parametrize("way", ["sync", "async"])
    def test_every_mode(self, index, mode, way):
        llm, traces, records, texts = self.ask(index, mode, QUESTIONS[::11], way=way)
        self.check(traces, records, llm)
        assert all(texts)

    @pytest.mark.parametrize("mode", [m for m in RESPONSE_MODES if "accumulate" not in m])
    def test_every_mode_that_streams(self, index, mode):
        llm, traces, records, texts = self.ask(index, mode, QUESTIONS[::11], way="stream")
        self.check(traces, records, llm)
        assert all(texts)

    def test_no_member_leaks_into_a_stream(self, index):
        engine = index.as_query_engine(llm=disagreeing(), streaming=True, response_mode="compact")
        assert "".join(engine.query("What?").response_gen) == "final"

    def test_spans_nest_through_an_engine(self, index):
        with recording() as heard:
            index.as_query_engine(llm=llms(), response_mode="compact").query(QUESTIONS[0][2])
        own = {span.id_ for span in heard.named("PyramidLLM.")}
        members = heard.named("ScriptedLLM.")
        assert members
        assert {span.parent_id for span in members} <= own
        assert sum(span.parent_id is None for span in heard.spans) == 1


class TestOtherEngines:
    def answering(self, text):
        return PyramidLLM(
            crowd=[ScriptedLLM(name=f"m{i}", script=text) for i in range(2)],
            oracle=ScriptedLLM(name="o", script=text),
        )

    def tools(self, index, llm):
        engine = index.as_query_engine(llm=llm)
        return [
            QueryEngineTool.from_defaults(engine, name=n, description=f"about {n}") for n in ("one", "two")
        ]

    def test_a_router_query_engine(self, index):
        chooses = self.answering('[{"choice": 2, "reason": "it fits"}]')
        engine = RouterQueryEngine(
            selector=LLMSingleSelector.from_defaults(llm=chooses),
            query_engine_tools=self.tools(index, self.answering("from the chosen one")),
            llm=chooses,
        )
        response = engine.query("Which?")
        assert str(response) == "from the chosen one"
        assert response.metadata["selector_result"].ind == 1

    def test_a_sub_question_query_engine(self, index):
        asks = self.answering('```json\n{"items": [{"sub_question": "What?", "tool_name": "one"}]}\n```')
        engine = SubQuestionQueryEngine.from_defaults(
            llm=asks,
            query_engine_tools=self.tools(index, self.answering("part")),
            question_gen=LLMQuestionGenerator.from_defaults(llm=asks),
            response_synthesizer=get_response_synthesizer(llm=self.answering("whole")),
            verbose=False,
            use_async=False,
        )
        assert str(engine.query("Compare.")) == "whole"

    def test_a_sql_query_engine(self):
        from llama_index.core import SQLDatabase
        from llama_index.core.query_engine import NLSQLTableQueryEngine
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import StaticPool

        database = create_engine("sqlite://", poolclass=StaticPool)
        with database.begin() as connection:
            connection.execute(text("CREATE TABLE islands (name TEXT, wells INTEGER)"))
            connection.execute(text("INSERT INTO islands VALUES ('Arla', 7)"))
        llm = self.answering("SELECT wells FROM islands")
        engine = NLSQLTableQueryEngine(
            SQLDatabase(database), tables=["islands"], llm=llm, embed_model=HashedWords()
        )
        response = engine.query("How many wells does Arla have?")
        database.dispose()
        assert response.metadata["result"] == [(7,)]

    def test_a_reranker(self, index):
        ranker = LLMRerank(llm=self.answering("Doc: 2, Relevance: 9\nDoc: 1, Relevance: 3"), top_n=2)
        nodes = index.as_retriever(similarity_top_k=2).retrieve("wells")
        assert [n.node_id for n in ranker.postprocess_nodes(nodes, query_str="wells")] == [
            nodes[1].node_id,
            nodes[0].node_id,
        ]

    def test_a_retriever_that_rewrites_queries(self, index):
        retriever = QueryFusionRetriever(
            [index.as_retriever(similarity_top_k=1)],
            llm=self.answering("wells\ntowers"),
            num_queries=3,
            use_async=False,
        )
        assert retriever.retrieve("wells")

    @pytest.mark.parametrize("kind", [FaithfulnessEvaluator, RelevancyEvaluator])
    async def test_evaluators(self, kind):
        evaluator = kind(llm=self.answering("YES"))
        result = await evaluator.aevaluate(query="q", response="r", contexts=["c"])
        assert result.passing

    def test_extractors_in_an_ingestion_pipeline(self):
        llm = self.answering("extracted")
        pipeline = IngestionPipeline(
            transformations=[
                SentenceSplitter(),
                TitleExtractor(llm=llm, nodes=1),
                KeywordExtractor(llm=llm, keywords=1),
            ]
        )
        node = pipeline.run(documents=CORPUS[:1])[0]
        assert node.metadata == {"document_title": "extracted", "excerpt_keywords": "extracted"}

    def test_an_empty_context_asks_nobody(self):
        llm = llms()
        empty = VectorStoreIndex([], embed_model=HashedWords())
        assert str(empty.as_query_engine(llm=llm).query("What?")) == "Empty Response"
        assert not llm.crowd[0].asked

    def test_settings_llm(self, index, monkeypatch):
        monkeypatch.setattr(Settings, "_llm", None)
        Settings.llm = self.answering("by settings")
        assert str(index.as_query_engine().query("What?")) == "by settings"

    def test_a_prompt_template_of_the_engines(self, index):
        llm = llms()
        engine = index.as_query_engine(
            llm=llm, text_qa_template=PromptTemplate("{context_str}\nASK {query_str}"), similarity_top_k=1
        )
        engine.query("What?")
        assert llm.crowd[0].asked[0].text.endswith("ASK What?")

    def test_a_summary_is_made_over_everything(self):
        llm = self.answering("in short")
        summary = SummaryIndex.from_documents(CORPUS[:3])
        assert (
            str(summary.as_query_engine(llm=llm, response_mode="tree_summarize").query("Sum up."))
            == "in short"
        )


class TestRecordedQueryEngine:
    def refined(self, index, **fields):
        llm = llms(
            prices={
                n: Price(input=1.0, output=1.0) for n in ("blind-to-wells", "blind-to-ferries", "sees-all")
            },
            **fields,
        )
        return RecordedQueryEngine(index.as_query_engine(llm=llm, response_mode="refine", similarity_top_k=3))

    def test_each_step_is_a_query_with_its_own_record(self, index):
        told = self.refined(index).query(QUESTIONS[0][2]).metadata["pyramid"]
        assert told["total"]["queries"] == len(told["records"]) == 3
        assert is_plain(told)

    async def test_the_same_asynchronously(self, index):
        told = (await self.refined(index).aquery(QUESTIONS[0][2])).metadata["pyramid"]
        assert told["total"]["queries"] == 3

    def test_the_total_is_the_sum(self, index):
        told = self.refined(index).query(QUESTIONS[0][2]).metadata["pyramid"]
        costs = [record["cost"]["usd"] for record in told["records"]]
        assert told["total"]["cost"] == {"usd": pytest.approx(sum(costs)), "complete": True}
        inputs = [record["usage"]["sees-all"]["input_tokens"] for record in told["records"]]
        assert told["total"]["usage"]["sees-all"]["input_tokens"] == sum(inputs) > 0

    def test_unknown_usage_stays_unknown_in_the_total(self):
        known = {
            "usage": {"m": {"calls": 1, "input_tokens": 3}},
            "escalated": True,
            "cost": {"usd": 1.0, "complete": True},
        }
        unknown = {
            "usage": {"m": {"calls": 1, "input_tokens": None}},
            "escalated": False,
            "cost": {"usd": 0.0, "complete": False},
        }
        assert total_of([known, unknown]) == {
            "queries": 2,
            "escalated": 1,
            "usage": {"m": {"calls": 2, "input_tokens": None}},
            "cost": {"usd": 1.0, "complete": False},
        }

    def test_the_sources_stay(self, index):
        assert len(self.refined(index).query("What?").source_nodes) == 3


class TestPyramidQueryEngine:
    def engine(self, index, text, **fields):
        return index.as_query_engine(llm=ScriptedLLM(name=text, script=text), similarity_top_k=1, **fields)

    def test_engines_that_agree_answer(self, index):
        engine = PyramidQueryEngine([self.engine(index, "5")] * 3, self.engine(index, "7"))
        response = engine.query("How many?")
        assert str(response) == "5"
        assert response.metadata["pyramid"]["verdict"] == "accept"
        assert response.source_nodes

    @pytest.mark.parametrize("streaming", [False, True])
    async def test_engines_that_differ_leave_it_to_the_oracle(self, index, streaming):
        crowd = [self.engine(index, text, streaming=streaming) for text in ("5", "6")]
        engine = PyramidQueryEngine(crowd, self.engine(index, "7", streaming=streaming))
        assert str(engine.query("How many?")) == str(await engine.aquery("How many?")) == "7"

    def test_tools_lend_their_names(self, index):
        tools = [
            QueryEngineTool.from_defaults(self.engine(index, "5"), name=n, description="d")
            for n in ("near", "far")
        ]
        record = PyramidQueryEngine(tools, self.engine(index, "7")).query("?").metadata["pyramid"]
        assert record["crowd"] == ["near", "far"]

    def test_its_members_spans_lie_under_its_own(self, index):
        with recording() as heard:
            PyramidQueryEngine([self.engine(index, "5")], self.engine(index, "7")).query("?")
        own = heard.named("PyramidQueryEngine.")
        inner = heard.named("RetrieverQueryEngine.query")
        assert {span.parent_id for span in inner} <= {span.id_ for span in own}

    def test_when_all_fail_every_cause_is_carried(self, index):
        class Broken(RetrieverQueryEngine):
            def _query(self, query_bundle):
                raise RuntimeError("down")

        broken = Broken.from_args(index.as_retriever(), llm=ScriptedLLM())
        with pytest.raises(PyramidFailed, match="down"):
            PyramidQueryEngine([broken], broken).query("?")

    @pytest.mark.parametrize(
        ("crowd", "says"),
        [(["x"], "'x', not a query engine"), ("x", "a list"), ([ScriptedLLM()], "ScriptedLLM")],
    )
    def test_what_is_no_engine_is_refused(self, index, crowd, says):
        with pytest.raises(InputError, match=says):
            PyramidQueryEngine(crowd, self.engine(index, "7"))

    def test_it_is_a_tool_for_a_router(self, index):
        engine = PyramidQueryEngine([self.engine(index, "5")], self.engine(index, "7"))
        tool = QueryEngineTool.from_defaults(engine, name="pyramid", description="asks several")
        assert tool.call("How many?").content == "5"
