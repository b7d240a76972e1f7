"""Open and leave the server of a data directory."""

from __future__ import annotations

import atexit
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import platformdirs
import psutil

from pgretrieval.db.embedded import cluster, process, users
from pgretrieval.db.embedded.accounts import Account, account_for, is_root
from pgretrieval.db.embedded.binaries import NEWEST, Installation, installation
from pgretrieval.db.embedded.environment import own_conninfo
from pgretrieval.db.embedded.files import FolderLock
from pgretrieval.db.embedded.sockets import host_of, is_closed
from pgretrieval.errors import ConfigError, DatabaseUnavailableError, PgRetrievalError

_ELSEWHERE = "Choose another with --data-dir or PGRETRIEVAL_DATA_DIR"

_servers: dict[Path, EmbeddedServer] = {}
_servers_lock = threading.RLock()


def default_data_dir() -> Path:
    """Return the default data directory of the embedded server; for root it is below /var/lib."""
    return Path("/var/lib/pgretrieval") if is_root() else Path(platformdirs.user_data_dir("pgretrieval", appauthor=False))


class EmbeddedServer:
    """A started server. `open_server` returns one per directory and counts its users in this process."""

    def __init__(self, data_dir: Path, postgres_version: int | None) -> None:
        self.data_dir = data_dir
        self._pgdata = (data_dir / "postgres").resolve()  # it may be a link to a larger disk
        self._process = os.getpid()
        self._users = 0
        with _translated_errors(self._pgdata):
            _create_directory(self._pgdata)
            self._running = self._ensure(postgres_version)
            self.url = self._address()

    @property
    def conninfo(self) -> str:
        """Connection string of this package: the URL, without effects of libpq's environment variables."""
        return own_conninfo(self.url)

    @property
    def shared(self) -> bool:
        """True if other processes use the server, too."""
        with _translated_errors(self._pgdata), FolderLock(self._pgdata):
            return users.others(self._pgdata)

    def enter(self) -> None:
        """Register this process as a user. A forked process is none until it connects."""
        if self._process == os.getpid():
            return
        with _servers_lock, _translated_errors(self._pgdata), FolderLock(self._pgdata):
            users.join(self._pgdata, account_for(self._pgdata))
            self._process = os.getpid()

    def revive(self) -> bool:
        """Start the server again if it has ended; return whether its process has changed."""
        with _servers_lock:
            if not self._users or not (self._pgdata / "PG_VERSION").exists():
                return False
            before = self._running
            with _translated_errors(self._pgdata):
                self._running = self._ensure(None)
                self._address()  # creates the link to the socket again
            return self._running.pid != before.pid

    def close(self) -> None:
        """Leave the server; it stops when no process uses it."""
        with _servers_lock:
            self._users -= 1
            if self._users == 0:
                del _servers[self.data_dir]
                if self._process != os.getpid():  # a forked child that never connected
                    return
                with _translated_errors(self._pgdata):
                    self._leave()

    def _ensure(self, postgres_version: int | None) -> process.Running:
        """Start the server, or join a running one, and register this process as a user."""
        if not is_root():
            account_for(self._pgdata)  # names the owner before the system refuses the lock
        with FolderLock(self._pgdata) as lock:
            account = account_for(self._pgdata)
            running = self._find_usable(account)
            if running is None:
                made = self._prepare(postgres_version, account, lock)
                running = process.start(self._pgdata, made, account)
            users.join(self._pgdata, account)
            self._process = os.getpid()
            return running

    def _find_usable(self, account: Account | None) -> process.Running | None:
        """The running server, when it is ready and closed to other users; None if there is none or it must be replaced."""
        running = process.find(self._pgdata)
        if running is None:
            return None
        closed = cluster.has_password(self._pgdata) if os.name == "nt" else is_closed(running.folder)
        if running.status == "stopping" or not closed:
            process.stop(self._pgdata, running)
            return None
        if cluster.write_access_rules(self._pgdata, account):
            process.reload(self._pgdata, running)
        return process.wait(self._pgdata, running)

    def _prepare(self, postgres_version: int | None, account: Account | None, lock: FolderLock) -> Installation:
        cluster.clear_unfinished(self._pgdata)
        version = cluster.version_of(self._pgdata)
        made = installation(version or postgres_version or NEWEST, account)
        if version is None:
            cluster.initialise(self._pgdata, made, account, lock)
        cluster.configure(self._pgdata, account)
        cluster.write_access_rules(self._pgdata, account)
        if os.name == "nt":
            process.clear_stale(self._pgdata)
            cluster.password_of(self._pgdata, made)
        return made

    def _address(self) -> str:
        if os.name == "nt":
            password = cluster.password_of(self._pgdata, installation(NEWEST))
            return f"postgresql://postgres:{password}@127.0.0.1:{self._running.port}/postgres"
        folder = self._running.folder
        host = host_of(self._pgdata if folder.samefile(self._pgdata) else folder)
        return f"postgresql://postgres:@/postgres?port={self._running.port}&host={quote(host)}"

    def _leave(self) -> None:
        try:
            with FolderLock(self._pgdata):
                account = account_for(self._pgdata)
                if users.leave(self._pgdata, account):
                    return
                running = process.find(self._pgdata)
                if running is not None:
                    process.stop(self._pgdata, running)
        except FileNotFoundError:  # the directory was removed, so its server is useless
            process.stop(self._pgdata, self._running)


def open_server(data_dir: Path, postgres_version: int | None = None) -> EmbeddedServer:
    """Start the server of a data directory, or join a running one.

    `postgres_version` (16 or 18) applies to new directories only. Raises DatabaseUnavailableError if it does not start, and
    ConfigError if the directory cannot be used.
    """
    try:
        data_dir = data_dir.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # unknown user, circular links, a NUL
        msg = f"the data directory {str(data_dir)!r} cannot be created: {error}. {_ELSEWHERE}"
        raise ConfigError(msg) from error
    with _servers_lock:
        server = _servers.get(data_dir)
        if server is None:
            server = _servers[data_dir] = EmbeddedServer(data_dir, postgres_version)
        server._users += 1
        return server


def _create_directory(pgdata: Path) -> None:
    if "\n" in str(pgdata) or "\r" in str(pgdata):
        msg = (
            f"the data directory {str(pgdata.parent)!r} has a line break in its path, which Postgres does not support. {_ELSEWHERE}"
        )
        raise ConfigError(msg)
    try:
        pgdata.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the data directory {pgdata.parent} cannot be created: {error}. {_ELSEWHERE}"
        raise ConfigError(msg) from error


@contextmanager
def _translated_errors(pgdata: Path) -> Iterator[None]:
    try:
        yield
    except PgRetrievalError:
        raise
    except PermissionError as error:
        msg = f"the data directory {pgdata.parent} is not accessible to this user: {error}. {_ELSEWHERE}"
        raise ConfigError(msg) from error
    except (OSError, subprocess.SubprocessError, psutil.Error) as error:
        msg = f"the embedded Postgres in {pgdata} cannot be used: {error}. Its log is {pgdata / 'log'}"
        raise DatabaseUnavailableError(msg) from error


def _leave_all() -> None:
    """Close at exit all servers that the program has not closed."""
    with _servers_lock:
        for server in list(_servers.values()):
            server._users = min(server._users, 1)
            with suppress(PgRetrievalError):
                server.close()


def _renew_lock() -> None:
    """Replace the lock, which another thread may have held at the fork."""
    global _servers_lock
    _servers_lock = threading.RLock()


atexit.register(_leave_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
