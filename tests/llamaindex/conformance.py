"""A suite of checks for any LlamaIndex `LLM`: subclass it with a fixture.

    class TestMyLLM(LLMConformance):
        has_tools = True

        @pytest.fixture
        def llm(self):
            return MyLLM(...)

The attributes say what the subject can do; a check that does not apply is skipped with its reason. Checks that talk
about tools ask `tool_prompt` and expect one call of `multiply(a=6, b=7)`. What is checked is what LlamaIndex's engines,
agents and tracers rely on; a subject may run without a network, so nothing is asked of its wits beyond that.
"""

import asyncio
import copy
import gc
import itertools
import json
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core import Document, PromptTemplate, Settings, VectorStoreIndex
from llama_index.core.base.llms.types import MessageRole, TextBlock
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.callbacks.schema import CBEventType
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.llms import (
    LLM,
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.types import BaseOutputParser
from pydantic import BaseModel

from tests.llamaindex.instruments import HashedWords, recording

RESPONSE_MODES = (
    "compact",
    "refine",
    "tree_summarize",
    "simple_summarize",
    "accumulate",
    "compact_accumulate",
)
CHAT_MODES = ("simple", "context", "condense_question", "condense_plus_context", "best")


class Product(BaseModel):
    """What is asked for as a structure."""

    factor: int
    product: int


class Shouting(BaseOutputParser):
    def parse(self, output):
        return output.upper()

    def format(self, query):
        return query


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def collected(stream):
    return [item async for item in await stream]


class LLMConformance:
    """Subclass and give `llm`.

    Attributes:
        prompt: what is asked.
        tool_prompt: what makes the model call `multiply(a=6, b=7)` where it is offered.
        has_tools: calls functions.
        is_deterministic: the same question gets the same answer.
        reports_usage: tells tokens in `raw`.
        streams_usage: tells them in a stream too.
        streams_cumulatively: a chunk's text is all that was said so far.
        joins_exactly: deltas join to the final text.
        async_is_real: asynchronous methods leave the loop free and can be cancelled.
        survives_loops: may be asked in one event loop after another has closed.
        keeps_messages: messages are not changed by asking.
        keeps_history: nor is the list of them that tools are offered with.
        is_saved_safely: `to_dict` and pickles hold no `secret`.
        counts_once, counts_async_once: LlamaIndex's events and callbacks come once a call.
        holds_prompts: the window is large enough for the prompts of LlamaIndex's engines.
        refuses_empty: an empty conversation is an error and not an answer.
        secret: a key that must never be shown; "" where there is none.
        documents: what the engines read.
    """

    prompt = "Tom has 5 apples. He buys 3 more. How many apples does he have now?"
    tool_prompt = "How much is 6 times 7?"
    has_tools = False
    is_deterministic = True
    reports_usage = True
    streams_usage = True
    streams_cumulatively = True
    joins_exactly = True
    async_is_real = True
    survives_loops = True
    keeps_messages = True
    keeps_history = True
    is_saved_safely = True
    counts_once = True
    counts_async_once = True
    holds_prompts = True
    refuses_empty = True
    secret = ""
    documents = ("Tom has 5 apples.", "Eva has 7 pears.", "Max has 9 coins.")

    @pytest.fixture
    def llm(self):
        raise NotImplementedError("give the subject: a fixture named llm")

    @pytest.fixture
    def engines(self):
        self.need(self.holds_prompts, "has too small a window for the prompts of LlamaIndex's engines")

    @pytest.fixture
    def memories(self, engines):
        """For checks with a memory: LlamaIndex leaves its databases to the garbage collector."""
        with warnings.catch_warnings():
            yield
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @pytest.fixture
    def tool(self):
        return FunctionTool.from_defaults(fn=multiply)

    def need(self, ability, why):
        if not ability:
            pytest.skip(f"the subject {why}")

    def need_tools(self):
        self.need(self.has_tools, "calls no functions")

    @property
    def messages(self):
        return [ChatMessage(role=MessageRole.USER, content=self.prompt)]

    def index(self):
        return VectorStoreIndex.from_documents(
            [Document(text=text) for text in self.documents], embed_model=HashedWords()
        )

    # What it says of itself

    def test_it_is_an_llm(self, llm):
        assert isinstance(llm, LLM)

    def test_metadata_is_metadata(self, llm):
        assert isinstance(llm.metadata, LLMMetadata)

    def test_its_window_holds_something(self, llm):
        assert llm.metadata.context_window > 0

    def test_its_answers_fit_its_window(self, llm):
        assert llm.metadata.num_output < llm.metadata.context_window

    def test_it_has_a_class_name_of_its_own(self, llm):
        assert llm.class_name() not in ("base_component", "BaseLLM", "LLM", "")

    def test_function_calling_is_what_it_says(self, llm):
        assert (
            isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model
        ) == self.has_tools

    def test_its_payload_for_tracers_is_plain_json(self, llm):
        assert json.loads(json.dumps(llm.to_payload()))["class_name"] == llm.class_name()

    # Completing

    def test_complete_gives_a_text(self, llm):
        response = llm.complete(self.prompt)
        assert isinstance(response, CompletionResponse)
        assert response.text

    async def test_acomplete_gives_a_text(self, llm):
        assert (await llm.acomplete(self.prompt)).text

    async def test_complete_and_acomplete_agree(self, llm):
        self.need(self.is_deterministic, "answers differently each time")
        assert (await llm.acomplete(self.prompt)).text == llm.complete(self.prompt).text

    def test_complete_takes_its_prompt_by_name(self, llm):
        assert llm.complete(prompt=self.prompt).text

    def test_complete_takes_a_formatted_prompt(self, llm):
        assert llm.complete(self.prompt, formatted=True).text

    def test_stream_complete_gives_responses(self, llm):
        chunks = list(llm.stream_complete(self.prompt))
        assert chunks
        assert all(isinstance(chunk, CompletionResponse) for chunk in chunks)

    async def test_astream_complete_gives_responses(self, llm):
        assert await collected(llm.astream_complete(self.prompt))

    def test_completion_deltas_join_to_the_text(self, llm):
        self.need(self.joins_exactly, "streams deltas that differ from its text")
        chunks = list(llm.stream_complete(self.prompt))
        assert "".join(chunk.delta or "" for chunk in chunks) == chunks[-1].text

    async def test_async_completion_deltas_join_to_the_text(self, llm):
        self.need(self.joins_exactly, "streams deltas that differ from its text")
        chunks = await collected(llm.astream_complete(self.prompt))
        assert "".join(chunk.delta or "" for chunk in chunks) == chunks[-1].text

    def test_a_streamed_completion_says_the_same(self, llm):
        self.need(self.is_deterministic and self.joins_exactly, "answers differently in a stream")
        assert list(llm.stream_complete(self.prompt))[-1].text == llm.complete(self.prompt).text

    def test_a_streamed_completion_never_takes_text_back(self, llm):
        self.need(self.streams_cumulatively, "streams texts that do not grow")
        texts = [chunk.text for chunk in llm.stream_complete(self.prompt)]
        assert all(after.startswith(before) for before, after in itertools.pairwise(texts))

    # Chatting

    def test_chat_gives_a_message_of_the_assistant(self, llm):
        response = llm.chat(self.messages)
        assert isinstance(response, ChatResponse)
        assert response.message.role == MessageRole.ASSISTANT
        assert response.message.content

    async def test_achat_gives_a_message(self, llm):
        assert (await llm.achat(self.messages)).message.content

    async def test_chat_and_achat_agree(self, llm):
        self.need(self.is_deterministic, "answers differently each time")
        assert (await llm.achat(self.messages)).message.content == llm.chat(self.messages).message.content

    def test_stream_chat_gives_responses(self, llm):
        chunks = list(llm.stream_chat(self.messages))
        assert chunks
        assert all(isinstance(chunk, ChatResponse) for chunk in chunks)

    async def test_astream_chat_gives_responses(self, llm):
        assert await collected(llm.astream_chat(self.messages))

    def test_chat_deltas_join_to_the_content(self, llm):
        self.need(self.joins_exactly, "streams deltas that differ from its text")
        chunks = list(llm.stream_chat(self.messages))
        assert "".join(chunk.delta or "" for chunk in chunks) == chunks[-1].message.content

    async def test_async_chat_deltas_join_to_the_content(self, llm):
        self.need(self.joins_exactly, "streams deltas that differ from its text")
        chunks = await collected(llm.astream_chat(self.messages))
        assert "".join(chunk.delta or "" for chunk in chunks) == chunks[-1].message.content

    def test_a_streamed_chat_says_the_same(self, llm):
        self.need(self.is_deterministic and self.joins_exactly, "answers differently in a stream")
        assert (
            list(llm.stream_chat(self.messages))[-1].message.content
            == llm.chat(self.messages).message.content
        )

    def test_a_streamed_chat_never_takes_text_back(self, llm):
        self.need(self.streams_cumulatively, "streams texts that do not grow")
        texts = [chunk.message.content or "" for chunk in llm.stream_chat(self.messages)]
        assert all(after.startswith(before) for before, after in itertools.pairwise(texts))

    def test_a_system_message_is_accepted(self, llm):
        system = ChatMessage(role=MessageRole.SYSTEM, content="Be brief.")
        assert llm.chat([system, *self.messages]).message.content

    def test_a_conversation_goes_on(self, llm):
        first = llm.chat(self.messages).message
        assert llm.chat([*self.messages, first, *self.messages]).message.content

    def test_several_blocks_of_text_are_accepted(self, llm):
        blocks = [TextBlock(text="Listen."), TextBlock(text=self.prompt)]
        assert llm.chat([ChatMessage(blocks=blocks)]).message.content

    def test_messages_are_not_changed_by_asking(self, llm):
        self.need(self.keeps_messages, "changes its messages")
        messages = self.messages
        before = copy.deepcopy(messages)
        llm.chat(messages)
        list(llm.stream_chat(messages))
        assert messages == before

    def test_an_empty_conversation_is_refused(self, llm):
        self.need(self.refuses_empty, "answers an empty conversation")
        with pytest.raises(Exception):  # noqa: B017 - a provider's own error, or one of Python's
            llm.chat([])

    def test_responses_can_be_written_down(self, llm):
        assert json.loads(llm.chat(self.messages).model_dump_json())
        assert json.loads(llm.complete(self.prompt).model_dump_json())

    # Predicting

    def test_predict_fills_its_template(self, llm):
        assert llm.predict(PromptTemplate("{question}"), question=self.prompt)

    async def test_apredict_fills_its_template(self, llm):
        assert await llm.apredict(PromptTemplate("{question}"), question=self.prompt)

    def test_predict_takes_a_chat_template(self, llm):
        template = ChatPromptTemplate([ChatMessage(role=MessageRole.USER, content="{question}")])
        assert llm.predict(template, question=self.prompt)

    def test_stream_predicts_in_pieces(self, llm):
        assert "".join(llm.stream(PromptTemplate("{question}"), question=self.prompt))

    async def test_astream_predicts_in_pieces(self, llm):
        assert "".join(await collected(llm.astream(PromptTemplate("{question}"), question=self.prompt)))

    def test_stream_and_predict_agree(self, llm):
        self.need(self.is_deterministic and self.joins_exactly, "answers differently in a stream")
        template = PromptTemplate("{question}")
        assert "".join(llm.stream(template, question=self.prompt)) == llm.predict(
            template, question=self.prompt
        )

    def test_an_output_parser_is_applied(self, llm):
        llm.output_parser = Shouting()
        assert llm.predict(PromptTemplate("{question}"), question=self.prompt).isupper()

    # Events and spans

    @pytest.mark.parametrize("way", ["chat", "stream_chat"])
    def test_a_chat_is_told_of_once(self, llm, way):
        self.need(self.counts_once, "is told of more than once")
        with recording() as heard:
            self.exhaust(getattr(llm, way)(self.messages))
        assert len(heard.of(LLMChatStartEvent, llm)) == 1
        assert len(heard.of(LLMChatEndEvent, llm)) == 1

    @pytest.mark.parametrize("way", ["achat", "astream_chat"])
    async def test_an_async_chat_is_told_of_once(self, llm, way):
        self.need(self.counts_async_once, "is told of more than once asynchronously")
        with recording() as heard:
            await self.aexhaust(getattr(llm, way)(self.messages))
        assert len(heard.of(LLMChatStartEvent, llm)) == 1
        assert len(heard.of(LLMChatEndEvent, llm)) == 1

    def test_a_completion_is_told_of_once(self, llm):
        self.need(self.counts_once, "is told of more than once")
        with recording() as heard:
            llm.complete(self.prompt)
        assert len(heard.of(LLMCompletionStartEvent, llm)) == 1
        assert len(heard.of(LLMCompletionEndEvent, llm)) == 1

    def test_every_chunk_of_a_chat_is_told_of(self, llm):
        with recording() as heard:
            chunks = list(llm.stream_chat(self.messages))
        assert len(heard.of((LLMChatInProgressEvent, LLMCompletionInProgressEvent), llm)) >= len(chunks)

    def test_events_can_be_written_down_and_show_no_key(self, llm):
        with recording() as heard:
            llm.chat(self.messages)
            list(llm.stream_complete(self.prompt))
        written = "".join(event.model_dump_json() for event in heard.events)
        assert written
        assert not self.secret or self.secret not in written

    def test_a_call_is_a_span_under_its_callers(self, llm):
        with recording() as heard:
            llm.predict(PromptTemplate("{question}"), question=self.prompt)
        own = heard.spans_of(llm)
        assert own[0].parent_id is None
        assert {span.parent_id for span in own[1:]} <= {span.id_ for span in own}

    async def test_no_span_stays_open(self, llm):
        with recording() as heard:
            llm.chat(self.messages)
            await llm.achat(self.messages)
            list(llm.stream_chat(self.messages))
            await collected(llm.astream_chat(self.messages))
        assert not heard.open

    @pytest.mark.parametrize("way", ["chat", "complete", "stream_chat", "stream_complete"])
    def test_the_callback_manager_counts_a_call_once(self, llm, way):
        self.need(self.counts_once, "is told of more than once")
        debug = LlamaDebugHandler(print_trace_on_end=False)
        llm.callback_manager = CallbackManager([debug])
        self.exhaust(getattr(llm, way)(self.messages if "chat" in way else self.prompt))
        assert len(debug.get_event_pairs(CBEventType.LLM)) == 1

    @pytest.mark.parametrize("way", ["achat", "acomplete", "astream_chat", "astream_complete"])
    async def test_the_callback_manager_counts_an_async_call_once(self, llm, way):
        self.need(self.counts_async_once, "is told of more than once asynchronously")
        debug = LlamaDebugHandler(print_trace_on_end=False)
        llm.callback_manager = CallbackManager([debug])
        await self.aexhaust(getattr(llm, way)(self.messages if "chat" in way else self.prompt))
        assert len(debug.get_event_pairs(CBEventType.LLM)) == 1

    def test_a_token_counter_counts_a_call_once(self, llm):
        self.need(self.counts_once, "is told of more than once")
        counter = TokenCountingHandler(tokenizer=str.split)
        llm.callback_manager = CallbackManager([counter])
        llm.chat(self.messages)
        assert len(counter.llm_token_counts) == 1
        assert counter.total_llm_token_count > 0

    def test_a_callback_that_raises_is_not_hidden(self, llm):
        class Broken(LlamaDebugHandler):
            def on_event_start(self, *args, **kwargs):
                raise RuntimeError("broken handler")

        llm.callback_manager = CallbackManager([Broken(print_trace_on_end=False)])
        with pytest.raises(RuntimeError, match="broken handler"):
            llm.chat(self.messages)

    # Tokens

    def test_usage_is_told(self, llm):
        self.need(self.reports_usage, "does not tell its usage")
        assert min(get_tokens_from_response(llm.chat(self.messages))) > 0
        assert min(get_tokens_from_response(llm.complete(self.prompt))) > 0

    def test_a_streams_last_chunk_tells_the_usage(self, llm):
        self.need(self.reports_usage and self.streams_usage, "does not tell its usage in a stream")
        assert min(get_tokens_from_response(list(llm.stream_chat(self.messages))[-1])) > 0

    def test_a_streams_usage_is_told_once(self, llm):
        self.need(self.reports_usage and self.streams_usage, "does not tell its usage in a stream")
        chunks = list(llm.stream_chat(self.messages))
        assert sum(get_tokens_from_response(chunk) != (0, 0) for chunk in chunks) == 1

    # Tools

    def call_in(self, llm, response):
        calls = llm.get_tool_calls_from_response(response)
        return [(call.tool_name, call.tool_kwargs) for call in calls]

    def test_chat_with_tools_calls_one(self, llm, tool):
        self.need_tools()
        response = llm.chat_with_tools([tool], user_msg=self.tool_prompt)
        assert self.call_in(llm, response) == [("multiply", {"a": 6, "b": 7})]

    async def test_achat_with_tools_calls_one(self, llm, tool):
        self.need_tools()
        response = await llm.achat_with_tools([tool], user_msg=self.tool_prompt)
        assert self.call_in(llm, response) == [("multiply", {"a": 6, "b": 7})]

    def test_stream_chat_with_tools_calls_one(self, llm, tool):
        self.need_tools()
        chunks = list(llm.stream_chat_with_tools([tool], user_msg=self.tool_prompt))
        assert self.call_in(llm, chunks[-1]) == [("multiply", {"a": 6, "b": 7})]

    async def test_astream_chat_with_tools_calls_one(self, llm, tool):
        self.need_tools()
        chunks = await collected(llm.astream_chat_with_tools([tool], user_msg=self.tool_prompt))
        assert self.call_in(llm, chunks[-1]) == [("multiply", {"a": 6, "b": 7})]

    def test_a_call_has_an_id(self, llm, tool):
        self.need_tools()
        response = llm.chat_with_tools([tool], user_msg=self.tool_prompt)
        assert llm.get_tool_calls_from_response(response)[0].tool_id

    def test_no_call_is_an_error_or_an_empty_list_as_wanted(self, llm):
        self.need_tools()
        response = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="no"))
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError):
            llm.get_tool_calls_from_response(response)

    def test_predict_and_call_runs_the_tool(self, llm, tool):
        self.need_tools()
        assert llm.predict_and_call([tool], user_msg=self.tool_prompt).response == "42"

    async def test_apredict_and_call_runs_the_tool(self, llm, tool):
        self.need_tools()
        assert (await llm.apredict_and_call([tool], user_msg=self.tool_prompt)).response == "42"

    def test_parallel_calls_may_be_allowed(self, llm, tool):
        self.need_tools()
        found = llm.predict_and_call([tool], user_msg=self.tool_prompt, allow_parallel_tool_calls=True)
        assert "42" in found.response

    def test_a_tools_result_is_accepted(self, llm, tool):
        self.need_tools()
        asked = ChatMessage(content=self.tool_prompt)
        called = llm.chat_with_tools([tool], user_msg=asked)
        call_id = llm.get_tool_calls_from_response(called)[0].tool_id
        result = ChatMessage(role="tool", content="42", additional_kwargs={"tool_call_id": call_id})
        final = llm.chat_with_tools([tool], chat_history=[asked, called.message, result])
        assert llm.get_tool_calls_from_response(final, error_on_no_tool_call=False) == []
        assert final.message.content

    def test_tools_leave_the_history_as_it_was(self, llm, tool):
        self.need_tools()
        self.need(self.keeps_history, "adds to the history that it is given")
        history = self.messages
        llm.chat_with_tools([tool], user_msg=self.tool_prompt, chat_history=history)
        assert len(history) == 1

    def test_without_tools_a_text_comes(self, llm):
        self.need_tools()
        assert llm.chat_with_tools([], user_msg=self.prompt).message.content

    def test_events_of_tools_can_be_written_down(self, llm, tool):
        self.need_tools()
        with recording() as heard:
            llm.chat_with_tools([tool], user_msg=self.tool_prompt)
        starts = heard.of(LLMChatStartEvent, llm)
        assert "multiply" in json.dumps(starts[0].additional_kwargs)

    # Structures

    def test_structured_predict_gives_the_structure(self, llm):
        self.need_tools()
        found = llm.structured_predict(Product, PromptTemplate("{question}"), question=self.tool_prompt)
        assert found == Product(factor=6, product=7)

    async def test_astructured_predict_gives_the_structure(self, llm):
        self.need_tools()
        found = await llm.astructured_predict(
            Product, PromptTemplate("{question}"), question=self.tool_prompt
        )
        assert found == Product(factor=6, product=7)

    def test_stream_structured_predict_ends_in_the_structure(self, llm):
        self.need_tools()
        stream = llm.stream_structured_predict(
            Product, PromptTemplate("{question}"), question=self.tool_prompt
        )
        assert list(stream)[-1].model_dump() == {"factor": 6, "product": 7}

    async def test_astream_structured_predict_ends_in_the_structure(self, llm):
        self.need_tools()
        stream = llm.astream_structured_predict(
            Product, PromptTemplate("{question}"), question=self.tool_prompt
        )
        assert (await collected(stream))[-1].model_dump() == {"factor": 6, "product": 7}

    def test_as_structured_llm_gives_the_structure(self, llm):
        self.need_tools()
        structured = llm.as_structured_llm(Product)
        assert isinstance(structured, StructuredLLM)
        assert structured.complete(self.tool_prompt).raw == Product(factor=6, product=7)

    async def test_as_structured_llm_chats(self, llm):
        self.need_tools()
        response = await llm.as_structured_llm(Product).achat([ChatMessage(content=self.tool_prompt)])
        assert response.raw == Product(factor=6, product=7)

    # Engines

    @pytest.mark.parametrize("mode", RESPONSE_MODES)
    def test_a_query_engine_answers(self, llm, mode, engines):
        engine = self.index().as_query_engine(llm=llm, response_mode=mode, similarity_top_k=2)
        assert str(engine.query(self.prompt))

    @pytest.mark.parametrize("mode", RESPONSE_MODES)
    async def test_a_query_engine_answers_asynchronously(self, llm, mode, engines):
        engine = self.index().as_query_engine(llm=llm, response_mode=mode, similarity_top_k=2)
        assert str(await engine.aquery(self.prompt))

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize"])
    def test_a_query_engine_streams(self, llm, mode, engines):
        engine = self.index().as_query_engine(llm=llm, response_mode=mode, streaming=True, similarity_top_k=2)
        assert "".join(engine.query(self.prompt).response_gen)

    @pytest.mark.parametrize("mode", CHAT_MODES)
    def test_a_chat_engine_answers_twice(self, llm, mode, memories):
        engine = self.index().as_chat_engine(llm=llm, chat_mode=mode, similarity_top_k=1)
        assert engine.chat(self.prompt).response
        assert engine.chat(self.prompt).response
        assert len(engine.chat_history) == 4

    def test_a_chat_engine_streams(self, llm, memories):
        engine = self.index().as_chat_engine(llm=llm, chat_mode="simple")
        assert "".join(engine.stream_chat(self.prompt).response_gen)

    def test_settings_llm_is_used(self, llm, monkeypatch, engines):
        monkeypatch.setattr(Settings, "_llm", llm)
        assert str(self.index().as_query_engine().query(self.prompt))

    # Concurrency

    def test_many_threads_ask_at_once(self, llm):
        with ThreadPoolExecutor(16) as pool:
            texts = list(pool.map(lambda _: llm.complete(self.prompt).text, range(16)))
        assert all(texts)
        assert not self.is_deterministic or len(set(texts)) == 1

    async def test_many_tasks_ask_at_once(self, llm):
        found = await asyncio.gather(*(llm.achat(self.messages) for _ in range(16)))
        assert all(response.message.content for response in found)

    def test_one_loop_after_another_may_ask(self, llm):
        self.need(self.survives_loops, "keeps connections of a loop that has closed")
        for _ in range(2):
            assert asyncio.run(self.alone(llm)).message.content

    async def alone(self, llm):
        return await llm.achat(self.messages)

    async def test_synchronous_methods_work_inside_a_running_loop(self, llm):
        assert llm.chat(self.messages).message.content
        assert list(llm.stream_chat(self.messages))

    async def test_asking_leaves_the_loop_free(self, llm):
        self.need(self.async_is_real, "blocks the loop")
        task = asyncio.ensure_future(llm.achat(self.messages))
        await asyncio.sleep(0)
        assert not task.done()
        assert (await task).message.content

    # Leaving

    def test_a_stream_may_be_left(self, llm):
        stream = llm.stream_chat(self.messages)
        next(stream)
        stream.close()
        # What an SDK leaves to the garbage collector is closed now, not within a lock of its connection pool.
        gc.collect()
        assert llm.chat(self.messages).message.content

    async def test_an_async_stream_may_be_left(self, llm):
        stream = await llm.astream_chat(self.messages)
        await anext(stream)
        await stream.aclose()
        assert (await llm.achat(self.messages)).message.content

    async def test_an_async_call_may_be_cancelled(self, llm):
        self.need(self.async_is_real, "cannot be cancelled")
        task = asyncio.ensure_future(llm.achat(self.messages))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    # Saving

    def test_it_can_be_written_down(self, llm):
        assert json.loads(llm.to_json())["class_name"] == llm.class_name()

    def test_it_shows_no_key(self, llm):
        self.need(self.secret, "has no key")
        self.need(self.is_saved_safely, "saves its key")
        shown = [llm.to_dict(), llm.model_dump(), llm.to_json(), repr(llm), str(llm), llm.to_payload()]
        assert all(self.secret not in str(each) for each in shown)

    def test_a_pickle_holds_no_key(self, llm):
        self.need(self.secret, "has no key")
        self.need(self.is_saved_safely, "saves its key")
        try:
            pickled = pickle.dumps(llm)
        except ValueError:
            pickled = b""  # Refused: nothing is held.
        assert self.secret.encode() not in pickled

    def test_a_copy_answers(self, llm):
        assert llm.model_copy().chat(self.messages).message.content

    @staticmethod
    def exhaust(found):
        return list(found) if hasattr(found, "__next__") else found

    @staticmethod
    async def aexhaust(awaitable):
        found = await awaitable
        return [item async for item in found] if hasattr(found, "__anext__") else found
