"""`pgretrieval mcp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgretrieval import validate
from pgretrieval.cli.extras import announce, log_to_stderr, require
from pgretrieval.errors import ConfigError
from pgretrieval.serve.options import TOKEN_VARIABLE, ServiceOptions, listen, read_token


def mcp(
    context: typer.Context,
    http: Annotated[
        str | None,
        typer.Option(
            help="Serve by HTTP at this address, instead of standard input and output. Beyond loopback, a token is needed.",
            metavar="HOST:PORT",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the bearer token of all requests by HTTP. Environment: {TOKEN_VARIABLE}.", metavar="FILE"),
    ] = None,
) -> None:
    """Offer searches to agents as tools of the Model Context Protocol, until standard input ends, SIGTERM or Ctrl-C.

    The tools only read, as the role of the database's URL.
    """
    require("mcp", "mcp", "starlette", "uvicorn", "prometheus_client", "pydantic")
    from pgretrieval.mcp.server import serve_http, serve_stdio
    from pgretrieval.serve.service import Service

    if http is None:
        if token_file is not None:
            msg = f"--token-file is {validate.shown(str(token_file))}, but only HTTP has tokens; add --http HOST:PORT"
            raise ConfigError(msg)
        options = ServiceOptions()
        with context.obj.connect(options.concurrency) as database:
            log_to_stderr()
            serve_stdio(Service(database, options))
        return
    host, port = _address(http)
    options = ServiceOptions(token=read_token(token_file))
    with listen(host, port, has_token=options.token is not None) as listening, context.obj.connect(options.concurrency) as database:
        announce(host, listening, "/mcp")
        serve_http(Service(database, options), listening)


def _address(given: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT. Raises ConfigError."""
    host, _, port = given.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        msg = f"--http is {validate.shown(given)}; give an address and a port, such as 127.0.0.1:8081"
        raise ConfigError(msg)
    return host.removeprefix("[").removesuffix("]"), int(port)
