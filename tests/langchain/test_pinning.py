"""How long a decision is kept: for a step, a run or a conversation; all of it is in the messages."""

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_pyramid.pinning import kept_decision
from pyramid_core.errors import InputError
from tests.langchain.scripted import Scripted, pyramid
from tests.langchain.test_tools import add, call


def answered(by, *, escalated):
    calls = [{"member": name, "state": "done"} for name in ("m0", "m1", *(("big",) if escalated else ()))]
    record = {"answered_by": by, "escalated": escalated, "calls": calls}
    return AIMessage("so be it", response_metadata={"pyramid": record})


KEPT = answered("m0", escalated=False)
GONE = answered("big", escalated=True)
RESULT = ToolMessage("3", tool_call_id="1")
ASK = HumanMessage("And?")


class TestKept:
    @pytest.mark.parametrize(
        ("decide", "messages", "found"),
        [
            ("step", [ASK], {}),
            ("step", [ASK, GONE, RESULT], {"warm": ("big",)}),
            ("step", [ASK, GONE, RESULT, KEPT, RESULT], {}),
            ("run", [ASK], {}),
            ("run", [ASK, KEPT, RESULT], {"pinned": "crowd"}),
            ("run", [ASK, GONE, RESULT], {"pinned": "big", "warm": ("big",)}),
            ("run", [ASK, GONE, ASK], {"warm": ("big",)}),
            ("run", [ASK, GONE, ASK, KEPT, RESULT], {"pinned": "crowd"}),
            ("conversation", [ASK, GONE, ASK], {"pinned": "big", "warm": ("big",)}),
            ("conversation", [ASK, KEPT, ASK, GONE, ASK], {"pinned": "crowd", "warm": ("big",)}),
            ("conversation", [ASK, AIMessage("no record"), ASK], {}),
        ],
    )
    def test_what_follows_from_the_turns_before(self, decide, messages, found):
        assert kept_decision(messages, decide, ("big",)) == found

    def test_another_pyramids_record_pins_no_stranger(self):
        assert kept_decision([ASK, answered("huge", escalated=True), RESULT], "run", ("big",)) == {
            "warm": ("big",)
        }


def steps(name, wrong=()):
    """Adds three times, then says so; at the steps in `wrong` it adds something else."""

    def says(messages):
        done = 0
        for message in messages:
            done = (
                done + 1
                if isinstance(message, ToolMessage)
                else 0
                if isinstance(message, HumanMessage)
                else done
            )
        return "all added" if done == 3 else call(a=done + (10 if done in wrong else 0), b=1)

    return Scripted(name, says)


class TestAgents:
    def verdicts(self, decide, *, wrong, turns=1):
        """Who answered each step."""
        llm = pyramid(steps("m0"), steps("m1", wrong), oracle=steps("big"), decide=decide)
        agent = create_agent(llm, [add], checkpointer=InMemorySaver())
        for _ in range(turns):
            state = agent.invoke({"messages": [("human", "Add.")]}, {"configurable": {"thread_id": "1"}})
        records = [m.response_metadata["pyramid"] for m in state["messages"] if isinstance(m, AIMessage)]
        return [record["answered_by"] for record in records]

    def test_each_step_by_itself(self):
        assert self.verdicts("step", wrong=(0,)) == ["big", "m0", "m0", "m0"]

    def test_a_run_stays_with_the_oracle(self):
        assert self.verdicts("run", wrong=(0,)) == ["big"] * 4

    def test_and_with_the_crowd(self):
        assert self.verdicts("run", wrong=(2,)) == ["m0"] * 4

    def test_the_next_run_decides_anew_and_a_conversation_does_not(self):
        class Once(set):
            """Wrong in the first run alone."""

            def __contains__(self, step):
                if step == 0 and not self:
                    self.add(0)
                    return True
                return False

        assert self.verdicts("run", wrong=Once(), turns=2) == ["big"] * 4 + ["m0"] * 4
        assert self.verdicts("conversation", wrong=Once(), turns=2) == ["big"] * 8

    def test_guarded_calls_go_to_the_oracle_in_a_run_of_the_crowds(self):
        assert "pinned" not in kept_decision([ASK, KEPT, RESULT], "run", ("big",), guarded=True)
        llm = pyramid(
            steps("m0"), steps("m1"), oracle=steps("big"), decide="run", escalate_tools={"rm", "add"}
        )
        state = create_agent(llm, [add]).invoke({"messages": [("human", "Add.")]})
        records = [m.response_metadata["pyramid"] for m in state["messages"] if isinstance(m, AIMessage)]
        assert {record["answered_by"] for record in records[:3]} == {"big"}

    def test_anything_else_is_refused(self):
        with pytest.raises(InputError, match="decide must be step, run or conversation, not 'always'"):
            pyramid("4", decide="always")
