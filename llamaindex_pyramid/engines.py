"""Query engines: whole engines as the crowd of a pyramid, and one engine whose calls of a pyramid are summed.

`PyramidQueryEngine` asks several engines (other indices, other retrievers, other models) as a pyramid asks LLMs: the
same core, with members that answer a query instead of a prompt. `RecordedQueryEngine` wraps an engine that uses a
`PyramidLLM` and puts the routing records of its single calls, and their sum, into the response's metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import QueryEngineTool

from llamaindex_pyramid.events import active_span, inside, routing_records, tell, told
from pyramid_core.decision import NAME, rule_of
from pyramid_core.evidence import ContextSimilarity
from pyramid_core.pyramid import Pyramid
from pyramid_core.records import total_of
from pyramid_core.types import Answer, Outcome, Query
from pyramid_core.types.given import crowd_and_oracles, no_member, placed

RECORD = "pyramid"


class EngineMember:
    """A query engine as the core asks it.

    Args:
        engine: the engine.
        name: what it is called.
    """

    def __init__(self, engine: BaseQueryEngine, *, name: str) -> None:
        self.engine = engine
        self.name = name

    def ask(self, query: Query) -> Answer:
        """Query the engine on the calling thread; a streamed response is read to its end."""
        response = self.engine.query(_bundle(query))
        return _answer(response.get_response() if isinstance(response, StreamingResponse) else response)

    async def aask(self, query: Query) -> Answer:
        """Query the engine on the event loop."""
        response = await self.engine.aquery(_bundle(query))
        if isinstance(response, AsyncStreamingResponse):
            return _answer(await response.get_response())
        return _answer(response.get_response() if isinstance(response, StreamingResponse) else response)


class PyramidQueryEngine(BaseQueryEngine):
    """A pyramid of query engines that is a query engine itself.

    Args:
        crowd: query engines, or `QueryEngineTool`s, whose names are used.
        oracle: the engine that is asked when the crowd is not to be trusted, or several, cheapest first.
        rule: a rule, or the threshold on p_fail as a number; None: the router's `baseline-match` point.
        callback_manager: the engine's own; those inside keep theirs.
        options: as `pyramid_core.Pyramid` takes them (router, policy, deadline, explore, on_trace, ...).

    Raises:
        InputError: what is wrong with which argument, and what to do.
    """

    def __init__(
        self,
        crowd: Sequence[Any],
        oracle: Any,
        *,
        rule: Any = None,
        callback_manager: CallbackManager | None = None,
        **options: Any,
    ) -> None:
        super().__init__(callback_manager)
        first, then = crowd_and_oracles(crowd, oracle, kind="a query engine", alone=BaseQueryEngine)
        for place, engine in placed(first, then):
            if not isinstance(engine, (BaseQueryEngine, QueryEngineTool)):
                raise no_member(
                    place, engine, kind="a query engine", instead="make one with index.as_query_engine(...)"
                )
        self.pyramid = Pyramid(
            crowd=[_member(engine, f"engine{place}") for place, engine in enumerate(first)],
            oracle=[_member(engine, "oracle") for engine in then],
            rule=rule_of(NAME, rule),
            **options,
        )

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        span = active_span()
        with told(model=NAME, span=span), inside(span):
            outcome = self.pyramid.ask(_query(query_bundle))
        return _response(outcome, span)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        span = active_span()
        with told(model=NAME, span=span), inside(span):
            outcome = await self.pyramid.aask(_query(query_bundle))
        return _response(outcome, span)


def context_similarity(embed_model: BaseEmbedding) -> ContextSimilarity:
    """What gathers how near answers lie to the retrieved passages: give it as `gatherers={"context": ...}`.

    For routers that were trained with features of the family `context-meaning`.

    Args:
        embed_model: any of LlamaIndex's; asked once a query, on a thread.
    """
    return ContextSimilarity(embed_model.get_text_embedding_batch)


class RecordedQueryEngine(BaseQueryEngine):
    """An engine whose response's metadata has what its pyramids did: `metadata["pyramid"]`.

    `records` there are the routing records of the single calls (each step of refining or summarising is one),
    `total` their sum. Calls that happen while a streamed response is read come later than the metadata.

    Args:
        engine: any query engine.
    """

    def __init__(self, engine: BaseQueryEngine) -> None:
        super().__init__(getattr(engine, "callback_manager", None))
        self.engine = engine

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {"engine": self.engine}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with routing_records() as records:
            return _with(self.engine.query(query_bundle), _summed(records))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with routing_records() as records:
            return _with(await self.engine.aquery(query_bundle), _summed(records))


def _summed(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {"records": records, "total": total_of(records)}


def _with(response: RESPONSE_TYPE, told: dict[str, Any]) -> RESPONSE_TYPE:
    response.metadata = {**(response.metadata or {}), RECORD: told}
    return response


def _member(engine: Any, name: str) -> EngineMember:
    if isinstance(engine, QueryEngineTool):
        return EngineMember(engine.query_engine, name=engine.metadata.name or name)
    return EngineMember(engine, name=name)


def _bundle(query: Query) -> QueryBundle:
    return query.raw if isinstance(query.raw, QueryBundle) else QueryBundle(query.text)


def _query(bundle: QueryBundle) -> Query:
    return Query(text=bundle.query_str, raw=bundle)


def _answer(response: Any) -> Answer:
    return Answer(text="" if response.response is None else str(response), raw=response)


def _response(outcome: Outcome, span: str | None) -> RESPONSE_TYPE:
    """The engine's own response, sources and all, with the record added to its metadata."""
    record = tell(outcome.trace, model=NAME, span=span)
    return _with(outcome.answer.raw, record)
