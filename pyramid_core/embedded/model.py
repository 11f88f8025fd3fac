"""A decoder-only transformer in numpy: tokens to logits, with a cache of keys and values.

    x_0  = embedding[token] + position[t]
    x'   = x + Attention(RMSNorm(x))            causal, several heads
    x''  = x' + down relu(up RMSNorm(x'))       the up-projection is four times as wide
    logits = embedding RMSNorm(x_last)          the embedding is tied

with RMSNorm(x) = g x / sqrt(mean(x^2) + 1e-5) and no biases. At load time everything constant is folded into the
weights: the gains g, and the 1 / sqrt(head width) of the queries. `Transformer.read` takes a whole prompt at once and
`Transformer.step` one more token; both give the same logits to rounding. One token costs some forty numpy calls on
tiny arrays, so `step` is written for few calls rather than few operations: the values' cache carries a column of ones,
which makes the softmax's denominator fall out of the same product as its numerator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyramid_core.embedded.weights import Weights

Array = NDArray[np.float32]

_EPSILON = 1e-5

_ROWS = 4
"""Prompts are multiplied in groups of so many tokens: OpenBLAS starts threads for larger products of this width, which
cost three times the CPU and gain nothing, and its kernel for small matrices is faster besides."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Folded weights of one layer, each `[inputs, outputs]` and contiguous."""

    qkv: Array
    out: Array
    up: Array
    down: Array


class Memory:
    """What a running sequence has seen: keys `[heads, width, time]` and values `[heads, time, width + 1]` a layer.

    Attributes:
        length: How many tokens have been read.
        capacity: How many tokens fit.
    """

    def __init__(self, layers: int, heads: int, width: int, capacity: int) -> None:
        capacity += -capacity % _ROWS
        self.length = 0
        self.capacity = capacity
        self.keys = [np.empty((heads, width, capacity), np.float32) for _ in range(layers)]
        self.values = [np.ones((heads, capacity, width + 1), np.float32) for _ in range(layers)]


class Transformer:
    """An immutable model; any number of threads may run it at once, each with a memory of its own.

    Attributes:
        parameters: How many numbers were trained.
        context: The most tokens that a sequence may have.
        vocabulary: How many tokens there are.
    """

    def __init__(self, weights: Weights) -> None:
        tensors = weights.tensors
        self.parameters = sum(tensor.size for tensor in tensors.values())
        self.vocabulary, self._width = tensors["embedding"].shape
        self.context = len(tensors["position"])
        self._heads = int(weights.metadata["heads"])
        self._embedding = tensors["embedding"]
        self._position = tensors["position"]
        self._past = np.tri(self.context, dtype=bool)
        self._unembedding = _frozen((tensors["embedding"] * tensors["norm.weight"]).T)
        count = sum(name.endswith("qkv.weight") for name in tensors)
        self._layers = tuple(self._layer(weights, f"blocks.{i}.") for i in range(count))

    def _layer(self, weights: Weights, prefix: str) -> _Layer:
        tensors = weights.tensors
        scale = np.ones((3 * self._width, 1), np.float32)
        scale[: self._width] = (self._width // self._heads) ** -0.5
        return _Layer(
            qkv=_frozen((tensors[prefix + "qkv.weight"] * tensors[prefix + "norm_a.weight"] * scale).T),
            out=_frozen(tensors[prefix + "out.weight"].T),
            up=_frozen((tensors[prefix + "up.weight"] * tensors[prefix + "norm_b.weight"]).T),
            down=_frozen(tensors[prefix + "down.weight"].T),
        )

    def memory(self, capacity: int) -> Memory:
        """An empty memory for a sequence of at most `capacity` tokens."""
        return Memory(len(self._layers), self._heads, self._width // self._heads, min(capacity, self.context))

    def read(self, memory: Memory, tokens: list[int]) -> Array:
        """Read a whole prompt into an empty memory.

        Args:
            memory: Empty, with room for the prompt.
            tokens: At least one, at most the memory's capacity.

        Returns:
            Logits after each token, `[tokens, vocabulary]`.
        """
        n, heads = len(tokens), self._heads
        padded = [*tokens, *[0] * (-n % _ROWS)]  # what comes later cannot change what comes before
        m = len(padded)
        x = (self._embedding[padded] + self._position[:m]).reshape(-1, _ROWS, self._width)
        past = self._past[:m, :m]
        for layer, keys, values in zip(self._layers, memory.keys, memory.values, strict=True):
            q, k, v = (_normal(x) @ layer.qkv).reshape(m, 3, heads, -1).transpose(1, 2, 0, 3)
            keys[:, :, :m] = k.transpose(0, 2, 1)
            values[:, :m, :-1] = v
            scores = np.where(past, q @ keys[:, :, :m], -np.inf)
            mixed = np.exp(scores - scores.max(-1, keepdims=True)) @ values[:, :m]
            seen = mixed[..., :-1] / mixed[..., -1:]
            x = x + seen.transpose(1, 0, 2).reshape(x.shape) @ layer.out
            x = x + np.maximum(_normal(x) @ layer.up, 0) @ layer.down
        memory.length = n
        logits: Array = (_normal(x) @ self._unembedding).reshape(m, -1)[:n]
        return logits

    def step(self, memory: Memory, token: int, logits: Array) -> None:
        """Read one more token and write the logits after it into `logits`, `[vocabulary]`."""
        t, width, heads = memory.length, self._width, self._heads
        memory.length = now = t + 1
        x = self._embedding[token] + self._position[t]
        for layer, keys, values in zip(self._layers, memory.keys, memory.values, strict=True):
            qkv = (x * _scale(x)).dot(layer.qkv).reshape(3, heads, -1)
            keys[:, :, t] = qkv[1]
            values[:, t, :-1] = qkv[2]
            scores = qkv[0][:, None] @ keys[:, :, :now]
            scores -= np.maximum.reduce(scores, axis=2, keepdims=True)
            mixed = np.exp(scores, out=scores) @ values[:, :now]
            x += (mixed[..., :-1] / mixed[..., -1:]).reshape(width).dot(layer.out)
            hidden = (x * _scale(x)).dot(layer.up)
            x += np.maximum(hidden, 0, out=hidden).dot(layer.down)
        (x * _scale(x)).dot(self._unembedding, out=logits)


def _normal(x: Array) -> Array:
    """RMSNorm of each token, without its gain."""
    mean = np.einsum("...d,...d->...", x, x)[..., None] / x.shape[-1]
    normal: Array = x / np.sqrt(mean + np.float32(_EPSILON))
    return normal


def _scale(x: Array) -> float:
    """What RMSNorm multiplies a vector with, as a Python float: half the price of a numpy scalar."""
    return 1.0 / math.sqrt(float(x.dot(x)) / x.size + _EPSILON)


def _frozen(array: Array) -> Array:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
