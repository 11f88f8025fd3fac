"""PyramidRunnable: whole chains as a crowd and an oracle, whatever goes in and whatever comes out.

Chains agree where the texts of their outputs do. They run as children of the pyramid's own run, and their tokens stay
inside as those of `ChatPyramid`'s members do; it decides nothing: that is the core's affair.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, cast

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    CallbackManager,
    CallbackManagerForChainRun,
    UsageMetadataCallbackHandler,
)
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.utils import Input, Output
from pydantic import BaseModel

from langchain_pyramid.building import check_timeout
from langchain_pyramid.calls import question
from langchain_pyramid.messages import answer_of, usage_of
from langchain_pyramid.runs import ChildRun, Parent
from langchain_pyramid.turns import told_of
from pyramid_core.decision import NAME, rule_of
from pyramid_core.prices import Price, check_prices
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import routing_record
from pyramid_core.types import UNKNOWN_COST, Answer, Cost, Outcome, Query, Usage
from pyramid_core.types.given import crowd_and_oracles, no_member, placed

_PASSED_ON = ("configurable", "max_concurrency", "recursion_limit")
_INSTEAD = "give chains, models, or functions in a RunnableLambda"


def text_of(output: Any) -> str:
    """What a chain said, in words: a message's text, a text itself, anything else as JSON."""
    if isinstance(output, BaseMessage):
        return str(output.text)
    return output if isinstance(output, str) else _json(output)


def question_of(value: Any) -> str:
    """What a chain is asked, in words: a text, the last human message, anything else as JSON."""
    if isinstance(value, PromptValue):
        value = value.to_messages()
    if isinstance(value, BaseMessage):
        value = [value]
    if isinstance(value, Sequence) and value and all(isinstance(each, BaseMessage) for each in value):
        return question(cast("Sequence[BaseMessage]", value))
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One call of the pyramid, as it travels through the core in `Query.raw`.

    Attributes:
        value: what the chains are called with.
        parent: the pyramid's own run.
        config: what of the caller's config every chain gets.
    """

    value: Any
    parent: Parent
    config: RunnableConfig = field(default_factory=RunnableConfig)


class ChainMember:
    """A runnable as the core asks it.

    Args:
        runnable: the chain.
        role: crowd or oracle.
        text: what an output says.
        prices: by model name.
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        role: Literal["crowd", "oracle"],
        text: Callable[[Any], str],
        prices: Mapping[str, Price],
    ) -> None:
        self.name = _name_of(runnable)
        self._runnable = runnable
        self._role = role
        self._text = text
        self._prices = prices

    def ask(self, query: Query) -> Answer:
        """Invoke the chain on the calling thread."""
        child, counter, config = self._child(query.raw, CallbackManager)
        with child.entered():
            output = self._runnable.invoke(query.raw.value, config)
        return self._answer(output, counter)

    async def aask(self, query: Query) -> Answer:
        """Invoke the chain on the event loop; cancelled, the runs of its models are closed."""
        child, counter, config = self._child(query.raw, AsyncCallbackManager)
        with child.entered():
            try:
                output = await self._runnable.ainvoke(query.raw.value, config)
            except asyncio.CancelledError:
                await child.close_cancelled()
                raise
        return self._answer(output, counter)

    def _child(
        self, asking: Asking, manager: type[Any]
    ) -> tuple[ChildRun, UsageMetadataCallbackHandler, RunnableConfig]:
        counter = UsageMetadataCallbackHandler()
        parent = replace(asking.parent, handlers=(*asking.parent.handlers, counter))
        child = ChildRun(parent, role=self._role, member=self.name, manager=manager)
        return child, counter, cast("RunnableConfig", {**asking.config, **child.config})

    def _answer(self, output: Any, counter: UsageMetadataCallbackHandler) -> Answer:
        answer = answer_of(output) if isinstance(output, AIMessage) else Answer(text="", raw=output)
        by_model = {model: usage_of(usage) for model, usage in counter.usage_metadata.items()}
        usages = [usage for usage in by_model.values() if usage is not None]
        return replace(
            answer,
            text=self._text(output),
            usage=sum(usages[1:], usages[0]) if usages else None,
            cost=_cost(by_model, self._prices),
        )


def _cost(by_model: Mapping[str, Usage | None], prices: Mapping[str, Price]) -> Cost:
    """The sum over the models that a chain has used; unknown where one has no price or none told its usage."""
    if not by_model:
        return UNKNOWN_COST
    costs = [
        prices[model].cost(usage) if model in prices else UNKNOWN_COST for model, usage in by_model.items()
    ]
    return sum(costs[1:], costs[0])


