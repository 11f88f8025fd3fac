"""Chat models that answer by script: real `BaseChatModel`s with every way of answering that a provider has."""

import asyncio
import json
import threading
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tracers.base import BaseTracer
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool

from langchain_pyramid import ChatPyramid
from pyramid_core.routers import AgreementRouter


def usage(read: int, written: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


class Scripted(BaseChatModel):
    """Answers with `says`: a text, a message, an exception to raise, or a function of the messages.

    Attributes:
        model: its name.
        says: what it answers, or a list of what it answers one after another.
        used: (read, written) tokens of each answer.
        details: further response metadata.
        breaks_after: words after which a stream breaks.
        gate: an asyncio.Event that an asynchronous call waits for before it answers.
        calls: what it was called with, as (messages, settings).
        threads: the threads it was called on.
    """

    model: str = "scripted"
    says: Any = "4"
    used: Any = (10, 5)
    details: Any = None
    breaks_after: int | None = None
    gate: Any = None
    calls: Any = None
    threads: Any = None
    streaming: bool | None = None
    secret: str = "sk-very-secret-key"

    def __init__(self, model: str = "scripted", says: Any = "4", **fields: Any) -> None:
        super().__init__(model=model, says=says, **{"calls": [], "threads": [], **fields})

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "says": repr(self.says)}

    def _next(self, messages: Any, settings: dict[str, Any]) -> AIMessage:
        self.calls.append((list(messages), settings))
        self.threads.append(threading.current_thread().name)
        said = self.says
        if isinstance(said, list):
            said = said[min(len(self.calls), len(said)) - 1]
        if callable(said) and not isinstance(said, type):
            said = said(messages)
        if isinstance(said, BaseException):
            raise said
        if said is None:
            return None
        message = said.model_copy() if isinstance(said, AIMessage) else AIMessage(said)
        if self.used is not None and message.usage_metadata is None:
            message.usage_metadata = usage(*self.used)
        message.response_metadata = {
            "model_name": self.model,
            "model_provider": "scripted",
            "finish_reason": "stop",
            **(self.details or {}),
            **message.response_metadata,
        }
        return message

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = self._next(messages, {**kwargs, "stop": stop})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.gate is not None:
            await self.gate.wait()
        return self._generate(messages, stop, None, **kwargs)

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        message = self._next(messages, {**kwargs, "stop": stop, "streamed": True})
        for number, chunk in enumerate(chunks_of(message)):
            if number == self.breaks_after:
                raise ConnectionError("the line broke")
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.text), chunk=ChatGenerationChunk(message=chunk))
            yield ChatGenerationChunk(message=chunk)

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in self._stream(messages, stop, **kwargs):
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            yield chunk

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(own_schema=[t["function"]["name"] for t in formatted], choice=tool_choice, **kwargs)

    def with_structured_output(self, schema, *, include_raw=False, method="function_calling", strict=None):
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw)
        llm = self.bind(own_format=convert_to_json_schema(schema)["title"], strict=strict)
        parser = (
            PydanticOutputParser(pydantic_object=schema) if isinstance(schema, type) else JsonOutputParser()
        )
        if not include_raw:
            return llm | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=llm) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")


def chunks_of(message: AIMessage) -> Iterator[AIMessageChunk]:
    """As OpenAI streams: an empty chunk, the words, the calls in pieces, and at last the metadata with the usage."""
    yield AIMessageChunk(content="", response_metadata={"model_provider": "scripted"})
    words = message.content.split(" ") if isinstance(message.content, str) and message.content else []
    for place, word in enumerate(words):
        yield AIMessageChunk(content=word if place == 0 else " " + word)
    if isinstance(message.content, list):
        for index, block in enumerate(message.content):
            yield AIMessageChunk(content=[{**block, "index": index}])
    for index, call in enumerate(message.tool_calls):
        piece = {"name": call["name"], "id": call["id"], "index": index, "type": "tool_call_chunk"}
        yield AIMessageChunk(content="", tool_call_chunks=[{**piece, "args": ""}])
        arguments = json.dumps(call["args"])
        half = len(arguments) // 2
        for part in (arguments[:half], arguments[half:]):
            yield AIMessageChunk(
                content="", tool_call_chunks=[{**piece, "name": None, "id": None, "args": part}]
            )
    yield AIMessageChunk(
        content="",
        response_metadata={k: v for k, v in message.response_metadata.items() if k != "model_provider"},
        usage_metadata=message.usage_metadata,
    )


class SyncOnly(Scripted):
    """Without an asynchronous client."""

    _agenerate = BaseChatModel._agenerate
    _astream = BaseChatModel._astream


class Whole(Scripted):
    """Without streaming."""

    _stream = BaseChatModel._stream
    _astream = BaseChatModel._astream


class AsyncWhole(Scripted):
    """With an asynchronous client that cannot stream; the synchronous one can."""

    _astream = BaseChatModel._astream


class Toolless(Scripted):
    """Without tool calling."""

    bind_tools = BaseChatModel.bind_tools


class Tracer(BaseTracer):
    """Keeps every finished run, and knows which are still open."""

    run_inline = True

    def __init__(self) -> None:
        super().__init__()
        self.runs = {}

    def _persist_run(self, run) -> None:
        pass

    def _on_run_create(self, run) -> None:
        self.runs[run.id] = run

    @property
    def open(self) -> list:
        return list(self.run_map.values())

    def named(self, name: str) -> list:
        return [run for run in self.runs.values() if run.name == name]

    def models(self) -> list:
        """The members' own runs, without those of their wrappers."""
        return [run for run in self.runs.values() if run.run_type == "llm" and run.name != "ChatPyramid"]

    def children(self, parent) -> list:
        return [run for run in self.runs.values() if run.parent_run_id == parent.id]


class Tokens(BaseCallbackHandler):
    """A plain handler that follows runs and shows tokens, as a web page would, and as some tracing services do."""

    run_inline = True

    def __init__(self) -> None:
        self.seen = []
        self.starts = 0

    def on_chat_model_start(self, *args, **kwargs):
        self.starts += 1

    def on_llm_new_token(self, token, **kwargs):
        self.seen.append(token)

    def on_llm_end(self, *args, **kwargs):
        pass


def pyramid(*crowd: Any, oracle: Any = None, **fields: Any) -> ChatPyramid:
    """A ChatPyramid over scripted members; texts are models that say them. It goes by agreement, with tools too."""
    if "embeddings" not in fields:
        fields.setdefault("router", AgreementRouter())
    members = [
        Scripted(f"m{n}", says) if not isinstance(says, Runnable) else says for n, says in enumerate(crowd)
    ]
    if not isinstance(oracle, Runnable):
        oracle = Scripted("big", "oracle says 7" if oracle is None else oracle, used=(100, 50))
    return ChatPyramid(crowd=members, oracle=oracle, **fields)
