"""Ten workflows of three to six steps with tools, each of which stops for a human in the middle.

    python -m tests.llamaindex.journeys < saved.json

goes on with every one of them where another process has left off, and prints how each ended. Both processes make their
workflows and members anew; what they share is the JSON.
"""

import asyncio
import json
import sys

from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import Memory
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import (
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)

from llamaindex_pyramid import PyramidLLM
from pyramid_core import Policy
from tests.llamaindex.conformance import multiply
from tests.llamaindex.scripted import Calls, ScriptedLLM


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def confirm(ctx: Context, what: str) -> str:
    """Ask a human."""
    answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix=what))
    return answer.response


TOOLS = {tool.metadata.name: tool for tool in map(FunctionTool.from_defaults, (multiply, add))}


class Ran(Event):
    """A tool has run."""

    result: str


class Said(Event):
    """A word of an answer."""

    delta: str


def planned(calls, final):
    """A script that makes these calls one after another, then says the final word and what it was told."""

    def script(asked):
        told = [message.content for message in asked.messages if message.role == "tool"]
        if len(told) < len(calls) and asked.tools:
            return Calls((calls[len(told)],))
        return f"{final}: {', '.join(map(str, told))}"

    return script


def pyramid(script, *others):
    """Members that follow the script; where `others` err in ways of their own, the oracle settles it."""
    crowd = [
        ScriptedLLM(name=f"m{n}", script=each) for n, each in enumerate((script, *(others or (script,))))
    ]
    return PyramidLLM(
        crowd=crowd, oracle=ScriptedLLM(name="oracle", script=script), policy=Policy(early_stop=None)
    )


class Errand(Workflow):
    """Calls of tools, one a step; after some of them a human is asked; then the rest and the final word.

    The conversation is kept in the context as plain JSON.
    """

    def __init__(self, llm, *, before, after):
        super().__init__(timeout=30)
        self.llm, self.before, self.after = llm, before, after

    async def turn(self, ctx):
        """One answer of the pyramid; the tool that it calls is run, and what it returned is streamed."""
        history = [ChatMessage.model_validate(each) for each in await ctx.store.get("history")]
        response = await self.llm.achat_with_tools(list(TOOLS.values()), chat_history=history)
        history.append(response.message)
        calls = self.llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        for call in calls:
            result = str(TOOLS[call.tool_name](**call.tool_kwargs))
            ctx.write_event_to_stream(Ran(result=result))
            history.append(
                ChatMessage(role="tool", content=result, additional_kwargs={"tool_call_id": call.tool_id})
            )
        await ctx.store.set("history", [message.model_dump(mode="json") for message in history])
        await ctx.store.set("turns", await ctx.store.get("turns", default=0) + 1)
        return response.message.content if not calls else None

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Ran:
        await ctx.store.set("history", [ChatMessage(content=ev.task).model_dump(mode="json")])
        await self.turn(ctx)
        return Ran(result="begun")

    @step
    async def go_on(self, ctx: Context, ev: Ran) -> Ran | InputRequiredEvent | StopEvent:
        turns = await ctx.store.get("turns")
        if turns == self.before and not await ctx.store.get("asked", default=False):
            await ctx.store.set("asked", True)
            return InputRequiredEvent(prefix="May I?")
        final = await self.turn(ctx)
        return Ran(result="more") if final is None else StopEvent(result=final)

    @step
    async def permitted(self, ctx: Context, ev: HumanResponseEvent) -> Ran:
        return Ran(result=ev.response)


class Draft(Event):
    text: str


