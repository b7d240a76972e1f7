"""Shared parts of the commands that need an extra."""

from __future__ import annotations

import logging
import socket
import sys
from importlib.util import find_spec

from pgretrieval.cli import console
from pgretrieval.errors import ConfigError


def require(extra: str, *modules: str) -> None:
    """Raise ConfigError if a module is missing that the command of the extra's name needs."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        msg = f"`pgretrieval {extra}` needs {', '.join(missing)}; install the extra: pip install 'pgretrieval[{extra}]'"
        raise ConfigError(msg)


def log_to_stderr() -> None:
    """Log requests and errors to standard error, a line each, with the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name, level in (("pgretrieval", logging.INFO), ("uvicorn", logging.ERROR)):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.setLevel(level)


def announce(host: str, listening: socket.socket, path: str) -> None:
    """Tell where a service listens, before its log."""
    log_to_stderr()
    shown = f"[{host}]" if ":" in host else host
    console.errors.print(f"serving http://{shown}:{listening.getsockname()[1]}{path}", soft_wrap=True)
