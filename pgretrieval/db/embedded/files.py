"""Atomic writes that follow no links, in a directory that another user may own; and a lock on the directory."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from pgretrieval.db.embedded.accounts import Account
from pgretrieval.errors import DatabaseUnavailableError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LOCK_SECONDS = 180  # longer than a start takes
_POLL_SECONDS = 0.02


def read_text(path: Path) -> str | None:
    """Return the content of a file, or None if it does not exist."""
    try:
        handle = os.open(path, os.O_RDONLY | _NO_LINK)
    except FileNotFoundError:
        return None
    with open(handle, encoding="utf-8", errors="replace") as file:
        return file.read()


def replace_text(path: Path, text: str, account: Account | None, *, lasting: bool = True) -> None:
    """Replace a file atomically; if `lasting`, durably."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
        give(handle, account)
        if lasting:
            file.flush()
            os.fsync(handle)
    new.replace(path)


def append_to(path: Path, account: Account | None) -> int:
    """A descriptor that appends to a file of the server's user, created if missing. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK, 0o600)
    found = os.fstat(handle)
    if account is not None and (found.st_nlink != 1 or found.st_uid not in (0, account.uid)):
        os.close(handle)
        msg = f"{path} is not a file of the server's own"
        raise OSError(msg)
    give(handle, account)
    return handle


def give(handle: int, account: Account | None) -> None:
    """Make the account the owner of the open file."""
    if account is not None:
        os.fchown(handle, account.uid, account.gid)


class FolderLock:
    """Held by one process at a time. It is on the folder itself, which other users cannot open, so they cannot hold it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None
        self._by_file = os.name == "nt"

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not self._try():
            if time.monotonic() > deadline:
                msg = (
                    f"another process has been starting or stopping the embedded Postgres in {self._folder} for {_LOCK_SECONDS} "
                    "seconds; end it, or try again"
                )
                raise DatabaseUnavailableError(msg)
            time.sleep(_POLL_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._handle is not None:
            _unlock(self._handle)
            self._handle = None

    def move(self, fresh: Path) -> None:
        """Move `fresh`, which no other process knows, to the place of the empty folder; the lock moves with it."""
        handle = None if self._by_file else _open_for_lock(fresh, by_file=False)
        if handle is not None:
            _lock(handle)
        self._folder.rmdir()
        fresh.rename(self._folder)
        if handle is not None and self._handle is not None:
            _unlock(self._handle)
            self._handle = handle

    def _try(self) -> bool:
        handle = _open_for_lock(self._folder, by_file=self._by_file)
        try:
            if not _lock(handle):
                os.close(handle)
                return False
        except OSError:  # a file system, such as NFS, whose folders cannot be locked
            os.close(handle)
            if self._by_file:
                raise
            self._by_file = True
            return False
        if self._by_file or os.path.samestat(os.fstat(handle), self._folder.stat()):
            self._handle = handle
            return True
        _unlock(handle)  # another process has replaced the folder
        return False


def _open_for_lock(folder: Path, *, by_file: bool) -> int:
    if by_file:
        return os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)


def _lock(handle: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(handle: int) -> None:
    """Unlock explicitly, because a child forked meanwhile also has the descriptor, so closing is not enough."""
    if os.name == "nt":
        import msvcrt

        with suppress(OSError):
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)
