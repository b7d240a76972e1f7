"""Consoles, progress bars and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pgretrieval.search.explain import Explanation
from pgretrieval.types import Hit

errors = Console(stderr=True, highlight=False)
results = Console(highlight=False, soft_wrap=True)

_SNIPPET = 160


def print_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False))


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error with rate and time left; yields the function that advances it."""
    with _progress() as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.advance(task, done)


@contextmanager
def stage_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage of a build or part of a check, as these name them."""
    labels = {
        "encode": "encoding",
        "train": "training the codebook",
        "proxies": "training the proxies",
        "code": "coding passages",
        "postings": "writing the postings",
        "words": "writing the words",
        "index": "indexing vectors",
        "switch": "switching over",
        "drop": "dropping what was replaced",
        "compact": "merging segments",
        "score": "scoring pairs",
        "solve": "solving",
        "embed": "embedding passages",
    }
    with _progress() as bars:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(labels.get(name, name), total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield tell


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=errors,
    )


class _Rate(ProgressColumn):
    """Steps a second, once known."""

    def render(self, task: Task) -> Text:
        """The text of one task."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


def print_hits(hits: list[Hit]) -> None:
    """Hits for reading: rank, score, id, title and the beginning of the text."""
    for hit in hits:
        results.print(f"[bold]{hit.rank:>3}[/bold]  {hit.score:7.3f}  ", end="")
        results.print(hit.title or hit.id, markup=False, style="cyan", end="")
        results.print(f"   [{hit.id}]" if hit.title and hit.title != hit.id else "", markup=False, style="dim")
        text = " ".join(hit.text.split())
        results.print(f"      {text[:_SNIPPET]}{'…' if len(text) > _SNIPPET else ''}", markup=False)


def hit_as_dict(hit: Hit) -> dict[str, Any]:
    """The JSON form of a hit."""
    return {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "metadata": hit.metadata,
    }


def explanation_table(explanation: Explanation) -> Table:
    """Milliseconds by stage, then the counts."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for stage, spent in explanation.milliseconds.items():
        table.add_row(stage, f"{spent:.1f} ms")
    for name, count in explanation.as_dict().items():
        if name != "milliseconds":
            table.add_row(name.replace("_", " "), f"{count:,}")
    return table
