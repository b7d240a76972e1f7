"""No name in our SQL is looked for where others may put objects of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgretrieval import assets

OURS = "@extschema:vector@"
QUERIES = sorted((assets.SQL / "queries").glob("*.sql"))
FUNCTIONS = assets.function_files()
REVISIONS = sorted((assets.MIGRATIONS / "versions").glob("*.sql"))
OF_VECTOR = re.compile(
    r"""::(?:vector|halfvec)\b                       # casts
    | (?<![\w.])(?:vector|halfvec)\[\]               # arrays
    | (?<![.\w])(?:vector|halfvec)\(                 # with dimensions
    | (?<![.\w])(?:vector_dims|vector_norm|l[12]_norm|l2_normalize|binary_quantize|subvector|inner_product|cosine_distance)\b
    | (?<!@\.)(?:<\#>|<->|<=>|<\+>|<~>|<%>)(?!['"])  # operators
    | (?<![.\w%])(?:vector|halfvec)_(?:ip|l2|cosine|l1)_ops\b
    """,
    re.VERBOSE,
)
CALL = re.compile(r"(?<![\w.%@{])([a-z_][a-z_0-9]*)\s*\(")
SYNTAX = re.compile(
    "all|and|any|array|as|coalesce|conflict|exists|explain|filter|in|from|lateral|least|materialized|or|over|select|set|stdin|substring"
    "|nullif|then|update|using|vacuum|values|where"
)
"""What may stand before a parenthesis and is no function, or one that the parser itself looks for in pg_catalog."""


def code(path: Path) -> str:
    """The file without comments."""
    return re.sub(r"--.*", "", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [*FUNCTIONS, *QUERIES, *REVISIONS], ids=lambda path: path.name)
def test_what_is_of_pgvector_is_written_with_its_schema(path: Path):
    """Somebody's own type, function or operator is taken for pgvector's, or pgvector's is not found."""
    assert OF_VECTOR.findall(code(path)) == []


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.name)
def test_functions_that_sessions_call_are_written_with_their_schema(path: Path):
    """A function that somebody put into a schema of the caller's search path fits better than Postgres's own, and runs."""
    text = re.sub("'[^']*'", "''", code(path))
    named = {match[1] for match in re.finditer(r"\bas (?:materialized )?([a-z_]+) \(", text)}  # aliases with columns
    assert {name for name in CALL.findall(text) if not SYNTAX.fullmatch(name)} - named == set()
    assert OURS not in text  # sessions do not know it; what takes a vector takes its text


def functions(connection: psycopg.Connection[Any]) -> list[tuple[str, str, bool, bool, list[str], bool]]:
    """Name, language, whether it is bound already, whether it runs as its owner, its settings, whether everybody may call it."""
    statement = """
        select proname, lanname, prosqlbody is not null, prosecdef, coalesce(proconfig, '{}'),
               has_function_privilege('public', pg_proc.oid, 'execute')
        from pg_proc join pg_language on pg_language.oid = prolang
        where pronamespace = 'pgretrieval'::regnamespace
    """
    return connection.execute(statement).fetchall()  # type: ignore[return-value]


@pytest.mark.both_versions
def test_functions_look_for_names_where_only_superusers_create_them(connection: psycopg.Connection[Any]):
    """A function with the caller's search path, or with one that holds a schema that others create in."""
    for name, language, bound, _, settings, _ in functions(connection):
        if language == "plpgsql":
            assert "search_path=pg_catalog, pg_temp" in settings, name
        else:
            assert (language, bound) == ("sql", True), name


@pytest.mark.both_versions
def test_functions_with_the_rights_of_their_owner_are_few(connection: psycopg.Connection[Any]):
    """One that does more than it must, or that everybody may call."""
    assert {(name, open_to_all) for name, _, _, as_owner, _, open_to_all in functions(connection) if as_owner} == {
        ("queue_change", False),
        ("own_postings", False),
        ("own_tokens", False),
        ("own_token_counts", False),
        ("own_words", False),
        ("settle", False),
        ("forget_passages", False),
        ("needs_compaction", False),
        ("compact", False),
    }
