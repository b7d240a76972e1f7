"""Installation, upgrade and verification of the schema: bootstrap, then the revisions, then every SQL function."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, cast

from psycopg import errors as pg
from typing_extensions import LiteralString

from pgretrieval import assets, validate
from pgretrieval.db.connection import Connection, Database, one, value
from pgretrieval.db.errors import storage_errors
from pgretrieval.errors import ExtensionError, SchemaError, StorageError

_MAX_REVISION = 100
_NEWER = (
    "the schema in this database is at revision {found}, newer than this client knows (its newest is {head}). "
    "Upgrade the package: pip install --upgrade pgretrieval"
)
_BEFORE_RELEASES = (
    "the schema in this database is at revision {found}, of before version 0.1.0, which no release upgrades. Save the passages "
    "(select key, title, body, metadata from pgretrieval.passage), drop it (drop schema pgretrieval cascade), migrate again, and "
    "add the passages to new collections"
)
_MISSING = "this database has no pgretrieval schema. Its owner can install it: pgretrieval --database URL migrate"
_WORKER = "this database is on a worker of a Citus cluster; give the URL of its coordinator, which is {coordinator}"
_OLDER = (
    "the schema in this database is at revision {found}, this client needs {head}. Its owner can upgrade it: "
    "pgretrieval --database URL migrate"
)
BY_EXTENSION = "run `pgretrieval package-extension` of this package on the server, then ALTER EXTENSION pgretrieval UPDATE"
_OLDER_EXTENSION = (
    "the extension pgretrieval in this database is at revision {found}, this client needs {head}. Its owner can upgrade it: "
    + BY_EXTENSION
)
_NO_USAGE = (
    "pgvector is in schema {schema}, which role {role} may not use; have the owner of that schema run "
    "GRANT USAGE ON SCHEMA {schema} TO {role}"
)


_SQL = assets.statements("schema")
_PATIENCE = 60  # seconds
_BETWEEN_TRIES = 0.5


def head_revision() -> str:
    """The newest revision this client knows."""
    return [*assets.revisions()][-1]


def installed_revision(database: Database) -> str | None:
    """The revision of the database, or None if the schema is not installed."""
    with database.connection("reading the schema version") as connection:
        return cast("str | None", value(connection, _SQL["version"])) if value(connection, _SQL["exists"]) else None


def belongs_to_extension(database: Database) -> bool:
    """Return whether `create extension pgretrieval` installed the schema, so that `migrate` may not upgrade it."""
    with database.connection("looking for the extension") as connection:
        return bool(value(connection, _SQL["has_extension"]))


def verify(database: Database) -> None:
    """Raise SchemaError with the remedy unless the database is at this client's revision and the role may use pgvector's schema."""
    found, head = installed_revision(database), head_revision()
    if found is None:
        raise SchemaError(_on_worker(database) or _MISSING)
    if found != head:
        older = _OLDER_EXTENSION if belongs_to_extension(database) else _OLDER
        raise SchemaError((older if found in assets.revisions() else _unknown(found)).format(found=found, head=head))
    with database.connection("looking for pgvector") as connection:
        refused = one(connection, _SQL["refused_vector_schema"])
    if refused:
        raise ExtensionError(_NO_USAGE.format(schema=refused[0], role=refused[1]))


def _on_worker(database: Database) -> str | None:
    """Return the message about a worker of a Citus cluster, None elsewhere."""
    with database.connection("looking for Citus") as connection:
        coordinator = value(connection, _SQL["coordinator_of_worker"]) if value(connection, _SQL["has_citus"]) else None
    return _WORKER.format(coordinator=coordinator) if coordinator else None


def _unknown(found: str) -> str:
    """Return the message about a revision that this client does not know."""
    return _BEFORE_RELEASES if found < next(iter(assets.revisions())) else _NEWER


def is_current(database: Database, *, shared: bool) -> bool:
    """Return whether the database has this client's revision, and its SQL functions or others that should stay.

    Functions of a newer set stay and, if other processes use the database (`shared`), also those of another copy of the same set.
    """
    if installed_revision(database) != head_revision():
        return False
    digest, number = functions_of(database)
    ours = assets.functions_number()
    return digest == assets.functions_digest() or number > ours or (shared and number == ours)


def functions_of(database: Database) -> tuple[str | None, int]:
    """Digest and number of the database's set of SQL functions; None and 0 if not recorded."""
    with database.connection("reading the schema version") as connection:
        digest, number = one(connection, assets.statements("server")["functions"]) or (None, 0)
    return digest, number


