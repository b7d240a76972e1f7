"""At least one test for each function in sql/functions, on hand-made rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgretrieval import assets
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import passages, vectors

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
INDEX_CENTROIDS = "select pgretrieval.index_vectors('centroid_' || %s, %s, 'codebook_id', %s)"
PARTS = ("centroid", "dense_vector", "passage", "posting", "token_code", "token_vector", "word_posting")


def partitions(connection: Connection) -> set[str]:
    """Tables of a collection, without those used only as locks."""
    rows = connection.execute(
        "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid where relkind = 'r' and relname !~ '_lock_'"
    )
    return {name for (name,) in rows.fetchall()}


def create(connection: Connection, name: str = "docs") -> int:
    """A collection's id."""
    return connection.execute("select pgretrieval.create_collection(%s, 48)", [name]).fetchone()[0]


def add_passages(connection: Connection, collection_id: int, passage_ids: list[int]) -> None:
    """Passage rows k1, k2, …"""
    connection.execute(
        """insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count)
           select %s, id, 'k' || id, 'text', 1 from unnest(%s::integer[]) as id""",
        [collection_id, passage_ids],
    )


def add_postings(connection: Connection, collection_id: int, rows: list[tuple[int, int, list[int]]], codebook_id: int = 1) -> None:
    """Rows of (centroid, segment, passages)."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids)
               values (%s, %s, %s, %s, %s)""",
            [(collection_id, codebook_id, *row) for row in rows],
        )


def candidates(connection: Connection, collection_id: int, probes: dict[int, float], n: int = 100) -> list[tuple[int, float]]:
    """(passage, score), in the order in which the function returns them."""
    rows = connection.execute(
        "select passage_id, score from pgretrieval.candidates_by_postings(%s, 1, %s::integer[], %s::real[], %s)",
        [collection_id, list(probes), list(probes.values()), n],
    )
    return rows.fetchall()


def test_create_collection_makes_its_row_its_partitions_and_its_sequence(connection: Connection):
    """All partitions and indexes exist, without leftover check constraints."""
    collection_id = create(connection)
    assert partitions(connection) == {f"{part}_{collection_id}" for part in PARTS}
    row = connection.execute("select name, dim, encoder, bits, levels, codebook_id from pgretrieval.collection").fetchone()
    assert row == ("docs", 48, None, 4, "lloyd-max", None)
    assert connection.execute("select count(*) from pg_constraint where conname = 'one_collection'").fetchone() == (0,)
    for part in PARTS:
        indexed = connection.execute(
            "select count(*) from pg_index where indrelid = %s::regclass and indisprimary and indisvalid",
            [f"pgretrieval.{part}_{collection_id}"],
        )
        assert indexed.fetchone() == (1,), part


def test_create_collection_takes_storage_settings_over(connection: Connection):
    """Partitions have the storage settings of their parents."""
    collection_id = create(connection)
    storage = connection.execute(
        """select attname, attstorage from pg_attribute
           where attrelid = %s::regclass and attname in ('centroid_ids', 'residuals', 'tail') order by 1""",
        [f"pgretrieval.token_code_{collection_id}"],
    )
    assert storage.fetchall() == [("centroid_ids", "e"), ("residuals", "e"), ("tail", "e")]


def test_create_collection_refuses_a_name_twice(connection: Connection):
    """A repeated name raises an error and leaves no tables."""
    collection_id = create(connection)
    with pytest.raises(psycopg.errors.UniqueViolation):
        create(connection)
    assert partitions(connection) == {f"{part}_{collection_id}" for part in PARTS}


def test_collections_are_made_while_another_is_read(connection: Connection, database_url: str):
    """Creating a collection does not wait for searches in others."""
    collection_id = create(connection)
    add_passages(connection, collection_id, [1])
    with psycopg.connect(database_url) as reader:
        reader.execute("select * from pgretrieval.passage where collection_id = %s", [collection_id]).fetchall()
        reader.execute("select * from pgretrieval.candidates_by_postings(%s, 1, array[1], array[1.0]::real[], 5)", [collection_id])
        connection.execute("set lock_timeout = '2s'")
        create(connection, "other")


