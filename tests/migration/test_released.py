"""Released files do not change, and released databases can be upgraded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import pgretrieval
from pgretrieval import assets
from pgretrieval.database import open_database
from pgretrieval.db import schema
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.catalog import catalogue
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.released import Released
from tests.support.revisions import downgrade, later_revisions, upgrade
from tests.support.sql import vector_array


def test_released_files_are_unchanged():
    """Released revisions are unchanged, because databases that have run them would differ from new ones."""
    assert Released.read().violations() == []


@pytest.fixture
def working_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of sql/ and migrations/ that a test may change, in one folder."""
    for name, folder in (("SQL", assets.SQL), ("MIGRATIONS", assets.MIGRATIONS)):
        monkeypatch.setattr(assets, name, tmp_path / folder.name)
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    assets.functions_digest.cache_clear()
    return tmp_path


@pytest.fixture(autouse=True)
def _digest_of_the_package():
    yield
    assets.functions_digest.cache_clear()


def edit(path: Path, more: str = "-- more\n") -> None:
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")


INITIAL = Path("migrations/versions/0100_initial.sql")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tree: edit(tree / INITIAL), ["0100_initial.sql was released: take the change back and write a new revision"]),
        (lambda tree: (tree / INITIAL).unlink(), ["0100_initial.sql was released"]),
        (lambda tree: (tree / INITIAL).with_name("0100_more.sql").write_text(""), ["0100_more.sql was released"]),
        (lambda tree: (tree / INITIAL).with_name("0101_more.sql").write_text(""), []),
        (lambda tree: edit(tree / "sql/functions/search/search.sql"), ["count sql/functions_number.txt up by one"]),
        (lambda tree: (tree / "sql/functions_number.txt").write_text("0"), ["a higher number was released"]),
    ],
    ids=["edited", "removed", "added to", "a new revision", "functions", "an older number"],
)
def test_a_change_of_a_released_file_is_detected(working_tree: Path, change: Callable[[Path], object], expected: list[str]):
    """Changes of released revisions and numbered sets of functions are detected; later files may change."""
    kept = working_tree / "released.json"
    Released({}, {}).with_the_working_tree().write(kept)
    assert Released.read(kept).violations() == []
    change(working_tree)
    assets.functions_digest.cache_clear()
    found = Released.read(kept).violations()
    assert len(found) == len(expected)
    assert all(said in whole for said, whole in zip(expected, found, strict=True))
    if found:
        with pytest.raises(ValueError, match="release"):
            Released.read(kept).with_the_working_tree()


def test_the_next_release_holds_new_revisions_and_functions_too(working_tree: Path):
    """The next release records new revisions and functions; changed functions have a higher number, and earlier ones remain."""
    first = Released({}, {}).with_the_working_tree()
    (working_tree / INITIAL).with_name("0101_more.sql").write_text("select 1;")
    edit(working_tree / "sql/functions/search/search.sql")
    (working_tree / "sql/functions_number.txt").write_text(str(assets.functions_number() + 1))
    assets.functions_digest.cache_clear()
    second = first.with_the_working_tree()
    assert second.functions.keys() == {*first.functions, str(assets.functions_number())}
    assert second.revisions.keys() - first.revisions.keys() == {"0101_more.sql"}
    edit(working_tree / "migrations/versions/0101_more.sql")
    assert len(second.violations()) == 1


