"""The server's process: find, start, wait for and stop it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pgretrieval.db.embedded.accounts import Account, is_root, runs_as
from pgretrieval.db.embedded.binaries import NEWEST, Installation, installation
from pgretrieval.db.embedded.cluster import accessible_path
from pgretrieval.db.embedded.environment import clean_environment
from pgretrieval.db.embedded.files import append_to, read_text
from pgretrieval.db.embedded.sockets import PORT
from pgretrieval.db.embedded.users import start_time
from pgretrieval.errors import DatabaseUnavailableError

READY_SECONDS = 120  # crash recovery of a large directory can take this long
_STOP_SECONDS = 60
_KILL_SECONDS = 10
_POLL_SECONDS = 0.01
_DETACHED = 0x08000200  # on Windows: its own process group, and no console window
_STILL_THERE = "pre-existing shared memory block"  # children of a killed server, which end soon


@dataclass(frozen=True, slots=True)
class Running:
    """A running server, from its pid file."""

    pid: int
    start_time: str
    port: int
    folder: Path
    """The folder of its socket."""
    status: str
    """"starting", "ready", "standby" or "stopping"."""

    def is_running(self) -> bool:
        """Return whether the process still runs."""
        return start_time(self.pid) == self.start_time


def find(pgdata: Path) -> Running | None:
    """The running server of this directory. The number in a pid file may have been reused by another process or server."""
    lines = (read_text(pgdata / "postmaster.pid") or "").splitlines()
    try:
        pid, port, folder, status = int(lines[0]), int(lines[3]), lines[4], lines[7] if len(lines) > 7 else "starting"
    except (ValueError, IndexError):
        return _starting(pgdata, lines)
    start = start_time(pid)
    if start is None or not _serves(pid, pgdata):
        return None
    return Running(pid, start, port, pgdata if folder in ("", ".") else Path(folder), status.strip())


def _starting(pgdata: Path, lines: list[str]) -> Running | None:
    """Return a server that runs although its pid file is incomplete."""
    if not lines or not lines[0].isdecimal():
        return None
    pid = int(lines[0])
    start = start_time(pid)
    return Running(pid, start, PORT, pgdata, "starting") if start is not None and _serves(pid, pgdata) else None


def _serves(pid: int, pgdata: Path) -> bool:
    try:
        process = psutil.Process(pid)
        if "postgres" not in process.name().lower():
            return False
        return os.path.samefile(process.cwd(), pgdata)
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError, OverflowError):
        return False


def clear_stale(pgdata: Path) -> None:
    """Remove the locks of a dead server, which Postgres would respect if another process has its number."""
    for path in (pgdata / "postmaster.pid", *pgdata.glob(".s.PGSQL.*.lock")):
        path.unlink(missing_ok=True)


def start(pgdata: Path, made: Installation, account: Account | None) -> Running:
    """Start the directory's server, which must not run, and wait for it. Raises DatabaseUnavailableError with the log's error."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        clear_stale(pgdata)
        log = append_to(pgdata / "log", account)
        try:
            before = os.fstat(log).st_size
            pid = 0 if os.name == "nt" else _spawn(pgdata, made, account, log)
        finally:
            os.close(log)
        if os.name == "nt":  # no second process can write to a file that pg_ctl has opened
            pid = _spawn_on_windows(pgdata)
        running = _await(pgdata, pid, deadline)
        if running is not None:
            return running
        words = _last_log_error(pgdata / "log", before)
        if _STILL_THERE not in words or time.monotonic() > deadline:
            raise _not_started(pgdata, words)
        time.sleep(0.1)


def wait(pgdata: Path, running: Running) -> Running | None:
    """Wait for a starting server; None if it ends instead. Raises DatabaseUnavailableError."""
    return _await(pgdata, running.pid, time.monotonic() + READY_SECONDS)


def stop(pgdata: Path, running: Running) -> None:
    """Stop the server: clients are disconnected, all data is written; wait until it has ended."""
    if os.name == "nt":
        _pg_ctl(pgdata, "stop", "-m", "fast", "-t", str(_STOP_SECONDS))
        return
    for sign, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, _KILL_SECONDS)):
        with suppress(ProcessLookupError):
            if running.is_running():
                os.kill(running.pid, sign)
        deadline = time.monotonic() + seconds
        while running.is_running() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def reload(pgdata: Path, running: Running) -> None:
    """Make the server read its configuration again."""
    if os.name == "nt":
        _pg_ctl(pgdata, "reload")
        return
    with suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGHUP)


def _pg_ctl(pgdata: Path, *arguments: str) -> None:
    """Run pg_ctl on Windows, which has no signals; it also drops administrator rights of the server."""
    command = [installation(NEWEST).program("pg_ctl"), "-D", str(pgdata), *arguments]
    subprocess.run(
        command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, creationflags=_DETACHED
    )


def _spawn(pgdata: Path, made: Installation, account: Account | None, log: int) -> int:
    """Start the server through a shell that exits at once, so that a program waiting for all its children does not wait for it."""
    command = [
        *(made.program("postgres"), "-D", accessible_path(pgdata)),
        *(("-r", str(pgdata)) if is_root() else ()),  # no effect; shows the directory in lists of processes
        *("-p", str(PORT), "-c", "listen_addresses=", "-c", "unix_socket_directories=.", "-c", "unix_socket_permissions=0700"),
    ]
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
        cwd=pgdata,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        check=True,
        start_new_session=True,
        umask=0o077,
        **runs_as(account),
    )
    return int(done.stdout)


def _spawn_on_windows(pgdata: Path) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _pg_ctl(pgdata, "-W", "-o", f'-h "127.0.0.1" -p {port}', "-l", str(pgdata / "log"), "start")
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        running = find(pgdata)
        if running is not None:
            return running.pid
        time.sleep(_POLL_SECONDS)
    raise _not_started(pgdata, "no process")


def _await(pgdata: Path, pid: int, deadline: float) -> Running | None:
    """The server when it accepts connections, or None if its process has ended."""
    while time.monotonic() < deadline:
        running = find(pgdata)
        if running is not None and running.pid == pid and running.status in ("ready", "standby"):
            return running
        if start_time(pid) is None:
            return None
        time.sleep(_POLL_SECONDS)
    raise _not_started(pgdata, f"it is not ready after {READY_SECONDS} seconds")


def _last_log_error(log: Path, since: int) -> str:
    """Return the first error line of the new part of the log, or else its first line."""
    lines = (read_text(log) or "").encode()[since:].decode(errors="replace").splitlines()
    errors = [line for line in lines if "FATAL" in line or "PANIC" in line or "ERROR" in line]
    return (errors or lines or ["it wrote nothing"])[0].strip()


def _not_started(pgdata: Path, words: str) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"the embedded Postgres in {pgdata} did not start: {words}. Its log is {pgdata / 'log'}")
