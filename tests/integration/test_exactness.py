"""With every centroid probed the index gives exact MaxSim over the decoded vectors, for every shape of collection."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

import pgretrieval
from pgretrieval.types import Float32Array
from tests.fixtures.collections import Corpus
from tests.support.codes import decoded
from tests.support.tokens import lengthened
from tests.support.vectors import clustered, maxsim, passages

EVERYTHING = {"probes": 10**6, "candidates": 10**6, "pruning": 10**6}


def assert_equals_oracle(collection: pgretrieval.Collection, url: str, queries: list[Float32Array], **knobs: Any) -> None:
    """Assert scores of the definition, best first, ranked from 1."""
    vectors = decoded(url, collection.name)
    for query in queries:
        scores = {key: maxsim(query, matrix) for key, matrix in vectors.items()}
        hits = collection.search(vectors=query, k=10, **knobs)
        assert [hit.rank for hit in hits] == list(range(1, min(10, len(scores)) + 1))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert [hit.score for hit in hits] == pytest.approx([scores[hit.id] for hit in hits], abs=1e-4)
        assert [hit.score for hit in hits] == pytest.approx(sorted(scores.values(), reverse=True)[: len(hits)], abs=1e-4)


@pytest.mark.both_versions
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_probing_everything_is_exact_maxsim_at_each_bit_width(database: pgretrieval.RetrievalDatabase, corpus: Corpus, bits: int):
    """Codes of each width are packed, stored and decoded correctly, and all candidates are scored."""
    docs = database.create_collection("docs", bits=bits)
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    assert_equals_oracle(docs, database.url, corpus.queries[:4], **EVERYTHING)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dim", [48, 100, 1023, 1024])
def test_probing_everything_is_exact_maxsim_in_each_dimension(database: pgretrieval.RetrievalDatabase, dim: int, bits: int):
    """Dimensions that fill no whole byte, or an odd number of bytes, are packed correctly."""
    docs = database.create_collection("docs", bits=bits)
    docs.add(passages(40), vectors=clustered(40, dim=dim, directions=20))
    docs.build()
    assert_equals_oracle(docs, database.url, clustered(2, dim=dim, directions=20, seed=9), **EVERYTHING)


@pytest.mark.parametrize("generator", ["postings", "proxy"])
@pytest.mark.parametrize("bits", [1, 4])
def test_vectors_that_keep_their_lengths(database: pgretrieval.RetrievalDatabase, corpus: Corpus, bits: int, generator: str):
    """Without unit vectors, scores are MaxSim of vectors as they are, before and after the build, in Python and in SQL."""
    docs = database.create_collection("docs", bits=bits, unit_vectors=False, generator=generator)
    long = lengthened(corpus.vectors)
    docs.add(corpus.passages[:200], vectors=long[:200])
    query = lengthened(corpus.queries[:1])[0]
    scores = {f"p{number}": maxsim(query, rows) for number, rows in enumerate(long)}
    assert docs.search(vectors=query, k=1)[0].score == pytest.approx(max(list(scores.values())[:200]), rel=1e-3)
    docs.build()
    docs.add(corpus.passages[200:], vectors=long[200:])
    assert_equals_oracle(docs, database.url, lengthened(corpus.queries[:4]), **EVERYTHING)
    assert docs.check() == []
    hits = docs.search(vectors=query, k=10)
    if bits == 4:
        assert {hit.id: hit.score for hit in hits} == pytest.approx({hit.id: scores[hit.id] for hit in hits}, rel=0.03)
        best = sorted(scores, key=lambda key: -scores[key])[:10]
        assert len({hit.id for hit in hits} & set(best)) >= 8
    with psycopg.connect(database.url) as connection:
        register_vector(connection)
        statement = "select id, score from pgretrieval.search('docs', %s::vector[], 10, probes => 10000, candidates => 300)"
        in_sql = connection.execute(statement, [list(query)]).fetchall()
    decoded_rows = decoded(database.url, "docs")
    assert [score for _, score in in_sql] == pytest.approx([maxsim(query, decoded_rows[key]) for key, _ in in_sql], rel=1e-4)
    assert in_sql[0][1] >= max(maxsim(query, rows) for rows in decoded_rows.values()) * 0.98


def test_kept_vectors_that_keep_their_lengths(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Stored vectors give exact scores with their lengths."""
    docs = database.create_collection("docs", unit_vectors=False, keep_vectors=True)
    long = lengthened(corpus.vectors)
    docs.add(corpus.passages, vectors=long)
    docs.build()
    query = lengthened(corpus.queries[:1])[0]
    exact = sorted((maxsim(query, rows) for rows in long), reverse=True)[:10]
    assert [hit.score for hit in docs.search(vectors=query, k=10, **EVERYTHING)] == pytest.approx(exact, rel=2e-3)


