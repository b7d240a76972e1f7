"""`where` as jsonpath, and `among` as SQL."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from pgretrieval.errors import ConfigError
from pgretrieval.search.filters import jsonpath, restriction

ROWS: dict[str, Any] = {
    "old": {"year": 1980, "lang": "en", "tags": ["a", "b"]},
    "new": {"year": 2001, "lang": "de", "tags": [], "deep": {"er": 1}},
    "none": {"year": None, "lang": 'say "hi"\\'},
    "text": {"year": "1990", "open": True},
    "empty": {},
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, {"old", "new", "none", "text", "empty"}),
        ({"year": 1980}, {"old"}),
        ({"year": "1990"}, {"text"}),
        ({"year": None}, {"none"}),
        ({"open": True}, {"text"}),
        ({"year": {"$gte": 1980, "$lt": 2001}}, {"old"}),
        ({"year": {"$gt": 1980}}, {"new"}),
        ({"year": {"$lte": 2001}, "lang": "de"}, {"new"}),
        ({"lang": 'say "hi"\\'}, {"none"}),
        ({"tags": "b"}, {"old"}),
        ({"tags": {"$in": ["b", "c"]}}, {"old"}),
        ({"tags": {"$in": []}}, set()),
        ({"deep.er": 1}, {"new"}),
        ({"year": {"$eq": 1980}}, {"old"}),
        ({"year": {"$ne": 1980}}, {"new", "none", "text", "empty"}),
        ({"lang": {"$nin": ["en", "de"]}}, {"none", "text", "empty"}),
        ({"year": {"$between": [1980, 2000]}}, {"old"}),
        ({"year": {"$not": {"$between": [1980, 2000]}}}, {"new", "none", "text", "empty"}),
        ({"year": {"$like": "199_"}}, {"text"}),
        ({"lang": {"$like": "%E%"}}, set()),
        ({"lang": {"$ilike": "%E%"}}, {"old", "new"}),
        ({"lang": {"$like": "d"}}, set()),
        ({"lang": {"$like": r'say "hi"\\'}}, {"none"}),
        ({"tags": {"$like": "b%"}}, {"old"}),
        ({"open": {"$exists": True}}, {"text"}),
        ({"year": {"$exists": False}}, {"empty"}),
        ({"year": {"$empty": True}}, {"none", "empty"}),
        ({"tags": {"$empty": True}}, {"new", "none", "text", "empty"}),
        ({"tags": {"$empty": False}}, {"old"}),
        ({"deep": {"$empty": False}}, {"new"}),
        ({"year": {"$not": {"$gt": 1990}}}, {"old", "none", "text", "empty"}),
        ({"$or": [{"year": 1980}, {"deep.er": {"$gte": 1}}]}, {"old", "new"}),
        ({"$and": [{"year": {"$gte": 1980}}, {"lang": "en"}]}, {"old"}),
        ({"$not": {"lang": "en"}}, {"new", "none", "text", "empty"}),
    ],
)
def test_where_selects_the_expected_values(connection: psycopg.Connection[Any], where: dict[str, Any], expected: set[str]):
    """Postgres evaluates each predicate to the expected values of the table above."""
    predicate = jsonpath(where)
    found = {
        name
        for name, metadata in ROWS.items()
        if connection.execute("select %s::jsonb @@ %s::jsonpath", [psycopg.types.json.Jsonb(metadata), predicate]).fetchone()
        == (True,)
    }
    assert found == expected


@pytest.mark.parametrize(
    ("pattern", "given"),
    [
        (r"100\%", "100%"),
        (r"a\_b", "a_b"),
        (r"\d", "d"),
        (r"\\d", r"\d"),
        ("a.b", "a.b"),
        ("(a|b)*[c]{2}^$+?", "(a|b)*[c]{2}^$+?"),
        ("one%two", "one\nand\ntwo"),
        ("Grüße", "Grüße"),
        ("(?i)a", "(?i)a"),
        ("***=a", "***=a"),
        ("end\\", "end\\"),
        ("#  a", "#  a"),
    ],
)
def test_patterns_are_those_of_sql(connection: psycopg.Connection[Any], pattern: str, given: str):
    """Special characters of regular expressions stand for themselves."""
    predicate = jsonpath({"field": {"$like": pattern}})
    for field, expected in ((given, True), (f"{given}d", False), ("other", False)):
        metadata = psycopg.types.json.Jsonb({"field": field})
        assert connection.execute("select %s::jsonb @@ %s::jsonpath", [metadata, predicate]).fetchone() == (expected,), field


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"year": {"$near": 1}}, "no operator '\\$near' for 'year'"),
        ({"$nor": []}, "no operator '\\$nor'"),
        ({"year": {}}, "no condition for 'year'"),
        ({"year": [1, 2]}, "compares 'year' with \\[1, 2\\]"),
        ({"year": float("nan")}, "compares 'year' with nan"),
        ({"year": {"$in": "abc"}}, "needs a list of values, not 'abc'"),
        ({"year": {"$between": [1, 2, 3]}}, "needs a list of two values.*not \\[1, 2, 3\\]"),
        ({"year": {"$between": "ab"}}, "needs a list of two values.*not 'ab'"),
        ({"year": {"$like": 3}}, "\\$like of 'year' is 3; give a pattern"),
        ({"$or": {}}, "needs a list of conditions"),
        ({"$not": 3}, "a mapping of fields to values"),
        ({"$and": [{}]}, "a mapping of fields to values"),
    ],
)
def test_where_that_cannot_be_understood(where: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        jsonpath(where)


def test_no_restriction_is_none():
    assert restriction(None, None) is None


def test_a_jsonpath_is_passed_unchanged():
    assert restriction("$.year > 3", None).filter == "$.year > 3"


def test_among_takes_ids_and_selects():
    table = sa.table("article", sa.column("slug"), sa.column("n"))
    listed = restriction(None, ("a", "b"))
    assert (listed.ids, listed.parameters) == ("%(among)s::text[]", {"among": ["a", "b"]})
    selected = restriction(None, sa.select(table.c.slug).where(table.c.n == 3, table.c.slug.like("a%")))
    assert selected.ids.startswith("array(SELECT article.slug")
    assert sorted(map(str, selected.parameters.values())) == ["3", "a%"]


@pytest.mark.parametrize("among", ["abc", 3, sa.select(sa.column("a"), sa.column("b"))])
def test_among_that_cannot_be_understood(among: Any):
    with pytest.raises(ConfigError, match="among"):
        restriction(None, among)
