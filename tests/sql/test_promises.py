"""Access of restricted roles to every table, view, sequence and function (docs/reference/row-level-security.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.cross_encoder import TableCrossEncoder
from tests.support.encoder import HashedEncoder
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.sql import vector_array

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "row-level-security.md"
EACH = 150
"""Number of passages per tenant."""
SECRET = "zzb"
"""Prefix of every word of tenant b's texts, ids and metadata, and of every anchor query."""


def table_of(heading: str) -> dict[str, list[str]]:
    """Cells of the page's table with this first heading, by each name in its first column."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found: dict[str, list[str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"`([a-z_]+)`", first) or [first.split()[0]]:
            assert name not in found, f"{name} is there twice"
            found[name] = cells
    return found


RELATIONS, FUNCTIONS = table_of("object"), table_of("functions")


@dataclass(frozen=True)
class World:
    """Superuser's URL of a database with two tenants, and the names of the reader, the writer and a role without rights."""

    url: str
    urls: dict[str, str]
    roles: dict[str, str]


def passages(tenant: str, numbers: range) -> list[dict[str, object]]:
    """Passages whose words begin with the secret (tenant b) or with ya (tenant a)."""
    mark = SECRET if tenant == "b" else "yya"
    return [
        {
            "id": f"{mark}id{number}",
            "title": f"{mark}title{number}",
            "text": f"{mark}word{number % 7} common {number}",
            "metadata": {"tenant": tenant, "note": f"{mark}note"},
        }
        for number in numbers
    ]


@pytest.fixture(scope="module")
def world(postgres: PostgresUnderTest) -> Iterator[World]:
    """A collection by all tokens with proxies, dense vectors and a factorisation, one by retrieved tokens, and an attached one."""
    url = postgres.create_database()
    with pgretrieval.connect(url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder(), generator="proxy", dense="kept", keep_vectors=True)
        every = passages("a", range(EACH)) + passages("b", range(EACH, 2 * EACH))
        docs.add(every, dense=dense(len(every)))
        docs.build()
        docs.factorize(TableCrossEncoder(), [f"{SECRET}query {number}" for number in range(40)], anchor_items=20)
        docs.add(passages("b", range(2 * EACH, 2 * EACH + 5)), dense=dense(5))  # in a segment of its own
        tokens = database.create_collection("tokens", encoder=HashedEncoder(), scorer="xtr", rerank="maxsim")
        tokens.add(every)
        tokens.build()
        tokens.delete([f"{SECRET}id{EACH}"])
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table public.articles (id text primary key, body text, tenant text)")
            connection.execute(
                "insert into public.articles select %(mark)s || 'row' || n, %(mark)s || ' text', 'b' from generate_series(1, 5) n",
                {"mark": SECRET},
            )
        database.create_collection("followed", encoder=HashedEncoder())
        every_row = "select id, id as key, body, tenant from public.articles"
        database.attach("followed", "public.articles", id="id", text="body", metadata=["tenant"], query=every_row)
        assert database.work([database.get_collection("followed", encoder=HashedEncoder())]).written == 5
    names = {name: postgres.create_role() for name in ("reader", "writer", "owner", "stranger")}
    grant(url, *(names[name][0] for name in ("reader", "writer", "owner")))
    with psycopg.connect(url, autocommit=True) as connection:
        isolate_tenants(connection)
        connection.execute("update public.articles set body = body || ' changed'")  # stays queued
        connection.execute("create statistics pgretrieval.both on key, body from pgretrieval.passage_1")
        connection.execute("analyze")
    urls = {
        f"{name} {tenant}": f"{url_as(postgres, url, names[name])}&options=-capp.tenant%3D{tenant}"
        for name in ("reader", "writer", "stranger")
        for tenant in ("a", "b")
    }
    yield World(url, urls, {name: role for name, (role, _) in names.items()})
    postgres.drop_database(url)


def dense(count: int) -> list[Any]:
    return list(np.random.default_rng(count).standard_normal((count, 16)).astype(np.float32))