def test_quantile_levels(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """`levels="quantile"` uses the paper's levels."""
    docs = database.create_collection("docs", levels="quantile")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    assert docs.stats()["levels"] == "quantile"
    assert_equals_oracle(docs, database.url, corpus.queries[:2], **EVERYTHING)
    other = database.create_collection("other", levels="lloyd-max")
    other.add(corpus.passages, vectors=corpus.vectors)
    other.build()
    with psycopg.connect(database.url) as connection:
        weights = connection.execute("select weights from pgretrieval.codebook").fetchall()
    assert weights[0] != weights[1]


def test_more_bits_come_closer_to_the_given_vectors(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """More bits decode closer to the vectors; 4 bits nearly reproduce them."""
    fidelity = []
    for bits in (1, 2, 4):
        docs = database.create_collection(f"bits {bits}", bits=bits)
        docs.add(corpus.passages, vectors=corpus.vectors)
        docs.build()
        vectors = decoded(database.url, docs.name)
        cosines = [np.einsum("nd,nd->n", vectors[f"p{i}"], corpus.vectors[i]) for i in range(300)]
        fidelity.append(float(np.concatenate(cosines).mean()))
    assert fidelity == sorted(fidelity)
    assert fidelity[-1] > 0.99


def test_passages_added_after_the_build_are_coded_alike(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Passages added after the build have the same format of postings and codes."""
    docs = database.create_collection("docs", bits=2)
    docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
    docs.build()
    for start in (200, 250):
        docs.add(corpus.passages[start : start + 50], vectors=corpus.vectors[start : start + 50])
    assert_equals_oracle(docs, database.url, corpus.queries[:4], **EVERYTHING)


@pytest.mark.parametrize("knobs", [{}, {"probes": 1}, {"candidates": 40, "pruning": 12}])
def test_scores_are_exact_whatever_the_knobs(
    built: pgretrieval.Collection, database_url: str, corpus: Corpus, knobs: dict[str, int]
):
    """Fewer probes or candidates lose passages but do not change scores."""
    vectors = decoded(built._database.url, built.name)
    for query in corpus.queries:
        for hit in built.search(vectors=query, k=10, **knobs):
            assert hit.score == pytest.approx(maxsim(query, vectors[hit.id]), abs=1e-4)


def test_one_query_token_and_many(built: pgretrieval.Collection):
    """Queries of one and of many tokens work."""
    for count in (1, 300):
        assert_equals_oracle(built, built._database.url, clustered(1, seed=5, tokens=(count, count)), **EVERYTHING)


@pytest.mark.parametrize("k", [300, 301, 5000])
def test_k_beyond_the_collection_returns_all(built: pgretrieval.Collection, corpus: Corpus, k: int):
    """A k above the number of passages returns all, including those that no probed centroid lists."""
    hits = built.search(vectors=corpus.queries[0], k=k)
    assert sorted(hit.id for hit in hits) == sorted(f"p{number}" for number in range(300))
    assert [hit.rank for hit in hits] == list(range(1, 301))


def test_one_passage_of_three_tokens(database: pgretrieval.RetrievalDatabase):
    """A collection of one passage with three tokens can be built."""
    docs = database.create_collection("docs")
    docs.add(passages(1), vectors=clustered(1, tokens=(3, 3)))
    docs.build()
    hits = docs.search(vectors=clustered(1, seed=4)[0], k=10)
    assert [(hit.rank, hit.id) for hit in hits] == [(1, "p0")]
    assert_equals_oracle(docs, database.url, clustered(2, seed=4))


def test_one_passage_of_one_token(database: pgretrieval.RetrievalDatabase):
    """A collection of one token can be built."""
    docs = database.create_collection("docs", bits=1)
    vectors = clustered(1, tokens=(1, 1))
    docs.add(passages(1), vectors=vectors)
    docs.build()
    assert docs.search(vectors=vectors[0])[0].score == pytest.approx(1, abs=1e-3)


def test_identical_passages(database: pgretrieval.RetrievalDatabase):
    """Identical passages, with empty clusters and zero residuals, are all found."""
    docs = database.create_collection("docs")
    one = clustered(1, tokens=(10, 10))[0]
    docs.add(passages(50), vectors=[one] * 50)
    docs.build()
    hits = docs.search(vectors=one, k=50)
    assert sorted(hit.id for hit in hits) == sorted(f"p{number}" for number in range(50))
    assert [hit.score for hit in hits] == pytest.approx([10] * 50, abs=1e-2)


def test_identical_tokens_everywhere(database: pgretrieval.RetrievalDatabase):
    """A single distinct vector gives one centroid and levels of zero width."""
    docs = database.create_collection("docs")
    row = clustered(1, tokens=(1, 1))[0]
    docs.add(passages(20), vectors=[np.repeat(row, 5, axis=0)] * 20)
    docs.build()
    assert docs.stats()["centroids"] == 1
    assert [hit.score for hit in docs.search(vectors=row, k=3)] == pytest.approx([1, 1, 1], abs=1e-3)


def test_a_passage_of_many_tokens(database: pgretrieval.RetrievalDatabase):
    """Codes longer than a page and passages longer than a decoding chunk are complete."""
    docs = database.create_collection("docs")
    docs.add(passages(3), vectors=clustered(3, tokens=(9000, 10000), dim=48))
    docs.build()
    assert_equals_oracle(docs, database.url, clustered(2, dim=48, seed=6), **EVERYTHING)
