"""The embedded server's directory: created, shared, left by killed processes, damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

import pgretrieval
from tests.support.vectors import clustered, passages

# Opens the directory, prints a line, and waits until its standard input closes.
HOLDER = """
import sys, pgretrieval
pgretrieval.connect
print("starting", flush=True)
with pgretrieval.connect(data_dir=sys.argv[1]) as database:
    if "docs" not in database.list_collections():
        database.create_collection("docs", dim=64)
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holders(data_dir: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test, with a server that may still run."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()
    pid = postmaster(data_dir)
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)


def hold(data_dir: Path, holders: list[subprocess.Popen[str]], *, until: str = "ready") -> subprocess.Popen[str]:
    """Start a process that opens the directory; returns when it is about to ("starting") or has it open ("ready")."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(data_dir)], stdin=-1, stdout=-1, text=True)
    holders.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    if until == "ready":
        assert process.stdout.readline() == "ready\n"
    return process


def postmaster(data_dir: Path) -> int | None:
    """Process id of the server that runs in the directory."""
    path = data_dir / "postgres" / "postmaster.pid"
    pid = int(path.read_text().split()[0]) if path.exists() else None
    return pid if pid is not None and psutil.pid_exists(pid) and "postgres" in psutil.Process(pid).name() else None


def test_a_directory_is_made_migrated_and_kept(data_dir: Path):
    """The first connect creates and migrates the directory, the second finds the data, and the last close stops the server."""
    folder = data_dir / "not" / "there"
    with pgretrieval.connect(data_dir=folder) as database:
        assert database.data_dir == folder
        docs = database.create_collection("docs")
        docs.add(passages(20), vectors=clustered(20))
        docs.build()
        with psycopg.connect(database.url) as connection:
            assert connection.execute("show server_version_num").fetchone()[0].startswith("18")
    assert postmaster(folder) is None
    with pgretrieval.connect(data_dir=str(folder)) as database:
        assert database.get_collection("docs").search(vectors=clustered(20)[3], k=1)[0].id == "p3"
        with pgretrieval.connect(data_dir=folder) as second:
            assert second.list_collections() == ["docs"]
        assert database.list_collections() == ["docs"]
    assert postmaster(folder) is None


def test_a_path_is_a_directory(data_dir: Path):
    """connect(Path(…)) treats the path as a directory, not a URL."""
    folder = data_dir / "by path"
    with pgretrieval.connect(folder) as database:
        assert database.data_dir == folder
    with pytest.raises(pgretrieval.ConfigError, match="data_dir is given; give one of them"):
        pgretrieval.connect(folder, data_dir=folder)


@pytest.mark.parametrize(
    "name", ["with a blank", "quote's; %41 #&", "ünï 検索", "long" * 40, "a,b", "$HOME", 'double "', "back `tick`"]
)
def test_a_directory_may_be_called_anything(data_dir: Path, name: str):
    """Paths with blanks (macOS), quotes or great length work."""
    with pgretrieval.connect(data_dir=data_dir / name) as database:
        assert database.list_collections() == []
        with psycopg.connect(database.url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_directory_with_a_line_break_in_its_path(data_dir: Path):
    """A path with a line break is refused: Postgres writes it as one line of its pid file and would not find the server again."""
    with pytest.raises(pgretrieval.ConfigError, match=r"has a line break in its path.*--data-dir or PGRETRIEVAL_DATA_DIR"):
        pgretrieval.connect(data_dir=data_dir / "a\nb")
    assert list(data_dir.iterdir()) == []


@pytest.mark.usefixtures("made_before")
def test_two_processes_share_a_directory(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """Two processes share a server, which stops after the second closes it."""
    first = hold(data_dir, holders)
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() == ["docs"]
        first.communicate("")
        assert first.returncode == 0
        assert database.list_collections() == ["docs"]
        docs = database.get_collection("docs")
        docs.add(passages(3), vectors=clustered(3))
        second = hold(data_dir, holders)
    assert postmaster(data_dir) is not None
    second.communicate("")
    assert postmaster(data_dir) is None


@pytest.mark.usefixtures("made_before")
def test_the_server_of_a_killed_process_is_taken_over(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """After SIGKILL of a process the directory opens, and its server stops with its last user."""
    killed = hold(data_dir, holders)
    killed.kill()
    killed.wait()
    pid = postmaster(data_dir)
    assert pid is not None
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() == ["docs"]
        assert postmaster(data_dir) == pid
    assert postmaster(data_dir) is None


@pytest.mark.usefixtures("made_before")
def test_a_killed_server_recovers(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """A server killed together with its process, as in a crash, recovers."""
    killed = hold(data_dir, holders)
    server = psutil.Process(postmaster(data_dir))
    family = [server, *server.children()]
    killed.kill()
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)
    assert (data_dir / "postgres" / "postmaster.pid").exists()
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() == ["docs"]


@pytest.mark.usefixtures("made_before")
def test_a_pid_file_that_names_another_process(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """A postmaster.pid with the number of another process, as after a reboot, is neither used nor stopped."""
    with pgretrieval.connect(data_dir=data_dir) as database:
        database.create_collection("docs", dim=64)
        pid_file = data_dir / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    holders.append(bystander)
    pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() == ["docs"]
    assert bystander.poll() is None


def test_an_unfinished_initdb_is_done_again(data_dir: Path):
    """An initdb that was killed is repeated."""
    half_made = data_dir / "postgres"
    (half_made / "global").mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    (half_made / "postgresql.conf").write_text("")
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() == []


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
def test_a_process_killed_at_any_moment_of_the_first_start(data_dir: Path, holders: list[subprocess.Popen[str]], seconds: float):
    """A kill during initdb, the server's start or the first migration does not prevent the next start."""
    process = hold(data_dir, holders, until="starting")
    time.sleep(seconds)
    process.kill()
    process.wait()
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() in ([], ["docs"])
        database.create_collection("more", dim=64)
    assert [path.name for path in data_dir.iterdir()] == ["postgres"]


