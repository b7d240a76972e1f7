"""Location of the server's socket for clients: its directory, or a short link owned by this user if the path is unsuitable."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from pgretrieval.errors import ConfigError

PORT = 5432
_LONGEST = 107 if sys.platform == "linux" else 103  # bytes of a socket's path
_NAMES = 4


def host_of(pgdata: Path) -> str:
    """Return the host for a URL: the directory, or a link to it if its path is too long or has characters that libpq refuses."""
    path = str(pgdata)
    if _fits(pgdata) and "," not in path and path.isprintable():
        return path
    link = _own_folder() / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    if not link.is_symlink() or link.readlink() != pgdata:
        new = link.with_name(f"{link.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        new.symlink_to(pgdata)
        new.replace(link)
    return str(link)


def is_closed(folder: Path) -> bool:
    """Return whether only root, this user and the owner of the data can create a socket in the folder."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= _LONGEST


def _own_folder() -> Path:
    known = _remembered()
    if known and _is_own(known[0]):
        return known[0]
    for base in dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))):
        if _is_trusted(base) and _fits(base / f"pgretrieval-{os.geteuid()}-12345678" / ("x" * 16)):
            known[:] = [_folder_in(base)]
            return known[0]
    msg = "there is no temporary directory for a link to the server's socket; set TMPDIR to one of yours with a short path"
    raise ConfigError(msg)


@cache
def _remembered() -> list[Path]:
    return []


def _folder_in(base: Path) -> Path:
    """A private folder of this user in `base`; a stranger's folder with its name is skipped."""
    first = f"pgretrieval-{os.geteuid()}"
    for name in (first, *(f"{first}-{number}" for number in range(1, _NAMES))):
        folder = base / name
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if _is_own(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix=f"{first}-", dir=base))


def _is_own(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _is_trusted(base: Path) -> bool:
    """Return whether no other user can rename entries of the folder."""
    try:
        found = base.stat()
    except OSError:
        return False
    mine = found.st_uid in (0, os.geteuid())
    return mine and (not found.st_mode & 0o022 or bool(found.st_mode & stat.S_ISVTX)) and os.access(base, os.W_OK | os.X_OK)
