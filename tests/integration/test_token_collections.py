"""Collections scored by retrieved tokens: restrictions, changes, compaction, rebuilds, checks, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.encode.registry import load_encoder
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.tokens import EVERYTHING, KINDS, fill, lengthened
from tests.support.vectors import maxsim, passages

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def collections(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> dict[str, pgretrieval.Collection]:
    """Collections that tests do not change."""
    return fill(module_database, corpus)


def ids(hits: list[pgretrieval.Hit]) -> list[str]:
    return [hit.id for hit in hits]


def value(url: str, statement: str) -> Any:
    """The first column of the first row."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone()[0]


# ---- searches


@pytest.mark.parametrize("name", KINDS)
def test_restrictions_come_before_retrieval(collections: dict[str, pgretrieval.Collection], corpus: Corpus, name: str):
    """Only tokens of matching passages are retrieved, and k passages are returned if as many match."""
    docs, query = collections[name], corpus.queries[0]
    few = docs.search(vectors=query, k=10, where={"number": {"$lt": 30}}, probes=1, k_tokens=1)
    assert len(few) == 10
    assert all(hit.metadata["number"] < 30 for hit in few)
    among = [f"p{number}" for number in (3, 4, 55, 290)]
    assert sorted(ids(docs.search(vectors=query, among=among, probes=1))) == ["p290", "p3", "p4"]  # p55 is deleted
    assert docs.search(vectors=query, among=[]) == []
    everything = {hit.id: hit.score for hit in docs.search(vectors=query, k=300, imputation="zero", rerank="none", **EVERYTHING)}
    alone = docs.search(vectors=query, among=among, imputation="zero", rerank="none", **EVERYTHING)
    assert [hit.score for hit in alone] == pytest.approx([everything[hit.id] for hit in alone], abs=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_all_come_where_all_are_asked_for(collections: dict[str, pgretrieval.Collection], corpus: Corpus, name: str):
    """A k of all passages returns all that exist, including those that no probed centroid lists."""
    docs = collections[name]
    hits = docs.search(vectors=corpus.queries[0], k=1000, probes=1, k_tokens=1)
    assert sorted(ids(hits)) == sorted(f"p{number}" for number in range(300) if not 50 <= number < 60)


@pytest.mark.parametrize("name", KINDS)
def test_search_many_and_explain_are_search(collections: dict[str, pgretrieval.Collection], corpus: Corpus, name: str):
    """search_many returns each query's results, and explain reports all counts."""
    docs = collections[name]
    knobs = {"k_tokens": 50, "imputation": "warp", "reduction": "sum"}
    many = docs.search_many(vectors=corpus.queries, k=5, **knobs)
    assert many == [docs.search(vectors=query, k=5, **knobs) for query in corpus.queries]
    explained = docs.explain(vectors=corpus.queries[0], k=5, probes=3, k_tokens=50)
    assert 3 <= explained.probes <= 3 * 8
    assert 0 < explained.tokens_retrieved <= 50 * 8
    assert explained.tokens_retrieved <= explained.postings_read * 8
    assert explained.candidates >= len(explained.hits) == 5
    width = {"colxtr": 16}.get(name, 32)
    assert explained.bytes_moved >= explained.postings_read * (width + 4)
    assert explained.passages_decoded == (min(128, explained.candidates) if name == "reranked" else 0)


def test_reranked_scores_are_exact(collections: dict[str, pgretrieval.Collection], corpus: Corpus):
    """With `rerank="maxsim"` scores are exact; with "none" they are not changed."""
    docs, query = collections["reranked"], corpus.queries[3]
    vectors = {f"p{number}": rows for number, rows in enumerate(corpus.vectors)}
    for reduction, scale in (("mean", len(query)), ("sum", 1)):
        hits = docs.search(vectors=query, reduction=reduction, rerank="maxsim")
        exact = [maxsim(query, vectors[hit.id]) / scale for hit in hits]
        assert [hit.score for hit in hits] == pytest.approx(exact, rel=0.02)
    assert docs.search(vectors=query) == docs.search(vectors=query, rerank="maxsim")
    explained = docs.explain(vectors=query, rerank_depth=20)
    assert explained.passages_decoded == 20
    assert docs.explain(vectors=query, rerank="none").passages_decoded == 0


def test_the_scale_stays_across_the_build(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Scores before and after the first build have the same scale."""
    for scorer, scale in (("xtr", 8), ("colxtr", 1)):
        docs = database.create_collection(scorer, scorer=scorer)
        docs.add(corpus.passages, vectors=corpus.vectors)
        query = corpus.queries[0]
        exact = sorted((maxsim(query, rows) / scale for rows in corpus.vectors), reverse=True)[:10]
        assert [hit.score for hit in docs.search(vectors=query)] == pytest.approx(exact, rel=1e-3)
        summed = [hit.score for hit in docs.search(vectors=query, reduction="sum")]
        assert summed == pytest.approx([score * scale for score in exact], rel=1e-3)
        docs.build()
        after = [hit.score for hit in docs.search(vectors=query, **EVERYTHING)]
        assert after == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("name", KINDS)
def test_hybrid_searches(collections: dict[str, pgretrieval.Collection], corpus: Corpus, name: str):
    """Passages found only by words get a token score."""
    hits = collections[name].hybrid_search("passage 77", vectors=corpus.queries[0], weights=(0.1, 5.0, 0.0))
    assert hits[0].id == "p77"
    assert len(hits) == 10


def test_ties_at_the_last_retrieved_token(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Ties at the last retrieved token are broken in a fixed order."""
    docs = database.create_collection("docs", scorer="xtr")
    row = corpus.vectors[0][:1]
    docs.add(passages(20), vectors=[row] * 20)
    docs.build()
    assert ids(docs.search(vectors=row, k=3, k_tokens=3, imputation="zero")) == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("xtr", {"k_tokens": 0}, "k_tokens is 0"),
        ("xtr", {"k_tokens": 2.5}, "k_tokens is 2.5"),
        ("xtr", {"k_tokens": True}, "k_tokens is True"),
        ("xtr", {"imputation": "mean"}, "imputation is 'mean'"),
        ("xtr", {"imputation": float("nan")}, "imputation is nan"),
        ("xtr", {"reduction": "max"}, "reduction is 'max'"),
        ("xtr", {"rerank": "maxsim"}, "stores no codes by passage"),
        ("xtr", {"candidates": 100}, "candidates is 100"),
        ("xtr", {"generator": "proxy"}, 'generator is "proxy"'),
        ("xtr", {"pruning": 20}, "pruning is 20.*give rerank_depth"),
        ("xtr", {"rerank_depth": 20}, "rerank_depth is 20, but nothing is reranked"),
        ("xtr", {"scorer": "maxsim"}, 'scorer is "maxsim", but the collection was created for "xtr"'),
        ("plain", {"scorer": "xtr"}, 'scorer is "xtr", but the collection was created for "maxsim"'),
        ("plain", {"rerank_depth": 20}, "rerank_depth is 20, but nothing is reranked"),
        ("plain", {"k_tokens": 10}, "k_tokens is 10.*scored by all tokens"),
        ("plain", {"imputation": "kth"}, "imputation is 'kth'"),
        ("plain", {"reduction": "max"}, "reduction is 'max'"),
        ("plain", {"rerank": "none"}, "rerank is 'none'"),
    ],
)
def test_knobs_that_cannot_be_used(
    module_database: pgretrieval.RetrievalDatabase,
    collections: dict[str, pgretrieval.Collection],
    corpus: Corpus,
    name: str,
    options: dict[str, Any],
    message: str,
):
    """Invalid options, and options without effect, are refused."""
    if name == "plain" and "plain" not in module_database.list_collections():
        module_database.create_collection("plain", dim=64)
    docs = module_database.get_collection(name)
    for search in (docs.search, docs.explain):
        with pytest.raises(pgretrieval.ConfigError, match=message):
            search(vectors=corpus.queries[0], **options)
    with pytest.raises(pgretrieval.ConfigError, match=message):
        docs.search_many(vectors=corpus.queries[:2], **options)


