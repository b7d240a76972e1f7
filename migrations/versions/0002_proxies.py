"""Learned proxies: their models, one vector per passage, and the collection's choice of candidate generator."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
