"""An LLM whose replies are scripted, with tools, usage, log-probabilities and truly asynchronous methods."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import Field, PrivateAttr

KEY = "sk-scripted-0123456789abcdef"


@dataclass(frozen=True)
class Asked:
    """What a scripted LLM is asked; `tools` are OpenAI schemas."""

    text: str
    messages: tuple[ChatMessage, ...] = ()
    tools: tuple[dict, ...] = ()
    keywords: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Calls:
    """A reply that calls tools."""

    calls: tuple[tuple[str, dict], ...]
    text: str = ""


@dataclass
class Hang:
    """A reply that never comes, unless `gate` is opened; `begun` and `cancelled` tell what happened."""

    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    text: str = "late"

    async def wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class ScriptedLLM(FunctionCallingLLM):
    """Replies with `script`: a text, `Calls`, `Hang`, an exception, a list of these by turn, or a function of `Asked`."""

    script: Any = Field(default="ok", exclude=True, repr=False)
    name: str = "scripted"
    functions: bool = True
    window: int = 4096
    outputs: int = 256
    usage: bool = True
    logprob: float | None = -0.1
    api_key: str = KEY

    _asked: list = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "ScriptedLLM"

    @property
    def asked(self) -> list[Asked]:
        return self._asked

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            context_window=self.window,
            num_output=self.outputs,
            is_chat_model=True,
            is_function_calling_model=self.functions,
            model_name=self.name,
        )

    def _next(self, asked: Asked) -> Any:
        self._asked.append(asked)
        found = self.script(asked) if isinstance(self.script, Callable) else self.script
        if isinstance(found, list):
            found = found[min(len(self._asked), len(found)) - 1]
        if isinstance(found, BaseException):
            raise found
        return found

    def _said(self, asked: Asked) -> Any:
        found = self._next(asked)
        if isinstance(found, Hang):
            found.begun.set()
            found.gate.wait(10)
            return found.text
        return found

    async def _asaid(self, asked: Asked) -> Any:
        await asyncio.sleep(0)
        found = self._next(asked)
        if isinstance(found, Hang):
            await found.wait()
        return found

    def _raw(self, asked: Asked, text: str) -> dict:
        words = text.split(" ") if text else []
        choice: dict = {"finish_reason": "stop"}
        if self.logprob is not None and words:
            tokens = [w if i == 0 else " " + w for i, w in enumerate(words)]
            choice["logprobs"] = {"content": [{"token": t, "logprob": self.logprob} for t in tokens]}
        raw: dict = {"choices": [choice]}
        if self.usage:
            raw["usage"] = {
                "prompt_tokens": len(asked.text.split()) or 1,
                "completion_tokens": len(words) or 1,
            }
        return raw

    def _response(self, asked: Asked, found: Any) -> ChatResponse:
        text = found.text if isinstance(found, Calls) else found
        message = ChatMessage(role=MessageRole.ASSISTANT, content=text or None)
        if isinstance(found, Calls):
            # OpenAI's adapter writes both; LlamaIndex's streaming of structures reads the older one.
            message.additional_kwargs["tool_calls"] = [
                {
                    "id": f"call_{self.name}_{i}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(kwargs)},
                }
                for i, (name, kwargs) in enumerate(found.calls)
            ]
            message.blocks += [
                ToolCallBlock(tool_call_id=f"call_{self.name}_{i}", tool_name=name, tool_kwargs=kwargs)
                for i, (name, kwargs) in enumerate(found.calls)
            ]
        return ChatResponse(message=message, raw=self._raw(asked, text))

    def _pieces(self, response: ChatResponse):
        said = ""
        words = re.findall(r"\S*\s*", response.message.content or "")
        for word in filter(None, words):
            said += word
            yield ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=said), delta=word)
        yield ChatResponse(message=response.message, delta="", raw=response.raw)

    @staticmethod
    def _of(messages, keywords) -> Asked:
        text = next((m.content or "" for m in reversed(messages) if m.role == MessageRole.USER), "")
        tools = tuple(keywords.pop("tools", None) or ())
        return Asked(text=text, messages=tuple(messages), tools=tools, keywords=keywords)

    @llm_chat_callback()
    def chat(self, messages, **kwargs):
        asked = self._of(messages, kwargs)
        return self._response(asked, self._said(asked))

    @llm_chat_callback()
    async def achat(self, messages, **kwargs):
        asked = self._of(messages, kwargs)
        return self._response(asked, await self._asaid(asked))

    @llm_chat_callback()
    def stream_chat(self, messages, **kwargs):
        asked = self._of(messages, kwargs)

        def gen():
            yield from self._pieces(self._response(asked, self._said(asked)))

        return gen()

    @llm_chat_callback()
    async def astream_chat(self, messages, **kwargs):
        asked = self._of(messages, kwargs)

        async def gen():
            for piece in self._pieces(self._response(asked, await self._asaid(asked))):
                await asyncio.sleep(0)
                yield piece

        return gen()

    @staticmethod
    def _completed(response: ChatResponse) -> CompletionResponse:
        return CompletionResponse(text=response.message.content or "", delta=response.delta, raw=response.raw)

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **kwargs):
        asked = Asked(text=prompt, keywords={**kwargs, "formatted": formatted})
        return self._completed(self._response(asked, self._said(asked)))

    @llm_completion_callback()
    async def acomplete(self, prompt, formatted=False, **kwargs):
        asked = Asked(text=prompt, keywords={**kwargs, "formatted": formatted})
        return self._completed(self._response(asked, await self._asaid(asked)))

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **kwargs):
        asked = Asked(text=prompt, keywords={**kwargs, "formatted": formatted})

        def gen():
            yield from map(self._completed, self._pieces(self._response(asked, self._said(asked))))

        return gen()

    @llm_completion_callback()
    async def astream_complete(self, prompt, formatted=False, **kwargs):
        asked = Asked(text=prompt, keywords={**kwargs, "formatted": formatted})

        async def gen():
            for piece in self._pieces(self._response(asked, await self._asaid(asked))):
                yield self._completed(piece)

        return gen()

    def _prepare_chat_with_tools(
        self,
        tools,
        user_msg=None,
        chat_history=None,
        verbose=False,
        allow_parallel_tool_calls=False,
        tool_required=False,
        **kwargs,
    ):
        messages = [*(chat_history or [])]
        if user_msg is not None:
            messages.append(ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg)
        schemas = [tool.metadata.to_openai_tool() for tool in tools]
        required = {"tool_required": tool_required} if tool_required else {}
        return {"messages": messages, "tools": schemas, **required, **kwargs}

    def get_tool_calls_from_response(self, response, error_on_no_tool_call=True, **kwargs):
        blocks = [b for b in response.message.blocks if isinstance(b, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return [
            ToolSelection(tool_id=b.tool_call_id or "", tool_name=b.tool_name, tool_kwargs=b.tool_kwargs)
            for b in blocks
        ]


class SlowSyncLLM(CustomLLM):
    """A completion LLM whose asynchronous methods are `CustomLLM`'s: they would block the loop."""

    gate: Any = Field(default=None, exclude=True)
    text: str = "slow"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="slow")

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **kwargs):
        self.gate.wait(10)
        return CompletionResponse(text=self.text)

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **kwargs):
        def gen():
            self.gate.wait(10)
            yield CompletionResponse(text=self.text, delta=self.text)

        return gen()


