"""The same passages in a collection of a Citus cluster and in one of a single server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import pgretrieval
from pgretrieval.database import open_database
from tests.fixtures.collections import Corpus
from tests.support.citus import Cluster, coordinator_url


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that the environment names; without one the test is skipped, with the reason."""
    return Cluster.of(coordinator_url())


@pytest.fixture(scope="module")
def distributed(cluster: Cluster) -> Iterator[str]:
    """The name of a database whose schema is distributed, shared by a module's tests."""
    with cluster.database() as name:
        with open_database(cluster.url_of(name)) as database:
            database.migrate(distributed=True)
        yield name


@pytest.fixture(scope="module")
def many(cluster: Cluster, distributed: str) -> Iterator[pgretrieval.RetrievalDatabase]:
    """`pgretrieval.connect` to that database."""
    with pgretrieval.connect(cluster.url_of(distributed)) as database:
        yield database


@dataclass(frozen=True, slots=True)
class Pair:
    """Two collections of the same passages, with the same build: on the cluster, and on one server."""

    many: pgretrieval.Collection
    one: pgretrieval.Collection

    def __iter__(self) -> Iterator[pgretrieval.Collection]:
        return iter((self.many, self.one))


@pytest.fixture(scope="module")
def pair(many: pgretrieval.RetrievalDatabase, module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> Pair:
    """The corpus on both; tests must not change it."""
    made = Pair(many.create_collection("pair"), module_database.create_collection("pair", buckets=64))
    for collection in made:
        collection.add(corpus.passages, vectors=corpus.vectors)
        collection.build()
    return made