@contextmanager
def acting(world: World, role: str, tenant: str = "a") -> Iterator[Connection]:
    """A superuser's session that acts as a role until `reset role` and is rolled back."""
    with psycopg.connect(world.url) as connection:
        connection.execute("select set_config('app.tenant', %s, false)", [tenant])
        connection.execute(psycopg.sql.SQL("set role {}").format(psycopg.sql.Identifier(world.roles[role])))
        yield connection
        connection.rollback()


def outcome(connection: Connection, statement: str) -> str | list[str]:
    """The rows of a statement as sorted texts, or its SQLSTATE; a failure is undone."""
    try:
        with connection.transaction():
            return sorted(str(row) for row in connection.execute(statement).fetchall())
    except psycopg.Error as error:
        return str(error.sqlstate)


def relations(connection: Connection, kinds: str) -> list[str]:
    """Relations of the schema except partitions."""
    found = connection.execute(
        """select relname from pg_class where relnamespace = 'pgretrieval'::regnamespace
           and relkind::text = any(%s) and not relispartition order by 1""",
        [list(kinds)],
    )
    return [row[0] for row in found]


def partitions(connection: Connection) -> list[str]:
    """Partitions with rows."""
    found = connection.execute(
        "select relname from pg_class where relnamespace = 'pgretrieval'::regnamespace and relkind in ('r', 'p') and relispartition"
    )
    return [row[0] for row in found]


def test_the_page_has_every_table_and_function(world: World):
    """The page lists every table and function."""
    with psycopg.connect(world.url) as connection:
        assert set(relations(connection, "rpvmf")) | {"partitions", "sequences"} == set(RELATIONS)
        functions = connection.execute(
            "select distinct proname from pg_proc where pronamespace = 'pgretrieval'::regnamespace"
        ).fetchall()
        assert {row[0] for row in functions} == set(FUNCTIONS)


COLLECTION_OF = {
    "proxy": "(select c.collection_id from pgretrieval.codebook c where c.codebook_id = held.codebook_id)",
    "anchor_score": "(select m.collection_id from pgretrieval.score_matrix m where m.matrix_id = held.matrix_id)",
    "item_embedding": "(select f.collection_id from pgretrieval.factorization f where f.factorization_id = held.factorization_id)",
}


@pytest.mark.parametrize(("role", "column"), [("reader", 0), ("writer", 1)])
def test_relations_show_what_the_page_documents(world: World, role: str, column: int):
    """Tables and views show exactly the promised rows and values."""
    with psycopg.connect(world.url) as owner, psycopg.connect(world.urls[f"{role} a"], autocommit=True) as tenant:
        for relation, cells in RELATIONS.items():
            if relation in ("partitions", "sequences"):
                continue
            seen = outcome(tenant, f"select to_jsonb(held) from pgretrieval.{relation} as held")
            every = outcome(owner, f"select to_jsonb(held) from pgretrieval.{relation} as held")
            own = (
                f"select to_jsonb(held) from pgretrieval.{relation} as held join pgretrieval.passage as p "
                f"on p.collection_id = {COLLECTION_OF.get(relation, 'held.collection_id')} and p.passage_id = held.passage_id "
                "where p.metadata ->> 'tenant' = 'a'"
            )
            wanted = {"refused": "42501", "nothing": []}.get(cells[column])
            if wanted is None:
                wanted = outcome(owner, own) if cells[column] == "own" else every
                assert wanted, relation
            assert seen == wanted, (relation, cells[column])
            assert SECRET not in str(seen) or relation == "attachment", relation
            assert every or relation in ("compaction", "rebuild", "leftover") or relation.endswith("_lock"), (
                f"{relation} is empty, and tells nothing"
            )


