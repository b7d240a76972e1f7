"""Operations of a client that is killed: each runs in its own process, which reports acknowledged changes."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psycopg

import pgretrieval
from pgretrieval.db.tables import queue
from tests.support.encoder import HashedEncoder

NAME = "docs"
BATCHES, BATCH = 8, 20
_FORKING = multiprocessing.get_context("forkserver")
_PATIENCE = 60
_CLAIMED = 2.0  # seconds for which others wait after a worker was killed

Stored = dict[str, str | None]
"""Id -> text of a stored change, None for a deletion."""


def text(key: str, version: int) -> str:
    """A text that encodes its id and version; versions have different numbers of words."""
    return f"{key} version{version} " + " ".join(f"word{(version * 7 + n) % 40}" for n in range(2 + version % 5))


@dataclass
class Model:
    """Acknowledged content of the collection; versions of an id are never repeated."""

    held: dict[str, str] = field(default_factory=dict)
    version: int = 0
    keys: int = 0

    def apply(self, change: Stored) -> None:
        """Record an acknowledged change."""
        for key, stored in change.items():
            if stored is None:
                self.held.pop(key, None)
            else:
                self.held[key] = stored

    def plan(self, operation: str, seed: int) -> list[Stored]:
        """Batches of changes for an operation."""
        chosen = random.Random(seed)
        self.version += 1
        if operation == "add":
            first, self.keys = self.keys, self.keys + BATCHES * BATCH
            keys = [f"k{number}" for number in range(first, self.keys)]
        else:
            keys = chosen.sample(sorted(self.held), min(len(self.held) // 2, BATCHES * BATCH))
        stored = None if operation == "delete" else self.version
        changes = {key: None if stored is None else text(key, stored) for key in keys}
        items = list(changes.items())
        return [dict(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]


def change(docs: pgretrieval.Collection, batch: Stored) -> None:
    """One call for a batch; it can be repeated."""
    gone = [key for key, stored in batch.items() if stored is None]
    if gone:
        docs.delete(gone)
    else:
        docs.add([{"id": key, "text": stored} for key, stored in batch.items()], on_conflict="update")


def do(url: str, operation: str, plan: list[Stored], told: Connection) -> None:
    """Run the whole operation; reports (what begins, what is done)."""
    queue.CLAIMED = _CLAIMED
    with pgretrieval.connect(url=url) as database:
        docs = database.get_collection(NAME, encoder=HashedEncoder())
        told.send("ready")
        try:
            if operation == "worker":
                database.work([docs])
            elif operation in ("add", "update", "delete"):
                for number, batch in enumerate(plan):
                    change(docs, batch)
                    told.send(number)
            else:
                getattr(docs, operation)()
            told.send("done")
        except pgretrieval.PgRetrievalError as error:
            told.send(f"failed: {type(error).__name__}: {error}")


@dataclass
class Client:
    """A process that runs an operation."""

    process: Any
    answers: Connection

    def wait_until_ready(self) -> None:
        """Wait until the process is connected and about to begin."""
        assert self.answers.poll(_PATIENCE), "the client did not come up"
        assert self.answers.recv() == "ready"

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.join(_PATIENCE)

    def read(self) -> list[Any]:
        """Return all reports; call it after the process has ended."""
        told = []
        try:
            while self.answers.poll(_PATIENCE):
                told.append(self.answers.recv())
        except EOFError:
            pass
        self.process.join(_PATIENCE)
        return told


def start(url: str, operation: str, plan: list[Stored]) -> Client:
    """Fork a client from a process that has imported everything."""
    _FORKING.set_forkserver_preload(["tests.support.changing", "torch", "pgretrieval.database"])
    answers, telling = _FORKING.Pipe(duplex=False)
    process = _FORKING.Process(target=do, args=(url, operation, plan, telling), daemon=True)
    process.start()
    telling.close()
    return Client(process, answers)


def wait_for_sessions(url: str) -> None:
    """Wait until the server has ended the sessions of killed clients."""
    deadline = time.monotonic() + _PATIENCE
    with psycopg.connect(url, autocommit=True) as connection:
        statement = """select count(*) from pg_stat_activity
                       where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"""
        while connection.execute(statement).fetchone() != (0,):
            assert time.monotonic() < deadline, "a session of a killed client goes on"
            time.sleep(0.01)


def until_waiting(url: str) -> None:
    """Wait until a session of the database waits for a lock."""
    deadline = time.monotonic() + _PATIENCE
    statement = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(statement).fetchone() == (0,):
            assert time.monotonic() < deadline, "no session waits for a lock"
            time.sleep(0.01)


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the elapsed seconds."""
    started = time.monotonic()
    yield lambda: time.monotonic() - started
