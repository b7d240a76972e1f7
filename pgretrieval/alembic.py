"""The schema inside an application's own alembic migrations (docs/alembic-example is a project that does it).

A migration of the application calls `upgrade_pgretrieval`, and a later one again whenever the package was upgraded. All runs
in the application's transaction, and the application's search path is as it was afterwards.
"""

from __future__ import annotations

from typing import Any

from alembic import context, op

from pgretrieval import validate
from pgretrieval.db import schema
from pgretrieval.db.revisions import execute_file, upgrade

_SCHEMA = "pgretrieval"


def upgrade_pgretrieval(since: str | None = None) -> None:
    """Install the schema, or upgrade it to this package's revision.

    `since` is the revision that the database has, for offline mode (`--sql`), which cannot look; without it, a first installation
    is printed. Raises SchemaError where the database is newer than this package.
    """
    since = validate.text_or_none("since", since)
    if context.is_offline_mode():
        context.static_output(schema.upgrade_script(since))
    else:
        upgrade(op.get_bind())


def downgrade_pgretrieval(revision: str = "base") -> None:
    """Go back to an older revision; "base" removes the schema with everything in it.

    After going back to another revision, `pgretrieval migrate` of the package that knows it as its newest installs its functions.
    """
    script = schema.downgrade_script(revision)
    if context.is_offline_mode():
        context.static_output(script)
    else:
        execute_file(op.get_bind(), script)


def include_object(item: Any, _name: str | None, _kind: str, _reflected: bool, _compared: Any) -> bool:
    """For `context.configure(include_object=…)` in env.py: autogenerate leaves all that is in the schema of pgretrieval alone.

    Without it autogenerate proposes to drop these tables, if the application includes other schemas.
    """
    table = item if getattr(item, "schema", None) is not None else getattr(item, "table", item)
    return getattr(table, "schema", None) != _SCHEMA
