"""Collections move to another major version, and are searched on a standby."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.db.embedded import open_server
from pgretrieval.types import Hit
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import reachable_directory
from tests.support.chaos import Tally
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.own_server import OwnServer, own_server
from tests.support.standby import standby_of, wait_for_replay
from tests.support.vectors import passages, unit

COLLECTIONS: dict[str, dict[str, Any]] = {
    "docs": {},
    "kept": {"keep_vectors": True, "dense": "kept", "bits": 2},
    "proxies": {"generator": "proxy"},
    "tokens": {"scorer": "xtr"},
    "reranked": {"scorer": "colxtr", "rerank": "maxsim", "unit_vectors": False},
    "waiting": {},
}


def fill(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> int:
    """Collections of every kind, with segments, changed and deleted passages; returns the number of passages stored."""
    stored = 0
    for name, options in COLLECTIONS.items():
        docs = database.create_collection(name, **options)
        docs.auto_compact = False

        def part(start: int, end: int, keeps_dense: bool = "dense" in options) -> dict[str, Any]:
            rows = corpus.vectors[start:end]
            return {"vectors": rows, "dense": [unit(vectors[:1])[0] for vectors in rows]} if keeps_dense else {"vectors": rows}

        docs.add(corpus.passages[:200], **part(0, 200))
        if name != "waiting":
            docs.build()
        docs.add(corpus.passages[200:], **part(200, 300))
        docs.update(passages(10), **part(100, 110))
        docs.delete([f"p{number}" for number in range(20, 40)])
        if name == "waiting":
            docs.factorize(TableCrossEncoder(), queries(range(30)), 20)
        stored += 310
    return stored


def answers(url: str, corpus: Corpus) -> dict[str, list[Hit]]:
    """Hits and scores of every kind of search and collection."""
    found: dict[str, list[Hit]] = {}
    with pgretrieval.connect(url=url) as database:
        for name in COLLECTIONS:
            docs = database.get_collection(name)
            found[f"{name}, words"] = docs.text_search("passage 7")
            for number, hits in enumerate(docs.search_many(vectors=corpus.queries)):
                found[f"{name}, search {number}"] = hits
            found[f"{name}, all"] = docs.search(vectors=corpus.queries[0], k=300)
            found[f"{name}, filter"] = docs.search(vectors=corpus.queries[1], where={"number": {"$lt": 50}})
            if name == "waiting":
                docs.use_cross_encoder(TableCrossEncoder())
                found["cross-encoder"] = docs.search("query 40", scorer="cross_encoder", budget=60)
            found[f"{name}, hybrid"] = docs.hybrid_search("passage 7", vectors=corpus.queries[0])
    return found


def same(ours: dict[str, list[Hit]], theirs: dict[str, list[Hit]]) -> None:
    """Compare hits and scores; summation order changes last bits and may swap near ties."""
    assert ours.keys() == theirs.keys()
    for name, hits in ours.items():
        by_id = {hit.id: hit for hit in theirs[name]}
        assert {hit.id for hit in hits} == by_id.keys(), name
        for hit in hits:
            there = by_id[hit.id]
            assert hit == replace(there, rank=hit.rank, score=hit.score), name
            assert hit.score == pytest.approx(there.score, rel=1e-5, abs=1e-5), (name, hit.id)
        assert [hit.score for hit in theirs[name]] == sorted((hit.score for hit in theirs[name]), reverse=True)


def analyze(url: str) -> None:
    """ANALYZE, as the manual recommends after a restore; BM25 uses the planner's number of passages."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("analyze")


def move(old: OwnServer, new: OwnServer, dump: str, *, newer: OwnServer) -> None:
    """Dump and restore with the newer version's programs, as the manual says; to an older one without newer features."""
    dumped = newer.client("pg_dump", "--format=custom", "--file", dump, "--dbname", old.url)
    assert dumped.returncode == 0, dumped.stderr
    if newer is new:
        restored = new.client("pg_restore", "--exit-on-error", "--dbname", new.url, dump)
        assert restored.returncode == 0, restored.stderr
        return
    script = newer.client("pg_restore", "--file", "-", dump)
    assert script.returncode == 0, script.stderr
    known = re.sub(r"^SET transaction_timeout = 0;$|^\\(un)?restrict .*$", "", script.stdout, flags=re.MULTILINE)
    done = new.client("psql", "-X", "--quiet", "--set", "ON_ERROR_STOP=1", new.url, text=known)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("from_version", "to_version"), [(16, 18), (18, 16)])
def test_dump_and_restore_into_the_other_version(corpus: Corpus, from_version: int, to_version: int, tmp_path: Path):
    """A dump restores completely in the other version, with equal hits and scores."""
    tally = Tally(f"`pg_dump` of PostgreSQL {from_version}, restored into {to_version}", runs=1, faults=1)
    with own_server(from_version) as old, own_server(to_version, migrated=False) as new:
        with pgretrieval.connect(url=old.url) as database:
            tally.acknowledged = fill(database, corpus)
        analyze(old.url)
        expected = answers(old.url, corpus)
        move(old, new, str(tmp_path / "dump"), newer=new if to_version > from_version else old)
        analyze(new.url)
        same(answers(new.url, corpus), expected)
        tally.look(old.url)
        tally.look(new.url)
        with pgretrieval.connect(url=new.url) as database:  # changes work there, too
            docs = database.get_collection("docs")
            docs.add([{"id": "later", "text": "one more"}], vectors=[corpus.vectors[50]])
            docs.compact()
            assert {hit.id for hit in docs.search(vectors=corpus.vectors[50], k=2)} == {"later", "p50"}
        tally.look(new.url)
    tally.report()


def test_a_standby_answers_and_is_checked(corpus: Corpus):
    """A standby gives the same hits and can be checked."""
    tally = Tally("hot standby", runs=1, faults=1)
    with reachable_directory() as folder:
        server = open_server(folder / "primary")
        try:
            with pgretrieval.connect(data_dir=folder / "primary") as database, standby_of(server, folder) as standby:
                tally.acknowledged = fill(database, corpus)
                for change in (lambda: database.get_collection("docs").delete(["p3"]), database.get_collection("docs").compact):
                    wait_for_replay(server.url, standby)
                    same(answers(standby, corpus), answers(server.url, corpus))
                    tally.look(standby)
                    change()
        finally:
            server.close()
    tally.report()
