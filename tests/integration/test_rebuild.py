"""Rebuilds: concurrent with searches and changes, interrupted and resumed, with another encoder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.db.tables import rebuilds
from pgretrieval.encode.minilm import NEWEST
from pgretrieval.encode.registry import load_encoder
from pgretrieval.types import Float32Array
from tests.fixtures.collections import Corpus
from tests.support.encoder import HashedEncoder
from tests.support.meanwhile import meanwhile
from tests.support.sql import vector_array

STAGES = ["encode", "train", "code", "postings", "index", "switch", "drop"]


class StopHere(Exception):  # noqa: N818
    """Simulates Ctrl-C or a crash."""


class OtherEncoder(HashedEncoder):
    """An encoder of more dimensions, with one extra token per text and a dense vector."""

    def __init__(self, dim: int = 96) -> None:
        super().__init__(dim)

    def encode_document(self, texts: list[str]) -> list[Float32Array]:  # type: ignore[override]
        return super().encode_document([f"{text} end" for text in texts])

    def encode_query_with_dense(self, texts: list[str]) -> tuple[list[Float32Array], Float32Array]:
        tokens = self.encode_query(texts)
        return tokens, np.stack([rows.mean(axis=0) for rows in tokens])

    def encode_document_with_dense(self, texts: list[str]) -> tuple[list[Float32Array], Float32Array]:
        tokens = self.encode_document(texts)
        return tokens, np.stack([rows.mean(axis=0) for rows in tokens])


def value(url: str, statement: str) -> Any:
    """The first column of the first row."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone()[0]


def numbered(count: int, kind: str = "a") -> list[dict[str, str]]:
    """Passages a0, a1, …, each with a unique word."""
    return [{"id": f"{kind}{i}", "text": f"{kind}word{i} one two{i % 7}"} for i in range(count)]


def built(database: pgretrieval.RetrievalDatabase, encoder: HashedEncoder | None = None, **options: Any) -> pgretrieval.Collection:
    """60 passages."""
    docs = database.create_collection("docs", encoder=encoder or HashedEncoder(), **options)
    docs.add(numbered(60))
    docs.build()
    return docs


def at(wanted: str, work: Callable[[], object]) -> Callable[[str, int, int], None]:
    """A stage callback that runs an action at the first report of a stage."""
    done: list[str] = []

    def stage(name: str, _done: int, _total: int) -> None:
        if name == wanted and not done:
            done.append(name)
            work()

    return stage


def stop() -> None:
    raise StopHere


