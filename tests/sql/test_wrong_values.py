"""Every SQL function with one wrong argument at a time raises a documented state or returns valid rows.

The functions are read from the server's catalog, so new ones are tested automatically. Those in docs/reference/sql.md refuse
invalid arguments; the internal ones must not fail with an internal error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from pgretrieval import RetrievalDatabase
from pgretrieval.db import parameters
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.vectors import clustered
from tests.support.wrong import odd_numbers

Connection = psycopg.Connection[Any]
REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "sql.md").read_text(encoding="utf-8")
DOCUMENTED = set(
    re.findall(r"^(\w+)\(\s*\w+ \w+", "".join(re.findall(r"```postgresql\n(.*?)```", REFERENCE, re.DOTALL)), re.MULTILINE)
)
OURS = {"PGR04", "PGR05", "PGR06", "23505"}
"""States that docs/reference/sql.md documents."""
VALUES = {"22P02", "22003"}
"""States of the server for a text that is not a value of the parameter's type."""
OTHERS = {
    "attach": {"42601"},  # of the query given
    "maxsim": {"22000"},  # pgvector's, of two vectors whose dimensions differ
}
"""Further states of some functions."""
NO_PREDICATES = {"$", "$.n", "1"}
FAULTS = ("XX", "53", "54", "57")
"""States that only a fault of a function causes: internal errors, limits, timeouts."""

FUNCTIONS = """
    select function.proname, array_agg(coalesce(argument.name, '') order by argument.place),
           array_agg(format_type(argument.type, null) order by argument.place), function.pronargdefaults
    from pg_proc as function
    join lateral (
        select place, type, (function.proargnames)[place] as name
        from unnest(function.proargtypes::oid[]) with ordinality as types (type, place)
    ) as argument on true
    where pronamespace = 'pgretrieval'::regnamespace and prokind = 'f'
      and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
    group by function.oid order by 1
"""
_ZEROS = "[" + ",".join(["0"] * 64) + "]"
_WHOLE = ["0", "-1", "5", "2147483647", "-2147483648"]
_FLOATS = ["0", "-1", "NaN", "Infinity", "1e30"]
_TEXTS = ["", " ", "x", "[", "'; select 1; --", "%s %I {}", "x" * 100_000]
_VECTORS = ["{}", "{NULL}", '{"[1]"}', f'{{"{_ZEROS}"}}', '{"[1,2]","[1]"}', '{{"[1,2]"},{"[3,4]"}}']
WRONG = {
    "text": _TEXTS,
    "name": _TEXTS,
    "smallint": [*_WHOLE[:3], "32767", "-32768"],
    "integer": _WHOLE,
    "bigint": [*_WHOLE, "9223372036854775807"],
    "real": _FLOATS,
    "double precision": _FLOATS,
    "boolean": ["true", "false"],
    "jsonb": ["null", "5", "[]", "{}", '"x"', "[" * 3_000 + "]" * 3_000, '{"n": ' + "9" * 5_000 + "}"],
    "jsonpath": ["$", "$.n", "1", "strict $.nothing", "$.n / 0", '$.n like_regex "(a+)+$"', "$" + ".n" * 5_000],
    "regclass": ["pg_class", "0", "article", "pgretrieval.passage"],
    "vector": ["[1]", _ZEROS, "[1,2,3]", "[" + ",".join(["1"] * 16_000) + "]"],
    "halfvec": ["[1]", _ZEROS, "[1,2,3]"],
    "vector[]": _VECTORS,
    "halfvec[]": _VECTORS,
    "text[]": ["{}", "{NULL}", '{""}', "{{a},{b}}", "{a,a}"],
    "real[]": ["{}", "{NULL}", "{NaN}", "{Infinity}", "{1e38,1e38}", "{{1},{2}}"],
    "double precision[]": ["{}", "{NULL}", "{NaN,1,1}", "{1e300,1e300,1e300}", "{{1},{2},{3}}", "{1,1}"],
    "integer[]": ["{}", "{NULL}", "{-1}", "{2147483647}", "{{1},{2}}"],
    "smallint[]": ["{}", "{NULL}", "{-1}", "{{1},{2}}"],
    "bytea": ["", "x"],
}
"""Wrong values as texts; null is tried for every type."""

_VECTOR = parameters.vector(clustered(1)[0][0])
_TOKENS = parameters.vector_array(clustered(1, tokens=(3, 3))[0])
RIGHT = {
    "name": "docs", "collection": "docs", "id": "p1", "body": "tea", "title": "Tea", "vectors": _TOKENS, "document": _TOKENS,
    "query": _TOKENS, "query_text": "water", "numbers": "[1,2,3]", "n": "5", "k": "5", "dense": _VECTOR, "query_dense": _VECTOR,
    "anchor_scores": "{" + ",".join(["0.5"] * 16) + "}", "keys": "{1}",
}  # fmt: skip
"""Values of the other arguments, by the parameter's name; parameters not listed have their default or null."""
RIGHT_FOR = {
    "create_collection": {"name": "new", "dense": None},
    "add_passage": {"id": "new"},
    "attach": {"name": "to attach", "source": "public.article", "id": "id", "texts": "{body}", "query": None},
    "resync": {"name": "attached"},
    "detach": {"name": "attached"},
    "xtr_search": {"collection": "tokens"},
    "dense_search": {"query": _VECTOR},
    "as_vectors": {"numbers": _TOKENS},
}


