"""Imports that Ctrl-C cannot interrupt: a partial import of torch breaks every later import of it in the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pgretrieval.errors import MissingExtraError

_WAITING = "OMP_WAIT_POLICY"


def is_a(given: object, module: str, name: str) -> bool:
    """Return whether a value is an instance of a class of a module, without importing the module."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(given, kind)


def whole(*names: str) -> None:
    """Import modules; Ctrl-C is delivered after the import.

    If this imports torch, its OpenMP threads sleep while they wait, unless the environment sets OMP_WAIT_POLICY. Postgres computes
    on the same cores, and spinning threads make a search under load five times slower. OpenMP reads the environment once, when it
    is loaded; the environment is restored afterwards.
    """
    with _undisturbed(), _sleeping_threads():
        for name in names:
            import_module(name)


@contextmanager
def extra(needing: str, name: str) -> Iterator[None]:
    """Import packages of an extra in this block. Raises MissingExtraError, which names it, if one is not installed.

    `needing` is what needs them, for the message.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        msg = f"{needing} needs {error.name}; install the extra: pip install 'pgretrieval[{name}]'"
        raise MissingExtraError(msg) from error


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    if "torch" in sys.modules or _WAITING in os.environ:
        yield
        return
    os.environ[_WAITING] = "PASSIVE"
    try:
        yield
    finally:
        del os.environ[_WAITING]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, if a handler in Python receives it."""
    held = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(held):
        yield
        return
    received: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, held)
    if received:
        held(*received[0])
