"""Members in whatever wrapping LangChain offers, and by name: tools reach the model inside, and no setting is lost."""

import asyncio
import sys

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField

from langchain_pyramid import ChatPyramid, PyramidMiddleware
from pyramid_core.errors import InputError, MissingExtra
from pyramid_core.routers import AgreementRouter, ConstantRouter
from pyramid_core.types import Policy
from tests.langchain.openai_server import serving
from tests.langchain.scripted import Scripted, Toolless, Tracer, pyramid
from tests.langchain.test_tools import Number, add, call

RIGHT = call(a=1, b=2)
WRAPPERS = {
    "bare": lambda model: model,
    "bind": lambda model: model.bind(temperature=0.5),
    "with_config": lambda model: model.with_config(tags=["mine"], run_name="named"),
    "with_retry": lambda model: model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
    "with_fallbacks": lambda model: model.with_fallbacks([Scripted("spare", RIGHT)]),
    "several": lambda model: model.bind(temperature=0.5).with_config(tags=["mine"]).with_retry(),
}


@pytest.fixture(params=["invoke", "ainvoke", "stream"])
def ask(request):
    def run(llm, question="1 + 2?", config=None):
        if request.param == "invoke":
            return llm.invoke(question, config)
        if request.param == "ainvoke":
            return asyncio.run(llm.ainvoke(question, config))
        whole = None
        for chunk in llm.stream(question, config):
            whole = chunk if whole is None else whole + chunk
        return whole

    return run


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
class TestTools:
    def test_they_reach_the_model_inside_a_member_of_the_crowd(self, wrap, ask):
        model = Scripted("small", RIGHT)
        message = ask(pyramid(wrap(model), RIGHT).bind_tools([add], tool_choice="any"))
        assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}
        assert message.response_metadata["pyramid"]["verdict"] == "accept"
        assert model.calls[0][1]["own_schema"] == ["add"]
        assert model.calls[0][1]["choice"] == "any"

    def test_they_reach_the_model_inside_the_oracle(self, wrap, ask):
        model = Scripted("big", RIGHT)
        message = ask(pyramid("no", "no idea", oracle=wrap(model)).bind_tools([add]))
        assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}
        assert model.calls[0][1]["own_schema"] == ["add"]

    @pytest.mark.parametrize("method", ["function_calling", "json_schema"])
    def test_so_does_a_schema(self, wrap, method):
        said = call("Number", value=4) if method == "function_calling" else '{"value": 4}'
        llm = pyramid(wrap(Scripted("small", said)), said).with_structured_output(Number, method=method)
        assert llm.invoke("How many?") == Number(value=4)

    def test_no_setting_of_the_wrapper_is_lost(self, wrap, request):
        model, tracer = Scripted("small", RIGHT), Tracer()
        pyramid(wrap(model), RIGHT).bind_tools([add]).invoke("1 + 2?", {"callbacks": [tracer]})
        kind = request.node.callspec.id
        assert ("temperature" in model.calls[0][1]) == (kind in ("bind", "several"))
        assert any("mine" in run.tags for run in tracer.runs.values()) == (kind in ("with_config", "several"))


class TestRetriesAndFallbacks:
    def test_a_member_that_retries_is_asked_again_with_its_tools(self, ask):
        model = Scripted("small", [ConnectionError("once"), RIGHT])
        llm = pyramid(
            model.with_retry(wait_exponential_jitter=False), RIGHT, policy=Policy(early_stop=None)
        ).bind_tools([add])
        assert ask(llm).response_metadata["pyramid"]["verdict"] == "accept"
        assert [settings["own_schema"] for _, settings in model.calls] == [["add"], ["add"]]

    def test_a_spare_model_gets_the_tools_too(self, ask):
        spare = Scripted("spare", RIGHT)
        member = Scripted("small", ConnectionError("down")).with_fallbacks([spare])
        assert ask(pyramid(member, RIGHT).bind_tools([add])).tool_calls
        assert spare.calls[0][1]["own_schema"] == ["add"]

    def test_a_spare_model_without_tools_is_named_at_once(self):
        member = Scripted("small").with_fallbacks([Toolless("spare")])
        with pytest.raises(InputError, match="member 'small' cannot be given tools"):
            pyramid(member, "4").bind_tools([add])

    def test_the_pyramid_itself_may_have_both(self, ask):
        llm = pyramid(ConnectionError("a"), oracle=ConnectionError("b"), policy=Policy(early_stop=None))
        spare = Scripted("spare", "so be it")
        assert ask(
            llm.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).with_fallbacks([spare])
        ).text


