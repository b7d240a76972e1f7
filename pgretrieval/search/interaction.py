"""Centroid interaction, the middle stage of PLAID: approximate scores from the centroids of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from pgretrieval.db.candidates import CodedPassages
from pgretrieval.numerics.maxsim import quick_segment_max
from pgretrieval.types import Float32Array


def centroid_interaction(scores: Tensor, coded: CodedPassages) -> Float32Array:
    """MaxSim with every token replaced by its centroid, negative similarities counted as 0 (PLAID, section 4.2).

    `scores` is (query tokens, centroids) in the format of `quick`; the result is (passages,).
    """
    if scores.dtype == torch.bfloat16:
        bits = scores.view(torch.int16).numpy().take(coded.centroid_ids, axis=1)
        similarity = torch.from_numpy(bits).view(torch.bfloat16)
    else:
        similarity = torch.from_numpy(scores.numpy().take(coded.centroid_ids, axis=1))
    scores_by_passage: Float32Array = quick_segment_max(similarity, coded.offsets).sum(dim=0).numpy()
    return scores_by_passage