def _name_of(runnable: Any) -> str:
    """What a chain is called: the run name it was given, else its own."""
    if isinstance(runnable, RunnableBindingBase) and isinstance(runnable.config.get("run_name"), str):
        return str(runnable.config["run_name"])
    return str(runnable.get_name())


class PyramidRunnable(Runnable[Input, Output]):
    """A pyramid of any runnables that take the same input: three whole RAG chains and a better one, say.

    It gives one chain's output untouched. `stream` gives it whole, when it is decided. The routing record is on the
    traced run, and the whole trace goes to `on_trace`.

    Args:
        crowd: runnables that are asked first, all at once.
        oracle: the runnable that is asked when the crowd is not to be trusted, or several, cheapest first.
        text: what an output says, for agreement; None: a message's text, a text itself, anything else as JSON.
        question: what an input asks, for routers that read it; None: likewise.
        answer_type: what the texts are (number, choice, literal, code, fields, text); None: as they look.
        router, rule, policy, timeout, explore, gatherers, on_trace, trace_handlers: as in `ChatPyramid`.
        prices: by the name of the models inside the chains, for the bill.
        name: of the run.

    Raises:
        InputError: what is wrong with which argument, and what to do.
        RouterError: the router cannot be loaded or does not fit the crowd.
    """

    def __init__(
        self,
        *,
        crowd: Sequence[Runnable[Input, Output]],
        oracle: Runnable[Input, Output] | Sequence[Runnable[Input, Output]],
        text: Callable[[Output], str] | None = None,
        question: Callable[[Input], str] | None = None,
        answer_type: str | None = None,
        router: Any = None,
        rule: Any = None,
        prices: Mapping[str, Price] | None = None,
        trace_handlers: Sequence[Any] = (),
        timeout: float | None = None,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        check_timeout(timeout)
        check_prices(prices or {}, prices or {})
        self.name = name
        self._question = question or question_of
        self._answer_type = answer_type
        # A chain has no run of its own that could count for its members: counters see the members.
        self._listed = (*trace_handlers, UsageMetadataCallbackHandler)
        member = partial(ChainMember, text=text or text_of, prices=prices or {})
        first, oracles = crowd_and_oracles(crowd, oracle, kind="a runnable", alone=Runnable)
        for place, each in placed(first, oracles):
            if not isinstance(each, Runnable):
                raise no_member(place, each, kind="a runnable", instead=_INSTEAD)
        self.pyramid = Pyramid(
            crowd=[member(each, role="crowd") for each in first],
            oracle=[member(each, role="oracle") for each in oracles],
            router=router,
            rule=rule_of(NAME, rule),
            deadline=timeout,
            **settings,
        )
        self._last: Runnable[Any, Any] = oracles[-1]

    @property
    def InputType(self) -> Any:  # noqa: N802 - as LangChain names it
        """What the oracle takes."""
        return self._last.InputType

    @property
    def OutputType(self) -> Any:  # noqa: N802 - as LangChain names it
        """What the oracle gives."""
        return self._last.OutputType

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002 - as LangChain names it
        """The output that stands.

        Raises:
            PyramidFailed: no chain gave an output; carries every cause.
            PyramidAbstained: the rule declined to answer.
        """
        return self._call_with_config(self._asked, input, config, **kwargs)

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002 - as LangChain names it
        """As `invoke`, on the event loop; cancelling it cancels every chain."""
        return await self._acall_with_config(self._aasked, input, config, **kwargs)

    def _asked(self, value: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig) -> Output:
        query, parent = self._query(value, run_manager, config)
        return self._output(self.pyramid.ask(query), parent)

    async def _aasked(
        self, value: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
    ) -> Output:
        query, parent = self._query(value, run_manager, config)
        return self._output(await self.pyramid.aask(query), parent)

    def _query(self, value: Input, manager: BaseRunManager, config: RunnableConfig) -> tuple[Query, Parent]:
        parent = Parent.of(manager, manager.run_id, settings=dict, listed=self._listed)
        kept = {name: given for name, given in config.items() if name in _PASSED_ON}
        asking = Asking(value=value, parent=parent, config=cast("RunnableConfig", kept))
        return Query(text=self._question(value), answer_type=self._answer_type, raw=asking), parent

    def _output(self, outcome: Outcome, parent: Parent) -> Output:
        metadata, tags = told_of(routing_record(outcome.trace))
        # No model's run is this one: usage is on the members' runs alone.
        parent.annotate({**metadata, "pyramid.usage_is_sum": False}, tags)
        return cast("Output", outcome.answer.raw)
