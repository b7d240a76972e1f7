"""SQL functions of attached tables: attach, queue and read, on tables with quoted names."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
ODD = '"Odd "" Schema"."Odd "" Table"'
COLUMNS = ["The Key", "Text ' of %s", "select", "n"]
ATTACH = "select pgretrieval.attach('docs', %s, %s, %s, %s, %s)"
NOBODY = ("PGR04", "no collection 'nobody' in this database select name from pgretrieval.collections lists those that there are.")
QUERY = f"""select "The Key" as key, "The Key" || part as id, "Text ' of %s" || part as body, n
            from {ODD}, unnest(array['a', 'b']) as part;"""


@pytest.fixture
def odd(connection: Connection) -> Connection:
    """A collection that is not built, and a table of two rows with names that need quotes."""
    assert connection.execute("select pgretrieval.create_collection('docs', 48)").fetchone() == (1,)
    connection.execute(
        f"""create schema "Odd "" Schema";
            create table {ODD} ("The Key" bigint primary key, "Text ' of %s" text, "select" text, gone text, n integer);
            alter table {ODD} drop column gone;
            insert into {ODD} values (1, 'tea', 'x', 10), (2, 'bread', null, 20)"""
    )
    return connection


def attach(connection: Connection, query: str | None = None) -> None:
    """Attach the table, or a query that yields two passages for each of its rows, and empty the queue."""
    connection.execute(ATTACH, [ODD, "The Key", ["body"] if query else COLUMNS[1:3], ["n"], query])
    connection.execute("delete from pgretrieval.queue")


def add_passage(connection: Connection, key: str) -> None:
    """Add a passage without vectors."""
    connection.execute(
        """insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count)
           select 1, nextval('pgretrieval.passage_id_1'), %s, 'text', 1""",
        [key],
    )


def queued(connection: Connection) -> list[str | None]:
    """The queued keys of collection 1, removed from the queue."""
    rows = connection.execute("delete from pgretrieval.queue where collection_id = 1 returning queue_id, key").fetchall()
    return [key for _, key in sorted(rows)]


def error(connection: Connection, statement: str, arguments: list[Any] | None = None) -> tuple[str | None, str]:
    """Code, message and hint of a failing statement."""
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        connection.execute(statement, arguments)
    diagnostic = caught.value.diag
    return caught.value.sqlstate, f"{diagnostic.message_primary} {diagnostic.message_hint or ''}".strip()


# ---- names and parts


def test_check_source_names_missing_columns(odd: Connection):
    """A dropped column raises an error that lists the existing ones."""
    call = "select pgretrieval.check_source(%s::regclass, %s::text[])"
    for wanted in ([], COLUMNS):
        odd.execute(call, [ODD, wanted])
    there = "Its columns are 'The Key', 'Text '' of %s', 'select', 'n'. "
    renamed = "Where one was renamed after the table was attached, detach the collection and attach it again."
    for wanted, said in ((["n", "gone", "N"], "'gone', 'N'"), (["ctid"], "'ctid'"), ([None], "null")):
        assert error(odd, call, [ODD, wanted]) == ("PGR05", f"{ODD} has no column {said} {there}{renamed}")
    several = " For a key of several columns, attach a query that combines them to an id."
    assert error(odd, call, [ODD, ["The Key,n"]]) == ("PGR05", f"{ODD} has no column 'The Key,n' {there}{renamed}{several}")


SOURCE_OF = "select found.* from pgretrieval.attachment a cross join lateral pgretrieval.source_of(a) as found"


def test_source_of_a_table_and_of_a_query(odd: Connection):
    """Columns are quoted and ordered; a query is read by its own names."""
    attach(odd)
    assert odd.execute(SOURCE_OF).fetchall() == [
        (
            f"only {ODD}",
            """format('%s', source."The Key")""",
            """format('%s', source."The Key")""",
            """array[source."Text ' of %s"::text, source."select"::text]""",
            "jsonb_build_object('n', source.n)",
            'source."The Key" operator(pg_catalog.=) any($1::bigint[])',
            "format('%s', given.key::bigint)",
        )
    ]
    made = """select 'k' as key, 1.5 as id, null::text as "Text ' of %s", 'x'::varchar as "select\""""
    odd.execute("update pgretrieval.attachment set query = %s, metadata_columns = '{}'", [made])
    assert odd.execute(SOURCE_OF).fetchall() == [
        (
            f"(\n{made}\n)",
            "format('%s', source.key)",
            "format('%s', source.id)",
            """array[source."Text ' of %s"::text, source."select"::text]""",
            "jsonb_build_object()",
            "source.key operator(pg_catalog.=) any($1::text[])",
            "format('%s', given.key::text)",
        )
    ]


