"""BERT for encoding, without the model libraries: token ids to hidden states.

For one query of a small model, those libraries spend more time in Python than the processor on arithmetic, and importing them takes
seconds. A processor that can runs compiled layers, one text at a time; others, and accelerators, run torch's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from pgretrieval.numerics.hardware import multiplies_bf16
from pgretrieval.numerics.parallel import in_parallel
from pgretrieval.numerics.transformer import TextLayers, compiles

_ROWS = 16
"""Number of rows for which weights are packed; the packing is as fast for any other number."""
_PRECISE_TOKENS = 12
"""Tokens up to which reading the weights takes longer than their products, so that bfloat16 would gain little."""


class Bert:
    """Transformer with the weights of a BERT checkpoint, for inference; embeddings keep the stored precision.

    Its layers are compiled if `compile_layers` and the processor allow it. Otherwise torch computes them in `dtype`.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        heads: int,
        epsilon: float,
        device: str,
        dtype: torch.dtype,
        compile_layers: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self._words = weights["embeddings.word_embeddings.weight"].to(device)
        first_segment = weights["embeddings.token_type_embeddings.weight"][0]
        self._positions = (weights["embeddings.position_embeddings.weight"] + first_segment).to(device)
        self._norm = _Norm(_below(weights, "embeddings.LayerNorm."), epsilon, device, self._words.dtype)
        count = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
        layers = [_below(weights, f"encoder.layer.{number}.") for number in range(count)]
        self.compiled = compile_layers and self.device.type == "cpu" and compiles()
        self._layers: _CompiledLayers | _TorchLayers
        if self.compiled:
            self._layers = _CompiledLayers(layers, heads, epsilon)
        else:
            self._layers = _TorchLayers(layers, heads, epsilon, device, dtype)

    def __call__(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return float32 hidden states (tokens, width), one text after the other, of rows of token ids."""
        lengths = [len(row) for row in rows]
        ids = torch.tensor([token for row in rows for token in row], device=self.device)
        places = torch.cat([torch.arange(length, device=self.device) for length in lengths])
        with torch.inference_mode():
            embedded = self._norm(functional.embedding(ids, self._words) + functional.embedding(places, self._positions))
            return self._layers(embedded, lengths)


class _CompiledLayers:
    """Layers that run one text in one thread: bfloat16 for long texts where the processor multiplies it, else float16 weights."""

    def __init__(self, layers: Sequence[Mapping[str, Tensor]], heads: int, epsilon: float) -> None:
        self._of = cache(lambda bf16: TextLayers(layers, heads, epsilon, bf16=bf16))

    def __call__(self, embedded: Tensor, lengths: Sequence[int]) -> Tensor:
        states = embedded.float()
        kinds = [self._of(length > _PRECISE_TOKENS and multiplies_bf16()) for length in lengths]
        texts = np.split(states.numpy(), np.cumsum(lengths)[:-1])
        in_parallel(lambda pair: pair[0](pair[1]), list(zip(kinds, texts, strict=True)))
        return states


class _TorchLayers:
    """Layers that run texts together, padded to the longest."""

    def __init__(self, layers: Sequence[Mapping[str, Tensor]], heads: int, epsilon: float, device: str, dtype: torch.dtype) -> None:
        self._layers = [_Layer(layer, heads, epsilon, device, dtype) for layer in layers]
        self._dtype = dtype

    def __call__(self, embedded: Tensor, lengths: Sequence[int]) -> Tensor:
        texts, tokens = len(lengths), max(lengths)
        hidden, filled = embedded.to(self._dtype), None
        if min(lengths) < tokens:
            hidden = pad_sequence(hidden.split(list(lengths)), batch_first=True).flatten(0, 1)
            limits = torch.tensor(lengths, device=hidden.device)[:, None]
            filled = torch.arange(tokens, device=hidden.device) < limits
        for layer in self._layers:
            hidden = layer(hidden, texts, None if filled is None else filled[:, None, None, :])
        return (hidden if filled is None else hidden[filled.flatten()]).float()


class _Layer:
    """Attention and feed-forward network, each with its residual connection and normalisation."""

    def __init__(self, weights: Mapping[str, Tensor], heads: int, epsilon: float, device: str, dtype: torch.dtype) -> None:
        parts = [_below(weights, f"attention.self.{part}.") for part in ("query", "key", "value")]
        joined = {name: torch.cat([part[name] for part in parts]) for name in ("weight", "bias")}
        self._heads = heads
        self._parts = _Linear(joined, device, dtype)
        self._attended = _Linear(_below(weights, "attention.output.dense."), device, dtype)
        self._attention_norm = _Norm(_below(weights, "attention.output.LayerNorm."), epsilon, device, dtype)
        self._widened = _Linear(_below(weights, "intermediate.dense."), device, dtype)
        self._narrowed = _Linear(_below(weights, "output.dense."), device, dtype)
        self._norm = _Norm(_below(weights, "output.LayerNorm."), epsilon, device, dtype)

    def __call__(self, hidden: Tensor, texts: int, allowed: Tensor | None) -> Tensor:
        split = self._parts(hidden).view(texts, len(hidden) // texts, 3, self._heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        hidden = self._attention_norm(hidden + self._attended(mixed.transpose(1, 2).reshape(hidden.shape)))
        return self._norm(hidden + self._narrowed(self._widened(hidden, gelu=True)))


class _Linear:
    """Linear layer. On a processor its weight is packed once for oneDNN, which otherwise does so in every call."""

    def __init__(self, weights: Mapping[str, Tensor], device: str, dtype: torch.dtype) -> None:
        self._weight, self._bias = (weights[name].to(device, dtype) for name in ("weight", "bias"))
        supported = torch.backends.mkldnn.is_available() and (dtype == torch.float32 or multiplies_bf16())
        self._packed = supported and self._weight.device.type == "cpu"
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, _ROWS)

    def __call__(self, rows: Tensor, *, gelu: bool = False) -> Tensor:
        if self._packed:
            kind = "gelu" if gelu else "none"
            result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, kind, [], "none")
            return result
        result = functional.linear(rows, self._weight, self._bias)
        return functional.gelu(result) if gelu else result


class _Norm:
    """Layer normalisation."""

    def __init__(self, weights: Mapping[str, Tensor], epsilon: float, device: str, dtype: torch.dtype) -> None:
        self._weight, self._bias = (weights[name].to(device, dtype) for name in ("weight", "bias"))
        self._options: dict[str, Any] = {"normalized_shape": self._weight.shape, "eps": epsilon}

    def __call__(self, rows: Tensor) -> Tensor:
        return functional.layer_norm(rows, weight=self._weight, bias=self._bias, **self._options)


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
