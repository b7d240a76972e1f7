"""Adds, updates and deletes: transactions, conflicts, and their effect on the index."""

from __future__ import annotations

import datetime
import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.orm import Session

import pgretrieval
from pgretrieval import AddReport, ConfigError, ConflictError, DuplicateIdError, PassageNotFoundError
from tests.fixtures.collections import Corpus
from tests.support.encoder import HashedEncoder
from tests.support.following import until
from tests.support.vectors import clustered, maxsim, passages

GREEK = [{"id": name, "text": f"{name} {name} text", "metadata": {"n": n}} for n, name in enumerate(("alpha", "beta", "gamma"))]


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()


@pytest.fixture
def greek(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder) -> pgretrieval.Collection:
    """Three encoded passages, built."""
    collection = database.create_collection("greek", encoder=hashed_encoder)
    collection.add(GREEK)
    collection.build()
    hashed_encoder.encoded = 0
    return collection


@pytest.fixture
def large(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.Collection:
    """The corpus, built."""
    collection = database.create_collection("large")
    collection.add(corpus.passages, vectors=corpus.vectors)
    collection.build()
    return collection


def found(collection: pgretrieval.Collection, query: str) -> list[tuple[str, str]]:
    return [(hit.id, hit.text) for hit in collection.search(query, k=1)]


# --- conflicts -------------------------------------------------------------------------------------------------------------------


@pytest.mark.both_versions
def test_updating_on_conflict(greek: pgretrieval.Collection, hashed_encoder: HashedEncoder):
    """Changed passages are re-encoded and found by the new text; unchanged ones are not encoded."""
    changed = [
        {"id": "alpha", "text": "omega omega text", "metadata": {"n": 0}},
        {"id": "beta", "text": "beta beta text", "metadata": {"n": 10}},
        {"id": "gamma", "text": "gamma gamma text", "metadata": {"n": 2}},
        {"id": "delta", "text": "delta delta text"},
    ]
    report = greek.add(changed, on_conflict="update")
    assert report == AddReport(passages=3, tokens=6, truncated=0, updated=2, skipped=1)
    assert hashed_encoder.encoded == 2
    assert found(greek, "omega") == [("alpha", "omega omega text")]
    assert greek.text_search("alpha") == []
    assert greek.search("beta", k=1)[0].metadata == {"n": 10}
    assert found(greek, "delta") == [("delta", "delta delta text")]
    assert greek.stats()["passages"] == 4


def test_skipping_on_conflict(greek: pgretrieval.Collection, hashed_encoder: HashedEncoder):
    """Existing passages are neither encoded nor changed."""
    twice = {"id": "delta", "text": "delta delta text"}
    report = greek.add([{"id": "alpha", "text": "other"}, twice, twice | {"text": "other"}], on_conflict="skip")
    assert report == AddReport(passages=1, tokens=3, truncated=0, updated=0, skipped=2)
    assert hashed_encoder.encoded == 1
    assert found(greek, "alpha") == [("alpha", "alpha alpha text")]
    assert found(greek, "delta") == [("delta", "delta delta text")]


def test_given_vectors_follow_their_passages_on_conflict(large: pgretrieval.Collection):
    """Vectors of skipped passages are skipped, too."""
    fresh = clustered(4, seed=9)
    given = [{"id": "p5", "text": "x"}, {"id": "new1", "text": "x"}, {"id": "p6", "text": "x"}, {"id": "new2", "text": "x"}]
    assert large.add(given, vectors=fresh, on_conflict="skip").passages == 2
    assert large.search(vectors=fresh[1], k=1)[0].id == "new1"
    assert large.search(vectors=fresh[3], k=1)[0].id == "new2"
    assert large.add(given, vectors=fresh, on_conflict="update").updated == 4
    assert [large.search(vectors=vectors, k=1)[0].id for vectors in fresh] == ["p5", "new1", "p6", "new2"]


def test_an_unknown_way_with_conflicts_is_refused(greek: pgretrieval.Collection):
    with pytest.raises(ConfigError, match="on_conflict is 'replace'"):
        greek.add(GREEK, on_conflict="replace")  # type: ignore[arg-type]


def test_an_id_twice_in_an_update_is_refused(greek: pgretrieval.Collection):
    with pytest.raises(DuplicateIdError, match="ids occur twice in this call: 'alpha'"):
        greek.add([GREEK[0], GREEK[0] | {"text": "other"}], on_conflict="update")
    assert found(greek, "alpha") == [("alpha", "alpha alpha text")]


@pytest.mark.parametrize("on_conflict", ["update", "skip"])
def test_concurrent_adds_of_the_same_ids(database_url: str, corpus: Corpus, on_conflict: Any):
    """Concurrent adds of the same ids all succeed with on_conflict."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages[:50], vectors=corpus.vectors[:50])
        docs.build()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                for start in range(50, 250, 10):
                    some = slice(start, start + 10)
                    docs.add(corpus.passages[some], vectors=corpus.vectors[some], on_conflict=on_conflict)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert docs.stats()["passages"] == 250
        docs.compact()
        listed = "select count(*), count(distinct (centroid_id, entry)) from pgretrieval.posting, unnest(passage_ids) as entry"
        entries, distinct = rows(database_url, listed)[0]
        assert entries == distinct


# --- update and delete -----------------------------------------------------------------------------------------------------------


def test_update_keeps_other_fields(greek: pgretrieval.Collection, hashed_encoder: HashedEncoder):
    """Fields that are not given stay, and a change of metadata needs no encoder."""
    assert greek.update([{"id": "alpha", "metadata": {"n": 5}}]) == AddReport(1, 0, 0, updated=1, skipped=0)
    assert hashed_encoder.encoded == 0
    report = greek.update([{"id": "beta", "title": "sigma"}, {"id": "gamma"}])
    assert (report.passages, report.updated, report.skipped) == (1, 1, 1)
    hit = greek.search("sigma", k=1)[0]
    assert (hit.id, hit.title, hit.text, hit.metadata) == ("beta", "sigma", "beta beta text", {"n": 1})
    assert greek.search("alpha", k=1)[0].metadata == {"n": 5}


def test_metadata_of_given_vectors_change_without_an_encoder(large: pgretrieval.Collection):
    """A collection without an encoder can change metadata."""
    assert large.update([{"id": "p7", "metadata": {"number": -7}}]).updated == 1
    assert large.text_search("7", where={"number": -7})[0].id == "p7"
    with pytest.raises(pgretrieval.InputError, match="contains given vectors and has no encoder"):
        large.update([{"id": "p7", "metadata": {}}, {"id": "p8", "text": "new"}])
    assert large.text_search("7", where={"number": -7})[0].id == "p7"


def test_update_of_a_missing_passage_changes_nothing(greek: pgretrieval.Collection):
    with pytest.raises(PassageNotFoundError, match=r"ids are not in collection 'greek': 'omega'.*on_conflict=\"update\""):
        greek.update([{"id": "alpha", "text": "new"}, {"id": "omega", "text": "new"}])
    assert found(greek, "alpha") == [("alpha", "alpha alpha text")]


@pytest.mark.both_versions
def test_delete_by_ids_and_by_metadata(large: pgretrieval.Collection, corpus: Corpus):
    """Exactly the named passages are deleted, and searches do not return them."""
    assert large.delete(["p1", "p2", "nobody"]) == 2
    assert large.delete(where={"number": {"$gte": 290}}) == 10
    assert large.delete(["p3", "p4"], where={"number": 3}) == 1
    left = large.stats()["passages"]
    assert left == 300 - 13
    everything = {hit.id for hit in large.search(vectors=corpus.vectors[1], k=300)}
    assert everything == {f"p{number}" for number in range(290)} - {"p1", "p2", "p3"}
    assert large.text_search("passage 1")[0].id != "p1"
    assert large.delete(all=True) == left
    assert large.search(vectors=corpus.queries[0]) == []


def test_delete_by_a_select(large: pgretrieval.Collection):
    from pgretrieval.sqlalchemy import passage

    assert large.delete(sqlalchemy.select(passage.c.key).where(passage.c.title == "title 7")) == 1
    assert large.stats()["passages"] == 299


def test_get_by_metadata(large: pgretrieval.Collection, corpus: Corpus):
    """In the order in which they were stored; with ids, those that match."""
    first = [str(passage["id"]) for passage in corpus.passages[:3]]
    assert list(large.get(where={})) == [passage["id"] for passage in corpus.passages]
    assert large.get(where={"number": 1}) == large.get([first[1]])
    assert list(large.get(first[::-1], where={"number": {"$gte": 1}})) == first[1:]
    assert list(large.get(first, where="$.number < 1")) == first[:1]
    with pytest.raises(ConfigError, match=r"get needs ids or where=; where=\{\} returns"):
        large.get()
    with pytest.raises(ConfigError, match="no jsonpath"):
        large.get(where="$.n <")


def test_delete_needs_to_know_what(large: pgretrieval.Collection):
    with pytest.raises(ConfigError, match="delete needs ids, where= or all=True"):
        large.delete()
    with pytest.raises(ConfigError, match="give a list of ids"):
        large.delete("p1")
    assert large.stats()["passages"] == 300


# --- the caller's transaction ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["psycopg", "sqlalchemy connection", "sqlalchemy session"])
def own(request: pytest.FixtureRequest, database_url: str) -> Iterator[Any]:
    """A connection of the caller."""
    if request.param == "psycopg":
        with psycopg.connect(database_url, row_factory=dict_row) as connection:
            yield connection
        return
    engine = sqlalchemy.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() if request.param == "sqlalchemy connection" else Session(engine) as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_changes_are_part_of_the_callers_transaction(greek: pgretrieval.Collection, own: Any, ending: str):
    """Changes are invisible before the commit and gone after a rollback."""
    greek.add([{"id": "delta", "text": "delta delta text"}], connection=own)
    greek.update([{"id": "alpha", "text": "omega omega text"}], connection=own)
    assert greek.delete(["beta"], connection=own) == 1
    assert greek.stats()["passages"] == 3
    assert found(greek, "alpha") == [("alpha", "alpha alpha text")]
    getattr(own, ending)()
    if ending == "rollback":
        assert {hit.id: hit.text for hit in greek.search("alpha")} == {passage["id"]: passage["text"] for passage in GREEK}
    else:
        assert {hit.id for hit in greek.search("alpha")} == {"alpha", "gamma", "delta"}
        assert found(greek, "omega") == [("alpha", "omega omega text")]


def test_a_refused_change_leaves_the_callers_transaction_usable(greek: pgretrieval.Collection, own: Any):
    """An error of the package does not abort the caller's transaction."""
    greek.add([{"id": "delta", "text": "delta delta text"}], connection=own)
    with pytest.raises(DuplicateIdError):
        greek.add([{"id": "epsilon", "text": "epsilon"}, GREEK[0]], connection=own)
    own.commit()
    assert {hit.id for hit in greek.search("delta")} == {"alpha", "beta", "gamma", "delta"}


def test_an_autocommitting_connection_commits_each_call(greek: pgretrieval.Collection, database_url: str):
    with psycopg.connect(database_url, autocommit=True) as own:
        greek.add([{"id": "delta", "text": "delta delta text"}], connection=own)
        assert found(greek, "delta") == [("delta", "delta delta text")]


def test_a_foreign_connection_is_refused(greek: pgretrieval.Collection):
    with pytest.raises(ConfigError, match=r"connection is 'postgresql://…'; give a psycopg.Connection"):
        greek.add([], connection="postgresql://…")  # type: ignore[arg-type]


def test_a_snapshot_from_before_a_build_is_refused(database_url: str, corpus: Corpus):
    """A snapshot older than a build is refused, as its vectors would wait for a build that has already run."""
    with pgretrieval.connect(url=database_url) as database, psycopg.connect(database_url) as own:
        docs = database.create_collection("docs")
        docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
        own.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        own.execute("select count(*) from pgretrieval.passage")
        docs.build()
        with pytest.raises(ConflictError, match="Repeat the call"):
            docs.add(corpus.passages[200:], vectors=corpus.vectors[200:], connection=own)
        own.rollback()
        docs.add(corpus.passages[200:], vectors=corpus.vectors[200:], connection=own)
        own.commit()
        assert docs.search(vectors=corpus.vectors[299], k=1)[0].id == "p299"


# --- compaction ------------------------------------------------------------------------------------------------------------------

_LISTED = """
    select count(*), count(passage.passage_id), count(distinct posting.segment) from pgretrieval.{table} as posting
    cross join unnest(posting.passage_ids) as entry (passage_id) left join pgretrieval.passage using (passage_id)
"""


def entries(url: str, table: str) -> tuple[int, int, int]:
    """Entries in postings, those of existing passages, and segments."""
    total, alive, segments = rows(url, _LISTED.format(table=table))[0]
    return total, alive, segments


def gather(collection: pgretrieval.Collection) -> None:
    """Create segments of postings, and delete passages in old and new ones."""
    more = clustered(12, seed=4)
    for number, vectors in enumerate(more):
        collection.add([{"id": f"s{number}", "text": f"single word{number}"}], vectors=[vectors])
    collection.delete(["s1", "s2", *(f"p{number}" for number in range(0, 300, 7))])
    collection.update([{"id": "s3", "text": "changed"}], vectors=[more[4]])


@pytest.mark.both_versions
def test_compaction_merges_segments_and_drops_deleted_passages(large: pgretrieval.Collection, corpus: Corpus, database_url: str):
    """Compaction keeps the hits and removes entries of deleted passages."""
    gather(large)
    queries = [*corpus.queries, *clustered(12, seed=4)]
    before = large.search_many(vectors=queries, k=20), large.text_search("single changed passage", k=300)
    total, alive, segments = entries(database_url, "posting")
    assert (total > alive, segments) == (True, 14)
    assert (large.stats()["segments"], large.stats()["removed"]) == (13, 46)
    large.compact()
    for hits, earlier in zip(large.search_many(vectors=queries, k=20), before[0], strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in earlier]
        assert np.allclose([hit.score for hit in hits], [hit.score for hit in earlier], atol=1e-5)
    words = {hit.id for hit in large.text_search("single changed passage", k=300)}
    assert words == {hit.id for hit in before[1]}
    for table in ("posting", "word_posting"):
        total, alive, segments = entries(database_url, table)
        assert (total, segments) == (alive, 1)
    assert (large.stats()["segments"], large.stats()["removed"]) == (0, 0)
    assert (
        entries(database_url, "posting")[0]
        == rows(
            database_url,
            """select count(*) from (
               select distinct passage_id, pgretrieval.centroid_at(centroid_ids, place, 2)
               from pgretrieval.token_code, generate_series(0, length(centroid_ids) / 2 - 1) as place
           ) as coded""",
        )[0][0]
    )


def test_an_interrupted_compaction_resumes(large: pgretrieval.Collection, corpus: Corpus, database_url: str):
    """An interrupted compaction continues, and later changes wait for the next one."""
    large.auto_compact = False
    gather(large)
    with psycopg.connect(database_url, autocommit=True) as connection:
        while not rows(database_url, "select from pgretrieval.compaction where next_word is not null"):
            assert connection.execute("select pgretrieval.compact('large')").fetchone() == (True,)
    large.delete(["p1"])
    large.add([{"id": "late", "text": "late word"}], vectors=clustered(1, seed=77))
    large.compact()
    assert (large.stats()["segments"], large.stats()["removed"]) == (1, 1)
    assert large.search(vectors=clustered(1, seed=77)[0], k=1)[0].id == "late"
    large.compact()
    assert (large.stats()["segments"], large.stats()["removed"]) == (0, 0)
    total, alive, segments = entries(database_url, "posting")
    assert (total, segments) == (alive, 1)


def test_one_compaction_at_a_time(large: pgretrieval.Collection, database_url: str):
    """Two sessions do not compact at once, so no entry is duplicated."""
    gather(large)
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        assert first.execute("select pgretrieval.compact('large')").fetchone() == (True,)
        assert second.execute("select pgretrieval.compact('large')").fetchone() == (False,)
        first.rollback()
    large.compact()
    assert large.stats()["segments"] == 0


def test_a_collection_compacts_by_itself(large: pgretrieval.Collection, database_url: str):
    """Adds start a compaction when it is needed."""
    large.auto_compact = False
    more = clustered(46, seed=5, tokens=(50, 60))
    for number, vectors in enumerate(more[:45]):
        large.add([{"id": f"s{number}", "text": "single"}], vectors=[vectors])
    large._database.background.wait()
    assert large.stats()["segments"] == 45
    assert large.auto_compact is False
    large.auto_compact = True
    large.add([{"id": "s45", "text": "single"}], vectors=[more[45]])
    large._database.background.wait()
    assert large.stats()["segments"] == 0
    assert {large.search(vectors=vectors, k=1)[0].id for vectors in more} == {f"s{number}" for number in range(46)}


def test_close_does_not_wait_for_a_long_step(large: pgretrieval.Collection, database_url: str):
    """close() cancels a long compaction step, also on the server."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""create function pgretrieval.dawdle() returns trigger language plpgsql as
                              'begin perform pg_catalog.pg_sleep(60); return null; end'""")
        connection.execute(
            "create trigger dawdle before update on pgretrieval.segment for each statement execute function pgretrieval.dawdle()"
        )
        database = pgretrieval.connect(url=database_url)
        other = database.get_collection("large")
        for number, vectors in enumerate(clustered(60, seed=5, tokens=(50, 60))):
            other.add([{"id": f"s{number}", "text": "single"}], vectors=[vectors])
        sleeps = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
        until(lambda: rows(database_url, sleeps) == [(1,)])
        begun = time.monotonic()
        database.close()
        assert time.monotonic() - begun < 10
        until(lambda: rows(database_url, sleeps) == [(0,)], 10)
        connection.execute("drop trigger dawdle on pgretrieval.segment")
    large.compact()
    assert (large.stats()["segments"], large.stats()["passages"]) == (0, 360)


