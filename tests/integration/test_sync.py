"""Collections attached to tables of the application."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval import CollectionNotFoundError, ConfigError, DatabaseUnavailableError, EncoderError
from pgretrieval.db.tables import attachments, queue
from pgretrieval.sync.worker import Worker
from pgretrieval.types import Float32Array, WorkReport
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.following import start, until, working
from tests.support.pooler import pooler
from tests.support.roles import grant, url_as

Connection = psycopg.Connection[Any]
TABLE = """
create table articles (id integer primary key, title text, body text, lang text, year integer, views integer not null default 0)
"""


@pytest.fixture
def articles(connection: Connection) -> Connection:
    """A table with three rows."""
    connection.execute(TABLE)
    connection.execute(
        """insert into articles values (1, 'Tea', 'green tea leaves', 'en', 1990), (2, null, 'brown bread', 'en', 2001),
                                       (3, 'Suppe', 'heisse suppe', 'de', 2020)"""
    )
    return connection


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder) -> pgretrieval.Collection:
    """An empty collection."""
    return database.create_collection("docs", encoder=hashed_encoder)


def attach(database: pgretrieval.RetrievalDatabase, **changed: Any) -> int:
    """Attach with the arguments of most tests."""
    return database.attach("docs", "public.articles", **{"text": ["title", "body"], "metadata": ["lang", "year"], **changed})


def held(connection: Connection, name: str = "docs") -> dict[str, tuple[str | None, str, dict[str, Any]]]:
    """Passages of the collection."""
    rows = connection.execute(
        """select key, title, body, metadata
           from pgretrieval.passage join pgretrieval.collection using (collection_id) where name = %s""",
        [name],
    )
    return {key: (title, body, metadata) for key, title, body, metadata in rows}


def wanted(connection: Connection) -> dict[str, tuple[str | None, str, dict[str, Any]]]:
    """Passages expected from the table."""
    rows = connection.execute("select id::text, title, body, lang, year from articles")
    return {key: (title, body, {"lang": lang, "year": year}) for key, title, body, lang, year in rows}


def queued(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select key, attempts, error, parked_at is not null from pgretrieval.queue order by queue_id"
    ).fetchall()


# ---- changes


@pytest.mark.both_versions
def test_a_collection_follows_its_table(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection, hashed_encoder: HashedEncoder
):
    """Inserts, updates and deletes reach the collection; updates of unused columns encode nothing."""
    assert attach(database) == 3
    assert docs.stats()["attached"] == "public.articles"
    assert docs.stats()["queued"] == 3
    assert database.work([docs]) == WorkReport(written=3)
    assert held(articles) == wanted(articles)
    assert held(articles)["1"] == ("Tea", "green tea leaves", {"lang": "en", "year": 1990})
    assert queued(articles) == []

    articles.execute("insert into articles values (4, 'Milk', 'cold milk', 'en', 2005)")
    articles.execute("update articles set body = 'rye bread' where id = 2")
    articles.execute("delete from articles where id = 3")
    articles.execute("update articles set year = 1991 where id = 1")
    encoded = hashed_encoder.encoded
    assert database.work([docs]) == WorkReport(written=3, deleted=1)
    assert hashed_encoder.encoded == encoded + 2  # metadata without text
    assert held(articles) == wanted(articles)
    docs.build()
    assert docs.search("rye bread", k=1)[0].id == "2"

    articles.execute("update articles set id = 20 where id = 2")
    assert {key for key, *_ in queued(articles)} == {"2", "20"}
    assert database.work([docs]) == WorkReport(written=1, deleted=1)
    assert held(articles) == wanted(articles)
    assert docs.search("rye bread", k=1)[0].id == "20"

    articles.execute("truncate articles")
    articles.execute("insert into articles values (1, 'Tea', 'black tea', 'en', 1990)")
    database.work([docs])
    assert held(articles) == wanted(articles) == {"1": ("Tea", "black tea", {"lang": "en", "year": 1990})}


def test_only_committed_changes_are_queued(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """Changes are queued at commit, and not after a rollback."""
    attach(database)
    database.work([docs])
    with articles.transaction(force_rollback=True):
        articles.execute("update articles set body = 'never' where id = 1")
        articles.execute("delete from articles where id = 2")
        assert database.work([docs]) == WorkReport()
    assert queued(articles) == []
    assert held(articles) == wanted(articles)


def test_updates_that_change_no_used_column_queue_nothing(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """Only updates of used columns, metadata included, queue a row."""
    attach(database)
    database.work([docs])
    articles.execute("update articles set views = views + 1")
    articles.execute("update articles set body = body, title = title")
    assert queued(articles) == []
    for change in ("title = 'T'", "body = 'b'", "lang = null", "year = 7"):
        articles.execute(f"update articles set {change} where id = 1")
        assert [key for key, *_ in queued(articles)] == ["1"]
        articles.execute("delete from pgretrieval.queue")


def test_columns_of_types_without_equality(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection
):
    """Updates of json columns, which have no equality, work."""
    connection.execute("create table articles (id bigint primary key, body text, extra json, place point)")
    database.attach("docs", "articles", text="body", metadata=["extra", "place"])
    connection.execute(
        """insert into articles values (1, 'tea', '{"a": [1, null]}', point(1, 2)), (2, 'bread', '"\\u0000"', null)"""
    )
    connection.execute("update articles set place = point(3, 4) where id = 1")
    report = database.work([docs])
    assert (report.written, report.postponed) == (1, 1)
    assert held(connection) == {"1": (None, "tea", {"extra": {"a": [1, None]}, "place": "(3,4)"})}


def test_title_and_text(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection):
    """Null columns leave no gap, a title alone is a passage, and a row without text is none."""
    connection.execute("create table articles (id integer primary key, title text, lead text, body text)")
    connection.execute(
        """insert into articles values (1, 'Tea', 'green', 'leaves'), (2, ' ', null, 'bread'), (3, 'Milk', ' ', null),
                                       (4, null, '', E'\\n')"""
    )
    database.attach("docs", "public.articles", text=["title", "lead", "body"])
    assert database.work([docs]) == WorkReport(written=3)
    texts = {"1": ("Tea", "green\n\nleaves", {}), "2": (None, "bread", {}), "3": (None, "Milk", {})}
    assert held(connection) == texts
    connection.execute("update articles set title = null where id = 3")
    assert database.work([docs]) == WorkReport(deleted=1)
    assert "3" not in held(connection)


# ---- tables and names


@pytest.mark.both_versions
def test_a_partitioned_table(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection):
    """Changes in partitions, later ones included, are queued."""
    connection.execute(
        """create table articles (id integer, body text, year integer, primary key (id, year)) partition by range (year);
           create table articles_old partition of articles for values from (0) to (2000);
           insert into articles values (1, 'tea', 1990)"""
    )
    database.attach("docs", "public.articles", text="body", metadata="year")
    connection.execute("create table articles_new partition of articles for values from (2000) to (3000)")
    connection.execute("insert into articles values (2, 'bread', 2010); insert into articles_new values (3, 'milk', 2011)")
    assert database.work([docs]) == WorkReport(written=3)
    connection.execute("update articles set year = 2012 where id = 1")  # moves to the other partition
    database.work([docs])
    assert held(connection)["1"] == (None, "tea", {"year": 2012})
    connection.execute("alter table articles detach partition articles_new")
    assert database.work([docs]) == WorkReport()
    database.resync("docs")
    assert database.work([docs]) == WorkReport(deleted=3)
    database.resync("docs", ["1", "2"])
    assert [key for key, *_ in queued(connection)] == ["1", "2"]
    database.detach("docs")
    assert connection.execute("select tgname from pg_trigger where tgname like 'pgretrieval%'").fetchall() == []


@pytest.mark.parametrize("given", ['public."Odd "" Table"', 'public.Odd " Table', '"Odd "" Table"'])
def test_odd_names(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection, given: str):
    """Names with capitals, spaces, quotes or percent signs work."""
    connection.execute(
        """create table "Odd "" Table" ("The Key" uuid primary key, "Text ' of %s" text, "select" text);
           insert into "Odd "" Table" values ('11111111-2222-3333-4444-555555555555', 'tea', 'x')"""
    )
    database.attach("docs", given, id="The Key", text="Text ' of %s", metadata=["select"])
    assert database.work([docs]) == WorkReport(written=1)
    connection.execute("""update "Odd "" Table" set "Text ' of %s" = 'bread' where "select" = 'x' """)
    assert database.work([docs]) == WorkReport(written=1)
    assert held(connection) == {"11111111-2222-3333-4444-555555555555": (None, "bread", {"select": "x"})}
    connection.execute("""alter table "Odd "" Table" rename to "Odder" """)
    connection.execute("""update "Odder" set "Text ' of %s" = 'milk'""")
    assert database.work([docs]) == WorkReport(written=1)
    assert docs.stats()["attached"] == 'public."Odder"'


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", ["a", "b c", "ü%s"]),
        ("bigint", [-5, 2**60]),
        ("numeric", ["1.50", "2"]),
        ("timestamptz", ["2020-01-01 00:00:00.5+00"]),
        ("char(6)", ["ab"]),
        ("boolean", [True, False]),
        ("bytea", [b"\x01\xff"]),
    ],
)
def test_keys_of_any_type(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection, kind: str, values: list[Any]
):
    """Keys of every type have the same text in trigger and worker."""
    connection.execute(f"create table articles (id {kind} primary key, body text)")
    database.attach("docs", "public.articles", text="body")
    with connection.cursor() as cursor:
        cursor.executemany(f"insert into articles values (%s::{kind}, 'tea')", [[each] for each in values])
    assert database.work([docs]) == WorkReport(written=len(values))
    database.resync("docs")
    assert database.work([docs]) == WorkReport()
    connection.execute("delete from articles")
    assert database.work([docs]) == WorkReport(deleted=len(values))


def test_a_query_with_several_passages_of_a_row(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """Passages that the query no longer returns are removed; those of other rows stay."""
    articles.execute(
        """create view paragraphs as
           select articles.id as key, articles.id || '-' || number as id, title, paragraph, lang
           from articles, string_to_table(body, ' ') with ordinality as split (paragraph, number)"""
    )
    assert database.attach("docs", "articles", text=["title", "paragraph"], metadata="lang", query="paragraphs") == 3
    assert database.work([docs]) == WorkReport(written=7)
    assert held(articles)["1-2"] == ("Tea", "tea", {"lang": "en"})
    articles.execute(
        "update articles set body = 'oolong' where id = 1; delete from articles where id = 3; update articles set views = 1"
    )
    assert database.work([docs]) == WorkReport(written=1, deleted=4)
    assert {key: body for key, (_, body, _) in held(articles).items()} == {"1-1": "oolong", "2-1": "brown", "2-2": "bread"}
    articles.execute("truncate articles")
    database.work([docs])
    assert held(articles) == {}
    assert articles.execute("select count(*) from pgretrieval.source_passage").fetchone() == (0,)


def test_a_select_over_a_composite_key(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection
):
    """A select over a composite key works, also if a passage moves to another row."""
    connection.execute(
        """create table pages (book text, page integer, body text, primary key (book, page));
           insert into pages values ('a', 1, 'tea'), ('a', 2, 'bread'), ('b', 1, 'milk')"""
    )
    with pytest.raises(ConfigError, match=r"no column 'book,page'.*attach a query that combines them to an id"):
        database.attach("docs", "pages", id="book,page", text="body")
    select = "select book || '/' || page as id, book as key, body from public.pages; "
    assert database.attach("docs", "pages", id="book", text="body", query=select) == 2
    assert database.work([docs]) == WorkReport(written=3)
    connection.execute("update pages set body = 'rye' where page = 2")
    assert database.work([docs]) == WorkReport(written=1)
    database.detach("docs")
    connection.execute("delete from pages where book = 'b'")
    connection.execute("insert into pages values ('b', 1, 'milk')")
    database.attach("docs", "pages", id="book", text="body", query=select)  # with its earlier passages
    connection.execute("delete from pages where book = 'b'")
    database.work([docs])
    assert set(held(connection)) == {"a/1", "a/2"}


def test_an_id_twice(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection):
    """Two rows with one id are parked, and the others of the batch succeed."""
    connection.execute(
        "create table articles (id integer, body text); insert into articles values (1, 'tea'), (1, 'bread'), (2, 'milk')"
    )
    with pytest.warns(pgretrieval.PgRetrievalWarning, match="no index of articles begins with 'id'"):
        database.attach("docs", "articles", text="body")
    assert database.work([docs]) == WorkReport(written=1, parked=1)
    assert docs.stats()["parked_keys"][0]["key"] == "1"
    assert "returns the id '1' twice" in docs.stats()["parked_keys"][0]["error"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": "nr"}, "public.articles has no column 'nr'.*'id', 'title', 'body', 'lang', 'year', 'views'"),
        ({"text": ["title", "content"]}, "no column 'content'"),
        ({"metadata": ["lang", "author"]}, "no column 'author'"),
        ({"text": []}, "no column for the text"),
        ({"id": ["a", "b"]}, "attach a query"),
        (
            {"query": "select 1 as id, 2 as body"},
            "the query that is attached to public.articles fails: .*key.*It needs columns id and key",
        ),
        ({"query": "select * from nowhere"}, "fails: .*nowhere.*with their schema"),
    ],
)
def test_missing_columns(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection, changed: dict[str, Any], said: str
):
    """Missing columns raise an error and attach nothing."""
    with pytest.raises(ConfigError, match=said):
        attach(database, **changed)
    assert docs.stats()["attached"] is None
    assert articles.execute("select count(*) from pg_trigger where tgname like 'pgretrieval%'").fetchone() == (0,)


def test_tables_that_cannot_be_followed(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """Views without triggers and unknown tables raise an error."""
    with pytest.raises(ConfigError, match=r"no table 'public.article' in this database; there are: public.articles"):
        database.attach("docs", "public.article", text="body")
    articles.execute("create view shown as select * from articles")
    with pytest.raises(ConfigError, match=r"public\.shown is no table that can be followed"):
        database.attach("docs", "shown", text="body")
    with pytest.raises(CollectionNotFoundError, match="no collection 'other'"):
        database.attach("other", "articles", text="body")
    attach(database)
    with pytest.raises(ConfigError, match=r"collection 'docs' is attached to public\.articles already"):
        attach(database)


def test_a_collection_with_passages_of_its_own(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """A collection with own passages is refused, since a TRUNCATE would delete them."""
    docs.add([{"id": "mine", "text": "something else"}, {"id": "1", "text": "what was before"}])
    with pytest.raises(ConfigError, match=r"'docs' holds passages that public\.articles does not have: 'mine'"):
        attach(database)
    docs.delete(["mine"])
    attach(database)
    database.work([docs])
    assert held(articles) == wanted(articles)


# ---- failing rows


class Picky(HashedEncoder):
    """Fails on texts with a certain word, or on all."""

    def __init__(self, refused: str | None = "poison") -> None:
        super().__init__()
        self.refused = refused

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        if self.refused is None or any(self.refused in text for text in texts):
            raise RuntimeError("indigestible")
        return super().encode_document(texts)


def test_a_failing_row_is_parked_and_retried_after_a_change(database: pgretrieval.RetrievalDatabase, articles: Connection):
    """A failing row is parked alone, and processed after its next change."""
    docs = database.create_collection("docs", encoder=Picky())
    articles.execute("insert into articles select n, 'T', 'text ' || n from generate_series(10, 60) n")
    articles.execute("update articles set body = 'poison' where id in (17, 40)")
    attach(database)
    assert database.work([docs]) == WorkReport(written=52, postponed=2)
    assert database.work([docs]) == WorkReport()  # not before its retry time
    assert {(key, attempts) for key, attempts, *_ in queued(articles)} == {("17", 1), ("40", 1)}
    waits = []
    for attempt in range(2, 6):
        left = articles.execute("select max(extract(epoch from not_before - clock_timestamp())) from pgretrieval.queue").fetchone()
        waits.append(float(left[0]))
        articles.execute("update pgretrieval.queue set not_before = '-infinity'")
        expected = WorkReport(parked=2) if attempt == 5 else WorkReport(postponed=2)
        assert database.work([docs]) == expected
    assert waits == sorted(waits)
    assert waits[-1] > 8 * waits[0] > 0
    stats = docs.stats()
    assert (stats["queued"], stats["parked"]) == (0, 2)
    assert [entry["key"] for entry in stats["parked_keys"]] == ["17", "40"]
    assert "indigestible" in stats["parked_keys"][0]["error"]
    in_sql = articles.execute("select pgretrieval.stats('docs')").fetchone()[0]
    assert (in_sql["parked"], in_sql["parked_keys"]) == (2, stats["parked_keys"])
    [finding] = [finding for finding in database.diagnose() if "parked" in finding.text]
    assert finding.level == "problem"
    assert "'docs'" in finding.text
    assert "'17': encode_document" in finding.text

    articles.execute("update articles set body = 'honey' where id = 17; delete from articles where id = 40")
    assert database.work([docs]) == WorkReport(written=1)
    assert queued(articles) == []
    assert held(articles)["17"][1] == "honey"


def test_a_row_whose_text_cannot_be_a_passage_is_parked_at_once(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection
):
    """A row whose text is no valid passage is parked without retries."""
    connection.execute("create table articles (id text primary key, body text)")
    connection.execute("insert into articles values (repeat('x', 2500), 'long'), ('a', 'tea')")
    database.attach("docs", "articles", text="body")
    assert database.work([docs]) == WorkReport(written=1, parked=1)
    assert "2,500 bytes" in docs.stats()["parked_keys"][0]["error"]


def test_a_rejected_row_is_parked(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection):
    """A row that the database rejects is parked alone."""
    query = "select id, id as key, body, 100 / year as ratio from public.articles"
    articles.execute("update articles set year = 0 where id = 2")
    database.attach("docs", "articles", text="body", metadata="ratio", query=query)
    assert database.work([docs]) == WorkReport(written=2, postponed=1)
    assert "division by zero" in queued(articles)[0][2]


def test_an_encoder_that_fails_on_everything_parks_nothing(database: pgretrieval.RetrievalDatabase, articles: Connection):
    """An encoder that fails on all rows parks nothing."""
    encoder = Picky()
    docs = database.create_collection("docs", encoder=encoder)
    attach(database)
    encoder.refused = None
    with pytest.raises(EncoderError, match="indigestible"):
        database.work([docs])
    assert [(attempts, error) for _, attempts, error, _ in queued(articles)] == [(0, None)] * 3
    with pytest.raises(EncoderError, match="pass encoder=… to get_collection"):
        database.work(["docs"])
    encoder.refused = "poison"
    assert database.work([docs]) == WorkReport(written=3)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("alter table articles rename column body to content", "public.articles has no column 'body'.*'content'.*attach it again"),
        ("alter table articles rename column id to nr", "public.articles has no column 'id'.*'nr'.*attach it again"),
        ("alter table articles drop column lang", "public.articles has no column 'lang'"),
        ("drop table articles", "attached to public.articles, which is not there any more.*Detach"),
    ],
)
def test_a_table_that_has_changed(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection, statement: str, said: str
):
    """A changed table does not break the application's statements, park rows or stop other collections."""
    attach(database)
    database.work([docs])
    other = database.create_collection("other", encoder=HashedEncoder())
    articles.execute("create table notes (id integer primary key, body text)")
    database.attach("other", "notes", text="body")
    articles.execute("update articles set body = 'new' where id = 1")
    articles.execute(statement)
    if "drop table" not in statement:
        articles.execute(
            "insert into articles values (9, 'T'); update articles set title = 'U'; delete from articles where title = 'U'"
        )
    articles.execute("insert into notes values (1, 'tea')")
    before = queued(articles)
    with pytest.raises(ConfigError, match=said):
        database.work([docs, other])
    assert [entry for entry in before if entry[0] != "1"] == [entry for entry in queued(articles) if entry[0] != "1"]
    assert held(articles, "other") == {"1": (None, "tea", {})}
    problems = " ".join(finding.text for finding in database.diagnose() if finding.level == "problem")
    assert ("is not there any more" in problems) == ("drop table" in statement)
    database.detach("docs")
    assert len(held(articles)) == 3


