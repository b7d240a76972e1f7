"""Imports that an interruption does not cut in two: half of torch in a process breaks every later import of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_WAITING = "OMP_WAIT_POLICY"


def is_a(given: object, module: str, name: str) -> bool:
    """Whether a value is an instance of a class of a module that need not be imported: if nobody has, there is no instance."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(given, kind)


def whole(*names: str) -> None:
    """Import modules; a Ctrl-C meanwhile counts when they are there.

    If torch comes with them, its threads sleep while they wait, unless the environment says otherwise or torch was imported before:
    Postgres computes on the same cores, and threads that spin take these from it and from each other, so that under load a search
    takes five times as long. OpenMP reads its environment once, when it is loaded; the environment is as it was afterwards.
    """
    with undisturbed(), _sleeping_threads():
        for name in names:
            import_module(name)


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
def undisturbed() -> Iterator[None]:
    """Put Ctrl-C off until the end, where Python's own handler, or another in Python, is to have it."""
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
