"""Read weights in the safetensors format: a JSON header, then plain numbers. Nothing in a file is ever executed.

    8 bytes        n, the header's length, little-endian
    n bytes        {"tensor": {"dtype": "F16", "shape": [..], "data_offsets": [begin, end]}, "__metadata__": {..}}
    the rest       the numbers, little-endian, in C order

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyramid_core.errors import InputError

_DTYPES: dict[str, np.dtype[np.floating[Any]]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The content of a file: tensors by name, as read-only float32 whatever the file holds, and its metadata."""

    tensors: Mapping[str, NDArray[np.float32]]
    metadata: Mapping[str, str]


def read(content: bytes, *, source: str) -> Weights:
    """Parse a safetensors file.

    Args:
        content: The whole file.
        source: Its name, for error messages.

    Raises:
        InputError: The file is cut off, is no safetensors file, or holds something other than F16 and F32.
    """
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        metadata = header.pop("__metadata__", {})
        tensors = {name: _tensor(content[start:], **entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{source} is not a readable safetensors file ({error}): install the package anew"
        ) from error
    return Weights(tensors=tensors, metadata=metadata)


def _tensor(body: bytes, *, dtype: str, shape: list[int], data_offsets: list[int]) -> NDArray[np.float32]:
    begin, end = data_offsets
    numbers = np.frombuffer(body[begin:end], _DTYPES[dtype])
    tensor = numbers.reshape(shape).astype(np.float32)
    tensor.flags.writeable = False
    return tensor
