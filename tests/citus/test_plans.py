"""Statements of a search run on the shards: none is repartitioned, and only what a search asks for comes to the coordinator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

import pgretrieval
from tests.fixtures.collections import Corpus
from tests.support.citus import Cluster
from tests.support.proxies import quick_proxies
from tests.support.sql import vector_array
from tests.support.vectors import clustered, passages

PASSAGES = 1500
GATHERED = 600
"""Rows that a statement may bring to the coordinator, of 1,500 passages with 10,000 tokens."""
WATCHING = (
    "load 'auto_explain'",
    "set auto_explain.log_min_duration = 0",
    "set auto_explain.log_nested_statements = on",
    "set auto_explain.log_analyze = on",
    "set auto_explain.log_timing = off",
    "set client_min_messages = log",
)
SEARCHES: dict[str, Callable[[pgretrieval.Collection, Corpus], Any]] = {
    "postings": lambda docs, corpus: docs.search(vectors=corpus.queries[0], generator="postings", probes=1, candidates=50),
    "proxies": lambda docs, corpus: docs.search(vectors=corpus.queries[0], candidates=50),
    "filter": lambda docs, corpus: docs.search(vectors=corpus.queries[0], where={"number": {"$lt": 40}}, candidates=50),
    "ids": lambda docs, corpus: docs.search(vectors=corpus.queries[0], among=["p3", "p4"], candidates=50),
    "dense": lambda docs, corpus: docs.dense_search(dense=corpus.queries[0][0]),
}


@pytest.fixture(scope="module")
def watched(cluster: Cluster, distributed: str) -> Iterator[tuple[pgretrieval.RetrievalDatabase, list[str]]]:
    """A collection of 1,500 passages, over one connection whose plans are told.

    Citus explains no statements with parameters of types of the schema, as those of words and retrieved tokens have.
    """
    told: list[str] = []
    with pgretrieval.connect(cluster.url_of(distributed), connections=1) as database:
        vectors = clustered(PASSAGES, directions=800, tokens=(4, 9))
        docs = database.create_collection("docs", generator="proxy", dense="kept")
        docs.add(passages(PASSAGES), vectors=vectors, dense=[tokens[0] for tokens in vectors])
        with quick_proxies():
            docs.build()
        with database._database.connection("watching plans") as connection:
            connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
            for statement in WATCHING:
                connection.execute(statement)
        yield database, told


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_runs_on_the_shards(watched: tuple[pgretrieval.RetrievalDatabase, list[str]], corpus: Corpus, search: str):
    """Joins and groups are of one bucket, and limits apply on each shard."""
    database, told = watched
    docs = database.get_collection("docs")
    SEARCHES[search](docs, corpus)  # what a client keeps in memory is read once
    told.clear()
    assert SEARCHES[search](docs, corpus)
    distributed = [plan for plan in told if "Citus Adaptive" in plan]
    gathered = [int(rows) for plan in distributed for rows in re.findall(r"\(Citus Adaptive\).*?actual rows=(\d+)", plan)]
    assert 0 < max(gathered) <= GATHERED, distributed


def test_candidates_are_limited_on_each_shard(cluster: Cluster, distributed: str, watched: tuple[Any, list[str]], corpus: Corpus):
    """GROUP BY, ORDER BY and LIMIT run on the shards, beside the join that leaves deleted passages out."""
    database, _ = watched
    with psycopg.connect(cluster.url_of(distributed), autocommit=True) as connection:
        told: list[str] = []
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        ids = connection.execute("select collection_id, codebook_id from pgretrieval.collection where name = 'docs'").fetchone()
        for statement in WATCHING:
            connection.execute(statement)
        connection.execute(
            "select count(*) from pgretrieval.candidates_by_postings(%s, %s, '{1,2,3}', '{1,1,1}', 20)", list(ids or ())
        )
        (plan,) = [plan for plan in told if "Citus Adaptive" in plan and "scored" in plan]
        task = plan[plan.index("->  Task") :]
        for node in ("Limit", "HashAggregate|GroupAggregate", "posting_", "passage_"):
            assert re.search(node, task), (node, plan)
    assert database.get_collection("docs").search(vectors=corpus.queries[0])


def test_searches_in_sql(cluster: Cluster, distributed: str, watched: tuple[Any, list[str]], corpus: Corpus):
    """The functions for applications find what the client finds."""
    database, _ = watched
    docs = database.get_collection("docs")
    with psycopg.connect(cluster.url_of(distributed), autocommit=True) as connection:
        rows = connection.execute(
            "select id, score from pgretrieval.search('docs', %s::public.vector[], 5)", [vector_array(corpus.queries[0])]
        ).fetchall()
    hits = docs.search(vectors=corpus.queries[0], k=5)
    assert [row[0] for row in rows] == [hit.id for hit in hits]
    assert [row[1] for row in rows] == pytest.approx([hit.score for hit in hits], rel=1e-4)
