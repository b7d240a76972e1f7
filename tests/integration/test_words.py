"""Searches by words, alone and fused with late interaction."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.search.words import found_words
from pgretrieval.sqlalchemy import vector_array
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered

TEXTS = [
    "brown fox jump quick",
    "lazy dog sleep sun",
    "quick dog run quick fox hide dog",
    "sun moon star",
    "mountain river",
    "dog dog dog cat bird",
]
"""Words that are stems and not stop words, so that the reference needs neither."""


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    collection = database.create_collection("docs", dim=64)
    records = [{"id": str(number), "text": text, "metadata": {"n": number}} for number, text in enumerate(TEXTS)]
    collection.add(records, vectors=clustered(len(TEXTS), seed=1))
    return collection


def bm25(query: str, texts: list[str]) -> dict[str, float]:
    """Reference: k1 = 1.2, b = 0.75, document frequency as in Lucene, without passages that have none of the words."""
    held = [Counter(re.findall(r"\w+", text)) for text in texts]
    mean = sum(map(Counter.total, held)) / len(held)
    scores: Counter[str] = Counter()
    for word, times in Counter(query.split()).items():
        passages = sum(word in counts for counts in held)
        rarity = math.log(1 + (len(held) - passages + 0.5) / (passages + 0.5))
        for number, counts in enumerate(held):
            if counts[word]:
                share = counts[word] * 2.2 / (counts[word] + 1.2 * (0.25 + 0.75 * counts.total() / mean))
                scores[str(number)] += times * rarity * share
    return scores


def ranking(scores: dict[str, float]) -> list[tuple[str, Any]]:
    ordered = sorted(scores.items(), key=lambda item: (-item[1], int(item[0])))
    return [(key, pytest.approx(score, rel=1e-4)) for key, score in ordered]


@pytest.mark.parametrize("query", ["quick dog sun", "dog dog fox", "river", "nobody"])
def test_scores_are_bm25_before_and_after_a_build(docs: pgretrieval.Collection, query: str):
    """Scores are BM25 before and after a build."""
    for _ in range(2):
        assert [(hit.id, hit.score) for hit in docs.text_search(query)] == ranking(bm25(query, TEXTS))
        docs.build()


def test_later_passages_are_found(docs: pgretrieval.Collection):
    """Passages added after a build are found by words."""
    docs.build()
    docs.add([{"id": "6", "text": "river river", "metadata": {"n": 6}}], vectors=clustered(1, seed=7))
    assert [hit.id for hit in docs.text_search("river")] == ["6", "4"]
    assert [hit.id for hit in docs.text_search("river", where={"n": 4})] == ["4"]
    assert [hit.id for hit in docs.text_search("river", among=["6"])] == ["6"]


def test_titles_count_and_words_are_stemmed_by_the_language(database: pgretrieval.RetrievalDatabase):
    """Titles count, and the collection's configuration stems the words."""
    for language, found in (("english", ["a"]), ("simple", []), ("german", [])):
        docs = database.create_collection(language, dim=64, language=language)
        docs.add([{"id": "a", "title": "Running", "text": "fast"}], vectors=clustered(1, seed=1))
        assert [hit.id for hit in docs.text_search("runs")] == found


@pytest.mark.parametrize(("weight", "first"), [(3.0, "title"), (1.0, "body"), (0.0, "body")])
def test_a_word_of_the_title_counts_as_often_as_asked(database: pgretrieval.RetrievalDatabase, weight: float, first: str):
    """`title_weight` applies before and after a build."""
    docs = database.create_collection("docs", dim=64, title_weight=weight)
    records = [
        {"id": "title", "title": "dog", "text": "sun moon star"},
        {"id": "body", "title": "sun", "text": "dog dog moon"},
        {"id": "none", "title": "sun", "text": "sun moon star"},
    ]
    docs.add(records, vectors=clustered(3, seed=1))
    found = []
    for _ in range(2):
        found.append([(hit.id, hit.score) for hit in docs.text_search("dog")])
        docs.build()
    assert found[0] == [(key, pytest.approx(score, rel=1e-4)) for key, score in found[1]]
    assert found[0][0][0] == first
    assert {key for key, _ in found[0]} == ({"title", "body"} if weight else {"body"})
    assert docs.stats()["title_weight"] == weight


