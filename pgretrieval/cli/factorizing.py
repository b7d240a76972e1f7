"""`pgretrieval factorize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgretrieval import presets
from pgretrieval.anncur.inverse import Regularising
from pgretrieval.anncur.selection import Selection
from pgretrieval.anncur.solving import Split
from pgretrieval.cli import console
from pgretrieval.cli.files import queries_of
from pgretrieval.types import Element

if TYPE_CHECKING:
    from pgretrieval.anncur.factorize import Costs

_MEBIBYTE = 2**20


def factorize(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    cross_encoder: Annotated[str, typer.Option(help="Name or folder of a sentence_transformers.CrossEncoder.")],
    anchor_queries: Annotated[Path, typer.Option(help='.jsonl or .jsonl.gz of {"id", "text"}: a few hundred typical queries.')],
    anchor_items: Annotated[
        int, typer.Option(help="Number of passages that are scored first for a query; the others are estimated from them.")
    ] = 200,
    selection: Annotated[
        Selection | None,
        typer.Option(
            help="Selection of these passages, auto: greedy or top by held-out queries; with --per-query, of those to score.",
            show_default="auto, or search",
        ),
    ] = None,
    regularisation: Annotated[
        Regularising | None,
        typer.Option(help="auto: the best on held-out anchor queries; none: the plain pseudo-inverse.", show_default="auto"),
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option(help="Calls of a budget that go to these passages: auto learns their number; all.", show_default="auto"),
    ] = None,
    per_query: Annotated[
        int | None,
        typer.Option(
            help="Score only N passages for each anchor query and fit the passages' own vectors (AXN).", show_default="all"
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="anncur: the values of the paper for options that are not given.", show_default="the collection's"),
    ] = None,
    queries: Annotated[int | None, typer.Option(help="Use only the first N anchor queries.", show_default="all")] = None,
    seed: Annotated[int, typer.Option(help="Seed of random choices.")] = 0,
    element: Annotated[Element, typer.Option(help="Element type of the index: halfvec takes half the bytes.")] = "vector",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the estimated cost and stop.")] = False,
) -> None:
    """Score every passage for the anchor queries by a cross-encoder, so that searches can approximate its ranking.

    The estimated cost is printed first. After an interruption, run the command again to resume. After an add, it scores only the
    new passages.
    """
    texts = list(queries_of(anchor_queries).values())[:queries]
    if preset is not None:
        given = {"selection": selection, "regularisation": regularisation, "split": split}
        console.errors.print(presets.factorize_summary(preset, given))
    with context.obj.connect() as database:
        collection = database.get_collection(name)

        def show_costs(costs: Costs) -> None:
            time = (
                ""
                if costs.seconds is None
                else f"about {costs.seconds / 3600:,.2f} hours on this machine ({costs.seconds:,.0f} s), "
            )
            message = f"{costs.pairs:,} pairs to score: {time}{costs.bytes / _MEBIBYTE:,.1f} MiB"
            console.errors.print(message)
            if dry_run:
                raise typer.Exit

        with console.stage_bars() as stage:
            report = collection.factorize(
                cross_encoder,
                texts,
                anchor_items,
                selection,
                regularisation=regularisation,
                split=split,
                per_query=per_query,
                preset=preset,
                seed=seed,
                element=element,
                stage=stage,
                costs=show_costs,
            )
    console.errors.print(
        f"factorised {name!r}: {report.embedded:,} passages embedded with {report.calls:,} cross-encoder calls, "
        f"{report.anchor_items:,} anchor items {'chosen' if report.solved else 'as before'}, rank {report.rank:,}, "
        f"held-out recall {report.held_out_recall:.3f}, error {report.held_out_error:.3g}",
    )
