"""Processes that use a directory's server; the last to leave stops it. All functions require the directory's lock."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import psutil

from pgretrieval.db.embedded.accounts import Account
from pgretrieval.db.embedded.files import read_text, replace_text

_LIST = "pgretrieval.users"

User = tuple[int, str]
"""Number and start time of a process; numbers are reused."""


def join(pgdata: Path, account: Account | None) -> None:
    """Add this process to the list."""
    _write(pgdata, account, {*_running(pgdata), _this_process()})


def leave(pgdata: Path, account: Account | None) -> bool:
    """Remove this process from the list; return whether others are on it."""
    remaining = _running(pgdata) - {_this_process()}
    _write(pgdata, account, remaining)
    return bool(remaining)


def others(pgdata: Path) -> bool:
    """Return whether other processes are on the list."""
    return bool(_running(pgdata) - {_this_process()})


def _this_process() -> User:
    return os.getpid(), start_time(os.getpid()) or ""


def _running(pgdata: Path) -> set[User]:
    """Return listed users that still run. An unreadable list counts as empty; missing users start the server again."""
    try:
        listed = {(int(pid), str(start)) for pid, start in json.loads(read_text(pgdata / _LIST) or "[]")}
    except (ValueError, TypeError, OverflowError):
        return set()
    return {(pid, start) for pid, start in listed if _is_running(pid, start)}


def _is_running(pid: int, start: str) -> bool:
    found = start_time(pid)
    if found is not None:
        return found == start
    try:
        os.kill(pid, 0) if os.name != "nt" else None
    except PermissionError:  # a process of another user that /proc does not show
        return True
    except (OSError, OverflowError):
        return False
    return False


def _write(pgdata: Path, account: Account | None, users: set[User]) -> None:
    replace_text(pgdata / _LIST, json.dumps(sorted(users)), account, lasting=False)


def start_time(pid: int) -> str | None:
    """Return an identifier of a process's start time, or None if there is no such process or only a zombie."""
    try:
        # psutil's start time depends on the wall clock on Linux.
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if state in (b"Z", b"X") else f"{_boot()}/{fields[18].decode()}"
    except (OSError, ValueError, IndexError):
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (psutil.Error, OverflowError, ValueError):
        return None


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
