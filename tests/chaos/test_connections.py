"""Cut connections, server restarts under a pool, timeouts, and full disks."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import DatabaseUnavailableError, PgRetrievalError, StorageError
from tests.support.changing import NAME, Model, Stored, change, wait_for_sessions
from tests.support.chaos import Tally, rounds
from tests.support.cutting import cutting_proxy
from tests.support.encoder import HashedEncoder
from tests.support.own_server import OwnServer, own_server
from tests.support.vectors import passages, unit


def fill(url: str, tally: Tally) -> Model:
    """A built collection."""
    model = Model()
    with pgretrieval.connect(url=url) as database:
        docs = database.create_collection(NAME, encoder=HashedEncoder())
        for batch in model.plan("add", 0):
            apply(docs, model, tally, batch)
        docs.build()
    return model


def apply(docs: pgretrieval.Collection, model: Model, tally: Tally, batch: Stored) -> None:
    """Apply a change, and record it when acknowledged."""
    change(docs, batch)
    model.apply(batch)
    tally.acknowledged += len(batch)


def opened(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    return database.get_collection(NAME, encoder=HashedEncoder())


def one_batch(model: Model, seed: int) -> Stored:
    """One batch of changes of any kind."""
    return next(iter(model.plan(("add", "update", "delete")[seed % 3], seed)), {})


def work(docs: pgretrieval.Collection, model: Model, tally: Tally, seed: int) -> Stored:
    """A change, a search and a compaction; returns the change if it was not acknowledged."""
    batch = left = one_batch(model, seed)
    try:
        apply(docs, model, tally, batch)
        left = {}
        docs.search("word1 word2", k=5)
        docs.compact()
    except DatabaseUnavailableError:
        tally.faults += 1
    return left


def settle(url: str, model: Model, tally: Tally, batch: Stored) -> None:
    """Check, repeat the interrupted change, and check again."""
    wait_for_sessions(url)
    tally.look(url, model.held, pending=batch)
    if batch:
        with pgretrieval.connect(url=url) as database:
            apply(opened(database), model, tally, batch)
        tally.look(url, model.held)


def test_a_connection_cut_after_any_byte(database_url: str):
    """A connection cut after any byte raises an error of the package in time and stores nothing partial."""
    tally = Tally("connection cut after any number of bytes")
    model = fill(database_url, tally)
    with cutting_proxy(database_url) as proxy:
        with pgretrieval.connect(url=proxy.url) as database:  # number of bytes after which to cut
            proxy.allowed = 10**9
            work(opened(database), model, tally, 0)
            all_bytes = 10**9 - proxy.allowed
        for number in range(rounds(6, 150)):
            tally.runs += 1
            proxy.allowed = random.randrange(1, all_bytes)
            left: Stored = {}
            try:
                with pgretrieval.connect(url=proxy.url) as database:
                    left = work(opened(database), model, tally, number)
            except DatabaseUnavailableError:
                tally.faults += 1
            proxy.allowed = None
            settle(database_url, model, tally, left)
    tally.report()


def test_sessions_terminated_in_the_middle(database_url: str):
    """A terminated session does not break the pool or store part of an add."""
    tally = Tally("sessions terminated while a client works")
    model = fill(database_url, tally)
    done = threading.Event()

    def terminate() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not done.wait(random.uniform(0.005, 0.1)):
                connection.execute(
                    """select pg_terminate_backend(pid) from pg_stat_activity
                       where datname = current_database() and pid <> pg_backend_pid() and query not like '%pg_stat_activity%'"""
                )

    killer = threading.Thread(target=terminate)
    with pgretrieval.connect(url=database_url) as database:
        docs = opened(database)
        for number in range(rounds(4, 60)):
            tally.runs += 1
            done.clear()
            killer = threading.Thread(target=terminate)
            killer.start()
            left: Stored = {}
            for step in range(5):
                left = work(docs, model, tally, 5 * number + step)
                if left:
                    break
            done.set()
            killer.join()
            tally.look(database_url, model.held, pending=left)
            if left:
                apply(docs, model, tally, left)  # the same objects still work
    tally.look(database_url, model.held)
    tally.report()


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """A server for this module."""
    with own_server() as started:
        yield started


@pytest.fixture
def empty(server: OwnServer) -> OwnServer:
    """The server without the collection of the previous test."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("select pgretrieval.drop_collection('docs')")
    return server


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_restarts_under_a_pool(empty: OwnServer, mode: str):
    """An open database works after a restart; threads get only DatabaseUnavailableError."""
    tally = Tally(f"server restarted ({mode}) under a pool")
    model = fill(empty.url, tally)
    done = threading.Event()
    unexpected: list[BaseException] = []

    def search(docs: pgretrieval.Collection) -> None:
        try:
            assert len(docs.search("word1 word2", k=5)) == 5
        except DatabaseUnavailableError:
            tally.faults += 1
            time.sleep(0.02)

    def searching(docs: pgretrieval.Collection) -> None:
        try:
            while not done.is_set():
                search(docs)
        except BaseException as error:
            unexpected.append(error)

    with pgretrieval.connect(url=empty.url) as database:
        docs = opened(database)
        threads = [threading.Thread(target=searching, args=[docs]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(rounds(2, 20)):
            tally.runs += 1
            empty.stop(mode)
            time.sleep(random.uniform(0, 0.3))
            empty.start()
            apply(docs, model, tally, one_batch(model, number))  # the first call after it
        done.set()
        for thread in threads:
            thread.join(30)
    assert unexpected == []
    tally.look(empty.url, model.held)
    tally.report()


@contextmanager
def database_settings(url: str, **settings: str) -> Iterator[None]:
    """Set parameters for new sessions."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        for setting, value in settings.items():
            connection.execute(f"alter database {name} set {setting} = '{value}'")
        try:
            yield
        finally:
            for setting in settings:
                connection.execute(f"alter database {name} reset {setting}")


def test_statement_timeouts(database_url: str):
    """A cancelled statement raises an error of the package and leaves no partial work."""
    tally = Tally("statement timeouts of 1 to 40 ms")
    model = fill(database_url, tally)
    for number in range(rounds(6, 100)):
        tally.runs += 1
        left: Stored = {}
        with database_settings(database_url, statement_timeout=f"{random.randint(1, 40)}ms"):
            try:
                with pgretrieval.connect(url=database_url) as database:
                    left = work(opened(database), model, tally, number)
            except PgRetrievalError:  # connecting takes statements, too
                tally.faults += 1
        settle(database_url, model, tally, left)
    tally.report()


def test_lock_timeouts(database_url: str):
    """With lock_timeout set, calls raise TimedOutError and leave no partial work."""
    tally = Tally("lock timeouts")
    model = fill(database_url, tally)
    calls: list[Callable[[pgretrieval.Collection, Stored], object]] = [
        change,
        lambda docs, _: docs.search("word1", k=3),
        lambda docs, _: docs.compact(),
        lambda docs, _: docs.delete(all=True),
    ]
    with database_settings(database_url, lock_timeout="50ms"), pgretrieval.connect(url=database_url) as database:
        docs = opened(database)
        for number in range(rounds(4, 40)):
            tally.runs += 1
            batch = one_batch(model, number)
            with psycopg.connect(database_url) as blocking:
                for table in ("passage", "posting", "token_code"):
                    blocking.execute(f"lock table pgretrieval.{table} in access exclusive mode")
                with pytest.raises(StorageError, match="lock timeout"):
                    calls[number % len(calls)](docs, batch)
                tally.faults += 1
            apply(docs, model, tally, batch)
            tally.look(database_url, model.held)
    tally.report()


@contextmanager
def full_tablespace(server: OwnServer) -> Iterator[Callable[[], None]]:
    """New collections go to a file system of 24 MiB; yields a function that enlarges it."""
    space = Path(server.folder) / "small"
    space.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", space], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts no tmpfs for this user: {mounted.stderr.strip()}")
    try:
        server.give(space)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{space}'")
        with database_settings(server.url, default_tablespace="small"):
            yield lambda: subprocess.run(["mount", "-o", "remount,size=512m", space], check=True) and None
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("select pgretrieval.drop_collection('docs')")
            connection.execute("drop tablespace small")
    finally:
        subprocess.run(["umount", "--lazy", space], check=True)


@contextmanager
def limited_files(server: OwnServer) -> Iterator[Callable[[], None]]:
    """Server files are limited to 17 MiB, one more than log files; yields a function that lifts the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    server.stop()
    resource.setrlimit(resource.RLIMIT_FSIZE, (17 * 2**20, hard))
    try:
        server.start()  # it inherits the limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def lift() -> None:
        server.stop()
        server.start()

    yield lift


@pytest.mark.skipif(os.name != "posix", reason="limits of processes are POSIX's")
@pytest.mark.parametrize("limited", [full_tablespace, limited_files])
def test_a_disk_that_is_full(empty: OwnServer, limited: Callable[[OwnServer], object]):
    """An add or build without disk space raises an error, stores nothing, and succeeds when repeated with more space."""
    tally = Tally(f"disk full ({limited.__name__.replace('_', ' ')})", runs=1)
    rows = unit(np.random.default_rng(0).standard_normal((100, 64)))
    expected: dict[str, str] = {}
    said = ""
    with limited(empty) as more_space:  # type: ignore[attr-defined]
        with pgretrieval.connect(url=empty.url) as database:
            docs = database.create_collection(NAME)
            for start in range(0, 100_000, 500):
                batch = passages(500, start)
                try:
                    docs.add(batch, vectors=[rows] * 500)
                except StorageError as error:
                    said = str(error)
                    break
                expected |= {str(passage["id"]): str(passage["text"]) for passage in batch}
            assert re.search("No space left on device|File too large", said)
            tally.faults += 1
            tally.acknowledged = len(expected)
            assert expected
            try:
                docs.build()
            except StorageError:  # the build may just fit
                tally.faults += 1
        tally.look(empty.url, expected)
        more_space()
        with pgretrieval.connect(url=empty.url) as database:
            docs = database.get_collection(NAME)
            assert docs.add(batch, vectors=[rows] * 500).passages == 500
            expected |= {str(passage["id"]): str(passage["text"]) for passage in batch}
            docs.build()
            tally.look(empty.url, expected)
    tally.acknowledged = len(expected)
    tally.report()