# ---- several workers, and faults


def worker(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, batch: int = 256) -> Worker:
    return Worker(database._database, [docs], database.get_collection, batch)


def test_two_workers_never_have_the_same_key(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """Two workers never hold the same key, so writes keep the order of changes."""
    attach(database)
    [attached] = attachments.attached(database._database)
    with ExitStack() as stack:
        first, second = (attached.tables(stack.enter_context(database._database.dedicated("testing"))) for _ in range(2))
        assert stack.enter_context(queue.claiming(first))
        assert set(queue.claim(first, 256)) == {"1", "2", "3"}
        articles.execute("update articles set body = 'later' where id = 1; insert into articles values (4, 'T', 'four')")
        with queue.claiming(second):
            mine = queue.claim(second, 256)
            assert set(mine) == {"4"}  # the new entry of 1 is free, its key is not
    with database._database.dedicated("testing") as session, database._database.dedicated("testing") as second_session:
        third, fourth = attached.tables(session), attached.tables(second_session)
        with queue.claiming(third):
            assert queue.claim(third, 256) == {}
            locked = queue.lock(third, ["1", "4", "5"])
            assert {key: len(entries) for key, entries in locked.items()} == {"1": 2, "4": 1}
            with queue.claiming(fourth):
                assert queue.lock(fourth, ["1", "2"]).keys() == {"2"}
        queue.release_claim(database._database, mine["4"])
        with queue.claiming(third):
            assert set(queue.claim(third, 256)) == {"4"}


def test_nothing_is_locked_while_a_worker_encodes(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, database_url: str, articles: Connection
):
    """A worker encodes without locks or an open transaction, and keeps its claim however long it takes."""
    attach(database)
    encoder = Paused()
    with pgretrieval.connect(url=database_url) as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "CLAIMED", 0.8)
        encoder.going.set()
        slow = other.get_collection("docs", encoder=encoder)
        assert slow.encoder.dim == 64
        encoder.going.clear()
        encoder.reached.clear()
        with working(lambda _: other.work([slow])):
            try:
                assert encoder.reached.wait(30)
                transactions = "select count(*) from pg_stat_activity where datname = current_database() and xact_start is not null"
                until(lambda: articles.execute(transactions).fetchone() == (1,), 5)  # this one
                articles.execute("set lock_timeout = '1s'")
                with articles.transaction():
                    articles.execute("lock table pgretrieval.queue, pgretrieval.following_lock in access exclusive mode")
                time.sleep(1.5)  # longer than a claim without renewal
                assert not worker(database, docs)._round(lambda: False, None)
            finally:
                encoder.going.set()
    assert held(articles) == wanted(articles)
    assert queued(articles) == []


