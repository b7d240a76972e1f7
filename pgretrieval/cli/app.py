"""Application `pgretrieval`: global options, errors, and the commands, whose modules are imported when they are used."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from pgretrieval import validate
from pgretrieval.cli import console
from pgretrieval.cli.main import INTERRUPTED, INTERRUPTION
from pgretrieval.cli.target import Target
from pgretrieval.db.variables import DATA_DIR_VARIABLE, URL_VARIABLE
from pgretrieval.errors import PgRetrievalError

_MODULES = {
    "demo": "demo.demo",
    "index": "indexing.index",
    "search": "searching.search",
    "explain": "explaining.explain",
    "serve": "serving.serve",
    "mcp": "agents.mcp",
    "factorize": "factorizing.factorize",
    "evaluate": "evaluation.evaluate",
    "compare": "evaluation.compare",
    "benchmark": "benchmarks.app",
    "mine": "training.mine_tuples",
    "delete": "changing.delete",
    "compact": "changing.compact",
    "build": "indexing.build",
    "rebuild": "indexing.rebuild",
    "attach": "syncing.attach",
    "worker": "syncing.worker",
    "detach": "syncing.detach",
    "list": "admin.list_collections",
    "stats": "admin.stats",
    "drop": "admin.drop",
    "migrate": "admin.migrate",
    "package-extension": "admin.package_extension",
    "privileges": "admin.privileges",
    "doctor": "admin.doctor",
    "check": "checking.check",
    "train": "training.app",
}
"""Command -> module and function, in the order of the help."""


class _Commands(Mapping[str, Any]):
    """Commands by name; reading one imports its module."""

    def __getitem__(self, name: str) -> Any:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


@cache
def _command(name: str) -> Any:
    module, function = _MODULES[name].split(".")
    found = getattr(import_module(f"pgretrieval.cli.{module}"), function)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command(name)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command


class _Group(TyperGroup):
    """Group of the commands above."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = cast("MutableMapping[str, Any]", _Commands())


app = typer.Typer(
    cls=_Group,
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
