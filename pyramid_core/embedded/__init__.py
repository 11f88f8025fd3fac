"""Real but tiny language models that ship with the package: three small ones and an oracle, for arithmetic word problems.

They need no key, no download and no network. They speak a toy language with honest statistics: what is measured on them
is not a result on real LLMs. Nothing is loaded before the first question.

    problems     the toy language: generated problems in disjoint splits
    tokenizer    text to tokens and back, with bytes for what is outside the language
    weights      the safetensors format
    model        the transformer in numpy
    generation   sampling, stop texts, log-probabilities
    members      the models as members of a pyramid
"""

from pyramid_core.embedded.generation import Sampling
from pyramid_core.embedded.members import (
    SAMPLING,
    EmbeddedModel,
    embedded_crowd,
    embedded_model,
    embedded_oracle,
)
from pyramid_core.endpoints.logprobs import openai_logprobs

__all__ = [
    "SAMPLING",
    "EmbeddedModel",
    "Sampling",
    "embedded_crowd",
    "embedded_model",
    "embedded_oracle",
    "openai_logprobs",
]
