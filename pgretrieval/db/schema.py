"""Installing, upgrading and checking the schema: bootstrap, then alembic's revisions, then every SQL function."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from pgretrieval import assets
from pgretrieval.db.connection import Database, value
from pgretrieval.db.errors import storage_errors
from pgretrieval.errors import SchemaError
from pgretrieval.migrations.statements import execute_file

_NEWER = (
    "the schema in this database is at revision {found}, newer than this client knows (its newest is {head}). "
    "Upgrade the package: pip install --upgrade pgretrieval"
)
_MISSING = "this database has no pgretrieval schema. Its owner can install it: pgretrieval --database URL migrate"
_OLDER = (
    "the schema in this database is at revision {found}, this client needs {head}. Its owner can upgrade it: "
    "pgretrieval --database URL migrate"
)


def head_revision() -> str:
    """The newest revision this client knows."""
    return cast("str", ScriptDirectory.from_config(_config()).get_current_head())


def installed_revision(database: Database) -> str | None:
    """The revision of the database, None where nothing is installed."""
    named = assets.statements("catalog")
    with database.connection("reading the schema version") as connection:
        if not value(connection, named["schema_exists"]):
            return None
        return cast("str | None", value(connection, named["schema_versions"]))


def verify(database: Database) -> None:
    """Raise SchemaError with the remedy unless the database is at this client's revision."""
    found, head = installed_revision(database), head_revision()
    if found is None:
        raise SchemaError(_MISSING)
    if found != head:
        known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
        raise SchemaError((_OLDER if found in known else _NEWER).format(found=found, head=head))


def is_current(database: Database) -> bool:
    """Whether the revision and the SQL functions of the database are those of this client."""
    if installed_revision(database) != head_revision():
        return False
    with database.connection("reading the schema version") as connection:
        return bool(value(connection, assets.statements("catalog")["functions_digest"]) == assets.functions_digest())


def migrate(database: Database) -> str:
    """Install or upgrade, in one transaction; safe when several run at once. Returns the revision it leaves.

    Raises SchemaError where the database is newer than this client or the role may not create the schema, ExtensionError where
    pgvector is missing or too old.
    """
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database.url), poolclass=NullPool)
    with storage_errors(database.url, "creating or upgrading the schema"), engine.begin() as connection:
        execute_file(connection, assets.bootstrap())
        _refuse_newer(connection)
        command.upgrade(_config(connection), "head")
        for function in assets.functions():
            execute_file(connection, function)
        execute_file(connection, assets.mark_functions())
    return head_revision()


def as_sql() -> str:
    """The whole installation as one script for psql; nothing is connected to."""
    revisions = io.StringIO()
    config = _config(output=revisions)
    with redirect_stdout(revisions):
        command.upgrade(config, "head", sql=True)
    body = revisions.getvalue().replace("BEGIN;\n", "", 1)
    body = body[: body.rindex("COMMIT;")] if "COMMIT;" in body else body
    return "\n".join(["begin;", assets.bootstrap(), body, *assets.functions(), assets.mark_functions(), "commit;", ""])


def _refuse_newer(connection: Connection) -> None:
    named = assets.statements("catalog")
    exists = connection.exec_driver_sql(named["schema_exists"]).scalar()
    found = connection.exec_driver_sql(named["schema_versions"]).scalar() if exists else None
    scripts = ScriptDirectory.from_config(_config())
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaError(_NEWER.format(found=found, head=scripts.get_current_head()))


def _config(connection: Connection | None = None, output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(assets.MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