@pytest.mark.parametrize("role", ["reader", "writer", "stranger"])
def test_partitions_sequences_and_statistics_are_closed(world: World, role: str):
    """Partitions, sequences and statistics are not readable."""
    with psycopg.connect(world.url) as owner, psycopg.connect(world.urls[f"{role} a"], autocommit=True) as tenant:
        names = partitions(owner)
        assert len(names) > 20
        for name in names:
            for statement in (
                f"select * from pgretrieval.{name}",
                f"delete from pgretrieval.{name}",
                f"truncate pgretrieval.{name}",
                f"select count(*) from pgretrieval.{name}",
            ):
                assert outcome(tenant, statement) == "42501", statement
        rights = """
            select c.relname, a.attname
            from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where c.relnamespace = 'pgretrieval'::regnamespace and c.relispartition
              and has_column_privilege(c.oid, a.attnum, 'select, insert, update, references')
        """
        assert tenant.execute(rights).fetchall() == []
        for name in relations(owner, "S"):
            assert outcome(tenant, f"select * from pgretrieval.{name}") == "42501", name
            moved = outcome(tenant, f"select setval('pgretrieval.{name}', 1)")
            assert moved == "42501", name
            if role != "writer":
                assert outcome(tenant, f"select nextval('pgretrieval.{name}')") == "42501", name
        kept = tenant.execute("select tablename, s::text from pg_stats s where schemaname = 'pgretrieval'").fetchall()
        shown = {name for name, cells in RELATIONS.items() if role != "stranger" and cells[0] in ("settings", "statistics")}
        assert {row[0] for row in kept} <= {name for name in shown if name in ("collection", "schema_version")}
        assert SECRET not in str(kept)
        for view in ("pg_stats_ext", "pg_stats_ext_exprs"):
            assert tenant.execute(f"select * from {view} where schemaname = 'pgretrieval'").fetchall() == []


def test_a_role_without_rights_is_refused_everything(world: World):
    """A role without privileges can use no table and no function."""
    with acting(world, "stranger") as stranger:
        for relation in RELATIONS.keys() - {"partitions", "sequences"}:
            assert outcome(stranger, f"select * from pgretrieval.{relation}") == "42501", relation
        for statement in calls(world):
            assert outcome(stranger, statement[1]) == "42501", statement


