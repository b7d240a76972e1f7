"""Item embeddings whose variance is the same in every direction."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
