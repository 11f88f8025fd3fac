"""The roster: what the user calls crowd and oracle, made into members with names, prices and common abilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms import LLM
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from llamaindex_pyramid.members import LLMMember, SyncLLMMember
from pyramid_core.prices import Price, check_prices
from pyramid_core.types.given import crowd_and_oracles, no_member, placed


@dataclass(frozen=True, kw_only=True)
class Roster:
    """A pyramid's members.

    Attributes:
        crowd: asked first.
        oracles: asked when the crowd is not to be trusted.
    """

    crowd: tuple[SyncLLMMember, ...]
    oracles: tuple[SyncLLMMember, ...]

    @property
    def members(self) -> tuple[SyncLLMMember, ...]:
        """All of them."""
        return (*self.crowd, *self.oracles)

    def without_tools(self) -> list[str]:
        """The members that cannot call functions."""
        return [member.name for member in self.members if not calls_functions(member.llm)]


def roster_of(crowd: Any, oracle: Any, prices: Mapping[str, Price] | None) -> Roster:
    """Check and name what the user gave.

    Args:
        crowd: LLMs; the same one may be given several times.
        oracle: one, or several, cheapest first.
        prices: by the name of the member.

    Raises:
        InputError: says which member is no LLM, or which price belongs to nobody.
    """
    first, then = crowd_and_oracles(crowd, oracle, kind="an LLM", alone=LLM)
    for place, llm in placed(first, then):
        if not isinstance(llm, LLM):
            raise no_member(place, llm, kind="an LLM", instead="give an instance of a LlamaIndex LLM")
    check_prices(prices or {}, map(name_of, (*first, *then)))
    return Roster(
        crowd=tuple(_member(llm, prices or {}) for llm in first),
        oracles=tuple(_member(llm, prices or {}) for llm in then),
    )


def name_of(llm: LLM) -> str:
    """What a member is called: its model's name, else its class's."""
    for found in (getattr(llm, "name", None), llm.metadata.model_name):
        if isinstance(found, str) and found and found != "unknown":
            return found
    return str(llm.class_name())


def calls_functions(llm: LLM) -> bool:
    """Whether tools can be offered to this LLM."""
    return isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model


def metadata_of(members: Sequence[SyncLLMMember], *, model: str, max_tokens: int | None) -> LLMMetadata:
    """What all members can do: the smallest window, and the room that leaves every member its answer.

    LlamaIndex cuts prompts to `context_window - num_output`. That difference is the smallest of the members' own,
    so that a prompt that was cut for the pyramid fits each of them.
    """
    known = [member.llm.metadata for member in members]
    window = min(each.context_window for each in known)
    outputs = [max_tokens or each.num_output for each in known]
    room = min(each.context_window - _reserved(n) for each, n in zip(known, outputs, strict=True))
    return LLMMetadata(
        context_window=window,
        num_output=-1 if all(n == -1 for n in outputs) else window - room,
        is_chat_model=all(each.is_chat_model for each in known),
        is_function_calling_model=all(
            each.is_function_calling_model and isinstance(member.llm, FunctionCallingLLM)
            for each, member in zip(known, members, strict=True)
        ),
        model_name=model,
    )


def _reserved(num_output: int) -> int:
    """Tokens that LlamaIndex reserves for an answer; -1 stands for its default."""
    return DEFAULT_NUM_OUTPUTS if num_output == -1 else num_output


def _member(llm: LLM, prices: Mapping[str, Price]) -> SyncLLMMember:
    name = name_of(llm)
    price = prices.get(name, getattr(llm, "price", None))
    kind = SyncLLMMember if is_synchronous(llm) else LLMMember
    return kind(llm, name=name, price=price if isinstance(price, Price) else None)


def is_synchronous(llm: LLM) -> bool:
    """Whether the asynchronous methods are those of `CustomLLM`, which call the synchronous ones on the loop."""
    return any(
        next(kind for kind in type(llm).__mro__ if method in vars(kind)) is CustomLLM
        for method in ("achat", "acomplete")
    )