def test_several_processes_open_a_new_directory_at_once(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """Concurrent first starts do not conflict."""
    code = "import sys, pgretrieval\nwith pgretrieval.connect(data_dir=sys.argv[1]) as d: d.list_collections()"
    running = [subprocess.Popen([sys.executable, "-c", code, str(data_dir)]) for _ in range(2)]
    holders.extend(running)
    assert [process.wait(60) for process in running] == [0, 0]
    assert postmaster(data_dir) is None


def test_a_directory_of_version_16_stays_with_it(data_dir: Path):
    """A directory of PostgreSQL 16 is started with 16."""
    from pgretrieval.db.embedded import open_server

    open_server(data_dir, postgres_version=16).close()
    with pgretrieval.connect(data_dir=data_dir) as database, psycopg.connect(database.url) as connection:
        assert connection.execute("show server_version_num").fetchone()[0].startswith("16")


@pytest.mark.parametrize("place", ["a file", "/proc/1/nowhere"])
def test_a_directory_that_cannot_be(data_dir: Path, place: str):
    """An unusable path raises an error of the package."""
    (data_dir / "a file").write_text("")
    with pytest.raises(pgretrieval.ConfigError, match=r"data directory .* cannot be created.*--data-dir or PGRETRIEVAL_DATA_DIR"):
        pgretrieval.connect(data_dir=data_dir / place)


@pytest.mark.usefixtures("made_before")
def test_a_damaged_directory_names_its_log(data_dir: Path):
    """The error of a damaged directory names its log."""
    pgretrieval.connect(data_dir=data_dir).close()
    (data_dir / "postgres" / "postgresql.conf").write_text("no_such_setting = 7\n")
    with pytest.raises(pgretrieval.DatabaseUnavailableError, match=r"did not start.*postgres/log"):
        pgretrieval.connect(data_dir=data_dir)