def test_drop_collection_removes_everything_of_it_alone(connection: Connection):
    """Everything of the collection is removed, and nothing of others."""
    first, second = create(connection, "first"), create(connection, "second")
    for collection_id in (first, second):
        add_passages(connection, collection_id, [1, 2])
        connection.execute(
            """insert into pgretrieval.codebook (collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
               values (%s, 48, 1, '{0}', '{-1,1}', 1, 2, 2)""",
            [collection_id],
        )
    assert connection.execute("select pgretrieval.drop_collection('first')").fetchone() == (True,)
    assert partitions(connection) == {f"{part}_{second}" for part in PARTS}
    assert connection.execute("select collection_id from pgretrieval.codebook").fetchall() == [(second,)]
    assert connection.execute("select collection_id, count(*) from pgretrieval.passage group by 1").fetchall() == [(second, 2)]
    assert connection.execute("select count(*) from pg_class where relname = %s", [f"passage_id_{first}"]).fetchone() == (0,)


def test_drop_collection_of_an_unknown_name_is_false(connection: Connection):
    """Dropping an unknown name returns false."""
    assert connection.execute("select pgretrieval.drop_collection('nobody')").fetchone() == (False,)


def test_reserved_passage_ids_are_never_given_twice(connection: Connection, database_url: str):
    """Passage ids are unique across concurrent adds and rollbacks, and collections have separate sequences."""
    first, second = create(connection, "first"), create(connection, "second")

    def reserve(where: Connection, collection_id: int, n: int) -> list[int]:
        return passages.reserve_ids(CollectionTables(where, collection_id), n).tolist()

    with psycopg.connect(database_url) as other:
        given = reserve(connection, first, 3) + reserve(other, first, 2)
        other.rollback()
        given += reserve(other, first, 2) + reserve(connection, first, 1)
    assert len(set(given)) == len(given) == 8
    assert given[:3] == [1, 2, 3]
    assert reserve(connection, second, 2) == [1, 2]
    assert reserve(connection, second, 0) == []


def add_codebook(connection: Connection, collection_id: int, dim: int) -> int:
    """A codebook with 50 centroids."""
    codebook_id = connection.execute(
        """insert into pgretrieval.codebook (collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
           values (%s, %s, 1, '{0}', '{-0.5,0.5}', 50, 2, 4) returning codebook_id""",
        [collection_id, dim],
    ).fetchone()[0]
    connection.execute(
        """insert into pgretrieval.centroid select %s, %s, number, (
               select array_agg(sin(number * position)) from generate_series(1, %s) as position)::real[]::public.halfvec
           from generate_series(0, 49) as number""",
        [collection_id, codebook_id, dim],
    )
    return codebook_id


