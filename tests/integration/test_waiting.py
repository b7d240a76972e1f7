"""Calls hold no connection or lock while a model or the caller's code runs, and need one connection only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import ConflictError, DuplicateIdError, TimedOutError
from pgretrieval.db import pool
from pgretrieval.index import spool
from tests.support.encoder import HashedEncoder
from tests.support.vectors import passages


class Slow(HashedEncoder):
    """Encodes slowly and inspects the database meanwhile."""

    def __init__(self, seconds: float = 0.0, meanwhile: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.meanwhile = meanwhile

    def encode_document(self, texts: list[str]) -> Any:
        time.sleep(self.seconds)
        if self.meanwhile:
            self.meanwhile()
        return super().encode_document(texts)


@pytest.fixture
def alone(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pgretrieval.RetrievalDatabase]:
    """A handle with a single connection, which must never be waited for."""
    monkeypatch.setattr(pool, "_WAITED_SECONDS", 0.3)
    with pgretrieval.connect(url=database_url) as database:
        database._database._pool._size = 1
        yield database


def test_every_call_does_with_one_connection(alone: pgretrieval.RetrievalDatabase, database_url: str):
    """Every call works with one connection, which is free while a generator, callback or encoder runs."""

    def look(*_: object) -> None:
        alone.list_collections()

    def texts(first: int, count: int) -> Iterator[dict[str, Any]]:
        for number in range(first, first + count):
            if number % 400 == 0:
                look()
            yield {"id": str(number), "text": f"word{number} word{number % 7}", "metadata": {"n": number % 3}}

    docs = alone.create_collection("docs", encoder=Slow(meanwhile=look))
    docs.add(texts(0, 700), progress=look)
    docs.build(stage=look)
    docs.add(texts(700, 600), on_conflict="update", progress=look)
    docs.add(texts(1200, 200), on_conflict="skip", progress=look)
    docs.update(({"id": str(number), "text": f"word{number} changed"} for number in range(0, 1200, 3)), progress=look)
    docs.rebuild(stage=look)
    docs.compact(stage=look)
    docs.search("word1", k=3, where={"n": 1})
    docs.search_many(["word1", "word2"])
    docs.hybrid_search("word1 word2")
    docs.text_search("word1")
    docs.explain("word1")
    docs.delete(["1"])
    docs.exact_rankings(docs.encoder.encode_query(["word1"]), 3, progress=look)
    docs.stats()
    docs.not_yet_added([pgretrieval.Passage("1", "text")])
    assert docs.check(stage=look) == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table articles (id text primary key, body text)")
        connection.execute("insert into articles select n, 'text ' || n from generate_series(1, 20) as n")
        followed = alone.create_collection("articles", encoder=Slow(meanwhile=look))
        alone.attach("articles", "public.articles", text="body")
        connection.execute("delete from articles where id = '3'")
        assert alone.work([followed], progress=look).written == 19
        connection.execute("delete from articles where id = '4'")
        docs.add([{"id": "own", "text": "text"}], connection=connection, progress=look)
        assert alone.work([followed]).deleted == 1
    alone.diagnose()


def test_an_exhausted_pool_raises(alone: pgretrieval.RetrievalDatabase):
    """The error of an exhausted pool is TimedOutError."""
    with alone._database.connection("holding it"), ThreadPoolExecutor(1) as other:
        error = other.submit(alone.list_collections).exception()
    assert isinstance(error, TimedOutError)
    assert "all 1 connections of this handle were in use by other threads" in str(error)
    assert alone.list_collections() == []


def test_more_threads_than_connections_add_with_a_slow_encoder(database_url: str):
    """More threads than connections add with a slow encoder, and searches continue."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=Slow(0.3))
        docs.add([{"id": "first", "text": "hello"}])
        with ThreadPoolExecutor(24) as threads:
            adding = [threads.submit(docs.add, [{"id": number, "text": f"text {number}"}]) for number in range(24)]
            began = time.monotonic()
            database.list_collections()
            assert time.monotonic() - began < 2
            assert sum(future.result().passages for future in adding) == 24


