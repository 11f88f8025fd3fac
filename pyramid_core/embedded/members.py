"""The embedded models as members of a pyramid: a crowd of three and an oracle, in process, with known prices.

Their prices are notional: parameters times a constant, for every token read or written, so that costs are in proportion
to the computation. The constant makes the oracle cost about what a small hosted model does; nobody charges it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyramid_core.embedded import tokenizer, weights
from pyramid_core.embedded.generation import Generation, Sampling
from pyramid_core.embedded.model import Transformer
from pyramid_core.errors import InputError
from pyramid_core.prices import Price
from pyramid_core.types import Answer, Query, Token, Usage

CROWD = ("tiny-times", "tiny-short", "tiny-add")
"""The members, named after what they saw most of: additions, short problems, multiplications."""

ORACLE = "oracle"
MODELS = (*CROWD, ORACLE)

USD_PER_PARAMETER_TOKEN = 1e-12
"""The notional price of one parameter for one token, in USD: a dollar for a million tokens of a million parameters."""


@cache
def load(model: str) -> Transformer:
    """A model of `MODELS`, read from the package once and shared; it cannot be changed.

    Raises:
        InputError: There is no such model, or its weights do not belong to this version's vocabulary.
    """
    if model not in MODELS:
        raise InputError(f"there is no embedded model {model!r}: choose one of {', '.join(MODELS)}")
    file = resources.files(__package__) / "weights" / f"{model}.safetensors"
    content = weights.read(file.read_bytes(), source=file.name)
    if content.metadata.get("vocabulary") != tokenizer.FINGERPRINT:
        raise InputError(f"{file.name} was trained with another vocabulary: install the package anew")
    return Transformer(content)


@dataclass(frozen=True, kw_only=True)
class EmbeddedModel:
    """A member that runs an embedded model. It reads the query's text alone, and offers no tool calling.

    Anything but a word problem of the toy language gets a nonsense answer, and says so in its log-probabilities.

    Attributes:
        name: What the pyramid calls it.
        model: Which of `MODELS` it runs; the one called `name` by default.
        sampling: How answers are drawn; the most likely token each time by default.
        top_logprobs: How many alternatives to report for each token.

    Raises:
        InputError: There is no such model, or `top_logprobs` is negative.
    """

    name: str
    model: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    top_logprobs: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", self.model or self.name)
        if self.model not in MODELS:
            raise InputError(f"there is no embedded model {self.model!r}: choose one of {', '.join(MODELS)}")
        if self.top_logprobs < 0:
            raise InputError(f"top_logprobs must be 0 or more, not {self.top_logprobs!r}")

    @property
    def context(self) -> int:
        """The context window: the most tokens of prompt and answer together."""
        return load(self.model).context

    @property
    def price(self) -> Price:
        """The notional price of a token, in proportion to the model's parameters."""
        each = load(self.model).parameters * USD_PER_PARAMETER_TOKEN
        return Price(input=each, output=each, source="notional: parameters times tokens")

    def ask(self, query: Query) -> Answer:
        """Answer on the calling thread, in a few milliseconds.

        Raises:
            InputError: The query offers tools, or its text does not fit the context window.
        """
        generation = self._begin(query)
        for _ in generation:
            pass
        return self._answer(generation)

    async def aask(self, query: Query) -> Answer:
        """As `ask`, in a thread of its own, so that the event loop goes on meanwhile."""
        return await asyncio.to_thread(self.ask, query)

    def stream(self, query: Query) -> Iterator[Token | Answer]:
        """As `ask`, piece by piece: tokens, then the answer, whose text is their sum."""
        generation = self._begin(query)
        for text in generation:
            yield Token(text=text)
        yield self._answer(generation)

    async def astream(self, query: Query) -> AsyncIterator[Token | Answer]:
        """As `stream`, each piece computed off the event loop."""
        pieces = self.stream(query)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def _begin(self, query: Query) -> Generation:
        if query.tools:
            raise InputError(f"{self.name} is an embedded model without tool calling: ask it without tools")
        return Generation(load(self.model), query.text, self.sampling)

    def _answer(self, generation: Generation) -> Answer:
        usage = Usage(input_tokens=generation.prompt_tokens, output_tokens=len(generation.tokens))
        tokens = generation.tokens[: len(generation.texts)]
        logprobs = generation.logprobs()
        numbers = [i for i, token in enumerate(tokens) if tokenizer.is_number(token)]
        return Answer(
            text="".join(generation.texts),
            member=self.name,
            logprobs=tuple(logprobs[np.arange(len(tokens)), tokens].tolist()),
            token_texts=tuple(generation.texts),
            top_logprobs=self._alternatives(tokens, logprobs) if self.top_logprobs else None,
            answer_span=(numbers[-1], numbers[-1] + 1) if numbers else None,
            finish_reason=generation.finish_reason,
            usage=usage,
            cost=self.price.cost(usage),
        )

    def _alternatives(
        self, tokens: list[int], logprobs: NDArray[np.float64]
    ) -> tuple[tuple[tuple[str, float], ...], ...]:
        """The most likely tokens at each place, the likeliest first."""
        left, rows = logprobs.copy(), np.arange(len(tokens))
        best, values = [], []
        # A maximum at a time: for a handful ten times faster than a partition.
        for _ in range(min(self.top_logprobs, left.shape[1])):
            best.append(left.argmax(axis=1))
            values.append(left[rows, best[-1]])
            left[rows, best[-1]] = -np.inf
        places = zip(
            [tokenizer.ANSWER, *tokens],
            np.stack(best, 1).tolist(),
            np.stack(values, 1).tolist(),
            strict=False,
        )
        return tuple(
            tuple((tokenizer.shown(token, after=after), value) for token, value in zip(some, of, strict=True))
            for after, some, of in places
        )


SAMPLING = ("temperature", "top_k", "seed", "max_tokens")
"""What a framework's settings of an embedded model are called, beside where it stops."""


def embedded_model(settings: Any, call: Mapping[str, Any], *, stop: Sequence[str] | None) -> EmbeddedModel:
    """The model that a framework's settings describe, with the sampling of one call.

    Args:
        settings: has `model`, `top_logprobs` and the names of `SAMPLING` as attributes.
        call: what the call says of these; None says nothing.
        stop: where the answer ends.

    Raises:
        InputError: there is no such model, or a value is out of range.
    """
    given = {name: getattr(settings, name) if call.get(name) is None else call[name] for name in SAMPLING}
    sampling = Sampling(**given, stop=tuple(stop or ()))
    return EmbeddedModel(name=settings.model, sampling=sampling, top_logprobs=settings.top_logprobs)


def embedded_crowd() -> tuple[EmbeddedModel, ...]:
    """The crowd of three, the best first (ties in a vote go to the first)."""
    return tuple(EmbeddedModel(name=name) for name in CROWD)


def embedded_oracle() -> EmbeddedModel:
    """The oracle: ten times their size, and right nearly always."""
    return EmbeddedModel(name=ORACLE)
