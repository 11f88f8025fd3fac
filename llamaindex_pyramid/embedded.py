"""EmbeddedLLM: the tiny models that ship with the core, as LlamaIndex LLMs.

They answer arithmetic word problems on any machine, with no key, no download and no network, and they report real
token log-probabilities in OpenAI's shape. They have no tool calling, and read the user's last message alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from pydantic import Field

from llamaindex_pyramid.calls import question
from pyramid_core.embedded import (
    EmbeddedModel,
    embedded_crowd,
    embedded_model,
    embedded_oracle,
    openai_logprobs,
)
from pyramid_core.errors import InputError
from pyramid_core.prices import Price
from pyramid_core.types import Answer, Query, Token
from pyramid_core.types.given import check_fields


class EmbeddedLLM(LLM):
    """An embedded model as an LLM.

    Args:
        model: which one: `tiny-add`, `tiny-short`, `tiny-times` or `oracle`.
        temperature: 0 takes the most likely token each time.
        top_k: draw among the k most likely tokens; None: among all.
        seed: of the random numbers, anew for each answer.
        max_tokens: the longest answer.
        stop: the answer ends before the first of these texts.
        top_logprobs: how many alternatives are reported for each token.

    Raises:
        InputError: there is no such model, or a value is out of range.
    """

    model: str = "tiny-add"
    temperature: float = 0.0
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int = 80
    stop: list[str] = Field(default_factory=list)
    top_logprobs: int = 5

    def __init__(self, **fields: Any) -> None:
        check_fields("EmbeddedLLM", fields, type(self).model_fields)
        super().__init__(**fields)
        self._member({})

    @classmethod
    def class_name(cls) -> str:
        """Its own name."""
        return "EmbeddedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """The model's window, and that it chats and calls no functions."""
        context = EmbeddedModel(name=self.model).context
        return LLMMetadata(
            context_window=context,
            num_output=min(self.max_tokens, context - 1),
            is_chat_model=True,
            is_function_calling_model=False,
            model_name=self.model,
        )

    @property
    def price(self) -> Price:
        """The notional price of a token, in proportion to the model's parameters."""
        return EmbeddedModel(name=self.model).price

    def _member(self, keywords: Mapping[str, Any]) -> EmbeddedModel:
        """The core's model with the sampling of this call."""
        if keywords.get("tools"):
            raise InputError(f"the embedded model {self.model!r} calls no functions: use it without tools")
        return embedded_model(self, keywords, stop=keywords.get("stop") or self.stop)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer the user's last message."""
        return _chat(self._member(kwargs).ask(_query(messages)))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`, computed off the event loop."""
        return _chat(await self._member(kwargs).aask(_query(messages)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, token by token."""
        return _stream(self._member(kwargs).stream(_query(messages)), _chat)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`, computed off the event loop."""
        return _astream(self._member(kwargs).astream(_query(messages)), _chat)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer the prompt."""
        return _completion(self._member(kwargs).ask(Query(text=prompt)))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`, computed off the event loop."""
        return _completion(await self._member(kwargs).aask(Query(text=prompt)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, token by token."""
        return _stream(self._member(kwargs).stream(Query(text=prompt)), _completion)

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """As `stream_complete`, computed off the event loop."""
        return _astream(self._member(kwargs).astream(Query(text=prompt)), _completion)


def _query(messages: Sequence[ChatMessage]) -> Query:
    if not messages:
        raise InputError("the conversation is empty: give at least one ChatMessage")
    return Query(text=question(messages))


Make = Callable[..., Any]
"""A response of an answer: `_chat` or `_completion`."""


def _chat(answer: Answer, *, delta: str | None = None) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=answer.text)
    return ChatResponse(message=message, delta=delta, raw=_raw(answer))


def _completion(answer: Answer, *, delta: str | None = None) -> CompletionResponse:
    return CompletionResponse(text=answer.text, delta=delta, raw=_raw(answer))


def _stream(items: Iterator[Token | Answer], make: Make) -> Generator[Any, None, None]:
    said = ""
    for item in items:
        said += item.text if isinstance(item, Token) else ""
        yield _piece(item, said, make)


async def _astream(items: AsyncIterator[Token | Answer], make: Make) -> AsyncGenerator[Any, None]:
    said = ""
    async for item in items:
        said += item.text if isinstance(item, Token) else ""
        yield _piece(item, said, make)


def _piece(item: Token | Answer, said: str, make: Make) -> Any:
    """A chunk; what stands beside the text rides on the last one."""
    if isinstance(item, Answer):
        return make(item, delta="")
    return make(Answer(text=said), delta=item.text)


def _raw(answer: Answer) -> dict[str, Any] | None:
    """What stands beside the text, in the shape of OpenAI's chat completions; None within a stream."""
    if answer.usage is None or answer.usage.input_tokens is None or answer.usage.output_tokens is None:
        return None
    read, written = answer.usage.input_tokens, answer.usage.output_tokens
    return {
        "model": answer.member,
        "choices": [
            {"finish_reason": answer.finish_reason, "logprobs": {"content": openai_logprobs(answer)}}
        ],
        "answer_span": None if answer.answer_span is None else list(answer.answer_span),
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def embedded_llm_crowd(**settings: Any) -> list[EmbeddedLLM]:
    """The embedded crowd of three, the best first.

    Args:
        settings: of `EmbeddedLLM`, for all of them.
    """
    return [EmbeddedLLM(model=member.model, **settings) for member in embedded_crowd()]


def embedded_llm_oracle(**settings: Any) -> EmbeddedLLM:
    """The embedded oracle.

    Args:
        settings: of `EmbeddedLLM`.
    """
    return EmbeddedLLM(model=embedded_oracle().model, **settings)
