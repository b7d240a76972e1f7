"""The SQL files that ship with the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

from typing_extensions import LiteralString

PACKAGE = Path(__file__).parent
MIGRATIONS = PACKAGE / "migrations"
SQL = PACKAGE / "sql"


def as_literal(text: str) -> LiteralString:
    """SQL read from a file of this package counts as literal: no value has been pasted into it."""
    return cast("LiteralString", text)


def bootstrap() -> str:
    """The file that runs first at every migration."""
    return (SQL / "bootstrap.sql").read_text(encoding="utf-8")


def functions() -> list[str]:
    """The SQL functions, one a file, in the order in which they may be created."""
    return [path.read_text(encoding="utf-8") for path in sorted((SQL / "functions").glob("*.sql"))]


@cache
def statements(name: str) -> dict[str, LiteralString]:
    """The named statements of `sql/queries/NAME.sql`; each begins with a line `-- name: STATEMENT`."""
    text = (SQL / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = text.split("-- name: ")
    named = (part.partition("\n") for part in parts)
    return {head.strip(): as_literal(body.strip().removesuffix(";")) for head, _, body in named}
