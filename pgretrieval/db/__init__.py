"""Everything that talks to Postgres; the only importer of psycopg, SQLAlchemy and alembic."""
