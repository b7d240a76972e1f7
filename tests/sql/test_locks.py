"""Operations on one collection do not block another, and roles without rights block nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import queue
from tests.support.encoder import HashedEncoder

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
_NOT_NOTICEABLE = 2.0  # seconds; others wait for `_PATIENCE`
_PATIENCE = 3


@pytest.fixture
def other(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    """A built collection, beside those that tests create and drop."""
    other = database.create_collection("other", encoder=HashedEncoder())
    other.add([{"id": str(number), "text": f"word{number} here"} for number in range(40)])
    other.build()
    return other


@pytest.fixture
def idle(database_url: str, other: pgretrieval.Collection) -> Iterator[Connection]:
    """A session that has read the other collection and has not committed."""
    with psycopg.connect(database_url) as idle:
        idle.execute("select count(*) from pgretrieval.passage where collection_id = %s", [other._row.collection_id])
        yield idle
        idle.rollback()


def beside(work: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """Run the call in a thread; yields the exception it raised, if any."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def goes_on(other: pgretrieval.Collection, number: int) -> None:
    """Assert that searches and adds of the other collection work."""
    begun = time.monotonic()
    assert other.search("word3", k=1)[0].id == "3"
    other.add([{"id": f"new{number}", "text": "something new"}])
    assert other.text_search("word4", k=1)[0].id == "4"
    assert time.monotonic() - begun < _NOT_NOTICEABLE


@pytest.fixture
def impatient(connection: Connection) -> None:
    """Functions that wait for locks give up after `_PATIENCE` seconds instead of ten, the default."""
    for name in ("lock_briefly", "empty_partitions"):
        statement = "select pg_get_functiondef(('pgretrieval.' || %s)::regproc)"
        definition = connection.execute(statement, [name]).fetchone()[0]
        assert definition.count("seconds double precision DEFAULT 10") == 1
        connection.execute(definition.replace("DEFAULT 10", f"DEFAULT {_PATIENCE}"))


def leftovers(url: str) -> list[str]:
    """Empty tables of dropped collections."""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("select name from pgretrieval.leftover").fetchall()]


def test_a_collection_is_dropped_while_another_is_read(
    database: pgretrieval.RetrievalDatabase, other: pgretrieval.Collection, idle: Connection, database_url: str
):
    """An open transaction blocks neither the drop nor searches, and the tables are dropped later."""
    database.create_collection("docs", encoder=HashedEncoder()).add([{"id": "1", "text": "one"}])
    number = database.get_collection("docs", encoder=HashedEncoder())._row.collection_id
    database.drop_collection("docs")
    goes_on(other, 1)
    assert f"passage_{number}" in leftovers(database_url)
    database.create_collection("docs", encoder=HashedEncoder()).add([{"id": "1", "text": "one"}])
    idle.rollback()
    database.drop_collection("docs")
    assert leftovers(database_url) == []
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from pg_class where relname ~ %s", [f"_{number}$"]).fetchone() == (0,)


def test_a_drop_in_a_long_transaction_blocks_no_other_collection(
    database: pgretrieval.RetrievalDatabase, other: pgretrieval.Collection, database_url: str
):
    """A drop in an open transaction does not block other collections."""
    database.create_collection("docs", encoder=HashedEncoder()).add([{"id": "1", "text": "one"}])
    with psycopg.connect(database_url) as dropping:
        assert dropping.execute("select pgretrieval.drop_collection('docs')").fetchone() == (True,)
        goes_on(other, 1)
        dropping.commit()
    assert database.list_collections() == ["other"]
    assert leftovers(database_url) != []


def test_a_drop_in_sql_leaves_nothing(database: pgretrieval.RetrievalDatabase, connection: Connection, database_url: str):
    """Drops in SQL leave no empty tables."""
    number = connection.execute("select pgretrieval.create_collection('docs', 48)").fetchone()[0]
    assert connection.execute("select pgretrieval.drop_collection('docs')").fetchone() == (True,)
    assert leftovers(database_url) == []
    assert connection.execute("select count(*) from pg_class where relname ~ %s", [f"_{number}$"]).fetchone() == (0,)


