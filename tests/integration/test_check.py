"""`check` finds nothing in a consistent collection, and exactly the violated rule otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.roles import isolate_tenants
from tests.support.vectors import clustered, passages, unit


def fill(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> None:
    """Collections "docs" with all features and two segments; "waiting", not built; and "other", which stays consistent."""
    docs = database.create_collection("docs", keep_vectors=True, dense="kept", generator="proxy")
    dense = unit(np.random.default_rng(0).standard_normal((300, 8)))
    docs.add(corpus.passages[:200], vectors=corpus.vectors[:200], dense=dense[:200])
    docs.build()
    docs.add(corpus.passages[200:], vectors=corpus.vectors[200:], dense=dense[200:])
    waiting = database.create_collection("waiting")
    waiting.add(corpus.passages[:20], vectors=corpus.vectors[:20])
    other = database.create_collection("other")
    other.add(passages(20), vectors=clustered(20))
    other.build()


@pytest.fixture(scope="module")
def filled(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.RetrievalDatabase:
    """The three collections; tests do not change them."""
    fill(module_database, corpus)
    return module_database


@pytest.fixture
def breaking(filled: pgretrieval.RetrievalDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that is rolled back."""
    with psycopg.connect(filled.url) as opened:
        yield opened
        opened.rollback()


def found(connection: psycopg.Connection[Any], name: str) -> list[tuple[str, str | None, str, int]]:
    """Violations that the SQL function returns."""
    return connection.execute("select * from pgretrieval.check(%s)", [name]).fetchall()


def number(connection: psycopg.Connection[Any], name: str) -> int:
    """The id of the collection."""
    return connection.execute("select collection_id from pgretrieval.collection where name = %s", [name]).fetchone()[0]