def test_index_vectors_makes_one_vector_index_for_each_codebook(connection: Connection):
    """Each codebook has one vector index, and other dimensions have their own."""
    collection_id = create(connection)
    first = add_codebook(connection, collection_id, 48)
    for _ in range(2):
        connection.execute(INDEX_CENTROIDS, [collection_id, 48, first])
    second = add_codebook(connection, collection_id, 96)
    connection.execute(INDEX_CENTROIDS, [collection_id, 96, second])
    connection.execute("set enable_seqscan = off")
    for codebook_id, dim in ((first, 48), (second, 96)):
        plan = connection.execute(
            f"""explain select 1 from pgretrieval.centroid
                where collection_id = {collection_id} and codebook_id = {codebook_id}
                order by vector::halfvec({dim}) <#> array_fill(1, array[{dim}])::halfvec({dim}) limit 4"""
        ).fetchall()
        assert any(f"centroid_{collection_id}_{codebook_id}_hnsw" in line for (line,) in plan)
        assert (
            len(
                connection.execute(
                    "select * from pgretrieval.probe(%s, %s, array[array_fill(1, array[%s])::vector], 3)",
                    [collection_id, codebook_id, dim],
                ).fetchall()
            )
            == 3
        )
    for _ in range(6):
        connection.execute("select pgretrieval.drop_replaced(%s, 1000)", [collection_id])
    connection.execute("set enable_seqscan = on")
    assert connection.execute("select count(*) from pgretrieval.centroid").fetchone() == (0,)
    first = add_codebook(connection, collection_id, 48)
    connection.execute(INDEX_CENTROIDS, [collection_id, 48, first])
    found = connection.execute(
        "select pg_get_indexdef(indexrelid) from pg_index where indrelid = %s::regclass and not indisprimary",
        [f"pgretrieval.centroid_{collection_id}"],
    ).fetchall()
    assert len(found) == 1
    assert "USING hnsw" in found[0][0]
    assert "halfvec(48)" in found[0][0]
    assert "(m='16')" in found[0][0]
    connection.execute(f"drop index pgretrieval.centroid_{collection_id}_{first}_hnsw")
    connection.execute(INDEX_CENTROIDS.replace(")", ", options => 'm = 8, ef_construction = 100')"), [collection_id, 48, first])
    made = connection.execute("select reloptions from pg_class where relname = %s", [f"centroid_{collection_id}_{first}_hnsw"])
    assert made.fetchone() == (["m=8", "ef_construction=100"],)
    assert "halfvec_ip_ops" in found[0][0]


def test_clear_token_vectors_frees_what_is_empty(connection: Connection):
    """Empty tables are truncated if no session can still read them."""
    first, second = create(connection, "first"), create(connection, "second")
    for collection_id in (first, second):
        connection.execute(
            """insert into pgretrieval.token_vector (collection_id, passage_id, vectors)
               select %s, id, array[array_fill(1, array[48])::real[]::halfvec] from generate_series(1, 50) as id""",
            [collection_id],
        )
    vectors.clear(CollectionTables(connection, first))
    assert connection.execute("select count(*) from pgretrieval.token_vector group by collection_id").fetchall() == [(50,), (50,)]
    connection.execute("delete from pgretrieval.token_vector where collection_id = %s", [first])
    vectors.clear(CollectionTables(connection, first))
    size = "select pg_indexes_size(%s::regclass)"
    before = connection.execute(size, [f"pgretrieval.token_vector_{first}"]).fetchone()
    connection.execute(f"vacuum pgretrieval.token_vector_{first}")
    vectors.clear(CollectionTables(connection, first))
    assert connection.execute(size, [f"pgretrieval.token_vector_{first}"]).fetchone() < before
    assert connection.execute("select count(*) from pgretrieval.token_vector where collection_id = %s", [second]).fetchone() == (
        50,
    )


def test_candidates_sum_the_scores_of_the_probed_centroids(connection: Connection):
    """Scores of probed centroids are summed once each, over all segments."""
    collection_id = create(connection)
    add_passages(connection, collection_id, [1, 2, 3, 4, 5])
    add_postings(connection, collection_id, [(10, 0, [1, 2]), (11, 0, [2, 3]), (12, 0, [1, 3, 4]), (10, 5, [5])])
    # 1: centroid 10            = 0.5
    # 2: centroids 10 and 11    = 0.5 + 0.25 = 0.75
    # 3: centroid 11 (12 is not probed) = 0.25
    # 5: centroid 10, by a later segment = 0.5; after 1, which has the smaller id
    assert candidates(connection, collection_id, {10: 0.5, 11: 0.25}) == [(2, 0.75), (1, 0.5), (5, 0.5), (3, 0.25)]
    assert candidates(connection, collection_id, {10: 0.5, 11: 0.25}, n=2) == [(2, 0.75), (1, 0.5)]
    # Scores below zero are summed like others: 2: 0.5 - 0.75 = -0.25; 3: -0.75.
    assert candidates(connection, collection_id, {10: 0.5, 11: -0.75}) == [(1, 0.5), (5, 0.5), (2, -0.25), (3, -0.75)]
    assert candidates(connection, collection_id, {99: 1.0}) == []
    assert candidates(connection, collection_id, {}) == []


