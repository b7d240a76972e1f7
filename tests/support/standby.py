"""A hot standby of an embedded server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from pgretrieval.db.embedded import EmbeddedServer
from pgretrieval.db.embedded.accounts import account_for
from pgretrieval.db.embedded.binaries import installation
from pgretrieval.db.embedded.cluster import version_of
from tests.support.own_server import run_as

_SECONDS = 60
_PORT = 5433


@contextmanager
def standby_of(primary: EmbeddedServer, folder: Path) -> Iterator[str]:
    """The URL of a server that streams from `primary` into `folder` and accepts reads."""
    source = primary.data_dir / "postgres"
    account = account_for(source)
    made = installation(version_of(source) or 0, account)
    pgdata = folder / "standby"
    pgdata.mkdir(mode=0o700)
    if account is not None:
        os.chown(pgdata, account.uid, account.gid)

    def run(command: str, *arguments: str) -> None:
        run_as(account, made.folder / "bin" / command, *arguments)

    # --write-recovery-conf makes standby.signal and primary_conninfo.
    run("pg_basebackup", "--dbname", primary.url, "--pgdata", str(pgdata), "--checkpoint=fast", "--write-recovery-conf")
    # Another port than the primary's, whose socket lies in its directory, so that its lock file was copied, too.
    options = f'-h "" -k {pgdata} -p {_PORT}'
    run("pg_ctl", "-w", "-D", str(pgdata), "-l", str(pgdata / "log"), "-o", options, "start")
    try:
        yield f"postgresql://postgres:@/postgres?host={pgdata}&port={_PORT}"
    finally:
        run("pg_ctl", "-w", "-D", str(pgdata), "-m", "immediate", "stop")


def wait_for_replay(primary: str, standby: str) -> None:
    """Wait until the standby has replayed everything committed on the primary so far."""
    with psycopg.connect(primary, autocommit=True) as connection:
        written = connection.execute("select pg_current_wal_flush_lsn()").fetchone()
    deadline = time.monotonic() + _SECONDS
    with psycopg.connect(standby, autocommit=True) as connection:
        while connection.execute("select pg_last_wal_replay_lsn() >= %s", written).fetchone() != (True,):
            assert time.monotonic() < deadline, "the standby does not keep up"
            time.sleep(0.05)
