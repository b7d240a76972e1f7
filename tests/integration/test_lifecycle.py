"""Collections over time: reopened, grown, rebuilt, interrupted, shared, dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.index import build as build_module
from tests.fixtures.collections import Corpus
from tests.support.changing import until_waiting
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered, passages


class StopHere(Exception):  # noqa: N818
    """Simulates Ctrl-C or a crash."""


def value(url: str, statement: str) -> Any:
    """The first column of the first row."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone()[0]


@pytest.mark.both_versions
def test_a_collection_survives_reconnecting(database_url: str, corpus: Corpus):
    """Search results survive a reconnect."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", bits=2)
        docs.add(corpus.passages, vectors=corpus.vectors)
        docs.build()
        before = docs.search_many(vectors=corpus.queries)
    with pgretrieval.connect(url=database_url) as database:
        again = database.get_collection("docs")
        assert again.settings.bits == 2
        assert again.search_many(vectors=corpus.queries) == before


def test_a_collection_made_with_an_object_is_opened_with_one(database_url: str):
    """A collection made with an encoder object requires one when opened."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": "a", "text": "one two three"}])
        docs.build()
    with pgretrieval.connect(url=database_url) as database:
        with pytest.raises(pgretrieval.EncoderError, match=r"HashedEncoder.*encoder=… to get_collection"):
            database.get_collection("docs").search("two")
        with pytest.raises(pgretrieval.DimensionMismatchError, match="96 dimensions, but collection 'docs' has 64"):
            database.get_collection("docs", encoder=HashedEncoder(96))
        assert database.get_collection("docs", encoder=HashedEncoder()).search("two")[0].id == "a"


