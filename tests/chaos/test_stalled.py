"""Networks that stop forwarding, and long statements that must not be mistaken for them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import pgretrieval
from pgretrieval import DatabaseUnavailableError
from pgretrieval.db import watched
from pgretrieval.sync.worker import POLL
from tests.support.encoder import HashedEncoder
from tests.support.following import until
from tests.support.stalling import StallingProxy, stalling_proxy

_SOON = 12.0  # with the limits below


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits of seconds instead of ten."""
    monkeypatch.setattr(watched, "_SILENT_SECONDS", 2.0)
    monkeypatch.setattr(watched, "_PROBE_SECONDS", 2)
    monkeypatch.setitem(watched._DEFAULTS, "connect_timeout", 2)


@pytest.fixture
def proxy(database_url: str) -> Iterator[StallingProxy]:
    """A proxy in front of a database with a built and an attached collection."""
    with pgretrieval.connect(url=database_url) as database, psycopg.connect(database_url, autocommit=True) as connection:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": n, "text": f"word{n} word{n + 1}"} for n in range(30)])
        docs.build()
        connection.execute("create table articles (id text primary key, body text)")
        database.create_collection("articles", encoder="none")
        database.attach("articles", "public.articles", text="body")
    with stalling_proxy(database_url) as proxy:
        yield proxy


def timed(call: Callable[[], object]) -> tuple[float, BaseException | None]:
    """Duration, and the exception raised."""
    began = time.monotonic()
    try:
        call()
    except BaseException as error:
        return time.monotonic() - began, error
    return time.monotonic() - began, None


@pytest.mark.usefixtures("impatient")
def test_every_call_ends_where_the_network_forwards_nothing(proxy: StallingProxy):
    """Every call raises DatabaseUnavailableError in time if the network forwards nothing."""
    with pgretrieval.connect(url=proxy.url) as database:
        docs = database.get_collection("docs", encoder=HashedEncoder())
        docs.search("word1")
        calls: dict[str, Callable[[], object]] = {
            "search": lambda: docs.search("word1"),
            "add": lambda: docs.add([{"id": "new", "text": "x"}]),
            "list": database.list_collections,
            "build": docs.rebuild,
        }
        proxy.forwarding.clear()
        ended: dict[str, tuple[float, BaseException | None]] = {}
        threads = [threading.Thread(target=lambda name=name: ended.update({name: timed(calls[name])})) for name in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert ended.keys() == calls.keys()
        assert {name: type(error) for name, (_, error) in ended.items()} == dict.fromkeys(calls, DatabaseUnavailableError)
        assert max(seconds for seconds, _ in ended.values()) < _SOON, ended
    assert timed(database.close)[0] < 2


@pytest.mark.usefixtures("impatient")
def test_a_call_is_under_way_when_the_network_stops(proxy: StallingProxy):
    """A call that is running when the network stops ends, too."""
    with pgretrieval.connect(url=proxy.url) as database:
        threading.Timer(0.5, proxy.forwarding.clear).start()
        with database._database.writing("sleeping") as connection:
            seconds, error = timed(lambda: connection.execute("select pg_sleep(1)"))
        assert seconds < _SOON
        assert isinstance(error, watched.LostError)
        assert error.everywhere


@pytest.mark.usefixtures("impatient")
def test_long_statements_are_not_interrupted(proxy: StallingProxy, monkeypatch: pytest.MonkeyPatch):
    """A long silent statement, such as an index build, is not interrupted."""
    monkeypatch.setattr(watched, "_SILENT_SECONDS", 0.5)
    with pgretrieval.connect(url=proxy.url) as database, database._database.connection("sleeping") as connection:
        assert connection.execute("select 1 from pg_sleep(3)").fetchall() == [(1,)]


@pytest.mark.usefixtures("impatient")
def test_a_single_lost_connection_is_replaced(proxy: StallingProxy, monkeypatch: pytest.MonkeyPatch):
    """A connection that a firewall has dropped is replaced if others work."""
    with pgretrieval.connect(url=proxy.url) as database:
        docs = database.get_collection("docs", encoder=HashedEncoder())
        docs.search("word1")
        old = {id(thread) for thread in threading.enumerate()}
        sent = StallingProxy._sent

        def forgotten(self: StallingProxy, sink: object, data: bytes) -> None:
            if id(threading.current_thread()) in old:
                threading.Event().wait(40)
            sent(self, sink, data)  # type: ignore[arg-type]

        monkeypatch.setattr(StallingProxy, "_sent", forgotten)
        seconds, error = timed(lambda: docs.search("word1"))
        assert error is None
        assert seconds < _SOON


@pytest.mark.usefixtures("impatient")
def test_close_ends_calls_of_other_threads(database_url: str):
    """`close` does not wait for statements of other threads, and ends them."""
    with pgretrieval.connect(url=database_url) as database:
        ended: list[tuple[float, BaseException | None]] = []

        def sleep() -> None:
            with database._database.connection("sleeping") as connection:
                connection.execute("select pg_sleep(60)")

        thread = threading.Thread(target=lambda: ended.append(timed(sleep)))
        thread.start()
        time.sleep(1)
        assert timed(database.close)[0] < 2
        thread.join(5)
        assert isinstance(ended[0][1], DatabaseUnavailableError)
        assert "closed" in str(ended[0][1])


def test_workers_end_within_seconds_of_a_signal(proxy: StallingProxy):
    """SIGTERM and SIGINT end a worker in seconds although the network forwards nothing."""
    command = [str(Path(sys.executable).with_name("pgretrieval")), "--database", proxy.url, "worker"]
    numbers = (signal.SIGTERM, signal.SIGINT)
    workers = {number: subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for number in numbers}
    try:
        until(lambda: _reading_the_queue(proxy) == len(workers))
        proxy.forwarding.clear()
        time.sleep(5 * POLL)
        for number, worker in workers.items():
            worker.send_signal(number)
        deadline = time.monotonic() + 15
        for number, worker in workers.items():
            assert worker.wait(deadline - time.monotonic()) is not None, number
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()


def _reading_the_queue(proxy: StallingProxy) -> int:
    """Return how many workers have begun to ask again and again for entries."""
    with psycopg.connect(proxy.url) as connection:
        busy = connection.execute(
            """select count(*) from pg_stat_activity
               where datname = current_database() and query like '%not_before%' and pid <> pg_backend_pid()"""
        )
        return int(busy.fetchone()[0])