def test_a_detach_while_rows_are_encoded(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, database_url: str, articles: Connection
):
    """A detach during encoding prevents the worker's writes."""
    attach(database)
    encoder = Paused()
    with pgretrieval.connect(url=database_url) as other:
        encoder.going.set()
        slow = other.get_collection("docs", encoder=encoder)
        assert slow.encoder.dim == 64
        encoder.going.clear()
        encoder.reached.clear()
        with working(lambda _: other.work([slow])):
            try:
                assert encoder.reached.wait(30)
                database.detach("docs")
            finally:
                encoder.going.set()
    assert held(articles) == {}


class Paused(HashedEncoder):
    """Waits in the middle of encoding until released."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.going = threading.Event(), threading.Event()

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        if texts != ["dimension"]:
            self.reached.set()
            assert self.going.wait(30)
        return super().encode_document(texts)


def test_a_change_while_its_row_is_encoded_is_not_lost(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, database_url: str, articles: Connection
):
    """A change after its row was read stays queued, and the application does not wait."""
    attach(database)
    encoder = Paused()
    with pgretrieval.connect(url=database_url) as other:
        slow = other.get_collection("docs", encoder=encoder)
        encoder.going.set()
        assert slow.encoder.dim == 64
        encoder.going.clear()
        encoder.reached.clear()
        with working(lambda _: other.work([slow])):
            try:
                assert encoder.reached.wait(30)
                articles.execute("set lock_timeout = '2s'")
                articles.execute("update articles set body = 'later' where id = 1; delete from articles where id = 2")
                articles.execute("alter table articles add column more text")
                beside = worker(database, docs)
                assert not beside._round(lambda: False, None)  # the other worker holds both keys
                articles.execute("truncate articles; insert into articles values (5, 'T', 'five'), (1, 'Tea', 'latest')")
                while beside._round(lambda: False, None):
                    pass
                assert beside._report == WorkReport(written=1)
            finally:
                encoder.going.set()
    database.work([docs])
    assert held(articles) == wanted(articles)
    assert queued(articles) == []


def test_workers_share_a_queue(database: pgretrieval.RetrievalDatabase, database_url: str, articles: Connection):
    """Several workers beside a writing application process each row once and leave none."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    articles.execute("insert into articles select n, 'T' || n, 'text ' || n from generate_series(10, 400) n")
    attach(database)

    def work(stopped: Callable[[], bool]) -> None:
        with pgretrieval.connect(url=database_url) as own:
            mine = own.get_collection("docs", encoder=HashedEncoder())
            worker(own, mine, batch=16).run(once=False, stopped=stopped, poll=0.05)

    with working(work, work, work):
        for number in range(40):
            articles.execute(
                "update articles set body = 'round ' || %s::text || ' of ' || id where id %% 40 = %s", [number, number]
            )
            articles.execute("delete from articles where id = %s", [100 + number])
            articles.execute("update articles set id = -id where id = %s", [200 + number])
        until(lambda: articles.execute("select count(*) from pgretrieval.queue").fetchone() == (0,))
    assert held(articles) == wanted(articles)
    assert docs.stats()["parked"] == 0


