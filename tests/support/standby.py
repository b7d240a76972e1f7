"""A hot standby of an embedded server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from typing_extensions import LiteralString

from pgretrieval.db.embedded import EmbeddedServer
from pgretrieval.db.embedded.accounts import account_for
from pgretrieval.db.embedded.binaries import installation
from pgretrieval.db.embedded.cluster import version_of
from tests.support.own_server import run_as

_SECONDS = 60
_PORT = 5433


class Standby:
    """A server that streams from a primary and accepts reads; it can be killed and started again."""

    def __init__(self, primary: EmbeddedServer, pgdata: Path) -> None:
        source = primary.data_dir / "postgres"
        self._account = account_for(source)
        self._made = installation(version_of(source) or 0, self._account)
        self._pgdata = pgdata
        pgdata.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(pgdata, self._account.uid, self._account.gid)
        # --write-recovery-conf makes standby.signal and primary_conninfo.
        self._run("pg_basebackup", "--dbname", primary.url, "--pgdata", str(pgdata), "--checkpoint=fast", "--write-recovery-conf")
        self.url = f"postgresql://postgres:@/postgres?host={pgdata}&port={_PORT}"

    def _run(self, command: str, *arguments: str) -> None:
        run_as(self._account, self._made.folder / "bin" / command, *arguments)

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        # Another port than the primary's, whose socket lies in its directory, so that its lock file was copied, too.
        options = f'-h "" -k {self._pgdata} -p {_PORT}'
        self._run("pg_ctl", "-w", "-D", str(self._pgdata), "-l", str(self._pgdata / "log"), "-o", options, "start")

    def kill(self) -> None:
        """End all its processes at once, without a checkpoint."""
        self._run("pg_ctl", "-w", "-D", str(self._pgdata), "-m", "immediate", "stop")

    def pause(self) -> None:
        """Stop replaying; what the primary writes is received only."""
        self._execute("select pg_wal_replay_pause()")
        deadline = time.monotonic() + _SECONDS
        while self._execute("select pg_get_wal_replay_pause_state()") != "paused":
            assert time.monotonic() < deadline, "the standby does not pause"
            time.sleep(0.01)

    def resume(self) -> None:
        """Replay again."""
        self._execute("select pg_wal_replay_resume()")

    def _execute(self, statement: LiteralString) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return (connection.execute(statement).fetchone() or [None])[0]


@contextmanager
def standbys_of(primary: EmbeddedServer, folder: Path, count: int) -> Iterator[list[Standby]]:
    """So many running standbys of a primary; those that run at the end are stopped."""
    made = [Standby(primary, folder / f"standby{number}") for number in range(count)]
    for one in made:
        one.start()
    try:
        yield made
    finally:
        for one in made:
            with suppress(AssertionError):
                one.kill()


@contextmanager
def standby_of(primary: EmbeddedServer, folder: Path) -> Iterator[str]:
    """The URL of a server that streams from `primary` into `folder` and accepts reads."""
    with standbys_of(primary, folder, 1) as made:
        yield made[0].url


def wait_for_replay(primary: str, standby: str) -> None:
    """Wait until the standby has replayed everything committed on the primary so far."""
    with psycopg.connect(primary, autocommit=True) as connection:
        written = connection.execute("select pg_current_wal_flush_lsn()").fetchone()
    deadline = time.monotonic() + _SECONDS
    with psycopg.connect(standby, autocommit=True) as connection:
        while connection.execute("select pg_last_wal_replay_lsn() >= %s", written).fetchone() != (True,):
            assert time.monotonic() < deadline, "the standby does not keep up"
            time.sleep(0.05)
