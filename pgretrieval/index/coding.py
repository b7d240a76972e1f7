"""Token vectors -> codes and postings, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pgretrieval.db.codebooks import CodebookRow
from pgretrieval.db.wire import offsets_of
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.quantize.residual import ResidualCodec
from pgretrieval.types import Int32Array, Int64Array


class Postings(NamedTuple):
    """Posting lists: those of centroid_ids[i] are passage_ids[offsets[i]:offsets[i + 1]], ascending."""

    centroid_ids: Int32Array
    offsets: Int64Array
    passage_ids: Int32Array


def codebook_from_row(row: CodebookRow) -> Codebook:
    """The stored numbers as a working codebook."""
    cutoffs, weights = torch.tensor(row.cutoffs), torch.tensor(row.weights)
    return Codebook(row.centroids, ResidualCodec(row.centroids.shape[1], row.bits, cutoffs, weights))


def row_from_codebook(codebook: Codebook, passages: int, tokens: int) -> CodebookRow:
    """A trained codebook as it is stored."""
    codec = codebook.codec
    return CodebookRow(codec.bits, codec.cutoffs.tolist(), codec.weights.tolist(), codebook.centroids, passages, tokens)


def centroid_passage_pairs(centroid_ids: Int32Array, offsets: Int64Array, passage_ids: Int32Array) -> Int64Array:
    """The distinct (centroid, passage) pairs of coded passages, each as one number: centroid * 2**32 + passage."""
    owners = np.repeat(passage_ids.astype(np.int64), np.diff(offsets))
    return np.unique((centroid_ids.astype(np.int64) << 32) | owners)


def postings_of(pairs: Int64Array) -> Postings:
    """Distinct pairs, in any order -> posting lists."""
    ordered = np.sort(pairs)
    centroids = (ordered >> 32).astype(np.int32)
    passages = (ordered & 0xFFFFFFFF).astype(np.int32)
    distinct, lengths = np.unique(centroids, return_counts=True)
    return Postings(distinct, offsets_of(lengths), passages)
