"""A model behind an OpenAI-compatible address as a member of a pyramid."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pyramid_core.endpoints.calls import Calls
from pyramid_core.endpoints.keys import KeySource
from pyramid_core.endpoints.loops import BACKGROUND
from pyramid_core.endpoints.settings import Retries, Timeouts
from pyramid_core.errors import InputError
from pyramid_core.price_lists import Listing, find_price
from pyramid_core.prices import Price
from pyramid_core.types import Answer, Query, Token
from pyramid_core.types.numbers import check_number

MAX_BYTES = 32 * 2**20
_SECRET_HEADERS = ("authorization", "api-key", "x-api-key", "proxy-authorization", "cookie")


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A member that asks a model over HTTP. It can be shared between threads and event loops.

    Its connections close with the event loop they belong to, by `close` or `aclose`, or at the end of a `with`; asking
    again opens new ones. Pickled and printed, it holds the place of the key, never the key.

    Attributes:
        base_url: up to and without `/chat/completions`, mostly ending in `/v1`.
        model: the server's name for the model.
        name: what the pyramid calls it; by default the model's.
        api_key_env: the environment variable that holds the key.
        api_key_file: or the file that does.
        key_header: the header that carries the key: `Authorization` as a bearer token, any other bare.
        provider: whose price list holds for it, where the address does not tell.
        price: of its tokens; "listed": what the price list of its provider says (extra `prices`); None: unknown.
        timeouts: seconds for each phase of a call.
        retries: when a failed call is tried again.
        max_concurrency: calls under way at once; others wait for their turn.
        max_bytes: the largest answer that is read.
        temperature: None: the server's default.
        max_tokens: of an answer; None: the server's default.
        top_logprobs: ask for log-probabilities with so many alternatives for each token, 1 or more (there are servers
            that give none at 0); None: do not ask. A stream with tools is never asked for them: there are servers that
            refuse it.
        system: a system message for conversations that have none.
        stream_usage: ask for usage in streams; servers exist that do not take that.
        extra: further keys of the request body (seed, stop, response_format, max_completion_tokens, ...).
        headers: further headers, none of them a key.

    Raises:
        InputError: a setting cannot be used; says which and why.
        MissingExtra: aiohttp is not installed.
    """

    base_url: str
    model: str
    _: KW_ONLY
    name: str = ""
    api_key_env: str | None = None
    api_key_file: str | None = None
    key_header: str = "Authorization"
    provider: str | None = None
    price: Price | Literal["listed"] | None = "listed"
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    max_concurrency: int = 128
    max_bytes: int = MAX_BYTES
    temperature: float | None = None
    max_tokens: int | None = None
    top_logprobs: int | None = None
    system: str | None = None
    stream_usage: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not self.model or type(self.model) is not str:
            raise InputError(f"model must be the server's name for a model, not {self.model!r}")
        object.__setattr__(self, "base_url", self.base_url.rstrip("/").removesuffix("/chat/completions"))
        object.__setattr__(self, "name", self.name or self.model)
        self._check()
        self._begin()

    def _check(self) -> None:
        KeySource(env=self.api_key_env, file=self.api_key_file)
        secret = [
            name for name in self.headers if name.lower() in (*_SECRET_HEADERS, self.key_header.lower())
        ]
        if secret:
            raise InputError(
                f"headers has {secret[0]!r}: keys come from api_key_env or api_key_file, with key_header as the header"
            )
        check_number("max_concurrency", self.max_concurrency, low=1, whole=True)
        check_number("max_bytes", self.max_bytes, low=1, whole=True, unit="bytes")
        if self.temperature is not None:
            check_number("temperature", self.temperature, low=0.0)
        if self.max_tokens is not None:
            check_number("max_tokens", self.max_tokens, low=1, whole=True)
        if self.top_logprobs is not None:
            check_number("top_logprobs", self.top_logprobs, low=1, high=20, whole=True)
        if self.price is not None and self.price != "listed" and not isinstance(self.price, Price):
            raise InputError(f"price must be a Price, 'listed' or None, not {self.price!r}")
        taken = [name for name in ("model", "messages", "stream", "tools") if name in self.extra]
        if taken:
            raise InputError(f"extra has {taken[0]!r}, which the endpoint sets itself: leave it out")

    def _begin(self) -> None:
        """What is not a setting: connections and turns, which no copy shares."""
        self.__dict__["calls"] = Calls(self)
        listing = None
        if isinstance(self.price, Price):
            listing = find_price(self.model, provider=self.provider, table={self.model: self.price})
        elif self.price == "listed":
            listing = find_price(self.model, base_url=self.base_url, provider=self.provider)
        self.__dict__["listing"] = listing

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("calls", "listing")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    @property
    def _calls(self) -> Calls:
        calls: Calls = self.__dict__["calls"]
        return calls

    @property
    def listing(self) -> Listing | None:
        """Where its price comes from; None: it is not known."""
        listing: Listing | None = self.__dict__["listing"]
        return listing

    def ask(self, query: Query) -> Answer:
        """Answer, on the calling thread; given up when the pyramid abandons the call.

        Raises:
            EndpointError: there is no answer; says why, after how many tries.
            InputError: the key is not where it should be.
        """
        return BACKGROUND.run(lambda: self.aask(query))

    async def aask(self, query: Query) -> Answer:
        """As `ask`, on the event loop; cancelling it closes the connection."""
        return await self._calls.ask(query)

    def stream(self, query: Query) -> Iterator[Token | Answer]:
        """As `ask`, token by token, then the answer whose text they are.

        Raises:
            EndpointError: as `ask`; after the first token nothing is tried again.
        """
        return BACKGROUND.iterate(lambda: self.astream(query))

    def astream(self, query: Query) -> AsyncGenerator[Token | Answer, None]:
        """As `stream`, on the event loop."""
        return self._calls.stream(query)

    def close(self) -> None:
        """Close the connections on every event loop that still runs."""
        BACKGROUND.run(self.aclose)

    async def aclose(self) -> None:
        """As `close`, on the event loop."""
        await self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _check_address(base_url: object) -> None:
    """Raise unless it is an address and nothing more; what else is in it may be a key, and is not shown."""
    try:
        parts = urlsplit(base_url if isinstance(base_url, str) else "")
        port = parts.port
    except ValueError:
        raise InputError("base_url is no address: give one such as https://api.example.com/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InputError("base_url must be an address such as https://api.example.com/v1, with http or https")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"base_url for {parts.hostname} has more than an address in it (user, password or query): keys belong in "
            "api_key_env or api_key_file, further settings in headers or extra"
        )