_VIOLATIONS = """
with active as (select * from pgretrieval.collection where name = 'docs'),
entries as (
    select distinct entry.passage_id from pgretrieval.posting
    join active using (collection_id, codebook_id) cross join lateral unnest(posting.passage_ids) as entry (passage_id)
),
words as (
    select distinct entry.passage_id from pgretrieval.word_posting
    join active using (collection_id) cross join lateral unnest(word_posting.passage_ids) as entry (passage_id)
),
coded as (
    select passage_id, length(centroid_ids) / 2 as tokens from pgretrieval.token_code join active using (collection_id, codebook_id)
),
stored as (select passage_id from pgretrieval.token_vector join active using (collection_id, encoding)),
dense as (
    select passage_id from pgretrieval.dense_vector
    join active on active.collection_id = dense_vector.collection_id and dense_encoding = dense_vector.encoding
),
passages as (select passage_id, token_count from pgretrieval.passage join active using (collection_id)),
removed as (select passage_id from pgretrieval.removed_passage join active using (collection_id))
select 'not coded', passage_id from passages where passage_id not in (select passage_id from coded)
union all select 'orphan code', passage_id from coded where passage_id not in (select passage_id from passages)
union all select 'token count', passage_id from passages join coded using (passage_id) where token_count <> tokens
union all select 'not listed', passage_id from passages where passage_id not in (select passage_id from entries)
union all select 'stale entry', passage_id from entries
    where passage_id not in (select passage_id from passages) and passage_id not in (select passage_id from removed)
union all select 'words not listed', passage_id from passages, active
    where language is not null and passage_id not in (select passage_id from words)
union all select 'stale word', passage_id from words
    where passage_id not in (select passage_id from passages) and passage_id not in (select passage_id from removed)
union all select 'vectors missing', passage_id from passages, active
    where keep_vectors and passage_id not in (select passage_id from stored)
union all select 'orphan vectors', passage_id from stored where passage_id not in (select passage_id from passages)
union all select 'dense missing', passage_id from passages, active
    where dense = 'kept' and passage_id not in (select passage_id from dense)
union all select 'orphan dense', passage_id from dense where passage_id not in (select passage_id from passages)
union all select 'twice listed', passage_id from (
    select entry.passage_id, centroid_id from pgretrieval.posting
    join active using (collection_id, codebook_id) cross join lateral unnest(posting.passage_ids) as entry (passage_id)
    group by 1, 2 having count(*) > 1
) as twice
union all select 'vectors left', count(*) from pgretrieval.token_vector, active
    where token_vector.encoding <> active.encoding or not keep_vectors having count(*) > 0
union all select 'rebuild left', count(*) from pgretrieval.rebuild having count(*) > 0
union all select 'codebooks', count(*) from pgretrieval.codebook having count(*) <> 1
union all select 'centroids', count(distinct codebook_id) from pgretrieval.centroid having count(distinct codebook_id) <> 1
union all select 'codes', count(distinct codebook_id) from pgretrieval.token_code having count(distinct codebook_id) <> 1
union all select 'postings', count(distinct codebook_id) from pgretrieval.posting having count(distinct codebook_id) <> 1
union all select 'segments', count(distinct codebook_id) from pgretrieval.segment having count(distinct codebook_id) > 1
"""


def violations(url: str) -> list[tuple[Any, ...]]:
    """Violations in the only collection."""
    with psycopg.connect(url) as connection:
        return [
            *connection.execute(_VIOLATIONS).fetchall(),
            *connection.execute("select * from pgretrieval.check('docs')").fetchall(),
        ]


def ids(hits: list[pgretrieval.Hit]) -> set[str]:
    return {hit.id for hit in hits}


# ---- a rebuild


@pytest.mark.both_versions
@pytest.mark.parametrize("options", [{}, {"generator": "proxy"}, {"keep_vectors": True}, {"language": None}], ids=str)
def test_searches_find_the_same_after_a_rebuild(database: pgretrieval.RetrievalDatabase, options: dict[str, Any]):
    """Hits are equal after a rebuild, and the old index is gone."""
    docs = built(database, **options)
    before = value(database.url, "select codebook_id from pgretrieval.collection")
    docs.add(numbered(20, "b"))
    found = {query: docs.search(query, k=80) for query in ("aword3 one", "bword5 two5")}
    stages: list[str] = []
    report = docs.rebuild(stage=lambda name, *_: stages.append(name))
    assert (report.built, report.passages) == (True, 80)
    assert value(database.url, "select codebook_id from pgretrieval.collection") > before
    for query, hits in found.items():
        again = docs.search(query, k=80)
        assert ids(again) == ids(hits)
        assert again[0].id == hits[0].id
        assert again[0].score == pytest.approx(hits[0].score, abs=0.1)
    assert violations(database.url) == []
    assert [name for name in dict.fromkeys(stages) if name in STAGES] == [
        name for name in STAGES if name != "encode" or not docs.settings.keep_vectors
    ]
    assert docs.stats()["added_passages"] == 0


