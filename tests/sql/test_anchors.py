"""Candidates by anchor scores in SQL, compared with exact products, with filters and roles; and `check` of their tables."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.anncur.selection import Selection, choose_anchors
from pgretrieval.anncur.solving import Solved, solve
from pgretrieval.anncur.whitening import whiten
from pgretrieval.buckets import PassageIds
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.parameters import ADAPTERS
from pgretrieval.db.tables import factorizations
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.cross_encoder import TableCrossEncoder
from tests.support.roles import grant, isolate_tenants, url_as

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
ITEMS, TRAIN, ANCHORS = 6000, 150, 100
SCANS = "select coalesce(sum(idx_scan), 0) from pg_stat_user_indexes where indexrelname ~ '^item_embedding_[0-9]+_hnsw$'"
FOUND = "select id, score from pgretrieval.candidates_by_anchors('items', %s::real[], %s, %s::jsonpath)"


@pytest.fixture(scope="session")
def table() -> np.ndarray:
    """Scores (queries, items) of 40 directions with noise and a mean far from zero."""
    return TableCrossEncoder(TRAIN + 20, ITEMS, rank=40, noise=0.2).table


def solved(table: np.ndarray, selection: Selection) -> Solved:
    """A factorisation of the table with these anchors."""
    return solve(table[:TRAIN], partial(choose_anchors, count=ANCHORS, selection=selection, seed=0), 0)


@pytest.fixture(scope="session")
def factorised(table: np.ndarray) -> dict[Selection, Solved]:
    """The table's factorisation by each selection of anchors, which takes seconds."""
    return {selection: solved(table, selection) for selection in ("greedy", "top")}


class Loaded:
    """6,000 passages with embeddings, and the data of these."""

    def __init__(self, table: np.ndarray, connection: Connection, element: str, selection: Selection, solved: Solved) -> None:
        self.selection = selection
        self.solved = solved
        self.anchors = self.solved.anchors
        self.embeddings = (self.solved.inverse @ table[:TRAIN]).T.astype(np.float32)
        number = connection.execute("select pgretrieval.create_collection('items', 64)").fetchone()[0]
        connection.execute(
            """insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count, metadata)
               select %s, n + 1, 'i' || n, 'item ' || n, 1,
                      jsonb_build_object('n', n, 'tenant', case when n %% 3 = 0 then 'b' else 'a' end)
               from generate_series(0, %s) as n""",
            [number, ITEMS - 1],
        )
        tables = CollectionTables(connection, number)
        queries = [f"q{n}" for n in range(TRAIN)]
        matrix_id = factorizations.score_matrix(tables, {"kind": "object", "type": "Table"}, "table", queries)
        ids = np.arange(1, ITEMS + 1, dtype=np.int32)
        items = PassageIds(ids, np.zeros(ITEMS, dtype=np.int16))
        factorizations.copy_scores(tables, matrix_id, items, table[:TRAIN].T.astype(np.float32))
        settings = {
            "matrix_id": matrix_id, "asked_items": ANCHORS, "anchor_items": ANCHORS, "asked_selection": "auto",
            "selection": "greedy", "seed": 0, "element": element, "constant_queries": 0,
            "regularisation": "ridge", "strength": 0.01, "rank": ANCHORS,
            "condition": 1.0, "held_out_error": self.solved.error, "held_out_recall": 1.0, "split": {"100": 50},
        }  # fmt: skip
        directions, inverse = whiten(self.solved.inverse, table[:TRAIN])
        stored = (inverse @ table[:TRAIN]).T.astype(np.float32)
        centre = stored.mean(axis=0)
        made = factorizations.create(tables, settings, inverse, self.solved.intersection, centre)
        factorizations.write_anchors(made, ids[self.anchors], table[:TRAIN, self.anchors].mean(axis=0), directions)
        factorizations.copy_embeddings(made, items, stored - centre)
        factorizations.index_embeddings(made)
        factorizations.switch(made, matrix_id)
        connection.execute("analyze pgretrieval.passage")
        connection.execute("analyze pgretrieval.item_embedding")


@pytest.fixture(
    scope="module",
    params=[("vector", "greedy"), ("halfvec", "greedy"), ("vector", "top")],
    ids="-".join,
)
def items(
    request: Any,
    module_database: pgretrieval.RetrievalDatabase,
    table: np.ndarray,
    factorised: dict[Selection, Solved],
) -> Any:
    element, selection = request.param
    with psycopg.connect(module_database.url, autocommit=True, context=ADAPTERS) as connection:
        connection.execute("select pgretrieval.drop_collection('items')")
        yield Loaded(table, connection, element, selection, factorised[selection])


