"""`pgretrieval search`."""

from __future__ import annotations

from typing import Annotated

import typer

from pgretrieval.cli import console


def search(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    k: Annotated[int, typer.Option("-k", help="How many passages to return.")] = 10,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="How many candidates, what finds them (proxy, postings, auto), or both, such as proxy:512.",
            show_default="by size",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help='One object a line: {"rank","id","score","title","text","metadata"}.')
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="What each stage did and how long it took, on standard error.")
    ] = False,
) -> None:
    """Print the k best passages for a query, best first."""
    with context.obj.connect() as database:
        explanation = database.get_collection(name).explain(
            query, k, candidates=int(candidates) if candidates and candidates.isdecimal() else candidates
        )
    if json:
        for hit in explanation.hits:
            console.print_json(console.hit_as_dict(hit))
    else:
        console.print_hits(explanation.hits)
    if explain:
        console.errors.print(console.explanation_table(explanation))
