"""What users may give that cannot be used, and what a pyramid says or does then."""

import gc
import logging
import warnings

import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import ChatMessage, MockLLM

from llamaindex_pyramid import PyramidLLM, PyramidQueryEngine
from pyramid_core import InputError, Policy, PyramidFailed
from tests.llamaindex.conformance import CHAT_MODES, RESPONSE_MODES, multiply
from tests.llamaindex.instruments import HashedWords
from tests.llamaindex.scripted import ScriptedLLM
from tests.llamaindex.test_engines import CORPUS, QUESTIONS, llms
from tests.llamaindex.test_llm import WAYS, pyramid, text


@pytest.fixture(scope="module")
def index():
    return VectorStoreIndex.from_documents(CORPUS[:3], embed_model=HashedWords())


async def asked(llm, way, prompt):
    """All responses to a prompt."""
    method = getattr(llm, way)
    what = [ChatMessage(content=prompt)] if "chat" in way else prompt
    found = await method(what) if way.startswith("a") else method(what)
    if "stream" not in way:
        return [found]
    return [c async for c in found] if way.startswith("a") else list(found)


class TestMembers:
    @pytest.mark.parametrize("place", ["crowd", "oracle"])
    def test_a_class_instead_of_an_instance(self, place):
        given = {"crowd": [MockLLM()], "oracle": MockLLM(), place: [MockLLM]}
        with pytest.raises(InputError, match="is the class MockLLM, not an LLM: make one of it, MockLLM"):
            PyramidLLM(**given)

    def test_one_llm_in_place_of_a_list(self):
        with pytest.raises(InputError, match="crowd must be a list of at least one LLM, not of type MockLLM"):
            PyramidLLM(crowd=MockLLM(), oracle=MockLLM())

    def test_a_name_in_place_of_an_llm(self):
        with pytest.raises(InputError, match=r"crowd\[0\] is 'gpt-4o', not an LLM"):
            PyramidLLM(crowd=["gpt-4o"], oracle=MockLLM())

    def test_a_generator_is_a_list(self):
        llm = PyramidLLM(crowd=(ScriptedLLM(name=name) for name in "ab"), oracle=ScriptedLLM(name="o"))
        assert llm.pyramid.crowd == ("a", "b")

    def test_an_engine_in_place_of_an_llm(self, index):
        with pytest.raises(InputError, match="of type RetrieverQueryEngine, not an LLM"):
            PyramidLLM(crowd=[index.as_query_engine(llm=MockLLM())], oracle=MockLLM())

    def test_an_engines_class(self):
        with pytest.raises(InputError, match=r"crowd\[0\] is the class PyramidQueryEngine"):
            PyramidQueryEngine([PyramidQueryEngine], [PyramidQueryEngine])


class TestFunctions:
    UNABLE = r"\['unable'\] cannot call functions"

    def mixed(self):
        crowd = [ScriptedLLM(name="able"), ScriptedLLM(name="unable", functions=False)]
        return PyramidLLM(crowd=crowd, oracle=ScriptedLLM(name="o"))

    def test_a_mixed_pyramid_is_told_of_when_it_is_made(self, caplog):
        with caplog.at_level(logging.WARNING, "llamaindex_pyramid"):
            self.mixed()
        assert "members ['unable'] cannot call functions" in caplog.text
        assert "ReActAgent" in caplog.text

    @pytest.mark.parametrize("functions", [True, False])
    def test_one_of_a_kind_is_not(self, caplog, functions):
        llm = ScriptedLLM(name="m", functions=functions)
        with caplog.at_level(logging.WARNING, "llamaindex_pyramid"):
            PyramidLLM(crowd=[llm], oracle=llm)
        assert not caplog.text

    async def test_tools_are_refused_by_name(self):
        from llama_index.core.tools import FunctionTool

        with pytest.raises(InputError, match=self.UNABLE):
            await self.mixed().achat_with_tools([FunctionTool.from_defaults(multiply)], "go")

    @pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
    @pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
    async def test_an_agent_says_that_it_needs_them(self):
        """The agent looks at the metadata alone and raises an error of its own, before the pyramid is asked."""
        with pytest.raises(ValueError, match="FunctionCallingLLM"):
            await FunctionAgent(tools=[multiply], llm=self.mixed()).run("Go.")