def asked(url: str, scores: Any, n: int, filter: str | None = None, *, by_index: bool = False) -> list[tuple[int, float]]:
    """Numbers and scores of the candidates; `by_index` keeps the planner from comparing these few items exactly."""
    with psycopg.connect(url) as connection:
        if by_index:
            connection.execute("set enable_seqscan = off")
        rows = connection.execute(FOUND, [[None if score is None else float(score) for score in scores], n, filter]).fetchall()
    return [(int(key[1:]), score) for key, score in rows]


def index_scans(url: str) -> int:
    """Number of scans of the item embeddings' vector index."""
    with psycopg.connect(url) as connection:
        return int(connection.execute(SCANS).fetchone()[0])


def await_index_scans(url: str, expected: int) -> None:
    """Sessions report their scans when they end, which may be after the client has closed."""
    until = time.monotonic() + 10
    while index_scans(url) < expected and time.monotonic() < until:
        time.sleep(0.05)
    assert index_scans(url) == expected


def test_many_are_found_without_the_index(module_database: Any, items: Loaded, table: np.ndarray):
    """More than a twentieth of the passages are compared exactly, fewer by the index."""
    query = table[TRAIN, items.anchors]
    exact = np.argsort(-(items.embeddings @ query), kind="stable")
    before = index_scans(module_database.url)
    for n in (301, 300):
        found = {number for number, _ in asked(module_database.url, query, n, by_index=True)}
        assert len(found.intersection(exact[:n].tolist())) >= 0.97 * n
    await_index_scans(module_database.url, before + 1)


@pytest.mark.parametrize(
    ("passages", "n", "scans"), [(120_000, 1000, 1), (120_000, 1001, 0), (3_000_000, 3000, 1), (3_000_000, 3001, 0)]
)
def test_more_than_the_index_finds_are_found_without_it(
    module_database: Any, items: Loaded, table: np.ndarray, passages: int, n: int, scans: int
):
    """More than a thousand passages, or a thousandth of millions, are found by comparing all."""
    with psycopg.connect(module_database.url) as connection, connection.transaction(force_rollback=True):
        connection.execute("set local enable_seqscan = off")
        connection.execute("update pg_class set reltuples = %s where relname ~ '^item_embedding_[0-9]+$'", [passages])
        found = connection.execute(FOUND, [table[TRAIN][items.anchors].tolist(), n, None]).fetchall()
        looked = "select sum(pg_stat_get_xact_numscans(oid)) from pg_class where relname ~ '^item_embedding_.*_hnsw$'"
        assert (len(found), connection.execute(looked).fetchone()) == (n, (scans,))


def test_the_index_agrees_with_exact_products(module_database: Any, items: Loaded, table: np.ndarray):
    """The index finds the best items despite different lengths and a common offset."""
    for n in (100, 300):  # above a twentieth all are compared
        before, shares = index_scans(module_database.url), []
        for query in table[TRAIN:]:
            exact = items.embeddings @ query[items.anchors]
            found = asked(module_database.url, query[items.anchors], n, by_index=True)
            assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
            assert len(found) == n
            shares.append(np.isin(np.argsort(-exact)[:n], [number for number, _ in found]).mean())
            assert [score for _, score in found] == pytest.approx(exact[[number for number, _ in found]].tolist(), abs=0.05)
        assert np.mean(shares) >= 0.98
        await_index_scans(module_database.url, before + len(shares))


@pytest.mark.parametrize("limit", [4000, 200, 7])
def test_filters_come_first(module_database: Any, items: Loaded, table: np.ndarray, limit: int):
    """Filters apply before the best are chosen."""
    query = table[TRAIN]
    exact = items.embeddings[:limit] @ query[items.anchors]
    found = [number for number, _ in asked(module_database.url, query[items.anchors], 50, f"$.n < {limit}")]
    assert len(found) == min(50, limit)
    assert np.isin(np.argsort(-exact)[:50], found).mean() >= 0.95


def test_anchor_items_are_listed_in_their_order(module_database: Any, items: Loaded):
    """Anchor items come in the order of U."""
    with psycopg.connect(module_database.url) as connection:
        rows = connection.execute("select place, id, title, body from pgretrieval.anchor_items('items')").fetchall()
    assert rows == [(place, f"i{number}", None, f"item {number}") for place, number in enumerate(items.anchors.tolist(), start=1)]


