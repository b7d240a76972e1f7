"""Installation of the schema within an application's own alembic migrations (docs/alembic-example is a complete project).

A migration of the application calls `upgrade_pgretrieval`; a later migration calls it again after each upgrade of the package.
Everything runs in the application's transaction and restores the application's search path.
"""

from __future__ import annotations

from typing import Any

from alembic import context, op

from pgretrieval import validate
from pgretrieval.db import schema
from pgretrieval.db.revisions import execute_file, upgrade

_SCHEMA = "pgretrieval"


def upgrade_pgretrieval(since: str | None = None) -> None:
    """Install the schema, or upgrade it to the revision of this package.

    For offline mode (`--sql`), which cannot read the database, `since` is the revision that the database has; None prints a first
    installation. Raises SchemaError if the database is newer than this package.
    """
    since = validate.text_or_none("since", since)
    if context.is_offline_mode():
        context.static_output(schema.upgrade_script(since))
    else:
        upgrade(op.get_bind())


def downgrade_pgretrieval(revision: str = "base") -> None:
    """Go back to an older revision; "base" removes the schema and everything in it.

    Afterwards, run `pgretrieval migrate` of the package version whose newest revision this is: it installs its functions.
    """
    script = schema.downgrade_script(revision)
    if context.is_offline_mode():
        context.static_output(script)
    else:
        execute_file(op.get_bind(), script)


def include_object(item: Any, _name: str | None, _kind: str, _reflected: bool, _compared: Any) -> bool:
    """Exclude the schema of pgretrieval from autogenerate; pass it to `context.configure(include_object=…)` in env.py.

    Without it, autogenerate proposes to drop these tables if the application includes other schemas.
    """
    table = item if getattr(item, "schema", None) is not None else getattr(item, "table", item)
    return getattr(table, "schema", None) != _SCHEMA
