"""The service of this process on a free port, and one in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator

import pgretrieval
from pgretrieval.serve.app import create_app
from pgretrieval.serve.endpoints import ENDPOINTS
from pgretrieval.serve.openapi import document
from pgretrieval.serve.options import ServiceOptions, listen
from pgretrieval.serve.server import Server
from pgretrieval.serve.service import Service

SECONDS = 60
DESCRIBED = json.loads(json.dumps(document(ENDPOINTS)))


class Serving:
    """A running service and a client, which compares each answer with /openapi.json."""

    def __init__(self, server: Server, port: int, thread: threading.Thread) -> None:
        self.thread = thread
        self.service = server._service
        self.connections = server.server_state.connections
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=SECONDS, event_hooks={"response": [compare_with_description]})

    def search(self, collection: str = "docs", **asked: Any) -> httpx.Response:
        """Search a collection."""
        return self.client.post(f"/v1/collections/{collection}/search", json=asked)

    def hits(self, collection: str = "docs", **asked: Any) -> list[dict[str, Any]]:
        """Return the hits of a search that succeeds."""
        answer = self.search(collection, **asked)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["hits"]
        return found

    def connect(self) -> socket.socket:
        """Open a connection without a request."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)


def failed(answer: httpx.Response, status: int) -> dict[str, str]:
    """Return the error of an answer, which has this status, a remedy, and nothing of the service's code."""
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    assert error["message"]
    assert error["remedy"]
    assert not any(part in answer.text for part in ("Traceback", 'File "', "psycopg", "pgr_test_"))
    return error


def compare_with_description(answer: httpx.Response) -> None:
    """Fail unless /openapi.json describes the answer."""
    answer.read()
    template = next((each for each in DESCRIBED["paths"] if _matches(each, answer.request.url.raw_path.decode())), None)
    operation = DESCRIBED["paths"].get(template, {}).get(answer.request.method.lower())
    if operation is None:
        return
    content = operation["responses"][str(answer.status_code)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        schema = {**content[kind]["schema"], "components": DESCRIBED["components"]}
        Draft202012Validator(schema).validate(answer.json())
    else:
        assert kind in content


def _matches(template: str, path: str) -> bool:
    wanted, given = template.split("/"), path.partition("?")[0].split("/")
    return len(wanted) == len(given) and all(part in ("{name}", sent) for part, sent in zip(wanted, given, strict=True))


@contextmanager
def serving(database: pgretrieval.RetrievalDatabase, **options: Any) -> Iterator[Serving]:
    """A service of this process, in a thread."""
    server: Server
    ready = threading.Event()
    listening = listen("127.0.0.1", 0, has_token=True)

    async def run() -> None:
        nonlocal server
        service = Service(database, ServiceOptions(**options))
        server = Server(service, create_app(service))
        ready.set()
        await server.serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(SECONDS)
    running = Serving(server, listening.getsockname()[1], thread)
    try:
        until(lambda: server.started)
        yield running
    finally:
        running.client.close()
        running.service.draining = True
        thread.join(SECONDS)
        assert not thread.is_alive()


def until(happened: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Process:
    """`pgretrieval serve` in a process of its own, on a free port."""

    def __init__(self, database_url: str, *arguments: str | Path, **environment: str) -> None:
        command = [sys.executable, "-m", "pgretrieval", "--database", database_url, "serve", *map(str, arguments)]
        if "--port" not in arguments:
            command += ["--port", "0"]
        with tempfile.NamedTemporaryFile(delete=False) as errors:  # a pipe would fill
            self.process = subprocess.Popen(command, stderr=errors, env={**os.environ, **environment})
        self._errors = Path(errors.name)

    def started(self) -> httpx.Client:
        """Return a client, once the service listens."""
        until(lambda: "\n" in self.errors or self.process.poll() is not None)
        line = self.errors.partition("\n")[0]
        assert line.startswith("serving http://"), self.errors
        until(lambda: _is_ready(line.split()[1]))
        return httpx.Client(base_url=line.split()[1], timeout=SECONDS)

    @property
    def errors(self) -> str:
        """What the process has written to standard error."""
        return self._errors.read_text(encoding="utf-8")

    def ended(self) -> tuple[int, str]:
        """Return exit code and standard error, once the process has ended."""
        return self.process.wait(timeout=SECONDS), self.errors


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def process(database_url: str, *arguments: str | Path, **environment: str) -> Iterator[Process]:
    """A service in a process of its own, which is killed at the end if it still runs."""
    running = Process(database_url, *arguments, **environment)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(timeout=SECONDS)
        running._errors.unlink()
