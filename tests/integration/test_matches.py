"""Token matches: the winner of each query token, similarities and shares that sum to the score, and the texts of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.types import Float32Array
from tests.fixtures.collections import Corpus
from tests.support.codes import decoded
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.encoder import HashedEncoder
from tests.support.telling import TellingEncoder
from tests.support.tokens import EVERYTHING, KINDS, fill, lengthened
from tests.support.vectors import clustered, passages, unit

ALL = {"probes": 10**6, "candidates": 300, "pruning": 300}
STORED: dict[str, dict[str, Any]] = {
    "one bit": {"bits": 1},
    "two bits": {"bits": 2},
    "four bits": {"bits": 4},
    "kept": {"bits": 1, "keep_vectors": True},
    "long": {"unit_vectors": False},
    "long and kept": {"unit_vectors": False, "keep_vectors": True},
    "unbuilt": {},
}


def halved(vectors: list[Float32Array]) -> dict[str, Float32Array]:
    """Vectors as they are stored, by id."""
    return {f"p{number}": rows.astype(np.float16).astype(np.float32) for number, rows in enumerate(vectors)}


def sums(hit: pgretrieval.Hit) -> float:
    return sum(match.share for match in hit.matches)


def assert_best_tokens(hit: pgretrieval.Hit, query: Float32Array, vectors: Float32Array) -> None:
    """Assert that each match is of the best token, by products of (query tokens, dim) and (tokens, dim) in numpy."""
    products = query.astype(np.float64) @ vectors.astype(np.float64).T
    assert [match.query_position for match in hit.matches] == list(range(len(query)))
    assert [match.position for match in hit.matches] == products.argmax(axis=1).tolist()
    assert [match.similarity for match in hit.matches] == pytest.approx(products.max(axis=1).tolist(), abs=1e-4)


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("generator", [None, "lower_bound", "centroid_pruning"])
def test_matches_are_the_best_tokens_by_what_is_stored(
    database: pgretrieval.RetrievalDatabase, corpus: Corpus, name: str, generator: str | None
) -> None:
    """Similarities are of decoded codes, or of kept vectors, and sum to the score, whichever generator found the passage."""
    docs = database.create_collection("docs", **STORED[name])
    vectors = lengthened(corpus.vectors) if name.startswith("long") else corpus.vectors
    docs.add(corpus.passages, vectors=vectors)
    if name != "unbuilt":
        docs.build()
    expected = halved(vectors) if name in ("kept", "long and kept", "unbuilt") else decoded(database.url, "docs")
    options: dict[str, Any] = {"generator": generator}
    if generator is None:
        options |= {"where": {"number": {"$lt": 250}}, "reduction": "mean"}
    for query, hits in zip(
        corpus.queries[:3], docs.search_many(vectors=corpus.queries[:3], k=5, matches=True, **options), strict=True
    ):
        assert len(hits) == 5
        for hit in hits:
            assert_best_tokens(hit, query, expected[hit.id])
            assert sums(hit) == pytest.approx(hit.score, rel=1e-5)
            assert hit.components == {"late": pytest.approx(hit.score)}
            assert (hit.matches[0].query_token, hit.matches[0].token, hit.matches[0].start) == (None, None, None)
            assert not any(match.imputed for match in hit.matches)


@pytest.fixture(scope="module")
def by_tokens(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> dict[str, pgretrieval.Collection]:
    return fill(module_database, corpus)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("imputation", ["kth", "warp", "zero", -0.5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_matches_of_retrieved_tokens(
    by_tokens: dict[str, pgretrieval.Collection], corpus: Corpus, name: str, imputation: Any, reduction: str
) -> None:
    """Shares sum to the score by each reduction; a query token without a retrieved token of the passage has the imputed score."""
    docs, query = by_tokens[name], corpus.queries[0]
    knobs = {"k_tokens": 20, "imputation": imputation, "reduction": reduction, "rerank": "none"}
    everything = {hit.id: hit for hit in docs.search(vectors=query, k=300, matches=True, **EVERYTHING)}
    divisor = len(query) if reduction == "mean" else 1
    hits = docs.search(vectors=query, k=50, matches=True, **knobs)
    assert [(hit.id, hit.score) for hit in hits] == [(hit.id, hit.score) for hit in docs.search(vectors=query, k=50, **knobs)]
    missed: dict[int, set[float]] = {}
    for hit in hits:
        assert sums(hit) == pytest.approx(hit.score, rel=1e-5)
        for match, known in zip(hit.matches, everything[hit.id].matches, strict=True):
            assert match.share == pytest.approx(match.similarity / divisor)
            if match.imputed:
                assert match.position is None
                missed.setdefault(match.query_position, set()).add(match.similarity)
            else:
                assert match.similarity == pytest.approx(known.similarity, abs=1e-5)
    assert missed
    assert all(len(values) == 1 for values in missed.values())
    if isinstance(imputation, float) or imputation == "zero":
        assert set.union(*missed.values()) == {0 if imputation == "zero" else imputation}


def test_a_passage_without_retrieved_tokens_is_all_imputed(by_tokens: dict[str, pgretrieval.Collection], corpus: Corpus) -> None:
    """A hybrid search can return a passage of which no query token retrieved a token."""
    hits = by_tokens["xtr"].hybrid_search(
        "passage 7", 300, vectors=corpus.queries[0], matches=True, weights=(1, 100, 0), among=[f"p{n}" for n in range(50)]
    )
    assert len(hits) == 50
    for hit in hits:
        assert sums(hit) == pytest.approx(hit.components["late"], abs=1e-5)


@pytest.mark.parametrize(
    "options", [{"scorer": "xtr"}, {"scorer": "xtr", "keep_vectors": True}, {"scorer": "xtr", "rerank": "maxsim"}]
)
def test_positions_of_retrieved_tokens(database: pgretrieval.RetrievalDatabase, options: dict[str, Any]) -> None:
    """Postings do not tell positions: these come from kept vectors, from codes by passage, or from the text encoded again."""
    docs = database.create_collection("docs", encoder=TellingEncoder(), **options)
    docs.add([{"id": f"p{n}", "title": f"Title{n}", "text": f"w{n} w{n + 1} same w{n + 2}"} for n in range(60)])
    docs.build()
    (hit,) = docs.search("w7 same w8", k=1, matches=True, rerank="none", among=["p7"])
    assert [(match.token, match.position, match.start, match.end) for match in hit.matches] == [
        ("w7", 1, 7, 9),
        ("same", 3, 13, 17),
        ("w8", 2, 10, 12),
    ]


def test_positions_are_unknown_where_nothing_tells_them(by_tokens: dict[str, pgretrieval.Collection], corpus: Corpus) -> None:
    """Given vectors cannot be encoded again, so postings alone leave positions None."""
    (hit,) = by_tokens["colxtr"].search(vectors=corpus.queries[0], k=1, matches=True)
    assert {match.position for match in hit.matches} == {None}
    (hit,) = by_tokens["reranked"].search(vectors=corpus.queries[0], k=1, matches=True)
    assert None not in {match.position for match in hit.matches}


@pytest.fixture(scope="module", params=[False, True], ids=["unbuilt", "built"])
def hybrid(
    module_database: pgretrieval.RetrievalDatabase, corpus: Corpus, request: pytest.FixtureRequest
) -> Iterator[pgretrieval.Collection]:
    docs = module_database.create_collection("hybrid", dense="kept")
    docs.add(corpus.passages, vectors=corpus.vectors, dense=unit(np.stack([rows.mean(axis=0) for rows in corpus.vectors])))
    if request.param:
        docs.build()
    yield docs
    module_database.drop_collection("hybrid")


@pytest.mark.parametrize("fusion", ["score", "rank"])
@pytest.mark.parametrize("weights", [(1, 0.4, 0.5), (0, 1, 0), (-1, 1, 2)])
def test_components_sum_to_a_fused_score(hybrid: pgretrieval.Collection, corpus: Corpus, fusion: str, weights: Any) -> None:
    """Components sum to the score and shares to "late"; a more similar token has the greater share if the weight is positive."""
    query, dense = corpus.queries[0], corpus.queries[0].mean(axis=0)
    given = {"vectors": query, "fusion": fusion, "weights": weights, "k": 20}
    hits = hybrid.hybrid_search("passage 12", dense=dense, matches=True, **given)
    plain = hybrid.hybrid_search("passage 12", dense=dense, **given)
    assert [(hit.id, hit.score) for hit in hits] == [(hit.id, hit.score) for hit in plain]
    assert all(hit.matches is None and hit.components is None for hit in plain)
    for hit in hits:
        assert list(hit.components) == ["late", "words", "dense"]
        assert sum(hit.components.values()) == pytest.approx(hit.score, abs=1e-5)
        assert sums(hit) == pytest.approx(hit.components["late"], abs=1e-5)
        if weights[0] == 1:
            by_share = sorted(hit.matches, key=lambda match: match.share)
            assert [match.similarity for match in by_share] == sorted(match.similarity for match in hit.matches)
    assert list(hybrid.hybrid_search("passage 12", matches=True, **given)[0].components) == ["late", "words"]


def test_tokens_have_texts_and_offsets(database: pgretrieval.RetrievalDatabase) -> None:
    """Offsets are those of the title, a space and the text; the encoder's own tokens are told, for each kind of search."""
    docs = database.create_collection("docs", encoder=TellingEncoder())
    docs.add([{"id": "a", "title": "A Title", "text": "the naïve river"}, {"id": "b", "text": "money"}])
    for _ in range(2):
        for hits in (
            docs.search("RIVER title", matches=True),
            docs.search("RIVER title", matches=True, generator="text"),
            docs.hybrid_search("RIVER title", matches=True),
            docs.search_many(["RIVER title"], matches=True)[0],
            docs.explain("RIVER title", matches=True).hits,
        ):
            hit = hits[0]
            assert [(match.query_token, match.token) for match in hit.matches] == [("RIVER", "river"), ("title", "Title")]
            assert [hit.encoded_text[match.start : match.end] for match in hit.matches] == ["river", "Title"]
            assert [match.position for match in hit.matches] == [4, 1]
        docs.build()


