"""Revisions after the package's newest, for tests of upgrades and downgrades by the package and by alembic."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, pool

from pgretrieval import assets
from pgretrieval.db import schema
from pgretrieval.db.revisions import alembic_config

_PYTHON = assets.MIGRATIONS / "versions" / "0100_initial.py"

LATER: dict[str, tuple[str, str]] = {
    # Columns of tables whose rows functions hold in variables; an index on all partitions; a type of pgvector's.
    "author": (
        """
        alter table pgretrieval.collection add column later integer, add column named text not null default 'x';
        alter table pgretrieval.passage add column author text, add column picture @extschema:vector@.vector(3);
        create index passage_author on pgretrieval.passage (author);
        update pgretrieval.passage set author = 'somebody';
        """,
        """
        alter table pgretrieval.collection drop column later, drop column named;
        alter table pgretrieval.passage drop column author, drop column picture;
        """,
    ),
    # A new partitioned table with partitions of existing collections; a column used by functions, dropped with them.
    "notes": (
        """
        create table pgretrieval.note (
            collection_id integer not null,
            passage_id integer not null,
            note text not null,
            primary key (collection_id, passage_id)
        ) partition by list (collection_id);
        comment on table pgretrieval.note is 'What somebody noted of a passage.';
        do $partitions$
        declare
            held integer;
        begin
            for held in select collection_id from pgretrieval.collection loop
                perform pgretrieval.create_partition('note', 'collection_id', held);
            end loop;
        end
        $partitions$;
        insert into pgretrieval.note select collection_id, passage_id, body from pgretrieval.passage;
        drop function if exists pgretrieval.check_changes(pgretrieval.collection) cascade;
        alter table pgretrieval.segment alter column posting_rows type bigint;
        """,
        """
        drop table pgretrieval.note;
        drop function if exists pgretrieval.check_changes(pgretrieval.collection) cascade;
        alter table pgretrieval.segment alter column posting_rows type integer;
        """,
    ),
}
"""Name of each later revision -> its SQL and its down script."""


@contextmanager
def later_revisions(folder: Path) -> Iterator[list[str]]:
    """A copy of migrations/ with the revisions of LATER after today's. Yields their names."""
    migrations, last, names = folder / "migrations", schema.head_revision(), []
    shutil.copytree(assets.MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    for what, (up, down) in LATER.items():
        name = f"{int(last) + 1:04d}"
        script = migrations / "versions" / f"{name}_{what}.py"
        text = _PYTHON.read_text(encoding="utf-8").replace('revision = "0100"', f'revision = "{name}"')
        script.write_text(text.replace("down_revision = None", f'down_revision = "{last}"'), encoding="utf-8")
        script.with_suffix(".sql").write_text(up, encoding="utf-8")
        script.with_suffix(".down.sql").write_text(down, encoding="utf-8")
        names.append(name)
        last = name
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(assets, "MIGRATIONS", migrations)
        yield names


def upgrade(url: str, revision: str) -> None:
    """Upgrade the schema to a revision with alembic."""
    _by_alembic(url, command.upgrade, revision)


def downgrade(url: str, revision: str) -> None:
    """Downgrade the schema to a revision with alembic."""
    _by_alembic(url, command.downgrade, revision)


def _by_alembic(url: str, moving: Callable[[Config, str], None], revision: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=pool.NullPool)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        moving(config, revision)
