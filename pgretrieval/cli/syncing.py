"""`pgretrieval attach | detach | worker`."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgretrieval.cli import console, loading

if TYPE_CHECKING:
    from pgretrieval.database import RetrievalDatabase

_GRACE = 5  # seconds after a signal until the current batch is interrupted


def attach(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The collection; created if it does not exist.")],
    table: Annotated[str, typer.Option(help="The table to attach to, with its schema.", metavar="TABLE")],
    text: Annotated[str, typer.Option(help="The text column; or several, with the title first.", metavar="COLUMNS")],
    id: Annotated[str, typer.Option("--id", help="The table's key column, used as passage id.", metavar="COLUMN")] = "id",
    metadata: Annotated[
        str, typer.Option(help="Columns to store as metadata, for filters.", metavar="COLUMNS", show_default="none")
    ] = "",
    query: Annotated[
        str | None,
        typer.Option(
            help="A view or a select of passages: id, the table's key as key, and the columns of --text and --metadata.",
            metavar="SELECT",
        ),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder of a new collection: minilm, a hub name or a folder.", show_default="minilm")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Text search configuration of a new collection.", show_default="english")
    ] = None,
) -> None:
    """Attach a collection to a table: triggers queue its changes, and `worker` applies them."""
    with context.obj.connect() as database:
        created = name not in database.list_collections()
        loading.open_or_create(database, name, encoder, None, {"language": language})
        try:
            queued = database.attach(name, table, id=id, text=_names(text), metadata=_names(metadata), query=query)
        except BaseException:
            if created:
                database.drop_collection(name)
            raise
    console.results.print(
        f"{name!r} is attached to {table}; {queued:,} rows are queued. Run `pgretrieval worker` to index them and later changes",
    )


def detach(context: typer.Context, name: Annotated[str, typer.Argument(help="The collection.")]) -> None:
    """Remove the triggers and the queue of an attached collection. Its passages stay."""
    with context.obj.connect() as database:
        database.detach(name)
    console.errors.print(f"{name!r} is detached; it keeps its passages")


def worker(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Collections; by default all attached ones.", metavar="[NAME]...")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when the queues are empty.")] = False,
) -> None:
    """Process the queues of attached collections until SIGTERM or Ctrl-C."""
    stopped = stop_on_signals()
    _log_to_console(quiet=once)
    with context.obj.connect() as database, _bar(database, names or []) if once else nullcontext(None) as progress:
        report = database.work(names or [], once=once, stopped=stopped, progress=progress)
    console.results.print(str(report))


def stop_on_signals() -> Callable[[], bool]:
    """Return a function that returns whether SIGTERM or SIGINT was received.

    A second signal, or a few seconds without an end, interrupts the batch, which is rolled back.
    """
    received: list[int] = []

    def receive(number: int, _frame: Any) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, receive)
            signal.setitimer(signal.ITIMER_REAL, _GRACE)

    signal.signal(signal.SIGTERM, receive)
    signal.signal(signal.SIGINT, receive)
    return lambda: bool(received)


def _bar(database: RetrievalDatabase, names: list[str]) -> Any:
    total = sum(database.get_collection(name).stats()["queued"] or 0 for name in names or database.list_collections())
    return console.progress_bar("applying changes", total)


def _names(columns: str) -> list[str]:
    return [column.strip() for column in columns.split(",") if column.strip()]


class _ToConsole(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.errors.print(self.format(record), soft_wrap=True)


def _log_to_console(*, quiet: bool) -> None:
    """Log warnings and, unless `quiet`, each batch, with the time."""
    handler = _ToConsole()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("pgretrieval")
    log.handlers = [handler]
    log.setLevel(logging.WARNING if quiet else logging.INFO)
