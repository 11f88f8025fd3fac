"""The embedded models in LlamaIndex: what reaches the core is what the core's own members say."""

import threading
from dataclasses import replace

import pytest
from llama_index.core.llms import ChatMessage

from llamaindex_pyramid import EmbeddedLLM, PyramidLLM, embedded_llm_crowd, embedded_llm_oracle
from pyramid_core import InputError, Policy, Pyramid, Query, routing_record
from pyramid_core.embedded import EmbeddedModel, embedded_crowd, embedded_oracle
from pyramid_core.embedded.problems import problems

WHOLE = Policy(early_stop=None)
PROBLEM = "Tom has 5 apples. He buys 3 more. How many apples does he have now?"


def questions(n):
    return [problem.question for problem in problems(1, n)]


def said(answer):
    return replace(answer, member="", raw=None, elapsed=0.0)


class TestSameAnswers:
    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_member_hears_what_the_core_hears(self, streaming):
        traces = []
        llm = PyramidLLM(
            crowd=[EmbeddedLLM(model="tiny-add")], oracle=embedded_llm_oracle(), on_trace=traces.append
        )
        list(llm.stream_complete(PROBLEM)) if streaming else llm.complete(PROBLEM)
        expected = EmbeddedModel(name="tiny-add").ask(Query(text=PROBLEM))
        assert said(traces[0].calls[0].result) == said(expected)

    def test_a_streamed_oracle_is_heard_in_full(self):
        traces = []
        crowd = embedded_llm_crowd()
        llm = PyramidLLM(
            crowd=crowd, oracle=embedded_llm_oracle(), rule=0.0, policy=WHOLE, on_trace=traces.append
        )
        list(llm.stream_complete(PROBLEM))
        expected = EmbeddedModel(name="oracle").ask(Query(text=PROBLEM))
        assert said(traces[0].calls[-1].result) == said(expected)

    def test_the_shipped_router_routes_as_in_the_core(self):
        llm = PyramidLLM(
            crowd=embedded_llm_crowd(), oracle=embedded_llm_oracle(), router="embedded", policy=WHOLE
        )
        core = Pyramid(crowd=embedded_crowd(), oracle=embedded_oracle(), router="embedded", policy=WHOLE)
        told = ("verdict", "p_fail", "p_after", "answered_by", "escalated", "usage", "cost", "saving")
        verdicts = set()
        for question in questions(20):
            record = llm.chat([ChatMessage(content=question)]).additional_kwargs["pyramid"]
            expected = routing_record(core.ask(question).trace)
            assert {name: record[name] for name in told} == {name: expected[name] for name in told}
            verdicts.add(record["verdict"])
        assert verdicts == {"accept", "escalate"}


class TestEmbeddedLLM:
    def test_sampling_may_be_set_for_one_call(self):
        llm = EmbeddedLLM(model="tiny-add")
        assert llm.complete(PROBLEM, max_tokens=2).raw["usage"]["completion_tokens"] == 2
        assert llm.complete(PROBLEM).raw["usage"]["completion_tokens"] > 2

    def test_it_stops_where_it_is_told(self):
        whole = EmbeddedLLM(model="oracle").complete(PROBLEM).text
        assert EmbeddedLLM(model="oracle", stop=["."]).complete(PROBLEM).text == whole.partition(".")[0]

    def test_a_seed_makes_samples_repeatable(self):
        llm = EmbeddedLLM(model="tiny-add", temperature=1.0, seed=3)
        assert llm.complete(PROBLEM).text == llm.complete(PROBLEM).text

    @pytest.mark.parametrize("fields", [{"model": "gpt"}, {"temperature": -1.0}, {"size": 3}])
    def test_what_is_wrong_is_said(self, fields):
        with pytest.raises(InputError):
            EmbeddedLLM(**fields)

    def test_tools_are_refused(self):
        with pytest.raises(InputError, match="calls no functions"):
            EmbeddedLLM().complete(PROBLEM, tools=[{}])

    async def test_it_computes_off_the_loops_thread(self, monkeypatch):
        threads, ask = [], EmbeddedModel.ask

        def noted(model, query):
            threads.append(threading.get_ident())
            return ask(model, query)

        monkeypatch.setattr(EmbeddedModel, "ask", noted)
        await EmbeddedLLM(model="oracle").acomplete(PROBLEM)
        assert threads
        assert threading.get_ident() not in threads
