"""Searches on hot standbys: in turn, without lost and late ones, with one's own changes on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.db import standbys
from pgretrieval.db.embedded import open_server
from pgretrieval.errors import ConfigError, DatabaseUnavailableError
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import reachable_directory
from tests.support.chaos import Tally
from tests.support.standby import Standby, standbys_of, wait_for_replay

KILLS = 20
BARELY_LATE = 0.2


@dataclass
class Servers:
    """A primary with a collection of 200 passages, and two standbys that have it."""

    primary: str
    standbys: list[Standby]
    corpus: Corpus
    added: int = 0

    @property
    def urls(self) -> list[str]:
        return [one.url for one in self.standbys]

    def connect(self, **options: Any) -> pgretrieval.RetrievalDatabase:
        return pgretrieval.connect(self.primary, read_urls=self.urls, **options)

    def add(self, docs: pgretrieval.Collection) -> str:
        """Add a passage whose vectors are those of no other, and return its id."""
        self.added += 1
        docs.add([{"id": f"new{self.added}", "text": "new"}], vectors=[self.corpus.vectors[200 + self.added]])
        return f"new{self.added}"

    def finds(self, docs: pgretrieval.Collection, key: str, **options: Any) -> bool:
        """Return True if a search for the passage's vectors finds it."""
        query = self.corpus.vectors[200 + int(key.removeprefix("new"))]
        return docs.search(vectors=query, k=1, **options)[0].id == key

    def catch_up(self) -> None:
        for url in self.urls:
            wait_for_replay(self.primary, url)


@pytest.fixture(scope="module")
def running(corpus: Corpus) -> Iterator[Servers]:
    with reachable_directory() as folder:
        server = open_server(folder / "primary")
        try:
            with pgretrieval.connect(data_dir=folder / "primary") as database:
                docs = database.create_collection("docs")
                docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
                docs.build()
                with standbys_of(server, folder, 2) as made:
                    yield Servers(server.url, made, corpus)
        finally:
            server.close()


@pytest.fixture
def servers(running: Servers) -> Iterator[Servers]:
    running.catch_up()
    yield running
    for one in running.standbys:
        one.resume()


