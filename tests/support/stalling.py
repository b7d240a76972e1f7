"""A proxy that stops forwarding: connections stay open, sent bytes are accepted, and no answer arrives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cutting import CuttingProxy


class StallingProxy(CuttingProxy):
    """`forwarding` is cleared to stop; new connections are then accepted without any answer."""

    def __init__(self, url: str) -> None:
        self.forwarding = threading.Event()
        self.forwarding.set()
        super().__init__(url)

    def _connect(self) -> socket.socket:
        self.forwarding.wait()
        return super()._connect()

    def _sent(self, sink: socket.socket, data: bytes) -> None:
        self.forwarding.wait()
        super()._sent(sink, data)


@contextmanager
def stalling_proxy(url: str) -> Iterator[StallingProxy]:
    """A proxy in front of the database at `url`; it forwards again at the end so that its threads end."""
    proxy = StallingProxy(url)
    try:
        yield proxy
    finally:
        proxy.forwarding.set()
        proxy.close()