def test_check_source_refuses_rows_that_policies_hide(odd: Connection, postgres: Any):
    """A role is refused exactly if policies apply to it."""
    call = "select pgretrieval.check_source(%s::regclass)"
    odd.execute(f"alter table {ODD} enable row level security; alter table {ODD} force row level security")
    odd.execute(call, [ODD])  # a superuser
    name, _ = postgres.create_role()
    odd.execute(f"""grant usage on schema pgretrieval, "Odd "" Schema" to {name}; set role {name}""")
    assert error(odd, call, [ODD]) == (
        "PGR06",
        f"row-level security hides rows of {ODD} from role {name} Rows that a worker does not see would count as deleted; "
        "let it work as a role with BYPASSRLS, or as the table's owner.",
    )
    odd.execute("reset role")
    odd.execute(f"drop owned by {name}")


def test_is_plain(odd: Connection):
    """Only Postgres's own types count as plain."""
    plain = "select pgretrieval.is_plain(%s::regtype)"
    odd.execute("create type pair as (a integer); create domain short as text; create domain pairs as pair")
    for kind in ("text", "integer[]", "timestamptz", "int4range", "short", "short[]", "vector", "halfvec[]"):
        assert odd.execute(plain, [kind]).fetchone() == (True,), kind
    for kind in ("pair", "pair[]", "pairs", "record"):
        assert odd.execute(plain, [kind]).fetchone() == (False,), kind


def test_source_of_a_dropped_table(odd: Connection):
    """A dropped table raises an error with the remedy."""
    attach(odd)
    odd.execute(f"alter table {ODD} rename n to m")
    state, said = error(odd, SOURCE_OF)
    assert (state, said.split(" Its")[0]) == ("PGR05", f"{ODD} has no column 'n'")
    odd.execute(f"drop table {ODD}")
    assert error(odd, SOURCE_OF) == (
        "PGR05",
        f"a collection is attached to {ODD}, which is not there any more Detach collection 'docs'; it keeps its passages.",
    )


def source_rows(connection: Connection, *keys: str) -> list[tuple[Any, ...]]:
    return connection.execute("select * from pgretrieval.source_rows(1, %s) order by id", [list(keys)]).fetchall()


def test_source_rows(odd: Connection):
    """Rows of the given keys come, missing ones are skipped, and null texts keep their place."""
    assert source_rows(odd, "1") == []
    attach(odd)
    assert source_rows(odd, "2", "3") == [("2", "2", ["bread", None], {"n": 20})]
    assert source_rows(odd, "1", "2") == [("1", "1", ["tea", "x"], {"n": 10}), ("2", "2", ["bread", None], {"n": 20})]
    assert source_rows(odd) == []


def test_source_rows_of_a_query(odd: Connection):
    """Passages are read by their row's key, and errors of the query name the needed columns."""
    attach(odd, QUERY)
    assert source_rows(odd, "1") == [("1", "1a", ["teaa"], {"n": 10}), ("1", "1b", ["teab"], {"n": 10})]
    for wrong in ("select 1 as id", "select * from nowhere", "select * from nowhere.nothing", "select nothing()"):
        odd.execute("update pgretrieval.attachment set query = %s", [wrong])
        state, said = error(odd, "select * from pgretrieval.source_rows(1, array['1'])")
        assert state == "PGR05"
        assert said.startswith(f"the query that is attached to {ODD} fails: ")
        assert said.endswith(
            " It needs columns id and key, and those of texts and metadata, and names of tables and functions with their schema."
        )


# ---- changes