class TestPrompts:
    LONG = "word " * 100

    def members(self, *windows):
        return [ScriptedLLM(name=f"w{window}", script="5", window=window) for window in windows]

    @pytest.mark.parametrize("way", WAYS)
    async def test_members_that_cannot_take_it_are_left_out(self, way):
        crowd = self.members(50, 4000, 4001)
        llm = PyramidLLM(
            crowd=crowd, oracle=ScriptedLLM(name="o", script="6"), policy=Policy(early_stop=None)
        )
        last = (await asked(llm, way, self.LONG))[-1]
        calls = last.additional_kwargs["pyramid"]["calls"]
        assert [(call["error"] or {}).get("type") for call in calls][:3] == ["PromptTooLongError", None, None]
        assert "w50 takes 50" in calls[0]["error"]["message"]
        assert not crowd[0].asked

    @pytest.mark.parametrize("way", WAYS)
    async def test_where_the_crowd_cannot_the_oracle_answers(self, way):
        llm = PyramidLLM(crowd=self.members(50, 60), oracle=ScriptedLLM(name="o", script="6"))
        assert text((await asked(llm, way, self.LONG))[-1]) == "6"

    @pytest.mark.parametrize("way", WAYS)
    async def test_where_nobody_can_every_window_is_named(self, way):
        llm = PyramidLLM(crowd=self.members(50), oracle=ScriptedLLM(name="o", window=60))
        with pytest.raises(PyramidFailed, match=r"(?s)w50 takes 50.*o takes 60"):
            await asked(llm, way, self.LONG)

    def test_mixed_windows_have_the_smallest(self):
        llm = PyramidLLM(crowd=self.members(3000, 5000), oracle=ScriptedLLM(name="o", window=9000))
        assert llm.metadata.context_window == 3000

    def test_an_engine_cuts_its_context_to_the_smallest(self, index):
        llm = PyramidLLM(
            crowd=[ScriptedLLM(name="small", window=900, outputs=100), *self.members(4000)],
            oracle=ScriptedLLM(name="o"),
            policy=Policy(early_stop=None),
        )
        traces = []
        llm = llm.model_copy(update={"on_trace": traces.append})
        index.as_query_engine(llm=llm, response_mode="compact", similarity_top_k=3).query(QUESTIONS[0][2])
        assert len(traces) > 1
        assert not [c for trace in traces for c in trace.calls if not hasattr(c.result, "text")]

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("prompt", ["", "  \n", "a\x00b", "\ud800"])
    async def test_a_prompt_that_says_nothing_or_cannot_be_read(self, way, prompt):
        if not prompt.strip() and "chat" in way:
            pytest.skip("a conversation may have a message without words")
        with pytest.raises(InputError, match="prompt"):
            await asked(pyramid("5"), way, prompt)


class TestEngines:
    @pytest.mark.parametrize("mode", RESPONSE_MODES)
    def test_an_empty_context_asks_nobody(self, mode):
        llm = llms()
        empty = VectorStoreIndex([], embed_model=HashedWords())
        assert str(empty.as_query_engine(llm=llm, response_mode=mode).query("What?")) == "Empty Response"
        assert not any(member.asked for member in (*llm.crowd, llm.oracle))

    @pytest.mark.parametrize("way", ["chat", "complete"])
    def test_a_callback_that_raises_is_not_hidden(self, way):
        class Broken(LlamaDebugHandler):
            def on_event_end(self, *args, **kwargs):
                raise RuntimeError("broken handler")

        llm = pyramid("5", callback_manager=CallbackManager([Broken(print_trace_on_end=False)]))
        with pytest.raises(RuntimeError, match="broken handler"):
            getattr(llm, way)([ChatMessage(content="x")] if way == "chat" else "x")

    def test_a_members_callback_that_raises_fails_that_member(self):
        class Broken(LlamaDebugHandler):
            def on_event_start(self, *args, **kwargs):
                raise RuntimeError("broken handler")

        broken = CallbackManager([Broken(print_trace_on_end=False)])
        crowd = [ScriptedLLM(name="bad", callback_manager=broken), ScriptedLLM(name="good", script="5")]
        llm = PyramidLLM(
            crowd=crowd, oracle=ScriptedLLM(name="o", script="6"), policy=Policy(early_stop=None)
        )
        record = llm.complete("x").additional_kwargs["pyramid"]
        assert record["calls"][0]["error"] == {"type": "RuntimeError", "message": "broken handler"}
        assert record["end"] == "accept"

    def test_on_trace_that_raises_costs_no_answer(self, caplog):
        def broken(trace):
            raise RuntimeError("broken sink")

        assert pyramid("5", on_trace=broken).complete("x").text == "5"
        assert "broken sink" in caplog.text


class TestSettingsLeftAtTheirDefault:
    """LlamaIndex's default is OpenAI with a key from the environment; nothing that is given a pyramid makes one."""

    @pytest.fixture(autouse=True)
    def no_default(self, monkeypatch):
        monkeypatch.setattr(Settings, "_llm", None)
        monkeypatch.setattr(
            "llama_index.core.settings.resolve_llm", lambda llm: pytest.fail("made a default LLM")
        )
        with warnings.catch_warnings():
            yield
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @pytest.mark.parametrize("mode", RESPONSE_MODES)
    def test_query_engines(self, index, mode):
        assert str(index.as_query_engine(llm=llms(), response_mode=mode).query(QUESTIONS[0][2]))

    @pytest.mark.parametrize("mode", CHAT_MODES)
    def test_chat_engines(self, index, mode):
        assert index.as_chat_engine(llm=llms(), chat_mode=mode).chat(QUESTIONS[0][2]).response

    def test_engines_as_members(self, index):
        engine = index.as_query_engine(llm=llms())
        assert str(PyramidQueryEngine([engine], engine).query(QUESTIONS[0][2]))
