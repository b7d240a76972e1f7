"""Calls that another thread can cancel: the next wait of the call for the server, or the present one, ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

_CANCELLED: ContextVar[threading.Event | None] = ContextVar("pgretrieval_cancelled", default=None)

_Result = TypeVar("_Result")


class CallCancelledError(BaseException):
    """The call was cancelled. Like Ctrl-C, it closes the connections that the call uses, and no code handles it."""


def cancellable(cancelled: threading.Event, call: Callable[[], _Result]) -> _Result:
    """Run a call, in a context of its own, that the event cancels."""
    _CANCELLED.set(cancelled)
    return call()


def check() -> None:
    """Raise CallCancelledError if the current call was cancelled."""
    cancelled = _CANCELLED.get()
    if cancelled is not None and cancelled.is_set():
        raise CallCancelledError
