"""Every table of version 0.1.0. Numbers begin at 0100: databases of before 0.1.0 have lower ones, and are refused."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0100"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