def test_a_score_that_is_missing_counts_as_the_mean(module_database: Any, items: Loaded, table: np.ndarray):
    """A deleted anchor item counts with its mean score."""
    query = table[TRAIN][items.anchors].copy()
    given = [None if place == 4 else score for place, score in enumerate(query)]
    query[4] = table[:TRAIN, items.anchors[4]].mean()
    found, expected = (dict(asked(module_database.url, scores, 20)) for scores in (given, query))
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("filter", "by_index"), [(None, True), ("$.n < 3000", True), ("$.n < 60", False)])
def test_the_vector_index_is_used(module_database: Any, items: Loaded, table: np.ndarray, filter: str | None, by_index: bool):
    """The plan uses the vector index if many items match, and compares all if few do."""
    looked = "select sum(pg_stat_get_xact_numscans(oid)) from pg_class where relname ~ '^item_embedding_.*_hnsw$'"
    with psycopg.connect(module_database.url) as connection:  # one transaction with its own counts of scans
        connection.execute(FOUND, [table[TRAIN][items.anchors].tolist(), 40, filter]).fetchall()
        assert connection.execute(looked).fetchone() == (int(by_index),)


@pytest.mark.parametrize(
    ("scores", "n", "said"),
    [
        ([1.0] * 99, 5, "there are 99 anchor scores, and 100 anchor items"),
        ([], 5, "there are 0 anchor scores"),
        ([1.0] * 100, 0, "n is 0"),
        ([1.0] * 99 + [float("nan")], 5, "anchor score 100 is not finite"),
    ],
)
def test_invalid_scores_are_named(module_database: Any, items: Loaded, scores: list[float], n: int, said: str):
    """A wrong number of scores raises an error that names it."""
    with pytest.raises(psycopg.errors.DatabaseError, match=said) as caught:
        asked(module_database.url, scores, n)
    assert caught.value.sqlstate == "PGR05"


def test_a_collection_without_factorisation_is_named(database: pgretrieval.RetrievalDatabase, connection: Connection):
    """A collection without a factorisation raises an error."""
    database.create_collection("plain")
    for statement in ("select pgretrieval.anchor_items('plain')", "select pgretrieval.candidates_by_anchors('plain', '{1}', 5)"):
        with pytest.raises(psycopg.errors.DatabaseError, match="'plain' has no factorisation"):
            connection.execute(statement)
    with pytest.raises(psycopg.errors.DatabaseError, match="no collection 'none'"):
        connection.execute("select pgretrieval.anchor_items('none')")


@pytest.fixture
def small(database: pgretrieval.RetrievalDatabase) -> TableCrossEncoder:
    """docs, 60 passages of two tenants, factorised."""
    from tests.support.cross_encoder import queries
    from tests.support.vectors import clustered

    model = TableCrossEncoder()
    docs = database.create_collection("docs")
    passages = [{"id": f"i{n}", "text": f"item {n}", "metadata": {"tenant": "b" if n % 3 == 0 else "a"}} for n in range(60)]
    docs.add(passages, vectors=clustered(60))
    docs.factorize(model, queries(range(40)), 12)
    return model


def test_row_level_security(
    small: TableCrossEncoder, database: Any, postgres: PostgresUnderTest, database_url: str, connection: Connection
):
    """Anchors, candidates and hits are visible passages, and a role that sees few anchors finds passages."""
    roles = {name: postgres.create_role() for name in ("reader", "writer", "owner")}
    grant(database_url, *(roles[name][0] for name in roles))
    isolate_tenants(connection)
    url = f"{url_as(postgres, database_url, roles['reader'])}&options=-capp.tenant%3Da"
    mine = [n for n in range(60) if n % 3]
    with pgretrieval.connect(url) as opened, psycopg.connect(url) as reader:
        docs = opened.get_collection("docs", cross_encoder=small)
        small.asked.clear()
        for rounds in (None, 3):
            hits = docs.search("query 50", 5, scorer="cross_encoder", budget=30, rounds=rounds)
            assert [int(hit.id[1:]) for hit in hits] == small.best(50, 5, mine)
        assert all(int(text.split()[-1]) % 3 for _, text in small.asked)
        listed = reader.execute("select place, id from pgretrieval.anchor_items('docs')").fetchall()
        assert 0 < len(listed) < 12
        assert all(int(key[1:]) % 3 for _, key in listed)
        found = reader.execute("select id from pgretrieval.candidates_by_anchors('docs', %s::real[], 60)", [[0.5] * 12]).fetchall()
        assert sorted(int(key[1:]) for (key,) in found) == mine
        state = docs.stats()["factorization"]
        assert state["anchor_items_gone"] == 12 - len(listed)
        assert state["not_scored"] == 0
    with pgretrieval.connect(url_as(postgres, database_url, roles["owner"])) as opened:
        pass
    with psycopg.connect(database_url, autocommit=True) as again:
        again.execute("alter table pgretrieval.passage force row level security")
    with (
        pgretrieval.connect(f"{url_as(postgres, database_url, roles['owner'])}&options=-capp.tenant%3Da") as opened,
        pytest.raises(pgretrieval.SchemaError, match="row-level security hides passages"),
    ):
        opened.get_collection("docs").factorize(small, [f"query {n}" for n in range(40)], 12)
    for name, _ in roles.values():
        connection.execute(psycopg.sql.SQL("reassign owned by {} to current_user").format(psycopg.sql.Identifier(name)))
        connection.execute(psycopg.sql.SQL("drop owned by {}").format(psycopg.sql.Identifier(name)))


