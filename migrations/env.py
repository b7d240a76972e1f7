"""Environment of alembic's own commands on these revisions, on the connection in the configuration's attributes.

Installing and upgrading do without: `pgretrieval.db.schema` runs the SQL of the revisions itself.
"""

from __future__ import annotations

from alembic import context

from pgretrieval.db.revisions import VERSION_OPTIONS

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **VERSION_OPTIONS)
else:
    context.configure(connection=context.config.attributes["connection"], **VERSION_OPTIONS)
with context.begin_transaction():
    context.run_migrations()
