"""Codebook: centroids and residual codec, which convert token vectors to bytes and back."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pgretrieval.numerics.assignment import CentroidIndex, nearest
from pgretrieval.numerics.decoder import Decoder
from pgretrieval.numerics.kernels import CodeScorer
from pgretrieval.numerics.kmeans import train_centroids
from pgretrieval.numerics.packing import pack_residuals
from pgretrieval.numerics.residual import ResidualCodec, fit_codec
from pgretrieval.types import ByteArray, Float32Array, Int32Array, Levels, Tick

_EXACT_PRODUCTS = 2**28  # tokens times centroids; up to this number a full comparison takes less than a second
_DECODED_AT_ONCE = 16_384  # tokens
_HELD_OUT_SHARE = 0.05
_HELD_OUT_AT_MOST = 50_000
_VALUES_TO_MEASURE = 2**14
_TINY = 1e-30


class Codebook:
    """Centroids (count, dim), representable in half precision, with their codec; of unit length if `unit`."""

    def __init__(
        self, centroids: Float32Array, codec: ResidualCodec, device: torch.device | None = None, *, unit: bool = True
    ) -> None:
        self.centroids = centroids
        self.codec = codec
        self.device = device or torch.device("cpu")
        self.unit = unit
        self._decoder = Decoder(centroids, codec.weights.numpy(), codec.bits)

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.codec.dim

    def encode(self, vectors: Float32Array) -> tuple[Int32Array, ByteArray]:
        """(tokens, dim) vectors -> (tokens,) centroid ids and (tokens, codec.width) packed residuals.

        Few tokens get their nearest centroid, as by `pgretrieval.add_passage`; many may get one that is near (`CentroidIndex`).
        """
        rows = torch.from_numpy(vectors).to(self.device)
        few = len(rows) * len(self.centroids) <= _EXACT_PRODUCTS
        ids = nearest(rows, self._centroids, unit=self.unit) if few else self._index.assign(rows)
        if self.device.type == "cpu":
            numbers, cutoffs = ids.numpy().astype(np.int32), self.codec.cutoffs.numpy()
            return numbers, pack_residuals(vectors, self.centroids, numbers, cutoffs, self.codec.bits)
        packed = self.codec.encode(rows - self._centroids[ids])
        return ids.cpu().numpy().astype(np.int32), packed.cpu().numpy()

    def decode(self, centroid_ids: Int32Array, packed: ByteArray) -> Float32Array:
        """Return vectors (tokens, dim) up to quantisation, not normalised."""
        return self._decoder.decode(centroid_ids, packed)

    def quantization_error(self, vectors: Float32Array, centroid_ids: Int32Array, packed: ByteArray) -> float:
        """Return the mean of 1 - cosine of vectors (tokens, dim) and their decoded codes."""
        total = 0.0
        for start in range(0, len(vectors), _DECODED_AT_ONCE):
            part = slice(start, start + _DECODED_AT_ONCE)
            decoded = self.decode(centroid_ids[part], packed[part])
            lengths = np.vecdot(decoded, decoded)
            if not self.unit:
                lengths = np.maximum(lengths * np.vecdot(vectors[part], vectors[part]), _TINY)
            cosines = np.vecdot(vectors[part], decoded) / np.sqrt(lengths)
            total += float((1 - cosines).sum(dtype=np.float64))
        return total / max(len(vectors), 1)

    def decode_on_device(self, centroid_ids: Int32Array, packed: ByteArray) -> Tensor:
        """`decode` in torch on the codebook's device."""
        keys = torch.tensor(packed, device=self.device).long()
        decoded = self._device_table[keys].flatten(1)[:, : self.dim]
        return decoded + self._centroids[torch.tensor(centroid_ids, device=self.device).long()]

    @cached_property
    def mean_length(self) -> float:
        """Mean length of the centroids; 1 if they are of unit length."""
        return 1.0 if self.unit else float(np.linalg.norm(self.centroids, axis=1).mean())

    @cached_property
    def scorer(self) -> CodeScorer:
        """MaxSim over codes on the processor."""
        return CodeScorer(self.centroids, self.codec.table().numpy(), unit=self.unit)

    @cached_property
    def _device_table(self) -> Tensor:
        return self.codec.table().to(self.device)

    @cached_property
    def _index(self) -> CentroidIndex:
        return CentroidIndex(self._centroids, unit=self.unit)

    @cached_property
    def _centroids(self) -> Tensor:
        return torch.from_numpy(self.centroids).to(self.device)


def train_codebook(
    sample: Float32Array,
    centroids: int,
    bits: int,
    levels: Levels,
    seed: int = 0,
    tick: Tick | None = None,
    device: torch.device | None = None,
    *,
    unit: bool = True,
) -> Codebook:
    """(tokens, dim) vectors, of length one if `unit`, of passages in random order -> a codebook of at most `centroids` centroids.

    The first twentieth of the sample, 50,000 vectors at most, is held out of the k-means; the codec is fitted on its residuals
    (ColBERTv2, section 3.3). A sample too small to spare any serves both.
    """
    rows = torch.from_numpy(sample).to(device or torch.device("cpu"))
    training = rows[_spared(len(rows)) :]
    trained = _as_stored(train_centroids(training, centroids, seed, tick, unit=unit))
    measured = rows[: held_out(*sample.shape)]
    residuals = (measured - trained[CentroidIndex(trained, unit=unit).assign(measured)]).cpu()
    return Codebook(trained.cpu().numpy(), fit_codec(residuals, bits, levels), device, unit=unit)


def held_out(tokens: int, dim: int) -> int:
    """Return the number of vectors at the start of a sample that measure the codec: those unseen by k-means, else all."""
    spared = _spared(tokens)
    return spared if spared * dim >= _VALUES_TO_MEASURE else tokens


def _spared(tokens: int) -> int:
    return min(int(tokens * _HELD_OUT_SHARE), _HELD_OUT_AT_MOST)


def _as_stored(centroids: Tensor) -> Tensor:
    """Round to half precision as stored, so that coding and decoding use the same values."""
    return centroids.half().float().contiguous()
