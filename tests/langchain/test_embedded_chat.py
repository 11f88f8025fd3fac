"""The embedded models as LangChain chat models, and a pyramid of them."""

import json
import operator
from functools import reduce

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_pyramid import ChatPyramid, EmbeddedChat, embedded_chat_crowd, embedded_chat_oracle
from langchain_pyramid.messages import answer_of
from pyramid_core.embedded import EmbeddedModel, embedded_crowd, embedded_oracle
from pyramid_core.embedded.problems import problems
from pyramid_core.errors import InputError
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import routing_record
from pyramid_core.types import Policy, Query
from tests.langchain.scripted import Tracer

QUESTION = "Ann has 12 apples. She finds 7 more. How many apples does Ann have now?"
FIELDS = ("text", "logprobs", "token_texts", "top_logprobs", "answer_span", "finish_reason", "usage")


@pytest.mark.parametrize("model", ["tiny-add", "tiny-short", "tiny-times", "oracle"])
class TestSame:
    """A chat model's answer is the core member's answer in every respect that features read."""

    def test_invoke(self, model):
        said = answer_of(EmbeddedChat(model=model).invoke(QUESTION))
        core = EmbeddedModel(name=model).ask(Query(text=QUESTION))
        for name in FIELDS:
            assert (
                getattr(said, name) == pytest.approx(getattr(core, name))
                if name == "logprobs"
                else getattr(said, name) == getattr(core, name)
            )

    def test_stream(self, model):
        llm = EmbeddedChat(model=model)
        chunks = list(llm.stream(QUESTION))
        whole, invoked = reduce(operator.add, chunks), llm.invoke(QUESTION)
        assert len(chunks) > 5
        assert whole.text == invoked.text
        assert whole.usage_metadata == invoked.usage_metadata
        assert whole.response_metadata["logprobs"] == invoked.response_metadata["logprobs"]

    async def test_asynchronously(self, model):
        llm = EmbeddedChat(model=model)
        invoked = llm.invoke(QUESTION)
        assert (await llm.ainvoke(QUESTION)).text == invoked.text
        assert "".join([chunk.text async for chunk in llm.astream(QUESTION)]) == invoked.text


class TestSettings:
    def test_the_oracle_adds_up(self):
        assert "19" in EmbeddedChat(model="oracle").invoke(QUESTION).text

    def test_only_the_last_human_message_is_read(self):
        llm = EmbeddedChat()
        assert (
            llm.invoke([SystemMessage("Be brave."), HumanMessage(QUESTION)]).text == llm.invoke(QUESTION).text
        )

    def test_metadata_is_plain_json(self):
        message = EmbeddedChat().invoke(QUESTION)
        assert json.loads(json.dumps(message.response_metadata, allow_nan=False)) == message.response_metadata

    def test_stop_ends_the_answer_before_the_text(self):
        llm = EmbeddedChat(model="oracle")
        whole = llm.invoke(QUESTION).text
        assert llm.invoke(QUESTION, stop=["="]).text == whole[: whole.index("=")]
        assert EmbeddedChat(model="oracle", stop=["="]).invoke(QUESTION).text == whole[: whole.index("=")]

    def test_max_tokens_cuts_it_and_says_so(self):
        message = EmbeddedChat(max_tokens=3).invoke(QUESTION)
        assert message.response_metadata["finish_reason"] == "length"
        assert message.usage_metadata["output_tokens"] == 3
        assert EmbeddedChat().invoke(QUESTION, max_tokens=3).text == message.text

    def test_a_seed_makes_a_warm_answer_repeatable(self):
        warm = EmbeddedChat(model="tiny-times", temperature=3.0)
        texts = {warm.invoke(QUESTION, seed=seed).text for seed in range(8)}
        assert len(texts) > 1
        assert warm.invoke(QUESTION, seed=5).text == warm.invoke(QUESTION, seed=5).text

    def test_tokens_are_counted_by_its_own_tokenizer(self):
        assert EmbeddedChat().get_num_tokens("Ann has 12 apples.") == 5


class TestRefusals:
    @pytest.mark.parametrize(
        "bind",
        [
            lambda llm: llm.bind_tools([]),
            lambda llm: llm.bind(tools=[{"type": "function"}]).invoke("x"),
            lambda llm: llm.with_structured_output({"title": "a", "type": "object", "properties": {}}),
        ],
        ids=["bind_tools", "tools", "structured"],
    )
    def test_tools_are_refused_in_words(self, bind):
        with pytest.raises(NotImplementedError, match="the embedded model 'tiny-add' has no tool calling"):
            bind(EmbeddedChat())

    def test_a_pyramid_of_them_refuses_tools_when_they_are_bound(self):
        llm = ChatPyramid(crowd=embedded_chat_crowd(), oracle=embedded_chat_oracle())
        with pytest.raises(InputError, match=r"member 'tiny-.*' cannot be given tools"):
            llm.bind_tools([{"title": "a", "description": "b", "type": "object", "properties": {}}])

    @pytest.mark.parametrize(
        ("fields", "match"),
        [
            ({"model": "gpt-5"}, "no embedded model 'gpt-5'"),
            ({"temperature": -1}, "temperature must be"),
            ({"max_tokens": 0}, "max_tokens must be"),
            ({"colour": "red"}, "EmbeddedChat has no colour"),
        ],
    )
    def test_bad_settings_are_plain_input_errors(self, fields, match):
        with pytest.raises(InputError, match=match) as raised:
            EmbeddedChat(**fields)
        assert type(raised.value) is InputError

    def test_tool_calling_is_declared_absent(self):
        assert EmbeddedChat().profile["tool_calling"] is False


@pytest.fixture(scope="module")
def pyramids():
    """The core's pyramid and LangChain's over the same models; nobody is cut off, so that bills can be compared."""
    policy = Policy(early_stop=None)
    core = Pyramid(crowd=embedded_crowd(), oracle=embedded_oracle(), policy=policy)
    return core, ChatPyramid(crowd=embedded_chat_crowd(), oracle=embedded_chat_oracle(), policy=policy)


class TestPyramids:
    questions = tuple(problem.question for problem in problems(20_261, 30, split="tune"))

    def test_its_verdicts_answers_and_bills_are_the_cores(self, pyramids):
        core, llm = pyramids
        chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | llm
        verdicts = set()
        for question, message in zip(
            self.questions, chain.batch([{"question": q} for q in self.questions]), strict=True
        ):
            outcome = core.ask(question)
            expected = routing_record(outcome.trace)
            record = message.response_metadata["pyramid"]
            assert message.text == outcome.answer.text
            for name in ("verdict", "p_fail", "answered_by", "usage", "saving"):
                assert record[name] == expected[name]
            assert record["cost"]["complete"]
            assert record["cost"]["usd"] == pytest.approx(expected["cost"]["usd"])
            verdicts.add(record["verdict"])
        assert verdicts == {"accept", "escalate"}

    async def test_in_every_kind_of_call_it_says_the_same(self, pyramids):
        _, llm = pyramids
        chain = llm | StrOutputParser()
        for question in self.questions[:8]:
            said = chain.invoke(question)
            assert await chain.ainvoke(question) == said
            assert "".join(chain.stream(question)) == said
            assert "".join([part async for part in chain.astream(question)]) == said

    async def test_they_never_run_on_the_event_loop(self, pyramids):
        tracer = Tracer()
        _, llm = pyramids
        await llm.ainvoke(self.questions[0], {"callbacks": [tracer]})
        assert not any(hasattr(member, "aask") for member in llm.pyramid.members.values())
        assert tracer.open == []
