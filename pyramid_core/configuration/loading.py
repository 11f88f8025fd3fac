"""`pyramid.toml` as objects: read and checked as a whole, so that nothing is asked before everything is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyramid_core.configuration.settings import (
    EmbeddedSettings,
    EndpointSettings,
    PriceSettings,
    ServerSettings,
    TopSettings,
)
from pyramid_core.configuration.source import Place, Source, suggestion
from pyramid_core.configuration.tables import check_key, check_no_secret, filled, located, table_at
from pyramid_core.decision import EscalationRule, ThresholdRule
from pyramid_core.embedded import EmbeddedModel, Sampling
from pyramid_core.endpoints.keys import KeySource
from pyramid_core.errors import InputError, PyramidError
from pyramid_core.evidence import BehaviourGatherer
from pyramid_core.guarding import EscalateTools
from pyramid_core.prices import Price
from pyramid_core.pyramid import Pyramid
from pyramid_core.types import Policy
from pyramid_core.types.names import unique_names

FILE = "pyramid.toml"
"""The name of a configuration."""

TABLES = ("crowd", "oracle", "judge", "prices", "rule", "policy", "server")
KINDS: Mapping[str, type[Any]] = {"endpoint": EndpointSettings, "embedded": EmbeddedSettings}
RULES: Mapping[str, type[Any]] = {"threshold": ThresholdRule, "escalation": EscalationRule}

_CHANGES_ANSWERS = ("base_url", "temperature", "seed", "max_tokens", "top_logprobs", "system", "extra")


@dataclass(frozen=True, kw_only=True)
class MemberTable:
    """One member as the file has it.

    Attributes:
        place: of its table in the file.
        settings: what the table says.
        price: from `[prices]`; None: none is given there.
    """

    place: Place
    settings: EndpointSettings | EmbeddedSettings
    price: Price | None = None

    @property
    def name(self) -> str:
        """What the pyramid calls it, but for a number where another has the same name."""
        settings = self.settings
        return settings.name or (settings.model if isinstance(settings, EndpointSettings) else "")

    @property
    def served_by(self) -> dict[str, Any]:
        """What of the settings changes answers."""
        settings = self.settings
        told = {name: getattr(settings, name, None) for name in ("model", *_CHANGES_ANSWERS)}
        kind = next(kind for kind, settings_of in KINDS.items() if isinstance(settings, settings_of))
        told["model"] = settings.model or settings.name
        return {"kind": kind} | {name: value for name, value in told.items() if value not in (None, {})}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A checked configuration; it has asked nobody, and read no key.

    Attributes:
        path: the file.
        top: the keys above the first table.
        crowd: the members that are asked first.
        oracles: cheapest first.
        judge: who grades answers; None: nobody.
        rule: None: the router's operating point `baseline-match`.
        policy: when the rule is asked.
        server: what `pyramid serve` is told.
    """

    path: Path
    top: TopSettings
    crowd: tuple[MemberTable, ...]
    oracles: tuple[MemberTable, ...]
    judge: MemberTable | None = None
    rule: Any = None
    policy: Policy = field(default_factory=Policy)
    server: ServerSettings = field(default_factory=ServerSettings)
    source: Source = field(repr=False)

    @property
    def router(self) -> str | Path:
        """The router's name, or its folder."""
        named = self.top.router
        return self.path.parent / Path(named).expanduser() if "/" in named or "\\" in named else named

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, crowd first; one that comes again has a number."""
        return tuple(unique_names(member.name for member in (*self.crowd, *self.oracles)))

    def member(self, table: MemberTable) -> Any:
        """The member that a table describes.

        Raises:
            InputError: it cannot be made, for example since its key is not where the table says.
        """
        try:
            return _made(table)
        except PyramidError as error:
            raise located(
                error, self.source, table.place, tuple(table.settings.__dataclass_fields__)
            ) from error

    def check_keys(self) -> None:
        """Raise unless the key of every member can be read.

        Raises:
            InputError: an environment variable is not set, or a file cannot be read; says which.
        """
        for table in (*self.crowd, *self.oracles, *([self.judge] if self.judge else [])):
            settings = table.settings
            if isinstance(settings, EndpointSettings):
                file = None if settings.api_key_file is None else str(settings.api_key_file)
                try:
                    KeySource(env=settings.api_key_env, file=file).read()
                except InputError as error:
                    key = "api_key_env" if settings.api_key_env else "api_key_file"
                    raise self.source.error((*table.place, key), f"{table.name}: {error}") from error

    @property
    def served_by(self) -> dict[str, dict[str, Any]]:
        """What stands behind each member's name, as far as it changes answers; for records."""
        return {
            name: table.served_by
            for name, table in zip(self.names, (*self.crowd, *self.oracles), strict=True)
        }

    def pyramid(self, **changes: Any) -> Pyramid:
        """The pyramid that is described.

        Args:
            changes: arguments of `Pyramid` that differ from the file, or that no file can hold (`on_trace`).

        Raises:
            InputError: a member cannot be made, or the router does not fit.
        """
        arguments: dict[str, Any] = {
            "router": self.router,
            "rule": self.rule,
            "policy": self.policy,
            "deadline": self.top.deadline,
            "explore": self.top.explore,
            "seed": self.top.seed,
        }
        # Members that are given are not made as well: a server builds many pyramids of the same ones.
        for name, tables in (("crowd", self.crowd), ("oracle", self.oracles)):
            if name not in changes:
                arguments[name] = [self.member(table) for table in tables]
        if self.top.run_code:
            arguments["gatherers"] = {"behaviour": BehaviourGatherer(run_code=True)}
        try:
            return Pyramid(**{**arguments, **changes})
        except PyramidError as error:
            raise self.source.error(self._about(str(error)), str(error)) from error

    def _about(self, words: str) -> Place:
        """What of the file an error of the pyramid is about."""
        if "operating point" in words:
            return ("rule",)
        return ("router",) if "router" in words else ("crowd", 0)


