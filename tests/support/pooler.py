"""A minimal pooler in transaction mode: like PgBouncer without tracking of prepared statements.

Consecutive transactions of a client run in different sessions, and session state stays for the next client.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.pgbouncer import pgbouncer

_REPORTED = ("server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes")
_REPORTED += ("standard_conforming_strings", "IntervalStyle", "session_authorization", "is_superuser")
_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104
_KNOWN = {b"user", b"database", b"application_name", b"client_encoding", b"datestyle", b"timezone"}


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


class Session:
    """A session of the server, and the state of its transaction."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, sslmode="disable", gssencmode="disable", autocommit=True)
        self.events: asyncio.Queue[tuple[bool, bytes]] | None = None
        self._unanswered: deque[bytes] = deque()
        self._unsynced = self._copying = False

    async def start(self) -> None:
        """Read from the server for the client that holds the session."""
        raw = socket.socket(fileno=os.dup(self.connection.pgconn.socket))
        reader, self.writer = await asyncio.open_connection(sock=raw)
        self._pumping = asyncio.create_task(self._pump(reader))

    async def _pump(self, reader: asyncio.StreamReader) -> None:
        while message := await _read(reader):
            if self.events is not None:
                self.events.put_nowait((True, message))
        if self.events is not None:
            self.events.put_nowait((False, b""))  # its client goes, too

    def send(self, message: bytes) -> None:
        """Forward a client's message."""
        kind = message[:1]
        if kind in b"QF" or (kind == b"S" and not self._copying):
            self._unanswered.append(kind)
            self._unsynced = False
        elif kind in b"PBDEC":
            self._unsynced = True
        elif kind in b"cf":
            self._copying = False
        self.writer.write(message)

    def is_over(self, message: bytes) -> bool:
        """Whether the transaction ends with this message of the server."""
        if message[:1] == b"G":
            self._copying = True
            if self._unanswered and self._unanswered[0] == b"S":
                self._unanswered.popleft()  # while it receives rows, the server does not answer a Sync
        if message[:1] != b"Z":
            return False
        self._unanswered.popleft()
        return message[5:] == b"I" and not self._unanswered and not self._unsynced

    def close(self) -> None:
        """Close the session; an open transaction is rolled back."""
        self._pumping.cancel()
        self.writer.close()
        self.connection.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next whole message; empty at the end."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        head = await reader.readexactly(5)
        return head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
    return b""


class TransactionPooler:
    """Listens on a local port, and opens sessions of the server on demand."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: deque[Session] = deque()
        self._ended = asyncio.Event()

    async def run(self, listening: threading.Event) -> None:
        """Serve until `end` is called."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        database = conninfo_to_dict(self._url)["dbname"]
        self.url = f"postgresql://someone@127.0.0.1:{server.sockets[0].getsockname()[1]}/{database}"
        listening.set()
        await self._ended.wait()
        server.close()
        for session in self._idle:
            session.close()

    def end(self) -> None:
        """Stop serving; called from another thread."""
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # the end with a connected client
            if await self._greet(reader, writer):
                await self._relay(reader, writer)
        writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Accept the client, unless it requests session settings unknown to PgBouncer."""
        while True:
            start = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)
            code = int.from_bytes(start[:4], "big")
            if code not in (_SSL, _GSS):
                break
            writer.write(b"N")
        unknown = {name.lower() for name in start[4:].split(b"\0")[:-2:2]} - _KNOWN
        if code == _CANCEL:
            return False
        if unknown:
            text = b"unsupported startup parameter: " + b", ".join(unknown)
            writer.write(_message(b"E", b"SFATAL\0C08P01\0M" + text + b"\0\0"))
            return False
        session = await self._take(None)
        statuses = ((name.encode(), session.connection.pgconn.parameter_status(name.encode())) for name in _REPORTED)
        self._idle.append(session)
        writer.write(_message(b"R", bytes(4)))
        writer.writelines(_message(b"S", name + b"\0" + status + b"\0") for name, status in statuses if status is not None)
        writer.write(_message(b"K", os.urandom(8)) + _message(b"Z", b"I"))
        return True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        events: asyncio.Queue[tuple[bool, bytes]] = asyncio.Queue()
        listening = asyncio.create_task(self._listen(reader, events))
        session = last = None
        while True:
            from_server, message = await events.get()
            if from_server and session is not None:
                writer.write(message)
                if session.is_over(message):
                    session.events = None
                    self._idle.append(session)
                    session, last = None, session
            elif message[:1] in (b"", b"X"):
                break
            else:
                if session is None:
                    session = await self._take(last)
                    session.events = events
                session.send(message)
        listening.cancel()
        if session is not None:
            session.close()

    async def _listen(self, reader: asyncio.StreamReader, events: asyncio.Queue[tuple[bool, bytes]]) -> None:
        message = b"."
        while message:
            message = await _read(reader)
            events.put_nowait((False, message))

    async def _take(self, last: Session | None) -> Session:
        """The session idle for the longest time, except the client's last one."""
        for session in self._idle:
            if session is not last:
                self._idle.remove(session)
                return session
        session = Session(self._url)
        await session.start()
        return session


@contextmanager
def transaction_pooler(url: str) -> Iterator[str]:
    """The URL of a pooler in front of the database."""
    listening = threading.Event()
    pooler = TransactionPooler(url)
    thread = threading.Thread(target=lambda: asyncio.run(pooler.run(listening)), daemon=True)
    thread.start()
    assert listening.wait(10)
    try:
        yield pooler.url
    finally:
        pooler.end()
        thread.join(10)


@contextmanager
def pooler(kind: str, url: str) -> Iterator[str]:
    """The URL of each pooler in front of the database."""
    with (pgbouncer if kind == "pgbouncer" else transaction_pooler)(url) as pooled:
        yield pooled
