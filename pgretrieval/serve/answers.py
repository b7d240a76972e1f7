"""Answers as HTTP: JSON, and errors with their headers."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from pgretrieval.serve.errors import RequestError, answer_to

_RETRY_AFTER = "1"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def as_json(value: Any) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def json_response(content: bytes, status: int = 200) -> Response:
    """Return a response of JSON that nobody stores."""
    return Response(content, status, _HEADERS, "application/json")


def html_response(content: str) -> Response:
    """Return a response of HTML that nobody stores, and in which nothing runs if it is opened by itself."""
    return Response(content, headers={**_HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox"}, media_type="text/html")


def refusal(error: BaseException) -> Response:
    """Return the response to an error."""
    status, body = answer_to(error)
    response = json_response(as_json(body), status)
    if status in (429, 503):
        response.headers["Retry-After"] = _RETRY_AFTER
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def no_such_path(method: str, path: str) -> Response:
    """Return the response to a path or method that there is not."""
    return refusal(RequestError(404, "NotFound", f"there is no {method} {path}; see /openapi.json for what there is"))