def load_configuration(path: str | Path = FILE) -> Configuration:
    """The configuration in `path`.

    Relative paths in it start in its folder. No environment variable, key, router or model is read yet.

    Raises:
        InputError: the file cannot be read, or says something that it may not; names file, line and key, and suggests
            the nearest that would be right.
    """
    source = Source.read(Path(path))
    check_no_secret(source, (), source.data)
    tops = tuple(TopSettings.__dataclass_fields__)
    for key in source.data:
        check_key(source, (key,), known=(*tops, *TABLES))
    prices = _prices(source)
    crowd, oracles = _members(source, "crowd", prices), _members(source, "oracle", prices)
    judge = _member(source, ("judge",), prices) if "judge" in source.data else None
    _check_prices(source, prices, (*crowd, *oracles, *([judge] if judge else [])))
    return Configuration(
        path=source.path,
        top=filled(TopSettings, source, (), read=TABLES),
        crowd=crowd,
        oracles=oracles,
        judge=judge,
        rule=_rule(source, oracles),
        policy=filled(Policy, source, ("policy",), elsewhere=_elsewhere(tops)),
        server=filled(ServerSettings, source, ("server",), elsewhere=_elsewhere(tops)),
        source=source,
    )


def _members(source: Source, name: str, prices: Mapping[str, Price]) -> tuple[MemberTable, ...]:
    found = source.data.get(name)
    if isinstance(found, Mapping):
        raise source.error((name,), f"write [[{name}]] with two brackets: there may be several")
    if not isinstance(found, list) or not found or not all(isinstance(one, Mapping) for one in found):
        raise source.error((name,), f"there is no [[{name}]]: give the table of at least one model")
    return tuple(_member(source, (name, number), prices) for number in range(len(found)))


def _member(source: Source, place: Place, prices: Mapping[str, Price]) -> MemberTable:
    table = table_at(source, place)
    kind = table.get("kind", "endpoint")
    if kind not in KINDS:
        near = suggestion(str(kind), tuple(KINDS))
        raise source.error((*place, "kind"), f"kind cannot be {kind!r}: {near}")
    tops = tuple(TopSettings.__dataclass_fields__)
    settings = filled(KINDS[kind], source, place, read=("kind",), elsewhere=_elsewhere(tops))
    made = MemberTable(place=place, settings=settings)
    price = prices.get(made.name, prices.get(settings.model))
    return MemberTable(place=place, settings=settings, price=price)


def _prices(source: Source) -> dict[str, Price]:
    prices = {}
    for model in table_at(source, ("prices",)):
        told = filled(PriceSettings, source, ("prices", model))
        try:
            prices[model] = Price.per_million(
                input=told.input, output=told.output, source=told.source, date=told.date
            )
        except InputError as error:
            raise source.error(("prices", model), str(error)) from error
    return prices


def _check_prices(source: Source, prices: Mapping[str, Price], members: tuple[MemberTable, ...]) -> None:
    known = {name for member in members for name in (member.name, member.settings.model) if name}
    for model in prices:
        if model not in known:
            near = suggestion(model, sorted(known))
            raise source.error(("prices", model), f"no member is named {model!r} or has this model: {near}")


def _rule(source: Source, oracles: tuple[MemberTable, ...]) -> Any:
    if "rule" not in source.data:
        return None
    table = table_at(source, ("rule",))
    kind = table.get("kind", "threshold")
    if kind not in RULES:
        raise source.error(
            ("rule", "kind"), f"kind cannot be {kind!r}: {suggestion(str(kind), tuple(RULES))}"
        )
    own = ("kind", "oracle_tools")
    elsewhere = {
        name: f'into a rule of kind = "{other}"'
        for other in RULES
        if other != kind
        for name in _fields(other)
    }
    rule = filled(RULES[kind], source, ("rule",), read=own, hidden=("point",), elsewhere=elsewhere)
    costs = table.get("c_esc")
    for name in costs if isinstance(costs, Mapping) else ():
        if name not in (names := [oracle.name for oracle in oracles]):
            raise source.error(
                ("rule", "c_esc", name), f"no oracle is named {name!r}: {suggestion(name, names)}"
            )
    if "oracle_tools" not in table:
        return rule
    try:
        return EscalateTools(rule, table["oracle_tools"])
    except (InputError, TypeError) as error:
        raise source.error(
            ("rule", "oracle_tools"), "oracle_tools must be a list of names of tools"
        ) from error


def _fields(rule: str) -> tuple[str, ...]:
    return tuple(RULES[rule].__dataclass_fields__)


def _elsewhere(tops: tuple[str, ...]) -> dict[str, str]:
    top = dict.fromkeys(tops, "at the top of the file, above the first table")
    return top | {
        name: f"into [{table}]"
        for table, kind in (("policy", Policy), ("server", ServerSettings))
        for name in kind.__dataclass_fields__
        if name not in top
    }


def _made(table: MemberTable) -> Any:
    settings = table.settings
    if isinstance(settings, EmbeddedSettings):
        sampling = Sampling(temperature=settings.temperature, seed=settings.seed)
        return EmbeddedModel(name=settings.name, model=settings.model, sampling=sampling)
    from pyramid_core.endpoints import Endpoint

    given = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    given["price"] = table.price
    return Endpoint(**{name: value for name, value in given.items() if value is not None})
