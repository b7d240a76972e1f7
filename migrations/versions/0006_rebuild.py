"""Rebuilds beside what searches use: several encodings of a collection, and how far a rebuild is."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
