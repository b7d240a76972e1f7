"""Each part of `check` on a consistent collection of three passages, and after one violation at a time."""

from __future__ import annotations

import struct
from typing import Any

import psycopg
import pytest

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
Row = tuple[str, str | None, str]
DIM = 48
CODEBOOK = 7
# (passage, text, centroids of its tokens); passage 3 was added after the build
PASSAGES = ((1, "red fox", (0, 1)), (2, "fox", (1,)), (3, "cat", (2,)))


def axis(place: int, length: float = 1.0, dim: int = DIM) -> str:
    """A vector along one axis."""
    return str([length if number == place else 0.0 for number in range(dim)])


@pytest.fixture
def sound(connection: Connection) -> Connection:
    """A collection that keeps all kinds of vectors, with proxies and a codebook of three centroids along the first axes."""
    number = connection.execute(
        "select pgretrieval.create_collection('docs', %s, bits => 1, keep_vectors => true, dense => 'kept')", [DIM]
    ).fetchone()[0]
    assert number == 1
    connection.execute(
        """insert into pgretrieval.codebook
               (codebook_id, collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
           overriding system value values (%s, 1, %s, 1, '{0}', '{-0.5,0.5}', 3, 2, 3)""",
        [CODEBOOK, DIM],
    )
    connection.execute("update pgretrieval.collection set codebook_id = %s, dense_dim = 2, mean_words = 1.5", [CODEBOOK])
    connection.execute("insert into pgretrieval.proxy_model values (%s, 0, '', '', '', '')", [CODEBOOK])
    connection.execute("select pgretrieval.create_partition('proxy', 'codebook_id', %s)", [CODEBOOK])
    connection.execute("select nextval('pgretrieval.passage_id_1') from generate_series(1, 3)")
    for place in range(3):
        connection.execute("insert into pgretrieval.centroid values (1, %s, %s, %s::halfvec)", [CODEBOOK, place, axis(place)])
    for passage_id, body, centroids in PASSAGES:
        connection.execute(
            """insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count)
               values (1, %s, 'k' || %s, %s, %s)""",
            [passage_id, passage_id, body, len(centroids)],
        )
        connection.execute(
            """insert into pgretrieval.token_code (collection_id, codebook_id, passage_id, centroid_ids, residuals)
               values (1, %s, %s, %s, %s)""",
            [CODEBOOK, passage_id, struct.pack(f"<{len(centroids)}H", *centroids), b"\xff" * (DIM // 8 * len(centroids))],
        )
        connection.execute(
            "insert into pgretrieval.token_vector (collection_id, passage_id, vectors) values (1, %s, %s::halfvec[])",
            [passage_id, [axis(centroid) for centroid in centroids]],
        )
        connection.execute(
            "insert into pgretrieval.dense_vector (collection_id, passage_id, vector) values (1, %s, '[0,1]')", [passage_id]
        )
        connection.execute(
            "insert into pgretrieval.proxy (codebook_id, passage_id, vector) values (%s, %s, %s::halfvec)",
            [CODEBOOK, passage_id, axis(0, dim=512)],
        )
    for centroid, segment, listed in ((0, 0, [1]), (1, 0, [1, 2]), (2, 3, [3])):
        connection.execute("insert into pgretrieval.posting values (1, %s, %s, 0, %s, %s)", [CODEBOOK, centroid, segment, listed])
    for word, segment, listed in (("fox", 0, [1, 2]), ("red", 0, [1]), ("cat", 3, [3])):
        connection.execute(
            "insert into pgretrieval.word_posting values (1, %s, 0, %s, %s, %s)", [word, segment, listed, [1.0] * len(listed)]
        )
    connection.execute(
        """insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows)
           values (1, %s, 3, 1, 1, 1)""",
        [CODEBOOK],
    )
    return connection


def broken(connection: Connection, call: str, statement: str | None) -> list[Row]:
    """Violations that a part finds after the statement, which is rolled back."""
    found = (
        f"select found.* from pgretrieval.collection c cross join lateral {call} as found where c.name = 'docs' order by 1, 2, 3"
    )
    with connection.transaction(force_rollback=True):
        if statement is not None:
            assert connection.execute(statement).rowcount > 0, statement
        return connection.execute(found).fetchall()


def hold(connection: Connection, call: str, cases: dict[str, list[Row]]) -> None:
    """A part reports nothing for a consistent collection, and exactly the expected violations otherwise."""
    assert broken(connection, call, None) == []
    for statement, expected in cases.items():
        assert broken(connection, call, statement) == expected, statement


def test_check_passages(sound: Connection):
    """Every missing part of a passage is found."""
    missing = "delete from pgretrieval.{} where passage_id = 2"
    hold(
        sound,
        "pgretrieval.check_passages(c)",
        {
            missing.format("token_code"): [("missing_codes", "k2", "no codes under codebook 7")],
            missing.format("proxy"): [("missing_proxy", "k2", "no proxy under codebook 7")],
            missing.format("token_vector"): [("missing_token_vectors", "k2", "the collection keeps token vectors")],
            missing.format("dense_vector"): [("missing_dense_vector", "k2", "the collection keeps dense vectors")],
            "update pgretrieval.token_vector set encoding = 5 where passage_id = 1": [
                ("missing_token_vectors", "k1", "the collection keeps token vectors")
            ],
        },
    )
    sound.execute("update pgretrieval.collection set keep_vectors = false, dense = null")
    sound.execute("delete from pgretrieval.proxy_model")
    for table in ("token_vector", "dense_vector", "proxy"):  # none of these is required then
        assert broken(sound, "pgretrieval.check_passages(c)", missing.format(table)) == []


def test_check_codes(sound: Connection):
    """Codes of a wrong number of tokens are found."""
    said = "{} tokens; codes have {} bytes of centroid numbers and {} of residuals, {} and {} were right"
    hold(
        sound,
        "pgretrieval.check_codes(c)",
        {
            "update pgretrieval.passage set token_count = 3 where passage_id = 1": [
                ("wrong_token_count", "k1", said.format(3, 4, 12, 6, 18))
            ],
            "update pgretrieval.token_code set centroid_ids = centroid_ids || '\\x00' where passage_id = 2": [
                ("wrong_token_count", "k2", said.format(1, 3, 6, 2, 6))
            ],
            "update pgretrieval.token_code set residuals = substr(residuals, 2) where passage_id = 3": [
                ("wrong_token_count", "k3", said.format(1, 2, 5, 2, 6))
            ],
        },
    )
    said_so = "codes of 1 vectors, every passage has 2"
    assert broken(sound, "pgretrieval.check_codes(c)", "update pgretrieval.collection set vectors_per_passage = 2") == [
        ("wrong_vectors_per_passage", "k2", said_so),
        ("wrong_vectors_per_passage", "k3", said_so),
    ]
    sound.execute("insert into pgretrieval.rebuild values (1, '{}', 48, 0, 7, null, true, 1)")  # k1 has its new count
    assert broken(sound, "pgretrieval.check_codes(c)", "update pgretrieval.passage set token_count = 3") == [
        ("wrong_token_count", "k1", said.format(3, 4, 12, 6, 18))
    ]


def test_check_vectors(sound: Connection):
    """Stored vectors of a wrong dimension, length or number are found."""
    hold(
        sound,
        "pgretrieval.check_vectors(c)",
        {
            "update pgretrieval.token_vector set vectors = vectors[1:1] where passage_id = 1": [
                ("wrong_token_count", "k1", "2 tokens, 1 token vectors")
            ],
            "update pgretrieval.collection set vectors_per_passage = 1": [
                ("wrong_vectors_per_passage", "k1", "2 token vectors, every passage has 1")
            ],
            "update pgretrieval.token_vector set vectors[2] = '[0,1]' where passage_id = 1": [
                ("wrong_dimension", "k1", "token vectors have 2 to 48 dimensions, the collection 48")
            ],
            f"update pgretrieval.token_vector set vectors[2] = '{axis(1, 0.5)}' where passage_id = 1": [
                ("not_unit_length", "k1", "token vectors have lengths of 0.5000 to 1.0000")
            ],
            "update pgretrieval.dense_vector set vector = '[0,1,0]' where passage_id = 3": [
                ("wrong_dimension", "k3", "the dense vector has 3 dimensions, those of the collection 2")
            ],
            "update pgretrieval.dense_vector set vector = '[3,4]' where passage_id = 3": [
                ("not_unit_length", "k3", "the dense vector has a length of 5.0000")
            ],
        },
    )


def test_check_codebook(sound: Connection):
    """An invalid codebook is found."""
    dims = "{} dimensions, centroids 48 to 48, the collection {}"
    numbers = "{} cut-offs and {} weights for 1 bits; they must be finite, the cut-offs ascending"
    hold(
        sound,
        "pgretrieval.check_codebook(c)",
        {
            "update pgretrieval.codebook set dim = 96": [("wrong_dimension", "codebook 7", dims.format(96, 48))],
            "update pgretrieval.collection set dim = 96": [("wrong_dimension", "codebook 7", dims.format(48, 96))],
            "delete from pgretrieval.centroid where centroid_id = 2": [
                ("bad_codebook", "codebook 7", "2 centroids with numbers 0 to 1; there were 3 at the training")
            ],
            "update pgretrieval.collection set bits = 4": [("bad_codebook", "codebook 7", "1 bits, the collection 4")],
            "update pgretrieval.codebook set cutoffs = '{0,1}'": [("bad_codebook", "codebook 7", numbers.format(2, 2))],
            "update pgretrieval.codebook set weights = '{1}'": [("bad_codebook", "codebook 7", numbers.format(1, 1))],
            "update pgretrieval.codebook set weights[1] = 'NaN'": [("bad_codebook", "codebook 7", numbers.format(1, 2))],
            "update pgretrieval.codebook set weights = '{0.5,1}'": [
                ("bad_codebook", "codebook 7", "weights that are not whole multiples of a 127th of the largest magnitude; rebuild")
            ],
            f"update pgretrieval.centroid set vector = '{axis(1, 0.5)}' where centroid_id = 1": [
                ("not_unit_length", "centroid 1", "codebook 7, a length of 0.5000")
            ],
        },
    )
    sound.execute("select pgretrieval.create_collection('other', 48)")
    assert broken(sound, "pgretrieval.check_codebook(c)", "update pgretrieval.codebook set collection_id = 2") == [
        ("bad_codebook", "codebook 7", "the active codebook is not one of this collection")
    ]


def test_check_postings(sound: Connection):
    """Missing and superfluous postings are found."""
    change = "update pgretrieval.posting set passage_ids = passage_ids || {} where centroid_id = {}"
    hold(
        sound,
        "pgretrieval.check_postings(c)",
        {
            "delete from pgretrieval.posting where centroid_id = 0": [("missing_posting", "k1", "not listed for centroid 0")],
            change.format(2, 0): [("stray_posting", "k2", "listed for centroid 0, which no token has")],
            "insert into pgretrieval.posting values (1, 7, 1, 0, 3, '{2}')": [
                ("repeated_posting", "k2", "listed 2 times for centroid 1")
            ],
            change.format(9, 1): [("orphan_posting", "passage_id 9", "listed for 1 centroids; there is no such passage")],
            "update pgretrieval.codebook set centroid_count = 2": [
                ("unknown_centroid", "k3", "a token has centroid 2, the codebook 2 centroids")
            ],
        },
    )
    sound.execute("insert into pgretrieval.removed_passage (collection_id, passage_id) values (1, 9)")
    assert broken(sound, "pgretrieval.check_postings(c)", change.format(9, 1)) == []


def test_check_words(sound: Connection):
    """Missing and superfluous postings of words are found."""
    change = "update pgretrieval.word_posting set passage_ids = passage_ids || {0}, weights = weights || 1::real where word = '{1}'"
    weights = "1 passages and {} weights in segment 0; weights must be finite and above 0"
    hold(
        sound,
        "pgretrieval.check_words(c)",
        {
            "delete from pgretrieval.word_posting where word = 'red'": [("missing_word", "k1", "not listed for 'red'")],
            "update pgretrieval.word_posting set words = '{red,fox}' where word = 'fox'": [
                ("missing_word", "k1", "not listed for 'fox'"),
                ("repeated_word", "k1", "listed 2 times for 'red'"),
            ],
            "update pgretrieval.word_posting set words = '{red,fox}' where word = 'red'": [
                ("bad_word_weights", "red, fox", "1 passages and 1 weights in segment 0; weights must be finite and above 0")
            ],
            change.format(2, "red"): [("stray_word", "k2", "listed for 'red', which is not in its text")],
            change.format(2, "fox"): [("repeated_word", "k2", "listed 2 times for 'fox'")],
            change.format(9, "fox"): [("orphan_word", "passage_id 9", "listed for 1 words; there is no such passage")],
            "update pgretrieval.word_posting set weights = '{1,1}' where word = 'red'": [
                ("bad_word_weights", "'red'", weights.format(2))
            ],
            "update pgretrieval.word_posting set weights = '{NaN}' where word = 'red'": [
                ("bad_word_weights", "'red'", weights.format(1))
            ],
            "update pgretrieval.word_posting set weights = '{0}' where word = 'red'": [
                ("bad_word_weights", "'red'", weights.format(1))
            ],
        },
    )
    sound.execute("insert into pgretrieval.removed_passage (collection_id, passage_id) values (1, 9)")
    assert broken(sound, "pgretrieval.check_words(c)", change.format(9, "fox")) == []


def test_check_orphans(sound: Connection):
    """Orphaned rows are found."""
    nobody = "a row of {}; there is no such passage"
    another = f"""insert into pgretrieval.codebook
                      (codebook_id, collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
                  overriding system value values (8, 1, {DIM}, 1, '{{0}}', '{{-1,1}}', 3, 2, 3)"""
    cases: dict[str, list[Row]] = {
        f"insert into pgretrieval.{statement}": [("orphan_row", "passage_id 9", nobody.format(statement.split()[0]))]
        for statement in (
            "token_code values (1, 7, 0, 9, '', '')",
            "token_vector (collection_id, passage_id, vectors) values (1, 9, '{}')",
            "dense_vector (collection_id, passage_id, vector) values (1, 9, '[0,1]')",
            "proxy select 7, 0, 9, vector from pgretrieval.proxy limit 1",
        )
    }
    cases |= {
        f"insert into pgretrieval.{statement}": [
            ("orphan_row", "codebook 9", f"1 rows of {statement.split()[0]}; there is no such codebook")
        ]
        for statement in (
            "centroid values (1, 9, 0, '[0,1]')",
            "token_code values (1, 9, 0, 1, '', '')",
            "posting values (1, 9, 0, 0, 0, '{1}')",
            "segment (collection_id, codebook_id, segment, passages, tokens, posting_rows) values (1, 9, 3, 1, 1, 1)",
        )
    }
    cases[another] = [("old_codebook", "codebook 8", "the active one is 7, and no rebuild is under way")]
    cases["insert into pgretrieval.token_vector select 1, 0, 1, vectors, 5 from pgretrieval.token_vector limit 1"] = [
        ("old_vectors", "encoding 5", "1 rows of token_vector; those that are used have 0, and no rebuild is under way")
    ]
    hold(sound, "pgretrieval.check_orphans(c)", cases)
    sound.execute("insert into pgretrieval.rebuild (collection_id, dim, encoding) values (1, 48, 0)")
    assert broken(sound, "pgretrieval.check_orphans(c)", another) == []


def test_check_changes(sound: Connection):
    """Unmergeable segments, wrong removals and repeated ids are found."""
    hold(
        sound,
        "pgretrieval.check_changes(c)",
        {
            "insert into pgretrieval.removed_passage (collection_id, passage_id) values (1, 2)": [
                ("removed_passage_there", "k2", "passage_id 2 is noted as removed")
            ],
            "update pgretrieval.segment set posting_rows = 2": [("wrong_segment", "segment 3", "1 rows of postings; 2 are noted")],
            "update pgretrieval.segment set posting_rows = 0, compacting = true": [
                ("wrong_segment", "segment 3", "1 rows of postings; 0 are noted, and it is being merged")
            ],
            "delete from pgretrieval.segment": [
                ("wrong_segment", "segment 3", "1 rows of postings of words, and it is not noted"),
                ("wrong_segment", "segment 3", "1 rows of postings; none are noted"),
            ],
            "update pgretrieval.passage set passage_id = 30 where passage_id = 3": [
                ("sequence_behind", None, "the largest passage_id is 30, the sequence is at 3")
            ],
        },
    )
    half = "update pgretrieval.segment set posting_rows = 2, compacting = true"  # one row is merged already
    assert broken(sound, "pgretrieval.check_changes(c)", half) == []


def follow(connection: Connection) -> None:
    """ "docs" follows a table whose rows are its passages, and one row without text."""
    connection.execute("create table articles (id text primary key, body text)")
    connection.execute("insert into articles select key, body from pgretrieval.passage")
    connection.execute("insert into articles values ('k9', ' ')")
    connection.execute("select pgretrieval.attach('docs', 'articles', 'id', array['body'])")
    connection.execute("delete from pgretrieval.queue")


def test_check_queue(sound: Connection):
    """Differences between a collection and its table that are not queued are found."""
    hold(
        sound,
        "pgretrieval.check_queue(c)",
        {
            "insert into pgretrieval.queue (collection_id, key) values (1, 'k1'), (1, null)": [
                ("orphan_queue_entry", "every key", "the collection is not attached to a table"),
                ("orphan_queue_entry", "k1", "the collection is not attached to a table"),
            ]
        },
    )
    follow(sound)
    hold(
        sound,
        "pgretrieval.check_queue(c)",
        {
            "insert into pgretrieval.source_passage (collection_id, passage_key, source_key) values (1, 'k8', 'r8')": [
                ("orphan_source", "k8", "row 'r8' is noted as its source, and nothing is queued for that")
            ],
        },
    )
    with sound.transaction(force_rollback=True):
        sound.execute("insert into articles values ('k4', 'tea'); delete from articles where id = 'k1'")
        assert broken(sound, "pgretrieval.check_queue(c)", None) == []  # both are queued
        assert broken(sound, "pgretrieval.check_queue(c)", "delete from pgretrieval.queue") == [
            ("missing_passage", "k4", "its row is there and not queued"),
            ("surplus_passage", "k1", "its row is gone and not queued"),
        ]
    with sound.transaction(force_rollback=True):
        sound.execute("alter table articles disable trigger user")
        assert broken(sound, "pgretrieval.check_queue(c)", None) == [
            ("missing_trigger", "public.articles", "changes are not queued: its triggers are disabled")
        ]
    sound.execute("alter table articles rename body to text")
    assert broken(sound, "pgretrieval.check_queue(c)", None) == [
        ("lost_source", "public.articles", "public.articles has no column 'body'")
    ]


def test_check_parts(connection: Connection):
    """Exactly the existing parts are run."""
    there = connection.execute(
        """select proname from pg_proc
           where pronamespace = 'pgretrieval'::regnamespace and proargtypes[0] = 'pgretrieval.collection'::regtype
             and proname like 'check\\_%'"""
    ).fetchall()
    parts = connection.execute("select pgretrieval.check_parts()").fetchone()[0]
    assert sorted(f"check_{part}" for part in parts) == sorted(name for (name,) in there)
    assert parts[0] == "passages"


def test_check(sound: Connection):
    """The requested parts run, totals count all violations, and at most 20 are shown."""
    assert sound.execute("select * from pgretrieval.check('docs')").fetchall() == []
    sound.execute("delete from pgretrieval.proxy where passage_id > 1; delete from pgretrieval.word_posting where word = 'red'")
    proxies = [("missing_proxy", key, "no proxy under codebook 7", 2) for key in ("k2", "k3")]
    word = [("missing_word", "k1", "not listed for 'red'", 1)]
    assert sound.execute("select * from pgretrieval.check('docs')").fetchall() == proxies + word
    assert sound.execute("select * from pgretrieval.check('docs', 'words')").fetchall() == word
    sound.execute(
        "insert into pgretrieval.queue (collection_id, key) select 1, to_char(n, 'FM00') from generate_series(1, 25) as n"
    )
    said = "the collection is not attached to a table"
    assert sound.execute("select * from pgretrieval.check('docs', 'queue')").fetchall() == [
        ("orphan_queue_entry", f"{number:02}", said, 25) for number in range(1, 21)
    ]
    for arguments, state, message in (
        ("'docs', 'word'", "PGR05", "part is 'word'"),
        ("'nobody'", "PGR04", "no collection 'nobody'"),
    ):
        with pytest.raises(psycopg.Error, match=message) as caught:
            sound.execute(f"select * from pgretrieval.check({arguments})")
        assert caught.value.sqlstate == state
