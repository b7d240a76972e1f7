"""`pgretrieval search`."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any, Literal, cast

import typer

from pgretrieval.cli import console
from pgretrieval.errors import ConfigError
from pgretrieval.search.token_settings import Imputation
from pgretrieval.types import Reduction

Scorer = Literal["cross-encoder"]


def search(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    k: Annotated[int, typer.Option("-k", help="How many passages to return.")] = 10,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="How many candidates, what finds them (proxy, postings, auto; for a cross-encoder also text), or both: proxy:512.",
            show_default="by size",
        ),
    ] = None,
    probes: Annotated[
        int | None, typer.Option(help="How many centroids are looked up for each query token.", show_default="by size")
    ] = None,
    k_tokens: Annotated[
        int | None, typer.Option(help="How many tokens each query token retrieves (xtr, colxtr).", show_default="300")
    ] = None,
    imputation: Annotated[
        str | None,
        typer.Option(help="What a token counts that was not retrieved: kth, warp, zero, or a number.", show_default="kth"),
    ] = None,
    reduction: Annotated[
        str | None, typer.Option(help="mean or sum over the query's tokens.", show_default="mean for xtr, sum for colxtr")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="""Only where metadata match: JSON such as '{"year": {"$gte": 1990}}', or a jsonpath such as '$.year >= 1990'.""",
            metavar="FILTER",
        ),
    ] = None,
    scorer: Annotated[
        Scorer | None,
        typer.Option(help="cross-encoder: the one that the collection was factorised by.", show_default="the collection's own"),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Calls that a cross-encoder may take.", show_default="500")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Spend the budget in so many rounds that learn from each other.", show_default="anchors first"),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="What scores the best again: name or folder of a cross-encoder; maxsim, all their tokens (xtr, colxtr); none.",
            show_default="as the collection was made",
        ),
    ] = None,
    rerank_depth: Annotated[int, typer.Option(help="How many hits --rerank scores.")] = 100,
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
            query,
            k,
            probes=probes,
            candidates=int(candidates) if candidates and candidates.isdecimal() else candidates,
            k_tokens=k_tokens,
            imputation=cast("Imputation | None", imputation if imputation is None else read_imputation(imputation)),
            reduction=cast("Reduction | None", reduction),
            where=read_where(where),
            scorer=scorer and scorer.replace("-", "_"),
            budget=budget,
            rounds=rounds,
            rerank=rerank,
            rerank_depth=rerank_depth,
        )
    if json:
        for hit in explanation.hits:
            console.print_json(console.hit_as_dict(hit))
    else:
        console.print_hits(explanation.hits)
    if explain:
        console.errors.print(console.explanation_table(explanation))


def read_imputation(imputation: str) -> str | float:
    """An option that is a number is one."""
    try:
        return float(imputation)
    except ValueError:
        return imputation


def read_where(where: str | None) -> dict[str, Any] | str | None:
    """An option that begins like a JSON object is one. Raises ConfigError where it cannot be read."""
    if where is None or not where.lstrip().startswith("{"):
        return where
    try:
        return dict(json_module.loads(where))
    except ValueError as error:
        msg = f'--where is {where!r}, which is not valid JSON ({error}); write it like {{"year": {{"$gte": 1990}}}}'
        raise ConfigError(msg) from error