def test_a_passage_added_after_the_build_is_found_at_once(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Passages added after the build are found at once."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages[:299], vectors=corpus.vectors[:299])
    docs.build()
    docs.search(vectors=corpus.queries[0])
    docs.add(corpus.passages[299:], vectors=corpus.vectors[299:])
    assert docs.search(vectors=corpus.vectors[299], k=1)[0].id == "p299"
    assert docs.stats()["waiting_for_build"] == 0


def test_adding_to_an_open_collection_is_seen_by_another(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Another handle, as of another process, sees added passages."""
    docs = database.create_collection("docs")
    other = database.get_collection("docs")
    docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
    docs.build()
    assert len(other.search(vectors=corpus.queries[0], k=300)) == 200
    other.add(corpus.passages[200:], vectors=corpus.vectors[200:])
    assert len(docs.search(vectors=corpus.queries[0], k=300)) == 300


def test_building_again_does_nothing(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Building again without changes does nothing."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    first = docs.build()
    before = value(database.url, "select codebook_id from pgretrieval.collection")
    stages: list[str] = []
    second = docs.build(stage=lambda name, *_: stages.append(name))
    assert (first.built, second.built, stages) == (True, False, [])
    assert (second.passages, second.tokens, second.centroids) == (first.passages, first.tokens, first.centroids)
    assert value(database.url, "select codebook_id from pgretrieval.collection") == before


def test_a_collection_that_more_than_doubles_is_trained_again(database: pgretrieval.RetrievalDatabase):
    """A collection that more than doubles is trained again, and old rows are removed."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add([{"id": f"a{i}", "text": f"alpha{i % 9} beta{i % 7}"} for i in range(40)])
    docs.build()
    first = value(database.url, "select codebook_id from pgretrieval.collection")
    small = docs.stats()["centroids"]
    docs.add([{"id": f"b{i}", "text": f"gamma{i % 50} delta{i % 40}"} for i in range(200)])
    docs.search("alpha1")
    assert docs.build().built
    assert value(database.url, "select codebook_id from pgretrieval.collection") > first
    stats = docs.stats()
    assert stats["centroids"] > small
    assert (stats["passages"], stats["waiting_for_build"]) == (240, 0)
    assert docs.search("gamma3 delta3", k=1)[0].score == pytest.approx(2, abs=0.1)
    for table in ("codebook", "centroid", "token_code", "posting"):
        assert value(database.url, f"select count(distinct codebook_id) from pgretrieval.{table}") == 1, table


def test_growth_without_an_encoder_leaves_the_index_as_it_is(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Without an encoder or stored vectors, growth keeps the index and its vectors."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages[:50], vectors=corpus.vectors[:50])
    docs.build()
    docs.add(corpus.passages[50:], vectors=corpus.vectors[50:])
    assert not docs.build().built
    assert len(docs.search(vectors=corpus.queries[0], k=300)) == 300


def interrupt_at(wanted: str) -> build_module.Stage:
    """A stage callback that raises at a stage."""

    def stage(name: str, _done: int, _total: int) -> None:
        if name == wanted:
            raise StopHere

    return stage


def test_an_interrupted_build_keeps_the_trained_codebook(
    database: pgretrieval.RetrievalDatabase, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    """An interrupted build reuses its trained codebook."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    with pytest.raises(StopHere):
        docs.build(stage=interrupt_at("code"))
    assert value(database.url, "select count(*) from pgretrieval.codebook") == 1
    assert value(database.url, "select count(*) from pgretrieval.token_code") == 0
    assert docs.explain(vectors=corpus.queries[0]).probes == 0
    stages: list[str] = []
    assert docs.build(stage=lambda name, *_: stages.append(name)).built
    assert "train" not in stages
    assert value(database.url, "select count(*) from pgretrieval.codebook") == 1
    assert docs.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"


@pytest.mark.parametrize("stage", ["train", "index"])
def test_a_build_interrupted_early_or_late_can_be_repeated(database: pgretrieval.RetrievalDatabase, corpus: Corpus, stage: str):
    """A build interrupted at any stage can be repeated without duplicates or locks."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    with pytest.raises(StopHere):
        docs.build(stage=interrupt_at(stage))
    docs.build()
    assert value(database.url, "select count(*) from pgretrieval.token_code") == 300
    assert docs.stats()["waiting_for_build"] == 0
    assert docs.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"


def test_adding_after_an_interrupted_build_does_not_use_its_codebook(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """A codebook trained before an add is not used for the grown collection, and is dropped."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages[:100], vectors=corpus.vectors[:100])
    with pytest.raises(StopHere):
        docs.build(stage=interrupt_at("code"))
    docs.add(corpus.passages[100:], vectors=corpus.vectors[100:])
    assert docs.build().passages == 300
    assert value(database.url, "select count(*) from pgretrieval.codebook") == 1
    assert value(database.url, "select passages from pgretrieval.codebook") == 300


def test_an_interrupted_retraining_leaves_the_old_index_working(database: pgretrieval.RetrievalDatabase):
    """After an interrupted retraining the old index works, and new passages are kept."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add([{"id": f"a{i}", "text": f"alpha{i}"} for i in range(20)])
    docs.build()
    docs.add([{"id": f"b{i}", "text": f"beta{i} more{i} words{i}"} for i in range(60)])
    with pytest.raises(StopHere):
        docs.build(stage=interrupt_at("code"))
    assert docs.search("alpha3", k=1)[0].id == "a3"
    assert docs.search("beta3 more3", k=1)[0].id == "b3"
    docs.add([{"id": "late", "text": "late comer"}])
    assert docs.search("late comer", k=1)[0].id == "late"
    report = docs.build()
    assert (report.built, report.passages) == (True, 81)
    assert docs.search("late comer", k=1)[0].id == "late"
    assert len(docs.search("alpha3", k=100)) == 81
    assert value(database.url, "select count(*) from pgretrieval.codebook") == 1


def test_add_stores_all_or_nothing(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """An error late in a stream stores no batch."""

    def source() -> Iterator[dict[str, object]]:
        yield from passages(1500)
        raise StopHere

    docs = database.create_collection("docs")
    with pytest.raises(StopHere):
        docs.add(source(), vectors=clustered(1600, tokens=(1, 2)))
    assert docs.stats()["passages"] == 0
    assert docs.stats()["dim"] is None
    docs.add(corpus.passages, vectors=corpus.vectors)
    assert docs.stats()["passages"] == 300


def test_threads_share_one_collection(built: pgretrieval.Collection, corpus: Corpus):
    """Threads share a collection without mixing results."""
    alone = built.search_many(vectors=corpus.queries)
    fresh = pgretrieval.connect(url=built._database.url)
    with fresh, ThreadPoolExecutor(8) as pool:
        shared = fresh.get_collection(built.name)
        together = list(pool.map(lambda number: shared.search(vectors=corpus.queries[number % 10]), range(80)))
    assert together == [alone[number % 10] for number in range(80)]


def test_searches_adds_and_a_build_at_once(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Searches and adds during a build see one codebook each."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add([{"id": f"a{i}", "text": f"alpha{i} one two"} for i in range(60)])
    docs.build()
    failures: list[BaseException] = []
    done = threading.Event()

    def searching() -> None:
        while not done.is_set():
            try:
                assert docs.search("alpha3 one", k=1)[0].id == "a3"
            except BaseException as error:  # noqa: PERF203
                failures.append(error)
                return

    def adding() -> None:
        try:
            for part in range(10):
                docs.add([{"id": f"b{part}-{i}", "text": f"beta{part} gamma{i}"} for i in range(30)])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=searching) for _ in range(3)] + [threading.Thread(target=adding)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        docs.build()
    threads[-1].join()
    done.set()
    for thread in threads:
        thread.join()
    docs.build()
    assert failures == []
    assert docs.stats()["passages"] == 360
    assert value(database.url, "select count(*) from pgretrieval.token_code") == 360
    assert len(docs.search("alpha3", k=360)) == 360


def test_two_adds_of_one_id_at_once(database_url: str):
    """Exactly one of two concurrent adds of one id succeeds; the other raises DuplicateIdError."""
    outcomes: list[str] = []
    ready = threading.Barrier(2)

    def source() -> Iterator[dict[str, str]]:
        yield {"id": "same", "text": "one text"}

    def adding() -> None:
        with pgretrieval.connect(url=database_url) as database:
            docs = database.get_collection("docs", encoder=HashedEncoder())
            ready.wait()
            try:
                docs.add(source())
                outcomes.append("added")
            except pgretrieval.DuplicateIdError as error:
                outcomes.append("duplicate" if "same" in str(error) else str(error))

    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": "first", "text": "settles the dimension"}])
        threads = [threading.Thread(target=adding) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["added", "duplicate"]
        assert docs.stats()["passages"] == 2


def test_a_build_waits_for_an_add_that_is_not_committed(database_url: str, corpus: Corpus):
    """A build waits for an uncommitted add, so its passage has codes after the switch."""
    with pgretrieval.connect(url=database_url) as database, psycopg.connect(database_url) as own:
        docs = database.create_collection("docs")
        docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
        docs.add(corpus.passages[200:210], vectors=corpus.vectors[200:210], connection=own)
        building = threading.Thread(target=docs.build)
        building.start()
        building.join(2)
        assert building.is_alive()
        own.commit()
        building.join()
        assert value(database_url, "select count(*) from pgretrieval.token_code") == 210
        for number in range(200, 210):
            assert docs.search(vectors=corpus.vectors[number], k=1)[0].id == f"p{number}"
        assert not docs.check()


def test_an_add_that_was_prepared_before_a_build_is_coded_by_its_codebook(database_url: str, corpus: Corpus):
    """An add prepared before a build is coded with the new codebook."""
    prepared, switched = threading.Event(), threading.Event()

    def source() -> Iterator[dict[str, object]]:
        yield from corpus.passages[200:210]
        prepared.set()
        switched.wait(60)

    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
        docs.build()
        adding = threading.Thread(target=lambda: docs.add(source(), vectors=corpus.vectors[200:210]))
        adding.start()
        assert prepared.wait(60)
        docs.build()
        switched.set()
        adding.join()
        assert value(database_url, "select count(*) from pgretrieval.token_code") == 210
        for number in range(200, 210):
            assert docs.search(vectors=corpus.vectors[number], k=1)[0].id == f"p{number}"
        assert not docs.check()


def test_two_first_adds_of_two_dimensions(database_url: str):
    """Two first adds of different dimensions: one fails."""
    errors: list[BaseException] = []

    def adding(docs: pgretrieval.Collection) -> None:
        try:
            docs.add([{"id": "wide", "text": "wide"}], vectors=clustered(1, dim=96))
        except pgretrieval.DimensionMismatchError as error:
            errors.append(error)

    with pgretrieval.connect(url=database_url) as database, psycopg.connect(database_url) as own:
        docs = database.create_collection("docs")
        docs.add([{"id": "narrow", "text": "narrow"}], vectors=clustered(1, dim=48), connection=own)
        second = threading.Thread(target=adding, args=[database.get_collection("docs")])
        second.start()
        until_waiting(database_url)
        own.commit()
        second.join()
        assert ["96 dimensions, but collection 'docs' has 48" in str(error) for error in errors] == [True]
        assert docs.stats()["passages"] == 1
        assert value(database_url, "select dim from pgretrieval.collection") == 48
        assert docs.search(vectors=clustered(1, dim=48)[0], k=5)[0].id == "narrow"


def test_a_dropped_collection_frees_its_tables(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Dropping a collection removes partitions, sequences and rows of no other collection."""
    kept = database.create_collection("kept")
    kept.add(corpus.passages[:20], vectors=corpus.vectors[:20])
    kept.build()
    relations = "select count(*) from pg_class where relnamespace = 'pgretrieval'::regnamespace"
    before = value(database.url, relations)
    size = value(database.url, "select pg_database_size(current_database())")
    docs = database.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    assert value(database.url, relations) > before
    database.drop_collection("docs")
    assert value(database.url, relations) == before
    assert value(database.url, "select pg_database_size(current_database())") < size + 2**20
    assert value(database.url, "select count(*) from pgretrieval.codebook") == 1
    assert kept.search(vectors=corpus.vectors[3], k=1)[0].id == "p3"


def test_a_handle_of_a_dropped_collection_raises(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """A handle of a dropped collection raises CollectionNotFoundError and does not use a successor of the same name."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages[:5], vectors=corpus.vectors[:5])
    docs.build()
    database.drop_collection("docs")
    for use in (
        lambda: docs.add(corpus.passages[5:9], vectors=corpus.vectors[5:9]),
        lambda: docs.search(vectors=corpus.queries[0]),
        lambda: docs.build(),
        lambda: docs.stats(),
    ):
        with pytest.raises(pgretrieval.CollectionNotFoundError):
            use()


def test_calls_after_close_raise(database_url: str, corpus: Corpus):
    """Calls after close raise an error of the package."""
    database = pgretrieval.connect(url=database_url)
    docs = database.create_collection("docs", dim=64)
    database.close()
    with pytest.raises(pgretrieval.PgRetrievalError):
        docs.add(corpus.passages[:1], vectors=corpus.vectors[:1])
    database.close()
