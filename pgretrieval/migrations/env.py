"""Alembic's entry point. It works on the connection it is given; `pgretrieval.db.schema` gives it one."""

from __future__ import annotations

from alembic import context

from pgretrieval.migrations.settings import VERSION_OPTIONS

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **VERSION_OPTIONS)
else:
    context.configure(connection=context.config.attributes["connection"], **VERSION_OPTIONS)
with context.begin_transaction():
    context.run_migrations()