class Function(NamedTuple):
    """A function of the schema."""

    name: str
    names: list[str]
    types: list[str]
    defaults: int

    def arguments(self) -> dict[str, str | None]:
        """Valid values for all required parameters."""
        known = {**RIGHT, **RIGHT_FOR.get(self.name, {})}
        required = self.names[: len(self.names) - self.defaults]
        return {name: known.get(name) for name in self.names if name and (name in required or known.get(name) is not None)}

    def calls(self) -> Iterator[tuple[str, dict[str, str | None]]]:
        """Calls with one wrong value each."""
        right = self.arguments()
        for name, kind in zip(self.names, self.types, strict=True):
            for wrong in [None, *WRONG.get(kind.removeprefix("public."), [])]:
                yield f"{name} => {str(wrong)[:40]}", {**right, name: wrong}


@pytest.fixture(scope="module")
def connection(module_database: RetrievalDatabase) -> Iterator[Connection]:
    """A connection to a database with a collection of each kind."""
    database = module_database
    passages = [{"id": f"p{number}", "text": f"water {number}", "metadata": {"n": number}} for number in range(40)]
    docs = database.create_collection("docs", dim=64, keep_vectors=True, dense="kept")
    docs.add(passages, vectors=clustered(40), dense=[tokens[0] for tokens in clustered(40)])
    docs.build()
    docs.factorize(TableCrossEncoder(), queries(range(30)), 16)
    tokens = database.create_collection("tokens", dim=64, scorer="xtr")
    tokens.add(passages, vectors=clustered(40))
    tokens.build()
    with psycopg.connect(database.url, autocommit=True) as opened:
        opened.execute("create table public.article (id bigint primary key, body text)")
        opened.execute("insert into public.article values (1, 'tea')")
        for name in ("to attach", "attached"):
            opened.execute("""select pgretrieval.create_collection(%s, 128, '{"kind": "minilm", "version": "2"}')""", [name])
        opened.execute("select pgretrieval.attach('attached', 'public.article', 'id', '{body}')")
        opened.execute("set statement_timeout = '10s'")
        yield opened


@pytest.fixture(scope="module")
def functions(connection: Connection) -> list[Function]:
    """All callable functions of the schema."""
    return [Function(*row) for row in connection.execute(FUNCTIONS)]


def state(connection: Connection, function: Function, arguments: dict[str, str | None]) -> tuple[str | None, Any]:
    """The SQLSTATE of a call, or its rows; rolled back."""
    kinds = dict(zip(function.names, function.types, strict=True))
    given = ", ".join(f'"{name}" => %({name})s::{kinds[name]}' for name in arguments)
    with connection.transaction(force_rollback=True):
        try:
            return None, connection.execute(f"select * from pgretrieval.{function.name}({given})", arguments).fetchall()
        except psycopg.Error as error:
            return f"{error.sqlstate}", str(error).splitlines()[0]


def test_documented_functions_accept_valid_values(connection: Connection, functions: list[Function]):
    """The right values of these tests are accepted."""
    found = {function.name for function in functions}
    assert found >= DOCUMENTED, DOCUMENTED - found
    assert len(DOCUMENTED) >= 18
    refused = {
        function.name: told
        for function in functions
        if function.name in DOCUMENTED and (told := state(connection, function, function.arguments()))[0]
    }
    assert not refused


def test_documented_functions_refuse_wrong_values(connection: Connection, functions: list[Function]):
    """Wrong values raise documented states, and results are valid otherwise."""
    faults = []
    for function in functions:
        if function.name in DOCUMENTED:
            said = OURS | VALUES | OTHERS.get(function.name, set())
            for what, arguments in function.calls():
                sqlstate, told = state(connection, function, arguments)
                taken = sqlstate is None and (odd_numbers(told) or arguments.get("filter") in NO_PREDICATES)
                if taken or (sqlstate is not None and sqlstate not in said):
                    faults.append(f"{function.name}({what}): {sqlstate} {str(told)[:150]}")
    assert not faults, "\n".join(["", *faults])


def test_other_functions_have_no_internal_errors(connection: Connection, functions: list[Function]):
    """Wrong values raise no internal errors and end."""
    faults = []
    for function in functions:
        if function.name not in DOCUMENTED:
            for what, arguments in function.calls():
                sqlstate, told = state(connection, function, arguments)
                if sqlstate and sqlstate.startswith(FAULTS):
                    faults.append(f"{function.name}({what}): {sqlstate} {str(told)[:150]}")
    assert not faults, "\n".join(["", *faults])