# Arguments of functions, by parameter, or by function and parameter.
QUERY = f"'{vector_array(HashedEncoder()._encode('common yyaword1'))}'::vector[]"
BY_TOKENS = {
    "score_tokens",
    "retrieved_passages",
    "xtr_search",
    "centroid_sizes",
    "probes_for",
}
ARGUMENTS = {
    "n": "1000",
    "k": "1000",
    "query": QUERY,
    "vectors": QUERY,
    "document": QUERY,
    "maxsim.document": "null",
    "query_text": "'common yyaword1 zzbword1'",
    "query_dense": "array_fill(1, array[16])::vector",
    "dense": "array_fill(1, array[16])::vector",
    "add_passage.dense": "null",
    "create_collection.dense": "null",
    "dense_key.dense": "'kept'",
    "candidates_by_proxy.query": "array_fill(1::real, array[512])",
    "candidates_by_embedding.query": "array_fill(1::real, array[20])",
    "anchor_scores": "array_fill(1::real, array[20])",
    "passage_ids": "array(select generate_series(1, 400))",
    "in_passages": "array(select generate_series(1, 400))",
    "keys": "null",
    "source_rows.keys": "array['zzbrow1']",
    "passages_with_keys.keys": "array['yyaid1', 'zzbid160']",
    "centroid_ids": "array(select generate_series(0, 4000))",
    "centroid_at.centroid_ids": r"'\x01000000'::bytea",
    "centroid_at.id_bytes": "4",
    "tail_bytes.residuals": "16384",
    "tail_bytes.centroid_ids": "512",
    "centroid_scores": "array_fill(1::real, array[4001])",
    "floors": "array_fill(0::real, array[50])",
    "query_tokens": "null",
    "scores": "array_fill(1::real, array[400])",
    "words": "array['common', 'yyaword1', 'zzbword1']",
    "times": "array[1, 1, 1]",
    "rarities": "array[1, 1, 1]",
    "asked": "to_tsvector('common yyaword1 zzbword1')",
    "searched": "'common'",
    "shared_word.word": "'common'",
    "compact_postings.relation": "'posting'",
    "own_entries.relation": "'word_posting'",
    "own_entries.in_codebook": "null",
    "own_entries.keys": "array['common', 'yyaword1', 'zzbword1']",
    "contents": "true",
    "after": "'-1'",
    "scored": "'select bucket, passage_id, 1::real as score from pgretrieval.token_code where collection_id = 1'",
    "all_matches": "true",
    "imputation": "'warp'",
    "k_tokens": "100",
    "probes": "4",
    "score_tokens.probes": "array[4, 4]",
    "tokens": "400",
    "candidates": "1000",
    "given_candidates": "1000",
    "given_probes": "4",
    "pruning": "64",
    "create_collection.generator": "'auto'",
    "create_collection.candidates": "null",
    "create_collection.preset": "null",
    "scorer": "'xtr'",
    "rerank": "'none'",
    "create_collection.rerank": "null",
    "unit_vectors": "true",
    "reduction": "'sum'",
    "min_score": "null",
    "explained": "1",
    "in_passage": "1",
    "token_matches.id": "'yyaid1'",
    "dense_search.query": "array_fill(1, array[16])::vector",
    "fusion": "'score'",
    "weights": "'{1,0.3,0.3}'",
    "rank_constant": "60",
    "what": "'the query'",
    "dim": "64",
    "token": "0",
    "width": "32",
    "numbers": "'[1,2]'",
    "as_vectors.numbers": """'{"[1,2]"}'""",
    "occurrences": "1",
    "length": "10",
    "mean_length": "10",
    "language": "'english'",
    "create_collection.language": "'english'",
    "title_weight": "1",
    "relation": "'public.articles'::regclass",
    "source": "'public.articles'::regclass",
    "wanted": "array['id']",
    "part": "null",
    "id": "'new'",
    "delete_passage.id": "'zzbid160'",
    "attach.id": "'id'",
    "texts": "array['body']",
    "body": "'words'",
    "title": "'words'",
    "add_passage.metadata": """'{"tenant": "a"}'""",
    "attach.metadata": "'{}'",
    "given": "'text'::regtype::oid",
    "attach.query": "null",
    "parent": "'proxy'",
    "key": "'codebook_id'",
    "number": "12345",
    "in_rows": "100",
    "dims": "16",
    "bits": "4",
    "buckets": "64",
    "levels": "'lloyd-max'",
    "encoder": "null",
    "keep_vectors": "false",
    "vectors_per_passage": "null",
    "inline_codes.vectors_per_passage": "4",
    "given_key": "null",
    "create_collection.dense_key": "null",
    "create_collection.name": "'new'",
    "filter": "null",
    "among": "null",
    "passed_over": "null",
    "mean": "null",
    "in_segment": "null",
    "settle.encoder": """'{"kind": "other"}'""",
    "settle.dim": "999",
    "settle.dense_dim": "999",
    "given_vectors": "true",
    "given_dense": "true",
    "most": "10",
    "doing": "'a test'",
    "relations": "array['pgretrieval.passage']::regclass[]",
    "lock_mode": "'access exclusive'",
    "mode": "null",
    "seconds": "0",
    "descendants": "false",
    "kind": "'change'",
    "partitions": "array['passage_1']",
    "partition": "'passage_1'",
    "index_vectors.vectors": "'vector'",
    "index_vectors.options": "'m = 8'",
    "element": "'halfvec'",
    "ef_search": "100",
    "iterative_scan": "'off'",
    "hits": "10",
    "named": "'k'",
    "factorized": "true",
}


