"""A server for one test, which can be killed, restarted, limited, and replaced by another version."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
import psycopg

from pgretrieval.database import open_database
from pgretrieval.db.embedded.accounts import Account, account_for, runs_as
from pgretrieval.db.embedded.binaries import Installation, installation
from pgretrieval.db.embedded.cluster import initialise, write_access_rules
from pgretrieval.db.embedded.files import FolderLock
from tests.fixtures.postgres import copy_directory, reachable_directory

_SECONDS = 120
_PORT = 5434


def run_as(account: Account | None, program: Path, *arguments: str) -> None:
    """Run one of Postgres's programs as the server's user, without a pipe, which a started server would keep open."""
    with tempfile.TemporaryFile("w+") as output:
        command = [str(program), *arguments]
        done = subprocess.run(
            command, stdin=-3, stdout=output, stderr=output, cwd="/", timeout=_SECONDS, check=False, **runs_as(account)
        )
        output.seek(0)
        assert done.returncode == 0, f"{command}: {output.read()}"


@cache
def _initialised(version: int) -> Path:
    """A data directory as initdb makes it, in a second; removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="pgr-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    pgdata = folder / "data"
    pgdata.mkdir(mode=0o700)
    account = account_for(pgdata)
    with FolderLock(pgdata) as lock:
        initialise(pgdata, installation(version, account), account, lock)
    return pgdata


def _runs(process: psutil.Process) -> bool:
    """Return whether a process has not ended; one that nobody has waited for yet has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class OwnServer:
    """Postgres of a version in `folder`, from the embedded server's package or a copy of it, with default durability."""

    def __init__(self, folder: Path, version: int = 18, programs: Installation | None = None) -> None:
        self.folder = folder
        self._pgdata = folder / "data"
        copy_directory(_initialised(version), self._pgdata)
        self._account = account_for(self._pgdata)
        made = installation(version, self._account)
        write_access_rules(self._pgdata, self._account)
        self.bin = made.folder / "bin"
        self._programs = programs or made
        self._sockets = folder / "s"
        self._sockets.mkdir(mode=0o700)
        self.give(self._sockets)

    def give(self, path: Path) -> None:
        """Let the server write to a path."""
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    @property
    def user(self) -> str | None:
        """The server's user, if not the caller."""
        return self._account.name if self._account else None

    @property
    def url(self) -> str:
        """URL of a superuser."""
        return f"postgresql://postgres:@/postgres?host={self._sockets}&port={_PORT}"

    def settings(self, **settings: str) -> None:
        """Settings for the next start."""
        with (self._pgdata / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Start the server, after a kill with recovery; returns when it accepts connections."""
        command = [
            self._programs.program("postgres"),
            "-D",
            str(self._pgdata),
            "-h",
            "",
            "-k",
            str(self._sockets),
            "-p",
            str(_PORT),
        ]
        with (self.folder / "log").open("a") as log:
            # A child of this process: init may take seconds to notice that one has ended, and until then none can be started.
            self._process = subprocess.Popen(
                command, stdin=-3, stdout=log, stderr=log, cwd="/", start_new_session=True, **runs_as(self._account)
            )
        deadline = time.monotonic() + _SECONDS
        while not self.running():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server as `pg_ctl stop` does."""
        self.run("pg_ctl", "-w", "-t", str(_SECONDS), "-D", str(self._pgdata), "-m", mode, "stop")
        self._process.wait(_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL to all processes at once."""
        family = self.processes()
        for process in family:
            with suppress(psutil.NoSuchProcess):  # a child has ended with the postmaster
                process.kill()
        self._process.wait(_SECONDS)
        deadline = time.monotonic() + _SECONDS
        while any(_runs(process) for process in family):
            assert time.monotonic() < deadline, "the server goes on"
            time.sleep(0.005)

    def processes(self) -> list[psutil.Process]:
        """The postmaster and its children."""
        pid = int((self._pgdata / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def run(self, command: str, *arguments: str) -> None:
        """Run one of the version's programs as the server's user."""
        run_as(self._account, self.bin / command, *arguments)

    def client(self, command: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of the version's client programs as the caller."""
        return subprocess.run(
            [str(self.bin / command), *arguments], input=text, capture_output=True, text=True, check=False, timeout=_SECONDS
        )

    def running(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def own_server(
    version: int = 18, *, migrated: bool = True, programs: Installation | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[OwnServer]:
    """A running server with the schema in its database `postgres`, removed at the end."""
    with reachable_directory() as folder:
        server = OwnServer(folder, version, programs)
        server.settings(**{"max_connections": "60", "shared_buffers": "64MB", **(settings or {})})
        server.start()
        try:
            if migrated:
                with open_database(server.url) as database:
                    database.migrate()
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.kill()