@pytest.mark.both_versions
def test_sound_collections(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Data written by the library violate no rule."""
    fill(database, corpus)
    for name in database.list_collections():
        assert database.get_collection(name).check() == [], name
    nothing = database.create_collection("nothing")
    assert nothing.check() == []


P7 = "(select passage_id from pgretrieval.passage where collection_id = {id} and key = 'p7')"
NOTED = """insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows, compacting)
           values ({id}, {codebook}, 999999, 1, 1, 1, true)"""
BREAKS = {
    "missing_codes": ["delete from pgretrieval.token_code where collection_id = {id} and passage_id = " + P7],
    "missing_proxy": ["delete from pgretrieval.proxy where passage_id = " + P7],
    "missing_token_vectors": ["delete from pgretrieval.token_vector where collection_id = {id} and passage_id = " + P7],
    "missing_dense_vector": ["delete from pgretrieval.dense_vector where collection_id = {id} and passage_id = " + P7],
    "wrong_token_count": ["update pgretrieval.token_code set tail = '\\x00' where collection_id = {id} and passage_id = " + P7],
    "wrong_vectors_per_passage": [
        "update pgretrieval.collection set vectors_per_passage = 99 where collection_id = {id}",
    ],
    "wrong_dimension": [
        "update pgretrieval.token_vector set vectors[1] = '[1,0,0]'::halfvec where collection_id = {id} and passage_id = " + P7,
    ],
    "not_unit_length": [
        """update pgretrieval.dense_vector set vector = (vector::vector * array_fill(2, array[8])::vector)::halfvec
           where collection_id = {id} and passage_id = """
        + P7
    ],
    "bad_codebook": ["update pgretrieval.codebook set weights = weights[2:] where collection_id = {id}"],
    "missing_posting": [
        """update pgretrieval.posting set passage_ids = array_remove(passage_ids, {p7})
           where collection_id = {id} and centroid_id = {centroid}"""
    ],
    "stray_posting": [
        """update pgretrieval.posting set passage_ids = passage_ids || {p7}
           where collection_id = {id} and segment = 0 and centroid_id = {other_centroid}"""
    ],
    "repeated_posting": [
        """insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids)
           values ({id}, {codebook}, {centroid}, 999999, array[{p7}])""",
        NOTED,
    ],
    "orphan_posting": [
        """update pgretrieval.posting set passage_ids = passage_ids || 999999
           where collection_id = {id} and segment = 0 and centroid_id = {centroid}"""
    ],
    "missing_word": ["delete from pgretrieval.word_posting where collection_id = {id} and word = pgretrieval.shared_word('7')"],
    "stray_word": ["update pgretrieval.passage set title = '' where collection_id = {id} and key = 'p7'"],
    "repeated_word": [
        """insert into pgretrieval.word_posting (collection_id, word, segment, passage_ids, weights)
           values ({id}, '7', 999999, array[{p7}], array[1])""",
        NOTED,
    ],
    "orphan_word": [
        """insert into pgretrieval.word_posting (collection_id, word, segment, passage_ids, weights)
           values ({id}, '7', 0, array[999999], array[1]) on conflict (collection_id, word, bucket, segment)
           do update set passage_ids = word_posting.passage_ids || 999999, weights = word_posting.weights || 1::real"""
    ],
    "bad_word_weights": [
        """update pgretrieval.word_posting set weights = array[0]
           where collection_id = {id} and word = pgretrieval.shared_word('7') and segment = 0"""
    ],
    "orphan_row": ["insert into pgretrieval.proxy select codebook_id, bucket, 999999, vector from pgretrieval.proxy limit 1"],
    "old_codebook": [
        """insert into pgretrieval.codebook
               (codebook_id, collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
           overriding system value
           select 0, collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens
           from pgretrieval.codebook where codebook_id = {codebook}""",
        """insert into pgretrieval.centroid (collection_id, codebook_id, centroid_id, vector)
           select collection_id, 0, centroid_id, vector from pgretrieval.centroid where codebook_id = {codebook}""",
    ],
    "old_vectors": ["insert into pgretrieval.token_vector select {id}, 0, {p7}, vectors, 9 from pgretrieval.token_vector limit 1"],
    "removed_passage_there": ["insert into pgretrieval.removed_passage (collection_id, passage_id) values ({id}, {p7})"],
    "wrong_segment": ["update pgretrieval.segment set posting_rows = posting_rows + 1 where collection_id = {id}"],
    "orphan_queue_entry": ["insert into pgretrieval.queue (collection_id, key) values ({id}, 'p7')"],
    "sequence_behind": ["select setval('pgretrieval.passage_id_{id}', 5)"],
}


def values(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Parameters of the statements above."""
    collection_id, codebook_id, passage_id, mine, others = connection.execute(
        """select collection_id, codebook_id, passage_id,
                  (select min(centroid_id) from pgretrieval.posting
                   where posting.collection_id = passage.collection_id and passage_id = any (passage_ids)),
                  (select min(centroid_id) from pgretrieval.posting
                   where posting.collection_id = passage.collection_id and segment = 0 and centroid_id not in (
                       select centroid_id from pgretrieval.posting
                       where posting.collection_id = passage.collection_id and passage_id = any (passage_ids)))
           from pgretrieval.passage join pgretrieval.collection using (collection_id) where name = 'docs' and key = 'p7'"""
    ).fetchone()
    return {"id": collection_id, "codebook": codebook_id, "p7": passage_id, "centroid": mine, "other_centroid": others}


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule(breaking: psycopg.Connection[Any], rule: str):
    """Each violation is found, without others."""
    named = values(breaking)
    for statement in BREAKS[rule]:
        assert breaking.execute(statement.format(**named)).rowcount > 0
    assert {row[0] for row in found(breaking, "docs")} == {rule}
    assert all(row[2] for row in found(breaking, "docs"))
    assert found(breaking, "waiting") == found(breaking, "other") == []
    if rule == "sequence_behind":
        breaking.execute("select setval('pgretrieval.passage_id_{id}', 1000)".format(**named))  # no rollback undoes it


@pytest.mark.parametrize(
    ("rule", "statements"),
    [
        ("missing_token_vectors", ["delete from pgretrieval.token_vector where collection_id = {id} and passage_id = {p}"]),
        (
            "wrong_token_count",
            ["update pgretrieval.token_vector set vectors = vectors[2:] where collection_id = {id} and passage_id = {p}"],
        ),
        (
            "not_unit_length",
            [
                """update pgretrieval.token_vector
                   set vectors[2] = (vectors[2]::vector * array_fill(0.5, array[64])::vector)::halfvec
                   where collection_id = {id} and passage_id = {p}"""
            ],
        ),
        (
            "orphan_row",
            [
                """insert into pgretrieval.token_vector
                   select {id}, 0, 999999, vectors, encoding from pgretrieval.token_vector limit 1"""
            ],
        ),
    ],
)
def test_rules_of_a_collection_that_is_not_built(breaking: psycopg.Connection[Any], rule: str, statements: list[str]):
    """Collections that are not built are checked, too."""
    collection_id = number(breaking, "waiting")
    where = "from pgretrieval.passage where collection_id = %s and key = 'p7'"
    passage_id = breaking.execute("select passage_id " + where, [collection_id]).fetchone()[0]
    for statement in statements:
        breaking.execute(statement.format(id=collection_id, p=passage_id))
    assert {row[0] for row in found(breaking, "waiting")} == {rule}
    assert found(breaking, "docs") == found(breaking, "other") == []


@pytest.mark.parametrize("rule", ["old_codebook", "old_vectors"])
def test_an_unfinished_rebuild_is_no_violation(breaking: psycopg.Connection[Any], rule: str):
    """An unfinished rebuild is not a violation."""
    named = values(breaking)
    breaking.execute("insert into pgretrieval.rebuild (collection_id, dim, encoding) values (%(id)s, 64, 0)", named)
    for statement in BREAKS[rule]:
        breaking.execute(statement.format(**named))
    assert found(breaking, "docs") == []


@pytest.mark.parametrize(("recounted", "expected"), [(0, set()), (300, {"wrong_token_count"})])
def test_token_counts_after_a_change_of_encoder(breaking: psycopg.Connection[Any], recounted: int, expected: set[str]):
    """After a change of encoder, tokens that are not counted yet are no violation; wrong counts are."""
    named = values(breaking)
    breaking.execute(
        """insert into pgretrieval.rebuild (collection_id, encoder, dim, encoding, switched, recounted)
           values (%(id)s, '{}', 64, 0, true, %(recounted)s)""",
        {**named, "recounted": recounted},
    )
    breaking.execute(
        "update pgretrieval.passage set token_count = token_count + 1 where collection_id = %(id)s and key = 'p7'", named
    )
    assert {row[0] for row in found(breaking, "docs")} == expected


@pytest.mark.parametrize(
    ("statement", "sound"),
    [
        ("delete from pgretrieval.segment where collection_id = {id}", False),
        ("update pgretrieval.segment set compacting = true, posting_rows = posting_rows + 1 where collection_id = {id}", True),
        ("update pgretrieval.segment set compacting = true, posting_rows = posting_rows - 1 where collection_id = {id}", False),
    ],
)
def test_segments(breaking: psycopg.Connection[Any], statement: str, sound: bool):
    """Segments that no compaction would merge are found, and merged ones are not."""
    breaking.execute(statement.format(**values(breaking)))
    assert {row[0] for row in found(breaking, "docs")} == (set() if sound else {"wrong_segment"})


def little_endian(value: int) -> str:
    return value.to_bytes(2, "little").hex()


@pytest.mark.parametrize("unknown", [2_000, 65_535])
def test_a_centroid_that_the_codebook_does_not_have(breaking: psycopg.Connection[Any], unknown: int):
    """An unknown centroid in a code is found even if the postings agree with it."""
    named = values(breaking)
    breaking.execute(
        """update pgretrieval.token_code set centroid_ids = decode(%s, 'hex') || substr(centroid_ids, 3)
           where collection_id = %s and codebook_id = %s and passage_id = %s""",
        [little_endian(unknown), named["id"], named["codebook"], named["p7"]],
    )
    breaking.execute(
        """update pgretrieval.posting set passage_ids = array_remove(passage_ids, %(p7)s::integer)
           where collection_id = %(id)s and centroid_id not in (
               select pgretrieval.centroid_at(centroid_ids, place, 2)
               from pgretrieval.token_code, generate_series(0, length(centroid_ids) / 2 - 1) as place
               where collection_id = %(id)s and codebook_id = %(codebook)s and passage_id = %(p7)s)""",
        named,
    )
    breaking.execute(
        """insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids)
           values (%(id)s, %(codebook)s, %(unknown)s, 0, array[%(p7)s::integer])""",
        {**named, "unknown": unknown},
    )
    assert {(row[0], row[1]) for row in found(breaking, "docs")} == {("unknown_centroid", "p7")}


@pytest.mark.parametrize(
    ("rule", "statement"),
    [
        ("bad_codebook", "update pgretrieval.codebook set cutoffs[2] = 'NaN' where codebook_id = {codebook}"),
        ("bad_codebook", "update pgretrieval.codebook set weights[1] = '-Infinity' where codebook_id = {codebook}"),
        ("bad_codebook", "update pgretrieval.codebook set cutoffs[1] = 5 where codebook_id = {codebook}"),
        ("bad_codebook", "update pgretrieval.codebook set bits = 2 where codebook_id = {codebook}"),
        ("bad_codebook", "update pgretrieval.codebook set centroid_count = centroid_count + 1 where codebook_id = {codebook}"),
        ("wrong_dimension", "update pgretrieval.codebook set dim = 96 where codebook_id = {codebook}"),
        ("wrong_dimension", "update pgretrieval.collection set dim = 96 where collection_id = {id}"),
        ("wrong_dimension", "update pgretrieval.collection set dense_dim = 9 where collection_id = {id}"),
        (
            "not_unit_length",
            """update pgretrieval.centroid set vector = array_fill(0, array[64])::halfvec
               where collection_id = {id} and centroid_id = 1""",
        ),
        ("orphan_row", "insert into pgretrieval.posting values ({id}, 999999, 0, 0, 0, array[{p7}])"),
        (
            "orphan_row",
            "insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows) "
            "values ({id}, 999999, 1, 1, 1, 1)",
        ),
        (
            "orphan_row",
            "insert into pgretrieval.dense_vector select {id}, 0, 999999, vector, encoding from pgretrieval.dense_vector limit 1",
        ),
        (
            "orphan_row",
            "insert into pgretrieval.token_code select {id}, {codebook}, 0, 999999, centroid_ids, residuals "
            "from pgretrieval.token_code where collection_id = {id} limit 1",
        ),
    ],
)
def test_rules_with_several_causes(breaking: psycopg.Connection[Any], rule: str, statement: str):
    """Every cause of a rule is found."""
    breaking.execute(statement.format(**values(breaking)))
    assert rule in {row[0] for row in found(breaking, "docs")}


def test_removed_passages_may_still_be_listed(breaking: psycopg.Connection[Any]):
    """Postings of a deleted passage are a violation only if its deletion is not recorded for compaction."""
    named = values(breaking)
    for table in ("passage", "token_code", "token_vector", "dense_vector"):
        breaking.execute(f"delete from pgretrieval.{table} where collection_id = %(id)s and passage_id = %(p7)s", named)
    breaking.execute("delete from pgretrieval.proxy where codebook_id = %(codebook)s and passage_id = %(p7)s", named)
    assert {row[0] for row in found(breaking, "docs")} == {"orphan_posting", "orphan_word"}
    breaking.execute("insert into pgretrieval.removed_passage (collection_id, passage_id) values (%(id)s, %(p7)s)", named)
    assert found(breaking, "docs") == []


def test_of_many_violations_a_few_are_shown_with_their_number(breaking: psycopg.Connection[Any]):
    """At most 20 violations of a rule are returned, with their total."""
    breaking.execute("delete from pgretrieval.proxy where codebook_id = %(codebook)s", values(breaking))
    rows = found(breaking, "docs")
    assert len(rows) == 20
    assert {(row[0], row[3]) for row in rows} == {("missing_proxy", 300)}


def test_a_single_part(breaking: psycopg.Connection[Any]):
    """A part checks only its rules, and an unknown part raises an error."""
    named = values(breaking)
    for rule in ("missing_codes", "missing_word"):
        for statement in BREAKS[rule]:
            breaking.execute(statement.format(**named))
    checked = breaking.execute("select distinct rule from pgretrieval.check('docs', 'words')").fetchall()
    assert checked == [("missing_word",)]
    with pytest.raises(psycopg.Error, match="part is 'word'") as raised:
        breaking.execute("select * from pgretrieval.check('docs', 'word')")
    assert raised.value.sqlstate == "PGR05"


def test_a_code_that_decodes_to_no_direction(database: pgretrieval.RetrievalDatabase, connection: psycopg.Connection[Any]):
    """Codes that decode to zero or NaN are found."""
    docs = database.create_collection("docs")
    docs.add(passages(50), vectors=clustered(50))
    docs.build()
    assert docs.check() == []
    # The codec's levels become 1 / 8 and the numbers of centroid 0 all -1 / 8, whose sum is zero.
    connection.execute("update pgretrieval.codebook set weights = array_fill(0.125::real, array[cardinality(weights)])")
    connection.execute("update pgretrieval.centroid set vector = array_fill(-0.125, array[64])::halfvec where centroid_id = 0")
    connection.execute("""update pgretrieval.token_code set centroid_ids = '\\x0000'::bytea || substr(centroid_ids, 3)""")
    connection.execute("""update pgretrieval.token_code set residuals = decode(repeat('00', 32), 'hex') || substr(residuals, 33)""")
    violations = [violation for violation in docs.check() if violation.rule == "undirected_code"]
    assert len(violations) == 20
    assert {violation.total for violation in violations} == {50}
    assert violations[0].id == "p0"
    assert "1 of its tokens" in violations[0].detail


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_no_such_collection(breaking: psycopg.Connection[Any], name: str):
    """An unknown collection raises an error."""
    with pytest.raises(psycopg.Error, match="no collection") as raised:
        found(breaking, name)
    assert raised.value.sqlstate == "PGR04"


def test_row_level_security_that_hides_rows(postgres: PostgresUnderTest, database_url: str, corpus: Corpus):
    """A role that cannot see all passages is refused."""
    role = postgres.create_role()
    with pgretrieval.connect(url=database_url) as database, psycopg.connect(database_url, autocommit=True) as owner:
        fill(database, corpus)
        owner.execute(f"grant usage on schema pgretrieval to {role[0]}")
        owner.execute(f"grant select on all tables in schema pgretrieval to {role[0]}")
        url = postgres.url_of(str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]), *role)
        with pgretrieval.connect(url=url) as reader:
            assert reader.get_collection("docs").check() == []
            isolate_tenants(owner)
            with pytest.raises(pgretrieval.SchemaError, match="row-level security hides passages of collection 'docs'"):
                reader.get_collection("docs").check()
        with psycopg.connect(url) as reading, pytest.raises(psycopg.Error, match="row-level security") as raised:
            found(reading, "docs")
        assert "BYPASSRLS" in str(raised.value.diag.message_hint)
        assert database.get_collection("docs").check() == []
        owner.execute(f"drop owned by {role[0]}")


