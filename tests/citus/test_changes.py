"""Adds, changes, builds and checks of distributed collections."""

from __future__ import annotations

import psycopg
import pytest

import pgretrieval
from tests.fixtures.collections import Corpus
from tests.support import kinds
from tests.support.citus import Cluster
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered, passages


def test_every_kind_of_collection(
    cluster: Cluster,
    distributed: str,
    many: pgretrieval.RetrievalDatabase,
    module_database: pgretrieval.RetrievalDatabase,
    corpus: Corpus,
):
    """After adds, updates, deletes, a factorisation and a compaction every kind of search finds the same as on one server."""
    for database in (many, module_database):
        kinds.fill(database, corpus)
    kinds.analyze(module_database.url)
    url = cluster.url_of(distributed)
    kinds.same(kinds.answers(url, corpus), kinds.answers(module_database.url, corpus))
    for name in kinds.COLLECTIONS:
        assert not many.get_collection(name).check(), name
        for database in (many, module_database):
            database.get_collection(name).compact()
        assert not many.get_collection(name).check(), name
    kinds.same(kinds.answers(url, corpus), kinds.answers(module_database.url, corpus))
    for name in kinds.COLLECTIONS:
        ours, theirs = (database.get_collection(name).stats() for database in (many, module_database))
        for key in ("passages", "tokens", "built", "factorization", "segments", "removed_passages"):
            assert ours.get(key) == theirs.get(key), (name, key)
        many.drop_collection(name)
    assert not cluster.run(distributed, "select string_agg(name, ', ') from pgretrieval.leftover")


def test_rows_are_spread(cluster: Cluster, distributed: str, many: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """64 buckets by default, on all workers; a change touches the shard of its passage alone."""
    docs = many.create_collection("spread")
    assert docs.settings.buckets == 64
    docs.add(corpus.passages, vectors=corpus.vectors)
    number = docs._row.collection_id
    held = f"select count(distinct bucket) from pgretrieval.passage where collection_id = {number}"
    assert cluster.run(distributed, held) == 64
    counts = cluster.run(
        distributed,
        f"select array_agg(result::int) from run_command_on_shards('pgretrieval.passage_{number}', 'select count(*) from %s')",
    )
    assert sum(counts) == len(corpus.passages)
    assert all(counts)


def test_a_rebuild_with_another_encoder(many: pgretrieval.RetrievalDatabase):
    """Texts are encoded again, counted again, and the old rows dropped."""
    docs = many.create_collection("encoded", encoder=HashedEncoder(), keep_vectors=True)
    docs.add([{"id": f"t{number}", "text": f"tea number {number} of {number % 7}"} for number in range(60)])
    docs.build()
    docs.rebuild(encoder=HashedEncoder())
    assert docs.search("tea number 5", k=1)[0].id == "t5"
    assert not docs.check()


def test_check_finds_what_is_wrong(cluster: Cluster, distributed: str, many: pgretrieval.RetrievalDatabase):
    """Rules about rows of several shards report what was removed there."""
    docs = many.create_collection("damaged", generator="postings")
    docs.add(passages(40), vectors=clustered(40))
    docs.build()
    number, codebook = docs._row.collection_id, docs._opened.refresh().codebook_id
    numbers = "select passage_id from pgretrieval.passage where key = '{}' and collection_id = {}"
    wrong = cluster.run(distributed, numbers.format("p3", number))
    cluster.run(distributed, f"delete from pgretrieval.token_code where collection_id = {number} and passage_id = {wrong}")
    cluster.run(distributed, f"delete from pgretrieval.posting where codebook_id = {codebook} and bucket = 7")
    found = {(violation.rule, violation.id) for violation in docs.check()}
    assert ("missing_codes", "p3") in found
    assert "missing_posting" in {rule for rule, _ in found}


def test_ids_stay_unique(many: pgretrieval.RetrievalDatabase):
    """The bucket follows from the id, so that one shard sees both."""
    docs = many.create_collection("unique")
    docs.add(passages(20), vectors=clustered(20))
    with pytest.raises(pgretrieval.DuplicateIdError):
        docs.add(passages(1, start=7), vectors=clustered(1))
    with psycopg.connect(many.url, autocommit=True) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(
            "insert into pgretrieval.passage select collection_id, bucket, 999999, key, title, body, metadata, token_count "
            "from pgretrieval.passage where collection_id = %s and key = 'p7'",
            [docs._row.collection_id],
        )