class Wrong(TellingEncoder):
    """Tells what `told` is."""

    told: Any = None

    def document_tokens(self, texts: Any) -> Any:
        return self.told


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (5, "return a list"),
        ([], "0 lists for 1 texts"),
        ([[("river", 0, 99)]], "offsets from 0 to 5"),
        ([[("river", 3, 1)]], "offsets from 0 to 5"),
        ([[(5, 0, 1)]], "river"),
        ([["river"]], "river"),
        ([[("river", "0", 1)]], "river"),
        ([[("river", None, 1)]], "river"),
    ],
)
def test_an_encoder_that_tells_nonsense_is_refused(database: pgretrieval.RetrievalDatabase, told: Any, error: str) -> None:
    """Raises EncoderError that names the method and what to return."""
    encoder = Wrong()
    encoder.told = told
    docs = database.create_collection("docs", encoder=encoder)
    docs.add([{"id": "a", "text": "river"}])
    with pytest.raises(EncoderError, match=f"document_tokens.*{error}"):
        docs.search("river", matches=True)


def test_tokens_that_do_not_fit_the_vectors_are_left_out(database: pgretrieval.RetrievalDatabase) -> None:
    """With another number of tokens than vectors, or none told, positions remain; vectors= have no query texts."""
    encoder = Wrong()
    encoder.told = [[("river", 0, 5), ("er", 3, 5)]]
    docs = database.create_collection("docs", encoder=encoder)
    docs.add([{"id": "a", "text": "river"}])
    (match,) = docs.search("river", matches=True)[0].matches
    assert (match.query_token, match.token, match.position, match.start, match.end) == ("river", None, 0, None, None)
    plain = database.create_collection("plain", encoder=HashedEncoder())
    plain.add([{"id": "a", "text": "river"}])
    (match,) = plain.search("river", matches=True)[0].matches
    assert (match.query_token, match.token, match.position) == (None, None, 0)
    encoder.told = [[("river", 0, 5)]]
    (match,) = docs.search(vectors=encoder.encode_query(["river"])[0], matches=True)[0].matches
    assert (match.query_token, match.token, match.position) == (None, "river", 0)


