"""One case of a repeated operation during which a process is killed at a random moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import psycopg

import pgretrieval
from tests.support import changing
from tests.support.changing import NAME, Client, Model, Stored
from tests.support.chaos import Tally
from tests.support.encoder import HashedEncoder

OPERATIONS = ["add", "update", "delete", "build", "compact", "rebuild", "worker"]
_PASSAGES = 300


def follow(connection: psycopg.Connection[Any], batch: Stored) -> None:
    """Apply a batch of changes to the table in one transaction."""
    for key, stored in batch.items():
        if stored is None:
            connection.execute("delete from followed where id = %s", [key])
        else:
            connection.execute(
                "insert into followed values (%s, %s) on conflict (id) do update set body = excluded.body", [key, stored]
            )
    connection.commit()


class Case:
    """The collection "docs" in the database at `url`, and its model."""

    def __init__(self, url: str, operation: str, tally: Tally) -> None:
        self.url = url
        self.operation = operation
        self.tally = tally
        self.model = Model()
        self.waiting: set[str] = set()  # changes of a table not yet applied by a worker
        self._seconds = 0.0

    def prepare(self) -> list[Stored]:
        """Create a collection for the operation, and its plan."""
        if self.operation == "worker":
            self._change_table()
            return []
        with pgretrieval.connect(url=self.url) as database:
            fresh = NAME not in database.list_collections()
            if self.operation == "build" and not fresh:
                database.drop_collection(NAME)
                fresh, self.model.held = True, {}
            if fresh:
                docs = database.create_collection(NAME, encoder=HashedEncoder())
                docs.auto_compact = False
                self._store(docs, [batch for _ in range(2) for batch in self.model.plan("add", 0)])
                if self.operation != "build":
                    docs.build()
            docs = database.get_collection(NAME, encoder=HashedEncoder())
            if self.operation in ("compact", "rebuild"):
                for number, kind in enumerate(("add", "update", "delete")):
                    self._store(docs, self.model.plan(kind, number + self.tally.runs)[:3])
        if len(self.model.held) < _PASSAGES // 2:
            with pgretrieval.connect(url=self.url) as database:
                self._store(database.get_collection(NAME, encoder=HashedEncoder()), self.model.plan("add", 0))
        return self.model.plan(self.operation, self.tally.runs) if self.operation in ("add", "update", "delete") else []

    def _change_table(self) -> None:
        """Insert, update and delete rows of the attached table."""
        with pgretrieval.connect(url=self.url) as database, psycopg.connect(self.url) as connection:
            if NAME not in database.list_collections():
                connection.execute("drop table if exists followed")
                connection.execute("create table followed (id text primary key, body text)")
                connection.commit()
                docs = database.create_collection(NAME, encoder=HashedEncoder())
                database.attach(NAME, "public.followed", text="body")
                for batch in self.model.plan("add", 0):
                    follow(connection, batch)
                    self.acknowledge(batch)
                database.work([docs])
                docs.build()
            for kind in ("add", "update", "delete"):
                for batch in self.model.plan(kind, self.tally.runs):
                    follow(connection, batch)
                    self.waiting |= batch.keys()
                    self.acknowledge(batch)

    def _store(self, docs: pgretrieval.Collection, plan: list[Stored]) -> None:
        for batch in plan:
            changing.change(docs, batch)
            self.acknowledge(batch)

    def acknowledge(self, batch: Stored) -> None:
        """Record an acknowledged change."""
        self.model.apply(batch)
        self.tally.acknowledged += len(batch)

    def undisturbed(self) -> None:
        """Run once without a kill, to measure the duration."""
        plan = self.prepare()
        client = changing.start(self.url, self.operation, plan)
        client.wait_until_ready()
        started = time.monotonic()
        told = client.read()
        self._seconds = time.monotonic() - started
        assert told[-1:] == ["done"], told
        for batch in plan:
            self.acknowledge(batch)
        self.waiting.clear()
        self.tally.look(self.url, self.model.held)

    def once(self, kill: Callable[[Client], None], recover: Callable[[], None]) -> None:
        """Start, kill at a random moment, check, repeat the operation, and check again."""
        self.tally.runs += 1
        plan = self.prepare()
        client = changing.start(self.url, self.operation, plan)
        client.wait_until_ready()
        time.sleep(random.uniform(0, 1.05 * self._seconds))
        kill(client)
        told = client.read()
        recover()
        self.tally.faults += "done" not in told
        done = [answer for answer in told if isinstance(answer, int)]
        for number in done:
            self.acknowledge(plan[number])
        under_way = plan[len(done)] if len(done) < len(plan) else {}
        self.tally.look(self.url, self.model.held, pending=under_way.keys() | self.waiting)
        self._all_or_nothing(under_way)
        again = changing.start(self.url, self.operation, plan)
        told = again.read()
        assert told[-1:] == ["done"], f"the same again fails: {told}"
        for batch in plan:
            self.acknowledge(batch)
        self.waiting.clear()
        self.tally.look(self.url, self.model.held)
        self._is_searched()

    def _all_or_nothing(self, batch: Stored) -> None:
        """Assert that an unacknowledged change is stored entirely or not at all."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("select key, body from pgretrieval.passage where key = any (%s)", [list(batch)]).fetchall()
        held = dict(rows)
        states = {held.get(key) == stored for key, stored in batch.items()}
        assert len(states) <= 1, f"half of a change is stored: {held}"

    def _is_searched(self) -> None:
        key = random.choice(sorted(self.model.held))
        with pgretrieval.connect(url=self.url) as database:
            docs = database.get_collection(NAME, encoder=HashedEncoder())
            assert docs.search(self.model.held[key], k=1)[0].id == key
