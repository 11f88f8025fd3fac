"""What is asked and what comes back: queries, answers, failures, and who gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from pyramid_core.errors import redacted

NAN = float("nan")

Role = Literal["crowd", "oracle", "gather"]

FINISH_REASONS: Mapping[str, str] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
}
"""Providers' words for why an answer ended, in lower case, and what `Answer.finish_reason` calls it."""


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of a tool that a model asks for; `arguments` is text where it could not be parsed as an object."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one call or a sum of calls; None is unknown, and stays unknown in a sum.

    Attributes:
        input_tokens: read, those from and for a cache included.
        output_tokens: written.
        cached_tokens: of those read, how many came from the provider's prompt cache.
        cache_write_tokens: of those read, how many were put into it.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        def plus(a: int | None, b: int | None) -> int | None:
            return None if a is None or b is None else a + b

        return Usage(
            input_tokens=plus(self.input_tokens, other.input_tokens),
            output_tokens=plus(self.output_tokens, other.output_tokens),
            cached_tokens=plus(self.cached_tokens, other.cached_tokens),
            cache_write_tokens=plus(self.cache_write_tokens, other.cache_write_tokens),
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """An amount in USD; where `complete` is False it is a lower bound."""

    usd: float = 0.0
    complete: bool = True

    def __add__(self, other: Cost) -> Cost:
        return Cost(usd=self.usd + other.usd, complete=self.complete and other.complete)

    def __str__(self) -> str:
        return f"{'' if self.complete else '≥ '}${self.usd:.3g}"


UNKNOWN_COST = Cost(usd=0.0, complete=False)


@dataclass(frozen=True, kw_only=True)
class Priced:
    """Where a price came from.

    Attributes:
        asked: the id that was looked up.
        matched: the id that the price list has it under.
        provider: whose price it is, or "" for a table of one's own.
        source: the list or the table.
        date: when it was read, as YYYY-MM-DD, or "".
    """

    asked: str
    matched: str
    provider: str = ""
    source: str = ""
    date: str = ""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked.

    Attributes:
        text: the question in words; features read it.
        messages: the conversation as role/content objects in plain JSON, where there is one.
        tools: the tools on offer, in OpenAI's function schema.
        tool_choice: as the caller gave it.
        answer_type: number, choice, literal, code, tool_calls, fields or text; None: inferred from the answers.
        id: of the record this query came from, or "".
        context: passages that every member is given to answer from, where they were retrieved for it.
        raw: the framework's own input, passed to the members untouched.
    """

    text: str
    messages: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Any = None
    answer_type: str | None = None
    id: str = ""
    context: tuple[str, ...] = ()
    raw: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A piece of a streamed answer; `raw` is the framework's own chunk."""

    text: str
    raw: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a member said. Empty text is an answer, not an error.

    Attributes:
        member: who said it; filled in by the driver.
        text: the whole answer.
        tool_calls: the parsed calls it asks for.
        extracted: a final answer that the source had extracted, for answers whose text was not kept.
        raw: the framework's own reply, untouched.
        logprobs: log-probability of each token of `text`, in nats; None where the endpoint gives none.
        token_texts: the text of each token.
        top_logprobs: for each token the most likely alternatives, as (text, logprob) pairs.
        answer_span: [start, end) in tokens of the final answer within the text.
        mean_prob: the mean token probability, where a source gives only that.
        confidence: as stated by the model itself, 0 to 1.
        finish_reason: stop, length, tool_calls, content_filter, or None.
        usage: tokens read and written.
        cost: in USD; unknown by default.
        priced: where the price behind `cost` came from, for those that look it up.
        elapsed: seconds from asking to the end; filled in by the driver.
    """

    text: str
    member: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    extracted: str | None = None
    raw: Any = field(default=None, repr=False, compare=False)
    logprobs: tuple[float, ...] | None = None
    token_texts: tuple[str, ...] | None = None
    top_logprobs: tuple[tuple[tuple[str, float], ...], ...] | None = None
    answer_span: tuple[int, int] | None = None
    mean_prob: float | None = None
    confidence: float | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: Cost = UNKNOWN_COST
    priced: Priced | None = None
    elapsed: float = NAN


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A member that gave no answer: an observation like any other, not an exception.

    Attributes:
        member: who failed; filled in by the driver.
        kind: the exception's class name.
        message: its text, with anything that looks like a key taken out.
        exception: the exception itself, for chaining; never stored.
        elapsed: seconds from asking to the failure; filled in by the driver.
    """

    kind: str
    message: str = ""
    member: str = ""
    exception: BaseException | None = field(default=None, repr=False, compare=False)
    elapsed: float = NAN

    @staticmethod
    def of(exception: BaseException) -> Failure:
        """The failure that `exception` stands for."""
        return Failure(kind=type(exception).__name__, message=redacted(str(exception)), exception=exception)

    def __str__(self) -> str:
        return f"{self.member or 'a member'}: {self.kind}: {self.message}"


Reported = Answer | Failure


@runtime_checkable
class Member(Protocol):
    """Anything that answers. It may lack one of the two; `stream` / `astream` are optional (see `Streaming`)."""

    name: str

    def ask(self, query: Query) -> Answer:
        """Answer, on the calling thread; raises to fail."""
        ...

    async def aask(self, query: Query) -> Answer:
        """Answer, on the event loop; really cancellable."""
        ...


class Streaming(Protocol):
    """A member that can stream: tokens, then one `Answer` whose text is the sum of the tokens."""

    def stream(self, query: Query) -> Iterator[Token | Answer]:
        """As `ask`, token by token."""
        ...

    def astream(self, query: Query) -> AsyncIterator[Token | Answer]:
        """As `aask`, token by token."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One call's result as routers see it."""

    call: int
    role: Role
    who: str
    result: Reported
