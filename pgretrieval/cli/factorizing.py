"""`pgretrieval factorize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgretrieval.anncur.selection import Selection
from pgretrieval.cli import console
from pgretrieval.cli.files import queries_of
from pgretrieval.db.tables.factorizations import Element

if TYPE_CHECKING:
    from pgretrieval.anncur.factorize import Costs

_MEBIBYTE = 2**20


def factorize(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    cross_encoder: Annotated[str, typer.Option(help="Name or folder of a sentence_transformers.CrossEncoder.")],
    anchor_queries: Annotated[Path, typer.Option(help='.jsonl or .jsonl.gz of {"id", "text"}: a few hundred typical queries.')],
    anchor_items: Annotated[
        int, typer.Option(help="Passages that a query is scored with first; all others are estimated from them.")
    ] = 200,
    selection: Annotated[Selection, typer.Option(help="How these passages are chosen.")] = "greedy",
    queries: Annotated[int | None, typer.Option(help="Use only the first N anchor queries.", show_default="all")] = None,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.")] = 0,
    element: Annotated[Element, typer.Option(help="Precision of the index: halfvec takes half the bytes.")] = "vector",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cost, and stop.")] = False,
) -> None:
    """Score every passage for the anchor queries by a cross-encoder, so that searches find what it ranks first.

    The cost is printed first. An interrupted run continues when it is run again. Run again after passages were added, it scores
    these alone.
    """
    texts = list(queries_of(anchor_queries).values())[:queries]
    with context.obj.connect() as database:
        collection = database.get_collection(name)

        def told(costs: Costs) -> None:
            time = "" if costs.seconds is None else f"about {costs.seconds / 3600:,.2f} hours here ({costs.seconds:,.0f} s), "
            said = f"{costs.pairs:,} pairs to score: {time}{costs.bytes / _MEBIBYTE:,.1f} MiB"
            console.errors.print(said)
            if dry_run:
                raise typer.Exit

        with console.stage_bars() as stage:
            report = collection.factorize(
                cross_encoder, texts, anchor_items, selection, seed=seed, element=element, stage=stage, costs=told
            )
    console.errors.print(
        f"factorised {name!r}: {report.embedded:,} passages embedded with {report.calls:,} cross-encoder calls, "
        f"{report.anchor_items:,} anchor items {'chosen' if report.solved else 'as before'}, rank {report.rank:,}, "
        f"held-out recall {report.held_out_recall:.3f}, error {report.held_out_error:.3g}",
    )