def test_the_scorer_of_one_search(collections: dict[str, pgretrieval.Collection], corpus: Corpus):
    """A collection made with "xtr" can be searched as "colxtr", whose scores are sums, and vice versa."""
    query = corpus.queries[0]
    for name, other, reduction in (("xtr", "colxtr", "sum"), ("colxtr", "xtr", "mean")):
        docs = collections[name]
        assert docs.search(vectors=query, scorer=other) == docs.search(vectors=query, reduction=reduction)
        assert docs.search(vectors=query, scorer=name) == docs.search(vectors=query)
        assert docs.search(vectors=query, scorer=other) != docs.search(vectors=query)


def test_a_reranker_of_another_name_is_a_cross_encoder(collections: dict[str, pgretrieval.Collection], corpus: Corpus):
    """Unknown rerankers count as names of cross-encoders, which read texts."""
    docs = collections["xtr"]
    for search in (docs.search, docs.explain):
        with pytest.raises(pgretrieval.InputError, match="a cross-encoder reads texts"):
            search(vectors=corpus.queries[0], rerank="maxsin")
        with pytest.raises(pgretrieval.EncoderError, match="'maxsin'"):
            search("passage 7", vectors=corpus.queries[0], rerank="maxsin")
    with pytest.raises(pgretrieval.InputError, match="a cross-encoder reads texts"):
        docs.search_many(vectors=corpus.queries[:2], rerank="maxsin")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer": "plaid"}, "scorer is 'plaid'"),
        ({"rerank": "maxsim"}, 'rerank is "maxsim".*which scorer "maxsim" includes'),
        ({"scorer": "xtr", "rerank": "all"}, "rerank is 'all'"),
        ({"scorer": "xtr", "generator": "proxy"}, 'generator is "proxy"'),
    ],
)
def test_collections_that_cannot_be_made(database: pgretrieval.RetrievalDatabase, options: dict[str, Any], message: str):
    """Settings that no search supports are refused."""
    with pytest.raises(pgretrieval.ConfigError, match=message):
        database.create_collection("docs", **options)
    assert database.list_collections() == []


