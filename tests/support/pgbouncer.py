"""PgBouncer in transaction mode, if installed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fixtures.postgres import reachable_directory

VARIABLE = "PGRETRIEVAL_TEST_PGBOUNCER"
_SECONDS = 10
_SESSIONS = 4
# Sessions rotate, and prepared statements are not tracked: the minimum of a pooler in transaction mode.
_SETTINGS = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
server_round_robin = 1
"""


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """The URL of PgBouncer in front of the database. Skips with a message if there is no PgBouncer."""
    command = os.environ.get(VARIABLE) or shutil.which("pgbouncer")
    if command is None:
        pytest.skip(f"there is no pgbouncer: install one, or name it in {VARIABLE}; the emulated pooler is tested all the same")
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value}
    database = parts.pop("dbname")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with reachable_directory() as folder:
        settings = folder / "pgbouncer.ini"
        server = " ".join(f"{name}='{value}'" for name, value in parts.items())
        settings.write_text(_SETTINGS.format(port=port, server=server) + _untracked(command))
        process = subprocess.Popen([command, "--quiet", str(settings)], user=_user(parts.get("host", "")))
        try:
            pooled = f"postgresql://someone@127.0.0.1:{port}/{database}"
            _open_sessions(pooled)
            yield pooled
        finally:
            process.terminate()
            process.wait(_SECONDS)


def _untracked(command: str) -> str:
    """Setting that turns off tracking of prepared statements, in versions that have it."""
    told = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"(\d+)\.(\d+)", told)
    return "max_prepared_statements = 0\n" if version is None or (int(version[1]), int(version[2])) >= (1, 21) else ""


def _user(host: str) -> str | None:
    """A user who can reach the server's socket; PgBouncer does not run as root."""
    if os.geteuid() != 0:
        return None
    return Path(host).owner() if host.startswith("/") else "nobody"


def _open_sessions(url: str) -> None:
    """Run transactions concurrently to open several sessions."""
    deadline = time.monotonic() + _SECONDS
    with ExitStack() as stack:
        for _ in range(_SESSIONS):
            stack.enter_context(_connect(url, deadline)).execute("select 1")


def _connect(url: str, deadline: float) -> psycopg.Connection[tuple[object, ...]]:
    while True:
        try:
            return psycopg.connect(url)
        except psycopg.OperationalError:  # noqa: PERF203
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
