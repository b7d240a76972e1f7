"""Databases of development versions, revisions 0001 to 0012, are refused with the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from alembic import command as alembic
from alembic.config import Config

import pgretrieval
from pgretrieval.corpus.reading import read_passages
from pgretrieval.database import open_database
from pgretrieval.db import schema
from tests.fixtures.cli import Command
from tests.fixtures.collections import Corpus
from tests.support.catalog import catalogue

REMEDY = (
    r"revision {}, of before version 0\.1\.0, which no release upgrades.*select key, title, body, metadata from pgretrieval.passage"
    r".*drop schema pgretrieval cascade.*migrate again.*add the passages to new collections"
)
DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "alembic-example"
PAGE = (DOCS / "reference" / "servers.md").read_text(encoding="utf-8")
SAVING = next(re.finditer(r'"(select jsonb_build_object.*?)"', PAGE, re.DOTALL))[1]

old = pytest.mark.parametrize("revision", ["0001", "0007", "0012"])


def be_of(url: str, revision: str) -> list[str]:
    """Set the revision of a database; returns its catalogue."""
    with psycopg.connect(url) as connection:
        connection.execute("update pgretrieval.schema_version set version_num = %s", [revision])
    return catalogue(url)


@old
def test_connecting_and_migrating_name_the_remedy(database_url: str, revision: str):
    """`connect` and `migrate` report the remedy and change nothing."""
    before = be_of(database_url, revision)
    with pytest.raises(pgretrieval.SchemaError, match=REMEDY.format(revision)):
        pgretrieval.connect(url=database_url)
    with open_database(database_url) as database:
        with pytest.raises(pgretrieval.SchemaError, match=REMEDY.format(revision)):
            database.migrate()
        told = [finding for finding in database.diagnose() if "revision" in finding.text]
        assert [finding.level for finding in told] == ["problem"]
        assert re.search(REMEDY.format(revision), told[0].text)
    assert catalogue(database_url) == before


@old
def test_scripts_name_the_remedy(database_url: str, revision: str, monkeypatch: pytest.MonkeyPatch):
    """The output of `migrate --sql`, an application's migration and an offline migration from such a revision report the remedy."""
    before = be_of(database_url, revision)
    told = f"revision {revision}, of before version 0.1.0"
    with psycopg.connect(database_url, autocommit=True) as connection, pytest.raises(psycopg.Error, match=told):
        connection.execute(schema.as_sql())
    monkeypatch.setenv("DATABASE_URL", database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with pytest.raises(psycopg.Error, match=told):
        alembic.upgrade(Config(EXAMPLE / "alembic.ini"), "head")
    assert catalogue(database_url) == before
    with pytest.raises(pgretrieval.SchemaError, match=REMEDY.format(revision)):
        schema.upgrade_script(revision)


def test_the_last_development_state_names_the_remedy(database_url: str):
    """Revision 0100 as it was before its tables were final is refused, and not changed."""
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table pgretrieval.collection drop column buckets cascade")
        connection.execute("comment on schema pgretrieval is null")  # as if other functions were installed
    before = catalogue(database_url)
    with pytest.raises(pgretrieval.SchemaError, match=REMEDY.format("0100")), open_database(database_url) as database:
        database.migrate()
    assert catalogue(database_url) == before


@pytest.mark.parametrize("arguments", [["list"], ["migrate"], ["doctor"]])
def test_the_command_line_names_the_remedy(database_url: str, command: Command, arguments: list[str]):
    """Commands print the error without a traceback and exit with 1."""
    be_of(database_url, "0007")
    code, out, err = command(*arguments)
    assert code == 1
    assert "Traceback" not in err
    assert re.search(REMEDY.format("0007"), " ".join((out + err).split()))


def test_an_embedded_database_names_the_remedy(data_dir: Path):
    """An embedded database, migrated when opened, is refused without a change, too."""
    with pgretrieval.connect(data_dir=data_dir) as database:
        before = be_of(database.url, "0003")
    with pytest.raises(pgretrieval.SchemaError, match=REMEDY.format("0003")):
        pgretrieval.connect(data_dir=data_dir)
    with open_database(data_dir=data_dir) as database:
        assert catalogue(database.url) == before


def test_the_documented_steps_transfer_the_passages(database_url: str, corpus: Corpus, tmp_path: Path):
    """The documented steps transfer keys, titles, texts and metadata."""
    passages = [
        {**passage, "title": f"title {number}", "metadata": {"n": number}} for number, passage in enumerate(corpus.passages[:20])
    ]
    with pgretrieval.connect(url=database_url) as database:
        database.create_collection("docs").add(passages, vectors=corpus.vectors[:20])
        before = database.get_collection("docs").get([passage["id"] for passage in passages])
    be_of(database_url, "0012")
    with psycopg.connect(database_url, autocommit=True) as connection:
        printed = connection.execute(f"select saved::text from ({SAVING} order by passage_id) as saved (saved)").fetchall()
        connection.execute("drop schema pgretrieval cascade")
    file = tmp_path / "docs.jsonl"
    file.write_text("\n".join(line for (line,) in printed), encoding="utf-8")
    with open_database(database_url) as database:
        database.migrate()
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(read_passages(file), vectors=corpus.vectors[:20])
        assert docs.get([passage["id"] for passage in passages]) == before
