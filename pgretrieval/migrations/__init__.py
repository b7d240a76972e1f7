"""Alembic migrations with hand-written SQL; `pgretrieval.db.schema` runs them."""
