"""Every member's call is a child of the pyramid's run, and the crowd's tokens reach nobody."""

import asyncio
import threading

import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    CallbackManager,
    UsageMetadataCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import collect_runs
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.log_stream import LogStreamCallbackHandler

from langchain_pyramid.runs import ChildRun, keeps
from pyramid_core import __version__
from tests.langchain.scripted import AsyncWhole, Scripted, SyncOnly, Tokens, Tracer, Whole, pyramid


class Silent(BaseCallbackHandler):
    """Follows runs, but shows no tokens."""

    def on_chat_model_start(self, *args, **kwargs):
        pass

    def on_llm_end(self, *args, **kwargs):
        pass


class AsyncSilent(AsyncCallbackHandler):
    """Follows runs, but shows no tokens."""

    async def on_llm_start(self, *args, **kwargs):
        pass

    async def on_llm_end(self, *args, **kwargs):
        pass


class Starts(BaseCallbackHandler):
    """Looks at what the call starts with."""

    def on_chat_model_start(self, *args, **kwargs):
        pass


class Ends(BaseCallbackHandler):
    """Adds something up at the end of a call."""

    def on_llm_end(self, *args, **kwargs):
        pass


class Client:
    """Takes what LangSmith's client is given, and keeps it."""

    def __init__(self):
        self.created = {}
        self.updated = {}
        self.tracing_queue = None

    def create_run(self, **run):
        self.created[str(run["id"])] = run

    def update_run(self, run_id, **run):
        self.updated[str(run_id)] = run


