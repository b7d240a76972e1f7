"""A proxy that cuts a connection after a number of bytes, like a failing network."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

_RESET = struct.pack("ii", 1, 0)  # closing sends RST, so neither side mistakes it for a normal close


class CuttingProxy:
    """Listens on a local port. `allowed` is the number of bytes that all connections together may transfer; None: unlimited."""

    def __init__(self, url: str) -> None:
        self._parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.allowed: int | None = None
        self.cuts = 0
        user, database = quote(self._parts.get("user", "")), quote(self._parts["dbname"])
        password = quote(self._parts.get("password", ""))
        port = self._listening.getsockname()[1]
        self.url = f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}?sslmode=disable&gssencmode=disable"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = self._connect()
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._parts.get("host", "localhost"), self._parts.get("port", "5432")
        if not host.startswith("/"):
            return socket.create_connection((host, int(port)))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{host}/.s.PGSQL.{port}")
        return connection

    def _sent(self, sink: socket.socket, data: bytes) -> None:
        sink.sendall(data)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                with self._lock:
                    if self.allowed is not None:
                        data, self.allowed = data[: self.allowed], max(0, self.allowed - len(data))
                self._sent(sink, data)
                if self.allowed == 0:
                    self.cuts += 1
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def cutting_proxy(url: str) -> Iterator[CuttingProxy]:
    """A proxy in front of the database at `url`."""
    proxy = CuttingProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
