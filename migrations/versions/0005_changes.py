"""Segments of postings, passages that were removed, and the compaction that merges and drops them."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
