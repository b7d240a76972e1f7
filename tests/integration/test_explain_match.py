"""Why a passage is found or not: similarities, ranks by each kind of score, and what it lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.errors import ConfigError, InputError, PassageNotFoundError
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.codes import decoded
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.encoder import HashedEncoder
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.telling import TellingEncoder
from tests.support.tokens import KINDS, fill
from tests.support.vectors import clustered, maxsim, passages, unit

COUNT = 1200
VECTORS = clustered(COUNT, seed=1)
QUERY = clustered(1, seed=2, tokens=(8, 8))[0]
DENSE = unit(np.stack([rows.mean(axis=0) for rows in VECTORS]))


@pytest.fixture(scope="module", params=[{}, {"keep_vectors": True}], ids=["codes", "kept"])
def docs(module_database: pgretrieval.RetrievalDatabase, request: pytest.FixtureRequest) -> Iterator[pgretrieval.Collection]:
    """A built collection of more passages than a rank counts."""
    collection = module_database.create_collection("docs", dense="kept", bits=2, **request.param)
    collection.add(passages(COUNT), vectors=VECTORS, dense=DENSE)
    collection.build()
    yield collection
    module_database.drop_collection("docs")


@pytest.mark.parametrize("built", [False, True])
def test_similarities_and_ranks_are_those_of_all_passages(
    database: pgretrieval.RetrievalDatabase, corpus: Corpus, built: bool
) -> None:
    """The matrix is that of numpy, the score its sum of maxima, and ranks are those among all passages."""
    docs = database.create_collection("docs", dense="kept")
    docs.add(corpus.passages, vectors=corpus.vectors, dense=DENSE[:300])
    if built:
        docs.build()
    stored = decoded(database.url, "docs") if built else {f"p{n}": rows for n, rows in enumerate(corpus.vectors)}
    query, dense = corpus.queries[0], corpus.queries[0].mean(axis=0)
    scores = {key: maxsim(query, rows) for key, rows in stored.items()}
    ordered = sorted(scores, key=lambda key: -scores[key])
    nearness = DENSE[:300] @ (dense / np.linalg.norm(dense))
    by_words = [hit.id for hit in docs.text_search("text of passage 12", 300)]
    for key in (ordered[0], ordered[40], ordered[-1]):
        found = docs.explain_match("text of passage 12", key, vectors=query, dense=dense)
        assert found.similarities == pytest.approx(query @ stored[key].T, abs=1e-3)
        assert found.score == pytest.approx(scores[key], abs=1e-3)
        assert sum(match.share for match in found.matches) == pytest.approx(found.score, rel=1e-6)
        assert [match.position for match in found.matches] == found.similarities.argmax(axis=1).tolist()
        assert (len(found.query_tokens), len(found.passage_tokens)) == found.similarities.shape
        assert found.ranks["late"].rank == ordered.index(key) + 1
        assert found.ranks["dense"].rank == int((nearness > nearness[int(key[1:])] + 1e-3).sum()) + 1
        assert found.ranks["words"].rank <= by_words.index(key) + 1  # some scores are equal
        assert all(rank.exact for rank in found.ranks.values())
        assert found.passage == docs.get([key])[key]
    assert docs.explain_match("x", ordered[0], vectors=query).rank == 1
    assert docs.explain_match(None, ordered[40], vectors=query).lacks == (
        f"Its score, {found_score(docs, ordered[40], query):.4f}, does not reach that of hit 10, "
        f"{docs.search(vectors=query)[-1].score:.4f}.",
    )


def found_score(docs: pgretrieval.Collection, key: str, query: Any) -> float:
    return docs.explain_match(None, key, vectors=query).score


def test_ranks_beyond_those_counted_are_at_least(docs: pgretrieval.Collection) -> None:
    """Of more than 1,000 better passages so many are counted."""
    worst = docs.search(vectors=QUERY, k=COUNT)[-1].id
    found = docs.explain_match("nothing", worst, vectors=QUERY, dense=-DENSE[int(worst[1:])])
    assert str(found.ranks["late"]) == str(found.ranks["dense"]) == "at least 1,001"
    assert str(found.ranks["words"]) == "none"
    assert not found.ranks["late"].exact
    assert found.ranks["words"].score is None


def lost(docs: pgretrieval.Collection, key: str, **options: Any) -> str:
    (lacks,) = docs.explain_match(None, key, vectors=QUERY, **options).lacks
    return lacks


def test_each_stage_says_what_it_drops(docs: pgretrieval.Collection) -> None:
    """The sentence names the stage, its numbers and the option that keeps more; with that option the passage passes it."""
    ranking = [hit.id for hit in docs.search(vectors=QUERY, k=COUNT)]
    postings = {"generator": "postings"}
    assert "is in the 8 centroids that the query probes" in lost(docs, ranking[-1], probes=1, **postings)
    assert "20 other passages have more tokens" in lost(docs, ranking[60], candidates=20, pruning=10, **postings)
    assert "of 500 candidates 12 remain. Raise pruning" in lost(
        docs, ranking[60], candidates=500, pruning=12, probes=50, **postings
    )
    assert "does not reach that of hit 10" in lost(docs, ranking[30], candidates=COUNT, pruning=COUNT, probes=10**6, **postings)
    assert "12 highest. Raise candidates" in lost(docs, ranking[500], generator="lower_bound", candidates=12, probes=100)
    restricted = {"where": {"number": {"$gte": 0}}, "candidates": 20, "pruning": 10}
    assert "20 other passages have more tokens" in lost(docs, ranking[200], **restricted)
    found = docs.explain_match(None, ranking[0], vectors=QUERY, candidates=COUNT, pruning=COUNT, probes=10**6, **postings)
    assert (found.rank, found.lacks) == (1, ())


def test_words_that_list_no_passage(docs: pgretrieval.Collection) -> None:
    """A search of passages by words says what it does not list, and which words are missing."""
    found = docs.explain_match("passage 7 title 9", "p800", vectors=QUERY, generator="text", candidates=10)
    assert found.lacks == (
        "It is not among the 10 passages that the search by words lists. Raise candidates to list more.",
        "Of the query's words it does not contain: 7, 9.",
    )


def test_proxies_that_are_too_far(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> None:
    """A search by proxies says so."""
    docs = database.create_collection("docs", generator="proxy")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    last = docs.search(vectors=QUERY, k=300)[-1].id
    assert "10 other passages have a proxy nearer" in lost(docs, last, candidates=10, pruning=10)


def test_kept_vectors_of_few_are_compared(database: pgretrieval.RetrievalDatabase) -> None:
    """With kept vectors a passage can be left out by its codes."""
    docs = database.create_collection("docs", keep_vectors=True, bits=4)
    docs.add(passages(300), vectors=VECTORS[:300])
    docs.build()
    hits = docs.search(vectors=QUERY, k=100)
    everything = {"probes": 10**6, "candidates": 300, "pruning": 300}
    assert "11 passages that are compared by their kept vectors" in lost(docs, hits[-1].id, k=1, **everything)


@pytest.mark.parametrize("name", KINDS)
def test_retrieved_tokens(database: pgretrieval.RetrievalDatabase, corpus: Corpus, name: str) -> None:
    """XTR says which passages have no retrieved token; scores and imputed tokens are those of the hits."""
    docs, query = fill(database, corpus)[name], corpus.queries[0]
    knobs = {"k_tokens": 20, "probes": 30}
    hits = docs.search(vectors=query, k=20, matches=True, **knobs)
    found = docs.explain_match(None, hits[4].id, k=20, vectors=query, **knobs)
    assert (found.rank, found.score) == (5, pytest.approx(hits[4].score))
    assert found.matches == pytest.approx(hits[4].matches)
    assert found.ranks["late"].rank == 5
    alone = {hit.id for hit in docs.search(vectors=query, k=20, **knobs)}
    last = next(f"p{n}" for n in range(299, 0, -1) if f"p{n}" not in alone and not 50 <= n < 60)
    lacks = docs.explain_match(None, last, k=20, vectors=query, k_tokens=1, probes=1).lacks
    assert "retrieve" in lacks[0] or "does not reach" in lacks[0]


def test_a_passage_without_a_retrieved_token_says_so(database: pgretrieval.RetrievalDatabase) -> None:
    """The similarities are of the text encoded again, in its order, and each query token is imputed."""
    docs = database.create_collection("docs", encoder=TellingEncoder(), scorer="xtr")
    docs.add([{"id": f"p{n}", "text": f"w{n} w{n + 1} same w{n + 2}"} for n in range(60)])
    docs.build()
    found = docs.explain_match("w7 w8", "p40", k=2, k_tokens=3)
    assert "No query token retrieved a token of it. Each retrieves the 3 most similar tokens" in found.lacks[0]
    assert found.lacks[1] == "Of the query's words it does not contain: w7, w8."
    assert all(match.imputed and match.position is None for match in found.matches)
    assert [token.text for token in found.passage_tokens] == ["w40", "w41", "same", "w42"]
    assert found.similarities.shape == (2, 4)
    near = docs.explain_match("w7 w8", "p7", k=2, k_tokens=3)
    assert [(match.token, match.position) for match in near.matches] == [("w7", 0), ("w8", 1)]


def test_reranked_passages(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> None:
    """A passage beyond the depth of reranking says so."""
    docs, query = database.create_collection("docs", scorer="xtr", rerank="maxsim"), corpus.queries[0]
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    last = docs.search(vectors=query, k=150, rerank="none")[-1].id
    (lacks,) = docs.explain_match(None, last, k=5, vectors=query, rerank_depth=5).lacks
    assert "not among the 5 passages that are reranked. Raise rerank_depth" in lacks


def test_filters_that_exclude(docs: pgretrieval.Collection) -> None:
    """An excluded passage is compared all the same; filter and ids are named."""
    found = docs.explain_match(None, "p7", vectors=QUERY, where={"number": 3}, among=["p3"])
    assert found.lacks == ('The filter where= excludes it; its metadata are {"number": 7}.', "The ids in among= do not include it.")
    assert found.rank is None
    assert found.score == pytest.approx(docs.explain_match(None, "p7", vectors=QUERY).score)
    assert docs.explain_match(None, "p3", vectors=QUERY, where={"number": 3}).rank == 1
    assert docs.explain_match(None, "p3", vectors=QUERY, where={"other": 3}).rank is None


def test_a_filter_does_not_change_the_score_of_what_it_excludes(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> None:
    """The tokens that XTR retrieves depend on the filter, so what it excludes is compared without it."""
    docs = database.create_collection("docs", scorer="xtr")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    best = docs.search(vectors=QUERY, k=1)[0]
    found = docs.explain_match(None, best.id, vectors=QUERY, where={"number": -1})
    assert found.score == pytest.approx(best.score)
    assert len(found.lacks) == 1


def test_a_least_score(docs: pgretrieval.Collection) -> None:
    """A score below min_score is named."""
    best = docs.search(vectors=QUERY, k=1)[0]
    found = docs.explain_match(None, best.id, vectors=QUERY, min_score=best.score + 1)
    assert found.lacks == (f"Its score, {best.score:.4f}, is below min_score, {best.score + 1:g}.",)
    assert found.rank is None


def test_texts_and_words_of_an_encoder(database: pgretrieval.RetrievalDatabase) -> None:
    """Tokens have texts and offsets; words are compared as the collection's language stems them, and stop words are left out."""
    docs = database.create_collection("docs", encoder=TellingEncoder())
    docs.add([{"id": "a", "title": "Rivers", "text": "of money"}, {"id": "b", "text": "bank"}])
    found = docs.explain_match("the river Bank river", "a")
    assert found.lacks == ("Of the query's words it does not contain: Bank.",)
    assert [token.text for token in found.query_tokens] == ["the", "river", "Bank", "river"]
    assert [found.passage.encoded_text[token.start : token.end] for token in found.passage_tokens] == ["Rivers", "of", "money"]
    assert found.query == "the river Bank river"
    assert json.loads(json.dumps(found.as_dict()))["passage_tokens"][0] == {"text": "Rivers", "start": 0, "end": 6}
    plain = database.create_collection("plain", encoder=HashedEncoder(), language=None)
    plain.add([{"id": "a", "text": "rivers"}])
    found = plain.explain_match("river rivers the", "a")
    assert found.lacks == ("Of the query's words it does not contain: river, the.",)
    assert list(found.ranks) == ["late"]


