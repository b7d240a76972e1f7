"""Imports that an interruption does not cut in two: half of torch in a process breaks every later import of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def whole(*names: str) -> None:
    """Import modules; a Ctrl-C meanwhile counts when they are there."""
    with undisturbed():
        for name in names:
            import_module(name)


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
