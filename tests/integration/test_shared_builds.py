"""Builds by several processes: the same bytes as one process, whoever is killed, joins or fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.db.tables import parts
from pgretrieval.errors import BuildWorkerError, ConfigError
from pgretrieval.index import build_workers, sharing
from pgretrieval.index.build_workers import BuildWorkers
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.stored import everything
from tests.support.vectors import clustered, passages

COUNT = 400
VECTORS = clustered(COUNT, seed=1)
TEXTS = [
    {"id": f"a{number}", "text": " ".join(f"word{number * n % 41}" for n in range(1, 2 + number % 9))} for number in range(120)
]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few passages, as if the collection were large."""
    monkeypatch.setattr(sharing, "VALUES_AT_ONCE", 64 * 500)
    monkeypatch.setattr(sharing, "BATCH", 16)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The process ids of the workers that were started; none may outlive its build."""
    seen: list[int] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        process = popen(*arguments, **options)
        seen.append(process.pid)
        return process

    monkeypatch.setattr(build_workers.subprocess, "Popen", start)
    yield seen
    assert not [process for process in seen if is_running(process)]


def is_running(process: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def alone(postgres: PostgresUnderTest) -> Iterator[Callable[..., dict[str, list[str]]]]:
    """Everything that the same collection stores if one process builds it."""
    urls: list[str] = []

    def build(make: Callable[[pgretrieval.RetrievalDatabase], pgretrieval.Collection]) -> dict[str, list[str]]:
        urls.append(postgres.create_database())
        with pgretrieval.connect(url=urls[-1]) as database:
            make(database).build()
        return everything(urls[-1])

    yield build
    for url in urls:
        postgres.drop_database(url)


def made(database: pgretrieval.RetrievalDatabase, **options: Any) -> pgretrieval.Collection:
    """A collection of given vectors that is not built."""
    docs = database.create_collection("docs", **options)
    docs.add(passages(COUNT), vectors=VECTORS)
    return docs


def left(url: str) -> int:
    """Parts that are not committed."""
    with psycopg.connect(url) as connection:
        return connection.execute("select count(*) from pgretrieval.build_lock").fetchone()[0]  # type: ignore[index]


def planned(url: str) -> list[Any]:
    """The ranges of passages of the parts that are not committed."""
    with psycopg.connect(url) as connection:
        return connection.execute("select first_passage, last_passage from pgretrieval.build_lock order by 1").fetchall()


def sessions(url: str) -> int:
    """Sessions of clients."""
    statement = "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone()[0]  # type: ignore[index]


def until_quiet(url: str) -> None:
    """Wait until the server has ended the transactions of processes that are gone."""
    statement = """select count(*) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null"""
    deadline = time.monotonic() + 30
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(statement).fetchone() != (0,):
            assert time.monotonic() < deadline, "a transaction goes on"
            time.sleep(0.02)


@pytest.mark.parametrize(
    "options",
    [{}, {"generator": "proxy", "keep_vectors": True}, {"scorer": "xtr", "rerank": "maxsim", "buckets": 8}],
    ids=["plain", "proxy", "xtr"],
)
def test_two_workers_store_what_one_process_stores(
    database: pgretrieval.RetrievalDatabase, alone: Any, started: list[int], options: dict[str, Any]
):
    """All rows of all tables are equal, and the bar reaches its end."""
    told: dict[str, tuple[int, int]] = {}
    docs = made(database, **options)
    report = docs.build(workers=2, stage=lambda name, done, total: told.update({name: (done, total)}))
    assert report.built
    assert len(started) == 2
    assert told["code"] == (COUNT, COUNT)
    stored = everything(database.url)
    assert stored == alone(lambda other: made(other, **options))
    assert len(stored["token_code"]) == COUNT
    assert stored["build_lock"] == []
    assert docs.check() == []


def test_workers_encode_what_one_process_encodes(
    database: pgretrieval.RetrievalDatabase, postgres: PostgresUnderTest, started: list[int]
):
    """A rebuild by workers on named devices encodes every passage in them, with the same vectors."""
    url = postgres.create_database()
    with pgretrieval.connect(url=url) as other:
        for each, how in ((database, {"devices": ["cpu", "cpu"]}), (other, {})):
            docs = each.create_collection("docs", encoder="minilm")
            docs.add(TEXTS)
            docs.build()
            started.clear()
            calls: list[int] = []
            docs.rebuild(
                token_pooling=2,
                stage=lambda name, done, _total, calls=calls: calls.append(done) if name == "encode" else None,
                **how,
            )
            assert calls[-1] == len(TEXTS)
            assert len(started) == (2 if how else 0)
    assert everything(database.url) == everything(url)
    postgres.drop_database(url)


def test_an_encoder_object_encodes_in_its_own_process(database: pgretrieval.RetrievalDatabase, started: list[int]):
    """Workers cannot load an object; they only code."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add(TEXTS)
    docs.build()
    encoder = HashedEncoder(96)
    docs.rebuild(encoder=encoder, workers=2)
    assert encoder.encoded >= len(TEXTS)
    assert docs.stats()["dim"] == 96
    assert docs.check() == []