@pytest.mark.both_versions
@pytest.mark.parametrize("by", ["migrate", "alembic", "script"])
def test_collections_work_after_an_upgrade_and_after_going_back(
    postgres: PostgresUnderTest, database_url: str, corpus: Corpus, by: str, tmp_path: Path
):
    """Passages, scores and indexes survive upgrade and downgrade, and every way gives the catalogue of a new installation."""
    query, scores = corpus.queries[0], TableCrossEncoder()
    today, head = catalogue(database_url), schema.head_revision()
    with pgretrieval.connect(url=database_url) as database:
        for name in ("built", "waiting"):
            database.create_collection(name).add(corpus.passages[:200], vectors=corpus.vectors[:200])
        docs = database.get_collection("built")
        docs.build()
        docs.add(corpus.passages[200:], vectors=corpus.vectors[200:])
        docs.factorize(scores, anchor_queries=queries(range(60)), anchor_items=30)
        before = docs.search(vectors=query), docs.search("query 66", scorer="cross_encoder", budget=100)
    with later_revisions(tmp_path) as later:
        newest = later[-1]
        with pytest.raises(pgretrieval.SchemaError, match=f"revision {head}, this client needs {newest}.*pgretrieval.*migrate"):
            pgretrieval.connect(url=database_url)
        if by == "alembic":
            upgrade(database_url, later[0])
            upgrade(database_url, "head")
        elif by == "script":
            run(database_url, schema.upgrade_script(head))
        with open_database(database_url) as database:  # after alembic's own upgrade it creates the functions
            assert database.migrate() == newest
        with pgretrieval.connect(url=database_url) as database:
            docs, waiting = database.get_collection("built"), database.get_collection("waiting")
            docs.use_cross_encoder(scores)
            assert (docs.search(vectors=query), docs.search("query 66", scorer="cross_encoder", budget=100)) == before
            docs.add([{"id": "new", "text": "after the upgrade"}], vectors=[query])
            assert waiting.build().built
            works(database_url, docs, waiting, corpus)
            database.create_collection("later").add(corpus.passages[:20], vectors=corpus.vectors[:20])
            database.drop_collection("later")
        with psycopg.connect(database_url) as connection:
            assert connection.execute("select count(*) from pgretrieval.note").fetchone() == (500,)
        fresh = postgres.create_database(migrated=False)
        with open_database(fresh) as database:
            database.migrate()
        expected = catalogue(fresh)
        postgres.drop_database(fresh)
        if by == "alembic":
            downgrade(database_url, later[0])
            downgrade(database_url, head)
        else:
            run(database_url, schema.downgrade_script(head))
    with open_database(database_url) as database:
        assert database.migrate() == head
    with pgretrieval.connect(url=database_url) as database:
        docs, waiting = database.get_collection("built"), database.get_collection("waiting")
        works(database_url, docs, waiting, corpus)
        assert docs.check() == waiting.check() == []
        for name in ("built", "waiting"):
            database.drop_collection(name)
    assert catalogue(database_url) == today
    with later_revisions(tmp_path / "again"), open_database(database_url) as database:
        database.migrate()
        assert catalogue(database_url) == expected
    # Nothing of a dropped collection is left.
    with psycopg.connect(database_url) as connection:
        left = connection.execute("select count(*) from pg_inherits join pg_class c on c.oid = inhrelid where c.relkind = 'r'")
        assert left.fetchone() == (0,)


def works(url: str, docs: pgretrieval.Collection, waiting: pgretrieval.Collection, corpus: Corpus) -> None:
    """Both collections return the expected hits, from Python and in SQL."""
    assert docs.search(vectors=corpus.queries[0], k=1)[0].id == "new"
    assert docs.text_search("passage 250", k=1)[0].id == "p250"
    assert waiting.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"
    assert waiting.text_search("passage 150", k=1)[0].id == "p150"
    with psycopg.connect(url) as connection:
        searched = "select id from pgretrieval.search(%s, %s::vector[], 1)"
        assert connection.execute(searched, ["built", vector_array(corpus.queries[0])]).fetchone() == ("new",)


def run(url: str, script: str) -> None:
    """Run a script in one transaction and check that it keeps the search path."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"begin; {script} commit;")
        assert connection.execute("show search_path").fetchone() == ('"$user", public',)


def test_the_printed_script_of_a_first_installation_has_all_revisions(
    empty_database_url: str, postgres: PostgresUnderTest, tmp_path: Path
):
    """`migrate --sql` of a later package installs the same schema as its `migrate`."""
    with later_revisions(tmp_path):
        url = postgres.create_database(migrated=False)
        with open_database(url) as database:
            database.migrate()
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute(schema.as_sql())
        assert catalogue(empty_database_url) == catalogue(url)
    postgres.drop_database(url)