def test_vectors_are_enough_where_the_encoder_is_not(database: pgretrieval.RetrievalDatabase) -> None:
    """A process that does not have the encoder's object still gets positions for given vectors."""
    encoder = TellingEncoder()
    database.create_collection("docs", encoder=encoder).add([{"id": "a", "text": "bank river"}])
    with pgretrieval.connect(database.url) as other:
        (match,) = other.get_collection("docs").search(vectors=encoder.encode_query(["river"])[0], matches=True)[0].matches
    assert (match.token, match.position) == (None, 1)


def test_tokens_are_not_those_of_an_old_encoder(database: pgretrieval.RetrievalDatabase) -> None:
    """After another process has changed the encoder, a search by vectors does not ask the old one, which this process still has."""
    docs = database.create_collection("docs", encoder=TellingEncoder())
    docs.add([{"id": "a", "text": "bank river"}])
    new = TellingEncoder(dim=48)
    (vectors,) = new.encode_query(["river"])
    with pgretrieval.connect(database.url) as other:
        changed = other.get_collection("docs")
        changed.rebuild(encoder=new)
        (match,) = changed.search(vectors=vectors, matches=True)[0].matches
        assert (match.token, match.position) == ("river", 1)
    (match,) = docs.search(vectors=vectors, matches=True)[0].matches
    assert (match.token, match.position) == (None, 1)


