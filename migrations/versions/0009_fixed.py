"""Collections whose passages all have the same number of vectors."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