def test_given_vectors_that_were_not_kept_cannot_be_made_again(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """A rebuild without stored vectors or an encoder is refused, names the remedy and changes nothing."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    with pytest.raises(pgretrieval.IndexNotBuiltError, match=r"300 passages .* no vectors to train on.*rebuild\(encoder=…\)"):
        docs.rebuild()
    assert docs.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"
    docs.rebuild(encoder=HashedEncoder())
    assert docs.search("text of passage 7", k=1)[0].id == "p7"
    assert docs._row.given_vectors is False
    assert violations(database.url) == []


def test_an_empty_collection_cannot_be_rebuilt(database: pgretrieval.RetrievalDatabase):
    """Rebuilding an empty collection raises a clear error."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    with pytest.raises(pgretrieval.IndexNotBuiltError, match="'docs' is empty"):
        docs.rebuild()


# ---- concurrent changes


@pytest.mark.parametrize("first", [True, False], ids=["build", "rebuild"])
@pytest.mark.parametrize("wanted", STAGES)
@pytest.mark.parametrize("options", [{}, {"keep_vectors": True, "generator": "proxy"}], ids=["plain", "all"])
def test_changes_during_a_rebuild_are_kept(
    database: pgretrieval.RetrievalDatabase, wanted: str, first: bool, options: dict[str, Any]
):
    """Adds, updates and deletes during a rebuild do not wait and are kept."""
    docs = database.create_collection("docs", encoder=HashedEncoder(), **options)
    docs.add(numbered(60))
    other = database.get_collection("docs", encoder=HashedEncoder())
    if not first:
        docs.build()
        docs.add([{"id": "early", "text": "early bird"}])
        docs.delete(["a11"])

    def change() -> None:
        other.add(numbered(20, "b"))
        other.update([{"id": "a5", "text": "changed words"}, {"id": "a6", "metadata": {"kind": "changed"}}])
        other.delete(["a7", "b9"])
        assert "b3" in ids(other.search("bword3 one"))

    (docs.build if first else docs.rebuild)(stage=at(wanted, change))
    if wanted == "encode" and (first or options):  # this stage exists only if vectors are not stored
        change()
    assert violations(database.url) == []
    expected = {f"a{i}" for i in range(60)} | {f"b{i}" for i in range(20)} | {"early"}
    expected -= {"a7", "b9"} | ({"early"} if first else {"a11"})
    assert ids(docs.search("aword3", k=200)) == expected
    assert docs.search("changed words", k=1)[0].id == "a5"
    assert docs.text_search("changed words", k=1)[0].id == "a5"
    assert docs.text_search("bword3", k=1)[0].id == "b3"
    assert {passage.id for passage in docs.search("aword6", k=1, where={"kind": "changed"})} == {"a6"}
    docs.compact()
    assert violations(database.url) == []
    assert value(database.url, "select count(*) from pgretrieval.removed_passage") == 0
    assert ids(docs.search("aword3", k=200)) == expected


def test_nothing_is_encoded_while_changes_wait_for_the_switch(
    database: pgretrieval.RetrievalDatabase, monkeypatch: pytest.MonkeyPatch
):
    """Texts that arrive before the switch are encoded while no change waits."""
    docs = built(database)
    late = iter(range(3))
    trying = rebuilds.trying_to_switch

    def trying_to_switch(*arguments: Any) -> Any:
        for number in late:
            docs.add([{"id": f"late{number}", "text": f"late bird{number}"}])
            break
        return trying(*arguments)

    seen: list[int] = []

    class Watched(OtherEncoder):
        def encode_document(self, texts: list[str]) -> list[Float32Array]:  # type: ignore[override]
            locked = """select count(*) from pg_locks where mode = 'ShareRowExclusiveLock' and granted
                        and relation::regclass::text like '%change_lock%'"""
            seen.append(value(database.url, locked))
            return super().encode_document(texts)

    monkeypatch.setattr(rebuilds, "trying_to_switch", trying_to_switch)
    docs.rebuild(encoder=Watched())
    assert next(late, None) is None
    assert set(seen) == {0}
    assert docs.search("late bird2", k=1)[0].id == "late2"
    assert violations(database.url) == []


def test_a_long_transaction_delays_only_the_switch(database: pgretrieval.RetrievalDatabase):
    """A switch that waits for a long transaction does not block later adds."""
    docs = built(database)
    rebuilding = threading.Thread(target=docs.rebuild)
    with psycopg.connect(database.url) as connection:
        docs.add([{"id": "slow", "text": "slow coach"}], connection=connection)
        rebuilding.start()
        longest, deadline = 0.0, time.monotonic() + 3
        number = 0
        while time.monotonic() < deadline:
            started = time.monotonic()
            docs.add([{"id": f"quick{number}", "text": "quick one"}])
            longest = max(longest, time.monotonic() - started)
            number += 1
        assert rebuilding.is_alive()
        assert longest < 2
        connection.commit()
    rebuilding.join(60)
    assert not rebuilding.is_alive()
    assert docs.search("slow coach", k=1)[0].id == "slow"
    assert violations(database.url) == []


def test_two_rebuilds_at_once(database: pgretrieval.RetrievalDatabase):
    """Two concurrent rebuilds run one after the other and leave a consistent collection."""
    docs = built(database)
    failures: list[BaseException] = []

    def rebuild() -> None:
        try:
            docs.rebuild()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=rebuild) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert violations(database.url) == []


