"""Ten workflows with tools: their events streamed, their context saved as JSON, and their end in another process."""

import asyncio
import gc
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from llama_index.core.agent.workflow import AgentStream, ToolCallResult
from llama_index.core.workflow import InputRequiredEvent

from llamaindex_pyramid import routing_records
from tests.llamaindex.journeys import ENDS, JOURNEYS, Ran, Said, gone_on, until_asked
from tests.llamaindex.scripted import KEY

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Skipping deserialization of known unserializable key"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def halves():
    """Every workflow until it asks a human: what it streamed, the JSON, and the records of its pyramids."""
    asyncio.set_event_loop(None)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, make in JOURNEYS.items():
            with routing_records() as records:
                streamed, saved = asyncio.run(until_asked(make()))
            found[name] = (streamed, saved, list(records))
        gc.collect()
    return found


@pytest.fixture(scope="module")
def elsewhere(halves):
    """How every one of them ends in another process."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.llamaindex.journeys"],
        input=json.dumps({name: saved for name, (_, saved, _) in halves.items()}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_there_are_ten():
    assert len(JOURNEYS) == len(ENDS) == 10


@pytest.mark.parametrize("name", JOURNEYS)
class TestJourneys:
    def test_it_streams_its_events_until_it_asks(self, halves, name):
        streamed, _, _ = halves[name]
        assert isinstance(streamed[-1], InputRequiredEvent)
        assert any(isinstance(event, (Ran, ToolCallResult)) for event in streamed)

    def test_each_step_is_a_query_of_its_own(self, halves, name):
        _, _, records = halves[name]
        assert records
        assert {record["verdict"] for record in records} == {"escalate" if "divided" in name else "accept"}

    def test_what_is_saved_holds_no_key(self, halves, name):
        _, saved, _ = halves[name]
        assert KEY not in saved

    def test_it_ends_elsewhere_as_it_was_meant_to(self, elsewhere, name):
        assert elsewhere[name][1] == ENDS[name]


def test_words_are_streamed_as_they_come(halves):
    streamed, _, _ = halves["letter, streamed"]
    assert "".join(event.delta for event in streamed if isinstance(event, Said)) == "written: a letter"


def test_an_agents_stream_has_the_record(halves):
    streamed, _, _ = halves["function agent"]
    assert [e.raw["pyramid"]["verdict"] for e in streamed if isinstance(e, AgentStream) and e.raw]


def test_tools_that_have_run_are_not_run_again(halves, elsewhere):
    before = [e.tool_output.content for e in halves["function agent"][0] if isinstance(e, ToolCallResult)]
    assert before == ["42", "43"]
    assert elsewhere["function agent"][0] == ["yes", "44"]


def test_it_ends_here_as_well(halves):
    name = "errand of five"
    assert asyncio.run(gone_on(JOURNEYS[name](), halves[name][1]))[1] == ENDS[name]