def clever(answer: str = "5", *, wrong: str | None = None) -> Callable[[Asked], Any]:
    """A script that uses tools as a model would: calls the first one until it has a result, then answers.

    Args:
        answer: what it says at the end.
        wrong: what it says instead to questions with "hard" in them.
    """

    def script(asked: Asked) -> Any:
        says = wrong if wrong is not None and "hard" in asked.text else answer
        since = [m.role for m in asked.messages]
        if not asked.tools or MessageRole.TOOL in since or "without tools" in asked.text:
            return says
        function = asked.tools[0]["function"]
        return Calls(((function["name"], filled(function["parameters"], asked.text, says)),))

    return script


def filled(schema: dict, text: str, says: str) -> dict:
    """Arguments for a schema: numbers out of the text in order, the answer where a text is wanted."""
    numbers = [int(n) for n in re.findall(r"\d+", text)] or [1]
    found: dict = {}
    for place, (name, wanted) in enumerate(schema.get("properties", {}).items()):
        kind = wanted.get("type") or next((a.get("type") for a in wanted.get("anyOf", ())), "string")
        found[name] = {
            "integer": numbers[place % len(numbers)],
            "number": float(numbers[place % len(numbers)]),
            "string": says,
            "boolean": True,
            "array": [],
            "object": {},
        }.get(kind, says)
    return found


def is_plain(value: Any) -> bool:
    """Whether JSON takes it as it is, without NaN."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