# ---- concurrent searches


@pytest.mark.both_versions
@pytest.mark.parametrize("options", [{}, {"generator": "proxy"}, {"keep_vectors": True}], ids=str)
def test_searches_go_on_through_switches(database: pgretrieval.RetrievalDatabase, options: dict[str, Any]):
    """Searches continue during switches."""
    docs = database.create_collection("docs", encoder=HashedEncoder(), **options)
    docs.add(numbered(300))
    query = vector_array(HashedEncoder().encode_query(["aword3 one"])[0])

    def by_the_client() -> None:
        assert docs.search("aword3 one", k=1)[0].id == "a3"

    with psycopg.connect(database.url, autocommit=True) as connection:

        def in_sql() -> None:
            found = connection.execute("select id from pgretrieval.search('docs', %s::vector[], 1)", [query]).fetchall()
            assert found == [("a3",)]

        with meanwhile(by_the_client, in_sql):
            docs.build()
            for _ in range(3):
                docs.rebuild()
    assert violations(database.url) == []


def test_a_snapshot_from_before_the_switch_stays_whole(database: pgretrieval.RetrievalDatabase):
    """A transaction that began before a switch sees the whole old index."""
    docs = built(database, keep_vectors=True)
    query = vector_array(HashedEncoder().encode_query(["aword3 one"])[0])
    search = "select id, score from pgretrieval.search('docs', %s::vector[], 60)"
    with psycopg.connect(database.url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1 from pgretrieval.passage limit 1")
        docs.rebuild(encoder=OtherEncoder())
        found = connection.execute(search, [query]).fetchall()
        assert found[0][0] == "a3"
        assert len(found) == 60
    assert docs.search("aword3 one", k=1)[0].id == "a3"


def test_a_snapshot_from_before_the_first_build_stays_whole(database: pgretrieval.RetrievalDatabase):
    """A transaction that began before the first build still sees the uncoded vectors."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add(numbered(60))
    query = vector_array(HashedEncoder().encode_query(["aword3 one"])[0])
    search = "select id from pgretrieval.search('docs', %s::vector[], 60)"
    with psycopg.connect(database.url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1 from pg_class limit 1")
        docs.build()
        found = connection.execute(search, [query]).fetchall()
        assert found[0] == ("a3",)
        assert len(found) == 60
    assert docs.stats()["waiting_for_build"] == 0
    assert violations(database.url) == []


def test_the_lock_of_a_rebuild_keeps_no_snapshot(database: pgretrieval.RetrievalDatabase):
    """The lock of a rebuild holds no snapshot, so vacuum works."""
    docs = built(database)
    held: list[int] = []
    snapshots = """select count(backend_xmin) + count(backend_xid) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid()"""
    docs.rebuild(stage=at("switch", lambda: held.append(value(database.url, snapshots))))
    assert held == [0]


def test_unused_vectors_are_freed_at_once(database: pgretrieval.RetrievalDatabase):
    """Vectors that no session can read are truncated at once."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add(numbered(600))
    table = "pgretrieval.token_vector_" + str(docs._row.collection_id)
    size = value(database.url, f"select pg_total_relation_size('{table}')")
    deleted = f"select n_tup_del from pg_stat_user_tables where relid = '{table}'::regclass"
    docs.build()
    assert value(database.url, f"select pg_total_relation_size('{table}')") < size / 4
    assert value(database.url, deleted) == 0


# ---- interruptions


@pytest.mark.parametrize("wanted", STAGES)
@pytest.mark.parametrize("changed", [False, True], ids=["same", "changed"])
def test_an_interrupted_rebuild_is_finished_by_the_same_call(database: pgretrieval.RetrievalDatabase, wanted: str, changed: bool):
    """An interrupted rebuild resumes with the same call, and searches work meanwhile."""
    docs = built(database, OtherEncoder(64), keep_vectors=changed, dense="kept" if changed else None)
    other = OtherEncoder()
    arguments: dict[str, Any] = {"encoder": other} if changed else {}
    with pytest.raises(StopHere):
        docs.rebuild(stage=at(wanted, stop), **arguments)
    with psycopg.connect(database.url) as connection:
        assert connection.execute("select * from pgretrieval.check('docs')").fetchall() == []
    if wanted != "drop":
        assert docs.search("aword3 one", k=1)[0].id == "a3"
        docs.add([{"id": "late", "text": "late comer"}])
    stages: list[str] = []
    encoded = other.encoded
    report = docs.rebuild(stage=lambda name, *_: stages.append(name), **arguments)
    assert report.built
    assert ("train" in stages) == (wanted in ("encode", "train"))
    assert ("code" in stages) == (wanted in ("encode", "train", "code", "postings"))
    if changed and wanted != "encode":
        assert other.encoded - encoded <= 5
    assert violations(database.url) == []
    assert docs.search("aword3 one", k=1)[0].id == "a3"
    if wanted != "drop":
        assert docs.search("late comer", k=1)[0].id == "late"
    assert docs.encoder.dim == (96 if changed else 64)


def test_a_change_of_encoder_that_is_interrupted_after_the_switch(database: pgretrieval.RetrievalDatabase):
    """A handle interrupted after the switch uses the new encoder object."""
    docs = built(database)
    with pytest.raises(StopHere):
        docs.rebuild(encoder=OtherEncoder(96), stage=at("drop", stop))
    assert docs.stats()["dim"] == 96
    assert docs.search("word1", k=1) != []
    assert docs.add([{"id": "later", "text": "later word"}]).passages == 1


def test_another_call_gives_up_the_interrupted_one(database: pgretrieval.RetrievalDatabase):
    """Another call discards the interrupted rebuild with its rows."""
    docs = built(database)
    with pytest.raises(StopHere):
        docs.rebuild(encoder=OtherEncoder(), stage=at("code", stop))
    docs.rebuild(encoder=OtherEncoder(128))
    assert docs.stats()["dim"] == 128
    assert violations(database.url) == []
    assert docs.search("aword3 one", k=1)[0].id == "a3"
    with pytest.raises(StopHere):
        docs.rebuild(encoder=OtherEncoder(), stage=at("switch", stop))
    docs.rebuild()
    assert docs.stats()["dim"] == 128
    assert violations(database.url) == []
    assert value(database.url, "select count(*) from pg_indexes where indexname ~ '^centroid_[0-9]+_[0-9]+_hnsw$'") == 1


_KILLED = """
import os, signal, sys
import pgretrieval
from tests.support.encoder import HashedEncoder

def stage(name, done, total):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

with pgretrieval.connect(url=sys.argv[1]) as database:
    database.get_collection("docs", encoder=HashedEncoder()).rebuild(stage=stage)
"""


@pytest.mark.parametrize("wanted", ["code", "drop"])
def test_a_killed_rebuild_is_finished_by_the_same_call(database: pgretrieval.RetrievalDatabase, wanted: str):
    """A killed rebuild resumes with the same call."""
    docs = built(database)
    killed = subprocess.run([sys.executable, "-c", _KILLED, database.url, wanted], check=False, timeout=60, env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    assert docs.search("aword3 one", k=1)[0].id == "a3"
    docs.add([{"id": "late", "text": "late comer"}])
    assert docs.rebuild().built
    assert violations(database.url) == []
    assert docs.search("late comer", k=1)[0].id == "late"


# ---- another encoder


@pytest.mark.both_versions
@pytest.mark.parametrize("dim", [64, 96])
@pytest.mark.parametrize("options", [{}, {"keep_vectors": True, "generator": "proxy", "dense": "kept"}], ids=["plain", "all"])
def test_the_encoder_is_changed(database: pgretrieval.RetrievalDatabase, dim: int, options: dict[str, Any]):
    """A new encoder replaces vectors, dimension, token counts, dense vectors and name."""
    docs = built(database, OtherEncoder(72) if options else HashedEncoder(), **options)
    other = OtherEncoder(dim)
    docs.rebuild(encoder=other)
    stats = docs.stats()
    assert (stats["dim"], stats["encoder"]) == (dim, load_encoder(other).spec)
    assert stats["tokens"] == 60 * 4
    assert docs.search("aword3 one", k=1)[0].id == "a3"
    assert docs.search("aword3 one", k=1)[0].score == pytest.approx(2, abs=0.1)
    assert docs.hybrid_search("aword3 one", k=1)[0].id == "a3"
    assert violations(database.url) == []
    if options:
        assert stats["dense_dim"] == dim
        left = "select count(*) from pgretrieval.dense_vector"
        assert value(database.url, left) == 60
        assert value(database.url, "select count(*) from pg_indexes where indexname ~ '^dense_vector_[0-9]+_[0-9]+_hnsw$'") == 1
    docs.add([{"id": "late", "text": "late comer"}])
    assert docs.search("late comer", k=1)[0].id == "late"
    again = database.get_collection("docs", encoder=other)
    assert again.search("late comer", k=1)[0].id == "late"
    query = vector_array(other.encode_query(["aword3 one"])[0])
    with psycopg.connect(database.url) as connection:
        assert connection.execute("select id from pgretrieval.search('docs', %s::vector[], 1)", [query]).fetchone() == ("a3",)


def test_a_collection_keeps_its_version_of_minilm_until_it_is_rebuilt(database: pgretrieval.RetrievalDatabase):
    """A collection keeps its version of minilm until a rebuild."""
    texts = ["Green tea is brewed with warm water.", "Espresso is pressed through ground coffee.", "A loaf rises slowly."]
    passages = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    docs = database.create_collection("docs", encoder="minilm@1", keep_vectors=True)
    docs.add(passages)
    docs.build()
    again = database.get_collection("docs")
    assert again.stats()["encoder"] == {"kind": "minilm"}
    expected = load_encoder("minilm@1")
    [query], vectors = expected.encode_query("tea water"), expected.encode_document(texts)
    assert again.search("tea water", k=1)[0].score == pytest.approx((query @ vectors[0].T).max(axis=1).sum(), abs=0.02)
    again._opened.require_encoder("minilm")
    again.add([{"id": "late", "text": "Water is warm."}])
    with pytest.raises(pgretrieval.ConfigError, match=r"created with encoder {'kind': 'minilm'}, not 'minilm@2'.*rebuild"):
        again._opened.require_encoder("minilm@2")
    again.rebuild(encoder="minilm")
    assert again.stats()["encoder"] == {"kind": "minilm", "version": NEWEST}
    newest = load_encoder("minilm")
    [query], vectors = newest.encode_query("tea water"), newest.encode_document(texts)
    assert database.get_collection("docs").search("tea water", k=1)[0].score == pytest.approx(
        (query @ vectors[0].T).max(axis=1).sum(), abs=0.02
    )


def test_given_dense_vectors_stay_when_the_encoder_changes(database: pgretrieval.RetrievalDatabase):
    """Given dense vectors survive a change of encoder."""
    docs = database.create_collection("docs", encoder=HashedEncoder(), dense="kept")
    dense = np.eye(60, dtype=np.float32)
    docs.add(numbered(60), dense=dense)
    docs.build()
    docs.rebuild(encoder=OtherEncoder())
    assert docs.hybrid_search("aword3 one", k=1, dense=dense[3])[0].id == "a3"
    assert docs.stats()["dense_dim"] == 60
    assert violations(database.url) == []


def test_an_encoder_without_dense_vectors_is_refused_where_they_are_kept(database: pgretrieval.RetrievalDatabase):
    """An encoder without dense vectors is refused if the collection keeps them."""
    docs = built(database, OtherEncoder(), dense="kept")
    with pytest.raises(pgretrieval.EncoderError, match=r"has no method .* for dense vectors"):
        docs.rebuild(encoder=HashedEncoder())
    assert docs.hybrid_search("aword3 one", k=1)[0].id == "a3"


def test_the_first_build_can_take_another_encoder(database: pgretrieval.RetrievalDatabase):
    """The first build can use another encoder, which re-encodes waiting passages."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add(numbered(60))
    docs.rebuild(encoder=OtherEncoder(), stage=at("code", lambda: docs.search("aword3 one", k=1)))
    assert docs.search("aword3 one", k=1)[0].id == "a3"
    assert docs.stats()["waiting_for_build"] == 0
    assert violations(database.url) == []


# ---- old handles


@pytest.fixture
def stale(database: pgretrieval.RetrievalDatabase, monkeypatch: pytest.MonkeyPatch) -> pgretrieval.Collection:
    """A used handle of a collection whose encoder was changed to a loadable one of equal dimension."""
    docs = built(database)
    before = database.get_collection("docs", encoder=HashedEncoder())
    before.search("aword3 one")
    docs.rebuild(encoder=OtherEncoder(64))
    monkeypatch.setattr("pgretrieval.encode.registry.from_spec", lambda _spec, _device: load_encoder(OtherEncoder(64)))
    return before


def test_a_handle_from_before_searches_with_the_new_encoder(stale: pgretrieval.Collection):
    """Queries of an old handle use the new encoder."""
    assert stale.search("aword3 one", k=1)[0].id == "a3"
    assert isinstance(stale.encoder._model.loaded(), OtherEncoder)
    assert stale.search_many(["aword3 one"], k=1)[0][0].id == "a3"
    assert stale.explain("aword3 one", k=1).hits[0].id == "a3"
    assert stale.hybrid_search("aword3 one", k=1)[0].id == "a3"


@pytest.mark.parametrize("change", ["add", "update"])
def test_a_handle_from_before_adds_with_the_new_encoder(stale: pgretrieval.Collection, database_url: str, change: str):
    """Adds of an old handle use the new encoder."""
    if change == "add":
        stale.add(passage for passage in [{"id": "late", "text": "late comer"}])
    else:
        stale.update(passage for passage in [{"id": "a5", "text": "late comer"}])
    assert value(database_url, "select token_count from pgretrieval.passage where body = 'late comer'") == 3
    assert violations(database_url) == []


def test_given_vectors_through_a_handle_from_before(stale: pgretrieval.Collection, database_url: str):
    """The first add of given vectors through an old handle raises EncoderChangedError; then the handle uses the new encoder."""
    vectors = HashedEncoder().encode_document(["late comer"])
    with pytest.raises(pgretrieval.EncoderChangedError, match="rebuild changed the encoder of collection 'docs'"):
        stale.add([{"id": "late", "text": "late comer"}], vectors=vectors)
    assert value(database_url, "select count(*) from pgretrieval.passage") == 60
    stale.add([{"id": "late", "text": "late comer"}], vectors=vectors)
    assert value(database_url, "select count(*) from pgretrieval.passage") == 61


def test_a_handle_from_before_whose_encoder_cannot_be_loaded(database: pgretrieval.RetrievalDatabase):
    """An old handle whose new encoder cannot be loaded raises an error."""
    docs = built(database)
    before = database.get_collection("docs", encoder=HashedEncoder())
    before.search("aword3 one")
    docs.rebuild(encoder=OtherEncoder())
    with pytest.raises(pgretrieval.EncoderError, match="encoder=… to get_collection"):
        before.search("aword3 one")
    with pytest.raises(pgretrieval.DimensionMismatchError, match="64 dimensions, but the collection has 96"):
        before.search(vectors=HashedEncoder().encode_query(["aword3 one"])[0])


def test_a_given_query_of_the_old_dimension(database: pgretrieval.RetrievalDatabase):
    """A given query of the old dimension raises an error of the package."""
    docs = built(database)
    before = database.get_collection("docs")
    query = HashedEncoder().encode_query(["aword3 one"])[0]
    assert before.search(vectors=query, k=1)[0].id == "a3"
    docs.rebuild(encoder=OtherEncoder())
    with pytest.raises(
        pgretrieval.DimensionMismatchError, match="64 dimensions, and collection 'docs' has 96 since its encoder changed"
    ):
        before.search(vectors=query)


def test_the_encoder_is_changed_while_others_search_and_add(
    database: pgretrieval.RetrievalDatabase, monkeypatch: pytest.MonkeyPatch
):
    """Searches and adds continue during a change of encoder, each with one encoder."""
    docs = built(database, HashedEncoder())
    encoders = {64: HashedEncoder(), 96: OtherEncoder()}
    monkeypatch.setattr(
        "pgretrieval.encode.registry.from_spec",
        lambda spec, _device: load_encoder(encoders[96 if "OtherEncoder" in spec["type"] else 64]),
    )
    searching, adding = database.get_collection("docs"), database.get_collection("docs")
    numbers = iter(range(10_000))

    def search() -> None:
        assert searching.search("aword3 one", k=1)[0].id == "a3"

    def add() -> None:
        adding.add([{"id": f"late{next(numbers)}", "text": "late comer"}])

    with meanwhile(search, add):
        docs.rebuild(encoder=encoders[96])
    added = next(numbers)
    assert violations(database.url) == []
    assert len(docs.search("late comer", k=60 + added)) == 60 + added
    assert value(database.url, "select min(token_count) from pgretrieval.passage where key like 'late%'") == 3


# ---- drift


def test_drift_shows_in_stats(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """stats reports growing errors of added passages, and advises a rebuild only if it helps."""
    docs = database.create_collection("docs", keep_vectors=True)
    docs.add(corpus.passages, vectors=corpus.vectors)
    assert docs.stats()["rebuild_pays"] is False
    docs.build()
    trained = docs.stats()
    assert 0 < trained["quantization_error"] < 0.05
    assert (trained["added_passages"], trained["added_quantization_error"], trained["rebuild_pays"]) == (0, None, False)
    random = np.random.default_rng(0)
    few = [random.standard_normal((8, 64)) for _ in range(20)]
    docs.add([{"id": f"few{i}", "text": "text"} for i in range(20)], vectors=few)
    assert docs.stats()["rebuild_pays"] is False
    many = [random.standard_normal((8, 64)) for _ in range(60)]
    docs.add([{"id": f"many{i}", "text": "text"} for i in range(60)], vectors=many)
    drifted = docs.stats()
    assert drifted["added_passages"] == 80
    assert drifted["added_quantization_error"] > 1.5 * drifted["quantization_error"]
    assert drifted["rebuild_pays"] is True
    names = ("quantization_error", "added_passages", "added_quantization_error", "rebuild_pays")
    in_sql = value(database.url, "select pgretrieval.stats('docs')")
    assert {name: in_sql[name] for name in names} == {name: drifted[name] for name in names}
    docs.rebuild()
    assert docs.stats()["rebuild_pays"] is False
