"""HTTP connections that end if a client neither sends nor reads."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from pgretrieval.serve.answers import as_json
from pgretrieval.serve.errors import body


class PatientProtocol(H11Protocol):
    """uvicorn's connection, with a time for a request's headers and for reading an answer, which uvicorn does not limit.

    It is looked at every `patience` seconds: a connection whose client has brought nothing forward since the last look is closed.
    """

    patience = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection."""
        super().connection_made(transport)
        self._seen: Any = None
        self._next_look = self.loop.call_later(self.patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if the client is slow.

        The application limits the time of a request that has begun, and uvicorn that of a pause between two requests.
        """
        unread, state = self.transport.get_write_buffer_size(), None
        works = self.cycle is not None and not self.cycle.response_complete
        pauses = self.timeout_keep_alive_task is not None and not unread
        if not works and not pauses:
            state = self.cycle, unread
            if state == self._seen:
                self._end(unread)
                return
        self._seen = state
        self._next_look = self.loop.call_later(self.patience, self._look)

    def _end(self, unread: int) -> None:
        if unread:
            self.transport.abort()
        elif self.cycle is None:
            self.send_400_response(f"no request arrived within {self.patience:g} seconds; send it at once")
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, in the form of all errors."""
        content = as_json(body("InvalidRequest", msg if "; " in msg else "this is no request of HTTP/1.1; send one"))
        fields = f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n"
        head = f"HTTP/1.1 400 Bad Request\r\n{fields}\r\n"
        self.transport.write(head.encode() + content)
        self.transport.close()
