"""Anchor items spread over the passages' vectors, for each form of stored vectors."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
import torch

import pgretrieval
from pgretrieval.anncur.spread import spread
from pgretrieval.numerics.kmeans import train_centroids
from tests.support.vectors import clustered, passages, unit

COUNT, GROUPS, DIM = 120, 6, 64


def grouped(groups: np.ndarray, seed: int) -> np.ndarray:
    """Unit vectors near the direction of each group."""
    rng = np.random.default_rng(seed)
    directions = unit(np.random.default_rng(seed + 1).standard_normal((GROUPS, DIM)))
    return unit(directions[groups] + 0.4 * unit(rng.standard_normal((len(groups), DIM))))


def assert_near_means(chosen: list[int], rows: np.ndarray, seed: int = 0) -> None:
    """Assert that each row is nearest to a mean of all directions, except rows already chosen; ties may be broken in any way."""
    assert rows.dtype == np.float32  # another precision would change means of near rows
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    means = train_centroids(torch.from_numpy(rows), len(chosen), seed).numpy()
    assert len(means) == len(chosen)
    for number, mean in enumerate(means):
        similar = np.delete(rows @ mean, chosen[:number])
        assert rows[chosen[number]] @ mean == pytest.approx(similar.max(), abs=1e-5), number


def chosen_by(collection: pgretrieval.Collection, count: int, seed: int = 0, keys: list[str] | None = None) -> list[str]:
    """Ids of the passages chosen among `keys`, by default all; deleted ones may be included."""
    opened = collection._opened
    row = opened.refresh()
    keys = [f"p{number}" for number in range(COUNT)] if keys is None else keys
    ids = np.arange(1, len(keys) + 1, dtype=np.int32)  # a first add numbers its passages in order
    with opened.database.connection("spreading") as connection:
        places = spread(row.tables(connection), row, opened.coders, ids, count, seed)
    assert len(places) == len(set(places.tolist())) == min(count, len(keys))
    return [keys[place] for place in places.tolist()]


@pytest.fixture(scope="module")
def tokens() -> list[np.ndarray]:
    """Token vectors with different numbers and directions per passage."""
    return [array + 0.6 * row for array, row in zip(clustered(COUNT, seed=4), grouped(np.arange(COUNT) % GROUPS, 5), strict=True)]


def stored_means(url: str) -> dict[str, np.ndarray]:
    """Means of the stored token vectors of each passage, by id, in the order of adding."""
    statement = """
        select key, array(select vector::real[] from unnest(vectors) with ordinality as one (vector, place) order by place)
        from pgretrieval.token_vector join pgretrieval.passage using (collection_id, passage_id) order by passage_id
    """
    with psycopg.connect(url) as connection:
        rows = connection.execute(statement).fetchall()
    return {key: np.add.reduce(np.array(vectors, dtype=np.float32), axis=0) / np.float32(len(vectors)) for key, vectors in rows}


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_anchors_are_nearest_to_means_of_the_passages(
    database: pgretrieval.RetrievalDatabase, database_url: str, tokens: list[np.ndarray], built: bool, seed: int
):
    """Anchors are the passages nearest to the cluster means, by the mean of their unit token vectors."""
    collection = database.create_collection("docs", keep_vectors=True)
    collection.add(passages(COUNT), vectors=tokens)
    if built:
        collection.build()
    means = stored_means(database_url)
    given = np.stack([unit(array).mean(axis=0) for array in tokens])
    np.testing.assert_allclose(np.stack([means[f"p{number}"] for number in range(COUNT)]), given, atol=1e-3)
    for count in (9, 40):
        chosen = [list(means).index(key) for key in chosen_by(collection, count, seed)]
        assert_near_means(chosen, np.stack(list(means.values())), seed)


def test_codes_approximate_the_means(database: pgretrieval.RetrievalDatabase, tokens: list[np.ndarray]):
    """Means of decoded codes are close to those of vectors, for each passage."""
    collection = database.create_collection("docs")
    collection.add(passages(COUNT), vectors=tokens)
    collection.build()
    rows = unit(np.stack([unit(array).mean(axis=0) for array in tokens]))
    chosen = [int(key[1:]) for key in chosen_by(collection, 12)]

    def covered(places: list[int]) -> float:
        """Mean similarity of a passage to the nearest of some passages."""
        return float((rows @ rows[places].T).max(axis=1).mean())

    assert {place % GROUPS for place in chosen} == set(range(GROUPS))
    means = train_centroids(torch.from_numpy(rows), 12, 0).numpy()
    nearest = (means @ rows.T).argmax(axis=1).tolist()
    assert covered(chosen) == pytest.approx(covered(nearest), abs=0.01)


def test_kept_dense_vectors_are_spread_over(database: pgretrieval.RetrievalDatabase, tokens: list[np.ndarray]):
    """Stored dense vectors are used instead of token vectors."""
    dense = grouped(np.arange(COUNT) // (COUNT // GROUPS), 8) * np.linspace(1, 5, COUNT)[:, None]
    collection = database.create_collection("docs", dense="kept")
    collection.add(passages(COUNT), vectors=tokens, dense=dense)
    assert_near_means([int(key[1:]) for key in chosen_by(collection, 15)], dense.astype(np.float16).astype(np.float32))


def test_equal_passages_have_fewer_means_than_are_asked_for(database: pgretrieval.RetrievalDatabase, tokens: list[np.ndarray]):
    """With equal passages, the requested number of different anchors is returned."""
    collection = database.create_collection("docs")
    collection.add(passages(COUNT), vectors=[tokens[number % 5] for number in range(COUNT)])
    chosen = [int(key[1:]) for key in chosen_by(collection, 30)]
    assert {number % 5 for number in chosen[:5]} == set(range(5))
    assert chosen_by(collection, 30) == [f"p{number}" for number in chosen]
    assert len(chosen_by(collection, 500)) == COUNT


def test_passages_that_are_gone_are_no_anchors(
    database: pgretrieval.RetrievalDatabase, database_url: str, tokens: list[np.ndarray]
):
    """Deleted passages are no anchors, and the others keep their numbers."""
    collection = database.create_collection("docs")
    collection.add(passages(COUNT), vectors=tokens)
    collection.delete([f"p{number}" for number in (0, 1, 50, 51, 52)])
    means = stored_means(database_url)
    assert len(means) == COUNT - 5
    assert_near_means([list(means).index(key) for key in chosen_by(collection, 20)], np.stack(list(means.values())))
