"""Postgres uses every index that searches rely on, and reads numbers of rows in proportion to the request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.assets import statements
from pgretrieval.db.parameters import vector
from pgretrieval.numerics.centroid_scores import CentroidScores
from pgretrieval.search.probe import select_probes
from tests.support.encoder import HashedEncoder
from tests.support.proxies import quick_proxies
from tests.support.sql import vector_array
from tests.support.vectors import clustered, passages

PASSAGES = 4000


@pytest.fixture(scope="module")
def large(module_database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    """4,000 passages, and a small collection that must not occur in a plan."""
    small = module_database.create_collection("small")
    small.add(passages(50), vectors=clustered(50))
    small.build()
    collection = module_database.create_collection("large", bits=1, generator="proxy", dense="kept")
    vectors = clustered(PASSAGES, directions=2000, tokens=(4, 12))
    collection.add(passages(PASSAGES), vectors=vectors, dense=[tokens[0] for tokens in vectors])
    with quick_proxies():
        collection.build()
    with psycopg.connect(module_database.url, autocommit=True) as connection:  # plans depend on statistics, which come at any time
        connection.execute(f"alter table pgretrieval.passage_{collection._row.collection_id} set (autovacuum_enabled = false)")
    return collection


def plan(collection: pgretrieval.Collection, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of EXPLAIN ANALYZE, from the top."""
    with psycopg.connect(collection._database.url) as connection:
        row = connection.execute(f"explain (analyze, format json) {statement}", parameters).fetchone()
    return list(_nodes(row[0][0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def scans(nodes: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """The nodes that read a partition of `table`, bitmap index scans included."""
    named = [node for node in nodes if str(node.get("Relation Name", "")).startswith(f"{table}_")]
    indexed = [node for node in nodes if "Relation Name" not in node and str(node.get("Index Name", "")).startswith(f"{table}_")]
    return named + indexed


def rows_read(nodes: list[dict[str, Any]]) -> float:
    return sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes)


_CANDIDATES = """select * from pgretrieval.candidates_by_postings(
    %(collection_id)s, %(codebook_id)s, %(centroid_ids)s, %(centroid_scores)s::real[], %(n)s)"""


def codebook_of(collection: pgretrieval.Collection) -> int:
    """The active codebook."""
    with psycopg.connect(collection._database.url) as connection:
        return connection.execute(
            "select codebook_id from pgretrieval.collection where collection_id = %s", [collection._row.collection_id]
        ).fetchone()[0]


def search_parameters(collection: pgretrieval.Collection, n: int = 100) -> dict[str, Any]:
    """The parameters of a search with one query of eight tokens and four probes each."""
    url, row = collection._database.url, collection._row
    with psycopg.connect(url) as connection:
        vectors = connection.execute(
            "select vector::text from pgretrieval.centroid where collection_id = %s order by centroid_id", [row.collection_id]
        ).fetchall()
    centroids = np.array([[float(part) for part in text[1:-1].split(",")] for (text,) in vectors], dtype=np.float32)
    probes = select_probes(CentroidScores(clustered(1, tokens=(8, 8), seed=3, directions=2000)[0], centroids), 4)
    return {
        "collection_id": row.collection_id,
        "codebook_id": codebook_of(collection),
        "centroid_ids": probes.centroid_ids.tolist(),
        "centroid_scores": probes.scores.tolist(),
        "n": n,
        "vectors_per_passage": None,
    }


@pytest.mark.both_versions
def test_postings_of_probes_come_by_the_primary_key(large: pgretrieval.Collection):
    """The first round trip of a search reads the postings of the probed centroids alone."""
    parameters = search_parameters(large)
    number = large._row.collection_id
    read = scans(plan(large, statements("search")["postings_of"], parameters), "posting")
    assert {node.get("Relation Name", f"posting_{number}") for node in read} == {f"posting_{number}"}
    assert {node.get("Index Name") for node in read} - {None} == {f"posting_{number}_pkey"}
    assert rows_read([node for node in read if "Relation Name" in node]) <= len(parameters["centroid_ids"])


@pytest.mark.both_versions
def test_candidates_come_by_primary_keys(large: pgretrieval.Collection):
    """Postings of SQL searches are read by the primary key from one collection's partitions."""
    parameters = search_parameters(large)
    number = large._row.collection_id
    nodes = plan(large, _CANDIDATES, parameters)
    postings = scans(nodes, "posting")
    assert {node.get("Relation Name", f"posting_{number}") for node in postings} == {f"posting_{number}"}
    assert {node.get("Index Name") for node in postings} - {None} == {f"posting_{number}_pkey"}
    assert [node["Node Type"] for node in postings if node["Node Type"] == "Seq Scan"] == []
    assert not any(
        "Function Scan" in node["Node Type"] and node.get("Function Name", "").startswith("candidates") for node in nodes
    )
    assert rows_read([node for node in postings if "Relation Name" in node]) <= len(parameters["centroid_ids"])
    assert not any(str(node.get("Relation Name", "")).endswith(f"_{number - 1}") for node in nodes)


@pytest.mark.both_versions
def test_a_prepared_statement_keeps_the_plan(large: pgretrieval.Collection):
    """The generic plan, which Postgres may choose after five runs, reads by the same indexes."""
    parameters = search_parameters(large)
    types = "integer, integer, integer[], real[], integer"
    call = "select * from pgretrieval.candidates_by_postings($1, $2, $3, $4, $5)"
    with psycopg.connect(large._database.url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("set plan_cache_mode = force_generic_plan")
        connection.execute(f"prepare candidates ({types}) as {call}")
        row = connection.execute(
            "explain (analyze, format json) execute candidates (%(collection_id)s, %(codebook_id)s, %(centroid_ids)s, "
            "%(centroid_scores)s::real[], %(n)s)",
            parameters,
        ).fetchone()
    nodes = list(_nodes(row[0][0]["Plan"]))
    read = [node for node in scans(nodes, "posting") if node["Actual Loops"]]
    assert {node["Node Type"] for node in read} <= {"Index Scan", "Bitmap Heap Scan", "Bitmap Index Scan", "Index Only Scan"}
    assert {node.get("Relation Name", node.get("Index Name", "")).split("_")[1] for node in read} == {str(large._row.collection_id)}


@pytest.mark.both_versions
def test_centroids_are_found_by_the_vector_index(large: pgretrieval.Collection):
    """The vector index of centroids is used."""
    query = str(clustered(1, tokens=(1, 1), seed=5)[0][0].tolist())
    number = large._row.collection_id
    nodes = plan(
        large,
        """select centroid_id from pgretrieval.centroid
           where collection_id = %(collection_id)s and codebook_id = (%(codebook_id)s)::integer
           order by vector::halfvec(64) <#> %(query)s::halfvec(64) limit 4""",
        {"collection_id": number, "codebook_id": codebook_of(large), "query": query},
    )
    read = scans(nodes, "centroid")
    assert [node.get("Index Name") for node in read] == [f"centroid_{number}_{codebook_of(large)}_hnsw"]
    assert rows_read(read) == 4


@pytest.mark.both_versions
def test_texts_of_hits_come_by_the_primary_key(large: pgretrieval.Collection):
    """Texts of hits are read by primary key."""
    number = large._row.collection_id
    parameters = {"collection_id": number, "passage_ids": list(range(1, PASSAGES, 400))}
    nodes = plan(large, statements("passages")["texts"], parameters)
    read = scans(nodes, "passage")
    assert {node.get("Index Name") for node in read} - {None} == {f"passage_{number}_pkey"}
    assert rows_read([node for node in read if "Relation Name" in node]) == 10


@pytest.mark.both_versions
@pytest.mark.parametrize("statement", ["centroids_of", "codes_of"])
def test_codes_of_kept_passages_come_by_the_primary_key(large: pgretrieval.Collection, statement: str):
    """The later round trips of a search read codes by primary key."""
    number = large._row.collection_id
    parameters = {**search_parameters(large), "passage_ids": list(range(1, PASSAGES, 40))}
    read = scans(plan(large, statements("search")[statement], parameters), "token_code")
    assert {node.get("Index Name") for node in read} - {None} == {f"token_code_{number}_pkey"}
    assert rows_read([node for node in read if "Relation Name" in node]) == 100


@pytest.mark.both_versions
def test_stored_ids_are_found_by_their_index(large: pgretrieval.Collection):
    """An add compares ids by the index."""
    parameters = {"collection_id": large._row.collection_id, "keys": [f"p{number}" for number in range(0, 9000, 300)]}
    nodes = plan(large, statements("passages")["existing"], parameters)
    read = scans(nodes, "passage")
    assert [node["Node Type"] for node in read if node["Node Type"] == "Seq Scan"] == []
    assert any("key" in str(node.get("Index Name")) for node in read)


@pytest.mark.both_versions
def test_proxies_are_found_by_the_vector_index(large: pgretrieval.Collection):
    """The vector index of proxies is used, and codes are read by primary key."""
    parameters = {**search_parameters(large), "query": [0.1] * 512}
    number = large._row.collection_id
    nodes = plan(large, statements("search")["centroids_by_proxy"], parameters)
    proxies, coded = scans(nodes, "proxy"), scans(nodes, "token_code")
    assert [node.get("Index Name") for node in proxies] == [f"proxy_{parameters['codebook_id']}_hnsw"]
    assert rows_read(proxies) <= parameters["n"]
    assert {node.get("Index Name") for node in coded} - {None} == {f"token_code_{number}_pkey"}
    assert rows_read([node for node in coded if "Relation Name" in node]) <= parameters["n"]


@pytest.mark.both_versions
def test_a_prepared_proxy_search_keeps_the_vector_index(large: pgretrieval.Collection):
    """The generic plan, which Postgres may choose after five runs, uses the vector index of proxies."""
    parameters = {**search_parameters(large), "query": [0.1] * 512}
    with psycopg.connect(large._database.url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("set plan_cache_mode = force_generic_plan")
        connection.execute(
            "prepare candidates (integer, integer, real[], integer) as "
            "select * from pgretrieval.candidates_by_proxy($1, $2, $3, $4)"
        )
        row = connection.execute(
            "explain (analyze, format json) execute candidates (%(collection_id)s, %(codebook_id)s, %(query)s::real[], %(n)s)",
            parameters,
        ).fetchone()
    read = [node for node in scans(list(_nodes(row[0][0]["Plan"])), "proxy") if node["Actual Loops"]]
    assert [node.get("Index Name") for node in read] == [f"proxy_{parameters['codebook_id']}_hnsw"]
    assert rows_read(read) <= parameters["n"]


def test_ids_are_looked_up_one_by_one_in_a_first_add(database: pgretrieval.RetrievalDatabase):
    """Without statistics, each batch of a first add reads only its own ids."""
    fresh = database.create_collection("fresh")
    with psycopg.connect(database.url) as connection:
        connection.execute("alter table pgretrieval.passage_1 set (autovacuum_enabled = off)")
        connection.execute(
            """insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count)
               select %s, number, 'p' || number, 'text', 1 from generate_series(1, 20000) as number""",
            [fresh._row.collection_id],
        )
        parameters = {"collection_id": fresh._row.collection_id, "keys": [f"p{number}" for number in range(19_800, 20_200)]}
        statement = f"explain (analyze, format json) {statements('passages')['existing']}"
        nodes = list(_nodes(connection.execute(statement, parameters).fetchone()[0][0]["Plan"]))
        version = connection.info.server_version
    reads = scans(nodes, "passage")
    assert [node["Node Type"] for node in reads] == ["Index Scan"]
    assert "key = " in reads[0]["Index Cond"]
    # Versions before 18 round the rows of a look-up, half of which find one.
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in reads) <= (201 if version >= 180000 else 400)


def test_passages_are_removed_by_indexes_in_a_first_load(database: pgretrieval.RetrievalDatabase):
    """Without statistics, and under a generic plan, updates read by indexes."""
    fresh = database.create_collection("fresh")
    with psycopg.connect(database.url) as connection:
        connection.execute("alter table pgretrieval.passage_1 set (autovacuum_enabled = off)")
        connection.execute(
            """insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count)
               select %s, number, 'p' || number, 'text', 1 from generate_series(1, 20000) as number""",
            [fresh._row.collection_id],
        )
        connection.execute(
            """insert into pgretrieval.token_vector (collection_id, passage_id, vectors)
               select collection_id, passage_id, array['[1]'::halfvec] from pgretrieval.passage"""
        )
    with psycopg.connect(database.url) as connection:
        for start in range(0, 5000, 500):
            keys = [f"p{number}" for number in range(start, start + 500)]
            removed = connection.execute(
                "select pgretrieval.remove_passages(%s, %s, null)", [fresh._row.collection_id, keys]
            ).fetchone()
            assert removed == (500 - (start == 0),)
        read = "select sum(seq_tup_read) from pg_stat_xact_user_tables where relname in ('passage_1', 'token_vector_1')"
        assert connection.execute(read).fetchone() == (0,)


@pytest.mark.both_versions
@pytest.mark.parametrize("scorer", ["maxsim", "xtr"])
def test_a_compaction_needs_no_statistics(
    database: pgretrieval.RetrievalDatabase, connection: psycopg.Connection[Any], scorer: str
):
    """A compaction step without statistics takes .1 s after 12,000 updates, not minutes."""
    docs = database.create_collection("docs", scorer=scorer, encoder=HashedEncoder())
    docs.auto_compact = False
    for table in ("removed_passage", "posting", "posting_code", "word_posting", "segment"):
        for (partition,) in connection.execute(
            "select inhrelid::regclass::text from pg_inherits where inhparent = to_regclass('pgretrieval.' || %s)", [table]
        ).fetchall():
            connection.execute(f"alter table {partition} set (autovacuum_enabled = off)")
    for version in range(25):
        some = [{"id": str(number), "text": f"word{number} a{number % 7} b{version % 11}"} for number in range(500)]
        docs.add(some, on_conflict="update")
        if not version:
            docs.build()
    assert docs.stats()["removed"] == 12_000
    connection.execute("set statement_timeout = '5s'")
    while connection.execute("select pgretrieval.compact('docs')").fetchone() == (True,):
        pass
    assert (docs.stats()["removed"], docs.stats()["segments"]) == (0, 0)


def usage(connection: psycopg.Connection[Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Index scans by index, and rows read by sequential scans by table, so far."""
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select pg_stat_clear_snapshot()")
    indexes = connection.execute("select indexrelname, idx_scan from pg_stat_user_indexes").fetchall()
    tables = connection.execute("select relname, seq_tup_read from pg_stat_user_tables").fetchall()
    return dict(indexes), dict(tables)


@pytest.mark.parametrize(
    "restriction", ["", ", filter => '$.number >= 100'", ", filter => '$.number == 7'", ", among => array['p1', 'p2']"]
)
def test_a_search_in_sql_reads_by_indexes(large: pgretrieval.Collection, restriction: str):
    """The functions of a search in SQL read centroids, postings, codes and passages by indexes."""
    number = large._row.collection_id
    query = vector_array(clustered(1, tokens=(8, 8), seed=3, directions=2000)[0])
    with psycopg.connect(large._database.url, autocommit=True) as connection:
        indexes_before, tables_before = usage(connection)
        connection.execute(
            f"select * from pgretrieval.search('large', %s::vector[]{restriction}, candidates => 100)", [query]
        ).fetchall()
        indexes, tables = usage(connection)
    index = f"centroid_{number}_{codebook_of(large)}_hnsw"
    assert indexes[index] - indexes_before[index] == 8
    read = {name: rows - tables_before[name] for name, rows in tables.items() if rows > tables_before[name]}
    allowed = {"pg_class", "collection", "codebook", f"centroid_{number}"}
    if restriction:  # the sample of 24 pages counts as a sequential scan
        allowed |= {f"passage_{number}"}
        assert read[f"passage_{number}"] <= 0.6 * PASSAGES
    assert set(read) <= allowed, read


def test_token_matches_read_one_passage(large: pgretrieval.Collection):
    """The matches of a passage read its codes and the centroids of its tokens by indexes."""
    query = vector_array(clustered(1, tokens=(8, 8), seed=3, directions=2000)[0])
    with psycopg.connect(large._database.url, autocommit=True) as connection:
        _, tables_before = usage(connection)
        statement = "select * from pgretrieval.token_matches('large', %s::vector[], 'p77')"
        assert len(connection.execute(statement, [query]).fetchall()) == 8
        _, tables = usage(connection)
    read = {name for name, rows in tables.items() if rows > tables_before[name]}
    assert read <= {"pg_class", "collection", "codebook", f"centroid_{large._row.collection_id}"}


def test_a_search_by_words_reads_by_indexes(large: pgretrieval.Collection):
    """Postings of the query's words are read by index."""
    number = large._row.collection_id
    with psycopg.connect(large._database.url, autocommit=True) as connection:
        _, tables_before = usage(connection)
        found = connection.execute("select id from pgretrieval.text_search('large', 'passage 77')").fetchall()
        _, tables = usage(connection)
    assert found[0] == ("p77",)
    assert tables[f"word_posting_{number}"] == tables_before[f"word_posting_{number}"]


@pytest.mark.parametrize(
    ("predicate", "by_index", "found"), [(None, True, 64), ("$.number >= 100", True, 64), ("$.number < 40", False, 40)]
)
def test_dense_vectors_are_found_by_the_vector_index(
    large: pgretrieval.Collection, predicate: str | None, by_index: bool, found: int
):
    """The vector index is used if many passages match a filter, and matches are compared one by one if few do."""
    number = large._row.collection_id
    dense = vector(clustered(1, tokens=(1, 1), seed=4, directions=2000)[0][0])
    with psycopg.connect(large._database.url, autocommit=True) as connection:
        indexes_before, tables_before = usage(connection)
        rows = connection.execute(
            "select * from pgretrieval.candidates_by_dense("
            "pgretrieval.known_collection('large'), %s::vector, 64, %s::jsonpath, null, null, false)",
            [dense, predicate],
        ).fetchall()
        indexes, tables = usage(connection)
    assert len(rows) == found
    index, table = f"dense_vector_{number}_0_hnsw", f"dense_vector_{number}"
    assert indexes[index] - indexes_before[index] == int(by_index)
    assert tables[table] == tables_before[table]


@pytest.mark.parametrize(("restriction", "k"), [("", 10), ("", 1100), (", filter => '$.number >= 100'", 10)])
def test_a_search_by_dense_vectors_reads_the_vector_index(large: pgretrieval.Collection, restriction: str, k: int):
    """`dense_search` scans the vector index once, for many hits on and on, and reads passages by their keys."""
    number = large._row.collection_id
    dense = vector(clustered(1, tokens=(1, 1), seed=4, directions=2000)[0][0])
    with psycopg.connect(large._database.url, autocommit=True) as connection:
        indexes_before, tables_before = usage(connection)
        statement = f"select * from pgretrieval.dense_search('large', %s::vector, {k}{restriction})"
        found = connection.execute(statement, [dense]).fetchall()
        indexes, tables = usage(connection)
    assert len(found) == k
    index, table = f"dense_vector_{number}_0_hnsw", f"dense_vector_{number}"
    assert indexes[index] - indexes_before[index] == 1
    assert tables[table] == tables_before[table]
    assert indexes[f"{table}_pkey"] == indexes_before[f"{table}_pkey"]
    assert tables[f"passage_{number}"] - tables_before[f"passage_{number}"] <= (0.6 * PASSAGES if restriction else 0)


def test_dense_vectors_of_some_passages_come_by_the_primary_key(large: pgretrieval.Collection):
    """Dense vectors of given passages are read by primary key."""
    table = f"dense_vector_{large._row.collection_id}"
    dense = vector(clustered(1, tokens=(1, 1), seed=4, directions=2000)[0][0])
    with psycopg.connect(large._database.url, autocommit=True) as connection:
        _, tables_before = usage(connection)
        statement = """select * from pgretrieval.candidates_by_dense(
            pgretrieval.known_collection('large'), %s::vector, null, null, null, '{5,50,500}', false)"""
        assert len(connection.execute(statement, [dense]).fetchall()) == 3
        _, tables = usage(connection)
    assert tables[table] == tables_before[table]