class Letter(Workflow):
    """A draft, streamed word by word; a human's word on it; the revision, streamed again."""

    def __init__(self, llm):
        super().__init__(timeout=30)
        self.llm = llm

    async def written(self, ctx, prompt):
        text = ""
        async for chunk in await self.llm.astream_complete(prompt):
            text += chunk.delta
            ctx.write_event_to_stream(Said(delta=chunk.delta))
        return text

    @step
    async def draft(self, ctx: Context, ev: StartEvent) -> Draft:
        return Draft(text=await self.written(ctx, ev.task))

    @step
    async def shown(self, ctx: Context, ev: Draft) -> InputRequiredEvent:
        await ctx.store.set("draft", ev.text)
        called = await self.llm.achat_with_tools([TOOLS["add"]], "How long is it?")
        found = self.llm.get_tool_calls_from_response(called)[0]
        ctx.write_event_to_stream(Ran(result=str(TOOLS["add"](**found.tool_kwargs))))
        return InputRequiredEvent(prefix=ev.text)

    @step
    async def revised(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        text = await self.written(ctx, f"{await ctx.store.get('draft')} {ev.response}")
        return StopEvent(result=text)


class Part(Event):
    factor: int


class Fan(Workflow):
    """Three calls at once, collected; a human; then the sum."""

    def __init__(self, llm):
        super().__init__(timeout=30)
        self.llm = llm

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Part | None:
        for factor in (2, 3, 4):
            ctx.send_event(Part(factor=factor))
        return None

    @step(num_workers=3)
    async def compute(self, ctx: Context, ev: Part) -> Ran:
        response = await self.llm.apredict_and_call([TOOLS["multiply"]], user_msg=f"{ev.factor} times 10")
        ctx.write_event_to_stream(Ran(result=response.response))
        return Ran(result=response.response)

    @step
    async def collect(self, ctx: Context, ev: Ran) -> InputRequiredEvent | None:
        found = ctx.collect_events(ev, [Ran] * 3)
        if found is None:
            return None
        await ctx.store.set("parts", sorted(int(each.result) for each in found))
        return InputRequiredEvent(prefix="Add them?")

    @step
    async def total(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        parts = await ctx.store.get("parts")
        return StopEvent(result=f"{ev.response}: {sum(parts)}")


def errand(before, after, *, divided=False):
    calls = [("add" if n % 2 else "multiply", {"a": n + 2, "b": 3}) for n in range(before + after)]
    script = planned(calls, "done")
    others = (lambda asked: "I cannot say.", planned([("add", {"a": 0, "b": 0})] * 9, "x")) if divided else ()
    return Errand(pyramid(script, *others), before=before, after=after)


def letter():
    def script(asked):
        if asked.tools:
            return Calls((("add", {"a": 2, "b": 2}),))
        return f"written: {asked.text}"

    return Letter(pyramid(script))


def fan():
    def script(asked):
        a, _, b = asked.text.split()
        return Calls((("multiply", {"a": int(a), "b": int(b)}),))

    return Fan(pyramid(script))


ASKS_HUMAN = [
    ("multiply", {"a": 6, "b": 7}),
    ("add", {"a": 42, "b": 1}),
    ("confirm", {"what": "43?"}),
    ("add", {"a": 43, "b": 1}),
]


def function_agent(*, divided=False):
    script = planned(ASKS_HUMAN, "done")
    others = (planned(ASKS_HUMAN[::-1], "x"), lambda asked: "no") if divided else ()
    return FunctionAgent(tools=[multiply, add, confirm], llm=pyramid(script, *others))


def react_agent():
    turns = [
        'Thought: first\nAction: multiply\nAction Input: {"a": 6, "b": 7}',
        'Thought: ask\nAction: confirm\nAction Input: {"what": "42?"}',
        'Thought: last\nAction: add\nAction Input: {"a": 42, "b": 1}',
    ]

    def script(asked):
        seen = sum((message.content or "").count("Observation:") for message in asked.messages[1:])
        return turns[seen] if seen < len(turns) else "Thought: I can answer.\nAnswer: 43 it is"

    return ReActAgent(tools=[multiply, add, confirm], llm=pyramid(script))


def agents_in_turn():
    first = planned([("multiply", {"a": 6, "b": 7}), ("handoff", {"to_agent": "asker", "reason": "r"})], "x")

    def second(asked):
        done = any(message.content == "yes" for message in asked.messages if message.role == "tool")
        return "handed over and done" if done else Calls((("confirm", {"what": "42?"}),))

    return AgentWorkflow(
        agents=[
            FunctionAgent(
                name="counter",
                description="counts",
                tools=[multiply],
                llm=pyramid(first),
                can_handoff_to=["asker"],
            ),
            FunctionAgent(name="asker", description="asks", tools=[confirm], llm=pyramid(second)),
        ],
        root_agent="counter",
    )


JOURNEYS = {
    "errand of three steps": lambda: errand(1, 1),
    "errand of four": lambda: errand(2, 1),
    "errand of five": lambda: errand(2, 2),
    "errand of six, a divided crowd": lambda: errand(3, 2, divided=True),
    "letter, streamed": letter,
    "three at once": fan,
    "function agent": function_agent,
    "function agent, a divided crowd": lambda: function_agent(divided=True),
    "react agent": react_agent,
    "one agent after another": agents_in_turn,
}

ENDS = {
    "errand of three steps": "done: 6, 6",
    "errand of four": "done: 6, 6, 12",
    "errand of five": "done: 6, 6, 12, 8",
    "errand of six, a divided crowd": "done: 6, 6, 12, 8, 18",
    "letter, streamed": "written: written: a letter yes",
    "three at once": "yes: 90",
    "function agent": "done: 42, 43, yes, 44",
    "function agent, a divided crowd": "done: 42, 43, yes, 44",
    "react agent": "43 it is",
    "one agent after another": "handed over and done",
}


def started(workflow):
    """Begun as its kind is."""
    if isinstance(workflow, (AgentWorkflow, FunctionAgent, ReActAgent)):
        return workflow.run("Go.")
    return workflow.run(task="a letter")


async def until_asked(workflow):
    """Run it until it asks a human; what it streamed, and all of it as JSON.

    LlamaIndex cannot write down the memory of an agent under every pydantic, whatever the LLM: its messages go apart.
    """
    handler, streamed = started(workflow), []
    async for event in handler.stream_events():
        streamed.append(event)
        if isinstance(event, InputRequiredEvent):
            break
    memory = await handler.ctx.store.get("memory", default=None)
    history = None if memory is None else [m.model_dump(mode="json") for m in await memory.aget_all()]
    saved = json.dumps({"context": handler.ctx.to_dict(), "memory": history})
    await handler.cancel_run()
    return streamed, saved


async def gone_on(workflow, saved):
    """From the JSON to the end; the tools' results that were streamed on the way, and the result."""
    told = json.loads(saved)
    handler = workflow.run(ctx=Context.from_dict(workflow, told["context"]))
    if told["memory"] is not None:
        memory = Memory.from_defaults()
        await memory.aput_messages([ChatMessage.model_validate(each) for each in told["memory"]])
        await handler.ctx.store.set("memory", memory)
    handler.ctx.send_event(HumanResponseEvent(response="yes"))
    ran = []
    async for event in handler.stream_events():
        if isinstance(event, ToolCallResult):
            ran.append(event.tool_output.content)
        elif isinstance(event, Ran):
            ran.append(event.result)
    return ran, str(await handler)


async def main():
    saved = json.load(sys.stdin)
    ended = {name: await gone_on(JOURNEYS[name](), text) for name, text in saved.items()}
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    asyncio.run(main())