def calls(world: World) -> list[tuple[str, str]]:
    """Every function with a statement that calls it with valid arguments."""
    with psycopg.connect(world.url) as connection:
        ids = dict(connection.execute("select name, collection_id from pgretrieval.collection").fetchall())
        codebooks = dict(connection.execute("select collection_id, codebook_id from pgretrieval.collection").fetchall())
        factorization = connection.execute("select factorization_id from pgretrieval.factorization").fetchone()[0]
        found = connection.execute(
            """select proname, coalesce(array(
                   select array[name, format_type(type, null)]
                   from unnest(proargnames, coalesce(proallargtypes, proargtypes::oid[]), proargmodes) as given (name, type, mode)
                   where coalesce(mode, 'i') = 'i'
               ), '{}') from pg_proc
               where pronamespace = 'pgretrieval'::regnamespace and prorettype <> 'trigger'::regtype order by 1"""
        ).fetchall()
    made = []
    for function, parameters in found:
        name = "tokens" if function in BY_TOKENS | {"add_passage"} else "docs"
        name = "followed" if function in ("expand_queue", "resync", "source_rows", "detach", "sync_state") else name
        collection = ids[name]
        given = {
            "collection": f"'{name}'",
            "name": f"'{name}'",
            "in_collection": str(collection),
            "in_codebook": str(codebooks[collection]),
            "in_factorization": str(factorization),
            "claimed": f"pgretrieval.claims_of({collection})",
        }
        arguments = []
        for parameter, kind in parameters if function != "gathered" else ():
            value = ARGUMENTS.get(f"{function}.{parameter}") or given.get(parameter) or ARGUMENTS.get(parameter)
            if parameter == "held":
                table = kind.removeprefix("pgretrieval.")
                of = ids["followed"] if table == "attachment" else collection
                value = f"(select h from pgretrieval.{table} as h where h.collection_id = {of})"
            assert value, f"{function} has a parameter {parameter} that this test gives nothing"
            arguments.append(f"{parameter} => {value}::{kind}" if value == "null" else f"{parameter} => {value}")
        # maxsim has two overloads, which call no other function; gathered runs the caller's statement, as the caller.
        if function not in ("maxsim", "gathered"):
            made.append((function, f"select to_jsonb(found) from pgretrieval.{function}({', '.join(arguments)}) as found"))
    return made


def is_nothing(rows: list[str]) -> bool:
    """Return whether the rows contain only null, zero and false."""
    return all(not re.sub(r"None|0\.0|\b0\b|False|'[a-z_]+':|[\[\](){},\s]", "", row) for row in rows)


def answers(world: World, role: str) -> dict[str, str | list[str]]:
    """The result of every function for a role of tenant a, rolled back."""
    with acting(world, role) as tenant:
        found = {}
        for function, statement in calls(world):
            tenant.execute("savepoint before")
            found[function] = outcome(tenant, statement)
            tenant.execute("rollback to before")
        return found


REFUSED = ("refused", "what the attached table shows the role")  # which these roles may not read


@pytest.mark.parametrize(("role", "column"), [("reader", 0), ("writer", 1)])
def test_functions_return_what_the_page_documents(world: World, role: str, column: int):
    """Functions return exactly what the page promises."""
    for function, answer in answers(world, role).items():
        cell = FUNCTIONS[function][column]
        assert SECRET not in str(answer) or function in ("source_of", "sync_state"), (function, answer)
        if cell in REFUSED:
            # attach checks the owner of the table before its rights.
            assert answer == ("PGR05" if function == "attach" else "42501"), (function, answer)
        elif cell == "nothing":
            assert isinstance(answer, list), (function, answer)
            assert is_nothing(answer), (function, answer)
        else:
            assert isinstance(answer, list), (function, cell, answer)
            if cell == "own" and not function.startswith("check_"):
                assert not is_nothing(answer), (function, answer)