# ---- the tables


def test_stored_codes(collections: dict[str, pgretrieval.Collection], module_database: pgretrieval.RetrievalDatabase):
    """Codes are stored by passage only for reranking, and stats reports the bytes."""
    for name, docs in collections.items():
        stats, number = docs.stats(), docs._row.collection_id
        assert (stats["scorer"], stats["rerank"]) == (KINDS[name]["scorer"], KINDS[name].get("rerank"))
        assert stats["unit_vectors"] == KINDS[name].get("unit_vectors", True)
        assert stats["score_kind"] == "decoded"
        assert stats["bytes"]["posting_code"] > 100_000
        assert value(module_database.url, f"select count(*) from pgretrieval.posting_{number}") == 0
        by_passage = value(
            module_database.url, f"select sum(length(residuals) + length(tail)) from pgretrieval.token_code_{number}"
        )
        assert (by_passage > 0) == (name == "reranked")
        in_sql = value(module_database.url, f"select pgretrieval.stats('{name}')")
        chosen = docs.settings
        assert (in_sql["scorer"], in_sql["rerank"], in_sql["unit_vectors"]) == (chosen.scorer, chosen.rerank, chosen.unit_vectors)
    statement = "select count(*) from pg_class where relname like 'posting\\_code\\__%' and relkind = 'r'"
    before = value(module_database.url, statement)
    module_database.create_collection("dropped", scorer="xtr")
    module_database.create_collection("without")
    assert value(module_database.url, statement) == before + 1
    module_database.drop_collection("dropped")
    assert value(module_database.url, statement) == before


@pytest.mark.both_versions
@pytest.mark.parametrize("name", KINDS)
def test_changes_compaction_and_rebuild(database: pgretrieval.RetrievalDatabase, corpus: Corpus, name: str):
    """Changes, compaction and rebuild keep tokens and scores, and remove deleted ones."""
    docs = fill_one(database, corpus, name)
    assert docs.check() == []
    docs.update(passages(3), vectors=corpus.vectors[100:103])
    docs.delete(["p7"])
    query = corpus.queries[0]
    before = docs.search(vectors=query, k=300, **EVERYTHING)
    assert len(before) == 99
    assert docs.check() == []
    docs.compact()
    assert docs.check() == []
    assert docs.stats()["segments"] == docs.stats()["removed"] == 0
    assert value(database.url, "select count(*) from pgretrieval.posting_code where segment > 0") == 0
    after = docs.search(vectors=query, k=300, **EVERYTHING)
    assert [(hit.id, round(hit.score, 4)) for hit in after] == [(hit.id, round(hit.score, 4)) for hit in before]


