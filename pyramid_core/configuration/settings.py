"""What `pyramid.toml` may say, table by table: each is a frozen dataclass, and its fields are the table's keys.

What a value must be is said by the field's annotation, and what it may be by the class itself.

the top                router, deadline, explore, seed, run_code     `TopSettings`
[[crowd]], [[oracle]]  one for each member                           `EndpointSettings`, `EmbeddedSettings`
[judge]                who grades answers in `pyramid collect`       as a member
[prices.MODEL]         what a model costs                            `PriceSettings`
[rule]                 when to escalate                              `ThresholdRule`, `EscalationRule`
[policy]               when the rule is asked                        `Policy`
[server]               `pyramid serve`                               `ServerSettings`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyramid_core.endpoints.settings import Retries, Timeouts
from pyramid_core.types.numbers import check_number

Mode = Literal["pyramid", "shadow", "oracle", "crowd"]
"""Who answers: the pyramid; the oracle with the crowd asked beside it; the oracle alone; the crowd alone."""


@dataclass(frozen=True, kw_only=True)
class TopSettings:
    """The keys above the first table.

    Attributes:
        router: the name of a router, or the folder of a saved one, from the configuration's folder.
        deadline: seconds for each query; None: no limit.
        explore: the share of accepted queries whose oracle is asked as well, 0 to 1.
        seed: of the exploration's draws.
        run_code: programs that models wrote may be run: for routers that look at their behaviour, and to grade code.
    """

    router: str = "agreement"
    deadline: float | None = None
    explore: float = 0.0
    seed: int | None = None
    run_code: bool = False

    def __post_init__(self) -> None:
        check_number("explore", self.explore, low=0.0, high=1.0)
        if self.deadline is not None:
            check_number("deadline", self.deadline, low=0.0, above=True, unit="seconds")


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """A member behind an OpenAI-compatible HTTP endpoint; None is what `Endpoint` does by itself.

    Attributes:
        base_url: up to and without `/chat/completions`, mostly ending in /v1.
        model: the endpoint's name of the model.
        name: what the pyramid calls it; None: as the model.
        api_key_env: the environment variable that holds the key.
        api_key_file: or the file that holds it.
        key_header: the header that carries the key.
        provider: whose price list holds, where the address does not tell.
        temperature: of the answers.
        max_tokens: of an answer.
        top_logprobs: ask for log-probabilities with so many alternatives a token.
        system: a system message for conversations that have none.
        max_concurrency: calls under way at once.
        max_bytes: the largest answer that is read.
        stream_usage: ask for usage in streams.
        timeouts: seconds for each phase of a call: connect, first, between, total.
        retries: when a failed call is tried again: attempts, base, longest.
        extra: further keys of the request's body.
        headers: further headers, none of them a key.
    """

    base_url: str
    model: str
    name: str | None = None
    api_key_env: str | None = None
    api_key_file: Path | None = None
    key_header: str | None = None
    provider: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_logprobs: int | None = None
    system: str | None = None
    max_concurrency: int | None = None
    max_bytes: int | None = None
    stream_usage: bool | None = None
    timeouts: Timeouts | None = None
    retries: Retries | None = None
    extra: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class EmbeddedSettings:
    """A member that is one of the models that ship inside the package.

    Attributes:
        name: what the pyramid calls it, and which model it is where `model` does not say.
        model: which of the embedded models.
        temperature: 0 takes the most likely token each time.
        seed: of the draws.
    """

    name: str
    model: str = ""
    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class PriceSettings:
    """What a model costs, in USD per million tokens, and who says so.

    Attributes:
        input: tokens read.
        output: tokens written.
        source: where the price was read.
        date: when, as YYYY-MM-DD.
    """

    input: float
    output: float
    source: str
    date: str

    def __post_init__(self) -> None:
        check_number("input", self.input, low=0.0, unit="USD per million tokens")
        check_number("output", self.output, low=0.0, unit="USD per million tokens")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a server takes.

    Attributes:
        body: bytes of a request's body.
        messages: in one conversation.
        tokens: the longest answer that may be asked for; a request that names none gets this. None: no limit.
        concurrent: queries answered at once; one more is refused with 429.
        seconds: for one query, from its body's first byte to the answer's last; also the longest deadline.
        reading: seconds that a body may take to arrive.
        opening: seconds that a stream waits for its first token before it sends its head; an error before that has its
            own status.
        ping: seconds of silence in a stream after which a comment keeps the connection open.
        drain: seconds that running answers get when the server is told to stop.

    Raises:
        InputError: a value is out of its range; says which.
    """

    body: int = 4_000_000
    messages: int = 1000
    tokens: int | None = None
    concurrent: int = 256
    seconds: float = 600.0
    reading: float = 30.0
    opening: float = 10.0
    ping: float = 15.0
    drain: float = 30.0

    def __post_init__(self) -> None:
        for name in ("body", "messages", "concurrent"):
            check_number(name, getattr(self, name), low=1, whole=True)
        if self.tokens is not None:
            check_number("tokens", self.tokens, low=1, whole=True)
        for name in ("seconds", "reading", "ping"):
            check_number(name, getattr(self, name), low=0.0, above=True, unit="seconds")
        for name in ("opening", "drain"):
            check_number(name, getattr(self, name), low=0.0, unit="seconds")


@dataclass(frozen=True, kw_only=True)
class ShadowBudget:
    """What may be spent on asking the crowd beside the oracle.

    Attributes:
        share: of the queries whose crowd is asked, 0 to 1.
        usd: that the crowds may cost together since the start, as far as prices are known; None: no limit.
        concurrent: crowds asked at once; a query that comes meanwhile is answered, but not shadowed.

    Raises:
        InputError: a value is out of its range; says which.
    """

    share: float = 1.0
    usd: float | None = None
    concurrent: int = 8

    def __post_init__(self) -> None:
        check_number("share", self.share, low=0.0, high=1.0)
        if self.usd is not None:
            check_number("usd", self.usd, low=0.0, unit="USD")
        check_number("concurrent", self.concurrent, low=1, whole=True)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What `pyramid serve` is told.

    Attributes:
        host: the address to listen on; another than this machine's own needs a key.
        port: 0 takes a free one.
        mode: who answers what is asked of the pyramid.
        api_key_env: the environment variable that holds the keys of callers.
        api_key_file: a file of such keys, one a line.
        admin_key_env: the environment variable that holds the keys of those who may switch the mode.
        without_key: listen on the network without a key, on purpose.
        trace_file: where finished traces are appended; None: nowhere.
        log_content: write questions and answers into the log.
        limits: how much it takes.
        shadow: what shadow mode may spend.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    mode: Mode = "pyramid"
    api_key_env: str = "PYRAMID_SERVER_KEY"
    api_key_file: Path | None = None
    admin_key_env: str = "PYRAMID_ADMIN_KEY"
    without_key: bool = False
    trace_file: Path | None = None
    log_content: bool = False
    limits: Limits = field(default_factory=Limits)
    shadow: ShadowBudget = field(default_factory=ShadowBudget)

    def __post_init__(self) -> None:
        check_number("port", self.port, low=0, high=65_535, whole=True)