class TestNames:
    @pytest.fixture
    def server(self, monkeypatch):
        pytest.importorskip("langchain_openai")
        with serving() as running:
            monkeypatch.setenv("OPENAI_BASE_URL", running.url)
            monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up")
            yield running

    def test_a_member_may_be_a_name(self, server):
        llm = ChatPyramid(crowd=["openai:small", "openai:other"], oracle="openai:big")
        assert llm.pyramid.crowd == ("small", "other")
        assert llm.invoke("Hello").response_metadata["pyramid"]["verdict"] == "accept"
        assert {body["model"] for body in server.asked} == {"small", "other"}

    def test_it_is_made_once_however_often_the_pyramid_is_configured(self, server):
        llm = ChatPyramid(crowd=["openai:small"], oracle=["openai:big"])
        other = llm.model_copy(update={"rule": 0.5})
        configured = llm.configurable_fields(rule=ConfigurableField(id="rule"))
        again, _ = configured._prepare({"configurable": {"rule": 0.5}})
        assert llm.crowd[0] is other.crowd[0] is again.crowd[0]

    def test_in_an_agents_middleware_too(self, server):
        assert PyramidMiddleware(crowd=["openai:small"])._crowd[0].model_name == "small"

    @pytest.mark.parametrize("name", ["nobody:model", "anthropic:claude"])
    def test_one_that_cannot_be_made_is_named_with_its_place(self, name):
        with pytest.raises(InputError, match=rf"crowd\[1\] is '{name}', which cannot be made"):
            ChatPyramid(crowd=[Scripted(), name], oracle=Scripted())

    def test_without_langchain_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
        with pytest.raises(MissingExtra, match="agents"):
            ChatPyramid(crowd=["openai:small"], oracle=Scripted())


class TestAtRunTime:
    def test_threshold_and_router_are_switched_by_configuration(self):
        llm = pyramid("4", "5").configurable_fields(
            rule=ConfigurableField(id="threshold"), router=ConfigurableField(id="router")
        )
        assert llm.invoke("q").text == "oracle says 7"
        assert llm.with_config(configurable={"threshold": 1.0}).invoke("q").text == "4"
        trusting = {"router": ConstantRouter(0.0), "threshold": 0.5}
        assert llm.with_config(configurable=trusting).invoke("q").text == "4"

    def test_whole_pyramids_are_alternatives(self):
        llm = pyramid("4", "4").configurable_alternatives(
            ConfigurableField(id="which"), careful=pyramid("4", "4", router=ConstantRouter(0.9))
        )
        assert llm.invoke("q").text == "4"
        assert llm.with_config(configurable={"which": "careful"}).invoke("q").text == "oracle says 7"

    def test_what_is_configured_works_in_an_asynchronous_stream(self):
        llm = pyramid("4", "5").configurable_fields(rule=ConfigurableField(id="threshold"))

        async def read():
            config = {"configurable": {"threshold": 1.0}}
            return "".join([chunk.text async for chunk in llm.astream("q", config)])

        assert asyncio.run(read()) == "4"


class TestCaches:
    """A cache never fakes unanimity, and a hit is marked."""

    @pytest.fixture(autouse=True)
    def cache(self):
        set_llm_cache(InMemoryCache())
        yield
        set_llm_cache(None)

    @pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
    def test_samples_of_one_model_differ_in_any_wrapping(self, wrap, ask):
        model = Scripted("small", ["4", "5", "6"])
        llm = ChatPyramid(
            crowd=[wrap(model), wrap(model), wrap(model)],
            oracle=Scripted("big", "7"),
            router=AgreementRouter(),
        )
        assert ask(llm).response_metadata["pyramid"]["answered_by"].startswith("big")

    def test_a_hit_in_a_stream_is_marked_as_well(self):
        llm = pyramid("4", "5")
        llm.invoke("q")
        whole = None
        for chunk in llm.stream("q"):
            whole = chunk if whole is None else whole + chunk
        assert whole.text == "oracle says 7"

    async def test_tools_are_part_of_the_key(self):
        llm = pyramid(RIGHT, RIGHT)
        await llm.bind_tools([add]).ainvoke("q")
        await llm.ainvoke("q")
        assert [bool(settings.get("own_schema")) for _, settings in llm.crowd[0].calls] == [True, False]


class TestRateLimits:
    async def test_a_members_limiter_is_asked_for_every_call(self):
        class Counting(InMemoryRateLimiter):
            def __init__(self):
                super().__init__(requests_per_second=1e6, max_bucket_size=1e6)
                self.asked = 0

            def acquire(self, *, blocking=True):
                self.asked += 1
                return True

            async def aacquire(self, *, blocking=True):
                return self.acquire()

        limiter = Counting()
        llm = pyramid(Scripted("a", "4", rate_limiter=limiter), Scripted("b", "4", rate_limiter=limiter))
        llm.invoke("q")
        await llm.ainvoke("q")
        assert limiter.asked == 4


class TestLoops:
    def test_a_notebooks_cell_asks_synchronously_inside_a_running_loop(self):
        async def cell():
            return pyramid("4", "4").invoke("q"), list(pyramid("4", "5").stream("q"))

        message, chunks = asyncio.run(cell())
        assert message.text == "4"
        assert "".join(chunk.text for chunk in chunks) == "oracle says 7"

    def test_one_pyramid_serves_one_loop_after_another(self):
        llm = pyramid("4", "4")
        assert [asyncio.run(llm.ainvoke("q")).text for _ in range(3)] == ["4"] * 3
