"""Options of the service: where it listens, whom it lets in, and how much it takes on."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pgretrieval import validate
from pgretrieval.errors import ConfigError

TOKEN_VARIABLE = "PGRETRIEVAL_TOKEN"
"""Variable of the environment with the bearer token."""

_LEAST_TOKEN = 16
_BACKLOG = 512
_LONGEST_HOST = 253
_MOST_AT_ONCE = 1_000
_LONGEST = 86_400.0


@dataclass(frozen=True)
class ServiceOptions:
    """Options of the service.

    Attributes:
        write: Allow changes of passages.
        token: Bearer token that requests must carry; None for no check.
        cross_encoders: Names or folders of cross-encoders that callers may name in `rerank`.
        max_body: Bytes of a request's body.
        max_k: Hits of a search.
        concurrency: Requests at work at once; four times as many may wait.
        seconds: Time for a request, with its wait.
        patience: Seconds in which a client must send a request and read an answer.
    """

    write: bool = False
    token: str | None = None
    cross_encoders: tuple[str, ...] = ()
    max_body: int = 8 * 2**20
    max_k: int = 1_000
    concurrency: int = 16
    seconds: float = 30.0
    patience: float = 10.0

    def __post_init__(self) -> None:
        """Raise ConfigError for a limit that is none."""
        for name in ("max_body", "max_k"):
            validate.whole(f"--{name.replace('_', '-')}", getattr(self, name))
        validate.whole("--concurrency", self.concurrency, most=_MOST_AT_ONCE)
        validate.number("--seconds", self.seconds, 0.1, _LONGEST)

    @property
    def waiting(self) -> int:
        """Number of requests that may wait."""
        return 4 * self.concurrency


def read_token(file: str | os.PathLike[str] | None) -> str | None:
    """Return the token of a file, or else of the environment, or None. Raises ConfigError."""
    if file is None:
        where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE)
        if token is None:
            return None
    else:
        where = validate.path("--token-file", file)
        try:
            token = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the token file {where!r} cannot be read ({error}); give a text file that holds one token"
            raise ConfigError(msg) from error
    token = token.strip()
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        msg = (
            f"the token of {where} has {len(token)} characters; give at least {_LEAST_TOKEN} printable ASCII characters without "
            "spaces, such as the output of `openssl rand -hex 32`"
        )
        raise ConfigError(msg)
    return token


def listen(host: str, port: int, *, has_token: bool) -> socket.socket:
    """Return a socket that listens. Raises ConfigError if the port is taken, or if a host beyond loopback lacks a token."""
    host = validate.text("--host", host, most=_LONGEST_HOST)
    port = validate.whole("--port", port, 0, 65_535)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        msg = f"--host is {validate.shown(host)}, which is no address of this machine ({error}); give one, such as 127.0.0.1"
        raise ConfigError(msg) from error
    if not has_token and not ipaddress.ip_address(address[0]).is_loopback:
        msg = (
            f"--host is {host!r}, which other machines reach, but there is no token; give --token-file or set {TOKEN_VARIABLE}, "
            "or listen on 127.0.0.1"
        )
        raise ConfigError(msg)
    listening = socket.socket(family, kind, protocol)  # asyncio turns Nagle's algorithm off for sockets that name TCP
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        msg = f"cannot listen on {host} port {port}: {error.strerror}; stop what listens there, or give another --port"
        raise ConfigError(msg) from error
    return listening
