"""`pgretrieval serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgretrieval.cli.extras import announce, require
from pgretrieval.serve.options import TOKEN_VARIABLE, ServiceOptions, listen, read_token


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on. Beyond loopback, a token is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.")] = 8080,
    write: Annotated[bool, typer.Option("--write", help="Allow changes of passages.")] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File with the bearer token of all requests. Environment: {TOKEN_VARIABLE}.",
            metavar="FILE",
            show_default="no token",
        ),
    ] = None,
    cross_encoder: Annotated[
        list[str] | None,
        typer.Option(help="Cross-encoder that callers may name in rerank: a name or a folder; repeatable.", metavar="MODEL"),
    ] = None,
    max_body: Annotated[int, typer.Option(help="Bytes of a request's body.")] = ServiceOptions.max_body,
    max_k: Annotated[int, typer.Option(help="Hits of a search.")] = ServiceOptions.max_k,
    concurrency: Annotated[
        int, typer.Option(help="Requests at work at once; four times as many may wait.")
    ] = ServiceOptions.concurrency,
    seconds: Annotated[float, typer.Option(help="Time for a request.")] = ServiceOptions.seconds,
) -> None:
    """Serve searches, encoding and a page by HTTP until SIGTERM or Ctrl-C."""
    require("serve", "starlette", "uvicorn", "prometheus_client", "pydantic")
    from pgretrieval.serve import server
    from pgretrieval.serve.service import Service

    token = read_token(token_file)
    options = ServiceOptions(
        write=write,
        token=token,
        cross_encoders=tuple(cross_encoder or ()),
        max_body=max_body,
        max_k=max_k,
        concurrency=concurrency,
        seconds=seconds,
    )
    with listen(host, port, has_token=token is not None) as listening, context.obj.connect(concurrency) as database:
        service = Service(database, options)
        announce(host, listening, "/")
        server.serve(service, listening)