@pytest.fixture
def asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost standby is asked again in the next search."""
    monkeypatch.setattr(standbys, "_LEFT_ALONE_SECONDS", 0.0)


def test_searches_read_from_each_standby_in_turn(servers: Servers):
    """A standby that does not replay gives old hits, the other and the primary new ones."""
    with servers.connect() as database:
        docs = database.get_collection("docs")
        servers.standbys[0].pause()
        key = servers.add(docs)
        wait_for_replay(servers.primary, servers.urls[1])
        assert sorted(servers.finds(docs, key) for _ in range(6)) == [False] * 3 + [True] * 3
        assert {len(docs.get([key])) for _ in range(2)} == {0, 1}
        assert {docs.stats()["passages"] for _ in range(2)} == {200 + servers.added - 1, 200 + servers.added}
        servers.standbys[1].pause()
        other = servers.add(docs)
        assert not any(servers.finds(docs, other) for _ in range(4))
        assert {len(hits) for hits in docs.search_many(vectors=servers.corpus.queries[:20], k=5)} == {5}
        assert not any(hit.id == other for hit in docs.text_search("new", k=50))
        assert docs.check() == []  # on the primary


def test_a_late_standby_is_passed_over(servers: Servers):
    with servers.connect(max_lag=BARELY_LATE) as database:
        docs = database.get_collection("docs")
        for one in servers.standbys:
            one.pause()
        key = servers.add(docs)
        time.sleep(2 * BARELY_LATE)
        assert all(servers.finds(docs, key) for _ in range(4))
        assert not any(servers.finds(docs, key, max_lag=3600) for _ in range(4))
        assert [hit.id for hit in docs.text_search("new", k=50, max_lag=3600)] != [hit.id for hit in docs.text_search("new", k=50)]
        for one in servers.standbys:
            one.resume()
        servers.catch_up()
        time.sleep(2 * BARELY_LATE)  # nothing to replay: not late, however long ago the last transaction was
        servers.standbys[0].pause()
        with psycopg.connect(servers.urls[0]) as connection:
            assert connection.execute("select pg_is_in_recovery()").fetchone() == (True,)
        assert servers.finds(docs, key)


def test_a_handle_sees_its_own_changes_on_request(servers: Servers):
    with servers.connect(read_your_writes=True) as database:
        docs = database.get_collection("docs")
        for _ in range(5):
            key = servers.add(docs)
            assert servers.finds(docs, key)
            docs.delete([key])
            assert not servers.finds(docs, key)
        for one in servers.standbys:
            one.pause()
        key = servers.add(docs)
        started = time.monotonic()
        assert servers.finds(docs, key)
        assert time.monotonic() - started >= 0.9 * standbys._WAITED_SECONDS  # for a standby, then on the primary
        with servers.connect() as other:
            assert not servers.finds(other.get_collection("docs"), key)


def test_lost_standbys_are_passed_over_until_they_return(servers: Servers, asked_at_once: None):
    with servers.connect() as database:
        docs = database.get_collection("docs")
        for one in servers.standbys:
            one.kill()
            key = servers.add(docs)
            if one is servers.standbys[1]:
                assert all(servers.finds(docs, key) for _ in range(4))  # on the primary
            else:
                wait_for_replay(servers.primary, servers.urls[1])
                assert all(servers.finds(docs, key) for _ in range(4))
        for one in servers.standbys:
            one.start()
        servers.catch_up()
        for one in servers.standbys:
            one.pause()
        assert not servers.finds(docs, servers.add(docs))


def test_a_standby_that_never_answers_is_left_alone(servers: Servers, caplog: pytest.LogCaptureFixture):
    urls = ["postgresql://127.0.0.1:1/none", *servers.urls]
    with pgretrieval.connect(servers.primary, read_urls=urls) as database:
        docs = database.get_collection("docs")
        started = time.monotonic()
        assert all(len(docs.search(vectors=query, k=3)) == 3 for query in servers.corpus.queries[:10])
        assert time.monotonic() - started < standbys._LEFT_ALONE_SECONDS
    assert [line for line in caplog.messages if "127.0.0.1:1, database 'none' is left alone for 5 seconds" in line][1:] == []
    assert "127.0.0.1:1" in caplog.text


def test_no_search_is_lost_when_a_standby_is_killed(servers: Servers, asked_at_once: None):
    """Threads search while standbys are killed and started in turn; each search returns what the primary has."""
    tally = Tally("a standby killed during searches", runs=KILLS, faults=KILLS)
    stop, wrong, done = threading.Event(), [], [0, 0]
    with servers.connect() as database:
        docs = database.get_collection("docs")
        queries = servers.corpus.queries[:20]
        expected = [[hit.id for hit in hits] for hits in docs.search_many(vectors=queries, k=5)]

        def search(number: int) -> None:
            while not stop.is_set():
                place = done[number] % len(queries)
                try:
                    found = [hit.id for hit in docs.search(vectors=queries[place], k=5)]
                except DatabaseUnavailableError as error:
                    wrong.append(error)
                else:
                    wrong.extend([found] if found != expected[place] else [])
                done[number] += 1

        threads = [threading.Thread(target=search, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(KILLS):
                servers.standbys[number % 2].kill()
                servers.standbys[number % 2].start()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert wrong == []
    assert min(done) > KILLS
    tally.look(servers.primary)
    tally.report()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"read_urls": "postgresql://standby/db"}, r"read_urls is the text 'postgresql://standby/db'; give a list of URLs"),
        ({"read_urls": ["http://standby"]}, "the URL begins with 'http://', which is not of PostgreSQL"),
        ({"read_urls": [""]}, "url is ''; give a text that is not blank"),
        ({"read_urls": ["postgresql://standby/db"], "max_lag": -1}, "max_lag is -1; give a finite number of at least 0"),
        ({"read_urls": ["postgresql://standby/db"], "read_your_writes": "yes"}, "read_your_writes is 'yes'"),
        ({"max_lag": 3}, "max_lag and read_your_writes concern standbys; give their URLs as read_urls"),
        ({"read_your_writes": True}, "max_lag and read_your_writes concern standbys; give their URLs as read_urls"),
    ],
)
def test_wrong_values_are_refused(servers: Servers, options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        pgretrieval.connect(servers.primary, **options)


def test_a_search_refuses_a_wrong_lag(servers: Servers):
    with servers.connect() as database, pytest.raises(ConfigError, match="max_lag is -1; give a finite number of at least 0"):
        database.get_collection("docs").search(vectors=servers.corpus.queries[0], max_lag=-1)