def test_a_cross_encoder_has_no_matches(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> None:
    """A cross-encoder says so, as reranker and as scorer, and so does a search by words."""
    docs, model = database.create_collection("docs"), TableCrossEncoder()
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.factorize(model, queries(range(60)), 30)
    given = {"vectors": corpus.queries[0], "k": 3, "matches": True}
    reranked = docs.search("query 3", rerank=model, **given)
    scored = docs.search("query 3", k=3, scorer="cross_encoder", matches=True)
    for hit in (*reranked, *scored):
        assert (hit.matches, hit.components) == ((), {"cross_encoder": hit.score})
        assert "reads query and passage together" in hit.note
    (hit, *_) = docs.text_search("passage 12", matches=True)
    assert (hit.matches, hit.components) == ((), {"words": hit.score})
    assert "compares no token vectors" in hit.note
    assert docs.text_search("passage 12")[0].note is None


@pytest.mark.parametrize("given", [1, "yes", ""])
def test_matches_is_true_or_false(built: pgretrieval.Collection, corpus: Corpus, given: Any) -> None:
    """Raises ConfigError for another value."""
    for search in (built.search, built.hybrid_search):
        with pytest.raises(ConfigError, match=r"matches is .*give True or False"):
            search("x", vectors=corpus.queries[0], matches=given)
    with pytest.raises(ConfigError, match=r"matches is .*give True or False"):
        built.text_search("x", matches=given)


def test_no_hits_have_no_matches(built: pgretrieval.Collection, corpus: Corpus) -> None:
    """A search that finds nothing returns nothing."""
    assert built.search(vectors=corpus.queries[0], matches=True, among=[]) == []
    assert built.search_many(vectors=[], matches=True) == []


def test_pooled_passages_have_positions(database: pgretrieval.RetrievalDatabase) -> None:
    """Passages of a constant number of vectors have positions of these."""
    vectors = clustered(100, tokens=(4, 4), seed=3)
    docs = database.create_collection("docs", vectors_per_passage=4)
    docs.add(passages(100), vectors=vectors)
    docs.build()
    expected = decoded(database.url, "docs")
    for hit in docs.search(vectors=vectors[5], k=3, matches=True):
        assert_best_tokens(hit, vectors[5], expected[hit.id])
