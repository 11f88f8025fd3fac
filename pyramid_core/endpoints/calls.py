"""The calls of one endpoint: from a query to the answer, its tries and its turn included.

Everything is written once, as coroutines; who asks without an event loop has them run on the background one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from pyramid_core.endpoints.keys import KeySource, Secret, without
from pyramid_core.endpoints.limits import Gate, Tries
from pyramid_core.endpoints.replies import parsed, refusal
from pyramid_core.endpoints.transport import Connections, drain, pieces, posted
from pyramid_core.endpoints.wire import Collector, Events, read_answer, request_body
from pyramid_core.errors import EndpointError
from pyramid_core.types import Answer, Query, Token

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from pyramid_core.endpoints.endpoint import Endpoint

ERROR_BYTES = 64 * 2**10
"""How much of an error's body is read."""


class Calls:
    """What one endpoint has under way: its connections, and whose turn it is."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._gate = Gate(endpoint.max_concurrency)
        self._connections = Connections(endpoint.base_url)
        self._key = KeySource(env=endpoint.api_key_env, file=endpoint.api_key_file)

    async def ask(self, query: Query) -> Answer:
        """See `Endpoint.aask`."""
        data, tries = self._data(query, stream=False), self._tries()
        while True:
            try:
                async with self._posted(data, tries) as response:
                    return self._whole(await self._body(response, tries), response.content_type)
            except EndpointError as error:
                await self._again(error, tries)

    async def stream(self, query: Query) -> AsyncGenerator[Token | Answer, None]:
        """See `Endpoint.astream`."""
        data, tries, began = self._data(query, stream=True), self._tries(), False
        while True:
            try:
                async with (
                    self._posted(data, tries) as response,
                    aclosing(self._items(response, tries)) as items,
                ):
                    async for item in items:
                        began = True
                        yield item
                return
            except EndpointError as error:
                if began:
                    self._give_up(error, tries)
                await self._again(error, tries)

    def _data(self, query: Query, *, stream: bool) -> bytes:
        mine = self._endpoint
        # llama.cpp refuses log-probabilities in a stream with tools; the answer is worth more than they are.
        told = None if stream and query.tools else mine.top_logprobs
        settings = {
            "temperature": mine.temperature,
            "max_tokens": mine.max_tokens,
            "logprobs": None if told is None else True,
            "top_logprobs": told,
            **mine.extra,
        }
        if stream and not mine.stream_usage:
            settings.setdefault("stream_options", {})
        body = request_body(query, mine.model, stream=stream, system=mine.system, **settings)
        if not body.get("stream_options", True):
            del body["stream_options"]
        return json.dumps(body, ensure_ascii=False).encode(errors="replace")

    def _tries(self) -> Tries:
        return Tries(self._endpoint.retries, self._endpoint.timeouts)

    @asynccontextmanager
    async def _posted(self, data: bytes, tries: Tries) -> AsyncIterator[ClientResponse]:
        """The response to a request in its turn, if its status is a good one."""
        mine, key = self._endpoint, self._key.read()
        headers = {"Content-Type": "application/json", **mine.headers}
        if key is not None:
            bearer = mine.key_header.lower() == "authorization"
            headers[mine.key_header] = Secret(f"Bearer {key}") if bearer else key
        if not self._gate.open():
            async with tries.phase("waiting for its turn (max_concurrency)", None):
                await self._gate.enter()
        try:
            async with posted(
                await self._connections.session(),
                f"{mine.base_url}/chat/completions",
                proxy=self._connections.proxy,
                headers=headers,
                data=data,
                timeouts=mine.timeouts,
                tries=tries,
            ) as response:
                if response.status >= 300:
                    raise refusal(response.status, response.headers, await self._beginning(response, tries))
                yield response
        except EndpointError as error:
            # Whatever a server quotes: the one key that is known here is taken out of it, whatever it looks like.
            error.args, error.code = (without(str(error), key),), without(error.code, key)
            raise
        finally:
            self._gate.leave()

    async def _body(self, response: ClientResponse, tries: Tries) -> bytes:
        mine = self._endpoint
        return b"".join(
            [
                piece
                async for piece in pieces(response, timeouts=mine.timeouts, tries=tries, most=mine.max_bytes)
            ]
        )

    async def _beginning(self, response: ClientResponse, tries: Tries) -> bytes:
        """An error's body, as far as it comes."""
        found = b""
        try:
            async for piece in pieces(
                response, timeouts=self._endpoint.timeouts, tries=tries, most=ERROR_BYTES
            ):
                found += piece
        except EndpointError:
            return found
        return found

    def _whole(self, body: bytes, content_type: str) -> Answer:
        return self._priced(read_answer(parsed(body, content_type)))

    def _priced(self, answer: Answer) -> Answer:
        mine = self._endpoint
        listing = mine.listing
        price = None if listing is None else listing.price
        if listing is None or price is None:
            return replace(answer, member=mine.name)
        return replace(answer, member=mine.name, cost=price.cost(answer.usage), priced=listing.told)

    async def _items(self, response: ClientResponse, tries: Tries) -> AsyncGenerator[Token | Answer, None]:
        mine = self._endpoint
        body = pieces(response, timeouts=mine.timeouts, tries=tries, most=mine.max_bytes)
        if response.content_type != "text/event-stream":
            # A server that does not stream answers in one piece; anything else is refused as it would be in `ask`.
            answer = self._whole(b"".join([piece async for piece in body]), response.content_type)
            if answer.text:
                yield Token(text=answer.text)
            yield answer
            return
        events, collector = Events(), Collector()
        async for piece in body:
            for data in events.feed(piece):
                token = collector.feed(data)
                if token is not None:
                    yield token
            if collector.done:
                await drain(response)
                break
        for data in events.close():
            token = collector.feed(data)
            if token is not None:
                yield token
        yield self._priced(collector.answer())

    async def _again(self, error: EndpointError, tries: Tries) -> None:
        """Wait for the next try, or give up."""
        try:
            await tries.pause(error)
        except EndpointError:
            self._give_up(error, tries)

    def _give_up(self, error: EndpointError, tries: Tries) -> NoReturn:
        tried = f" ({tries.made} tries)" if tries.made > 1 else ""
        error.args = (f"{error}{tried}",)
        raise error

    async def close(self) -> None:
        """Close the connections on every loop that still runs."""
        await self._connections.close()
