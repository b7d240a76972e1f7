"""Isolation from the caller's environment, for the server and for our connections to it."""

from __future__ import annotations

import os
from functools import cache

from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

_FOREIGN = ("PG", "LC_", "LANG", "TZ")
_NOT_EMPTY = {"sslcertmode": "allow", "min_protocol_version": "3.0", "max_protocol_version": "3.0"}
_OURS = {"user", "password", "dbname", "host", "port", "client_encoding", "connect_timeout", "application_name", "service"}


def clean_environment() -> dict[str, str]:
    """The environment of the server's programs: the path of the system's commands, and no locale."""
    if os.name == "nt":  # programs need many of its variables to start
        return {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    return {"PATH": os.defpath, "LC_ALL": "C"}


def own_conninfo(url: str) -> str:
    """A connection string that sets all that libpq would read from its PG* variables, except the name of a service."""
    return make_conninfo(url, **_defaults())


@cache
def _defaults() -> dict[str, str]:
    """Each option that has a variable, with its default value. A service cannot be excluded like this."""
    options = {option.keyword.decode(): (option.compiled or b"").decode() for option in Conninfo.get_defaults() if option.envvar}
    return {name: value or _NOT_EMPTY.get(name, "") for name, value in options.items() if name not in _OURS}
