"""Factorisations of a cross-encoder's scores: anchors, scores, and one vector for each passage."""

from __future__ import annotations

from pgretrieval.db.revisions import run_sql_beside

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)


def downgrade() -> None:
    run_sql_beside(__file__, ".down.sql")