def migrate(database: Database, *, distributed: bool = False) -> str:
    """Install or upgrade in one transaction; several processes may call it at once. Returns the resulting revision.

    `distributed` also spreads the tables over the workers of a Citus coordinator. Raises SchemaError if the database or its
    functions are newer than this client, the role may not create the schema, or the coordinator has no workers; ExtensionError
    if pgvector or Citus is missing or too old.
    """
    until = time.monotonic() + _PATIENCE
    with storage_errors(database.url, "creating or upgrading the schema"), database.session() as connection:
        connection.prepare_threshold = None  # leaves no prepared statement in a pooler's session
        if not connection.pooled:
            connection.execute(assets.statements("server")["without_time_limits"], {"local": False})
        if database.embedded:
            connection.execute(_SQL["own_server"])
        while not _try_to_upgrade(connection, until, distributed):
            time.sleep(_BETWEEN_TRIES * random.uniform(0.5, 1.5))
    return head_revision()


def _try_to_upgrade(connection: Connection, until: float, distributed: bool) -> bool:
    """False if another session held a lock and time is left; longer tries would block all others."""
    try:
        with connection.transaction():
            patient = value(connection, _SQL["limit_waiting"])
            upgrade(lambda text: value(connection, text), lambda text: connection.execute(text.encode()))
            if distributed:
                connection.execute(_SQL["distribute"])
    except pg.LockNotAvailable as error:
        if not patient:
            raise
        if time.monotonic() < until:
            return False
        holders = value(connection, _SQL["in_the_way"])
        msg = (
            f"the schema was not upgraded: for {_PATIENCE} seconds other sessions kept its tables in use: "
            f"{holders or 'none does now'}. Let their transactions end, or end them by pg_terminate_backend, then do the same again"
        )
        raise StorageError(msg) from error
    return True


def upgrade(value_of: Callable[[LiteralString], Any], run: Callable[[str], object]) -> None:
    """Install or upgrade in the caller's open transaction; its search path is restored.

    `value_of` returns the value of a statement, `run` executes a file of statements. Raises SchemaError if the database is newer
    than this client.
    """
    run(_beginning())
    run(_steps(value_of(_SQL["version"]) if value_of(_SQL["exists"]) else None))


def as_sql() -> str:
    """The whole installation as one script for psql, without a connection."""
    return "begin;\n" + upgrade_script(None) + "commit;\n"


def upgrade_script(since: str | None) -> str:
    """Statements that upgrade a database from revision `since`, or without the schema if None, to this client's; idempotent.

    They run inside one transaction and restore its search path. Raises SchemaError if `since` is unknown.
    """
    return _beginning() + _steps(since)


def _beginning() -> str:
    """Return the SQL that precedes reading the schema's revision."""
    return f"{_SQL['keep_search_path']};\n{assets.bootstrap()}\n"


def _steps(since: str | None) -> str:
    """Return the revisions after `since`, then all functions, then the restored search path."""
    since = validate.text_or_none("since", since, most=_MAX_REVISION)
    known = assets.revisions()
    if since is not None and since not in known:
        raise SchemaError(_unknown(since).format(found=since, head=head_revision()))
    return "\n".join(
        [
            *(assets.revision(path) for revision, path in known.items() if since is None or revision > since),
            _SQL["set_version"].format(revision=head_revision()) + ";",
            assets.refuse_newer_functions(),
            _SQL["keep_local"] + ";",
            *assets.functions(),
            _SQL["adapt_functions"] + ";",
            assets.mark_functions(),
            _SQL["restore_search_path"] + ";\n",
        ]
    )


def downgrade_script(revision: str) -> str:
    """Statements that downgrade a database from this client's revision to `revision`, or remove the schema for "base"."""
    revision = validate.text("revision", revision, most=_MAX_REVISION)
    if revision == "base":
        return _SQL["drop"] + ";\n"
    known = assets.revisions()
    if revision not in known:
        msg = f"there is no revision {revision!r}; give an older one of this package, or base"
        raise SchemaError(msg)
    leaving = [assets.revision(path, ".down.sql") for name, path in reversed(known.items()) if name > revision]
    steps = [*leaving, _SQL["set_version"].format(revision=revision) + ";"]
    return "\n".join([_SQL["keep_search_path"] + ";", _SQL["safe_search_path"] + ";", *steps, _SQL["restore_search_path"] + ";\n"])
