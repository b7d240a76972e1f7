"""Groups of centroids, and means of their vectors, including empty groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pgretrieval.numerics import assignment
from pgretrieval.numerics.assignment import CentroidIndex, means, nearest, quickly_nearest
from pgretrieval.numerics.kmeans import _shares


def directions(count: int, dim: int = 16, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("owner", [[0, 0, 2, 2, 2], [1, 1, 2, 2, 2], [0, 0, 0, 0, 0]])
def test_centroids_without_vectors_are_unchanged(owner: list[int], unit: bool):
    """A centroid without vectors keeps its value and its number."""
    vectors, previous = directions(5), directions(4, seed=1)
    found = means(vectors, torch.tensor(owner), previous, unit=unit)
    assert found.shape == previous.shape
    for number, row in enumerate(found):
        mine = vectors[[place for place, one in enumerate(owner) if one == number]]
        if not len(mine):
            assert torch.equal(row, previous[number])
            continue
        expected = mine.mean(dim=0)
        torch.testing.assert_close(row, expected / expected.norm() if unit else expected)


def test_a_mean_direction_of_nothing_is_the_one_before():
    """Vectors that cancel out leave the centroid unchanged."""
    row = directions(1)
    previous = directions(1, seed=1)
    assert torch.equal(means(torch.cat([row, -row]), torch.tensor([0, 0]), previous, unit=True), previous)
    short = means(torch.cat([row, -0.999 * row]), torch.tensor([0, 0]), previous, unit=True)
    torch.testing.assert_close(short, row, atol=1e-3, rtol=0)


@pytest.mark.parametrize("unit", [True, False])
def test_groups_without_members_are_left_out(unit: bool):
    """Heads without members, as copies of a centroid cause, are dropped, and each head keeps its own members."""
    centroids = directions(10).repeat(210, 1)
    if not unit:
        centroids = centroids * torch.linspace(0.5, 3, 10).repeat(210)[:, None]
    assert len(centroids) > 2048
    vectors = centroids[:10] + 0.01 * directions(10, seed=2)
    assigned = CentroidIndex(centroids, groups_searched=1, unit=unit).assign(vectors)
    assert (assigned % 10).tolist() == list(range(10))


@pytest.mark.parametrize("unit", [True, False])
def test_all_groups_searched_find_the_nearest(unit: bool):
    """Searching all groups finds the nearest centroid, for vectors of any length."""
    centroids = directions(3000, dim=8)
    vectors = directions(500, dim=8, seed=3)
    if not unit:
        centroids = centroids * (0.2 + 3 * torch.rand(3000, 1, generator=torch.Generator().manual_seed(4)))
        vectors = vectors * 2
    assigned = CentroidIndex(centroids, groups_searched=10**6, unit=unit).assign(vectors)
    found, least = (vectors - centroids[assigned]).norm(dim=1), torch.cdist(vectors, centroids).min(dim=1).values
    torch.testing.assert_close(
        found, least, atol=0.02 if unit else 1e-4, rtol=0.02 if unit else 1e-4
    )  # unit ones in the quick format


def test_quick_assignment_minimises_distance():
    """The quick assignment minimises distance, not inner product, for vectors that keep their lengths."""
    centroids = directions(60) * torch.linspace(0.2, 4, 60)[:, None]
    vectors = directions(300, seed=3) * 2
    assert torch.equal(quickly_nearest(vectors, centroids, unit=False), torch.cdist(vectors, centroids).argmin(dim=1))


def test_a_few_groups_are_searched_of_many_centroids():
    """Large codebooks search the default share of groups, with few errors."""
    centroids, vectors = directions(4096, dim=8), directions(2000, dim=8, seed=3)
    best = (vectors * centroids[nearest(vectors, centroids)]).sum(dim=1)
    lost = []
    for wanted, options in ((1, {"groups_searched": 1}), (16, {})):
        index = CentroidIndex(centroids, **options)
        assert isinstance(index._groups, assignment._ProcessorGroups)
        searched = [len(rows) for _, rows in index._groups._rows_by_group(vectors.numpy())]
        assert 64 <= len(searched) <= 128
        assert wanted * 2000 <= sum(searched) <= 1.5 * wanted * 2000
        lost.append(float((best - (vectors * centroids[index.assign(vectors)]).sum(dim=1)).mean()))
    assert 0 <= lost[1] < 0.002 < lost[0]


def test_random_directions_lose_little_similarity():
    """Even where no group is apart, half of the groups contain a centroid that is nearly as near."""
    centroids, vectors = directions(4096, dim=64, seed=1), directions(20_000, dim=64, seed=2)
    chosen = CentroidIndex(centroids, groups_searched=64).assign(vectors)
    lost = (vectors * centroids[nearest(vectors, centroids)]).sum(1) - (vectors * centroids[chosen]).sum(1)
    assert 0 <= float(lost.mean()) < 0.005


@pytest.mark.parametrize("count", [3, 2048, 2049])
@pytest.mark.parametrize("unit", [True, False])
def test_no_vectors_have_no_centroids(count: int, unit: bool):
    """An empty batch gives an empty integer array."""
    centroids, none = directions(count), torch.empty(0, 16)
    for found in (
        CentroidIndex(centroids, unit=unit).assign(none),
        nearest(none, centroids, unit=unit),
        quickly_nearest(none, centroids, unit=unit),
    ):
        assert (found.shape, found.dtype) == ((0,), torch.long)


@pytest.mark.parametrize("unit", [True, False])
def test_chunks_are_put_together_in_order(unit: bool, monkeypatch: pytest.MonkeyPatch):
    """Results of chunks keep the order of the vectors."""
    centroids, vectors = directions(50), directions(400, seed=3)
    whole = nearest(vectors, centroids, unit=unit)
    grouped = directions(2500)
    index = CentroidIndex(grouped, groups_searched=64, unit=unit)
    at_once = index.assign(vectors)
    monkeypatch.setattr(assignment, "_CHUNK", 64)
    monkeypatch.setattr(assignment, "_CHUNK_AT_LEAST", 10)
    assert torch.equal(nearest(vectors, centroids, unit=unit), whole)
    assert torch.equal(index.assign(vectors), at_once)
    assert (quickly_nearest(vectors, centroids, unit=unit) == whole).float().mean() > 0.95


def test_shares_are_in_proportion_and_sum_up():
    """Shares are proportional to group sizes and sum to the number of centroids."""
    generator = torch.Generator().manual_seed(0)
    for count in (1, 7, 64, 1000):
        sizes = torch.randint(0, 500, (40,), generator=generator)
        shares = torch.tensor(_shares(sizes, count))
        ideal = sizes.double() * count / sizes.sum()
        assert int(shares.sum()) == count
        assert (shares - ideal).abs().max() < 1
        assert not shares[sizes == 0].any()
    assert _shares(torch.tensor([5, 3, 2]), 5) in ([3, 1, 1], [2, 2, 1])
    assert _shares(torch.tensor([59, 31, 10]), 10) == [6, 3, 1]