def test_a_compaction_leaves_files_as_long_as_they_are(large: pgretrieval.Collection, corpus: Corpus, database_url: str):
    """VACUUM does not truncate tables, which would block searches."""
    sizes = f"select pg_relation_size('pgretrieval.posting_{large._row.collection_id}'), count(*) from pgretrieval.posting"
    ((size, _),) = rows(database_url, sizes)
    large.delete([passage["id"] for passage in corpus.passages])
    large.compact()
    assert rows(database_url, sizes) == [(size, 0)]


def test_a_failing_background_compaction_is_reported(
    large: pgretrieval.Collection, database_url: str, caplog: pytest.LogCaptureFixture
):
    """An error of a background compaction is reported."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table pgretrieval.segment add column one_more integer not null default 0 check (not compacting)")
    for number, vectors in enumerate(clustered(60, seed=5, tokens=(50, 60))):
        large.add([{"id": f"s{number}", "text": "single"}], vectors=[vectors])
    large._database.background.wait()
    assert "compacting collection 'large' failed" in caplog.text
    assert large.stats()["passages"] == 360


# --- before the first build ------------------------------------------------------------------------------------------------------


@pytest.mark.both_versions
def test_an_unbuilt_collection_is_searched_exactly(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Before the first build, searches are exact."""
    many = passages(1100)
    vectors = clustered(1100, seed=1)
    docs = database.create_collection("docs")
    docs.add(many, vectors=vectors)
    for hits, query in zip(docs.search_many(vectors=corpus.queries), corpus.queries, strict=True):
        exact = np.array([maxsim(query, one) for one in vectors])
        best = np.argsort(-exact)[:10]
        assert [hit.id for hit in hits] == [f"p{number}" for number in best]
        assert np.allclose([hit.score for hit in hits], exact[best], atol=0.01)
    some = docs.search(vectors=corpus.queries[0], where={"number": {"$lt": 20}}, k=30)
    assert {hit.id for hit in some} == {f"p{number}" for number in range(20)}
    assert [hit.id for hit in docs.search(vectors=corpus.queries[0], among=["p7", "p1050"])] in (["p7", "p1050"], ["p1050", "p7"])
    assert docs.explain(vectors=corpus.queries[0]).passages_decoded == 1100


