"""`migrate(distributed=True)` on a real cluster: a schema with rows, an upgrade, a worker, no workers."""

from __future__ import annotations

import pytest

import pgretrieval
from pgretrieval.database import open_database
from pgretrieval.errors import SchemaError
from tests.fixtures.collections import Corpus
from tests.support.citus import Cluster


def test_a_schema_with_rows_is_moved(cluster: Cluster, corpus: Corpus):
    """Collections are searched and changed as before; an upgrade keeps the tables distributed."""
    with cluster.database() as name:
        url = cluster.url_of(name)
        with open_database(url) as database:
            database.migrate()
        with pgretrieval.connect(url) as database:
            docs = database.create_collection("docs")
            docs.add(corpus.passages, vectors=corpus.vectors)
            docs.build()
            before = docs.search_many(vectors=corpus.queries)
            assert docs.settings.buckets == 1
        for distributed in (True, True, False):
            with open_database(url) as database:
                database.migrate(distributed=distributed)
            assert cluster.run(name, "select pgretrieval.is_distributed()")
            assert (
                cluster.run(name, "select count(*) from pg_dist_shard where logicalrelid = 'pgretrieval.passage_1'::regclass") > 1
            )
            with pgretrieval.connect(url) as database:
                docs = database.get_collection("docs")
                assert docs.search_many(vectors=corpus.queries) == before
                assert not docs.check()
        with pgretrieval.connect(url) as database:
            assert database.get_collection("docs").delete(["p3"]) == 1
            assert database.create_collection("new").settings.buckets == 64


def test_a_worker_is_refused(cluster: Cluster, distributed: str):
    """Connecting and migrating say that this is no coordinator."""
    url = cluster.url_of(distributed, cluster.workers[0])
    with pytest.raises(SchemaError, match="on a worker of a Citus cluster"):
        pgretrieval.connect(url)
    with open_database(url) as database, pytest.raises(SchemaError, match="on a worker of a Citus cluster"):
        database.migrate()


def test_a_coordinator_without_workers_is_refused(cluster: Cluster):
    """The error has the statement that adds one; nothing is installed."""
    with cluster.database(workers=()) as name:
        with open_database(cluster.url_of(name)) as database, pytest.raises(SchemaError, match=r"no workers.*citus_add_node"):
            database.migrate(distributed=True)
        assert cluster.run(name, "select to_regnamespace('pgretrieval') is null")
