"""The ASGI application: routes, and the way from a request to its answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pgretrieval.serve import page
from pgretrieval.serve.errors import RETRY_AFTER, RequestError, answer_to
from pgretrieval.serve.requests import read_json
from pgretrieval.serve.service import ENDPOINTS, Endpoint, Service


def create_app(service: Service) -> ASGIApp:
    """Return the application of a service."""
    routes = [Route(each.path, _handler(service, each), methods=[each.method]) for each in ENDPOINTS]
    handlers: dict[Any, Any] = {HTTPException: _no_such_route, Exception: _failed}
    return _Encoded(Starlette(routes=[*routes, *page.routes()], exception_handlers=handlers))


class _Encoded:
    """Routes see the path as it was sent, so that a collection's name may contain %2F."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("ascii")
        await self._app(scope, receive, send)


def _handler(service: Service, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        given: list[Any] = [unquote(part, errors="strict") for part in request.path_params.values()]
        content = await request.body()

        def work() -> bytes:
            read = [] if endpoint.request is None else [read_json(endpoint.request, content)]
            return _json(endpoint.work(service, *given, *read))

        try:
            return _response(200, await service.calls.run(work))
        except Exception as error:  # whatever the library or a model raises becomes an answer
            return _refusal(error)

    return handle


def _refusal(error: Exception) -> Response:
    status, body = answer_to(error)
    response = _response(status, _json(body))
    if status in (429, 503):
        response.headers["Retry-After"] = RETRY_AFTER
    return response


async def _no_such_route(request: Request, _error: Exception) -> Response:
    msg = f"there is no {request.method} {request.url.path}; see /openapi.json for what there is"
    return _refusal(RequestError(404, "NotFound", msg))


async def _failed(_request: Request, error: Exception) -> Response:
    return _refusal(error)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _response(status: int, content: bytes) -> Response:
    return Response(content, status, media_type="application/json")
