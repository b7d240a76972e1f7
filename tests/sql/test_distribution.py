"""The functions of distribution on one server; tests/citus has them on a cluster."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.sql.test_functions import add_passages, create
from tests.support.bucket_joins import TABLES

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
_READERS = """select count(*) from pg_proc join pg_language on pg_language.oid = prolang
    join pg_depend on classid = 'pg_proc'::regclass and objid = pg_proc.oid
    where lanname = 'sql' and refobjid = 'pgretrieval.passage'::regclass"""

_CITUS = "create function pg_catalog.create_distributed_function(regprocedure) returns void language sql as 'select'"
"""The function of the extension citus that `adapt_functions` calls."""


def value(connection: Connection, statement: str, *parameters: Any) -> Any:
    """The only value that a statement returns."""
    return connection.execute(statement.encode(), parameters).fetchone()[0]


def test_tables_with_a_bucket_are_spread(connection: Connection):
    """All tables with a bucket but queues and anchor items are distributed, passages first, and on one server none is."""
    spread = value(connection, "select pgretrieval.spread_tables()")
    assert spread[0] == "passage"
    assert set(spread) == set(TABLES) - {"anchor_item", "removed_passage", "source_passage"}
    assert value(connection, "select pgretrieval.is_distributed()") is False


def test_one_server_cannot_be_distributed(connection: Connection):
    """Without Citus nothing is distributed, and the error says what to do."""
    with pytest.raises(psycopg.Error, match='the extension "citus" is not created') as caught:
        connection.execute("select pgretrieval.distribute()")
    assert caught.value.sqlstate == "PGR02"


def test_readers_of_passages_become_plpgsql(connection: Connection):
    """No SQL function reads passages afterwards, and one that did returns the same."""
    held = create(connection)
    add_passages(connection, held, [1, 2, 3])
    found = "select key from pgretrieval.passages_with_keys(%s, array['k3', 'k1', 'none']) order by key"
    before = connection.execute(found, [held]).fetchall()
    assert before == [("k1",), ("k3",)]
    assert value(connection, _READERS) > 0
    with connection.transaction(force_rollback=True):
        connection.execute(_CITUS)
        connection.execute("select pgretrieval.adapt_functions()")
        assert value(connection, _READERS) == 0
        assert connection.execute(found, [held]).fetchall() == before


def test_rows_of_a_statement_are_gathered(connection: Connection):
    """The rows are those of the statement."""
    rows = connection.execute(
        "select * from pgretrieval.gathered('select n, n * n from generate_series(1, 3) n') as (n int, square int)"
    )
    assert rows.fetchall() == [(1, 1), (2, 4), (3, 9)]


def test_passages_are_locked(connection: Connection):
    """The existing ones are returned in order with their bucket, and another transaction cannot delete them."""
    held = create(connection)
    add_passages(connection, held, [1, 2, 3])
    delete = "delete from pgretrieval.passage where collection_id = %s and passage_id = %s"
    with connection.transaction():
        locked = connection.execute("select * from pgretrieval.lock_passages(%s, array[3, 9, 1])", [held]).fetchall()
        assert locked == [(1, 0), (3, 0)]
        with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as other:
            other.execute("set lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(delete, [held, 3])
            assert other.execute(delete, [held, 2]).rowcount == 1


def test_scans_are_set_for_a_transaction(connection: Connection):
    """Both settings hold until the transaction ends."""
    shown = "select current_setting('hnsw.ef_search') || ' ' || current_setting('hnsw.iterative_scan')"
    connection.execute("select '[1]'::vector")  # loads the library, which declares the settings
    before = value(connection, shown)
    with connection.transaction():
        connection.execute("select pgretrieval.scan_vectors(77, 'strict_order')")
        assert value(connection, shown) == "77 strict_order" != before
    assert value(connection, shown) == before
