"""Collections, codebooks, passages, codes and postings."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