def fill_one(database: pgretrieval.RetrievalDatabase, corpus: Corpus, name: str) -> pgretrieval.Collection:
    """100 passages in two segments."""
    docs = database.create_collection(name, **KINDS[name])
    docs.auto_compact = False
    vectors = corpus.vectors if docs.settings.unit_vectors else lengthened(corpus.vectors)
    docs.add(corpus.passages[:80], vectors=vectors[:80])
    docs.build()
    docs.add(corpus.passages[80:100], vectors=vectors[80:100])
    return docs


class LongerEncoder(HashedEncoder):
    """An encoder with one extra token per text and vectors that are not of unit length."""

    def encode_document(self, texts: Any) -> Any:
        return [2 * rows for rows in super().encode_document([f"{text} end" for text in texts])]


@pytest.mark.both_versions
@pytest.mark.parametrize("name", ["xtr", "reranked", "long"])
def test_rebuilds(database: pgretrieval.RetrievalDatabase, name: str):
    """A rebuild replaces all tokens and counts them, also without codes by passage."""
    docs = database.create_collection(name, encoder=HashedEncoder(), **KINDS[name])
    docs.add([{"id": f"a{number}", "text": f"word{number} one two{number % 7}"} for number in range(60)])
    docs.build()
    docs.add([{"id": "b", "text": "word60 one two4 three"}])
    docs.delete(["a5"])
    docs.rebuild()
    assert docs.search("word60 three", k=1)[0].id == "b"
    assert docs.check() == []
    assert value(database.url, "select count(distinct codebook_id) from pgretrieval.posting_code") == 1
    docs.rebuild(encoder=LongerEncoder(72))
    assert docs.stats()["tokens"] == 59 * 4 + 5
    assert docs.check() == []
    hit = docs.search("word3 one", k=1, imputation="zero", reduction="mean", **EVERYTHING)[0]
    assert (hit.id, round(hit.score, 1)) == ("a3", 2.0 if name == "long" else 1.0)
    assert value(database.url, "select count(distinct codebook_id) from pgretrieval.posting_code") == 1


@pytest.mark.parametrize("stage", ["code", "postings", "index", "switch", "drop"])
def test_an_interrupted_build_is_finished_by_the_same_call(database: pgretrieval.RetrievalDatabase, corpus: Corpus, stage: str):
    """An interrupted build resumes without losing or repeating codes."""
    docs = database.create_collection("docs", scorer="xtr")
    docs.add(corpus.passages[:60], vectors=corpus.vectors[:60])

    def stop(name: str, _done: int, _total: int) -> None:
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        docs.build(stage=stop)
    assert docs.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"
    docs.build()
    assert docs.check() == []
    assert docs.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"
    assert value(database.url, "select sum(length(residuals) + length(tail)) from pgretrieval.token_code") == 0


def test_row_level_security(postgres: PostgresUnderTest, database_url: str, corpus: Corpus):
    """A tenant retrieves only its tokens, and k passages."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", scorer="xtr")
        tenants = [{**passage, "metadata": {"tenant": f"t{number % 3}"}} for number, passage in enumerate(corpus.passages)]
        docs.add(tenants, vectors=corpus.vectors)
        docs.build()
    reader, writer = postgres.create_role(), postgres.create_role()
    grant(database_url, reader[0], writer[0], "postgres")
    with psycopg.connect(database_url, autocommit=True) as connection:
        isolate_tenants(connection)
        connection.execute(f"alter role {reader[0]} set app.tenant = 't1'")
    with pgretrieval.connect(url=url_as(postgres, database_url, reader)) as database:
        hits = database.get_collection("docs").search(vectors=corpus.queries[0], k=100, probes=2, k_tokens=5)
    assert sorted(ids(hits)) == sorted(f"p{number}" for number in range(1, 300, 3))


# ---- lengths


def test_lengths_are_kept(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Vectors keep their lengths, and centroids are chosen by distance."""
    docs = fill_one(database, corpus, "long")
    vectors = lengthened(corpus.vectors)
    for number in (3, 90):
        query = vectors[number]
        hit = docs.search(vectors=query, k=100, reduction="sum", **EVERYTHING)
        exact = {f"p{place}": maxsim(query, rows) for place, rows in enumerate(vectors[:100])}
        assert {found.id: found.score for found in hit} == pytest.approx(exact, rel=0.05)
    with psycopg.connect(database.url) as connection:
        lengths = connection.execute("select l2_norm(vector) from pgretrieval.centroid").fetchall()
    assert np.std(lengths) > 0.1


