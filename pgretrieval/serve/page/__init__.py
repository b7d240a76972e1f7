"""The page at `/`: files of this folder."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parent


def routes() -> list[BaseRoute]:
    """Return the routes of the page: `/`, and its files under `/page/`."""
    return [
        Route("/", lambda _request: FileResponse(_FOLDER / "index.html"), methods=["GET"]),
        Mount("/page", StaticFiles(directory=_FOLDER)),
    ]
