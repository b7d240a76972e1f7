"""`pgretrieval delete | compact`."""

from __future__ import annotations

from typing import Annotated

import typer

from pgretrieval.cli import console
from pgretrieval.cli.searching import read_where
from pgretrieval.errors import ConfigError

NameArgument = Annotated[str, typer.Argument(help="The collection.")]


def delete(
    context: typer.Context,
    name: NameArgument,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of passages.")] = None,
    where: Annotated[
        str | None,
        typer.Option(help='Filter by metadata: JSON such as {"year": {"$lt": 1990}}, or a jsonpath predicate.'),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete every passage but keep the collection.")] = False,
) -> None:
    """Delete passages by ids, by metadata, or by both, or delete all, in one transaction."""
    if not ids and where is None and not everything:
        msg = "give ids, --where or --all; `pgretrieval drop` removes the whole collection"
        raise ConfigError(msg)
    with context.obj.connect() as database:
        deleted = database.get_collection(name).delete(ids or None, where=read_where(where), all=everything)
    console.errors.print(f"{deleted:,} passages deleted from {name!r}")


def compact(
    context: typer.Context,
    name: NameArgument,
    auto: Annotated[
        bool | None,
        typer.Option("--auto/--no-auto", help="Also set whether clients compact the collection automatically."),
    ] = None,
) -> None:
    """Merge posting segments and remove entries of deleted passages; searches and changes continue."""
    with context.obj.connect() as database:
        collection = database.get_collection(name)
        if auto is not None:
            collection.auto_compact = auto
        before = collection.stats()
        with console.stage_bars() as stage:
            collection.compact(stage=stage)
        after = collection.stats()
    console.errors.print(
        f"{name!r} had {before['segments']:,} segments and {before['removed']:,} removed passages in its postings, "
        f"and has {after['segments']:,} and {after['removed']:,}",
    )
