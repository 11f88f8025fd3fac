"""EmbeddedChat: the tiny models that ship with the core, as LangChain chat models.

They answer arithmetic word problems on any machine, with no key, no download and no network, and they report real
token log-probabilities in OpenAI's shape. They have no tool calling, and read the last human message alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, SecretStr

from langchain_pyramid.calls import check_stop, question
from pyramid_core.embedded import (
    SAMPLING,
    EmbeddedModel,
    embedded_crowd,
    embedded_model,
    embedded_oracle,
    openai_logprobs,
    tokenizer,
)
from pyramid_core.prices import Price
from pyramid_core.types import Answer, Query, Token
from pyramid_core.types.given import check_fields

PROVIDER = "pyramid_embedded"


class EmbeddedChat(BaseChatModel):
    """An embedded model as a chat model.

    Args:
        model: which one: `tiny-add`, `tiny-short`, `tiny-times` or `oracle`.
        temperature: 0 takes the most likely token each time.
        top_k: draw among the k most likely tokens; None: among all.
        seed: of the random numbers, anew for each answer.
        max_tokens: the longest answer.
        stop: the answer ends before the first of these texts.
        top_logprobs: how many alternatives are reported for each token.
        timeout, max_retries, api_key: accepted from code that sets them on every model, and not used.
        streaming: stream inside `invoke` as well.

    Raises:
        InputError: there is no such model, or a value is out of range.
    """

    model: str = "tiny-add"
    temperature: float = 0.0
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int = 80
    stop: list[str] | None = None
    top_logprobs: int = 5
    timeout: float | None = Field(default=None, repr=False)
    max_retries: int | None = Field(default=None, repr=False)
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    streaming: bool = False

    model_config = ConfigDict(protected_namespaces=())

    def __init__(self, **fields: Any) -> None:
        check_fields("EmbeddedChat", fields, type(self).model_fields)
        check_stop(fields.get("stop"))
        super().__init__(**fields)
        self._member(None, {})

    @property
    def _llm_type(self) -> str:
        return "pyramid-embedded"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in _TAKES}

    @property
    def price(self) -> Price:
        """The notional price of a token, in proportion to the model's parameters."""
        return EmbeddedModel(name=self.model).price

    def _resolve_model_profile(self) -> ModelProfile | None:
        return {"tool_calling": False, "structured_output": False, "image_inputs": False}

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens."""
        return tokenizer.encode(text)

    def _member(self, stop: list[str] | None, settings: Mapping[str, Any]) -> EmbeddedModel:
        """The core's model with the sampling of this call."""
        if settings.get("tools"):
            _refuse_tools(self.model)
        return embedded_model(self, settings, stop=stop if stop is not None else self.stop)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._member(stop, kwargs).ask(Query(text=question(messages)))
        message = AIMessage(answer.text, usage_metadata=_usage(answer), response_metadata=self._told(answer))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for item in self._member(stop, kwargs).stream(Query(text=question(messages))):
            message = AIMessageChunk(content=item.text) if isinstance(item, Token) else self._last(item)
            chunk = ChatGenerationChunk(message=message)
            if run_manager is not None:
                run_manager.on_llm_new_token(str(message.text), chunk=chunk)
            yield chunk

    def _last(self, answer: Answer) -> AIMessageChunk:
        return AIMessageChunk(
            content="",
            usage_metadata=_usage(answer),
            response_metadata=self._told(answer),
            chunk_position="last",
        )

    def _told(self, answer: Answer) -> dict[str, Any]:
        """The response's metadata, log-probabilities in OpenAI's shape."""
        return {
            "model_name": self.model,
            "model_provider": PROVIDER,
            "finish_reason": answer.finish_reason,
            "logprobs": {"content": openai_logprobs(answer)},
            "answer_span": None if answer.answer_span is None else list(answer.answer_span),
        }

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> NoReturn:
        """Refuse.

        Raises:
            NotImplementedError: always; an embedded model cannot call tools.
        """
        _refuse_tools(self.model)


_TAKES = (*SAMPLING, "model", "stop", "top_logprobs")


def _refuse_tools(model: str) -> NoReturn:
    raise NotImplementedError(f"the embedded model {model!r} has no tool calling: use it without tools")


def _usage(answer: Answer) -> UsageMetadata | None:
    usage = answer.usage
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
    )


def embedded_chat_crowd(**settings: Any) -> list[EmbeddedChat]:
    """The embedded crowd of three, the best first.

    Args:
        settings: of `EmbeddedChat`, for all of them.
    """
    return [EmbeddedChat(model=member.model, **settings) for member in embedded_crowd()]


def embedded_chat_oracle(**settings: Any) -> EmbeddedChat:
    """The embedded oracle.

    Args:
        settings: of `EmbeddedChat`.
    """
    return EmbeddedChat(model=embedded_oracle().model, **settings)
