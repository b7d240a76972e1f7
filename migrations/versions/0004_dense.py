"""Dense vectors, and how much a word of the title counts."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
