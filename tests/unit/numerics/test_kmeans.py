"""Centroids and assignment compared with brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.numerics.assignment import CentroidIndex, mean_directions, nearest
from pgretrieval.numerics.codebook import train_codebook
from pgretrieval.numerics.kmeans import centroid_count, sample_passage_count, train_centroids


def clustered(tokens: int, directions: int, dim: int = 64, noise: float = 0.05, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(directions, dim, generator=generator), dim=1)
    picked = centres[torch.randint(0, directions, (tokens,), generator=generator)]
    return torch.nn.functional.normalize(picked + noise * torch.randn(tokens, dim, generator=generator), dim=1)


@pytest.mark.parametrize(
    ("tokens", "count"),
    [(1, 1), (3, 1), (8, 2), (1000, 128), (10_000, 1024), (1_060_000, 16_384), (12_000_000, 32_768)],
)
def test_centroid_count_is_the_papers_capped_for_small_collections(tokens: int, count: int) -> None:
    """1,060,000 tokens: 16 * sqrt = 16,473 -> 16,384; 1,000 tokens: a quarter is 250 -> 128."""
    assert centroid_count(tokens) == count


def test_sample_is_the_papers() -> None:
    assert sample_passage_count(10) == 10
    assert sample_passage_count(1_000_000) == 1 + int(16 * (120 * 1_000_000) ** 0.5)


def test_clusters_are_found() -> None:
    vectors = clustered(4000, 50)
    centroids = train_centroids(vectors, 64, seed=0)
    similarity = (vectors * centroids[nearest(vectors, centroids)]).sum(dim=1)
    assert similarity.mean() > 0.9
    np.testing.assert_allclose(centroids.norm(dim=1), 1.0, atol=1e-5)


def test_two_levels_are_seeded() -> None:
    vectors = clustered(8000, 3000, noise=0.08)
    centroids = train_centroids(vectors, 4096, seed=7)
    assert torch.equal(centroids, train_centroids(vectors, 4096, seed=7))
    assert not torch.equal(centroids[:1000], train_centroids(vectors, 4096, seed=8)[:1000])


def test_two_levels_are_nearly_as_good_as_one() -> None:
    """4,096 centroids use two levels; one flat run over the same sample bounds the mean similarity."""
    vectors = clustered(40_000, 3000, noise=0.08)
    centroids = train_centroids(vectors, 4096, seed=7)
    assert 3500 < len(centroids) <= 4096
    flat = vectors[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(7))[:4096]]
    for _ in range(4):
        flat = mean_directions(vectors, nearest(vectors, flat), flat)
    two_level = (vectors * centroids[nearest(vectors, centroids)]).sum(dim=1).mean()
    one_level = (vectors * flat[nearest(vectors, flat)]).sum(dim=1).mean()
    assert two_level > one_level - 0.005


def test_grouped_assignment_agrees_with_exact() -> None:
    """Token vectors have clusters of similar directions, as words have; evenly spread directions could not be grouped."""
    families = clustered(3000, 60, noise=0.1)
    generator = torch.Generator().manual_seed(5)
    members = families[torch.randint(0, 3000, (30_000,), generator=generator)]
    vectors = torch.nn.functional.normalize(members + 0.05 * torch.randn(members.shape, generator=generator), dim=1)
    centroids = train_centroids(vectors, 4096, seed=0)
    exact = nearest(vectors, centroids)
    grouped = CentroidIndex(centroids).assign(vectors)
    assert (exact == grouped).float().mean() > 0.985
    lost = ((vectors * centroids[exact]).sum(1) - (vectors * centroids[grouped]).sum(1)).mean()
    assert 0 <= lost < 0.001


def test_small_assignment_is_exact() -> None:
    vectors, centroids = clustered(500, 40), clustered(100, 100, seed=1)
    expected = (vectors.numpy() @ centroids.numpy().T).argmax(axis=1)
    assert CentroidIndex(centroids).assign(vectors).tolist() == expected.tolist()


@pytest.mark.parametrize(("tokens", "count"), [(1, 1), (3, 1), (3, 2), (100, 64)])
def test_identical_vectors_collapse_to_one_centroid(tokens: int, count: int) -> None:
    """Duplicates leave no empty or zero centroids."""
    vectors = clustered(1, 1).repeat(tokens, 1)
    centroids = train_centroids(vectors, count, seed=0)
    assert len(centroids) == 1
    np.testing.assert_allclose(centroids[0], vectors[0], atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dim", [48, 50, 100])
def test_codebook_decodes_by_cutoffs_and_weights(bits: int, dim: int) -> None:
    """Decoding by hand from cut-offs and weights gives the same numbers, and half precision does not change centroids."""
    vectors = clustered(6000, 60, dim=dim).numpy()
    codebook = train_codebook(vectors, 128, bits, "lloyd-max")
    ids, packed = codebook.encode(vectors)
    decoded = codebook.decode(ids, packed)
    residuals = vectors - codebook.centroids[ids]
    buckets = np.searchsorted(codebook.codec.cutoffs.numpy(), residuals)
    np.testing.assert_allclose(decoded, codebook.centroids[ids] + codebook.codec.weights.numpy()[buckets], atol=1e-6)
    assert np.array_equal(codebook.centroids, codebook.centroids.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("count", [16, 4096])
def test_vectors_of_any_length_get_the_centroid_at_the_least_distance(count: int):
    """Vectors of any length get the nearest centroid, and centroids are means that keep lengths."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(300, 16, generator=generator) * torch.rand(300, 1, generator=generator) * 5
    vectors = centres[torch.randint(300, (9000,), generator=generator)] + 0.05 * torch.randn(9000, 16, generator=generator)
    centroids = train_centroids(vectors, count, seed=0, unit=False)
    distances, exact = torch.cdist(vectors, centroids).min(dim=1)
    assert (nearest(vectors, centroids, unit=False) == exact).float().mean() > 0.999
    assigned = CentroidIndex(centroids, unit=False).assign(vectors)
    found = (vectors - centroids[assigned]).norm(dim=1)
    assert found.mean() <= distances.mean() * 1.02
    spread = (vectors - vectors.mean(dim=0)).norm(dim=1).mean()
    assert distances.mean() < (0.25 if count > 300 else 0.9 * spread)
    assert centroids.norm(dim=1).std() > 0.3
