"""From a prompt to text: how the next token is chosen, when to stop, and what is reported of each token.

Log-probabilities are those of the model's own distribution, in nats, before temperature and top-k have touched it: how
sure the model was, not how it was sampled.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pyramid_core.embedded import tokenizer
from pyramid_core.embedded.model import Array, Transformer
from pyramid_core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How an answer is drawn.

    Attributes:
        temperature: 0 takes the most likely token; otherwise the logits are divided by it.
        top_k: Draw among the k most likely tokens only; None among all.
        seed: Of the random numbers, anew for each answer; None gives another answer each time.
        stop: The answer ends before the first of these texts.
        max_tokens: The longest answer, in tokens.

    Raises:
        InputError: A value is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    max_tokens: int = 80

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature must be a finite number, 0 or more, not {self.temperature!r}")
        for name in ("top_k", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be 1 or more, not {value!r}")
        if isinstance(self.stop, str) or not all(self.stop):
            raise InputError(f"stop must be a sequence of texts that are not empty, not {self.stop!r}")


class Generation:
    """One answer in the making: iterate over its pieces of text, then ask for the rest.

    Attributes:
        prompt_tokens: How many tokens were read.
        tokens: What has been generated so far, without the token that ends an answer.
        texts: The text of each token that the answer keeps; their sum is the answer.
        finish_reason: "stop" (the model ended, or a stop text came) or "length"; None while it runs.

    Raises:
        InputError: The prompt leaves no room in the context for an answer.
    """

    def __init__(self, model: Transformer, prompt: str, sampling: Sampling) -> None:
        self._prompt = [*tokenizer.encode(prompt), tokenizer.ANSWER]
        self._model = model
        self._sampling = sampling
        self.prompt_tokens = len(self._prompt)
        room = model.context - self.prompt_tokens
        if room < 1:
            raise InputError(
                f"the prompt has {self.prompt_tokens} tokens, but the context window of {model.context} must hold "
                "the answer too: shorten the prompt (words outside the toy language cost a token a byte)"
            )
        self._limit = min(sampling.max_tokens, room)
        self._logits: Array = np.empty((self._limit, model.vocabulary), np.float32)
        self.tokens: list[int] = []
        self.texts: list[str] = []
        self.finish_reason: Literal["stop", "length"] | None = None

    def __iter__(self) -> Iterator[str]:
        """Generate; each piece of text comes as soon as no stop text can begin in it."""
        decoder = tokenizer.Decoder()
        stops = self._sampling.stop
        text, released = "", 0
        for token in self._generate():
            self.texts.append(decoder.feed(token))
            text += self.texts[-1]
            if stops:
                cut = min((at for at in (text.find(stop) for stop in stops) if at >= 0), default=-1)
                if cut >= 0:
                    self._cut(cut)
                    self.finish_reason = "stop"
                    if cut > released:
                        yield text[released:cut]
                    return
            safe = len(text) - _begun(text, stops)
            if safe > released:
                yield text[released:safe]
                released = safe
        rest = decoder.finish()
        if rest:
            self.texts[-1] += rest
        if text[released:] + rest:
            yield text[released:] + rest

    def _generate(self) -> Iterator[int]:
        model, rows, tokens = self._model, self._logits, self.tokens
        choose = _chooser(self._sampling)
        memory = model.memory(self.prompt_tokens + self._limit)
        rows[0] = model.read(memory, self._prompt)[-1]
        for i in range(self._limit):
            if i:
                model.step(memory, tokens[-1], rows[i])
            token = choose(rows[i])
            if token in (tokenizer.PAD, tokenizer.END, tokenizer.ANSWER):
                self.finish_reason = "stop"
                return
            tokens.append(token)
            yield token
        self.finish_reason = "length"

    def _cut(self, length: int) -> None:
        """Keep the first `length` characters, and only the tokens that carry some of them."""
        kept: list[str] = []
        for text in self.texts:
            if length <= 0:
                break
            kept.append(text[:length])
            length -= len(text)
        self.texts = kept

    def logprobs(self) -> NDArray[np.float64]:
        """Log-probabilities of the whole distribution at each kept token, `[tokens, vocabulary]`, in nats."""
        logits = self._logits[: len(self.texts)].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        return logits


def _begun(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of `text` that may be the beginning of a stop text."""
    longest = 0
    for stop in stops:
        for n in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:n]):
                longest = n
                break
    return longest


def _chooser(sampling: Sampling) -> Callable[[Array], int]:
    """How the next token is chosen from its logits."""
    if sampling.temperature == 0:
        return lambda logits: int(logits.argmax())
    rng = random.Random(sampling.seed)
    return lambda logits: _draw(logits, sampling, rng.random())


def _draw(logits: Array, sampling: Sampling, where: float) -> int:
    """The token at `where`, 0 to 1, of the distribution that temperature and top-k leave."""
    candidates = np.arange(len(logits))
    if sampling.top_k is not None and sampling.top_k < len(logits):
        candidates = np.sort(np.argpartition(logits, -sampling.top_k)[-sampling.top_k :])
    scores = logits[candidates].astype(np.float64)
    # A tiny temperature sends all but the best to minus infinity, as it should.
    with np.errstate(over="ignore"):
        reached = np.exp((scores - scores.max()) / sampling.temperature).cumsum()
    at = int(np.searchsorted(reached, where * reached[-1], side="right"))
    return int(candidates[min(at, len(candidates) - 1)])