def test_no_language_no_words(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection):
    """Without a language a text search raises an error, and an unknown configuration is refused."""
    silent = database.create_collection("silent", language=None)
    with pytest.raises(pgretrieval.ConfigError, match=r"collection 'silent' has no text search.*Create it with a language"):
        silent.text_search("dog")
    with pytest.raises(pgretrieval.ConfigError, match="language is 'klingon'"):
        database.create_collection("other", language="klingon")
    assert database.list_collections() == ["docs", "silent"]


def test_hybrid_by_rank_is_the_fusion_of_both_rankings(database: pgretrieval.RetrievalDatabase):
    """Fusion by rank equals the formula over both rankings, with ranks from 1."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add([{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
    docs.build()
    query = "quick dog sun"
    late = {hit.id: hit.rank for hit in docs.search(query, k=6)}
    words = {hit.id: hit.rank for hit in docs.text_search(query, k=6)}
    for weights, constant in (((1.0, 1.0, 1.0), 60), ((0.3, 2.0, 0.0), 1), ((1.0, 0.0, 9.0), 0)):
        expected = {
            key: weights[0] / (constant + rank) + (weights[1] / (constant + words[key]) if key in words else 0)
            for key, rank in late.items()
        }
        found = docs.hybrid_search(query, k=6, fusion="rank", rank_constant=constant, weights=weights)
        assert [hit.score for hit in found] == pytest.approx(sorted(expected.values(), reverse=True), rel=1e-4)
        assert {hit.id: pytest.approx(hit.score, rel=1e-4) for hit in found} == expected


@pytest.mark.parametrize("encoder", ["minilm", "hashed"])
def test_hybrid_by_score_is_the_sum_of_standard_scores(database: pgretrieval.RetrievalDatabase, encoder: str):
    """Fusion by score sums standardised scores, more of those whose best stands out (MiniLM); those without the words count 0."""
    power = 3 if encoder == "minilm" else 0
    docs = database.create_collection("docs", encoder="minilm" if power else HashedEncoder(), dense=None)
    docs.add([{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
    docs.build()
    query = "quick dog sun"
    late = {hit.id: hit.score for hit in docs.search(query, k=6)}
    words = dict.fromkeys(late, 0.0) | {hit.id: hit.score for hit in docs.text_search(query, k=6)}
    for weights in ((1.0, 1.0, 1.0), (0.3, 2.0, 0.0)):
        by_late, by_words = standard(late, 0.35, power), standard(words, 0.75, power)
        expected = {key: weights[0] * by_late[key] + weights[1] * by_words[key] for key in late}
        found = docs.hybrid_search(query, k=6, weights=weights)
        assert [(hit.id, hit.score) for hit in found] == ranking(expected)
        in_sql = "select id, score from pgretrieval.hybrid_search('docs', %s::vector[], %s, 6, weights => %s)"
        with psycopg.connect(database.url) as connection:
            vectors = vector_array(docs.encoder.encode_query([query])[0])
            assert connection.execute(in_sql, [vectors, query, list(weights)]).fetchall() == ranking(expected)


def standard(scores: dict[str, float], usual: float, power: int) -> dict[str, float]:
    """Mean 0, and a deviation that grows with how the best score stands out unless the power is 0."""
    mean, deviation, best = statistics.fmean(scores.values()), statistics.pstdev(scores.values()), max(scores.values())
    return {key: (score - mean) / deviation * ((best - mean) / best / usual) ** power for key, score in scores.items()}


@pytest.mark.parametrize("nearest", [0.0, 0.5])
def test_scores_without_a_scale_stand_out_by_their_whole_at_most(database: pgretrieval.RetrievalDatabase, nearest: float):
    """Distances of a column are negative, and their best can be 0; Python and SQL fuse them alike."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("create table own (id text primary key, embedding vector(2))")
        rows = [(str(number), f"[{1 + nearest + number},0]") for number in range(len(TEXTS))]
        connection.cursor().executemany("insert into own values (%s, %s)", rows)
        connection.execute("create index on own using hnsw (embedding vector_l2_ops)")
        docs = database.create_collection("docs", encoder="minilm", dense="public.own.embedding")
        docs.add([{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
        docs.build()
        found = docs.hybrid_search("quick dog sun", k=6, dense=[1.0, 0.0])
        in_sql = connection.execute(
            "select id, score from pgretrieval.hybrid_search('docs', %s::vector[], 'quick dog sun', 6, query_dense => '[1,0]')",
            [vector_array(docs.encoder.encode_query(["quick dog sun"])[0])],
        ).fetchall()
        assert [(hit.id, pytest.approx(hit.score, abs=1e-4)) for hit in found] == in_sql
        alone = docs.hybrid_search("quick dog sun", k=6, dense=[1.0, 0.0], weights=(0, 0, 1))
        distances = [-abs(hit.score) for hit in docs.dense_search(dense=[1.0, 0.0], k=6)]
        scores = standard_of(distances)
        assert [hit.score for hit in alone] == pytest.approx(scores, abs=1e-3)


def standard_of(scores: list[float]) -> list[float]:
    """Scores of mean 0, standing out by at most the whole of the best."""
    mean, deviation, best = statistics.fmean(scores), statistics.pstdev(scores), max(scores)
    stands_out = min((best - mean) / abs(best), 1) if best else 1
    return [(score - mean) / deviation * (stands_out / 0.47) ** 3 for score in scores]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": (1.0, 1.0)}, r"weights are \(1.0, 1.0\)"),
        ({"weights": (1.0, 1.0, math.nan)}, "weights is nan; give a finite number"),
        ({"rank_constant": -1}, "rank_constant is -1"),
        ({"fusion": "sum"}, "fusion is 'sum'.*score.*rank"),
        ({"dense": [1.0, 2.0]}, "'docs' has no dense vectors"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_invalid_fusions_are_refused(docs: pgretrieval.Collection, options: dict[str, Any], message: str):
    with pytest.raises(pgretrieval.ConfigError, match=message):
        docs.hybrid_search("dog", vectors=clustered(1, seed=1)[0], **options)


@pytest.mark.parametrize("query", ["", "  ", 3, None])
def test_queries_that_are_no_text(docs: pgretrieval.Collection, query: Any):
    with pytest.raises(pgretrieval.InputError, match="give a text that is not blank"):
        docs.text_search(query)
    with pytest.raises(pgretrieval.ConfigError, match="k is 0"):
        docs.text_search("dog", 0)


def test_texts_that_tsvector_can_hardly_hold(database: pgretrieval.RetrievalDatabase):
    """Very long texts, and texts of a million different words, can be built."""
    docs = database.create_collection("docs", dim=64)
    long = " ".join(f"w{number}" for number in range(200_000))
    docs.add([{"id": "long", "text": long}, {"id": "none", "text": "the of and"}], vectors=clustered(2, seed=1))
    assert [hit.id for hit in docs.text_search("w7")] == ["long"]
    docs.build()
    assert [hit.id for hit in docs.text_search("w7")] == ["long"]


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("the rise of a loaf", "🍞 A loaf rises, and the rising loaves rose.", ["loaf", "rises", "rising"]),
        ("state-of-the-art", "A state-of-the-art <b>oven</b>, an art.", ["state", "art", "art"]),
        ("of the", "All of the words are stop words.", []),
        ("quick' | dog:*", "It is a dog's life, <dog> &amp; quick.", ["dog", "quick"]),
        ("dog", "This \ue000dog\ue001 has marks of its own.", []),
        ("dog", "", []),
    ],
)
def test_words_that_are_found(docs: pgretrieval.Collection, query: str, text: str, expected: list[str]):
    """The words of a query are found in their other forms, at characters of the text, whatever markup it has."""
    [places, others] = found_words(docs._database, docs._row, query, [text, "Nothing of it."])
    assert [text[start:end] for start, end in places] == expected
    assert others == []
