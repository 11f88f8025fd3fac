"""The roster: what the user calls crowd and oracle, made into members with names, prices and common abilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms import LLM
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from llamaindex_pyramid.members import LLMMember, SyncLLMMember
from pyramid_core.errors import InputError
from pyramid_core.prices import Price


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
    oracles = list(oracle) if isinstance(oracle, (list, tuple)) else [oracle]
    if isinstance(crowd, str) or not isinstance(crowd, Iterable) or not list(crowd):
        raise InputError(f"crowd must be a list of at least one LLM, not {_shown(crowd)}")
    if not oracles or oracles[0] is None:
        raise InputError("oracle is missing: give the LLM that is asked when the crowd is not to be trusted")
    asked_first = [_checked(llm, f"crowd[{place}]") for place, llm in enumerate(crowd)]
    asked_then = [_checked(llm, "oracle") for llm in oracles]
    names = [name_of(llm) for llm in (*asked_first, *asked_then)]
    for name, price in (prices or {}).items():
        if not isinstance(price, Price):
            raise InputError(f"the price of {name!r} must be a pyramid_core.Price, not {price!r}")
        if name not in names:
            raise InputError(f"prices has {name!r}, which is no member: they are {names}")
    return Roster(
        crowd=tuple(_member(llm, prices or {}) for llm in asked_first),
        oracles=tuple(_member(llm, prices or {}) for llm in asked_then),
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


def _checked(llm: Any, role: str) -> LLM:
    if isinstance(llm, type):
        raise InputError(
            f"{role} is the class {llm.__name__}, not an LLM: make one of it, {llm.__name__}(...)"
        )
    if not isinstance(llm, LLM):
        raise InputError(f"{role} is {_shown(llm)}, not an LLM: give an instance of a LlamaIndex LLM")
    return llm


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


def _shown(value: Any) -> str:
    """A value in an error message; what might hold a key is shown by its type alone."""
    plain = value is None or isinstance(value, (str, int, float)) or value == []
    return repr(value) if plain else f"of type {type(value).__name__}"
