"""The roster: what the user calls crowd and oracle, made into members with names, prices and what each is able to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables import Runnable, RunnableWithFallbacks

from langchain_pyramid.binding import Binding, models_in, name_of, through
from langchain_pyramid.members import ChatMember, StreamingChatMember, SyncChatMember
from pyramid_core.errors import InputError, MissingExtra, redacted
from pyramid_core.prices import Price, check_prices
from pyramid_core.types.given import crowd_and_oracles, no_member, placed
from pyramid_core.types.names import unique_names

_INSTEAD = (
    "give a LangChain chat model, alone or wrapped by bind, with_config, with_retry or with_fallbacks, "
    "or 'provider:model'"
)


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
    inside = [name_of(model) for member in everyone for model in models_in(member)]
    check_prices(prices or {}, names, others=[*map(name_of, everyone), *inside])
    repeated = _repeated(everyone)
    members = [
        _member(member, name, "crowd" if place < len(first) else "oracle", prices or {}, again)
        for place, (member, name, again) in enumerate(zip(everyone, names, repeated, strict=True))
    ]
    return Roster(
        crowd=tuple(members[: -len(oracles)]),
        oracles=tuple(members[-len(oracles) :]),
        fingerprint=hashlib.sha256(_canonical([_described(m) for m in everyone]).encode()).hexdigest(),
    )


def able_crowd(
    roster: Roster, crowd: Sequence[Any], binding: Binding, *, leave_out: bool
) -> list[Any] | None:
    """Those of the crowd that can be given `binding`; None where all can.

    Args:
        roster: the members.
        crowd: what they were made from, in the same order.
        binding: what is to be bound.
        leave_out: go on without members of the crowd that cannot; an oracle is never left out.

    Raises:
        InputError: names the member that cannot, or says that none of the crowd can.
    """
    able, last = [], None
    for member, given in zip(roster.crowd, crowd, strict=True):
        try:
            member.bound(binding)
        except InputError as error:
            if not leave_out:
                raise
            last = error
        else:
            able.append(given)
    if not able and last is not None:
        raise last
    for oracle in roster.oracles:
        oracle.bound(binding)
    return able if last is not None else None


def by_name(members: Any, place: str) -> Any:
    """What was given, with every `provider:model` among it made into a chat model by `init_chat_model`.

    Args:
        members: one member, or several; what is neither is left to be refused.
        place: crowd or oracle, for the errors.

    Raises:
        InputError: there is no such provider, or its package is missing; says which member it is.
        MissingExtra: `langchain`, which has `init_chat_model`, is not installed.
    """
    if isinstance(members, str):
        return _made(members, place)
    if not isinstance(members, Iterable) or isinstance(members, (bytes, Mapping, type, Runnable)):
        return members
    return [
        _made(member, f"{place}[{n}]") if isinstance(member, str) else member
        for n, member in enumerate(members)
    ]


def _made(name: str, place: str) -> Any:
    provider, colon, model = name.partition(":")
    if not (provider and colon and model):
        return name
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtra("langchain", "agents") from error
    try:
        return init_chat_model(name)
    except (ImportError, ValueError) as error:
        raise InputError(f"{place} is {name!r}, which cannot be made: {redacted(str(error))}") from error


def _member(
    member: Any, name: str, role: Literal["crowd", "oracle"], prices: Mapping[str, Price], repeated: bool
) -> SyncChatMember:
    def settled(model: BaseChatModel) -> BaseChatModel:
        update: dict[str, Any] = {}
        # A cache would make several samples of one model unanimous.
        if repeated and model.cache is None:
            update["cache"] = False
        if role == "crowd" and getattr(model, "streaming", None) is True:
            update["disable_streaming"] = True
        return model.model_copy(update=update) if update else model

    return _kind(member)(through(member, settled), name=name, role=role, prices=prices)


def _kind(member: Any) -> type[SyncChatMember]:
    """How a member can be asked: LangChain would run what it lacks in an executor of its own."""
    models = list(models_in(member))

    def has(model: BaseChatModel, method: str) -> bool:
        return getattr(type(model), method) is not getattr(BaseChatModel, method)

    if not any(has(model, "_agenerate") for model in models):
        return SyncChatMember
    streams = all(has(model, "_astream") or not has(model, "_stream") for model in models)
    return StreamingChatMember if streams else ChatMember


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
