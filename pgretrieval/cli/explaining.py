"""`pgretrieval explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pgretrieval.cli import console
from pgretrieval.cli.searching import read_where
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.modes import mode_of

if TYPE_CHECKING:
    from pgretrieval.search.explained import MatchExplanation


def explain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection.")],
    query: Annotated[str, typer.Argument(help="The query text.")],
    passage_id: Annotated[str, typer.Argument(metavar="ID", help="The passage's id.")],
    k: Annotated[int, typer.Option("-k", help="Number of passages that the search returns.")] = 10,
    mode: Annotated[
        str | None,
        typer.Option(
            help="Mode of the search: hybrid, late, words or dense, as for `search`.",
            show_default="hybrid with words or dense vectors",
        ),
    ] = None,
    where: Annotated[str | None, typer.Option(help="Filter by metadata, as for `search`.", metavar="FILTER")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with the heat map of query and passage tokens.", metavar="FILE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell why a search returns a passage, or does not: token matches, ranks, and what the passage lacks."""
    with context.obj.connect() as database:
        collection = database.get_collection(name)
        chosen = mode_of(collection._opened.row, mode)
        found = collection.explain_match(query, passage_id, k, mode=chosen, where=read_where(where))
    if html is not None:
        write_page(html, found)
    if json:
        console.print_json(found.as_dict())
    elif html is None:
        print_explanation(found)


def write_page(path: Path, explanation: MatchExplanation) -> None:
    """Write the page. Raises ConfigError if the file cannot be written."""
    from pgretrieval.pages.heat_map import page

    picture = None if explanation.patches is None else read_picture(explanation.passage.metadata["image"])
    try:
        path.write_text(page(explanation, picture), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        msg = f"--html cannot be written to {str(path)!r}: {error.strerror or error}; give a file in an existing folder"
        raise ConfigError(msg) from error
    console.errors.print(f"wrote {path}")


def read_picture(path: object) -> str | None:
    """Return a page image as a data URI, or None, with a message, if it cannot be read."""
    from pgretrieval.pages.page_image import picture_of

    try:
        return picture_of(str(path))
    except InputError as error:
        console.errors.print(f"{error}; the patches are shown without it", soft_wrap=True)
        return None


def print_explanation(explanation: MatchExplanation) -> None:
    """Print the outcome, what the passage lacks, its ranks, and the best token for each query token."""
    passage = explanation.passage
    console.results.print(" ".join((passage.title or passage.id).split()), style="cyan")
    console.results.print(explanation.outcome + ("" if explanation.score is None else f", score {explanation.score:.4f}"))
    for sentence in explanation.lacks:
        console.results.print(f"- {sentence}")
    if explanation.note:
        console.results.print(explanation.note)
    ranks = _table("", "rank", "score")
    for kind, rank in explanation.ranks.items():
        ranks.add_row(kind, str(rank), "" if rank.score is None else f"{rank.score:.4f}")
    console.results.print(ranks)
    if explanation.matches:
        matches = _table("query token", "passage token", "similarity", "share")
        for match in explanation.matches:
            query_token = match.query_token or f"vector {match.query_position}"
            token = "imputed" if match.imputed else match.token or ("" if match.position is None else f"vector {match.position}")
            matches.add_row(query_token, token, f"{match.similarity:.3f}", f"{match.share:.3f}")
        console.results.print(matches)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("similarity", "share", "score") else "left")
    return table
