"""SQL refers to no name in a schema where others may create objects."""

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
"""Words before a parenthesis that are not functions, or that the parser resolves in pg_catalog."""


def code(path: Path) -> str:
    """The file without comments."""
    return re.sub(r"--.*", "", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [*FUNCTIONS, *QUERIES, *REVISIONS], ids=lambda path: path.name)
def test_names_of_pgvector_are_qualified(path: Path):
    """Types, functions and operators of pgvector are qualified with its schema."""
    assert OF_VECTOR.findall(code(path)) == []


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.name)
def test_functions_that_sessions_call_are_written_with_their_schema(path: Path):
    """Functions in statements of the client are qualified, so a better match on the caller's search path is not used."""
    text = re.sub("'[^']*'", "''", code(path))
    named = {match[1] for match in re.finditer(r"\bas (?:materialized )?([a-z_]+) \(", text)}  # aliases with columns
    assert {name for name in CALL.findall(text) if not SYNTAX.fullmatch(name)} - named == set()
    assert OURS not in text  # unknown to sessions; parameters of type vector accept text


def functions(connection: psycopg.Connection[Any]) -> list[tuple[str, str, bool, bool, list[str], bool]]:
    """Name, language, whether bound, security definer, settings, and whether PUBLIC may call it."""
    statement = """
        select proname, lanname, prosqlbody is not null, prosecdef, coalesce(proconfig, '{}'),
               has_function_privilege('public', pg_proc.oid, 'execute')
        from pg_proc join pg_language on pg_language.oid = prolang
        where pronamespace = 'pgretrieval'::regnamespace
    """
    return connection.execute(statement).fetchall()  # type: ignore[return-value]


@pytest.mark.both_versions
def test_functions_look_for_names_where_only_superusers_create_them(connection: psycopg.Connection[Any]):
    """Functions search only schemas in which nobody but superusers can create objects."""
    for name, language, bound, _, settings, _ in functions(connection):
        if language == "plpgsql":
            assert "search_path=pg_catalog, pg_temp" in settings, name
        else:
            assert (language, bound) == ("sql", True), name


@pytest.mark.both_versions
def test_functions_with_the_rights_of_their_owner_are_few(connection: psycopg.Connection[Any]):
    """Only the listed functions run with their owner's rights, and PUBLIC may not call them."""
    assert {(name, open_to_all) for name, _, _, as_owner, _, open_to_all in functions(connection) if as_owner} == {
        ("queue_change", False),
        ("own_entries", False),
        ("settle", False),
        ("forget_passages", False),
        ("needs_compaction", False),
        ("compact", False),
    }
