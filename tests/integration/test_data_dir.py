"""The embedded server's directory: made, shared, left behind by killed processes, damaged."""

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

# Opens the directory, says so, and waits until its standard input closes.
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
    """Processes to end when the test is over; a server that still runs in the directory is stopped, too."""
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
    """Start a process that opens the directory; comes back when it is about to ("starting") or has it open ("ready")."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(data_dir)], stdin=-1, stdout=-1, text=True)
    holders.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    if until == "ready":
        assert process.stdout.readline() == "ready\n"
    return process


def postmaster(data_dir: Path) -> int | None:
    """The process id of the server that runs in the directory."""
    path = data_dir / "postgres" / "postmaster.pid"
    pid = int(path.read_text().split()[0]) if path.exists() else None
    return pid if pid is not None and psutil.pid_exists(pid) and "postgres" in psutil.Process(pid).name() else None


def test_a_directory_is_made_migrated_and_kept(data_dir: Path):
    """The first connect needs preparation, data is gone at the second, or the server runs on after the last close."""
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


def test_a_path_alone_is_a_directory(data_dir: Path):
    """connect(Path(…)) takes the path for a URL."""
    folder = data_dir / "by path"
    with pgretrieval.connect(folder) as database:
        assert database.data_dir == folder
    with pytest.raises(pgretrieval.ConfigError, match="data_dir is given; give one of them"):
        pgretrieval.connect(folder, data_dir=folder)


@pytest.mark.parametrize(
    "name", ["with a blank", "quote's; %41 #&", "ünï 検索", "long" * 40, "a,b", "$HOME", 'double "', "back `tick`"]
)
def test_a_directory_may_be_called_anything(data_dir: Path, name: str):
    """A path goes through a shell or a URL unquoted (on macOS the default directory has a blank), or is too long for a socket."""
    with pgretrieval.connect(data_dir=data_dir / name) as database:
        assert database.list_collections() == []
        with psycopg.connect(database.url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_directory_with_a_line_break_in_its_path(data_dir: Path):
    """Postgres writes the path as one line of its pid file, so that the server starts and is never found again."""
    with pytest.raises(pgretrieval.ConfigError, match=r"has a line break in its path.*--data-dir or PGRETRIEVAL_DATA_DIR"):
        pgretrieval.connect(data_dir=data_dir / "a\nb")
    assert list(data_dir.iterdir()) == []


def test_two_processes_share_a_directory(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """The second is refused, or the first to leave stops the server under the other."""
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


def test_what_a_killed_process_leaves_is_taken_over(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """After SIGKILL the directory cannot be opened, or its server is never stopped again."""
    killed = hold(data_dir, holders)
    killed.kill()
    killed.wait()
    pid = postmaster(data_dir)
    assert pid is not None
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() == ["docs"]
        assert postmaster(data_dir) == pid
    assert postmaster(data_dir) is None


def test_a_killed_server_recovers(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """A crash of the machine (process and server gone, pid file there) leaves a directory that does not start."""
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


def test_a_pid_file_that_names_another_process(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """After a reboot the number in postmaster.pid belongs to somebody else, who is taken for the server (or stopped as it)."""
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
    """A process killed while making the directory leaves one that no later call can use."""
    half_made = data_dir / "postgres"
    (half_made / "global").mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    (half_made / "postgresql.conf").write_text("")
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() == []


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
def test_a_process_killed_at_any_moment_of_the_first_start(data_dir: Path, holders: list[subprocess.Popen[str]], seconds: float):
    """A kill during initdb (which runs on), the server's start or the first migration leaves what the next start trips over."""
    process = hold(data_dir, holders, until="starting")
    time.sleep(seconds)
    process.kill()
    process.wait()
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert database.list_collections() in ([], ["docs"])
        database.create_collection("more", dim=64)
    assert [path.name for path in data_dir.iterdir()] == ["postgres"]


def test_several_processes_open_a_new_directory_at_once(data_dir: Path, holders: list[subprocess.Popen[str]]):
    """Two first starts race for initdb, for the server's start or for the migration."""
    code = "import sys, pgretrieval\nwith pgretrieval.connect(data_dir=sys.argv[1]) as d: d.list_collections()"
    running = [subprocess.Popen([sys.executable, "-c", code, str(data_dir)]) for _ in range(2)]
    holders.extend(running)
    assert [process.wait(60) for process in running] == [0, 0]
    assert postmaster(data_dir) is None


def test_a_directory_of_version_16_stays_with_it(data_dir: Path):
    """A later release of the package starts a directory with another version's server, which refuses it."""
    from pgretrieval.db.embedded import open_server

    open_server(data_dir, postgres_version=16).close()
    with pgretrieval.connect(data_dir=data_dir) as database, psycopg.connect(database.url) as connection:
        assert connection.execute("show server_version_num").fetchone()[0].startswith("16")


@pytest.mark.parametrize("place", ["a file", "/proc/1/nowhere"])
def test_a_directory_that_cannot_be(data_dir: Path, place: str):
    """Python's own error about a path comes out."""
    (data_dir / "a file").write_text("")
    with pytest.raises(pgretrieval.ConfigError, match=r"data directory .* cannot be made.*--data-dir or PGRETRIEVAL_DATA_DIR"):
        pgretrieval.connect(data_dir=data_dir / place)


def test_a_damaged_directory_names_its_log(data_dir: Path):
    """A directory that does not start gives a subprocess's error without a place to look at."""
    pgretrieval.connect(data_dir=data_dir).close()
    (data_dir / "postgres" / "postgresql.conf").write_text("no_such_setting = 7\n")
    with pytest.raises(pgretrieval.DatabaseUnavailableError, match=r"did not start.*postgres/log"):
        pgretrieval.connect(data_dir=data_dir)
