"""What applications in SQL need: vectors that stay beside the codes, and an index over metadata."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