def test_a_killed_worker_is_replaced(
    database: pgretrieval.RetrievalDatabase, alone: Any, started: list[int], monkeypatch: pytest.MonkeyPatch
):
    """SIGKILL in the middle of coding loses nothing: another process takes the part."""
    docs = made(database)
    killed: list[int] = []

    def kill(name: str, done: int, total: int) -> None:
        if name == "code" and 0 < done < total and not killed:
            killed.append(started[0])
            os.kill(started[0], signal.SIGKILL)
            time.sleep(0.2)

    monkeypatch.setattr(sharing, "VALUES_AT_ONCE", 64 * 60)
    docs.build(workers=2, stage=kill)
    assert killed
    assert len(started) == 3
    assert everything(database.url) == alone(made)
    assert docs.check() == []


def test_the_part_of_a_killed_session_is_free_at_once(database: pgretrieval.RetrievalDatabase):
    """Claims of others are passed over, and end with their connection, or by a rollback."""
    docs = made(database)
    with pytest.raises(KeyboardInterrupt):
        docs.build(stage=stop_at_code)
    tables = docs._row.tables
    with psycopg.connect(database.url) as mine, closing(psycopg.connect(database.url)) as other:
        claimed = parts.claim(tables(other), 0, texts=False)
        assert claimed is not None
        later = parts.claim(tables(mine), 0, texts=False)
        assert later is not None
        assert later.first > claimed.last
        mine.rollback()
        with psycopg.connect(database.url, autocommit=True) as third:
            third.execute("select pg_terminate_backend(%s, 5000)", [other.info.backend_pid])
        assert parts.claim(tables(mine), 0, texts=False) == claimed
    assert docs.build().built


def stop_at_code(name: str, _done: int, _total: int) -> None:
    """Simulates Ctrl-C before the first part is coded."""
    if name == "code":
        raise KeyboardInterrupt


def test_ctrl_c_ends_all_workers_and_the_same_call_goes_on(
    database: pgretrieval.RetrievalDatabase, alone: Any, started: list[int], monkeypatch: pytest.MonkeyPatch
):
    """Finished parts are kept, with their boundaries."""
    monkeypatch.setattr(sharing, "VALUES_AT_ONCE", 64 * 60)
    docs = made(database)

    def stop(name: str, done: int, total: int) -> None:
        if name == "code" and 0 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        docs.build(workers=2, stage=stop)
    assert len(started) == 2
    assert not [process for process in started if is_running(process)]
    until_quiet(database.url)
    assert left(database.url) > 0
    with psycopg.connect(database.url) as connection:
        coded = connection.execute("select count(*) from pgretrieval.token_code").fetchone()
    begun: list[tuple[int, list[Any]]] = []
    kept = planned(database.url)
    docs.build(stage=lambda name, done, _total: begun.append((done, planned(database.url))) if name == "code" else None)
    assert coded is not None
    assert begun[0] == (coded[0], kept)
    assert 0 < coded[0] < COUNT
    assert everything(database.url) == alone(made)


_KILLED = """
import os, signal, sys
import pgretrieval
from pgretrieval.index import sharing

sharing.VALUES_AT_ONCE = 64 * 60

def stage(name, done, total):
    if name == "code" and done:
        os.kill(os.getpid(), signal.SIGKILL)

with pgretrieval.connect(url=sys.argv[1]) as database:
    database.get_collection("docs").build(workers=2, stage=stage)
"""


