"""Scores of a BERT cross-encoder for all pairs of some queries and some passages, several times as fast as the library's.

Texts are tokenised once. Pairs of equal length are batched without padding. Computation is in bf16 if the processor supports it,
except for the head, because a bf16 logit has two digits. The last layer computes only the tokens that the head reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pgretrieval.numerics.hardware import multiplies_bf16
from pgretrieval.rerank.markers import MARKERS, MarkerScore, load_model

_BATCH_TOKENS = {"cpu": 1_536, "cuda": 65_536}
"""On a CPU the data of a batch stay in its cache."""


class AllPairs:
    """The cross-encoder of a folder, with either head; `single` computes in single precision everywhere."""

    def __init__(self, folder: Path, *, single: bool = False) -> None:
        model = load_model(folder, None)
        self._device = model.device
        self._tokenizer = model.tokenizer
        self._room = int(model[0].max_seq_length) - 3  # in addition to [CLS] and two [SEP]
        inner = model[0].model.eval()
        self._marker = next((part for part in model if isinstance(part, MarkerScore)), None)
        self._head = None if self._marker else (inner.bert.pooler, inner.classifier)
        self._ids = self._tokenizer.convert_tokens_to_ids(list(MARKERS)) if self._marker else []
        bert = inner if self._marker else inner.bert
        halved = not single and (self._device.type != "cpu" or multiplies_bf16())
        dtype = torch.bfloat16 if halved else torch.float32
        self._embeddings = bert.embeddings.to(dtype)
        self._layers = [_Layer(layer.to(dtype), bert.config.num_attention_heads) for layer in bert.encoder.layer]

    def scores(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        """(queries, passages) logits."""
        first_ids, first_lengths = _padded(self._tokens(queries, MARKERS[:2]))
        second_ids, second_lengths = _padded(self._tokens(passages, MARKERS[2:]))
        rest = np.maximum(
            self._room - first_lengths[:, None], -(-self._room // 2)
        )  # the longer text of an overlong pair is truncated
        second_kept = np.minimum(second_lengths, rest)  # (queries, passages)
        first_kept = np.minimum(first_lengths[:, None], self._room - second_kept)
        totals, first_kept = (first_kept + second_kept).ravel(), first_kept.ravel()
        order = np.argsort(totals, kind="stable")
        found = np.empty(totals.size, dtype=np.float32)
        with torch.inference_mode():
            for places in _batches(order, totals, _BATCH_TOKENS[self._device.type]):
                row, column = np.divmod(places, len(passages))
                ids, types = self._pairs(first_ids[row], first_kept[places], second_ids[column], int(totals[places[0]]))
                found[places] = self._read(ids, types).float().cpu().numpy()
        return found.reshape(len(queries), len(passages))

    def _tokens(self, texts: Sequence[str], markers: Sequence[str]) -> list[list[int]]:
        marked = [f"{markers[0]} {text} {markers[1]}" for text in texts] if self._marker else list(texts)
        ids: list[list[int]] = self._tokenizer(marked, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _pairs(
        self, first: NDArray[np.int64], length: NDArray[np.int64], second: NDArray[np.int64], total: int
    ) -> tuple[Tensor, Tensor]:
        """Token and type ids (pairs, total + 3) of [CLS] query [SEP] passage [SEP]."""
        place, length = np.arange(total + 3)[None], length[:, None]
        ids = np.where(
            place <= length,
            np.take_along_axis(first, np.clip(place - 1, 0, first.shape[1] - 1), axis=1),
            np.take_along_axis(second, np.clip(place - length - 2, 0, second.shape[1] - 1), axis=1),
        )
        ids[:, 0] = self._tokenizer.cls_token_id
        ids[(place == length + 1) | (place == total + 2)] = self._tokenizer.sep_token_id
        types = (place > length + 1).astype(np.int64)
        return torch.from_numpy(ids).to(self._device), torch.from_numpy(types).to(self._device)

    def _read(self, ids: Tensor, types: Tensor) -> Tensor:
        hidden = self._embeddings(input_ids=ids, token_type_ids=types)
        for layer in self._layers[:-1]:
            hidden = layer(hidden, hidden)
        if self._head is not None:
            pooler, classifier = self._head
            return classifier(pooler(self._layers[-1](hidden, hidden[:, :1]).float()))[:, 0]
        places = self._marker_places(ids)
        vectors = self._layers[-1](hidden, hidden.gather(1, places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))).float()
        return self._marker.scale * (vectors[:, :2].mean(dim=1) * vectors[:, 2:].mean(dim=1)).sum(dim=-1)

    def _marker_places(self, ids: Tensor) -> Tensor:
        """(pairs, 4) positions; that of the previous marker if one was truncated."""
        found = [(ids == marker).int() for marker in self._ids]
        places = torch.stack([one.argmax(dim=1) for one in found], dim=1)
        for last in (1, 3):
            places[:, last] = torch.where(found[last].any(dim=1), places[:, last], places[:, last - 1])
        return places


class _Layer:
    """One layer of BERT that computes only some of its tokens."""

    def __init__(self, layer: Any, heads: int) -> None:
        own, self._heads = layer.attention.self, heads
        self._query = own.query
        self._weight = torch.cat([own.key.weight, own.value.weight])
        self._bias = torch.cat([own.key.bias, own.value.bias])
        self._attended, self._inner, self._outer = layer.attention.output, layer.intermediate, layer.output

    def __call__(self, hidden: Tensor, some: Tensor) -> Tensor:
        """(pairs, tokens, dim), and the positions to compute -> their vectors after the layer."""
        keys, values = functional.linear(hidden, self._weight, self._bias).chunk(2, dim=-1)
        queries, keys, values = map(self._split, (self._query(some), keys, values))
        context = functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
        some = self._attended(context.reshape(some.shape), some)
        return self._outer(self._widened(some), some)

    def _split(self, vectors: Tensor) -> Tensor:
        return vectors.unflatten(-1, (self._heads, -1)).transpose(1, 2)

    def _widened(self, some: Tensor) -> Tensor:
        """The inner layer. On a CPU its GELU is fused with the product, as a compiler would; alone it takes as long."""
        if some.device.type != "cpu" or some.dtype != torch.bfloat16:
            return self._inner(some)
        wide = self._inner.dense
        return torch.ops.mkldnn._linear_pointwise(some, wide.weight, wide.bias, "gelu", [], "none")


def _padded(texts: Sequence[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths = np.array([len(text) for text in texts])
    ids = np.zeros((len(texts), lengths.max()), dtype=np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.concatenate([np.asarray(text, dtype=np.int64) for text in texts])
    return ids, lengths


def _batches(order: NDArray[np.int64], totals: NDArray[np.int64], tokens: int) -> Iterator[NDArray[np.int64]]:
    """Places of pairs of equal length, in batches of about `tokens` tokens."""
    edges = np.flatnonzero(np.diff(totals[order], prepend=-1))
    for group in np.split(order, edges[1:]):
        size = max(tokens // (int(totals[group[0]]) + 3), 1)
        for start in range(0, len(group), size):
            yield group[start : start + size]
