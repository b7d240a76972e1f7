"""The revisions of the schema that were released, with the digests that their files had then; and the way back to one."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
from alembic import command
from sqlalchemy import create_engine, pool

from pgretrieval.db.revisions import alembic_config

RELEASED: dict[str, str] = json.loads((Path(__file__).parents[1] / "migration" / "released.json").read_text(encoding="utf-8"))
"""File name -> SHA-256 of its text."""

REVISIONS = sorted({name.split("_")[0] for name in RELEASED})
"""0001, 0002, …"""


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to a revision, by alembic itself."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=pool.NullPool)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