def test_workers_end_with_a_killed_parent(database: pgretrieval.RetrievalDatabase, alone: Any, monkeypatch: pytest.MonkeyPatch):
    """No worker outlives the process that started it, and the same call finishes its work."""
    docs = made(database)
    before = sessions(database.url)
    killed = subprocess.run([sys.executable, "-c", _KILLED, database.url], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while sessions(database.url) > before:
        assert time.monotonic() < deadline, "a worker goes on"
        time.sleep(0.05)
    assert left(database.url) > 0
    docs.build()
    monkeypatch.setattr(sharing, "VALUES_AT_ONCE", 64 * 60)
    assert everything(database.url) == alone(made)


def test_another_machine_joins_by_the_same_command(database: pgretrieval.RetrievalDatabase, alone: Any):
    """While one process leads a build, `build` in another takes its parts, and both end when it is done."""
    docs = made(database)
    done = threading.Event()
    report: list[Any] = []

    def wait(name: str, _done: int, _total: int) -> None:
        if name == "code":
            done.wait(60)

    leading = threading.Thread(target=lambda: report.append(docs.build(stage=wait)))
    leading.start()
    command = [sys.executable, "-m", "pgretrieval", "--database", database.url, "build", "docs"]
    joining = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not coded(database.url) and time.monotonic() < deadline:
        time.sleep(0.05)
    while left(database.url) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left(database.url) == 0
    done.set()
    leading.join(60)
    told = joining.communicate(timeout=60)[1]
    assert joining.returncode == 0, told
    assert "helping another process to build" in told
    assert f"'docs' was built already: {COUNT} passages" in told
    assert report[0].built
    assert everything(database.url) == alone(made)


def coded(url: str) -> int:
    """Passages that are coded."""
    with psycopg.connect(url) as connection:
        return connection.execute("select count(*) from pgretrieval.token_code").fetchone()[0]  # type: ignore[index]


def test_a_rebuild_that_joins_another_is_done_with_it(database: pgretrieval.RetrievalDatabase):
    """Two equal rebuilds at once make one index."""
    docs = made(database, keep_vectors=True)
    docs.build()
    stages: list[str] = []
    joined = threading.Event()

    def wait(name: str, _done: int, _total: int) -> None:
        if name == "code":
            joined.wait(30)

    def help_(name: str, done: int, total: int) -> None:
        stages.append(name)
        if done == total > 0:
            joined.set()

    other = database.get_collection("docs")
    leading = threading.Thread(target=lambda: docs.rebuild(stage=wait))
    leading.start()
    while not left(database.url):
        time.sleep(0.02)
    report = other.rebuild(stage=help_)
    leading.join(30)
    assert report.built
    assert set(stages) == {"help"}
    with psycopg.connect(database.url) as connection:
        assert connection.execute("select max(codebook_id) from pgretrieval.codebook").fetchone() == (2,)
    assert docs.check() == []


@pytest.mark.parametrize(
    ("main", "told"),
    [
        ("import sys; sys.exit('no room')", r"exit code 1 \(no room\)"),
        ("import os; os.kill(os.getpid(), 9)", r"exit code -9, SIGKILL\. Finished parts are kept"),
    ],
)
def test_a_worker_that_ends_again_and_again(
    database: pgretrieval.RetrievalDatabase, started: list[int], monkeypatch: pytest.MonkeyPatch, main: str, told: str
):
    """The error names exit code and last message; the build can go on."""
    monkeypatch.setattr(build_workers, "_MAIN", main)
    docs = made(database)
    with pytest.raises(BuildWorkerError, match=rf"worker [12] of the build ended 6 times, at last with {told}"):
        docs.build(workers=2)
    assert 6 <= len(started) <= 12
    assert docs.build().built


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"workers": 0}, "workers is 0; give a whole number from 1 to 256"),
        ({"workers": 257}, "workers is 257; give a whole number from 1 to 256"),
        ({"workers": True}, "workers is True"),
        (
            {"workers": 1, "devices": ["cpu", "cpu"]},
            "workers is 1, but 2 devices are named; give at least one worker for each device",
        ),
        ({"devices": "cpu"}, "devices is 'cpu', which is a single value; give a list of names of torch devices"),
        ({"devices": [0]}, "devices is 0; give a text"),
        ({"devices": ["cuda:99"]}, "device 'cuda:99' cannot be used"),
    ],
    ids=str,
)
def test_wrong_workers_and_devices_are_refused(database: pgretrieval.RetrievalDatabase, given: dict[str, Any], told: str):
    """Before anything starts."""
    docs = made(database)
    for build in (docs.build, docs.rebuild):
        with pytest.raises(ConfigError, match=told):
            build(**given)
    assert not docs.stats()["built"]


def test_workers_share_the_threads(database: pgretrieval.RetrievalDatabase):
    """Each worker computes with its part of the threads, at least one."""
    row = database.create_collection("docs")._row
    for count, threads, share in ((2, 8, "4"), (3, 8, "2"), (4, 2, "1")):
        workers = BuildWorkers(build_workers.Processes(count, []), database._database, row, None, threads)
        assert workers._workers[0]._environment["OMP_NUM_THREADS"] == share
