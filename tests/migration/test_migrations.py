"""All ways to install the schema give the same result, and revisions follow the conventions."""

from __future__ import annotations

import re

import psycopg
import pytest

import pgretrieval
from pgretrieval import assets
from pgretrieval.database import open_database
from pgretrieval.db import schema
from tests.fixtures.collections import Corpus
from tests.support.catalog import catalogue
from tests.support.revisions import downgrade

VERSIONS = assets.MIGRATIONS / "versions"


@pytest.mark.both_versions
def test_the_printed_sql_equals_migrate(database_url: str, empty_database_url: str):
    """`migrate --sql` installs the same schema as `migrate`."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(schema.as_sql())
    assert catalogue(empty_database_url) == catalogue(database_url)
    with pgretrieval.connect(url=empty_database_url) as database:
        assert database.migrate() == schema.head_revision()
    assert catalogue(empty_database_url) == catalogue(database_url)


def test_the_printed_sql_is_one_transaction(empty_database_url: str):
    """A failure within the printed SQL leaves no part of the schema."""
    script = schema.as_sql()
    assert len(re.findall(r"(?im)^\s*(begin|commit)\s*;", script)) == 2
    broken = script.replace("create or replace function pgretrieval.index_vectors", "create nonsense")
    assert broken != script
    with psycopg.connect(empty_database_url, autocommit=True) as connection, pytest.raises(psycopg.errors.SyntaxError):
        connection.execute(broken)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regnamespace('pgretrieval')").fetchone() == (None,)


def test_a_failed_migration_leaves_nothing(empty_database_url: str, monkeypatch: pytest.MonkeyPatch):
    """A failed migration leaves neither tables, functions nor the extension."""
    monkeypatch.setattr(assets, "functions", lambda: ["select 1 / 0;"])
    with open_database(empty_database_url) as database, pytest.raises(pgretrieval.StorageError, match="division by zero"):
        database.migrate()
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regnamespace('pgretrieval')").fetchone() == (None,)
    monkeypatch.undo()
    with open_database(empty_database_url) as database:
        database.migrate()


@pytest.mark.both_versions
def test_downgrade_and_upgrade(database_url: str, corpus: Corpus):
    """Every revision can be downgraded and upgraded again, and collections' tables are dropped."""
    before = catalogue(database_url)
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages[:20], vectors=corpus.vectors[:20])
        docs.build()
    downgrade(database_url, "base")
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "select relname from pg_class where relnamespace = 'pgretrieval'::regnamespace and relkind in ('r', 'p')"
        ).fetchall()
    assert tables == [("schema_version",)]
    with pytest.raises(pgretrieval.SchemaError, match="migrate"):
        pgretrieval.connect(url=database_url)
    with open_database(database_url) as database:
        database.migrate()
    assert catalogue(database_url) == before


def test_revisions_are_named_and_paired():
    """Numbers start at 0100, because development versions used lower ones, without gaps; each has a name and a down script."""
    scripts = sorted(path for path in VERSIONS.glob("*.py") if path.name != "__init__.py")
    assert scripts
    for number, path in enumerate(scripts, start=100):
        assert re.fullmatch(rf"{number:04d}_[a-z0-9_]+\.py", path.name)
        assert path.with_suffix(".sql").exists()
        assert path.with_suffix(".down.sql").exists()
        assert f'revision = "{number:04d}"' in path.read_text()
    stems = {path.stem for path in scripts}
    assert {path.name.split(".")[0] for path in VERSIONS.glob("*.sql")} == stems


def test_plpgsql_functions_pin_the_search_path_and_hot_ones_do_not():
    """PL/pgSQL functions pin the search path; hot functions have no SET, so they are inlined."""
    for path in assets.function_files():
        text = path.read_text().lower()
        if "language plpgsql" in text:
            assert "set search_path" in text, path.name
        else:
            assert "begin atomic" in text, path.name
            assert not re.search(r"\n(set|strict|security definer)\b", text), path.name


def test_tables_that_refer_to_each_other_do_so_at_the_end_of_a_transaction(database_url: str):
    """A restore of the extension may load either table first, with the constraints in place."""
    statement = """
        select there.conrelid::regclass::text, there.confrelid::regclass::text, there.condeferred
        from pg_constraint as there
        join pg_constraint as back on (back.conrelid, back.confrelid) = (there.confrelid, there.conrelid)
        where there.contype = 'f' and back.contype = 'f' and there.connamespace = 'pgretrieval'::regnamespace
        order by 1, 2
    """
    with psycopg.connect(database_url) as connection:
        assert connection.execute(statement).fetchall() == [
            ("pgretrieval.codebook", "pgretrieval.collection", True),
            ("pgretrieval.collection", "pgretrieval.codebook", True),
            ("pgretrieval.collection", "pgretrieval.factorization", True),
            ("pgretrieval.factorization", "pgretrieval.collection", True),
        ]
