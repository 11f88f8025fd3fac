"""The roster: what the user calls crowd and oracle, made into members with names, prices and what each is able to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase

from langchain_pyramid.binding import models_in, through
from langchain_pyramid.members import ChatMember, SyncChatMember
from pyramid_core.prices import Price, check_prices
from pyramid_core.types.given import crowd_and_oracles, no_member, placed
from pyramid_core.types.names import unique_names

_INSTEAD = "give a LangChain chat model, alone or wrapped by bind, with_config, with_retry or with_fallbacks"


@dataclass(frozen=True, kw_only=True)
class Roster:
    """A pyramid's members.

    Attributes:
        crowd: asked first.
        oracles: asked when the crowd is not to be trusted.
        fingerprint: sha256 over what identifies each of them, without their secrets.
    """

    crowd: tuple[SyncChatMember, ...]
    oracles: tuple[SyncChatMember, ...]
    fingerprint: str

    @property
    def members(self) -> tuple[SyncChatMember, ...]:
        """All of them."""
        return (*self.crowd, *self.oracles)

    def models(self) -> Iterator[BaseChatModel]:
        """The chat models at their hearts."""
        for member in self.members:
            yield from models_in(member.runnable)


def roster_of(crowd: Any, oracle: Any, prices: Mapping[str, Price] | None) -> Roster:
    """Check and name what the user gave.

    Args:
        crowd: chat models, wrapped or not; the same one may be given several times.
        oracle: one, or several, cheapest first.
        prices: by the name of the model or of the member.

    Raises:
        InputError: says which member is no chat model, or which price belongs to nobody.
    """
    first, oracles = crowd_and_oracles(crowd, oracle, kind="a chat model", alone=Runnable)
    everyone = [*first, *oracles]
    for place, member in placed(first, oracles):
        if not any(models_in(member)):
            raise no_member(place, member, kind="a chat model", instead=_INSTEAD)
    names = unique_names(name_of(member) for member in everyone)
    priced = _prices(prices or {}, names, everyone)
    repeated = _repeated(everyone)
    members = [
        _member(
            member, name, "crowd" if place < len(everyone) - len(oracles) else "oracle", priced[place], again
        )
        for place, (member, name, again) in enumerate(zip(everyone, names, repeated, strict=True))
    ]
    return Roster(
        crowd=tuple(members[: -len(oracles)]),
        oracles=tuple(members[-len(oracles) :]),
        fingerprint=hashlib.sha256(_canonical([_described(m) for m in everyone]).encode()).hexdigest(),
    )


def _member(
    member: Any, name: str, role: Literal["crowd", "oracle"], price: Price | None, repeated: bool
) -> SyncChatMember:
    def settled(model: BaseChatModel) -> BaseChatModel:
        update: dict[str, Any] = {}
        # A cache would make several samples of one model unanimous.
        if repeated and model.cache is None:
            update["cache"] = False
        if role == "crowd" and getattr(model, "streaming", None) is True:
            update["disable_streaming"] = True
        return model.model_copy(update=update) if update else model

    asynchronous = any(type(m)._agenerate is not BaseChatModel._agenerate for m in models_in(member))  # noqa: SLF001 - how LangChain itself tells
    kind = ChatMember if asynchronous else SyncChatMember
    return kind(through(member, settled), name=name, role=role, price=price)


def name_of(member: Any) -> str:
    """What a member is called: the run name it was given, its own name, its model's, else its class's."""
    if isinstance(member, RunnableBindingBase):
        given = member.config.get("run_name") or member.kwargs.get("model")
        return given if isinstance(given, str) else name_of(member.bound)
    if isinstance(member, RunnableWithFallbacks):
        return name_of(member.runnable)
    for attribute in ("name", "model_name", "model", "model_id", "deployment_name"):
        found = getattr(member, attribute, None)
        if isinstance(found, str) and found:
            return found
    return type(member).__name__


def _prices(prices: Mapping[str, Price], names: Sequence[str], members: Sequence[Any]) -> list[Price | None]:
    known = [(name, name_of(m), name_of(next(models_in(m)))) for name, m in zip(names, members, strict=True)]
    check_prices(prices, names, others=chain.from_iterable(known))
    return [next((prices[name] for name in each if name in prices), None) for each in known]


def _repeated(members: Sequence[Any]) -> list[bool]:
    """Whether the same model, by identity or by settings, stands elsewhere in the pyramid."""
    descriptions = [_canonical(_described(member)) for member in members]
    return [descriptions.count(description) > 1 for description in descriptions]


def _described(member: Any) -> list[Any]:
    """What identifies a member, settings bound by wrappers included."""
    if isinstance(member, BaseChatModel):
        return [type(member).__qualname__, name_of(member), dict(member._identifying_params)]  # noqa: SLF001 - LangChain's own cache key
    if isinstance(member, RunnableWithFallbacks):
        return ["fallbacks", *(_described(each) for each in member.runnables)]
    return [type(member).__qualname__, dict(member.kwargs), _described(member.bound)]


def _canonical(description: Any) -> str:
    return json.dumps(description, sort_keys=True, default=lambda value: type(value).__qualname__)


def profile_of(members: Iterable[Any]) -> ModelProfile | None:
    """What all members can do: booleans by and, limits by the smallest; what one does not know is not known."""
    profiles = [model.profile for member in members for model in models_in(member)]
    if not profiles or any(profile is None for profile in profiles):
        return None
    known = [cast("dict[str, Any]", profile) for profile in profiles]
    common: dict[str, Any] = {}
    for key in known[0]:
        values = [profile.get(key) for profile in known]
        if all(isinstance(value, bool) for value in values):
            common[key] = all(values)
        elif all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            common[key] = min(value for value in values if value is not None)
    return cast("ModelProfile", common)