def test_the_encoder_decides_whether_lengths_are_kept(database: pgretrieval.RetrievalDatabase):
    """An encoder that keeps lengths sets `unit_vectors`."""
    encoder = load_encoder(LongerEncoder(), unit=False)
    docs = database.create_collection("docs", encoder=encoder, scorer="colxtr")
    assert not docs.settings.unit_vectors
    docs.add([{"id": f"a{number}", "text": f"word{number} one"} for number in range(30)])
    assert docs.search("word3", k=1)[0].score == pytest.approx(2, abs=0.01)
    docs.build()
    assert docs.search("word3", k=1, **EVERYTHING)[0].score == pytest.approx(2, abs=0.1)
    assert docs.check() == []
    assert database.create_collection("maxsim", encoder=encoder).settings.unit_vectors
    assert database.create_collection("unit", encoder=encoder, scorer="xtr", unit_vectors=True).settings.unit_vectors


@pytest.mark.parametrize("by_sql", [False, True])
def test_lengths_beyond_half_precision(database: pgretrieval.RetrievalDatabase, connection: Connection, by_sql: bool):
    """Lengths beyond half precision are refused."""
    docs = database.create_collection("docs", scorer="colxtr", unit_vectors=False)
    large = np.full((2, 64), 70_000.0, dtype=np.float32)
    if by_sql:
        with pytest.raises(psycopg.Error, match="above 65,504") as caught:
            connection.execute("select pgretrieval.add_passage('docs', 'a', 'text', array[array_fill(70000, array[64])::vector])")
        assert caught.value.sqlstate == "PGR05"
    else:
        with pytest.raises(pgretrieval.VectorError, match="65,504"):
            docs.add([{"id": "a", "text": "text"}], vectors=[large])
    assert docs.stats()["passages"] == 0


# ---- checks


BREAKS = {
    "wrong_length": ["update pgretrieval.posting_code set residuals = residuals || '\\x00' where collection_id = {id} and {row}"],
    "missing_token": [
        """update pgretrieval.posting_code set passage_ids = passage_ids[2:], positions = positions[2:],
               residuals = substr(residuals, 33) where collection_id = {id} and {row}"""
    ],
    "repeated_token": [
        """update pgretrieval.posting_code
           set passage_ids = passage_ids || passage_ids[1:1], positions = positions || positions[1:1],
               residuals = residuals || substr(residuals, 1, 32) where collection_id = {id} and {row}"""
    ],
    "stray_token": [
        """update pgretrieval.posting_code
           set passage_ids = passage_ids || passage_ids[1:1], positions = positions || 999,
               residuals = residuals || substr(residuals, 1, 32) where collection_id = {id} and {row}"""
    ],
    "orphan_token": [
        """update pgretrieval.posting_code set passage_ids = passage_ids || 999999, positions = positions || 0,
               residuals = residuals || substr(residuals, 1, 32) where collection_id = {id} and {row}"""
    ],
    "unknown_centroid": ["update pgretrieval.posting_code set centroid_id = 100000 where collection_id = {id} and {row}"],
    "wrong_token_count": [
        """update pgretrieval.token_code set residuals = '\\x00'
           where collection_id = {id} and passage_id in (
               select min(passage_id) from pgretrieval.passage where collection_id = {id})"""
    ],
    "wrong_segment": ["update pgretrieval.segment set posting_rows = posting_rows + 1 where collection_id = {id}"],
    "orphan_row": ["update pgretrieval.posting_code set codebook_id = 999999 where collection_id = {id} and {row}"],
}


@pytest.fixture
def breaking(collections: dict[str, pgretrieval.Collection]) -> Iterator[Connection]:
    """A transaction that is rolled back."""
    with psycopg.connect(collections["xtr"]._database.url) as opened:
        yield opened
        opened.rollback()


def rules(connection: Connection, name: str) -> set[str]:
    return {row[0] for row in connection.execute("select rule from pgretrieval.check(%s)", [name]).fetchall()}