def test_candidates_do_not_hold_deleted_passages(connection: Connection):
    """Deleted passages are no candidates."""
    collection_id = create(connection)
    add_passages(connection, collection_id, [1, 2, 3])
    add_postings(connection, collection_id, [(10, 0, [1, 2, 3]), (11, 0, [2])])
    connection.execute("delete from pgretrieval.passage where key = 'k2'")
    assert candidates(connection, collection_id, {10: 0.5, 11: 0.5}, n=2) == [(1, 0.5), (3, 0.5)]


def test_candidates_of_other_collections_and_codebooks_stay_out(connection: Connection):
    """Only postings of the collection and codebook count."""
    first, second = create(connection, "first"), create(connection, "second")
    for collection_id in (first, second):
        add_passages(connection, collection_id, [1, 2, 3])
    add_postings(connection, first, [(10, 0, [1])])
    add_postings(connection, first, [(10, 0, [2])], codebook_id=2)
    add_postings(connection, second, [(10, 0, [3])])
    assert candidates(connection, first, {10: 1.0}) == [(1, 1.0)]


def test_candidates_survive_a_hostile_search_path(connection: Connection):
    """Objects earlier on the search path are not used."""
    collection_id = create(connection)
    add_passages(connection, collection_id, [1, 2])
    add_postings(connection, collection_id, [(10, 0, [1, 2]), (11, 0, [2])])
    connection.execute("create schema hostile")
    connection.execute("create function hostile.sum_stub(real, real) returns real language sql immutable as 'select -1::real'")
    connection.execute("create aggregate hostile.sum(real) (sfunc = hostile.sum_stub, stype = real, initcond = '0')")
    connection.execute("create table hostile.posting (collection_id int, codebook_id int, centroid_id int, passage_ids int[])")
    connection.execute("create function hostile.unnest(integer[]) returns setof integer language sql as 'select 666'")
    connection.execute("create function hostile.format(text, text, integer) returns text language sql as 'select ''hostile'''")
    connection.execute("create function hostile.nextval(regclass) returns bigint language sql as 'select 666::bigint'")
    connection.execute("set search_path = hostile, pg_catalog")
    assert candidates(connection, collection_id, {10: 0.5, 11: 0.25}) == [(2, 0.75), (1, 0.5)]
    assert passages.reserve_ids(CollectionTables(connection, collection_id), 1).tolist() == [1]
    other = connection.execute("select pgretrieval.create_collection('other', 48)").fetchone()[0]
    assert f"posting_{other}" in partitions(connection)
    vectors.clear(CollectionTables(connection, other))
    connection.execute(INDEX_CENTROIDS, [other, 48, add_codebook(connection, other, 48)])
    assert connection.execute("select pgretrieval.drop_replaced(%s, 10)", [other]).fetchone() == (True,)
    drift = "select s ->> 'added_passages', s ->> 'rebuild_pays' from pgretrieval.stats('other') as s"
    assert connection.execute(drift).fetchone() == (None, "false")
    assert connection.execute("select pgretrieval.drop_collection('other')").fetchone() == (True,)


def add_proxies(connection: Connection, codebook_id: int, rows: dict[int, list[float]]) -> None:
    """A partition with proxies whose first numbers are given; the others are 0."""
    connection.execute("select pgretrieval.create_partition('proxy', 'codebook_id', %s)", [codebook_id])
    for passage_id, head in rows.items():
        vector = str(head + [0.0] * (512 - len(head)))
        connection.execute(
            "insert into pgretrieval.proxy (codebook_id, passage_id, vector) values (%s, %s, %s::public.halfvec)",
            [codebook_id, passage_id, vector],
        )


def by_proxy(connection: Connection, collection_id: int, codebook_id: int, head: list[float], n: int) -> list[tuple[int, float]]:
    """(passage, score) of the candidates."""
    return connection.execute(
        "select passage_id, score from pgretrieval.candidates_by_proxy(%s, %s, %s::real[], %s)",
        [collection_id, codebook_id, head + [0.0] * (512 - len(head)), n],
    ).fetchall()


