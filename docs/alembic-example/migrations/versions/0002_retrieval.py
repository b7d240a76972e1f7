"""pgretrieval beside it, and a collection for the articles."""

from __future__ import annotations

from alembic import op

from pgretrieval.alembic import downgrade_pgretrieval, upgrade_pgretrieval

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    upgrade_pgretrieval()
    op.execute("select pgretrieval.create_collection('articles', 128)")


def downgrade() -> None:
    downgrade_pgretrieval()
