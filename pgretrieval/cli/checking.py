"""`pgretrieval check`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from pgretrieval.cli import console
from pgretrieval.types import Violation


def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The collection.", show_default="all of them")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for each violation.")] = False,
) -> None:
    """Check that a collection is sound; exit code 0 only if nothing is wrong."""
    found: list[tuple[str, Violation]] = []
    with context.obj.connect() as database:
        names = [name] if name is not None else database.list_collections()
        for held in names:
            collection = database.get_collection(held)
            with console.stage_bars() as stage:
                found += [(held, violation) for violation in collection.check(stage=stage)]
    if json:
        for held, violation in found:
            console.print_json({"collection": held, **asdict(violation)})
    elif found:
        console.results.print(_table(found))
    if not found:
        console.errors.print(
            f"nothing is wrong with {', '.join(map(repr, names)) or 'the database: it has no collections'}", markup=False
        )
        return
    raise typer.Exit(1)


def _table(found: list[tuple[str, Violation]]) -> Table:
    table = Table("collection", "rule", "id", "what is wrong", "in all", box=None, pad_edge=False)
    for held, violation in found:
        cells = held, violation.rule, violation.id or "", violation.detail, f"{violation.total:,}"
        table.add_row(*cells)
    return table
