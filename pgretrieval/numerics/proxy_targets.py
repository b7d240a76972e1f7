"""Targets of proxies: the best similarity of each passage to single token vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from pgretrieval.numerics.hardware import quick
from pgretrieval.numerics.maxsim import blocks, quick_segment_max
from pgretrieval.types import TokenMatrix

_HELD = 2**25  # similarities in memory at once: 64 MiB in bf16


def best_similarities(anchors: Tensor, tokens: TokenMatrix) -> Tensor:
    """(anchors, dim) and passages -> (anchors, passages) float32: max(0, best inner product with a token of the passage)."""
    rows = quick(anchors)
    parts = []
    for first, last in blocks(tokens.offsets, max(1, _HELD // len(anchors))):
        offsets = tokens.offsets[first : last + 1]
        vectors = torch.from_numpy(tokens.vectors[offsets[0] : offsets[-1]]).to(anchors.device)
        parts.append(quick_segment_max(rows @ quick(vectors).T, offsets - offsets[0]))
    return torch.cat(parts, dim=1) if parts else torch.empty(len(anchors), 0, device=anchors.device)
