"""The files of one server: creation, removal of incomplete ones, and configuration."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from pgretrieval.db.embedded.accounts import Account, is_root, names_of_users, runs_as
from pgretrieval.db.embedded.binaries import Installation
from pgretrieval.db.embedded.environment import clean_environment
from pgretrieval.db.embedded.files import FolderLock, read_text, replace_text
from pgretrieval.errors import ConfigError, DatabaseUnavailableError

_REMOVAL_SECONDS = 5
_MIB = 2**20
_SETTINGS, _INCLUDE = "pgretrieval.conf", "include_if_exists = 'pgretrieval.conf'"
_PASSWORD = "pgretrieval.password"
_UNFINISHED = ".new-"
_HEAD = "# Written by pgretrieval whenever the server is started; changes are lost.\n"
_BUILTIN_LOCALE = 17  # the first version with built-in collations


def version_of(pgdata: Path) -> int | None:
    """The version of Postgres that created the directory, or None if it is new."""
    text = read_text(pgdata / "PG_VERSION")
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        msg = f"{pgdata / 'PG_VERSION'} says {text.strip()!r} and names no version of Postgres; restore the directory from a backup"
        raise DatabaseUnavailableError(msg) from error


def clear_unfinished(pgdata: Path) -> None:
    """Remove directories of killed first starts. Their initdb may still run and write into them."""
    if (pgdata / "PG_VERSION").exists() and not (pgdata / "global" / "pg_control").exists():
        for path in pgdata.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for unfinished in pgdata.parent.glob(f"{_UNFINISHED}*"):
        for process in psutil.process_iter(["cwd", "cmdline"]):
            if str(unfinished) in (process.info["cwd"], *(process.info["cmdline"] or [])):
                with suppress(psutil.Error):
                    process.kill()
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while unfinished.exists() and time.monotonic() < deadline:
            shutil.rmtree(unfinished, ignore_errors=True)
            time.sleep(0.05)


def initialise(pgdata: Path, made: Installation, account: Account | None, lock: FolderLock) -> None:
    """Create the directory beside its final place and move it there when complete, so that a kill leaves nothing incomplete."""
    if any(pgdata.iterdir()):
        msg = f"{pgdata} is not empty and contains no database; empty it, or choose another data directory"
        raise ConfigError(msg)
    fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=pgdata.parent))
    if account is not None:
        os.chown(fresh, account.uid, account.gid)
    failures = []
    for locale in _locales(made.version):
        command = [
            made.program("initdb"),
            "-D",
            accessible_path(fresh),
            "-U",
            "postgres",
            "--auth=reject",
            "--encoding=UTF8",
            *locale,
        ]
        environment = clean_environment()
        done = subprocess.run(command, cwd=fresh, env=environment, input=b"", capture_output=True, check=False, **runs_as(account))
        if done.returncode == 0:
            break
        failures.append(done.stderr.decode(errors="replace").strip())
    else:
        shutil.rmtree(fresh, ignore_errors=True)
        msg = f"the data directory {pgdata} could not be created: {failures[-1] or 'initdb failed'}"
        raise DatabaseUnavailableError(msg)
    lock.move(fresh)


def accessible_path(folder: Path) -> str:
    """Return a name of a folder for a program started inside it, usable even if root has closed the parent folders."""
    return "/proc/self/cwd" if is_root() and sys.platform == "linux" else str(folder)


def _locales(version: int) -> list[list[str]]:
    """Collation by code points with Unicode's character classes, whatever the caller's locale; the last choice always exists."""
    ways = [["--locale=C.UTF-8", "--lc-collate=C"]]
    if version >= _BUILTIN_LOCALE:
        ways.append(["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"])
    return [[*way, "--lc-messages=C", "--text-search-config=english"] for way in (*ways, ["--locale=C"])]


def configure(pgdata: Path, account: Account | None) -> None:
    """Write the settings for this machine. `pgretrieval doctor` recommends the same for other servers."""
    settings = recommended_settings() | {f"lc_{name}": "C" for name in ("messages", "monetary", "numeric", "time")}
    lines = [f"{name} = '{setting}'" for name, setting in settings.items()]
    _write_if_changed(pgdata / _SETTINGS, _HEAD + "\n".join(lines) + "\n", account)
    main = read_text(pgdata / "postgresql.conf") or ""
    if _INCLUDE not in main:
        _write_if_changed(pgdata / "postgresql.conf", f"{main}\n{_INCLUDE}\n", account)


def write_access_rules(pgdata: Path, account: Account | None) -> bool:
    """Allow the server's user and root to connect as any role by the socket; return whether this changed the rules."""
    if os.name == "nt":
        rules, names = ["host all,replication all 127.0.0.1/32 scram-sha-256"], []
    else:
        rules, names = ["local all,replication all peer map=pgretrieval"], names_of_users(account)
    changed = _write_if_changed(pgdata / "pg_hba.conf", _HEAD + "\n".join(rules) + "\n", account)
    # Quotes are doubled; a leading slash would make the name a pattern.
    lines = ['pgretrieval "{}" all'.format(name.replace('"', '""')) for name in names if not name.startswith("/")]
    return _write_if_changed(pgdata / "pg_ident.conf", _HEAD + "\n".join(lines) + "\n", account) or changed


def password_of(pgdata: Path, made: Installation) -> str:
    """The superuser's password for network connections, created while no server runs and stored in a private file."""
    known = read_text(pgdata / _PASSWORD)
    if known:
        return known
    password = secrets.token_hex(32)
    command = [made.program("postgres"), "--single", "-D", str(pgdata), "-c", "password_encryption=scram-sha-256", "postgres"]
    text = f"alter role postgres password '{password}'\n"
    subprocess.run(command, input=text, text=True, env=clean_environment(), capture_output=True, check=True)
    replace_text(pgdata / _PASSWORD, password, None)
    return password


def has_password(pgdata: Path) -> bool:
    """Return whether `password_of` has created a password."""
    return bool(read_text(pgdata / _PASSWORD))


def _write_if_changed(path: Path, text: str, account: Account | None) -> bool:
    """Write a file unless it has this content; return whether it was written."""
    if read_text(path) == text:
        return False
    replace_text(path, text, account)
    return True


def recommended_settings() -> dict[str, str]:
    """Server settings for retrieval on a machine of this size."""
    memory = psutil.virtual_memory().total
    return {
        "shared_buffers": f"{_clamp(memory // 8, 128 * _MIB, 4096 * _MIB) // _MIB}MB",
        "effective_cache_size": f"{memory // 2 // _MIB}MB",
        "maintenance_work_mem": f"{_clamp(memory // 16, 64 * _MIB, 1024 * _MIB) // _MIB}MB",
        "work_mem": f"{_clamp(memory // 256, 16 * _MIB, 64 * _MIB) // _MIB}MB",
        "max_wal_size": "4GB",
        "random_page_cost": "1.1",
        "jit": "off",
    }


def _clamp(size: int, low: int, high: int) -> int:
    return max(low, min(size, high))