def test_a_killed_worker_loses_nothing(database: pgretrieval.RetrievalDatabase, database_url: str, articles: Connection):
    """Claims of a killed worker expire, and its batch is written entirely or not at all."""
    database.create_collection("docs", encoder=HashedEncoder())
    articles.execute("insert into articles select n, 'T', 'text ' || n from generate_series(10, 300) n")
    attach(database)
    process = start(database_url, "docs", seconds=5, claimed=2)
    try:
        until(lambda: process.stdout is not None and process.stdout.readline() == "encoding 256\n")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert held(articles) == {}
    assert len(queued(articles)) == 294
    with pgretrieval.connect(url=database_url) as other:
        until(lambda: other.work([other.get_collection("docs", encoder=HashedEncoder())]) and queued(articles) == [], 20)
    assert held(articles) == wanted(articles)


def test_a_worker_wakes_soon_and_drains_by_signal(database: pgretrieval.RetrievalDatabase, database_url: str, articles: Connection):
    """A worker wakes up soon after a change, and finishes its batch on a signal."""
    database.create_collection("docs", encoder=HashedEncoder())
    attach(database)
    process = start(database_url, "docs", seconds=0.5)
    try:
        until(lambda: held(articles) == wanted(articles))
        time.sleep(0.5)  # it sleeps
        begun = time.monotonic()
        articles.execute("insert into articles values (9, 'T', 'nine')")
        until(lambda: "9" in held(articles), 10)
        assert time.monotonic() - begun < 5
        articles.execute("insert into articles values (10, 'T', 'ten')")
        until(lambda: process.stdout is not None and process.stdout.readline() == "encoding T ten\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stdout.read().endswith("drained\n")
        assert "10" in held(articles)
    finally:
        process.kill()
        process.wait(10)


def test_a_worker_survives_the_loss_of_its_connections(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, database_url: str, articles: Connection
):
    """A worker continues after a restart of the server."""
    attach(database)
    with working(lambda stopped: database.work([docs], once=False, stopped=stopped)):
        until(lambda: held(articles) == wanted(articles))
        for text in ("first", "second"):
            articles.execute(
                """select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid() and application_name = 'pgretrieval'"""
            )
            articles.execute("update articles set body = %s where id = 1", [text])
            until(lambda text=text: held(articles)["1"][1] == text, 15)
            time.sleep(1)


def test_once_raises_if_the_server_is_down(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection, postgres: PostgresUnderTest
):
    """`worker --once` raises an error if the server is down."""
    attach(database)
    encoder = docs.encoder._model.loaded()
    original = encoder.encode_document

    def kill(texts: Sequence[str]) -> list[Float32Array]:
        articles.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()"""
        )
        return original(texts)

    encoder.encode_document = kill
    with pytest.raises(DatabaseUnavailableError):
        database.work([docs])
    encoder.encode_document = original
    assert [attempts for _, attempts, *_ in queued(articles)] == [0, 0, 0]
    assert database.work([docs]) == WorkReport(written=3)


@pytest.mark.parametrize("kind", ["emulated", "pgbouncer"])
def test_a_worker_behind_a_pooler(
    kind: str, database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, database_url: str, articles: Connection
):
    """A worker behind a pooler needs no session state and sees the queue."""
    with pooler(kind, database_url) as url, pgretrieval.connect(url=url) as pooled:
        mine = pooled.get_collection("docs", encoder=HashedEncoder())
        attach(pooled)
        with working(lambda stopped: pooled.work([mine], once=False, stopped=stopped, poll=0.2)):
            until(lambda: held(articles) == wanted(articles))
            articles.execute("update articles set body = 'later' where id = 1")
            until(lambda: held(articles) == wanted(articles))


def test_check(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection):
    """check reports missed changes, but not queued ones."""

    def rules() -> set[str]:
        return {violation.rule for violation in docs.check()}

    attach(database, query="select id, id as key, title, body, lang, year from public.articles")
    assert rules() == set()
    database.work([docs])
    articles.execute("update articles set body = 'later' where id = 1")
    assert rules() == set()
    database.work([docs])
    docs.delete(["2"])  # unknown to the worker
    assert rules() == {"missing_passage", "orphan_source"}
    database.resync("docs", ["2"])
    assert rules() == set()
    assert database.work([docs]) == WorkReport(written=1)
    articles.execute("alter table articles disable trigger user")
    assert rules() == {"missing_trigger"}


# ---- detach and drop


@pytest.mark.both_versions
def test_detach_leaves_nothing_but_the_passages(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """Triggers, queue entries and mapping are removed; passages stay."""
    everything = """
        select 'trigger', tgrelid::regclass::text, tgname::text from pg_trigger union all
        select 'relation', relkind::text, relname::text from pg_class union all
        select 'function', '', oid::regprocedure::text from pg_proc where pronamespace = 'pgretrieval'::regnamespace union all
        select 'row', 'queue', count(*)::text from pgretrieval.queue union all
        select 'row', 'attachment', count(*)::text from pgretrieval.attachment union all
        select 'row', 'source_passage', count(*)::text from pgretrieval.source_passage order by 1, 2, 3"""
    articles.execute("analyze")
    before = articles.execute(everything).fetchall()
    query = "select id, id as key, title, body, lang, year from public.articles"
    attach(database, query=query)
    database.work([docs])
    articles.execute("update articles set body = 'later' where id = 1")
    database.detach("docs")
    assert articles.execute(everything).fetchall() == before
    assert len(held(articles)) == 3
    articles.execute("delete from articles where id = 1")
    assert docs.search("brown bread", k=1)[0].id == "2"
    with pytest.raises(ConfigError, match="'docs' is not attached to a table; attach it first"):
        database.detach("docs")
    with pytest.raises(ConfigError, match="'docs' is not attached"):
        database.work([docs])
    with pytest.raises(CollectionNotFoundError):
        database.detach("other")


def test_dropping_an_attached_collection_frees_its_table(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """After a drop the table can be written, and a new collection gets no old entries."""
    attach(database)
    database.drop_collection("docs")
    assert articles.execute("select count(*) from pg_trigger where tgname like 'pgretrieval%'").fetchone() == (0,)
    assert queued(articles) == []
    articles.execute("update articles set body = 'later'")


def test_two_collections_follow_one_table(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """Two collections that follow one table have separate triggers."""
    other = database.create_collection("other", encoder=HashedEncoder())
    attach(database)
    database.attach("other", "articles", text="title")
    database.work([docs, other])
    assert set(held(articles, "other")) == {"1", "3"}
    database.detach("docs")
    articles.execute("update articles set title = 'Bread', body = 'rye' where id = 2")
    database.work([other])
    assert held(articles, "other")["2"] == (None, "Bread", {})
    assert held(articles)["2"][1] == "brown bread"


# ---- rights, statistics and doctor


def test_the_roles(postgres: PostgresUnderTest, database_url: str, database: pgretrieval.RetrievalDatabase, articles: Connection):
    """The application needs no rights on the queue, writers can work, and readers see no keys."""
    database.create_collection("docs", encoder=HashedEncoder())
    roles = {name: postgres.create_role() for name in ("reader", "writer", "owner", "application")}
    urls = {name: url_as(postgres, database_url, role) for name, role in roles.items()}
    grant(database_url, *(roles[name][0] for name in ("reader", "writer", "owner")))
    try:
        with pgretrieval.connect(urls["owner"]) as owned:
            with pytest.raises(ConfigError, match=r"public.articles belongs to role .*Only its owner can attach it"):
                attach(owned)
            articles.execute(f"grant select, insert, update, delete on articles to {roles['application'][0]}")
            articles.execute(f"alter table articles owner to {roles['owner'][0]}")
            assert attach(owned) == 3
        with psycopg.connect(urls["application"], autocommit=True) as application:
            application.execute("update articles set body = 'by the application' where id = 1")
            application.execute("insert into articles values (7, 'T', 'seven')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute("insert into pgretrieval.queue (collection_id, key) values (1, 'x')")
        with pgretrieval.connect(urls["writer"]) as written:
            docs = written.get_collection("docs", encoder=HashedEncoder())
            with pytest.raises(pgretrieval.PgRetrievalError, match="this role lacks a right: permission denied for table articles"):
                written.work([docs])
            articles.execute(f"grant select on articles to {roles['writer'][0]}")
            assert written.work([docs]) == WorkReport(written=4)
            assert written.get_collection("docs").stats()["queued"] == 0
            with pytest.raises(pgretrieval.PgRetrievalError):
                written.detach("docs")
        assert held(articles) == wanted(articles)
        with pgretrieval.connect(urls["reader"]) as reader:
            stats = reader.get_collection("docs").stats()
            assert (stats["attached"], stats["queued"], stats["parked_keys"]) == ("public.articles", None, None)
            with pytest.raises(pgretrieval.PgRetrievalError, match="this role lacks a right"):
                reader.work([reader.get_collection("docs", encoder=HashedEncoder())])
        with psycopg.connect(urls["reader"]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "create temp table t (id int); create trigger t after insert on t execute function pgretrieval.queue_change('1')"
            )
    finally:
        name = str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"])
        postgres.execute("alter database {} owner to current_user", name)
        for role, _ in roles.values():
            articles.execute(psycopg.sql.SQL("reassign owned by {} to current_user").format(psycopg.sql.Identifier(role)))
            articles.execute(psycopg.sql.SQL("drop owned by {}").format(psycopg.sql.Identifier(role)))


def test_keys_are_hidden_under_row_level_security(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection, postgres: PostgresUnderTest
):
    """stats hides keys of the queue under row-level security."""
    attach(database)
    articles.execute("update pgretrieval.queue set parked_at = now(), error = 'secret'")
    articles.execute(
        "alter table pgretrieval.passage enable row level security; alter table pgretrieval.passage force row level security"
    )
    role = postgres.create_role()[0]
    articles.execute(f"grant usage on schema pgretrieval to {role}; grant select on all tables in schema pgretrieval to {role}")
    try:
        with articles.transaction():
            articles.execute(f"set local role {role}")
            told = articles.execute("select pgretrieval.stats('docs')").fetchone()[0]
        assert (told["queued"], told["parked"], told["parked_keys"]) == (None, None, None)
        assert "secret" not in str(told)
    finally:
        articles.execute(f"drop owned by {role}")


def test_doctor_reports_triggers_and_a_queue_without_worker(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, articles: Connection
):
    """doctor reports disabled triggers and a queue without a worker."""

    def told(level: str) -> str:
        return " ".join(finding.text for finding in database.diagnose() if finding.level == level)

    attach(database)
    database.work([docs])
    assert "collection 'docs' follows public.articles" in told("ok")
    articles.execute("alter table articles disable trigger all")
    assert "triggers of public.articles for collection 'docs' are disabled" in told("problem")
    articles.execute("alter table articles enable trigger all")
    articles.execute("drop trigger pgretrieval_1_truncate on articles")
    assert "triggers of public.articles for collection 'docs' are missing" in told("problem")
    articles.execute("update articles set body = 'later'; update pgretrieval.queue set enqueued_at = now() - interval '1 hour'")
    assert "3 changes for collection 'docs' wait, the oldest for 60 minutes" in told("advice")
