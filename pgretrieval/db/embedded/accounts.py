"""The operating-system user of the server: Postgres refuses to run as root."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgretrieval.errors import ConfigError

_NAME = "pgserver"


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system user; `name` is None if the number of a directory's owner has no name."""

    name: str | None
    uid: int
    gid: int

    def as_child(self) -> dict[str, Any]:
        """Arguments of subprocess to run a child as this user, without the caller's groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def runs_as(account: Account | None) -> dict[str, Any]:
    """Arguments of subprocess to run a child as the account; none for the caller's own."""
    return account.as_child() if account is not None else {}


def is_root() -> bool:
    """Return whether this process is root; never on Windows."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def account_for(pgdata: Path) -> Account | None:
    """The user that runs the server of this directory: its owner, `pgserver` for root's new one, None for the caller itself.

    Raises ConfigError if the directory belongs to another user, or to root.
    """
    if not hasattr(os, "geteuid"):
        return None
    owner = pgdata.stat().st_uid
    if not is_root():
        if owner != os.geteuid():
            msg = f"only its owner {_name(owner) or f'user {owner}'} can open {pgdata}; choose another data directory"
            raise ConfigError(msg)
        return None
    if owner == 0:
        if (pgdata / "global" / "pg_control").exists():
            msg = (
                f"{pgdata} belongs to root, but Postgres refuses to run as root; change the owner: chown -R {_NAME} {str(pgdata)!r}"
            )
            raise ConfigError(msg)
        return _created_account()
    return _account(owner)


def names_of_users(account: Account | None) -> list[str]:
    """Return the users allowed to connect: the server's own user, and root, who can read its files anyway. Raises ConfigError."""
    owner = account.name if account is not None else _name(os.geteuid())
    if owner is None and account is None:
        msg = f"user {os.geteuid()} has no name on this machine, but Postgres needs one; add the user to /etc/passwd"
        raise ConfigError(msg)
    return list(dict.fromkeys(name for name in (owner, _name(0)) if name is not None))


def _created_account() -> Account:
    import pwd

    try:
        found = pwd.getpwnam(_NAME)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _NAME]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
            found = pwd.getpwnam(_NAME)  # created here, or meanwhile by another process
        except (OSError, KeyError) as error:
            reason = done.stderr.strip() if isinstance(error, KeyError) else error
            msg = f"Postgres refuses to run as root, and the user {_NAME!r} could not be created ({reason})"
            raise ConfigError(f"{msg}; create it, or do not run as root") from error
    return Account(_NAME, found.pw_uid, found.pw_gid)


def _account(uid: int) -> Account:
    import pwd

    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return Account(None, uid, uid)
    return Account(found.pw_name, uid, found.pw_gid)


def _name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
