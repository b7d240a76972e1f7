"""Fidelity on seeded vectors: a minimum for each number of bits, and the direction of each option's effect."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.sqlalchemy import vector_array
from pgretrieval.types import Float32Array

PASSAGES, DIM = 3000, 64


@pytest.fixture(scope="module")
def vectors() -> list[Float32Array]:
    """Tokens around 1,500 Zipf-distributed directions; each passage has a topic that shifts all of its tokens."""
    rng = np.random.default_rng(11)
    directions = _unit(rng.standard_normal((1500, DIM)))
    frequency = 1 / np.arange(1, 1501)
    frequency /= frequency.sum()
    topics = _unit(rng.standard_normal((PASSAGES, DIM)))
    return [
        _unit(directions[rng.choice(1500, size=count, p=frequency)] + 0.5 * topic + 0.05 * rng.standard_normal((count, DIM)))
        for topic, count in zip(topics, rng.integers(10, 40, PASSAGES), strict=True)
    ]


@pytest.fixture(scope="module")
def queries(vectors: list[Float32Array]) -> list[Float32Array]:
    """Ten noisy tokens of one passage each."""
    rng = np.random.default_rng(12)
    chosen = rng.choice(PASSAGES, 60, replace=False)
    return [_unit(vectors[i][:10] + 0.06 * rng.standard_normal((10, DIM))) for i in chosen]


@pytest.fixture(scope="module")
def exact(vectors: list[Float32Array], queries: list[Float32Array]) -> list[list[str]]:
    """The exact order of all passages."""
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in vectors])])
    scores = maxsim_many(queries, np.concatenate(vectors), offsets)
    return [[str(i) for i in np.argsort(-row, kind="stable").tolist()] for row in scores]


@pytest.fixture(scope="module")
def collections(module_database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array]) -> dict[str, pgretrieval.Collection]:
    """The same vectors at each number of bits."""
    built: dict[str, pgretrieval.Collection] = {}
    for bits in (1, 2, 4):
        built[str(bits)] = collection = module_database.create_collection(f"bits {bits}", bits=bits)
        collection.add(({"id": str(i), "text": "a text"} for i in range(PASSAGES)), vectors=vectors)
        collection.build()
    return built


def _unit(rows: np.ndarray) -> Float32Array:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _ids(collection: pgretrieval.Collection, queries: list[Float32Array], k: int, **knobs: int) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in collection.search_many(vectors=queries, k=k, **knobs)]


@pytest.mark.parametrize(("bits", "floor"), [("1", 0.72), ("2", 0.81), ("4", 0.92)])
def test_default_search_keeps_the_exact_top_ten(
    bits: str, floor: float, collections: dict[str, pgretrieval.Collection], queries: list[Float32Array], exact: list[list[str]]
) -> None:
    assert fidelity(_ids(collections[bits], queries, 10), exact, 10) >= floor


def test_default_search_of_pooled_passages(
    module_database: pgretrieval.RetrievalDatabase, vectors: list[Float32Array], queries: list[Float32Array]
) -> None:
    """Pooled passages need more probes, and the codec loses more here than on real text."""
    pooled = [_unit(np.stack([array[place::8].mean(axis=0) for place in range(8)])) for array in vectors]
    collection = module_database.create_collection("pooled", vectors_per_passage=8)
    collection.add(({"id": str(i), "text": "a text"} for i in range(PASSAGES)), vectors=pooled)
    collection.build()
    scores = maxsim_many(queries, np.concatenate(pooled), np.arange(PASSAGES + 1) * 8)
    best = [[str(i) for i in np.argsort(-row, kind="stable").tolist()] for row in scores]
    decoded = _ids(collection, queries, 100, probes=10**6, candidates=PASSAGES, pruning=PASSAGES)
    ten, hundred, few = (_ids(collection, queries, k, **knobs) for k, knobs in ((10, {}), (100, {}), (100, {"probes": 8})))
    assert fidelity(ten, decoded, 10) >= 0.97
    assert fidelity(ten, best, 10) >= 0.9
    assert fidelity(hundred, decoded, 100) >= fidelity(few, decoded, 100) + 0.04
    assert fidelity(hundred, best, 100) >= 0.9


def test_more_bits_are_more_faithful(
    collections: dict[str, pgretrieval.Collection], queries: list[Float32Array], exact: list[list[str]]
) -> None:
    kept = [fidelity(_ids(collections[bits], queries, 10), exact, 10) for bits in ("1", "2", "4")]
    assert kept == sorted(kept)


def test_pruning_loses_little_against_decoding_every_candidate(
    collections: dict[str, pgretrieval.Collection], queries: list[Float32Array]
) -> None:
    """Pruning from 512 to 128 by centroid interaction loses few of the first ten."""
    every = _ids(collections["4"], queries, 10, candidates=512, pruning=512)
    pruned = _ids(collections["4"], queries, 10, candidates=512, pruning=128)
    assert fidelity(pruned, every, 10) >= 0.98


def test_probing_everything_leaves_the_codec_as_the_only_loss(
    collections: dict[str, pgretrieval.Collection], vectors: list[Float32Array]
) -> None:
    """The codec is the only loss. Enough queries: other seeds or rounding give .945 to .951 with 600, .937 to .957 with 60."""
    rng = np.random.default_rng(13)
    queries = [_unit(vectors[i][:10] + 0.06 * rng.standard_normal((10, DIM))) for i in rng.choice(PASSAGES, 300, replace=False)]
    scores = maxsim_many(queries, np.concatenate(vectors), np.concatenate([[0], np.cumsum([len(array) for array in vectors])]))
    exact = [[str(i) for i in np.argsort(-row, kind="stable").tolist()] for row in scores]
    ceiling = fidelity(_ids(collections["4"], queries, 10, probes=10**6, candidates=PASSAGES, pruning=PASSAGES), exact, 10)
    default = fidelity(_ids(collections["4"], queries, 10), exact, 10)
    assert ceiling >= 0.94
    assert default >= ceiling - 0.03


@pytest.mark.parametrize(("keep_vectors", "ten", "hundred"), [(False, 0.89, 0.87), (True, 0.97, 0.94)])
def test_searches_in_sql(
    module_database: pgretrieval.RetrievalDatabase,
    vectors: list[Float32Array],
    queries: list[Float32Array],
    exact: list[list[str]],
    *,
    keep_vectors: bool,
    ten: float,
    hundred: float,
) -> None:
    """Searches in SQL keep nearly as many of the exact best as those in Python, over codes and over stored vectors."""
    name = f"in sql, {keep_vectors}"
    collection = module_database.create_collection(name, keep_vectors=keep_vectors)
    collection.add(({"id": str(i), "text": "a text"} for i in range(PASSAGES)), vectors=vectors)
    collection.build()
    with psycopg.connect(module_database.url) as connection:
        for k, floor in ((10, ten), (100, hundred)):
            found = [
                [row[0] for row in connection.execute("select id from pgretrieval.search(%s, %s::vector[], %s)", parameters)]
                for parameters in ([name, vector_array(query), k] for query in queries)
            ]
            assert fidelity(found, exact, k) >= floor


def test_top_hundred(collections: dict[str, pgretrieval.Collection], queries: list[Float32Array], exact: list[list[str]]) -> None:
    assert fidelity(_ids(collections["4"], queries, 100), exact, 100) >= 0.9