def test_queue_change_notes_keys(odd: Connection):
    """Changes of used columns and both keys of a key change are queued."""
    odd.execute(
        f"""create trigger told after insert or update or delete on {ODD}
                for each row execute function pgretrieval.queue_change(1, 'The Key', 'Text '' of %s', 'n');
            create trigger emptied after truncate on {ODD}
                for each statement execute function pgretrieval.queue_change(1)"""
    )
    cases: dict[str, list[str | None]] = {
        f"insert into {ODD} values (3, 'milk'), (4, null)": ["3", "4"],
        f"""update {ODD} set "Text ' of %s" = 'rye' where "The Key" = 2""": ["2"],
        f"update {ODD} set n = null where n = 10": ["1"],
        f"""update {ODD} set "select" = 'y', n = n""": [],
        f"""update {ODD} set "The Key" = 40 where "The Key" = 4""": ["4", "40"],
        f"""delete from {ODD} where "The Key" = 40""": ["40"],
        f"""delete from {ODD} where "The Key" = 99""": [],
        f"truncate {ODD}": [None],
        f"insert into {ODD} values (5)": ["5"],
    }
    for statement, expected in cases.items():
        odd.execute(statement)
        assert sorted(queued(odd), key=str) == expected, statement
    with odd.transaction(force_rollback=True):
        odd.execute(f"delete from {ODD}")
    assert queued(odd) == []
    odd.execute(f"alter table {ODD} rename n to m")  # the application continues
    odd.execute(f"update {ODD} set m = 7")
    assert queued(odd) == [None]
    assert odd.execute(f"select m from {ODD}").fetchall() == [(7,)]


def test_queue_change_without_columns_and_without_keys(odd: Connection):
    """Every update counts without columns, and rows without a key are ignored."""
    odd.execute(
        """create table notes (id text, body text);
           create trigger told after insert or update or delete on notes
               for each row execute function pgretrieval.queue_change(1, 'id')"""
    )
    cases: dict[str, list[str | None]] = {
        "insert into notes values (null, 'a'), ('', 'b'), (' k', 'c')": [" k"],
        "update notes set body = body where id = ' k'": [" k"],
        "update notes set id = 'new' where id is null": ["new"],
        "update notes set id = null where id = 'new'": ["new"],
    }
    for statement, expected in cases.items():
        odd.execute(statement)
        assert queued(odd) == expected, statement
    odd.execute("delete from notes where id is null or id = ''")
    assert queued(odd) == []


# ---- attaching


def triggers(connection: Connection) -> list[tuple[str, str]]:
    """(name, definition)"""
    return connection.execute(
        "select tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal and tgname like 'pgretrieval%' order by 1"
    ).fetchall()


def test_attach(odd: Connection):
    """Triggers watch the used columns, and existing rows are queued."""
    add_passage(odd, "2")
    odd.execute(ATTACH, [ODD, "The Key", COLUMNS[1:3], ["n"], None])
    kept = "select collection_id, source::oid = %s::regclass::oid, source_name, key_column, text_columns, metadata_columns, query"
    assert odd.execute(f"{kept} from pgretrieval.attachment", [ODD]).fetchall() == [
        (1, True, ODD, "The Key", COLUMNS[1:3], ["n"], None)
    ]
    run = "EXECUTE FUNCTION pgretrieval.queue_change"
    assert triggers(odd) == [
        (
            "pgretrieval_1",
            f"CREATE TRIGGER pgretrieval_1 AFTER INSERT OR DELETE OR UPDATE ON {ODD} "
            f"FOR EACH ROW {run}('1', 'The Key', 'Text '' of %s', 'select', 'n')",
        ),
        ("pgretrieval_1_truncate", f"CREATE TRIGGER pgretrieval_1_truncate AFTER TRUNCATE ON {ODD} FOR EACH STATEMENT {run}('1')"),
    ]
    assert queued(odd) == [None]
    assert odd.execute("select count(*) from pgretrieval.source_passage").fetchone() == (0,)
    assert error(odd, ATTACH, [ODD, "The Key", ["n"], [], None]) == (
        "PGR05",
        f"collection 'docs' is attached to {ODD} already Detach it first.",
    )