def test_candidates_by_proxy_are_those_with_the_highest_inner_product(connection: Connection):
    """Candidates have the highest inner products among existing passages of the codebook."""
    docs = create(connection)
    add_passages(connection, docs, [1, 2, 3])
    add_proxies(connection, 7, {1: [1.0, 0.0], 2: [3.0, 1.0], 3: [0.0, 2.0], 4: [9.0, 9.0]})
    add_proxies(connection, 8, {1: [100.0]})
    assert by_proxy(connection, docs, 7, [1.0, 1.0], 3) == [(2, 4.0), (3, 2.0)]  # passage 4 does not exist
    assert by_proxy(connection, docs, 7, [-1.0, 0.5], 4)[:1] == [(3, 1.0)]
    connection.execute("select pgretrieval.index_vectors('proxy_7', 512)")
    connection.execute("set local enable_seqscan = off")
    assert by_proxy(connection, docs, 7, [1.0, 1.0], 3) == [(2, 4.0), (3, 2.0)]


def test_partitions_of_proxies_are_made_indexed_and_dropped(connection: Connection):
    """Repeated creation is harmless, and the partition is dropped."""
    for _ in range(2):
        connection.execute("select pgretrieval.create_partition('proxy', 'codebook_id', 5)")
        connection.execute("select pgretrieval.index_vectors('proxy_5', 512)")
    found = connection.execute(
        "select indexdef from pg_indexes where tablename = 'proxy_5' and indexname = 'proxy_5_hnsw'"
    ).fetchall()
    assert "hnsw (vector" in found[0][0]
    assert "halfvec_ip_ops" in found[0][0]
    for _ in range(2):
        connection.execute("select pgretrieval.empty_partitions('dropping proxies', array['proxy_5'], 0.5)")
    assert connection.execute("select count(*) from pgretrieval.proxy").fetchone() == (0,)
    assert connection.execute("select pgretrieval.drop_leftover()").fetchone() == (True,)
    assert connection.execute("select to_regclass('pgretrieval.proxy_5')").fetchone()[0] is None


def test_index_vectors_keeps_workers_from_unsafe_versions(connection: Connection):
    """pgvector before 0.8.4 builds without parallel workers, newer versions with."""
    connection.execute("select pgretrieval.create_partition('proxy', 'codebook_id', 5)")
    for version, workers in (("0.8.4", "3"), ("0.8.3", "0")):
        with connection.transaction(force_rollback=True):
            connection.execute("set local max_parallel_maintenance_workers = 3")
            connection.execute("update pg_extension set extversion = %s where extname = 'vector'", [version])
            connection.execute("select pgretrieval.index_vectors('proxy_5', 512)")
            assert connection.execute("show max_parallel_maintenance_workers").fetchone()[0] == workers


def test_vectors_of_their_text(connection: Connection):
    """Vectors can be passed as text without pgvector's schema on the path."""
    connection.execute("set search_path = pg_catalog")
    assert connection.execute("select pgretrieval.as_vector('[1,2]')::text").fetchone() == ("[1,2]",)
    found = connection.execute("select pgretrieval.as_vectors(%s)::text", ['{"[1,2]","[3,4]"}'])
    assert found.fetchone() == ('{"[1,2]","[3,4]"}',)


def test_every_function_has_a_test_here():
    """Every function has a test."""
    names = [path.stem for path in assets.function_files()]
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in names if f"pgretrieval.{name}(" not in tests] == []


@pytest.mark.parametrize("value", ["'nan'", "'infinity'", "1e300"])
def test_check_min_score(connection: Connection, value: str):
    """A least score that no score can have raises an error; null and numbers of single precision do not."""
    connection.execute("select pgretrieval.check_min_score(null), pgretrieval.check_min_score(-1.5)")
    with pytest.raises(psycopg.Error, match="min_score is"):
        connection.execute(f"select pgretrieval.check_min_score({value})")