class TestWhoIsKept:
    @pytest.mark.parametrize(
        ("handler", "kept"),
        [
            (Tracer(), True),
            (Silent(), True),
            (AsyncSilent(), True),
            (Starts(), False),
            (Ends(), False),
            (BaseCallbackHandler(), False),
            (Tokens(), False),
            (UsageMetadataCallbackHandler(), False),
            (LogStreamCallbackHandler(), False),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_those_that_follow_runs_are_kept_and_those_that_show_tokens_or_count_are_not(self, handler, kept):
        assert keeps(handler) is kept

    def test_a_listed_handler_is_kept_whatever_it_does(self):
        tokens = Tokens()
        assert keeps(tokens, (tokens,))
        assert keeps(tokens, (Tokens,))
        assert not keeps(Tokens(), (tokens,))


async def events(llm, question, config):
    async for _ in llm.astream_events(question, config, version="v2"):
        pass


async def stream(llm, question, config):
    async for _ in llm.astream(question, config):
        pass


def chained(llm):
    return ChatPromptTemplate.from_messages([("human", "{q}")]) | llm | StrOutputParser()


WAYS = {
    "invoke": lambda llm, config: llm.invoke("2 + 2?", config),
    "stream": lambda llm, config: list(llm.stream("2 + 2?", config)),
    "batch": lambda llm, config: llm.batch(["2 + 2?"], config),
    "ainvoke": lambda llm, config: asyncio.run(llm.ainvoke("2 + 2?", config)),
    "astream": lambda llm, config: asyncio.run(stream(llm, "2 + 2?", config)),
    "abatch": lambda llm, config: asyncio.run(llm.abatch(["2 + 2?"], config)),
    "astream_events": lambda llm, config: asyncio.run(events(llm, "2 + 2?", config)),
    "chain invoke": lambda llm, config: chained(llm).invoke({"q": "2 + 2?"}, config),
    "chain stream": lambda llm, config: list(chained(llm).stream({"q": "2 + 2?"}, config)),
    "chain astream": lambda llm, config: asyncio.run(stream(chained(llm), {"q": "2 + 2?"}, config)),
    "chain astream_events": lambda llm, config: asyncio.run(events(chained(llm), {"q": "2 + 2?"}, config)),
    "bound invoke": lambda llm, config: llm.bind(temperature=0).invoke("2 + 2?", config),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
class TestTree:
    def test_members_are_children_with_their_roles_and_no_run_is_left_open(self, way):
        tracer = Tracer()
        way(pyramid("4", "5"), {"callbacks": [tracer]})
        (own,) = tracer.named("ChatPyramid")
        children = tracer.children(own)
        assert sorted(run.extra["metadata"]["pyramid_member"] for run in children) == ["big", "m0", "m1"]
        assert {
            "pyramid:oracle" if run.extra["metadata"]["pyramid_member"] == "big" else "pyramid:crowd"
            for run in children
        } == {tag for run in children for tag in run.tags if tag.startswith("pyramid:")}
        assert tracer.open == []
        assert all(run.end_time is not None for run in children)

    def test_no_token_of_the_crowd_is_shown_and_the_answer_is_shown_once(self, way, request):
        tokens = Tokens()
        way(pyramid("crowd one", "crowd two"), {"callbacks": [tokens]})
        assert "crowd" not in "".join(tokens.seen)
        assert tokens.starts == 1
        if "stream" in request.node.callspec.id:
            assert "".join(tokens.seen) == "oracle says 7"

    def test_a_handler_in_the_callers_context_sees_no_member_either(self, way):
        with get_usage_metadata_callback() as counted:
            way(pyramid("4", "5"), {})
        assert counted.usage_metadata == {
            "pyramid": {"input_tokens": 120, "output_tokens": 60, "total_tokens": 180}
        }

    def test_a_tracer_in_the_callers_context_sees_every_member(self, way):
        with collect_runs() as collected:
            way(pyramid("4", "5"), {})
        (root,) = collected.traced_runs
        runs = [root]
        for run in runs:
            runs.extend(run.child_runs)
        assert sum(run.name == "Scripted" for run in runs) == 3


class TestSettings:
    """The composite's settings do not show in its members' runs."""

    @pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke"])
    def test_each_member_is_traced_with_its_own_settings(self, way):
        client = Client()
        llm = pyramid("4", "5", temperature=0.25, model="pyramid")
        WAYS[way](llm, {"callbacks": [LangChainTracer(client=client)], "metadata": {"user": "ada"}})
        runs = {run["extra"]["metadata"].get("pyramid_member"): run for run in client.created.values()}
        member = runs["m0"]["extra"]["metadata"]
        assert member["model"] == "m0"
        assert member["_type"] == "scripted"
        assert member["ls_model_name"] == "m0"
        assert member["user"] == "ada"
        assert "members" not in member
        assert runs[None]["extra"]["metadata"]["ls_model_name"] == "pyramid"
        assert str(member["temperature"]) == "0.25"

    def test_a_member_without_a_name_is_not_traced_under_the_pyramids(self):
        tracer = Tracer()
        nameless = GenericFakeChatModel(messages=iter([AIMessage("4")]))
        pyramid(nameless, "4").invoke("2 + 2?", {"callbacks": [tracer]})
        (run,) = tracer.named("GenericFakeChatModel")
        assert "ls_model_name" not in run.extra["metadata"]

    def test_langgraph_is_told_not_to_stream_any_member(self):
        tracer = Tracer()
        pyramid("4", "5").invoke("2 + 2?", {"callbacks": [tracer]})
        assert all("nostream" in run.tags for run in tracer.models())

    def test_tags_and_metadata_of_the_caller_reach_the_members(self):
        tracer = Tracer()
        pyramid("4", "4").invoke(
            "2 + 2?", {"callbacks": [tracer], "tags": ["mine"], "metadata": {"user": "ada"}}
        )
        for run in tracer.named("Scripted"):
            assert "mine" in run.tags
            assert run.extra["metadata"]["user"] == "ada"

    @pytest.mark.skipif(not hasattr(BaseChatModel, "_add_version"), reason="langchain-core before 1.4.7")
    def test_the_packages_version_is_traced_beside_langchains(self):
        tracer = Tracer()
        pyramid("4", "4").invoke("2 + 2?", {"callbacks": [tracer]})
        (own,) = tracer.named("ChatPyramid")
        assert own.extra["metadata"]["lc_versions"]["pyramid-moa"] == __version__

    def test_no_secret_is_traced(self):
        tracer = Tracer()
        pyramid("4", "5", api_key="sk-another-secret").invoke("2 + 2?", {"callbacks": [tracer]})
        (own,) = tracer.named("ChatPyramid")
        assert "secret" not in str(own.serialized) + str(own.extra)

    def test_the_record_is_on_the_pyramids_own_run(self):
        tracer = Tracer()
        pyramid("4", "5").invoke("2 + 2?", {"callbacks": [tracer]})
        (own,) = tracer.named("ChatPyramid")
        assert "pyramid:escalate" in own.tags
        assert own.extra["metadata"]["pyramid.answered_by"] == "big"
        assert own.extra["metadata"]["pyramid.usage_is_sum"] is True


class TestListedHandlers:
    def test_a_listed_handler_of_the_call_sees_every_member(self):
        tokens = Tokens()
        pyramid("4", "5", trace_handlers=[Tokens]).invoke("2 + 2?", {"callbacks": [tokens]})
        assert tokens.starts == 4  # the pyramid, its two members, the oracle

    def test_a_listed_instance_sees_the_members_of_every_call(self):
        tokens = Tokens()
        pyramid("4", "5", trace_handlers=[tokens]).invoke("2 + 2?")
        assert tokens.starts == 3


class TestCancellation:
    @pytest.mark.parametrize(
        "wrap", [lambda m: m, lambda m: m.with_retry(), lambda m: m.bind(x=1)], ids=["bare", "retry", "bind"]
    )
    async def test_a_member_that_is_not_needed_has_its_run_closed_and_marked(self, wrap):
        tracer = Tracer()
        slow = Scripted("slow", "4", gate=asyncio.Event())
        await pyramid("4", "5", wrap(slow)).ainvoke("2 + 2?", {"callbacks": [tracer]})
        (run,) = [r for r in tracer.models() if r.extra["metadata"]["pyramid_member"] == "slow"]
        assert "pyramid:cancelled" in run.tags
        assert run.end_time is not None
        assert tracer.open == []

    async def test_a_caller_who_cancels_leaves_no_run_open(self):
        tracer = Tracer()
        never, asked = asyncio.Event(), asyncio.Event()

        class Waiting(Scripted):
            async def _agenerate(self, *args, **kwargs):
                asked.set()
                await never.wait()

        llm = pyramid(Scripted("a", gate=never), Waiting("b"))
        task = asyncio.create_task(llm.ainvoke("2 + 2?", {"callbacks": [tracer]}))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tracer.open == []
        assert {tag for run in tracer.models() for tag in run.tags} >= {"pyramid:cancelled"}

    async def test_a_reader_who_leaves_a_stream_leaves_no_run_open(self):
        tracer = Tracer()
        llm = pyramid("4", "5", oracle=Scripted("big", "a long answer of many words"))
        chunks = llm.astream("2 + 2?", {"callbacks": [tracer]})
        async for chunk in chunks:
            if chunk.text:
                break
        await chunks.aclose()
        # LangChain leaves its inner generator to the loop, which closes it in its next turns.
        for _ in range(20):
            await asyncio.sleep(0)
        assert tracer.open == []

    async def test_an_asynchronous_recorder_is_told_of_an_end_and_of_no_error(self):
        class Recorder(AsyncCallbackHandler):
            def __init__(self):
                self.ends = []

            async def on_chat_model_start(self, *args, **kwargs):
                pass

            async def on_llm_end(self, response, **kwargs):
                self.ends.append(response.generations[0][0].message.response_metadata["finish_reason"])

            async def on_llm_error(self, error, **kwargs):
                raise AssertionError(error)

        recorder = Recorder()
        slow = Scripted("slow", "4", gate=asyncio.Event())
        await pyramid("4", "5", slow).ainvoke("2 + 2?", {"callbacks": [recorder]})
        assert sorted(recorder.ends) == ["cancelled", "stop", "stop", "stop", "stop"]

    @pytest.mark.parametrize(
        "wrap",
        [lambda m: m, lambda m: m.with_retry(), lambda m: m.with_fallbacks([Scripted("spare")])],
        ids=["bare", "retry", "fallbacks"],
    )
    async def test_langsmith_is_told_that_it_was_cancelled_and_not_that_it_failed(self, wrap):
        client = Client()
        slow = Scripted("slow", "4", gate=asyncio.Event())
        tracer = LangChainTracer(client=client)
        await pyramid("4", "5", wrap(slow)).ainvoke("2 + 2?", {"callbacks": [tracer]})
        assert {run_id for run_id, run in client.updated.items() if run["error"]} == set()
        marked = [run for run in client.updated.values() if "pyramid:cancelled" in run["tags"]]
        assert marked
        assert client.created.keys() == client.updated.keys()

    async def test_nor_that_an_oracle_failed_whose_reader_left(self):
        client = Client()
        llm = pyramid("4", "5", oracle=Scripted("big", "a long answer of many words"))
        chunks = llm.astream("2 + 2?", {"callbacks": [LangChainTracer(client=client)]})
        async for chunk in chunks:
            if chunk.text:
                break
        await chunks.aclose()
        for _ in range(20):
            await asyncio.sleep(0)
        (left,) = [run for run in client.updated.values() if "pyramid:cancelled" in run["tags"]]
        assert left["error"] is None
        assert "pyramid:oracle" in left["tags"]


class TestErrors:
    async def test_a_failed_member_closes_its_run_with_its_error(self):
        tracer = Tracer()
        await pyramid(ConnectionError("down"), "4", "4").ainvoke("2 + 2?", {"callbacks": [tracer]})
        (failed,) = [run for run in tracer.named("Scripted") if run.error]
        assert "down" in failed.error
        assert "pyramid:cancelled" not in failed.tags


class TestContext:
    def test_nothing_of_the_childs_context_is_left_between_two_steps(self):
        child = ChildRun(None, role="crowd", member="a", manager=CallbackManager)
        before = var_child_runnable_config.get()
        with child.entered():
            assert var_child_runnable_config.get()["callbacks"] is child.config["callbacks"]
        assert var_child_runnable_config.get() is before

    def test_inside_a_runnable_the_ambient_handlers_are_not_added_again(self):
        tokens = Tokens()
        llm = pyramid(Scripted("a", "crowd").bind(x=1), Scripted("b", "crowd two").with_config(tags=["t"]))
        RunnableLambda(lambda q: llm.invoke(q)).invoke("2 + 2?", {"callbacks": [tokens]})
        assert tokens.starts == 1

    def test_what_a_member_runs_inside_does_not_take_its_runs_id(self):
        tracer = Tracer()
        inside = RunnableLambda(lambda q: q).with_config(run_name="inside")

        class Nesting(Scripted):
            def _generate(self, *args, **kwargs):
                inside.invoke("x")
                return super()._generate(*args, **kwargs)

        pyramid(Nesting("a", "4"), "4").invoke("2 + 2?", {"callbacks": [tracer]})
        (own,) = tracer.named("ChatPyramid")
        assert len(tracer.children(own)) == 3
        assert len(tracer.named("inside")) == 1

    def test_what_is_configured_at_run_time_reaches_the_members(self):
        seen = []

        class Looking(Scripted):
            def _generate(self, *args, **kwargs):
                seen.append(var_child_runnable_config.get()["configurable"])
                return super()._generate(*args, **kwargs)

        llm = pyramid(Looking("a", "4"), "4")
        RunnableLambda(lambda q: llm.invoke(q)).invoke("2 + 2?", {"configurable": {"tenant": "ada"}})
        assert seen[0]["tenant"] == "ada"


class TestThreads:
    async def test_a_model_without_asynchronous_client_runs_on_the_pyramids_own_threads(self):
        member = SyncOnly("a", "4")
        await pyramid(member, SyncOnly("b", "4")).ainvoke("2 + 2?")
        assert member.threads == ["pyramid"]

    async def test_a_model_with_one_runs_on_the_loop(self):
        member = Scripted("a", "4")
        await pyramid(member, "4").ainvoke("2 + 2?")
        assert member.threads == [threading.current_thread().name]

    async def test_its_children_nest_from_those_threads_too(self):
        tracer = Tracer()
        await pyramid(SyncOnly("a", "4"), SyncOnly("b", "4")).ainvoke("2 + 2?", {"callbacks": [tracer]})
        (own,) = tracer.named("ChatPyramid")
        assert len(tracer.children(own)) == 2

    async def test_one_with_a_client_that_cannot_stream_is_streamed_on_them(self):
        oracle = AsyncWhole("big", "it is seven")
        llm = pyramid("4", "5", oracle=oracle)
        texts = [chunk.text async for chunk in llm.astream("2 + 2?") if chunk.text]
        assert texts == ["it", " is", " seven"]
        assert oracle.threads == ["pyramid"]

    async def test_one_that_cannot_stream_at_all_stays_on_the_loop(self):
        oracle = Whole("big", "it is seven")
        assert [c async for c in pyramid("4", "5", oracle=oracle).astream("2 + 2?")]
        assert oracle.threads == [threading.current_thread().name]