def test_attach_a_query(odd: Connection):
    """Existing passages are assigned to their rows, a view's name is quoted, and all updates count."""
    add_passage(odd, "1b")
    odd.execute(ATTACH, [ODD, "The Key", ["body"], None, QUERY])
    assert odd.execute("select query, metadata_columns from pgretrieval.attachment").fetchone() == (QUERY.removesuffix(";"), [])
    assert odd.execute("select passage_key, source_key from pgretrieval.source_passage").fetchall() == [("1b", "1")]
    assert "('1', 'The Key')" in triggers(odd)[0][1]
    odd.execute("select pgretrieval.detach('docs')")
    odd.execute(f"""create view "Odd "" Schema"."Odd View" as {QUERY}""")
    for given in ('Odd " Schema.Odd View', '"Odd "" Schema"."Odd View"'):
        odd.execute(ATTACH, [ODD, "The Key", ["body"], ["n"], given])
        assert odd.execute("select query from pgretrieval.attachment").fetchone() == ('select * from "Odd "" Schema"."Odd View"',)
        odd.execute("select pgretrieval.detach('docs')")


def test_attach_refuses_invalid_sources(odd: Connection):
    """Invalid sources raise an error and attach nothing."""
    odd.execute("create view seen as select 1 as id, 'tea' as body")
    odd.execute("create temporary table passing (id integer, body text)")
    for relation in ("seen", "passing"):
        state, said = error(odd, ATTACH, [relation, "id", ["body"], [], None])
        assert (state, "is no table that can be followed" in said) == ("PGR05", True)
    for texts in ([], None):
        assert error(odd, ATTACH, [ODD, "The Key", texts, [], None]) == (
            "PGR05",
            "no column for the text is given Name one, or a title and others.",
        )
    assert error(odd, ATTACH, [ODD, "nr", ["n"], [], None])[1].startswith(f"{ODD} has no column 'nr'")
    add_passage(odd, "stranger")
    state, said = error(odd, ATTACH, [ODD, "The Key", ["n"], [], None])
    assert said.startswith(f"collection 'docs' holds passages that {ODD} does not have: 'stranger'")
    assert error(odd, "select pgretrieval.attach('nobody', 'seen', 'id', array['body'])") == NOBODY
    assert triggers(odd) == []
    for table in ("attachment", "queue"):
        assert odd.execute(f"select count(*) from pgretrieval.{table}").fetchone() == (0,)


def test_detach(odd: Connection):
    """Triggers and queue are removed; passages and other attachments stay."""
    odd.execute("select pgretrieval.create_collection('other', 48)")
    odd.execute("select pgretrieval.attach('other', %s, 'The Key', array['n'])", [ODD])
    add_passage(odd, "1a")
    attach(odd, QUERY)
    odd.execute("insert into pgretrieval.queue (collection_id, key) values (1, 'k'), (1, null), (2, 'k')")
    assert odd.execute("select pgretrieval.detach('docs')").fetchone() == (True,)
    assert [name for name, _ in triggers(odd)] == ["pgretrieval_2", "pgretrieval_2_truncate"]
    assert odd.execute("select collection_id from pgretrieval.attachment").fetchall() == [(2,)]
    assert odd.execute("select collection_id, key from pgretrieval.queue").fetchall() == [(2, "k")]
    assert odd.execute("select count(*) from pgretrieval.source_passage").fetchone() == (0,)
    assert odd.execute("select key from pgretrieval.passage").fetchall() == [("1a",)]
    assert odd.execute("select pgretrieval.detach('docs')").fetchone() == (False,)
    odd.execute(f"drop table {ODD}")
    assert odd.execute("select pgretrieval.detach('other')").fetchone() == (True,)
    assert error(odd, "select pgretrieval.detach('nobody')") == NOBODY


# ---- the queue


def test_resync(odd: Connection):
    """The given keys or all are queued, and an unattached collection raises an error."""
    assert error(odd, "select pgretrieval.resync('docs')") == (
        "PGR05",
        "collection 'docs' is not attached to a table "
        "Attach it first: pgretrieval.attach, or pgretrieval attach on the command line.",
    )
    attach(odd)
    for arguments, expected in (("'docs'", [None]), ("'docs', array['2', '9']", ["2", "9"]), ("'docs', '{}'", [])):
        odd.execute(f"select pgretrieval.resync({arguments})")
        assert queued(odd) == expected
    odd.execute("select pgretrieval.resync('docs', array['2', '', ' 9 ', '+3'])")
    assert queued(odd) == ["2", "9", "3"]  # as triggers write them
    assert error(odd, "select pgretrieval.resync('docs', array['tea'])") == (
        "PGR05",
        f'keys are {{tea}}, of which one is no key of {ODD}: invalid input syntax for type bigint: "tea" '
        "Give values of its key column, as text.",
    )


