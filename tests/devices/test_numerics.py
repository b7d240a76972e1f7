"""Numerics on a second device: they run there, and return what the processor returns, within bf16 where that is used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pgretrieval.db.candidates import CodedPassages, ListedTokens
from pgretrieval.numerics import codebook as codebooks
from pgretrieval.numerics.assignment import CentroidIndex, nearest, quickly_nearest
from pgretrieval.numerics.codebook import Codebook, train_codebook
from pgretrieval.numerics.hardware import compute_device
from pgretrieval.numerics.kmeans import train_centroids
from pgretrieval.numerics.maxsim import quick_segment_max, segment_max_on_device
from pgretrieval.numerics.proxy_targets import best_similarities
from pgretrieval.numerics.proxy_training import train_proxy
from pgretrieval.numerics.residual import fit_codec
from pgretrieval.search.maxsim import decoded_maxsim, token_similarity
from pgretrieval.types import Float32Array, TokenMatrix
from tests.support.pretended import DEVICE, DONE
from tests.support.vectors import clustered

UNIT = pytest.mark.parametrize("unit", [True, False], ids=["unit", "any length"])


@pytest.fixture(autouse=True)
def computes_there() -> Iterator[None]:
    """Every test here computes on the device."""
    before = DONE.total()
    yield
    assert DONE.total() > before + 1


def rows(count: int, *, unit: bool, dim: int = 32, seed: int = 0) -> Float32Array:
    vectors = np.concatenate(clustered(count, dim=dim, directions=500, tokens=(1, 1), seed=seed))
    lengths = 1 if unit else np.random.default_rng(seed).uniform(0.5, 2, (count, 1))
    return (vectors * lengths).astype(np.float32)


def tensors(array: Float32Array) -> tuple[torch.Tensor, torch.Tensor]:
    """On the processor, and on the device."""
    return torch.from_numpy(array), torch.from_numpy(array).to(DEVICE)


def closeness(vectors: torch.Tensor, centroids: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Negative squared distances to the chosen centroids."""
    return -(vectors - centroids[ids.cpu()]).square().sum(dim=1)


@UNIT
@pytest.mark.parametrize("count", [300, 2_500], ids=["one level", "two levels"])
def test_tokens_get_their_centroids(unit: bool, count: int):
    """Exact ids are the same; quick ones, and those of two levels, are about as near."""
    vectors, there = tensors(rows(1_000, unit=unit, seed=1))
    centroids, far = tensors(rows(count, unit=unit, seed=2))
    exact = nearest(vectors, centroids, unit=unit)
    assert nearest(there, far, unit=unit).tolist() == exact.tolist()
    best = closeness(vectors, centroids, exact)
    for ids in (quickly_nearest(there, far, unit=unit), CentroidIndex(far, unit=unit).assign(there)):
        assert ids.device == DEVICE
        assert float((best - closeness(vectors, centroids, ids)).mean()) < 0.02


@UNIT
@pytest.mark.parametrize("count", [64, 2_048], ids=["flat", "two levels"])
def test_k_means(unit: bool, count: int):
    """Centroids are on the device, and as near to the sample as the processor's."""
    sample, there = tensors(rows(9_000, unit=unit))
    steps: list[tuple[int, int]] = []
    found = train_centroids(there, count, 5, lambda *step: steps.append(step), unit=unit)
    assert found.device == DEVICE
    assert steps[-1][0] == steps[-1][1]
    expected = train_centroids(sample, count, 5, unit=unit)
    assert len(found) == pytest.approx(len(expected), rel=0.01)
    errors = [float(closeness(sample, some, nearest(sample, some, unit=unit)).mean()) for some in (found.cpu(), expected)]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