def others(connection: Connection) -> dict[str, str | None]:
    """Data of tenant b or of all: passages, their derived rows, entries in postings, queue, collections, codebooks.

    A digest for each table, in one statement: comparing all values as texts would take most of the time of these tests.
    """
    settled = "{given_vectors,given_dense}"  # by any add, whoever's it is
    row = "select md5(record_send(held)) from pgretrieval"
    of_theirs = (
        "join pgretrieval.passage as p on p.collection_id = {} and p.passage_id = {} where p.metadata ->> 'tenant' = 'b'".format
    )
    rows = {
        "passage": f"{row}.passage as held where metadata ->> 'tenant' = 'b'",
        "collection": f"select (to_jsonb(held) - '{settled}'::text[])::text from pgretrieval.collection as held",
        **{
            table: f"{row}.{table} as held {of_theirs(COLLECTION_OF.get(table, 'held.collection_id'), 'held.passage_id')}"
            for table in ("token_vector", "token_code", "dense_vector", *COLLECTION_OF)
        },
        **{
            table: f"{row}.{table} as held"
            for table in (
                "codebook",
                "centroid",
                "anchor_query",
                "anchor_item",
                "factorization",
                "source_passage",
                "queue",
            )
        },
        **{
            table: f"select concat({column}, ' ', p.passage_id) from pgretrieval.{table} as held "
            f"cross join unnest(passage_ids) as listed {of_theirs('held.collection_id', 'listed')}"
            for table, column in (("posting", "centroid_id"), ("posting_code", "centroid_id"), ("word_posting", "word"))
        },
    }
    digests = (
        f"select '{table}', md5(string_agg(one, ',' order by one)) from ({statement}) as every (one)"
        for table, statement in rows.items()
    )
    return dict(connection.execute(" union all ".join(digests)).fetchall())


@pytest.fixture(scope="module")
def theirs(world: World) -> dict[str, str | None]:
    with psycopg.connect(world.url) as connection:
        found = others(connection)
    assert None not in found.values(), found  # no table is empty
    return found


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_functions_change_nothing_of_others(world: World, theirs: dict[str, str | None], role: str):
    """Functions change nothing of other tenants."""
    with acting(world, role) as tenant:
        for function, statement in calls(world):
            tenant.execute("savepoint before")
            if isinstance(outcome(tenant, statement), list):  # a failure was undone
                tenant.execute("reset role")
                assert others(tenant) == theirs, function
            tenant.execute("rollback to before")  # with the role


@pytest.mark.parametrize(("role", "column"), [("reader", 1), ("writer", 2)])
def test_statements_change_what_the_page_documents(world: World, theirs: dict[str, str | None], role: str, column: int):
    """Statements change only the tenant's own rows."""
    with psycopg.connect(world.url, autocommit=True) as owner, acting(world, role) as tenant:
        for relation, cells in RELATIONS.items():
            if relation in ("partitions", "sequences", "collections"):
                continue
            cell = "refused" if role == "reader" else cells[column]
            name = owner.execute(
                "select min(attname) from pg_attribute where attrelid = %s::regclass and attnum > 0 and attidentity = ''",
                [f"pgretrieval.{relation}"],
            ).fetchone()[0]
            done = {}
            for verb, statement in {
                "delete": f"delete from pgretrieval.{relation}",
                "update": f"update pgretrieval.{relation} set {name} = {name}",
                "truncate": f"truncate pgretrieval.{relation} cascade",
                "insert": f"insert into pgretrieval.{relation} default values",
            }.items():
                tenant.execute("savepoint before")
                try:
                    tenant.execute(statement)
                    done[verb] = "done"
                except psycopg.Error as error:
                    done[verb] = str(error.sqlstate)
                else:
                    tenant.execute("reset role")
                    assert others(tenant) == theirs, (relation, verb)
                tenant.execute("rollback to before")  # with the role
            refused = {verb for verb, state in done.items() if state == "42501"}
            assert (
                refused
                == {
                    "refused": {"delete", "update", "truncate", "insert"},
                    "`created_at`": {"delete", "update", "truncate", "insert"},  # which is not its first column
                    "adds own": {"delete", "update", "truncate"} | refused & {"insert"},
                    "own": {"truncate"} | refused & {"insert"},
                    "nothing": {"truncate", "insert"},
                }[cell]
            ), (relation, done)


