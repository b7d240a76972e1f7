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
    name: Annotated[str | None, typer.Argument(help="The collection.", show_default="all")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for each violation.")] = False,
) -> None:
    """Check the consistency of a collection; exit code 0 only if there is no violation."""
    found: list[tuple[str, Violation]] = []
    with context.obj.connect() as database:
        names = [name] if name is not None else database.list_collections()
        for collection_name in names:
            collection = database.get_collection(collection_name)
            with console.stage_bars() as stage:
                found += [(collection_name, violation) for violation in collection.check(stage=stage)]
    if json:
        for collection_name, violation in found:
            console.print_json({"collection": collection_name, **asdict(violation)})
    elif found:
        console.results.print(_table(found))
    if not found:
        console.errors.print(
            f"no violations in {', '.join(map(repr, names)) or 'the database: it has no collections'}", markup=False
        )
        return
    raise typer.Exit(1)


def _table(found: list[tuple[str, Violation]]) -> Table:
    table = Table("collection", "rule", "id", "violation", "total", box=None, pad_edge=False)
    for collection_name, violation in found:
        cells = collection_name, violation.rule, violation.id or "", violation.detail, f"{violation.total:,}"
        table.add_row(*cells)
    return table
