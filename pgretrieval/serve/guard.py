"""Checks that every request passes first: who may ask, whether there is room, and a line in the log."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgretrieval.serve.answers import refusal
from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.options import TOKEN_VARIABLE
from pgretrieval.serve.service import Service

log = logging.getLogger("pgretrieval.serve")

_LONGEST_PATH = 300  # in the log
TEMPLATE = "pgretrieval.path"
"""Key of a request's scope: the path of its endpoint, without names."""


class Guard:
    """Application around another, which gets only requests that may pass.

    Paths of `public` need no token. Paths are those that were sent, so that a collection's name may contain %2F.
    """

    def __init__(self, app: ASGIApp, service: Service, public: frozenset[str]) -> None:
        self._app = app
        self._service = service
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started, status = time.perf_counter(), 0
        scope["path"] = scope["raw_path"].decode("ascii", "backslashreplace")

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._check(scope)
        except RequestError as error:
            await refusal(error)(scope, receive, watched)
        else:
            await self._app(scope, receive, watched)
        seconds = time.perf_counter() - started
        self._service.metrics.answered(scope["method"], scope.get(TEMPLATE, "other"), status, seconds)
        client = (scope.get("client") or ("?",))[0]
        log.info("%s %s %d %.1f ms %s", scope["method"], scope["path"][:_LONGEST_PATH], status, seconds * 1e3, client)

    def _check(self, scope: Scope) -> None:
        """Raise RequestError for a request that may not pass."""
        headers, token = Headers(scope=scope), self._service.options.token
        if token is None:
            _check_origin(headers)
        elif scope["path"] not in self._public:
            _check_token(headers, token)
        if self._service.draining and scope["path"] not in self._public:
            raise RequestError(503, "ShuttingDown", "the service is shutting down; send the request to another one, or repeat it")


def _check_token(headers: Headers, token: str) -> None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if not given:
        msg = f"this service asks for a token; send the header Authorization: Bearer with that of its {TOKEN_VARIABLE}"
        raise RequestError(401, "Unauthorized", msg)
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), token.encode()):
        raise RequestError(401, "Unauthorized", "the token is not that of this service; send the right one")


def _check_origin(headers: Headers) -> None:
    """Without a token, answer this machine's own programs only, and no page of another site in a browser of this machine.

    Such a page can send requests to 127.0.0.1, also by a name that its owner resolves to 127.0.0.1.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _is_local(host):
        msg = f"the header Host is {host[:100]!r}; send the request to 127.0.0.1, or start the service with a token"
        raise RequestError(400, "WrongHost", msg)
    if origin is not None and origin.partition("://")[2] != host:
        msg = f"the request comes from a page of {origin[:100]!r}; use the page of this service, or start it with a token"
        raise RequestError(400, "WrongOrigin", msg)


def _is_local(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