def test_progress_is_reported(filled: pgretrieval.RetrievalDatabase):
    """Progress is reported by part."""
    told: list[tuple[str, int, int]] = []
    filled.get_collection("docs").check(stage=lambda *step: told.append(step))
    names = list(dict.fromkeys(name for name, _, _ in told))
    parts = ["passages", "codes", "vectors", "codebook", "postings", "posting_codes", "words", "orphans", "changes"]
    assert names == [*parts, "queue", "anchors", "decoding"]
    assert told[-1] == ("decoding", 300, 300)


# ---- attached collections


@pytest.fixture
def following(database: pgretrieval.RetrievalDatabase, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """ "docs" follows a table of five rows, one of them without text, and "parts" a query that yields two passages per row."""
    connection.execute("create table articles (id integer primary key, body text)")
    connection.execute("insert into articles select n, 'text of ' || n from generate_series(1, 4) as n union all select 5, ' '")
    query = "select id as key, id || part as id, body || part as body from public.articles, unnest(array['a', 'b']) as part"
    made = [database.create_collection(name, encoder=HashedEncoder()) for name in ("docs", "parts")]
    database.attach("docs", "public.articles", text="body")
    database.attach("parts", "public.articles", text="body", query=query)
    database.work(made)
    return connection


OFF, ON = "alter table articles disable trigger user", "alter table articles enable trigger user"
FOLLOWING = {
    "missing_passage": [OFF, "insert into articles values (9, 'nine')", ON],
    "surplus_passage": [OFF, "delete from articles where id = 2", ON],
    "missing_trigger": [OFF],
    "lost_source": ["alter table articles rename body to text"],
    "orphan_queue_entry": [
        "delete from pgretrieval.attachment",
        "insert into pgretrieval.queue (collection_id, key) values (1, 'x'), (2, null)",
    ],
}


def test_a_collection_that_follows_a_table(following: psycopg.Connection[Any], database: pgretrieval.RetrievalDatabase):
    """Queued, waiting and parked rows, and rows without text, are not missing passages."""
    for change in ("select 1", "insert into articles values (9, 'nine')", "delete from articles where id = 2", "truncate articles"):
        following.execute(change)
        assert found(following, "docs") == found(following, "parts") == []
    database.work([database.get_collection(name, encoder=HashedEncoder()) for name in ("docs", "parts")])
    assert found(following, "docs") == found(following, "parts") == []


@pytest.mark.parametrize("name", ["docs", "parts"])
@pytest.mark.parametrize("rule", FOLLOWING)
def test_each_rule_of_following(following: psycopg.Connection[Any], rule: str, name: str):
    """Changes that no trigger has queued are found."""
    for statement in FOLLOWING[rule]:
        following.execute(statement)
    assert {row[0] for row in found(following, name)} == {rule}
