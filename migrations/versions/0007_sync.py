"""Collections attached to the application's own tables: what they are attached to, and the queue of changes."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
