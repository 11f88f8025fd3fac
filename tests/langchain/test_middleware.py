"""PyramidMiddleware: an agent's own model becomes the oracle."""

import asyncio
import subprocess
import sys

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool

from langchain_pyramid import PyramidMiddleware
from pyramid_core.errors import InputError
from pyramid_core.routers import AgreementRouter, ConstantRouter
from tests.langchain.scripted import Scripted, Tracer
from tests.langchain.test_tools import Number, call

ASKED = {"messages": [("human", "19 + 23?")]}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def steps(name, said="the sum is 42", first=None):
    def says(messages):
        done = any(isinstance(message, ToolMessage) for message in messages)
        return said if done else first or call(a=19, b=23)

    return Scripted(name, says)


def agent(*crowd, oracle=None, fields=None, **settings):
    settings.setdefault("router", AgreementRouter())
    middleware = PyramidMiddleware(crowd=crowd or [steps("m0"), steps("m1")], **settings)
    return create_agent(oracle or steps("big"), [add], middleware=[middleware], **(fields or {}))


@pytest.fixture(params=["invoke", "ainvoke"])
def ask(request):
    def run(built, config=None):
        if request.param == "invoke":
            return built.invoke(ASKED, config)
        return asyncio.run(built.ainvoke(ASKED, config))

    return run


class TestAgent:
    def test_a_crowd_that_agrees_spares_the_agents_model(self, ask):
        oracle = steps("big")
        state = ask(agent(oracle=oracle))
        assert state["messages"][-1].text == "the sum is 42"
        assert not oracle.calls
        records = [m.response_metadata["pyramid"] for m in state["messages"] if isinstance(m, AIMessage)]
        assert [record["verdict"] for record in records] == ["accept", "accept"]

    def test_a_crowd_that_does_not_is_replaced_by_the_agents_model(self, ask):
        state = ask(agent(steps("m0"), steps("m1", first="no idea"), oracle=steps("big", "42 it is")))
        first, last = [m.response_metadata["pyramid"] for m in state["messages"] if isinstance(m, AIMessage)]
        assert (first["verdict"], first["answered_by"]) == ("escalate", "big")
        assert last["verdict"] == "accept"

    def test_the_settings_are_those_of_a_pyramid(self, ask):
        state = ask(agent(oracle=steps("big", "42 it is"), router=ConstantRouter(0.9)))
        assert state["messages"][-1].text == "42 it is"

    def test_a_response_format_is_answered_in(self, ask):
        def says(messages):
            done = any(isinstance(message, ToolMessage) for message in messages)
            return call("Number", value=42) if done else call(a=19, b=23)

        crowd = [Scripted("m0", says), Scripted("m1", says)]
        built = agent(*crowd, oracle=Scripted("big", says), fields={"response_format": Number})
        assert ask(built)["structured_response"] == Number(value=42)

    def test_one_pyramid_serves_all_steps(self, ask):
        middleware = PyramidMiddleware(crowd=[steps("m0"), steps("m1")])
        built = create_agent(steps("big"), [add], middleware=[middleware])
        ask(built)
        _, made = middleware._made
        ask(built)
        assert middleware._made[1] is made


class TestLeaks:
    crowd = (steps("m0", "crowd says 42"), steps("m1", "crowd says 43"))

    def shown(self, how):
        built = agent(*self.crowd, oracle=steps("big", "oracle says 7"))
        if how == "stream":
            return [message for message, _ in built.stream(ASKED, stream_mode="messages")]

        async def read():
            return [message async for message, _ in built.astream(ASKED, stream_mode="messages")]

        return asyncio.run(read())

    @pytest.mark.parametrize("how", ["stream", "astream"])
    def test_only_the_answer_that_stands_is_streamed(self, how):
        text = "".join(m.text for m in self.shown(how) if isinstance(m, AIMessage))
        assert text == "oracle says 7"

    async def test_nor_do_the_agents_events_show_the_crowd(self):
        built = agent(*self.crowd, oracle=steps("big", "oracle says 7"))
        text = "".join(
            [
                event["data"]["chunk"].text
                async for event in built.astream_events(ASKED, version="v2")
                if event["event"] == "on_chat_model_stream"
            ]
        )
        assert text == "oracle says 7"

    def test_every_members_run_is_the_pyramids_child(self, ask):
        tracer = Tracer()
        ask(agent(*self.crowd), {"callbacks": [tracer]})
        pyramids = [run.id for run in tracer.named("ChatPyramid")]
        assert len(pyramids) == 2
        assert len(tracer.models()) == 5
        assert all(run.parent_run_id in pyramids for run in tracer.models())
        assert not tracer.open


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"oracle": steps("big")}, "takes no oracle"),
            ({"crowd": []}, "crowd must be a list"),
            ({"crowd": "gpt"}, "crowd must be a list"),
            ({"colour": "red"}, "has no colour"),
            ({"rule": 3}, "threshold"),
        ],
    )
    def test_what_is_wrong_shows_where_it_is_written(self, settings, message):
        with pytest.raises(InputError, match=message):
            PyramidMiddleware(**{"crowd": [steps("m0")], **settings})

    def test_without_langchain_it_says_what_to_install(self):
        code = "import sys; sys.modules['langchain'] = None; from langchain_pyramid import PyramidMiddleware"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert run.returncode == 1
        last = run.stderr.strip().splitlines()[-1]
        assert last.endswith('MissingExtra: langchain is not installed: pip install "pyramid-moa[agents]"')
