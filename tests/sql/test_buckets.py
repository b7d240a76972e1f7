"""pgretrieval.bucket_of and Python give a passage the same bucket."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgretrieval.buckets import MAX_BUCKETS, buckets_of
from tests.support.bucket_joins import TABLES
from tests.unit.test_buckets import IDS

pytestmark = pytest.mark.both_versions


@pytest.mark.parametrize("buckets", [1, 2, 3, 64, 1000, MAX_BUCKETS])
def test_sql_and_python_agree(connection: psycopg.Connection[Any], buckets: int):
    """Both give the same bucket to 10,000 ids of one to four bytes a character."""
    ids = IDS + [f"{chr(32 + number % 200)}{chr(0x400 + number)}{chr(0x1F300 + number % 700)} {number}" for number in range(10_000)]
    found = connection.execute(
        "select pgretrieval.bucket_of(id, %s) from unnest(%s::text[]) with ordinality as given (id, place) order by place",
        [buckets, ids],
    ).fetchall()
    assert [bucket for (bucket,) in found] == buckets_of(ids, buckets).tolist()


def test_buckets_are_in_every_key(connection: psycopg.Connection[Any]):
    """Every unique index of a table in buckets contains the bucket, as a distributed Postgres requires."""
    found = connection.execute(
        """select pg_class.relname, array_agg(key.attname)
           from pg_class
           join pg_attribute as column_of on column_of.attrelid = pg_class.oid and column_of.attname = 'bucket'
           join pg_index on pg_index.indrelid = pg_class.oid and pg_index.indisunique
           join pg_attribute as key on key.attrelid = pg_class.oid and key.attnum = any(pg_index.indkey::smallint[])
           where pg_class.relnamespace = 'pgretrieval'::regnamespace and pg_class.relkind in ('r', 'p')
           group by pg_class.relname, pg_index.indexrelid"""
    ).fetchall()
    assert {table for table, _ in found} == set(TABLES)
    assert [table for table, columns in found if "bucket" not in columns] == []