def test_sound_collections(collections: dict[str, pgretrieval.Collection]):
    """Data written by the library violate no rule."""
    assert {name: docs.check() for name, docs in collections.items()} == {name: [] for name in KINDS}


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule(collections: dict[str, pgretrieval.Collection], breaking: Connection, rule: str):
    """Each violation is found, without others."""
    number = collections["xtr"]._row.collection_id
    row = f"""(centroid_id, segment) = (
        select centroid_id, segment from pgretrieval.posting_code join pgretrieval.passage using (collection_id)
        where collection_id = {number} and segment = 0 and passage_id = passage_ids[1] limit 1)"""
    for statement in BREAKS[rule]:
        assert breaking.execute(statement.format(id=number, row=row)).rowcount > 0
    found = rules(breaking, "xtr")
    assert found == ({rule, "missing_token"} if rule == "orphan_row" else {rule})
    assert rules(breaking, "colxtr") == rules(breaking, "long") == set()


@pytest.mark.parametrize("column", ["centroid_ids", "residuals"])
def test_codes_by_passage_and_by_centroid_differ(collections: dict[str, pgretrieval.Collection], breaking: Connection, column: str):
    """A difference between codes by passage and by centroid is found."""
    breaking.execute(
        f"""update pgretrieval.token_code set {column} = '\\x0100'::bytea || substr({column}, 3)
            where collection_id = %s and passage_id = 7""",
        [collections["reranked"]._row.collection_id],
    )
    assert rules(breaking, "reranked") == {"differing_code"}


def test_codes_are_compared_across_the_tail(collections: dict[str, pgretrieval.Collection], breaking: Connection):
    """Residuals may be cut in the middle of a token; a difference after the cut is found."""
    changed = "update pgretrieval.token_code set {} where passage_id = 7 and collection_id = %s"
    collection = [collections["reranked"]._row.collection_id]
    breaking.execute(changed.format("residuals = substr(residuals, 1, 33), tail = substr(residuals, 34)"), collection)
    assert rules(breaking, "reranked") == set()
    breaking.execute(changed.format(r"tail = '\x0100'::bytea || substr(tail, 3)"), collection)
    assert rules(breaking, "reranked") == {"differing_code"}


def test_lengths_are_not_checked_where_they_are_kept(collections: dict[str, pgretrieval.Collection], breaking: Connection):
    """Centroids must have unit length only if vectors are scaled."""
    for name in ("long", "xtr"):
        breaking.execute(
            """update pgretrieval.centroid set vector = (vector::vector * array_fill(0.5, array[64])::vector)::halfvec
               where collection_id = %s""",
            [collections[name]._row.collection_id],
        )
    assert rules(breaking, "long") == set()
    assert rules(breaking, "xtr") == {"not_unit_length"}


def test_codes_that_decode_to_no_direction(database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus):
    """The client's part of check works without codes by passage."""
    docs = fill_one(database, corpus, "xtr")
    connection.execute(
        "update pgretrieval.codebook set weights = array_fill(0, array[16])::real[], cutoffs = array_fill(0, array[15])::real[]"
    )
    connection.execute("update pgretrieval.centroid set vector = (vector::vector - vector::vector)::halfvec where centroid_id = 1")
    assert "undirected_code" in {violation.rule for violation in docs.check()}


def test_a_search_reads_the_probed_centroids_by_their_index(collections: dict[str, pgretrieval.Collection], breaking: Connection):
    """A search reads the probed centroids by index."""
    from pgretrieval.assets import statements

    docs = collections["xtr"]
    for name, more in (("tokens_of_centroids", {}), ("tokens_among", {"filter": None})):
        parameters = {"collection_id": docs._row.collection_id, "codebook_id": codebook(docs), "centroid_ids": [1, 2, 3], **more}
        statement = statements("search")[name].format(among="null::text[]")
        plan = str(breaking.execute(f"explain (format json) {statement}", parameters).fetchone()[0])
        assert f"posting_code_{docs._row.collection_id}_pkey" in plan, name
        assert "centroid_id = ANY" in plan


def codebook(docs: pgretrieval.Collection) -> int:
    """The active codebook."""
    return value(docs._database.url, f"select codebook_id from pgretrieval.collection where name = '{docs.name}'")