def test_texts_alone_have_ranks_by_words(database: pgretrieval.RetrievalDatabase) -> None:
    """A collection of texts has no similarities, and says why."""
    docs = database.create_collection("docs", encoder="none")
    docs.add([{"id": "a", "text": "river"}, {"id": "b", "text": "bank"}])
    found = docs.explain_match("river sea", "a")
    assert (found.score, found.similarities.shape, found.matches) == (None, (0, 0), ())
    assert found.ranks["words"].rank == 1
    assert found.lacks == ("Of the query's words it does not contain: sea.",)
    assert "texts only" in found.note


def test_cross_encoders(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> None:
    """A factorised collection says that a cross-encoder scores otherwise; options of a cross-encoder are refused."""
    docs, model = database.create_collection("docs"), TableCrossEncoder()
    docs.add(corpus.passages, vectors=corpus.vectors)
    assert docs.explain_match(None, "p1", vectors=QUERY).note is None
    docs.factorize(model, queries(range(60)), 30)
    assert "a cross-encoder reads query and passage together" in docs.explain_match(None, "p1", vectors=QUERY).note
    for options in ({"scorer": "cross_encoder"}, {"rerank": model}):
        with pytest.raises(ConfigError, match="no token matches to explain"):
            docs.explain_match("query 1", "p1", **options)


def test_unknown_passages(docs: pgretrieval.Collection) -> None:
    """Raises PassageNotFoundError for an unknown id, InputError without a query or for what is no id."""
    with pytest.raises(PassageNotFoundError, match=r"no passage 'nope'; give the id of a stored passage"):
        docs.explain_match(None, "nope", vectors=QUERY)
    with pytest.raises(InputError, match="the query"):
        docs.explain_match(None, "p1")
    with pytest.raises(InputError, match="id is"):
        docs.explain_match("x", None, vectors=QUERY)
    assert docs.explain_match("x", "p1", vectors=QUERY).passage.id == "p1"


def test_hidden_passages_do_not_exist(
    database: pgretrieval.RetrievalDatabase, database_url: str, postgres: PostgresUnderTest
) -> None:
    """A role that row-level security restricts finds no hidden passage; its searches have matches, and ranks among its own."""
    docs = database.create_collection("docs")
    docs.add([{**one, "metadata": {"tenant": f"t{n % 3}"}} for n, one in enumerate(passages(300))], vectors=VECTORS[:300])
    docs.build()
    expected = [hit for hit in docs.search(vectors=QUERY, k=300, matches=True) if hit.metadata["tenant"] == "t1"]
    reader, writer = postgres.create_role(), postgres.create_role()
    grant(database_url, reader[0], writer[0], "postgres")
    with psycopg.connect(database_url) as connection:
        isolate_tenants(connection)
        connection.execute(f"alter role {reader[0]} set app.tenant = 't1'")
    with pgretrieval.connect(url=url_as(postgres, database_url, reader)) as own:
        seen = own.get_collection("docs")
        assert [hit.matches for hit in seen.search(vectors=QUERY, matches=True)] == [hit.matches for hit in expected[:10]]
        found = seen.explain_match("title", expected[20].id, vectors=QUERY)
        assert (found.ranks["late"].rank, found.ranks["words"].exact) == (21, True)
        with pytest.raises(PassageNotFoundError):
            seen.explain_match(None, "p0", vectors=QUERY)


def test_the_rank_is_that_of_the_mode(docs: pgretrieval.Collection) -> None:
    """`rank` is the place among the hits of the search of each mode; a passage that is none of them says so."""
    query, given = "passage 7 title 9", {"vectors": QUERY, "dense": DENSE[500]}
    searches = {
        "late": docs.search(vectors=QUERY),
        "words": docs.text_search(query),
        "dense": docs.dense_search(dense=DENSE[500]),
        "hybrid": docs.hybrid_search(query, **given),
    }
    assert len({tuple(hit.id for hit in hits) for hits in searches.values()}) == 4
    for mode, hits in searches.items():
        for hit in (hits[0], hits[3]):
            found = docs.explain_match(query, hit.id, mode=mode, **given)
            assert (found.rank, found.mode) == (hit.rank, mode)
            assert set(found.ranks) == {"late", "words", "dense"}
            assert not any("search" in each for each in found.lacks)
    for mode, name in (("words", "search by words"), ("dense", "search by dense vectors"), ("hybrid", "hybrid search")):
        beyond = docs.explain_match(query, searches[mode][1].id, 1, mode=mode, **given)
        assert (beyond.rank, beyond.lacks[0]) == (None, f"It ranks below hit 1 of the {name}.")
        excluded = docs.explain_match(query, searches[mode][0].id, mode=mode, where={"number": -1}, **given)
        assert (excluded.rank, "where=" in excluded.lacks[0], len(excluded.lacks) <= 2) == (None, True, True)
    with pytest.raises(ConfigError, match="mode is 'fuzzy'"):
        docs.explain_match(query, "p1", mode="fuzzy")
    with pytest.raises(ConfigError, match='probes is 3, which mode "hybrid" does not use'):
        docs.explain_match(query, "p1", mode="hybrid", probes=3)


def test_texts_alone_have_a_rank_by_words(database: pgretrieval.RetrievalDatabase) -> None:
    """The hits of a collection of texts are those of its words."""
    docs = database.create_collection("docs", encoder="none")
    docs.add([{"id": "a", "text": "river"}, {"id": "b", "text": "river river sea"}])
    assert [docs.explain_match("river sea", id, mode="words").rank for id in ("a", "b")] == [2, 1]
    assert docs.explain_match("sea", "a", mode="words").rank is None


def test_words_that_find_nothing(docs: pgretrieval.Collection) -> None:
    """A passage that a search does not find, although it has room, says so."""
    found = docs.explain_match("9", "p7", mode="words", vectors=QUERY)
    assert found.lacks == ("The search by words does not find it.", "Of the query's words it does not contain: 9.")
