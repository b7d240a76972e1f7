"""Exceptions of signal handlers at any moment of every public call."""

from __future__ import annotations

import gc
import random
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

import psycopg
import pytest

import pgretrieval
from pgretrieval.db.connection import Database
from pgretrieval.db.pool import Pool
from tests.support.chaos import Tally, rounds
from tests.support.encoder import HashedEncoder
from tests.support.vectors import unit

_SESSIONS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


class Interrupt(BaseException):
    """An exception that no code catches."""


class SoftLimitError(Exception):
    """The soft time limit of a task queue."""


class Bell:
    """Raises in the SIGALRM handler while armed."""

    def __init__(self) -> None:
        self.armed = False
        self.kind: type[BaseException] = Interrupt
        self.before = signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise self.kind

    def interrupts(self, call: Callable[[], object], seconds: float) -> bool:
        """Run the call with an interrupt after this time; returns whether it was interrupted."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
            call()
            self.armed = False
        except (Interrupt, SoftLimitError, KeyboardInterrupt, SystemExit):
            return True
        except pgretrieval.PgRetrievalError as error:
            if self.kind not in map(type, _behind(error)):
                raise
            return True
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


def _behind(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def calls(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection) -> dict[str, Callable[[], object]]:
    """Every public call that uses the database."""
    texts = [{"id": f"n{number}", "text": f"word{number} new"} for number in range(8)]
    vectors = unit(HashedEncoder().encode_query(["word1 word2"])[0])
    return {
        "search": lambda: docs.search("word1 word2", k=3),
        "search of vectors": lambda: docs.search(vectors=vectors, k=3),
        "search_many": lambda: docs.search_many(["word1", "word2", "word3"], k=3),
        "restricted": lambda: docs.search("word1", k=3, where={"even": True}),
        "text_search": lambda: docs.text_search("word1"),
        "hybrid_search": lambda: docs.hybrid_search("word1 word2", k=3),
        "explain": lambda: docs.explain("word1", k=3),
        "get": lambda: docs.get(["1", "2"]),
        "add": lambda: docs.add(texts, on_conflict="update"),
        "skip": lambda: docs.add(texts, on_conflict="skip"),
        "update": lambda: docs.update([{"id": "1", "metadata": {"even": False}}, {"id": "2", "text": "word2 changed"}]),
        "delete": lambda: docs.delete(["n1", "n2"]),
        "stats": docs.stats,
        "check": docs.check,
        "compact": docs.compact,
        "rebuild": docs.rebuild,
        "list": database.list_collections,
        "get_collection": lambda: database.get_collection("docs"),
        "create and drop": lambda: (database.create_collection("other", dim=64), database.drop_collection("other")),
        "diagnose": database.diagnose,
        "work": database.work,
    }


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such timers here")
@pytest.mark.parametrize("kind", [Interrupt, KeyboardInterrupt, SoftLimitError])
def test_interrupted_at_any_moment(database_url: str, kind: type[BaseException]):
    """After an interrupt no connection is in use or in a transaction, and no lock is held."""
    tally = Tally(f"calls interrupted by {kind.__name__}")
    bell = Bell()
    bell.kind = kind
    chosen = random.Random(0)
    try:
        with pgretrieval.connect(url=database_url) as database, psycopg.connect(database_url, autocommit=True) as looking:
            docs = database.create_collection("docs", encoder=HashedEncoder())
            docs.add([{"id": n, "text": f"word{n} word{n % 7} common", "metadata": {"even": n % 2 == 0}} for n in range(200)])
            docs.build()
            for name, call in calls(database, docs).items():
                usual = min(_seconds(call), _seconds(call))
                for _ in range(rounds(4, 150)):
                    tally.runs += 1
                    tally.faults += bell.interrupts(call, chosen.uniform(0, 1.2 * usual))
                    assert [hit.id for hit in docs.search("common word3", k=1, where={"even": False})], name
                    if name == "create and drop" and "other" in database.list_collections():
                        database.drop_collection("other")
                gc.collect()
                assert _pool(database).lent == 0, name
            database._database.background.wait()
            assert docs.check() == []
            assert _idle(looking) <= 9  # eight, and one being closed
    finally:
        signal.signal(signal.SIGALRM, bell.before)
    assert tally.faults > tally.runs / 4
    tally.report()


def _seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _pool(database: pgretrieval.RetrievalDatabase) -> Pool:
    held: Database = database._database
    return held._pool


def _idle(looking: psycopg.Connection) -> int:
    deadline = time.monotonic() + 20
    while True:
        row = looking.execute(_SESSIONS).fetchone()
        assert row is not None
        if row[0] <= 9 or time.monotonic() > deadline:
            return int(row[0])
        time.sleep(0.1)
