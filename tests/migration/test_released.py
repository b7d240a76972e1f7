"""What was released stays as it is, and databases that have it are led on from there."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

import pgretrieval
from pgretrieval import assets
from pgretrieval.database import open_database
from pgretrieval.db import schema
from tests.fixtures.collections import Corpus
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.encoder import HashedEncoder
from tests.support.revisions import RELEASED, REVISIONS, downgrade
from tests.support.sql import vector_array

VERSIONS = assets.MIGRATIONS / "versions"


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_a_released_revision_is_not_edited(name: str):
    """Databases that ran a revision before the edit differ from those that run it after, and nothing says so."""
    path = VERSIONS / name
    remedy = f"{name} was released and databases have run it: take the change back and write a new revision (CONTRIBUTING.md)"
    assert path.exists(), remedy
    assert sha256(path.read_text(encoding="utf-8").encode()).hexdigest() == RELEASED[name], remedy


def test_every_file_of_a_released_revision_is_held():
    """A digest is missing, and the file can be edited after all."""
    there = {path.name for path in VERSIONS.iterdir() if path.name.split("_")[0] in REVISIONS}
    assert there == set(RELEASED)


def test_functions_that_differ_from_the_released_ones_have_a_higher_number():
    """An older client takes changed functions for those of its own set, and puts its own in their place."""
    released = json.loads(Path(__file__).with_name("released_functions.json").read_text(encoding="utf-8"))
    number = assets.functions_number()
    assert number >= max(map(int, released), default=1)
    remedy = "the SQL functions were changed since the release: count sql/functions_number.txt up by one (CONTRIBUTING.md)"
    assert released.get(str(number), assets.functions_digest()) == assets.functions_digest(), remedy


@pytest.mark.both_versions
@pytest.mark.parametrize("revision", REVISIONS)
def test_collections_of_a_released_revision_work_after_the_upgrade(database_url: str, corpus: Corpus, revision: str):
    """An upgrade loses passages or an index, or collections that were there lack what later ones are made with."""
    query = corpus.queries[0]
    with pgretrieval.connect(url=database_url) as database:
        for name in ("built", "waiting"):
            database.create_collection(name).add(corpus.passages[:200], vectors=corpus.vectors[:200])
        docs = database.get_collection("built")
        docs.build()
        docs.add(corpus.passages[200:], vectors=corpus.vectors[200:])
        before = docs.search(vectors=query)
    downgrade(database_url, revision)
    head = schema.head_revision()
    with pytest.raises(pgretrieval.SchemaError, match=f"revision {revision}, this client needs {head}.*pgretrieval.*migrate"):
        pgretrieval.connect(url=database_url)
    with open_database(database_url) as database:
        assert database.migrate() == head
    with pgretrieval.connect(url=database_url) as database, psycopg.connect(database_url, autocommit=True) as connection:
        docs, waiting = database.get_collection("built"), database.get_collection("waiting")
        assert docs.generator == "auto"
        assert docs.search(vectors=query) == before
        searched = "select id from pgretrieval.search(%s, %s::vector[], 1)"
        assert connection.execute(searched, ["built", vector_array(query)]).fetchone() == (before[0].id,)
        assert docs.text_search("passage 250", k=1)[0].id == "p250"
        docs.add([{"id": "new", "text": "after the upgrade"}], vectors=[query])
        assert docs.search(vectors=query, k=1)[0].id == "new"
        assert waiting.build().built
        assert waiting.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"
        assert waiting.text_search("passage 150", k=1)[0].id == "p150"
        for name in ("built", "waiting"):
            database.drop_collection(name)
    # Nothing of a dropped collection is left.
    with psycopg.connect(database_url) as connection:
        left = connection.execute("select count(*) from pg_inherits join pg_class c on c.oid = inhrelid where c.relkind = 'r'")
        assert left.fetchone() == (0,)


@pytest.mark.both_versions
def test_scores_of_a_cross_encoder_outlive_a_downgrade(database_url: str, corpus: Corpus):
    """Hours of scores are bought again, or embeddings that a revision cannot read serve its searches."""
    scores, asked = TableCrossEncoder(), {"anchor_queries": queries(range(60)), "anchor_items": 30}
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages, vectors=corpus.vectors)
        docs.factorize(scores, **asked)
        before = docs.search("query 66", scorer="cross_encoder", budget=100)
    downgrade(database_url, "0010")
    with open_database(database_url) as database:
        database.migrate()
    with pgretrieval.connect(url=database_url) as database:
        docs = database.get_collection("docs")
        docs.use_cross_encoder(scores)
        with pytest.raises(pgretrieval.IndexNotBuiltError, match="no factorisation"):
            docs.search("query 66", scorer="cross_encoder", budget=100)
        assert docs.check() == []
        report = docs.factorize(scores, **asked)
        assert (report.calls, report.solved) == (0, True)
        assert docs.search("query 66", scorer="cross_encoder", budget=100) == before


def test_a_text_search_configuration_of_pgvectors_schema_is_found_after_the_upgrade(database_url: str, corpus: Corpus):
    """Its name was kept without the schema, which functions do not look in any more."""
    with psycopg.connect(database_url, autocommit=True) as connection, pgretrieval.connect(url=database_url) as database:
        connection.execute('create text search configuration public."House Words" (copy = simple)')
        docs = database.create_collection("docs", language='public."House Words"')
        docs.add(corpus.passages[:20], vectors=corpus.vectors[:20])
        docs.build()
        before = docs.text_search("passage 7")
        downgrade(database_url, "0011")
        connection.execute("update pgretrieval.collection set language = '\"House Words\"'")
    with open_database(database_url) as database:
        database.migrate()
    with pgretrieval.connect(url=database_url) as database:
        assert database.get_collection("docs").text_search("passage 7") == before


def test_keys_in_another_form_lead_to_their_rows_after_the_upgrade(database_url: str):
    """What was queued under another date style is taken off as a row that is gone, or its passage stays beside the new one."""
    with psycopg.connect(database_url, autocommit=True) as connection, pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        plain = database.create_collection("plain", encoder=HashedEncoder())
        connection.execute("create table days (id date primary key, body text); insert into days values ('2024-03-04', 'one')")
        connection.execute("create table notes (id integer primary key, body text); insert into notes values (1, 'one')")
        for each, table in (("docs", "public.days"), ("plain", "public.notes")):
            database.attach(each, table, text="body")
        database.work([docs, plain])
        downgrade(database_url, "0011")
        connection.execute("update pgretrieval.passage set key = '04/03/2024' where key = '2024-03-04'")
        connection.execute("insert into days values ('2024-03-05', 'two')")
        connection.execute("insert into pgretrieval.queue (collection_id, key) values (1, '05/03/2024'), (2, '1')")
    with open_database(database_url) as database:
        database.migrate()
    with psycopg.connect(database_url) as connection:
        waiting = connection.execute("select collection_id, key from pgretrieval.queue order by 1").fetchall()
    assert waiting == [(1, None), (2, "1")]
    with pgretrieval.connect(url=database_url) as database:
        docs = database.get_collection("docs", encoder=HashedEncoder())
        database.work([docs])
        assert sorted(docs.get(["2024-03-04", "2024-03-05", "04/03/2024"])) == ["2024-03-04", "2024-03-05"]
        assert (docs.stats()["passages"], docs.check()) == (2, [])


def test_long_keys_that_are_queued_survive_a_downgrade(database_url: str):
    """An index of the older revision refuses them, and the way back is barred."""
    with psycopg.connect(database_url, autocommit=True) as connection, pgretrieval.connect(url=database_url) as database:
        database.create_collection("docs", encoder=HashedEncoder())
        long = "".join(map(chr, range(0x4E00, 0x4E00 + 4000)))
        connection.execute("insert into pgretrieval.queue (collection_id, key) values (1, %s), (1, 'k')", [long])
        downgrade(database_url, "0011")
        assert connection.execute("select key from pgretrieval.queue order by 1").fetchall() == [("k",), (None,)]