@pytest.mark.parametrize("batch", [1, 600])
def test_an_encoder_slower_than_an_idle_transaction_may_be(database_url: str, batch: int):
    """An encoder slower than idle_in_transaction_session_timeout does not end an add or a rebuild."""
    limited = f"{database_url}&options=-c%20idle_in_transaction_session_timeout%3D200%20-c%20statement_timeout%3D5000"
    with pgretrieval.connect(url=limited) as database:
        docs = database.create_collection("docs", encoder=Slow(0.5))
        assert docs.add([{"id": number, "text": f"text {number}"} for number in range(batch)]).passages == batch
        docs.update([{"id": "0", "text": "changed"}])
        docs.build()
        docs.rebuild()
        assert docs.check() == []


def test_nothing_is_locked_while_texts_are_encoded(database_url: str):
    """No transaction is open, and so no table locked, during encoding."""
    seen: list[int] = []

    def count() -> None:
        with psycopg.connect(database_url) as connection:
            row = connection.execute(
                """select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
                   and xact_start is not null"""
            ).fetchone()
            assert row is not None
            seen.append(row[0])

    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=Slow(meanwhile=count))
        docs.add([{"id": number, "text": f"text {number}"} for number in range(1100)])
        docs.build()
        docs.update([{"id": number, "text": f"changed {number}"} for number in range(600)])
    assert len(seen) >= 5
    assert set(seen) == {0}


def test_many_batches_wait_in_a_file(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """Spilled batches are read back in order, and the file is removed."""
    monkeypatch.setattr(spool, "_IN_MEMORY", 2**16)
    rows = [np.random.default_rng(number).standard_normal((2, 64)) for number in range(1700)]
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        assert docs.add(passages(1700), vectors=rows).passages == 1700
        assert (
            docs.update([{"id": f"p{number}", "metadata": {"n": number}} for number in range(1700)], vectors=rows).updated == 1700
        )
        docs.build()
        assert [docs.search(vectors=rows[number], k=1)[0].id for number in (0, 511, 512, 1699)] == ["p0", "p511", "p512", "p1699"]
        assert docs.get(["p1699"])["p1699"].metadata == {"n": 1699}
        with pytest.raises(DuplicateIdError):
            docs.add([*passages(600, start=1700), *passages(1)], vectors=rows[:601])
        assert docs.stats()["passages"] == 1700


def test_a_passage_that_changes_while_it_is_encoded(database_url: str):
    """An update of one field during encoding does not overwrite others."""
    with pgretrieval.connect(url=database_url) as database:
        slow = Slow()
        docs = database.create_collection("docs", encoder=slow)
        docs.add([{"id": "a", "text": "one", "metadata": {"n": 1}}, {"id": "b", "text": "two"}])
        others = database.get_collection("docs", encoder=HashedEncoder())

        def once() -> None:
            slow.meanwhile = None
            others.update([{"id": "a", "metadata": {"n": 2}}])

        slow.meanwhile = once
        docs.update([{"id": "a", "text": "changed"}, {"id": "b", "text": "changed too"}])
        assert docs.get(["a"])["a"] == pgretrieval.Passage("a", "changed", None, {"n": 2})

        number = iter(range(100))
        slow.meanwhile = lambda: others.update([{"id": "a", "metadata": {"n": next(number)}}])
        with pytest.raises(
            ConflictError, match=r"kept changing the same ids in collection 'docs': 'a'.*Nothing of this call was stored"
        ):
            docs.update([{"id": "a", "text": "changed again"}])
        assert docs.get(["a"])["a"].text == "changed"


def test_the_encoder_changes_while_texts_are_encoded(database_url: str):
    """An add during a change of encoder is re-encoded with the new one."""
    with pgretrieval.connect(url=database_url) as database:
        slow = Slow()
        docs = database.create_collection("docs", encoder=slow)
        docs.add([{"id": number, "text": f"word{number}"} for number in range(30)])
        docs.build()

        def once() -> None:
            slow.meanwhile = None
            rebuilding = threading.Thread(target=lambda: database.get_collection("docs").rebuild(encoder="minilm"))
            rebuilding.start()
            rebuilding.join()

        slow.meanwhile = once
        assert docs.add({"id": f"new{number}", "text": "brandnew text"} for number in range(600)).passages == 600
        assert docs.stats()["passages"] == 630
        assert docs.encoder.spec["kind"] != "object"
        assert docs.search("brandnew", k=1)[0].id.startswith("new")
        assert docs.check() == []
