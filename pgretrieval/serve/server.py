"""The server: uvicorn with the service's limits."""

from __future__ import annotations

import socket

import uvicorn

from pgretrieval.database import RetrievalDatabase
from pgretrieval.serve.app import create_app
from pgretrieval.serve.options import ServiceOptions
from pgretrieval.serve.service import Service


def serve(database: RetrievalDatabase, listening: socket.socket, options: ServiceOptions) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    service = Service(database, options)
    config = uvicorn.Config(create_app(service), http="h11", loop="asyncio", ws="none", lifespan="off", log_config=None)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        service.calls.close()