def test_a_writer_lists_no_passage_of_another_tenant(world: World):
    """A writer cannot store codes or words for passages of others or future ids."""
    with psycopg.connect(world.url) as owner:
        held = owner.execute("select name, collection_id, codebook_id from pgretrieval.collection").fetchall()
        most = "select metadata ->> 'tenant', max(passage_id) from pgretrieval.passage where collection_id = %s group by 1"
        of = {name: (number, codebook, dict(owner.execute(most, [number]).fetchall())) for name, number, codebook in held}
    for table, name, values in (
        ("posting", "docs", "{codebook}, 0, 0, 99999, array[{passage}]"),
        ("posting_code", "tokens", "{codebook}, 0, 0, 99999, array[{passage}], array[0], ''"),
        ("word_posting", "docs", "'word', 0, 99999, array[{passage}], array[1]"),
        ("token_code", "docs", "{codebook} + 1000, 0, {passage}, '', ''"),
        ("token_vector", "docs", "0, {passage}, '{{}}', 77"),
        ("dense_vector", "docs", "0, {passage}, '[1]', 77"),
        ("segment", "docs", "{codebook} + 1000, {passage}, 1, 1, 1"),
    ):
        collection, codebook, ids = of[name]
        for passage, wanted in ((ids["a"], []), (ids["b"], "42501"), (ids["b"] + 1000, "42501")):
            statement = (
                f"insert into pgretrieval.{table} values ({collection}, {values.format(codebook=codebook, passage=passage)})"
            )
            with acting(world, "writer") as tenant:
                try:
                    tenant.execute(statement)
                    found: str | list[str] = []
                except psycopg.Error as error:
                    found = str(error.sqlstate)
            assert found == wanted, statement


def test_tickets_are_asked_for(world: World):
    """Functions on shared rows need a ticket for each passage."""
    with psycopg.connect(world.url) as owner:
        codebook = owner.execute("select codebook_id from pgretrieval.collection where collection_id = 1").fetchone()[0]
        claims = owner.execute("select pgretrieval.claims_of(1, '$.tenant == \"b\"')::text").fetchone()[0]
    numbers = "generate_series(1, 400)"
    guess = f"row(array(select {numbers}), array(select gen_random_uuid() from {numbers}))::pgretrieval.claims"
    with psycopg.connect(world.urls["reader a"], autocommit=True) as tenant:
        for table, book, keys in (("posting", codebook, "null"), ("word_posting", "null", "array['common']")):
            asked = f"select passage_ids from pgretrieval.own_entries('{table}', 1, {book}, {keys}, {{}})"
            assert tenant.execute(asked.format(guess)).fetchall() == []
            # That it answers to whoever knows the tickets shows that it is these which were missing.
            known = tenant.execute(asked.format("%s::pgretrieval.claims"), [claims]).fetchall()
            assert sum(len(row[0]) for row in known) > EACH, table


def test_results_of_a_tenant_do_not_depend_on_others(world: World):
    """Results of a tenant do not depend on passages of others."""

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for column, role in enumerate(("reader", "writer")):
            with acting(world, role) as tenant:
                for relation in relations(tenant, "rpv"):
                    found[f"{role} {relation}"] = outcome(tenant, f"select to_jsonb(held) from pgretrieval.{relation} as held")
                kept = "select s::text from pg_stats s where schemaname = 'pgretrieval' and tablename <> 'schema_version'"
                found[f"{role} pg_stats"] = outcome(tenant, kept)
            for function, answer in answers(world, role).items():
                if FUNCTIONS[function][column] not in ("next number", "tidies up"):
                    found[f"{role} {function}"] = answer
        return found

    before = seen()
    with pgretrieval.connect(world.urls["writer b"]) as database:
        more = passages("b", range(310, 390))
        docs = database.get_collection("docs", encoder=HashedEncoder())
        docs.add(more, dense=dense(len(more)))
        docs.delete([f"{SECRET}id{number}" for number in range(160, 200)])
        tokens = database.get_collection("tokens", encoder=HashedEncoder())
        tokens.add(more)
        tokens.delete([f"{SECRET}id{number}" for number in range(160, 200)])
        docs.compact()
        tokens.compact()
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute("update public.articles set body = body || ' again'")
        connection.execute("analyze")
    after = seen()
    assert {name for name in before if before[name] != after[name]} == set()
    with pgretrieval.connect(world.url) as database:
        for name in ("docs", "tokens"):
            assert database.get_collection(name, encoder=HashedEncoder()).check() == [], name
