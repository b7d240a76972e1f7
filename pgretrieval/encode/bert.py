"""BERT on torch alone, for encoding: token ids to hidden states.

For one query of a small model, the model libraries spend more time in Python than the processor on arithmetic, and importing them
takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pgretrieval.numerics.hardware import multiplies_bf16

_ROWS = 16
"""Number of rows for which weights are packed; the packing is as fast for any other number."""


class Bert:
    """Transformer with the weights of a BERT checkpoint, for inference in `dtype`; embeddings keep the stored precision."""

    def __init__(self, weights: Mapping[str, Tensor], *, heads: int, epsilon: float, device: str, dtype: torch.dtype) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self._words = weights["embeddings.word_embeddings.weight"].to(device)
        first_segment = weights["embeddings.token_type_embeddings.weight"][0]
        self._positions = (weights["embeddings.position_embeddings.weight"] + first_segment).to(device)
        self._norm = _Norm(_below(weights, "embeddings.LayerNorm."), epsilon, device, self._words.dtype)
        count = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
        layers = [_below(weights, f"encoder.layer.{number}.") for number in range(count)]
        self._layers = [_Layer(layer, heads, epsilon, device, dtype) for layer in layers]

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (texts, tokens, width) hidden states of (texts, tokens) ids. `mask` is False where a text is padded."""
        texts, tokens = ids.shape
        allowed = None if mask is None else mask[:, None, None, :]
        with torch.inference_mode():
            embedded: Tensor = self._norm(functional.embedding(ids, self._words) + self._positions[:tokens])
            hidden = embedded.to(self.dtype).flatten(0, 1)
            for layer in self._layers:
                hidden = layer(hidden, texts, allowed)
            return hidden.view(texts, tokens, -1)


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
