"""Collections whose scores come from the retrieved tokens alone: postings that hold the tokens' codes."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