@pytest.mark.usefixtures("impatient")
def test_a_collection_that_is_in_use_is_not_dropped(
    database: pgretrieval.RetrievalDatabase, other: pgretrieval.Collection, database_url: str
):
    """The drop gives up, names the blocking sessions and blocks nobody."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add([{"id": "1", "text": "one"}])
    with psycopg.connect(database_url) as reader:
        reader.execute("select count(*) from pgretrieval.passage where collection_id = %s", [docs._row.collection_id])
        dropping, raised = beside(lambda: database.drop_collection("docs"))
        begun = time.monotonic()
        for number in range(20):
            goes_on(other, number)
        dropping.join(60)
        assert 0.9 * _PATIENCE < time.monotonic() - begun < 20
        assert isinstance(raised[0], pgretrieval.StorageError)
        assert f"process {reader.info.backend_pid} (idle in transaction) uses pgretrieval.passage_" in str(raised[0])
        assert f"kept in use for {_PATIENCE} seconds" in str(raised[0])
    assert docs.search("one", k=1)[0].id == "1"
    database.drop_collection("docs")


def test_a_collection_is_made_while_others_are_used(
    database: pgretrieval.RetrievalDatabase, other: pgretrieval.Collection, idle: Connection, database_url: str
):
    """An open transaction that creates a collection does not block others."""
    with psycopg.connect(database_url) as making:
        making.execute("select pgretrieval.create_collection('docs', 48)")
        goes_on(other, 1)
        making.rollback()
    database.create_collection("docs", encoder=HashedEncoder()).add([{"id": "1", "text": "one"}])
    goes_on(other, 2)


@pytest.mark.usefixtures("impatient")
def test_a_second_creation_names_the_session_of_the_first(database_url: str):
    """The second creation gives up and names the session of the first."""
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        first.execute("select pgretrieval.create_collection('first', 48)")
        with pytest.raises(psycopg.errors.LockNotAvailable, match=rf"'second' needs .*process {first.info.backend_pid}"):
            second.execute("select pgretrieval.create_collection('second', 48)")
        second.rollback()
        first.commit()
        second.execute("select pgretrieval.create_collection('second', 48)")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("readers", ["articles", "docs"])
def test_detaching_blocks_no_readers(
    database: pgretrieval.RetrievalDatabase, connection: Connection, database_url: str, readers: str
):
    """Detaching does not block readers of the table."""
    connection.execute("create table public.articles (id text primary key, body text)")
    connection.execute("insert into public.articles values ('1', 'one')")
    database.create_collection("docs", encoder=HashedEncoder())
    database.attach("docs", "public.articles", text="body")
    with psycopg.connect(database_url) as reader:
        reader.execute("select * from public.articles" if readers == "articles" else "select * from pgretrieval.collections")
        if readers == "docs":
            database.detach("docs")
            return
        detaching, raised = beside(lambda: database.detach("docs"))
        time.sleep(0.5)
        begun = time.monotonic()
        connection.execute("update public.articles set body = 'two'")
        assert connection.execute("select body from public.articles").fetchone() == ("two",)
        assert time.monotonic() - begun < _NOT_NOTICEABLE
        detaching.join(60)
        assert "uses articles" in str(raised[0]) or "uses public.articles" in str(raised[0])
    assert connection.execute("select count(*) from pg_trigger where not tgisinternal").fetchone() == (2,)


def test_an_upgrade_blocks_no_searches(
    database: pgretrieval.RetrievalDatabase, other: pgretrieval.Collection, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """An upgrade gives up on open transactions, names them and blocks no searches."""
    monkeypatch.setattr("pgretrieval.db.schema._PATIENCE", 3)
    with psycopg.connect(database_url) as reader:
        reader.execute("select * from pgretrieval.collections")
        upgrading, raised = beside(database.migrate)
        for number in range(3):
            time.sleep(0.3)
            goes_on(other, number)
        upgrading.join(60)
        assert f"process {reader.info.backend_pid} (idle in transaction)" in str(raised[0])
    database.migrate()


# ---- rights on locks


def test_roles_without_rights_block_nothing(
    database: pgretrieval.RetrievalDatabase,
    other: pgretrieval.Collection,
    connection: Connection,
    postgres: Any,
    database_url: str,
):
    """Roles without privileges cannot take the locks."""
    role, password = postgres.create_role()
    number = other._row.collection_id
    connection.execute(f'grant usage on schema pgretrieval to "{role}"')
    with psycopg.connect(database_url, user=role, password=password, autocommit=True) as stranger:
        for kind in range(7453017, 7453024):
            stranger.execute("select pg_advisory_lock(%s, %s), pg_advisory_lock(%s, 1)", [kind, number, kind])
        for attempt in (
            "select pgretrieval.lock_for_change(%s)",
            "select pgretrieval.lock_collection(%s, 'change', null)",
            "select pgretrieval.lock_collection(%s, 'change', 'access share')",
            "select pgretrieval.lock_collection(%s, 'build', 'share update exclusive')",
            "select pgretrieval.lock_collection(%s, 'following', null)",
            "select from pgretrieval.collection where collection_id = %s for key share",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                stranger.execute(attempt, [number])
        begun = time.monotonic()
        goes_on(other, 1)
        other.rebuild()
        other.compact()
        database.migrate()
        assert time.monotonic() - begun < 20


def test_a_switch_gets_its_turn(database: pgretrieval.RetrievalDatabase, other: pgretrieval.Collection, database_url: str):
    """A switch succeeds despite continuous adds."""
    done = threading.Event()

    def add(writer: int) -> None:
        with psycopg.connect(database_url) as adding:
            while not done.is_set():
                with adding.transaction():
                    adding.execute("select pgretrieval.lock_for_change(%s)", [other._row.collection_id])
                    time.sleep(0.1)

    adding = [beside(lambda writer=writer: add(writer)) for writer in range(3)]
    time.sleep(0.2)
    switching, raised = beside(lambda: other.rebuild())
    switching.join(60)
    ended = not switching.is_alive()
    done.set()
    for thread, failed in adding:
        thread.join(10)
        assert failed == []
    assert ended
    assert raised == []


# ---- locks of plans


_VECTORS = '{"[' + ",".join(["1"] + ["0"] * 63) + ']"}'
_PARTITIONS = """
    select leaf.relid::regclass::text from pg_class, pg_partition_tree(pg_class.oid) as leaf
    where relkind = 'p' and relnamespace = 'pgretrieval'::regnamespace and leaf.isleaf