def test_a_writer_deletes_what_is_factorised(
    small: TableCrossEncoder, postgres: PostgresUnderTest, database_url: str, connection: Connection
):
    """A writer can delete factorised passages."""
    roles = {name: postgres.create_role() for name in ("reader", "writer", "owner")}
    grant(database_url, *(roles[name][0] for name in roles))
    with pgretrieval.connect(url_as(postgres, database_url, roles["writer"])) as opened:
        assert opened.get_collection("docs").delete(["i5"]) == 1
    for parent in ("anchor_score", "item_embedding"):
        assert connection.execute(f"select count(*) from pgretrieval.{parent}").fetchone() == (59,)
    for name, _ in roles.values():
        connection.execute(psycopg.sql.SQL("reassign owned by {} to current_user").format(psycopg.sql.Identifier(name)))
        connection.execute(psycopg.sql.SQL("drop owned by {}").format(psycopg.sql.Identifier(name)))


def broken(connection: Connection, statement: str | None) -> list[tuple[str, str, str]]:
    """Violations that the check finds after the statement, which is rolled back."""
    with connection.transaction(force_rollback=True):
        if statement:
            assert connection.execute(statement).rowcount > 0, statement
        found = connection.execute("select rule, id, detail from pgretrieval.check('docs', 'anchors') order by 1, 2, 3")
        return found.fetchall()


def test_check_anchors(small: TableCrossEncoder, connection: Connection):
    """check finds every violation of a factorisation."""
    number = connection.execute("select factorization_id from pgretrieval.factorization").fetchone()[0]
    made = f"factorization {number}"
    assert broken(connection, None) == []
    sizes = "{} bytes of U, {} of C; 12 anchor items, 40 anchor queries"
    gone = "a row of {}; there is no such passage"
    cases = {
        "update pgretrieval.factorization set inverse = substr(inverse, 9)": [
            ("wrong_factorization", made, sizes.format(12 * 40 * 8 - 8, 12 * 40 * 4))
        ],
        "update pgretrieval.factorization set intersection = ''": [("wrong_factorization", made, sizes.format(12 * 40 * 8, 0))],
        "delete from pgretrieval.anchor_item where place = 3": [
            ("wrong_factorization", made, "11 anchor items are listed, 12 are noted")
        ],
        "update pgretrieval.anchor_item set direction = '[1,2]' where place = 3": [
            ("wrong_factorization", made, "1 of 12 anchor items have no direction of as many numbers")
        ],
        "update pgretrieval.anchor_item set direction = '[1,2]'": [
            ("wrong_factorization", made, "12 of 12 anchor items have no direction of as many numbers")
        ],
        "delete from pgretrieval.anchor_query where place = 3": [
            ("wrong_factorization", made, "39 anchor queries are listed, 40 are noted")
        ],
        "delete from pgretrieval.passage where key = 'i4'": [
            ("orphan_row", "passage_id 5", gone.format("anchor_score")),
            ("orphan_row", "passage_id 5", gone.format("item_embedding")),
        ],
        "update pgretrieval.item_embedding set embedding = '[1,2]' where passage_id = 5": [
            ("wrong_embedding", "i4", "the embedding has 2 dimensions, and there are 12 anchor items")
        ],
        "delete from pgretrieval.anchor_score where passage_id = 5": [
            ("wrong_embedding", "i4", "0 bytes of scores for 40 anchor queries")
        ],
        "update pgretrieval.anchor_score set scores = substr(scores, 5) where passage_id = 5": [
            ("wrong_embedding", "i4", "76 bytes of scores for 40 anchor queries")
        ],
    }
    connection.execute(f"drop index pgretrieval.item_embedding_{number}_hnsw")  # it would refuse another dimension
    for statement, expected in cases.items():
        assert broken(connection, statement) == expected, statement
