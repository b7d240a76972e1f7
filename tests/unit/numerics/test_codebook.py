"""Training data of a codebook, and its decoded vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.numerics import codebook as codebooks
from pgretrieval.numerics.assignment import CentroidIndex, nearest
from pgretrieval.numerics.codebook import Codebook, held_out, train_codebook
from pgretrieval.numerics.kmeans import train_centroids
from pgretrieval.numerics.residual import ResidualCodec, fit_codec
from pgretrieval.types import Float32Array


def rows(count: int, dim: int = 64, seed: int = 0, *, unit: bool = True) -> Float32Array:
    found = np.random.default_rng(seed).standard_normal((count, dim))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / lengths if unit else found).astype(np.float32)


def test_a_twentieth_is_held_out_of_a_large_sample():
    """The codec is fitted on a twentieth of the sample, left out of k-means, at most 50,000 vectors; small samples serve both."""
    assert held_out(100_000, 128) == 5_000
    assert held_out(1_000_000, 128) == held_out(50_000_000, 128) == 50_000
    assert held_out(300, 128) == 300  # 15 vectors are too few
    assert 0 < held_out(10_000, 64) < 10_000


@pytest.mark.parametrize(("count", "spared"), [(6_000, 300), (2_000, 2_000)])
def test_the_codec_is_fitted_on_vectors_that_the_centroids_have_not_seen(count: int, spared: int):
    """The codec is fitted on vectors that k-means did not use, whose residuals are larger."""
    sample = rows(count)
    assert held_out(*sample.shape) == spared
    made = train_codebook(sample, 256, 2, "lloyd-max", seed=3)
    seen = torch.from_numpy(sample)[count // 20 :]
    centroids = train_centroids(seen, 256, 3).half().float()
    assert np.array_equal(made.centroids, centroids.numpy())
    measured = torch.from_numpy(sample)[:spared]
    expected = fit_codec(measured - centroids[nearest(measured, centroids)], 2, "lloyd-max")
    assert torch.equal(made.codec.cutoffs, expected.cutoffs)
    assert torch.equal(made.codec.weights, expected.weights)


@pytest.mark.parametrize("unit", [True, False])
def test_only_centroids_of_unit_vectors_have_length_one(unit: bool):
    """Centroids have unit length only for unit vectors."""
    made = train_codebook(rows(3_000, unit=unit), 64, 4, "lloyd-max", unit=unit)
    assert made.unit == unit
    lengths = np.linalg.norm(made.centroids, axis=1)
    assert (np.abs(lengths - 1).max() < 1e-3) == unit
    assert made.mean_length == (1 if unit else pytest.approx(lengths.mean()))


def hand_made(dim: int, bits: int = 2, *, unit: bool = True) -> Codebook:
    levels = torch.linspace(-0.3, 0.3, 2**bits)
    return Codebook(rows(40, dim, seed=5, unit=unit), ResidualCodec(dim, bits, (levels[1:] + levels[:-1]) / 2, levels), unit=unit)


@pytest.mark.parametrize("dim", [50, 64])
@pytest.mark.parametrize("unit", [True, False])
def test_the_error_is_one_less_the_mean_cosine(unit: bool, dim: int, monkeypatch: pytest.MonkeyPatch):
    """The error is the mean of 1 − cosine, over all parts of a collection, for any lengths."""
    made, vectors = hand_made(dim, unit=unit), rows(1_000, dim, seed=6, unit=unit)
    codes = made.encode(vectors)
    decoded = made.decode(*codes).astype(np.float64)
    cosines = (vectors * decoded).sum(axis=1) / np.linalg.norm(decoded, axis=1) / np.linalg.norm(vectors.astype(np.float64), axis=1)
    for at_once in (16_384, 300):
        monkeypatch.setattr(codebooks, "_DECODED_AT_ONCE", at_once)
        assert made.quantization_error(vectors, *codes) == pytest.approx(1 - cosines.mean(), rel=1e-4)
    assert made.quantization_error(vectors[:0], codes[0][:0], codes[1][:0]) == 0


def test_a_vector_without_length_has_an_error():
    """A code that decodes to zero counts as an error and is not divided by zero."""
    codec = ResidualCodec(8, 1, torch.tensor([0.0]), torch.tensor([0.0, 0.0]))
    made = Codebook(np.zeros((1, 8), dtype=np.float32), codec, unit=False)
    vectors = np.zeros((3, 8), dtype=np.float32)
    assert made.quantization_error(vectors, *made.encode(vectors)) == 1


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dim", [50, 64])
def test_torch_decodes_as_numpy_does(dim: int, bits: int):
    """Decoding in torch, on any device, equals numpy."""
    made, vectors = hand_made(dim, bits), rows(200, dim, seed=7)
    ids, packed = made.encode(vectors)
    assert (ids.dtype, packed.dtype, packed.shape) == (np.int32, np.uint8, (200, made.codec.width))
    np.testing.assert_allclose(made.decode_on_device(ids, packed).numpy(), made.decode(ids, packed), atol=1e-6)


def test_few_vectors_get_their_nearest_centroid_and_many_a_near_one(monkeypatch: pytest.MonkeyPatch):
    """Few vectors get the nearest centroid, as in SQL; many get a near one quickly."""
    centroids = rows(3_000, 32)
    made = Codebook(centroids, ResidualCodec(32, 1, torch.tensor([0.0]), torch.tensor([-0.1, 0.1])))
    vectors = rows(2_000, 32, seed=8)
    exact = (vectors @ centroids.T).argmax(axis=1)
    assert made.encode(vectors)[0].tolist() == exact.tolist()
    monkeypatch.setattr(codebooks, "_EXACT_PRODUCTS", len(vectors) * len(centroids) - 1)
    near = CentroidIndex(torch.from_numpy(centroids)).assign(torch.from_numpy(vectors)).tolist()
    assert made.encode(vectors)[0].tolist() == near != exact.tolist()
