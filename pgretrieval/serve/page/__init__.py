"""The page at `/`: an HTML, a JavaScript and two CSS files, which call the service's interface and nothing else."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pgretrieval.pages import heat_map

_FOLDER = Path(__file__).parent

FILES = {
    "/": (_FOLDER / "index.html", "text/html"),
    "/page/page.css": (_FOLDER / "page.css", "text/css"),
    "/page/heat_map.css": (heat_map.CSS, "text/css"),
    "/page/page.js": (_FOLDER / "page.js", "text/javascript"),
}
"""Path of each file, where it is, and its type."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content security policy: nothing inline, nothing from elsewhere, no frames."""


def routes() -> list[Route]:
    """Return a route for each file. Files are read once; browsers ask for them again by digest, and upgrades show at once."""
    return [_route(path, *served) for path, served in FILES.items()]


def _route(path: str, file: Path, media_type: str) -> Route:
    content = file.read_bytes()
    headers = {
        "ETag": f'"{sha256(content).hexdigest()[:16]}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }

    async def send(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return Route(path, send)
