"""Access to Postgres; the only importer of psycopg, SQLAlchemy and alembic."""
