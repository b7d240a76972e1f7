"""The server: uvicorn with the service's limits, and an orderly end."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from pgretrieval.serve.app import create_app
from pgretrieval.serve.protocol import PatientProtocol
from pgretrieval.serve.service import Service

_KEEP_ALIVE = 75  # seconds, more than the sixty of usual proxies, which would otherwise reuse a connection that is being closed


class Server(uvicorn.Server):
    """Server that first finishes its requests: until then it listens, is not ready, and refuses further ones."""

    def __init__(self, service: Service, app: ASGIApp) -> None:
        protocol = type("Protocol", (PatientProtocol,), {"patience": service.options.patience})
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=int(service.options.patience) + 1,
            )
        )
        self._service = service

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """Begin to end at the first signal; at the second, end at once."""
        if self._service.draining:
            self.force_exit = self.should_exit = True
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop listening: when no request is left, or none can take longer."""
        if self._service.draining and self._service.calls.inside == 0:
            self.should_exit = True
        return await super().on_tick(counter)


def warm_up(service: Service) -> None:
    """Load the models in a thread."""
    service.warming = True
    threading.Thread(target=service.warm, daemon=True).start()


def serve(service: Service, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; load the models meanwhile."""
    warm_up(service)

    async def run() -> None:
        await Server(service, create_app(service)).serve(sockets=[listening])

    asyncio.run(run())