def test_hybrid_search_before_the_build_agrees_with_sql(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    docs = database.create_collection("docs", encoder=hashed_encoder, dense="kept")
    dense = np.random.default_rng(0).standard_normal((3, 8))
    docs.add(GREEK, dense=dense)
    hits = docs.hybrid_search("beta text", dense=dense[0])
    from pgretrieval.db.parameters import vector
    from pgretrieval.sqlalchemy import vector_array

    query = vector_array(hashed_encoder.encode_query(["beta text"])[0])
    statement = "select id, score from pgretrieval.hybrid_search('docs', %s::vector[], 'beta text', query_dense => %s::vector)"
    with psycopg.connect(database.url) as connection:
        told = connection.execute(statement, [query, vector(dense[0].astype(np.float32))]).fetchall()
    assert [hit.id for hit in hits] == [key for key, _ in told]
    assert np.allclose([hit.score for hit in hits], [score for _, score in told], atol=1e-3)


def test_an_empty_collection_finds_nothing(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    docs = database.create_collection("docs", encoder=hashed_encoder)
    assert docs.search("anything") == []
    assert docs.search_many(["anything", "else"]) == [[], []]


VALUES = [
    1,
    True,
    1.0,
    0,
    False,
    0.0,
    None,
    "1",
    2**53 + 1,
    -(10**40),
    10**2000,
    1e22,
    -1.5e300,
    5e-324,
    0.1,
    1e16,
    [],
    {},
    [1, [True]],
    {"b": 1, "a": 1.0},
]


def test_metadata_come_back_as_they_were_given(greek: pgretrieval.Collection):
    """Metadata return with the same values and types."""
    greek.add([{"id": str(number), "text": "x", "metadata": {"v": value}} for number, value in enumerate(VALUES)])
    held = greek.get([str(number) for number in range(len(VALUES))])
    for number, value in enumerate(VALUES):
        assert repr(held[str(number)].metadata) == repr({"v": value}) or value == {"b": 1, "a": 1.0}
    assert {type(held[str(VALUES.index({"b": 1, "a": 1.0}))].metadata["v"][key]) for key in "ab"} == {int, float}


@pytest.mark.parametrize("by", ["add", "update"])
def test_every_change_of_metadata_is_one(greek: pgretrieval.Collection, by: str):
    """1 -> true is a change, although Python's 1 == True; equal metadata are not written."""
    greek.add([{"id": "v", "text": "word", "metadata": {"v": 1}}])
    for value in (True, 1, 1.0, False, 0, 0.0, None, "1", 10**22, 1e22):
        new = [{"id": "v", "text": "word", "metadata": {"v": value}}]
        change = (lambda: greek.add(new, on_conflict="update")) if by == "add" else (lambda: greek.update(new))  # noqa: B023
        assert (change().updated, change().updated) == (1, 0)
        assert repr(greek.get(["v"])["v"].metadata) == repr({"v": value})
        with pytest.raises(pgretrieval.DuplicateIdError):
            greek.not_yet_added([{"id": "v", "text": "word", "metadata": {"v": [value]}}])
        assert greek.not_yet_added(new) == []
    greek.update([{"id": "v", "metadata": {"published": True}}])
    assert [hit.id for hit in greek.search("word", where={"published": True})] == ["v"]
    assert greek.search("word", where={"published": 1}) == []


def test_scalars_that_have_an_obvious_form(greek: pgretrieval.Collection):
    """Dates, UUIDs, Decimals and numpy scalars are stored and found in the same form."""
    moment = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
    given = {
        "day": moment.date(),
        "moment": moment,
        "key": uuid.UUID(int=7),
        "price": Decimal("9.90"),
        "whole": Decimal("1E+3"),
        "i": np.int64(2),
        "f": np.float32(0.5),
        "b": np.bool_(True),
        "s": np.str_("x"),
        "zero": -0.0,
    }
    greek.add([{"id": "v", "text": "word", "metadata": given}])
    plain = {
        "day": "2024-02-29",
        "moment": "2024-02-29T12:30:00+00:00",
        "key": str(given["key"]),
        "price": 9.9,
        "whole": 1000,
        "i": 2,
        "f": 0.5,
        "b": True,
        "s": "x",
        "zero": 0.0,
    }
    held = greek.get(["v"])["v"].metadata
    assert held == plain
    assert {key: type(value) for key, value in held.items()} == {key: type(value) for key, value in plain.items()}
    for field, value in given.items():
        assert [hit.id for hit in greek.search("word", where={field: value})] == ["v"], field
    assert [hit.id for hit in greek.search("word", where={"day": {"$lt": datetime.date(2024, 3, 1)}})] == ["v"]
    for wrong in (
        datetime.timedelta(1),
        Decimal("0.1234567890123456789"),
        Decimal("NaN"),
        np.datetime64("2024-01-01"),
        float("inf"),
        1j,
        b"x",
    ):
        with pytest.raises(pgretrieval.InputError, match=r"metadata\.v is"):
            greek.add([{"id": "w", "text": "word", "metadata": {"v": wrong}}])
        with pytest.raises(ConfigError, match="where compares 'v' with"):
            greek.search("word", where={"v": wrong})
