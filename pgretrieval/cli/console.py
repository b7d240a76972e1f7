"""Consoles, progress bars and tables."""

from __future__ import annotations

import json
import re
import sys
import warnings
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

from pgretrieval.errors import PgRetrievalWarning
from pgretrieval.search.explain import Explanation
from pgretrieval.types import Hit


class _Console(Console):
    """Console that prints texts literally: no markup, no emoji codes, and control characters as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text; all texts and cells of tables go through this method."""
        return super().render_str(visible(text), **options)


errors = _Console(stderr=True)
results = _Console(soft_wrap=True)

SNIPPET = 160
"""Characters of a text that are shown of a hit."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and line feed


def visible(text: str) -> str:
    """Escape the control characters of a text, such as the escape that changes a terminal's colour or title."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def print_json(value: Any) -> None:
    """Print a JSON value on one line of standard output, in ASCII if the encoding is not UTF-8."""
    plain = not (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    text = json.dumps(value, ensure_ascii=plain)
    typer.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


@contextmanager
def warnings_printed() -> Iterator[None]:
    """Print the package's warnings of this block at its end, a line each, on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PgRetrievalWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, PgRetrievalWarning):
            errors.print(str(warning.message), soft_wrap=True)


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error with rate and time left; yield the function that advances it."""
    with _progress() as bars:
        task = bars.add_task(visible(description), total=total)
        yield lambda done: bars.advance(task, done)


@contextmanager
def stage_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each stage of a build or part of a check; yield the function that updates them."""
    labels = {
        "help": "helping another process to build",
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

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(visible(labels.get(name, name)), total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield update


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=errors,
    )


class _Rate(ProgressColumn):
    """Column with the steps per second, once known."""

    def render(self, task: Task) -> Text:
        """Return the text of one task."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


def print_hits(hits: list[Hit]) -> None:
    """Print hits: rank, score, id, title and the beginning of the text."""
    for hit in hits:
        results.print(f"{hit.rank:>3}", style="bold", end="")
        results.print(f"  {hit.score:7.3f}  ", end="")
        results.print(" ".join((hit.title or hit.id).split()), style="cyan", end="")
        results.print(f"   [{hit.id}]" if hit.title and hit.title != hit.id else "", style="dim")
        text = " ".join(hit.text.split())
        results.print(f"      {text[:SNIPPET]}{'…' if len(text) > SNIPPET else ''}")


def explanation_table(explanation: Explanation) -> Table:
    """Return a table of milliseconds by stage, then the counts."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for stage, spent in explanation.milliseconds.items():
        table.add_row(stage, f"{spent:.1f} ms")
    for name, count in explanation.as_dict().items():
        if name != "milliseconds":
            table.add_row(name.replace("_", " "), f"{count:,}")
    return table
