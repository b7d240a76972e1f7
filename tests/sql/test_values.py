"""Validation of encoders, metadata and filters."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

Connection = psycopg.Connection[Any]


def refused(connection: Connection, statement: str, value: str | None) -> str | None:
    """The SQLSTATE that a statement with one value fails with."""
    try:
        connection.execute(statement, [value])
    except psycopg.Error as error:
        return error.sqlstate
    return None


@pytest.mark.parametrize(
    ("filter", "is_one"),
    [
        ("$.year >= 1990", True),
        ('exists($.tags[*] ? (@ == "a"))', True),
        ("!($.a == 1)", True),
        ("$.year", False),
        ("1", False),
        ("$.published", False),
        ('"text"', False),
    ],
)
def test_check_search_takes_predicates(connection: Connection, filter: str, is_one: bool):
    """Predicates are accepted, and filters that can match nothing are refused."""
    if is_one:
        connection.execute("select pgretrieval.check_search(%s::jsonpath, 1)", [filter])
    else:
        with pytest.raises(psycopg.errors.DatabaseError, match="a jsonpath but no predicate") as refused:
            connection.execute("select pgretrieval.check_search(%s::jsonpath, 1)", [filter])
        assert refused.value.sqlstate == "PGR05"


def test_no_filter_is_no_error(connection: Connection):
    """Searches without a filter are accepted."""
    connection.execute("select pgretrieval.check_search(null, 1)")


@pytest.mark.parametrize(
    ("encoder", "is_one"),
    [
        (None, True),
        ('{"kind": "minilm"}', True),
        ('{"kind": "minilm", "version": "2"}', True),
        ('{"kind": "model", "name": "a/b"}', True),
        ('{"kind": "object", "type": "x"}', True),
        ('{"kind": "none"}', True),
        ('{"kind": "model"}', False),
        ('{"kind": "model", "name": " "}', False),
        ('{"kind": "other"}', False),
        ('{"kind": ["minilm"]}', False),
        ('{"kind": "minilm", "version": {"a": 1}}', False),
        ("{}", False),
        ("[]", False),
        ("5", False),
        ('"minilm"', False),
    ],
)
def test_encoders_of_collections(connection: Connection, encoder: str | None, is_one: bool):
    """Only encoders that a client can read are stored."""
    create = "select pgretrieval.create_collection('x', encoder => %s::jsonb)"
    assert refused(connection, create, encoder) == (None if is_one else "PGR05")


@pytest.mark.parametrize(
    ("metadata", "is_one"),
    [
        ("{}", True),
        ('{"a": [1, {"b": null}], "c": -0.5}', True),
        (f'{{"a": {"9" * 3000}}}', True),
        ('{"a": 1e308}', True),
        (f'{{"a": {"9" * 5000}}}', False),
        (f'{{"a": [{{"b": {"9" * 400}.5}}]}}', False),
        ("[]", False),
        ("5", False),
        ("null", False),
    ],
)
def test_metadata_of_passages(connection: Connection, metadata: str, is_one: bool):
    """Only metadata that Python reads unchanged are stored."""
    connection.execute("select pgretrieval.create_collection('x', encoder => '{\"kind\": \"none\"}')")
    add = "select pgretrieval.add_passage('x', 'id', 'body', null, metadata => %s::jsonb)"
    assert refused(connection, add, metadata) == (None if is_one else "PGR05")
