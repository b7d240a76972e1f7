"""State of the service for those who watch it: alive, ready, metrics."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pgretrieval.asynchronous import apart, finish
from pgretrieval.db import schema
from pgretrieval.serve.answers import as_json, json_response, refusal
from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.metrics import CONTENT_TYPE
from pgretrieval.serve.service import Service

_SECONDS = 5.0
"""Time in which the database must answer."""


def probes(service: Service) -> list[Route]:
    """Return `/healthz`, which answers while the process lives, and `/readyz`, while the database answers and its schema fits."""

    async def alive(_request: Request) -> Response:
        return json_response(as_json({"status": "alive"}))

    async def ready(_request: Request) -> Response:
        try:
            if service.draining:
                raise RequestError(503, "ShuttingDown", "the service is shutting down; send requests to another one")
            if service.warming:
                raise RequestError(503, "StartingUp", "the service loads its models; wait for it")
            await asyncio.wait_for(finish(apart, lambda: schema.verify(service.database._database)), _SECONDS)
        except asyncio.TimeoutError:
            return refusal(RequestError(503, "TimedOut", f"the database did not answer within {_SECONDS:g} seconds; wait for it"))
        except Exception as error:
            return refusal(error)
        return json_response(as_json({"status": "ready"}))

    return [Route("/healthz", alive), Route("/readyz", ready)]


def metrics(service: Service) -> Route:
    """Return `/metrics`."""

    async def show(_request: Request) -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return Route("/metrics", show)
