"""Application `pgretrieval`: global options, errors, and the commands."""

from __future__ import annotations

import io
import sys
from typing import Annotated, NoReturn

import typer

from pgretrieval import validate
from pgretrieval.cli import (
    admin,
    changing,
    checking,
    console,
    demo,
    evaluation,
    factorizing,
    indexing,
    searching,
    syncing,
    training,
)
from pgretrieval.cli.main import INTERRUPTED, INTERRUPTION
from pgretrieval.cli.target import Target
from pgretrieval.database import DATA_DIR_VARIABLE, URL_VARIABLE
from pgretrieval.errors import PgRetrievalError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    context: typer.Context,
    database: Annotated[
        str | None,
        typer.Option(help=f"URL of a Postgres with pgvector, in the form of psql. Environment: {URL_VARIABLE}.", metavar="URL"),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(help=f"Directory of the embedded Postgres. Environment: {DATA_DIR_VARIABLE}.", metavar="DIR"),
    ] = None,
) -> None:
    """Late-interaction retrieval in the Postgres you already run.

    The default database is the embedded Postgres in the user's data directory.
    """
    context.obj = Target(database, data_dir)


app.command()(demo.demo)
app.command()(indexing.index)
app.command()(searching.search)
app.command()(factorizing.factorize)
app.command()(evaluation.evaluate)
app.command()(evaluation.compare)
app.command(name="mine")(training.mine_tuples)
app.add_typer(training.app, name="train")
app.command()(changing.delete)
app.command()(changing.compact)
app.command()(indexing.rebuild)
app.command()(syncing.attach)
app.command()(syncing.worker)
app.command()(syncing.detach)
app.command(name="list")(admin.list_collections)
app.command()(admin.stats)
app.command()(admin.drop)
app.command()(admin.migrate)
app.command()(admin.privileges)
app.command()(admin.doctor)
app.command()(checking.check)


def run() -> None:
    """Run a command; exit code 0 only on success."""
    for stream in (sys.stdout, sys.stderr):  # characters that the terminal or locale lacks are printed as escapes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except PgRetrievalError as error:
        _fail(str(error))
    except SystemExit as stop:  # raised by typer for Ctrl-C, without a message
        if stop.code == INTERRUPTED:
            console.errors.print(INTERRUPTION)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # from writing a file: no space, no permission, no such name
        _fail(f"{validate.shown(error.filename)}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> NoReturn:
    """Print an error on one line and exit with code 1."""
    console.errors.print("error:", style="bold red", end=" ")
    console.errors.print(" ".join(message.splitlines()), soft_wrap=True)
    sys.exit(1)
