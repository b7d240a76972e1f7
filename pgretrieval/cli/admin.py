"""`pgretrieval list | stats | drop | migrate | package-extension | privileges | doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pgretrieval import assets
from pgretrieval.cli import console

_COLOURS = {"ok": "green", "advice": "yellow", "problem": "red"}

NameArgument = Annotated[str, typer.Argument(help="The collection.")]


def list_collections(context: typer.Context) -> None:
    """Print the names of all collections."""
    with context.obj.connect() as database:
        for name in database.list_collections():
            typer.echo(console.visible(name) if sys.stdout.isatty() else name)


def stats(
    context: typer.Context,
    name: NameArgument,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the counts and settings of a collection, and the size of each of its tables."""
    with context.obj.connect() as database:
        measured = database.get_collection(name).stats()
    if json:
        console.print_json(measured)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, shown in measured.items():
        if key == "bytes":
            for part, size in shown.items():
                table.add_row(f"bytes of {part}", f"{size:,}")
        elif key != "index_bytes":
            table.add_row(key.replace("_", " "), f"{shown:,}" if type(shown) is int else str(shown))
    console.results.print(table)


def drop(context: typer.Context, name: NameArgument) -> None:
    """Remove a collection with its contents, and free its space."""
    with context.obj.connect() as database:
        database.drop_collection(name)
    console.errors.print(f"dropped {name!r}")


def migrate(
    context: typer.Context,
    sql: Annotated[bool, typer.Option("--sql", help="Print the installation as SQL for psql, without connecting.")] = False,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Spread the tables over the workers of a Citus coordinator.")
    ] = False,
) -> None:
    """Install or upgrade the schema. It can be run at any time."""
    if sql:
        from pgretrieval.db import schema

        typer.echo(schema.as_sql())
        return
    with context.obj.connect_unchecked() as database:
        revision = database.migrate(distributed=distributed)
    console.errors.print(f"the schema is at revision {revision}")


def package_extension(
    folder: Annotated[
        Path, typer.Argument(help="The server's folder of extensions: $(pg_config --sharedir)/extension.", show_default=False)
    ],
) -> None:
    """Write the extension pgretrieval to a server's folder, without connecting.

    Then CREATE EXTENSION pgretrieval installs what migrate installs, and ALTER EXTENSION pgretrieval UPDATE upgrades.
    """
    from pgretrieval.db import extension

    for file in extension.package(folder):
        typer.echo(file)


def privileges(
    reader: Annotated[str, typer.Option(help="The role that searches.", metavar="ROLE")],
    writer: Annotated[str, typer.Option(help="The role that also adds and deletes passages.", metavar="ROLE")],
    owner: Annotated[str, typer.Option(help="The role that also creates, builds, drops and migrates.", metavar="ROLE")],
) -> None:
    """Print the grants for three roles as SQL for psql, without connecting."""
    typer.echo(assets.privileges(reader, writer, owner))


def doctor(context: typer.Context) -> None:
    """Check server, schema and settings, and recommend changes."""
    with context.obj.inspect() as database:
        findings = database.diagnose()
    for finding in findings:
        console.results.print(f"{finding.level:<7}", style=_COLOURS[finding.level], end=" ")
        console.results.print(finding.text)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)