"""


@pytest.mark.parametrize(
    "settings", [{}, {"scorer": "xtr"}, {"generator": "proxy"}, {"keep_vectors": True}, {"dense": "kept"}], ids=str
)
def test_no_plan_touches_another_collection(
    database: pgretrieval.RetrievalDatabase, connection: Connection, database_url: str, settings: dict[str, Any]
):
    """Plans lock only partitions of their own collection."""
    dense = [[1.0] * 8] * 30 if settings.get("dense") else None
    passages = [{"id": str(number), "text": f"word{number} here", "metadata": {"n": number}} for number in range(30)]
    for name in ("docs", "away"):
        collection = database.create_collection(name, encoder=HashedEncoder(), **settings)
        collection.add(passages, dense=dense)
        collection.build()
    away = collection._row
    codebook = connection.execute("select codebook_id from pgretrieval.collection where name = 'away'").fetchone()[0]
    connection.execute("select set_config('lock_timeout', '1s', false)")
    with psycopg.connect(database_url) as holding, psycopg.connect(database_url) as joined:
        joined.execute("set lock_timeout = '1s'")
        for (name,) in holding.execute(_PARTITIONS).fetchall():
            if (name.endswith(f"_{away.collection_id}") and "proxy" not in name) or name == f"pgretrieval.proxy_{codebook}":
                holding.execute(f"lock table {name} in access exclusive mode")
        impatient = f"{database_url}{'&' if '?' in database_url else '?'}options=-clock_timeout%3D1000"
        with pgretrieval.connect(url=impatient) as opened:
            docs = opened.get_collection("docs", encoder=HashedEncoder())
            for turn in range(7):  # a generic plan is possible from the sixth execution
                one = [{"id": f"new{turn}", "text": "another one"}]
                given = {"dense": dense[:1]} if dense else {}
                docs.search("word3", k=3)
                docs.search("word3", k=3, where={"n": {"$lt": 20}})
                docs.text_search("word3")
                docs.stats()
                docs.get(["1", "2"])
                docs.add(one, **given)
                docs.add([{**one[0], "text": "changed"}], on_conflict="update", **given)
                docs.delete(where={"n": turn})
                docs.add([{**one[0], "id": "joined"}], on_conflict="update", connection=joined, **given)
                docs.delete(["joined"], connection=joined)
                joined.commit()
                docs.compact()
                search = "xtr_search" if "scorer" in settings else "search"
                connection.execute(f"select * from pgretrieval.{search}('docs', %s::vector[])", [_VECTORS]).fetchall()
                connection.execute("select * from pgretrieval.text_search('docs', 'word3')").fetchall()
                connection.execute("select pgretrieval.stats('docs')")
                connection.execute("select pgretrieval.delete_passage('docs', %s)", [str(20 + turn)])
                if "generator" not in settings:
                    arguments = [f"sql{turn}", _VECTORS, "[1,1,1,1,1,1,1,1]" if dense else None]
                    connection.execute("select pgretrieval.add_passage('docs', %s, 'x', %s::vector[], dense => %s)", arguments)
            assert docs.check() == []
        holding.rollback()


def test_every_function_that_reads_partitions_plans_by_values(connection: Connection):
    """Functions that read partitions use custom plans."""
    parents = connection.execute(
        "select relname from pg_class where relkind = 'p' and relnamespace = 'pgretrieval'::regnamespace and relname !~ '_lock$'"
    ).fetchall()
    without = connection.execute(
        """select proname from pg_proc join pg_language on pg_language.oid = prolang
           where pronamespace = 'pgretrieval'::regnamespace and lanname = 'plpgsql'
             and prosrc ~ %s and coalesce('plan_cache_mode=force_custom_plan' <> all (proconfig), true)""",
        [rf"pgretrieval\.({'|'.join(name for (name,) in parents)})\M"],
    ).fetchall()
    assert without == []


# ---- the parts


def test_lock_briefly_gives_back_what_it_had(connection: Connection, database_url: str):
    """A failed attempt releases its locks and restores lock_timeout."""
    connection.execute("create table public.one (); create table public.two ()")
    with psycopg.connect(database_url) as holding, psycopg.connect(database_url) as locking:
        holding.execute("lock table public.two")
        lock = "select pgretrieval.lock_briefly('a test', '{public.one,public.two}', 'access exclusive', %s)"
        with locking.transaction():
            with (
                pytest.raises(psycopg.errors.LockNotAvailable, match=r"for 0.1 seconds: .* uses public.two"),
                locking.transaction(),
            ):
                locking.execute(lock, [0.1])
            assert locking.execute("show lock_timeout").fetchone() == ("0",)
            connection.execute("set lock_timeout = '1s'; select * from public.one")
        holding.rollback()
        locking.execute(lock, [1])


def test_empty_partitions_and_drop_leftover(connection: Connection, database_url: str):
    """Empty partitions are dropped, missing ones are ignored, and locks of others are not awaited."""
    connection.execute("select pgretrieval.create_partition('anchor_score', 'matrix_id', 7)")
    connection.execute("insert into pgretrieval.anchor_score (matrix_id, passage_id, scores) values (7, 1, '')")
    for _ in range(2):
        connection.execute("select pgretrieval.empty_partitions('a test', '{anchor_score_7,anchor_score_8}')")
    assert connection.execute("select count(*) from pgretrieval.anchor_score").fetchone() == (0,)
    with psycopg.connect(database_url) as reader:
        reader.execute("select * from pgretrieval.anchor_score")
        assert connection.execute("select pgretrieval.drop_leftover()").fetchone() == (False,)
    assert connection.execute("select pgretrieval.drop_leftover()").fetchone() == (True,)
    assert connection.execute("select pgretrieval.drop_leftover()").fetchone() == (False,)
    connection.execute("select pgretrieval.create_partition('anchor_score', 'matrix_id', 7)")


def test_an_index_that_is_in_use_is_dropped_later(connection: Connection, database_url: str):
    """An index in use is dropped later, without blocking others."""
    number = connection.execute("select pgretrieval.create_collection('docs', 48, dense => 'kept')").fetchone()[0]
    old = f"dense_vector_{number}_7_hnsw"  # of an old encoder
    connection.execute("select pgretrieval.index_vectors('dense_vector_' || %s, 16, 'encoding', 7)", [number])
    drop = "select pgretrieval.drop_replaced(%s, 1000)"
    there = "select to_regclass(%s)"
    with psycopg.connect(database_url) as reader:
        reader.execute("select * from pgretrieval.dense_vector where collection_id = %s", [number])
        with pytest.raises(psycopg.errors.LockNotAvailable, match=f"dropping index {old}"):
            connection.execute(drop, [number])
        assert connection.execute(there, [f"pgretrieval.{old}"]).fetchone()[0] is not None
    assert connection.execute(drop, [number]).fetchone() == (False,)
    assert connection.execute(there, [f"pgretrieval.{old}"]).fetchone()[0] is None


def queue_up(connection: Connection, number: int, *keys: str) -> None:
    """Queue entries for keys, in order."""
    for key in keys:
        connection.execute("insert into pgretrieval.queue (collection_id, key) values (%s, %s)", [number, key])


def counts(entries: queue.Entries) -> dict[str, int]:
    """How many entries each key has."""
    return {key: len(each) for key, each in entries.items()}


def test_a_key_is_claimed_by_one_worker(connection: Connection, database_url: str):
    """A key is claimed by one worker, and keys held by others are reported."""
    number = connection.execute("select pgretrieval.create_collection('docs', 48)").fetchone()[0]
    queue_up(connection, number, "a", "b", "a")
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        assert counts(queue.claim(CollectionTables(first, number), 1)) == {"a": 2}
        queue_up(connection, number, "a")
        assert counts(queue.claim(CollectionTables(second, number), 10)) == {"b": 1}
        second.rollback()
        first.execute("delete from pgretrieval.queue where queue_id <= 3 and key = 'a'")
        assert queue.held_by_others(CollectionTables(connection, number))[0] == 4
        first.commit()
        assert counts(queue.claim(CollectionTables(second, number), 10)) == {"a": 1, "b": 1}


def test_keys_of_which_another_worker_has_an_entry_are_not_locked(connection: Connection, database_url: str):
    """Keys with an entry locked by another worker are skipped."""
    number = connection.execute("select pgretrieval.create_collection('docs', 48)").fetchone()[0]
    queue_up(connection, number, "a", "b", "a")
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        first.execute("select from pgretrieval.queue where queue_id = 1 for update")
        assert counts(queue.lock(CollectionTables(second, number), ["a", "b", "not queued"])) == {"b": 1}
        first.rollback()
        second.rollback()
        assert counts(queue.lock(CollectionTables(second, number), ["a", "b"])) == {"a": 2, "b": 1}


def test_a_worker_reports_rows_locked_by_others(
    database: pgretrieval.RetrievalDatabase, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """`worker --once` raises an error if due rows stay locked by others."""
    monkeypatch.setattr("pgretrieval.sync.worker._WAIT_FOR_OTHERS", 1.0)
    connection.execute("create table public.articles (id text primary key, body text)")
    connection.execute("insert into public.articles values ('1', 'one')")
    docs = database.create_collection("docs", encoder=HashedEncoder())
    database.attach("docs", "public.articles", text="body")
    with psycopg.connect(database_url) as holding:
        holding.execute("select from pgretrieval.queue for update")
        with pytest.raises(pgretrieval.ConflictError, match=f"1 changed rows .*process {holding.info.backend_pid}"):
            database.work([docs])
    assert database.work([docs]).written == 1


# ---- words


def test_word_vector_cuts_very_long_texts(connection: Connection):
    """Words beyond the limits of a tsvector are left out and counted."""
    connection.execute("select pgretrieval.create_collection('docs', 48, encoder => '{\"kind\": \"none\"}')")
    many = "(select string_agg(md5(n::text) || '-' || md5((-n)::text), ' ') from generate_series(1, 12000) as n)"
    connection.execute(f"select pgretrieval.add_passage('docs', 'long', 'first ' || {many}, null)")
    connection.execute("select pgretrieval.add_passage('docs', 'short', 'first and only', null)")
    assert connection.execute(f"select (pgretrieval.word_vector('simple', 'a', {many})).cut").fetchone() == (True,)
    assert connection.execute("select (pgretrieval.word_vector('simple', 'a', 'b')).*").fetchone() == ("'a':1A 'b':2", False)
    found = connection.execute("select id from pgretrieval.text_search('docs', 'first')").fetchall()
    assert sorted(found) == [("long",), ("short",)]
    connection.execute(f"select * from pgretrieval.text_search('docs', {many})")
    assert connection.execute("select pgretrieval.stats('docs') -> 'words_cut'").fetchone() == (1,)