def expand(connection: Connection) -> int | None:
    return connection.execute("select pgretrieval.expand_queue(1)").fetchone()[0]


def test_expand_queue(odd: Connection, database_url: str):
    """New, deleted and queued rows are all queued, once, by one session."""
    odd.execute("insert into pgretrieval.queue (collection_id, key) values (1, null)")
    assert expand(odd) is None  # nothing is attached
    add_passage(odd, "1")
    attach(odd)
    add_passage(odd, "8")  # its row was deleted since
    assert expand(odd) is None
    odd.execute("insert into pgretrieval.queue (collection_id, key) values (1, '9'), (1, null), (1, null), (2, null), (2, '7')")
    with psycopg.connect(database_url) as other:
        assert expand(other) == 4
        assert expand(odd) is None
        other.rollback()
    assert expand(odd) == 4
    keys = queued(odd)
    assert keys[0] == "9"
    assert sorted(keys[1:], key=str) == ["1", "2", "8", "9"]
    assert odd.execute("select key from pgretrieval.queue order by queue_id").fetchall() == [(None,), ("7",)]
    odd.execute("insert into pgretrieval.queue (collection_id, key, parked_at) values (1, null, now())")
    assert expand(odd) is None


def test_expand_queue_of_a_query(odd: Connection):
    """Keys of rows are queued, not ids of passages."""
    attach(odd, QUERY)
    odd.execute(
        "insert into pgretrieval.source_passage (collection_id, passage_key, source_key) values (1, '6a', '6'), (1, '6b', '6')"
    )
    odd.execute("insert into pgretrieval.queue (collection_id, key) values (1, null)")
    assert expand(odd) == 3
    assert sorted(queued(odd), key=str) == ["1", "2", "6"]


def state(connection: Connection) -> dict[str, Any]:
    return connection.execute("select pgretrieval.sync_state(1)").fetchone()[0]


def test_sync_state(odd: Connection):
    """The state reports disabled triggers, and parked and queued keys separately."""
    nothing = {"attached": None, "triggers": None, "queued": 0, "parked": 0, "oldest": None, "parked_keys": []}
    assert state(odd) == nothing
    attach(odd)
    enabled = nothing | {"attached": ODD, "triggers": "enabled"}
    assert state(odd) == enabled
    odd.execute(
        """insert into pgretrieval.queue (collection_id, key, enqueued_at, error, parked_at)
           values (1, '1', now() - interval '90 seconds', null, null), (1, '2', now() - interval '1 day', 'later', null),
                  (1, '3', now() - interval '2 days', 'old', now()), (1, '3', now(), 'new', now()),
                  (1, '4', now(), 'four', now()), (2, '1', now() - interval '1 year', null, null)"""
    )
    found = state(odd)
    assert 90 <= found.pop("oldest") < 150
    parked = [{"key": "3", "error": "new"}, {"key": "4", "error": "four"}]
    assert found == {"attached": ODD, "triggers": "enabled", "queued": 2, "parked": 2, "parked_keys": parked}
    odd.execute("delete from pgretrieval.queue")
    for change, said in (("disable trigger user", "disabled"), ("enable replica trigger pgretrieval_1", "disabled")):
        with odd.transaction(force_rollback=True):
            odd.execute(f"alter table {ODD} {change}")
            assert state(odd) == enabled | {"triggers": said}
    odd.execute(f"drop trigger pgretrieval_1_truncate on {ODD}")
    assert state(odd) == enabled | {"triggers": "missing"}
    odd.execute(f"alter table {ODD} rename to other")
    assert state(odd)["attached"] == '"Odd "" Schema".other'
    odd.execute('drop table "Odd "" Schema".other')
    assert state(odd) == enabled | {"triggers": "no table"}
