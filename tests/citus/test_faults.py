"""Workers that lose their sessions in the middle of an add, a build and a search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

import pgretrieval
from pgretrieval.errors import PgRetrievalError
from tests.fixtures.collections import Corpus
from tests.support.citus import Cluster
from tests.support.vectors import clustered, passages


def kill_sessions(cluster: Cluster, database: str, worker: int) -> None:
    """End every session of a database on one worker, as its crash would."""
    cluster.run(
        database,
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'",
        cluster.workers[worker],
    )


@pytest.mark.parametrize("worker", [0, 1])
def test_a_worker_lost_in_an_add(
    cluster: Cluster, distributed: str, many: pgretrieval.RetrievalDatabase, corpus: Corpus, worker: int
):
    """All of the add is stored or nothing, what was acknowledged before stays, and the same call finishes."""
    docs = many.create_collection(f"add {worker}")
    docs.add(corpus.passages[:100], vectors=corpus.vectors[:100])
    more, vectors = passages(1300, start=1000), clustered(1300, tokens=(3, 5))

    def lost() -> Iterator[dict[str, object]]:
        for number, passage in enumerate(more):
            if number > 512 and number % 50 == 0:  # the first batch is being written, or is written and not committed
                kill_sessions(cluster, distributed, worker)
            yield passage

    try:
        docs.add(lost(), vectors=iter(vectors))
    except PgRetrievalError:
        assert docs.stats()["passages"] == 100
        docs.add(more, vectors=vectors)
    assert docs.stats()["passages"] == 1400
    assert not docs.check()


@pytest.mark.parametrize("lost", ["train", "code", "postings", "index", "switch", "drop"])
def test_a_worker_lost_in_a_build(
    cluster: Cluster, distributed: str, many: pgretrieval.RetrievalDatabase, corpus: Corpus, lost: str
):
    """Searches find the same meanwhile, and the same call finishes."""
    docs = many.create_collection(f"build {lost}", keep_vectors=True)
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    before = docs.search(vectors=corpus.queries[0])
    seen = []

    def stage(name: str, done: int, total: int) -> None:
        if name == lost and not seen:
            seen.append(name)
            kill_sessions(cluster, distributed, 0)

    with suppress(PgRetrievalError):
        docs.rebuild(stage=stage)
    assert seen
    assert [hit.id for hit in docs.search(vectors=corpus.queries[0])] == [hit.id for hit in before]
    docs.rebuild()
    assert not docs.check()
    assert [hit.id for hit in docs.search(vectors=corpus.queries[0])] == [hit.id for hit in before]


def test_a_worker_lost_between_searches(cluster: Cluster, distributed: str, many: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """A search finds the same, at once or when it is called again; never less."""
    docs = many.create_collection("searched")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    before = docs.search(vectors=corpus.queries[0])
    for worker in (0, 1, 0, 1):
        kill_sessions(cluster, distributed, worker)
        try:
            found = docs.search(vectors=corpus.queries[0])
        except PgRetrievalError:
            found = docs.search(vectors=corpus.queries[0])
        assert found == before
