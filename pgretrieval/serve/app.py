"""The ASGI application: routes, and the way from a request to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from pgretrieval.search.explained import MatchExplanation
from pgretrieval.serve import health, page
from pgretrieval.serve.answers import as_json, html_response, json_response, refusal
from pgretrieval.serve.body import left, read_body
from pgretrieval.serve.endpoints import ENDPOINTS, Endpoint
from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.guard import TEMPLATE, Guard
from pgretrieval.serve.openapi import document
from pgretrieval.serve.requests import read_json, read_query
from pgretrieval.serve.service import Service


def create_app(service: Service) -> ASGIApp:
    """Return the application of a service."""
    described = as_json(document(ENDPOINTS))

    async def openapi(_request: Request) -> Response:
        return json_response(described)

    open_to_all = [*health.probes(service), *page.routes(), Route("/openapi.json", openapi)]
    routes: list[BaseRoute] = [*open_to_all, health.metrics(service), *(_route(service, each) for each in ENDPOINTS)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_path})
    app.router.redirect_slashes = False
    return Guard(app, service, frozenset(route.path for route in open_to_all))


def _route(service: Service, endpoint: Endpoint) -> Route:
    """Return the route of an endpoint. An answer to HEAD would need its work, so it has none."""

    async def handle(request: Request) -> Response:
        request.scope[TEMPLATE] = endpoint.path
        try:
            with service.calls.admitted():
                return await _answer(service, endpoint, request)
        except asyncio.CancelledError:  # the service ends without waiting
            return refusal(
                RequestError(503, "ShuttingDown", "the service was ended; send the request to another one, or repeat it")
            )
        except Exception as error:  # whatever the library or a model raises becomes an answer
            return refusal(error)

    route = Route(endpoint.path, handle, methods=[endpoint.method], name=f"{endpoint.method} {endpoint.path}")
    route.methods = {endpoint.method}
    return route


async def _answer(service: Service, endpoint: Endpoint, request: Request) -> Response:
    deadline = asyncio.get_running_loop().time() + service.options.seconds
    names = [_name(part) for part in request.path_params.values()]
    content = await read_body(request.scope, request.receive, service.options, deadline)
    work = _work(service, endpoint, request, names, content)
    gone = asyncio.ensure_future(left(request.receive))  # the server ends it with the answer
    return await service.calls.run(work, gone, deadline)


def _work(service: Service, endpoint: Endpoint, request: Request, names: list[str], content: bytes) -> Callable[[], Response]:
    """Return what a thread does for a request, from reading it to writing the answer."""
    as_html = endpoint.html is not None and "text/html" in request.headers.get("accept", "")

    def work() -> Response:
        given: list[Any] = []
        if endpoint.request is not None and endpoint.method == "GET":
            given = [read_query(endpoint.request, request.query_params.multi_items())]
        elif endpoint.request is not None:
            given = [read_json(endpoint.request, content)]
        answer = endpoint.work(service, *names, *given)
        if as_html and endpoint.html is not None:
            return html_response(endpoint.html(answer))
        if isinstance(answer, MatchExplanation):
            answer = answer.as_dict()
        return json_response(answer if isinstance(answer, bytes) else as_json(answer))

    return work


def _name(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        msg = f"the path has {part[:100]!r}, which is not UTF-8; encode names as encodeURIComponent does"
        raise RequestError(400, "InvalidRequest", msg) from error


async def _no_such_path(request: Request, _error: Exception) -> Response:
    msg = f"there is no {request.method} {request.url.path[:200]}; see /openapi.json for what there is"
    return refusal(RequestError(404, "NotFound", msg))
