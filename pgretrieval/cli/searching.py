"""`pgretrieval search`."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any, cast

import typer

from pgretrieval import validate
from pgretrieval.cli import console
from pgretrieval.errors import ConfigError
from pgretrieval.modes import mode_of
from pgretrieval.search.options import SearchOptions, concerns_late, old_candidates


def search(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    query: Annotated[str, typer.Argument(help="The query text.")],
    k: Annotated[int, typer.Option("-k", help="Number of passages to return.")] = 10,
    mode: Annotated[
        str | None,
        typer.Option(
            help="hybrid (all that the collection has), late (interaction: MaxSim alone), words or dense. "
            "Options of late interaction make it the default.",
            show_default="hybrid with words or dense vectors",
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(help="Number of candidates from the generator.", metavar="INTEGER", show_default="by size"),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="Candidate generator: postings, proxy, auto, lower_bound, centroid_pruning, or text (the search by words).",
            show_default="the collection's own",
        ),
    ] = None,
    pruning: Annotated[
        int | None, typer.Option(help="Number of candidates to decode and score exactly.", show_default="by size")
    ] = None,
    centroid_threshold: Annotated[
        float | None,
        typer.Option(help="Score below which centroid_pruning leaves centroids out of its first stage.", show_default="by k"),
    ] = None,
    probes: Annotated[int | None, typer.Option(help="Centroids that each query token probes.", show_default="by size")] = None,
    k_tokens: Annotated[
        int | None, typer.Option(help="Tokens that each query token retrieves (xtr, colxtr).", show_default="300")
    ] = None,
    imputation: Annotated[
        str | None,
        typer.Option(
            help="Score for a query token that retrieved no token of the passage: kth, warp, zero, or a number.", show_default="kth"
        ),
    ] = None,
    reduction: Annotated[
        str | None,
        typer.Option(help="Reduction over the query's tokens: mean or sum.", show_default="mean for xtr, else sum"),
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out hits with a lower score.")] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="""Filter by metadata: JSON such as '{"year": {"$gte": 1990}}', or a jsonpath such as '$.year >= 1990'.""",
            metavar="FILTER",
        ),
    ] = None,
    among: Annotated[list[str] | None, typer.Option(help="Only passages with this id; repeatable.", metavar="ID")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Scorer: maxsim, xtr or colxtr; or cross_encoder, the one of the factorisation.",
            show_default="the collection's own",
        ),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Call budget of the cross-encoder.", show_default="500")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Rounds that divide the budget; each uses the scores of earlier rounds.", show_default="anchors first"),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="Scorer of the best passages: name or folder of a cross-encoder; maxsim (xtr, colxtr); or none.",
            show_default="the collection's own",
        ),
    ] = None,
    rerank_depth: Annotated[
        int | None, typer.Option(help="Number of passages to rerank.", show_default="100 for a cross-encoder")
    ] = None,
    highlight: Annotated[
        bool,
        typer.Option(
            "--highlight", help="Colour the words that matched; with --json, add the token matches and parts of the score."
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help='Print one JSON object for each hit: {"rank","id","score","title","text","metadata"}.')
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Report each stage and its time on standard error.")] = False,
) -> None:
    """Print the k best passages for a query, best first."""
    options: SearchOptions = {
        "probes": probes,
        "candidates": read_candidates(candidates),
        "pruning": pruning,
        "centroid_threshold": centroid_threshold,
        "k_tokens": k_tokens,
        "where": read_where(where),
        "among": among or None,
        "budget": budget,
        "rounds": rounds,
        "rerank": rerank,
        "rerank_depth": rerank_depth,
        "min_score": min_score,
        "matches": highlight,
        **checked_by_search(generator=generator, imputation=read_imputation(imputation), reduction=reduction, scorer=scorer),
    }
    with context.obj.connect() as database:
        collection = database.get_collection(name)
        late = mode is None and concerns_late(options)
        chosen = "late" if late else mode_of(collection._opened.row, mode)
        explanation = collection.explain(query, k, mode=chosen, **options)
    if json:
        for hit in explanation.hits:
            console.print_json(hit.as_dict())
    elif highlight:
        from pgretrieval.cli.highlighting import print_highlighted

        print_highlighted(explanation.hits)
    else:
        console.print_hits(explanation.hits)
    if explain:
        console.errors.print(console.explanation_table(explanation))


def checked_by_search(**options: str | float | None) -> SearchOptions:
    """Return options that the search checks."""
    return cast("SearchOptions", options)


def read_candidates(candidates: str | None) -> int | None:
    """Read the number of candidates. Raises ConfigError, which names the new options for an old spelling."""
    if candidates is None or candidates.isdecimal():
        return None if candidates is None else int(candidates)
    if old := old_candidates(candidates):
        new = f"--generator {old[0]}" + ("" if old[1] is None else f" --candidates {old[1]}")
        msg = f"--candidates is {validate.shown(candidates)}; give a number, and the generator by its own option: {new}"
    else:
        msg = f"--candidates is {validate.shown(candidates)}; give a whole number of at least 1"
    raise ConfigError(msg)


def read_imputation(imputation: str | None) -> str | float | None:
    """Read a name or a number."""
    try:
        return imputation if imputation is None else float(imputation)
    except ValueError:
        return imputation


def read_where(where: str | None) -> dict[str, Any] | str | None:
    """Read a JSON object, or return another text unchanged. Raises ConfigError for invalid JSON."""
    if where is None or not where.lstrip().startswith("{"):
        return where
    try:
        return dict(json_module.loads(where))
    except ValueError as error:
        msg = f'--where is {where!r}, which is not valid JSON ({error}); write it like {{"year": {{"$gte": 1990}}}}'
        raise ConfigError(msg) from error