@UNIT
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_codebook_is_trained_codes_and_decodes(unit: bool, bits: int, monkeypatch: pytest.MonkeyPatch):
    """Codes, for few vectors and for many, and decoded vectors are those of the same codebook on the processor."""
    sample = rows(12_000, unit=unit)
    made = train_codebook(sample, 2_100, bits, "lloyd-max", 3, device=DEVICE, unit=unit)
    assert (type(made.centroids), made.codec.weights.device.type) == (np.ndarray, "cpu")
    same = Codebook(made.centroids, made.codec, unit=unit)
    few = sample[:500]
    ids, packed = made.encode(few)
    np.testing.assert_array_equal(ids, same.encode(few)[0])
    np.testing.assert_array_equal(packed, same.encode(few)[1])
    decoded = made.decode_on_device(ids, packed)
    assert decoded.device == DEVICE
    np.testing.assert_allclose(decoded.cpu().numpy(), same.decode(ids, packed), atol=1e-6)
    monkeypatch.setattr(codebooks, "_EXACT_PRODUCTS", 0)
    assert made.quantization_error(few, *made.encode(few)) == pytest.approx(made.quantization_error(few, ids, packed), rel=0.1)


@pytest.mark.parametrize("levels", ["lloyd-max", "quantile"])
def test_residuals_are_coded(levels: codebooks.Levels):
    """Packed residuals are the same."""
    residuals, there = tensors(0.1 * rows(700, unit=False, dim=50))
    codec = fit_codec(residuals, 4, levels)
    assert torch.equal(codec.encode(there).cpu(), codec.encode(residuals))


def coded(codebook: Codebook, vectors: Float32Array) -> CodedPassages:
    offsets = np.arange(0, len(vectors) + 1, 20)
    return CodedPassages(np.arange(len(offsets) - 1, dtype=np.int32), offsets, *codebook.encode(vectors))


@UNIT
def test_exact_scores_of_codes(unit: bool):
    """MaxSim and similarities of decoded tokens are arrays, and the same."""
    vectors, query = rows(2_000, unit=unit), rows(9, unit=unit, seed=4)
    there = train_codebook(vectors, 256, 4, "lloyd-max", device=DEVICE, unit=unit)
    here = Codebook(there.centroids, there.codec, unit=unit)
    passages = coded(here, vectors)
    np.testing.assert_allclose(decoded_maxsim(query, there, passages), decoded_maxsim(query, here, passages), rtol=1e-5)
    owners = np.repeat(passages.passage_ids, np.diff(passages.offsets))
    tokens = ListedTokens(owners, passages.centroid_ids, passages.residuals)
    found = token_similarity(query, there, tokens)
    np.testing.assert_allclose(found[:, :9], token_similarity(query, here, tokens)[:, :9], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_best_token_of_each_passage(kind: torch.dtype):
    """Maxima of segments stay on the device and are the same."""
    similarity = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).to(kind)
    offsets = np.array([0, 1, 7, 40])
    for function in (segment_max_on_device, quick_segment_max):
        found = function(similarity.to(DEVICE), offsets)
        assert (found.device, found.dtype) == (DEVICE, torch.float32)
        assert torch.equal(found.cpu(), function(similarity, offsets))


def test_proxies():
    """Targets, training and fitted passages are those of the processor, within bf16."""
    arrays = clustered(900, dim=32, directions=500, tokens=(3, 12))
    tokens = TokenMatrix(np.concatenate(arrays), np.concatenate([[0], np.cumsum([len(array) for array in arrays])]))
    anchors, there = tensors(tokens.vectors[::40])
    np.testing.assert_allclose(best_similarities(there, tokens).cpu(), best_similarities(anchors, tokens), atol=0.01)
    nothing = TokenMatrix(tokens.vectors[:0], np.array([0]))
    assert best_similarities(there, nothing).device == DEVICE
    made, expected = train_proxy(tokens, device=DEVICE), train_proxy(tokens)
    assert all(type(value) is np.ndarray for value in (made.directions, made.projection, made.anchors, made.baseline))
    np.testing.assert_allclose(made.baseline, expected.baseline, atol=0.01)
    fitted = made.passages(tokens, DEVICE)
    np.testing.assert_allclose(fitted, made.passages(tokens, torch.device("cpu")), atol=0.02 * float(np.abs(fitted).max()))
    assert made.query(tokens.vectors[:8]).shape == (fitted.shape[1],)


def test_the_device_asked_for_is_taken():
    """A device that torch knows by another name than cpu or cuda is taken."""
    assert compute_device(str(DEVICE)) == DEVICE
    assert torch.zeros(1, device=compute_device(str(DEVICE))).tolist() == [0]
