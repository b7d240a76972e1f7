"""Body of a request, read up to a size and a time."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope

from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.options import ServiceOptions


async def read_body(scope: Scope, receive: Receive, options: ServiceOptions, deadline: float) -> bytes:
    """Return the body. Raises RequestError (413, or 400 if it does not arrive); `deadline` is in the loop's time."""
    stated = dict(scope["headers"]).get(b"content-length", b"0")
    if len(stated) > 18 or int(stated) > options.max_body:
        _refuse(options)
    parts, size, more = [], 0, True
    while more:
        left = min(options.patience, deadline - asyncio.get_running_loop().time())
        try:
            message = await asyncio.wait_for(receive(), left)
        except asyncio.TimeoutError as error:
            msg = f"the body stopped arriving after {size:,} bytes; send it at once"
            raise RequestError(400, "SlowRequest", msg) from error
        if message["type"] == "http.disconnect":
            raise RequestError(400, "ClientLeft", "the client closed the connection before its request was complete; send it all")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > options.max_body:
            _refuse(options)
        more = message.get("more_body", False)
    return b"".join(parts)


def _refuse(options: ServiceOptions) -> None:
    msg = f"the body has more than {options.max_body:,} bytes; send less at once, or start the service with a larger --max-body"
    raise RequestError(413, "TooLarge", msg)


async def left(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
