"""The internal functions of searches and single changes in SQL, on hand-made rows."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest

from pgretrieval.db.tables.codes import tail_bytes
from pgretrieval.db.wire import id_bytes
from pgretrieval.sqlalchemy import vector_array

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
DIM = 48
INDEX_CENTROIDS = "select pgretrieval.index_vectors('centroid_' || %s, %s, 'codebook_id', %s)"


def vector(*head: float) -> str:
    """A vector whose first numbers are given; the others are 0."""
    return str([*head, *[0.0] * (DIM - len(head))])


def array(*vectors: str) -> str:
    """The text of a `vector[]`."""
    return "{" + ",".join(f'"{one}"' for one in vectors) + "}"


@pytest.fixture
def held(connection: Connection) -> tuple[int, int]:
    """A collection and its codebook of 1 bit (levels -0.5 and 0.5 at the cut-off 0) with three centroids along the first axes."""
    number = connection.execute("select pgretrieval.create_collection('docs', %s, bits => 1)", [DIM]).fetchone()[0]
    codebook = connection.execute(
        """insert into pgretrieval.codebook (collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
           values (%s, %s, 1, '{0}', '{-0.5,0.5}', 3, 2, 4) returning codebook_id""",
        [number, DIM],
    ).fetchone()[0]
    connection.execute("update pgretrieval.collection set codebook_id = %s", [codebook])
    for place in range(3):
        axis = vector(*[0.0] * place, 1.0)
        connection.execute(
            "insert into pgretrieval.centroid values (%s, %s, %s, %s::vector::halfvec)", [number, codebook, place, axis]
        )
    return number, codebook


def add(connection: Connection, held: tuple[int, int], passage_id: int, centroids: Sequence[int], body: str = "text") -> None:
    """Add a passage whose tokens have these centroids and residuals of ones, with its postings."""
    number, codebook = held
    connection.execute(
        """insert into pgretrieval.passage (collection_id, passage_id, key, body, metadata, token_count)
           values (%s, %s, 'k' || %s, %s, jsonb_build_object('n', %s::integer), %s)""",
        [number, passage_id, passage_id, body, passage_id, len(centroids)],
    )
    ids, residuals = struct.pack(f"<{len(centroids)}H", *centroids), b"\xff" * (DIM // 8 * len(centroids))
    connection.execute(
        """insert into pgretrieval.token_code (collection_id, codebook_id, passage_id, centroid_ids, residuals)
           values (%s, %s, %s, %s, %s)""",
        [number, codebook, passage_id, ids, residuals],
    )
    for centroid in set(centroids):
        connection.execute(
            """insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids)
               values (%s, %s, %s, %s, array[%s::integer])""",
            [number, codebook, centroid, passage_id, passage_id],
        )


def test_known_collection(connection: Connection, held: tuple[int, int]):
    """The collection's row is returned, or an error raised."""
    assert connection.execute("select collection_id from pgretrieval.known_collection('docs')").fetchone() == (held[0],)
    with pytest.raises(psycopg.Error, match="no collection 'nobody'"):
        connection.execute("select pgretrieval.known_collection('nobody')")


def test_checked_vectors_come_back_as_they_are(connection: Connection):
    """Valid arrays are returned unchanged; invalid ones are tested with search."""
    found = connection.execute("select pgretrieval.checked_vectors('it', %s::vector[], 48)::text", [array(vector(1), vector(2))])
    assert found.fetchone()[0].count("[") == 2
    with pytest.raises(psycopg.Error, match=r"the vectors of it have 2 dimensions \(first at token 2\), but the collection has 48"):
        connection.execute("select pgretrieval.checked_vectors('it', %s::vector[], null)", [array(vector(1), "[1,2]")])


def test_plaid_settings(connection: Connection, held: tuple[int, int]):
    """Defaults follow from the tokens per passage and of the query, and given numbers are used."""
    row = "(select c from pgretrieval.collection c)"
    settings = f"select probes, candidates, pruning from pgretrieval.plaid_settings({row}, %s, %s, %s, 10)"
    for k, probes, candidates, expected in (
        (10, None, None, (24, 1024, 128)),
        (10, 3, 77, (3, 77, 128)),
        (500, None, None, (24, 2500, 2500)),
    ):
        assert connection.execute(settings, [k, probes, candidates]).fetchone() == expected
    connection.execute("update pgretrieval.codebook set tokens = 600")
    assert connection.execute(settings, [10, None, None]).fetchone() == (24, 133, 26)
    for tokens, candidates in ((None, 133), (20, 133), (30, 100), (45, 66), (100, 64)):
        longer = connection.execute(settings.replace(", 10)", ", %s)"), [10, None, None, tokens]).fetchone()
        assert longer == (24, candidates, 26)
    connection.execute("update pgretrieval.collection set keep_vectors = true")
    assert connection.execute(settings, [10, None, None]).fetchone() == (24, 113, 64)
    with pytest.raises(psycopg.Error, match="candidates is 9, less than k, 10"):
        connection.execute(settings, [10, None, 9])


def test_preset_options(connection: Connection, held: tuple[int, int]):
    """The first row whose limits hold gives the options; a collection without a preset has none."""
    options = "select pgretrieval.preset_options(c, %s) ->> 'probes' from pgretrieval.collection c"
    assert connection.execute(options, [10]).fetchone() == (None,)
    rows = '[{"k": 10, "probes": 1}, {"passages": 50, "probes": 2}, {"probes": 3}]'
    connection.execute("update pgretrieval.collection set preset = jsonb_build_object('name', 'x', 'search', %s::jsonb)", [rows])
    for k, passages, probes in ((10, 1000, "1"), (11, 50, "2"), (11, 51, "3")):
        connection.execute("update pgretrieval.codebook set passages = %s", [passages])
        assert connection.execute(options, [k]).fetchone() == (probes,)
    connection.execute("""update pgretrieval.collection set preset = '{"name": "x", "search": []}'""")
    assert connection.execute("select pgretrieval.preset_options(c, 1) from pgretrieval.collection c").fetchone() == ({},)


def test_check_search(connection: Connection):
    """Invalid numbers are refused under the argument's name."""
    connection.execute("select pgretrieval.check_search(null, 1), pgretrieval.check_search(null, 100000000, 1000000)")
    for arguments, said in (
        ("0", "k is 0"),
        ("null", "k is null"),
        ("100000001", "k is 100000001"),
        ("0, named => 'n'", "n is 0"),
        ("1, 0", "probes is 0"),
        ("1, 1000001", "probes is 1000001"),
    ):
        with pytest.raises(psycopg.Error, match=said) as caught:
            connection.execute(f"select pgretrieval.check_search(null, {arguments})")  # type: ignore[call-overload]
        assert caught.value.sqlstate == "PGR05"


@pytest.mark.parametrize(("form", "ids"), [("H", [1, 258, 65_535]), ("I", [1, 65_536, 16_909_060])])
def test_centroid_at_reads_little_endian_numbers(connection: Connection, form: str, ids: list[int]):
    """Numbers of two and of four bytes are read in little-endian order, and without a sign."""
    stored = struct.pack(f"<3{form}", *ids)
    for token, expected in enumerate(ids):
        found = connection.execute("select pgretrieval.centroid_at(%s, %s, %s)", [stored, token, struct.calcsize(form)])
        assert found.fetchone() == (expected,)


def test_the_client_cuts_residuals_where_sql_does(connection: Connection):
    """The client leaves as many bytes in line as `tail_bytes` says, at every size of passages."""
    for width, id_width in [(64, 2), (64, 4), (13, 2)]:
        lengths = np.arange(700)
        found = connection.execute(
            "select pgretrieval.tail_bytes(place * %s, place * %s) from generate_series(0, 699) as place", [width, id_width]
        ).fetchall()
        cut = tail_bytes(lengths * width, lengths * id_width)
        assert cut.tolist() == [row[0] for row in found]
        whole = lengths * width - cut
        assert np.any(cut)
        assert not np.any(whole[cut > 0] % 1996)


@pytest.mark.parametrize("centroids", [1, 65_536, 65_537])
def test_the_client_knows_how_many_bytes_an_id_takes(connection: Connection, held: tuple[int, int], centroids: int):
    """Client and server agree on the size of a centroid id, which is two bytes where those are enough."""
    connection.execute("update pgretrieval.codebook set centroid_count = %s", [centroids])
    assert connection.execute("select id_bytes from pgretrieval.codebook").fetchone() == (id_bytes(centroids),)
    assert id_bytes(centroids) == (2 if centroids <= 65_536 else 4)


def test_probe_scores_centroids_over_the_floor(connection: Connection, held: tuple[int, int]):
    """Each token's centroids score what exceeds .8 of the last, at least 0; all of them, what they score."""
    connection.execute(INDEX_CENTROIDS, [held[0], DIM, held[1]])
    query = array(vector(0.8, 0.5, 0.25), vector(0.5, 0.0, 0.0))
    found = connection.execute(
        "select token, centroid_id, score, floor from pgretrieval.probe(%s, %s, %s::vector[], 2) order by 1, 3 desc", [*held, query]
    ).fetchall()
    near = functools.partial(pytest.approx, abs=1e-3)
    # the first token scores .8 and .5, the second .5 and 0
    assert [row for row in found if row[0] == 1] == [(1, 0, near(0.4), near(0.4)), (1, 1, near(0.1), near(0.4))]
    assert found[2] == (2, 0, near(0.5), near(0))
    everything = connection.execute(
        "select centroid_id, score, floor from pgretrieval.probe(%s, %s, %s::vector[], 9) where token = 1 order by 1",
        [*held, query],
    ).fetchall()
    assert everything == [(place, near(score), 0) for place, score in enumerate((0.8, 0.5, 0.25))]


def test_share_among_counts_a_sample(connection: Connection, held: tuple[int, int]):
    """The share of the restriction is estimated from a sample."""
    share = "select pgretrieval.share_among(%s, %s::jsonpath, %s::text[])"
    for passage_id in range(1, 41):
        add(connection, held, passage_id, [0])
    assert connection.execute(share, [held[0], None, None]).fetchone() == (1,)
    assert connection.execute(share, [held[0], "$.n <= 10", None]).fetchone() == (0,)  # there are no statistics before ANALYZE
    connection.execute("analyze pgretrieval.passage")
    assert connection.execute(share, [held[0], "$.n <= 10", None]).fetchone() == (0.25,)
    assert connection.execute(share, [held[0], None, ["k1", "k2", "k77"]]).fetchone() == (pytest.approx(0.05),)


@pytest.mark.parametrize("analyzed", [False, True])
def test_candidates_among_and_ranked_among(connection: Connection, held: tuple[int, int], analyzed: bool):
    """Both plans return the same n candidates, listed passages first."""
    for passage_id, centroids in ((1, [0]), (2, [0, 1]), (3, [1]), (4, [2]), (5, [2])):
        add(connection, held, passage_id, centroids)
    if analyzed:
        connection.execute("analyze pgretrieval.passage")

    def among(n: int, filter_: str | None = None, keys: list[str] | None = None) -> list[tuple[int, float]]:
        return connection.execute(
            """select passage_id, score
               from pgretrieval.candidates_among(%s, %s, '{0,1}', '{0.5,0.25}', %s, %s::jsonpath, %s::text[])""",
            [*held, n, filter_, keys],
        ).fetchall()

    assert among(3) == [(2, 0.75), (1, 0.5), (3, 0.25)]
    assert among(9) == [(2, 0.75), (1, 0.5), (3, 0.25), (4, 0), (5, 0)]
    assert among(9, "$.n >= 3") == [(3, 0.25), (4, 0), (5, 0)]
    assert among(2, "$.n >= 3") == [(3, 0.25), (4, 0)]
    assert among(9, None, ["k5", "k1", "other"]) == [(1, 0.5), (5, 0)]
    assert among(9, "$.n > 1", ["k5", "k1"]) == [(5, 0)]
    by_token = """select passage_id, score from pgretrieval.candidates_among(
        %s, %s, '{0,1,0,1}', '{0.5,0.25,0.125,1}', 3, null, null, '{7,7,9,9}')"""
    assert connection.execute(by_token, held).fetchall() == [(2, 1.5), (3, 1.25), (1, 0.625)]
    listed = connection.execute(
        """select passage_id from pgretrieval.ranked_among(
               %s, 'select 0::smallint as bucket, 4 as passage_id, 1.5 as score', 9, null, null, false)""",
        [held[0]],
    )
    assert listed.fetchall() == [(4,)]


def test_candidates_in_sql(connection: Connection, held: tuple[int, int]):
    """All matches come without an index; with one, those of the postings, and no more than are worth decoding."""
    connection.execute(INDEX_CENTROIDS, [held[0], DIM, held[1]])
    for passage_id, centroids in ((1, [0]), (2, [1]), (3, [2])):
        add(connection, held, passage_id, centroids)
    statement = (
        "select pgretrieval.candidates_in_sql("
        "(select c from pgretrieval.collection c), %s::vector[], 1, %s, null, %s::jsonpath, null)"
    )
    query = array(vector(0.0, 1.0))
    assert connection.execute(statement, [query, 1, None]).fetchone()[0] == [2]
    assert connection.execute(statement, [query, 3, "$.n > 1"]).fetchone()[0] == [2, 3]
    connection.execute("update pgretrieval.collection set codebook_id = null")
    assert sorted(connection.execute(statement, [query, 1, "$.n > 1"]).fetchone()[0]) == [2, 3]


def test_score_passages(connection: Connection, held: tuple[int, int]):
    """Scores use each token's own codes, scaled to unit length."""
    add(connection, held, 1, [0, 1])
    add(connection, held, 2, [2])
    query = array(vector(1.0), vector(0.0, 0.0, -1.0))
    # every residual is .5 in every dimension; a token decodes to its axis + .5, length sqrt(1.5² + 47 · .25)
    length = (1.5**2 + (DIM - 1) * 0.25) ** 0.5
    expected = [(1, (1.5 - 0.5) / length), (2, (0.5 - 1.5) / length)]
    decoded = connection.execute(
        """select passage_id, score from pgretrieval.score_passages(
               (select c from pgretrieval.collection c), array[1, 2], %s::vector[]) order by 1""",
        [query],
    )
    assert decoded.fetchall() == [(number, pytest.approx(score, abs=1e-5)) for number, score in expected]


_ROUGH = """select passage_id, score from pgretrieval.score_roughly(
    (select c from pgretrieval.collection c), array[1, 2], %s::vector[], %s::integer[], %s::real[]) order by 1"""


def test_rough_scores_of_some_centroids(connection: Connection, held: tuple[int, int]):
    """Only tokens of the given centroids count, and no query token adds less than its floor."""
    add(connection, held, 1, [0, 1])
    add(connection, held, 2, [2])
    query = array(vector(1.0), vector(0.0, 0.0, -1.0))
    # every residual is .5 in every dimension; vectors are not scaled
    for centroid_ids, floors, expected in (
        ([0, 1, 2], [-9, -9], [(1, 1.5 - 0.5), (2, 0.5 - 1.5)]),
        ([1], [-9, -9], [(1, 0.5 - 0.5)]),
        ([0], [0.125, 0.75], [(1, 1.5 + 0.75)]),
        ([7], [0, 0], []),
    ):
        found = connection.execute(_ROUGH, [query, centroid_ids, floors]).fetchall()
        assert found == [(number, pytest.approx(score, abs=1e-5)) for number, score in expected]


@pytest.mark.parametrize("dim", [48, 53])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_rough_scores_take_weights_for_a_straight_line(connection: Connection, held: tuple[int, int], bits: int, dim: int):
    """Rough scores are those of the vectors before scaling if weights are evenly spaced; dimensions may leave bits of a byte.

    Residuals may end in the tail, cut anywhere.
    """
    rng = np.random.default_rng(bits * dim)
    levels = (0.01 + 0.02 * (np.arange(1 << bits) - (1 << bits) / 2)).astype(np.float32)
    numbers = rng.integers(0, 1 << bits, (5, dim))
    packed = np.packbits(
        np.unpackbits(numbers.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :].reshape(5, -1), axis=1
    ).tobytes()
    queries = rng.standard_normal((3, dim)).astype(np.float32)
    centroids = np.eye(3, dim, dtype=np.float32)
    ids = np.array([0, 1, 2, 0, 1])
    connection.execute(
        "update pgretrieval.codebook set dim = %s, bits = %s, cutoffs = %s, weights = %s",
        [dim, bits, ((levels[1:] + levels[:-1]) / 2).tolist(), levels.tolist()],
    )
    for number, centroid in enumerate(centroids.tolist()):
        connection.execute("update pgretrieval.centroid set vector = %s::halfvec where centroid_id = %s", [str(centroid), number])
    add(connection, held, 1, [0])
    connection.execute(
        "update pgretrieval.token_code set centroid_ids = %s, residuals = %s, tail = %s",
        [struct.pack("<5H", *ids.tolist()), packed[:10], packed[10:]],
    )
    found = connection.execute(_ROUGH, [vector_array(queries), [0, 1, 2], [-99] * 3]).fetchall()
    score = (queries @ (centroids[ids] + levels[numbers]).T).max(axis=1).sum()
    assert found == [(1, pytest.approx(score, abs=1e-3))]


def test_candidates_that_are_worth_decoding(connection: Connection, held: tuple[int, int]):
    """The best by tokens of probed centroids are decoded, ties in the order of postings; of stored vectors none are left out."""
    connection.execute(INDEX_CENTROIDS, [held[0], DIM, held[1]])
    for passage_id in range(1, 101):
        add(connection, held, passage_id, [1, 0] if passage_id > 90 else [1, 2])
    statement = (
        "select pgretrieval.candidates_in_sql((select c from pgretrieval.collection c), %s::vector[], 1, 100, %s, null, null)"
    )
    everything, query = list(range(1, 101)), array(vector(0.0, 1.0), vector(1.0))
    for kept in (64, 70, 100):
        chosen = connection.execute(statement, [query, kept]).fetchone()[0]
        assert sorted(chosen) == (everything if kept == 100 else [*range(1, kept - 9), *range(91, 101)])
    connection.execute("update pgretrieval.collection set keep_vectors = true")
    assert sorted(connection.execute(statement, [query, 5]).fetchone()[0]) == everything


def test_show(connection: Connection, held: tuple[int, int]):
    """The k best come in order, ties by id, with all columns."""
    for passage_id in (1, 2, 3, 4):
        add(connection, held, passage_id, [0], f"body {passage_id}")
    found = connection.execute(
        "select * from pgretrieval.show((select c from pgretrieval.collection c), '{4,2,3,1}', '{0.5,0.5,0.75,0.25}', 3, null)"
    )
    assert found.fetchall() == [
        (1, "k3", 0.75, None, "body 3", {"n": 3}),
        (2, "k2", 0.5, None, "body 2", {"n": 2}),
        (3, "k4", 0.5, None, "body 4", {"n": 4}),
    ]


@pytest.mark.parametrize(
    ("dense", "scorer", "more"),
    [(None, "maxsim", set()), ("kept", "maxsim", {"dense_vector"}), (None, "xtr", {"posting_code"})],
)
def test_partitions_of_a_collection(connection: Connection, dense: str | None, scorer: str, more: set[str]):
    """Creation makes a partition of each table that the collection needs, and dropping drops all, those of others left."""
    connection.execute("select pgretrieval.create_collection('other')")
    made = "select relname from pg_class where relispartition and relkind = 'r' and relname ~ ('_' || %s || '$')"
    number = connection.execute("select pgretrieval.create_collection('a', dense => %s, scorer => %s)", [dense, scorer]).fetchone()[
        0
    ]
    locks = {"change_lock", "build_lock", "following_lock"}
    tables = {"centroid", "passage", "token_vector", "token_code", "posting", "word_posting"} | locks | more
    assert {name for (name,) in connection.execute(made, [number])} == {f"{table}_{number}" for table in tables}
    connection.execute("select pgretrieval.create_partition('factorization_lock', 'collection_id', %s)", [number])
    others = (
        connection.execute("select count(*) from pg_class where relispartition and relkind = 'r'").fetchone()[0] - len(tables) - 1
    )
    assert connection.execute("select pgretrieval.drop_collection('a')").fetchone() == (True,)
    assert connection.execute(made, [number]).fetchall() == []
    assert connection.execute("select count(*) from pg_class where relispartition and relkind = 'r'").fetchone() == (others,)


def test_how_a_hybrid_search_can_fuse(connection: Connection, held: tuple[int, int]):
    """Unknown fusions and invalid weights are refused."""
    search = "select pgretrieval.hybrid_search('docs', null, 'text', fusion => {}, weights => {}, rank_constant => {})"
    connection.execute(search.format("'rank'", "'{1,0,2.5}'", 0))
    for given in (("'sum'", "'{1,1,1}'", 60), ("'rank'", "'{1,1}'", 60), ("'rank'", "null", 60), ("'score'", "'{1,1,1}'", "null")):
        with pytest.raises(psycopg.Error, match=r"fusion is|weights are|rank_constant is") as caught:
            connection.execute(search.format(*given))  # type: ignore[call-overload]
        assert caught.value.sqlstate == "PGR05"


def test_score_passages_by_stored_vectors(connection: Connection, held: tuple[int, int]):
    """Stored vectors are scored by MaxSim."""
    add(connection, held, 1, [0])
    for passage_id in (1, 9):
        connection.execute(
            "insert into pgretrieval.token_vector (collection_id, passage_id, vectors) values (%s, %s, %s::vector[]::halfvec[])",
            [held[0], passage_id, array(vector(0.5), vector(0.25, 0.5))],
        )
    query = array(vector(1.0), vector(0.0, 2.0))
    connection.execute("update pgretrieval.collection set keep_vectors = true")
    found = connection.execute(
        "select * from pgretrieval.score_passages((select c from pgretrieval.collection c), array[1, 9], %s::vector[])",
        [query],
    )
    assert found.fetchall() == [(1, 1.5)]


def test_encode_tokens(connection: Connection, held: tuple[int, int]):
    """The nearest centroid is chosen, the first of ties, and bits are packed in order."""
    vectors = array(vector(0.9, 0.1), vector(0.0, -0.5, 0.3), vector(0.5, 0.5, 0.5), vector(0.0, 1.0))
    ids, residuals = connection.execute(
        "select * from pgretrieval.encode_tokens(%s, %s, %s::vector[])", [*held, vectors]
    ).fetchone()
    assert struct.unpack("<4H", ids) == (0, 2, 0, 1)
    # bits of the coordinates above 0: token 1 leaves (-.1, .1), token 2 (0, -.5, -.7), token 3 (-.5, .5, .5), token 4 nothing
    assert [residuals[start] for start in range(0, len(residuals), DIM // 8)] == [0b01000000, 0, 0b01100000, 0]


def test_word_weight(connection: Connection):
    """BM25 uses k1 = 1.2, b = 0.75 and relative lengths."""
    for occurrences, length, mean in ((1, 10, 10), (3, 10, 10), (1, 40, 10), (2.5, 5, 10)):
        expected = occurrences * 2.2 / (occurrences + 1.2 * (0.25 + 0.75 * length / mean))
        found = connection.execute("select pgretrieval.word_weight(%s, %s, %s)", [occurrences, length, mean])
        assert found.fetchone() == (pytest.approx(expected, rel=1e-6),)


def index_all_words(connection: Connection, held: tuple[int, int]) -> None:
    """Write postings of all words, as a first build does."""
    connection.execute(
        """update pgretrieval.collection
           set mean_words = pgretrieval.index_words(%s, array(select passage_id from pgretrieval.passage), in_segment => 0)""",
        [held[0]],
    )


def test_words_of_and_index_words(connection: Connection, held: tuple[int, int]):
    """Titles are included, stop words are not, and segments are numbered like the client's."""
    add(connection, held, 1, [0], "the quick fox and the quick dog")
    add(connection, held, 2, [0], "dogs")
    words = connection.execute(
        "select passage_id, word, occurrences from pgretrieval.words_of(%s, 'english', 1) order by 1, 2", [held[0]]
    )
    assert words.fetchall() == [(1, "dog", 1), (1, "fox", 1), (1, "quick", 2), (2, "dog", 1)]
    connection.execute("update pgretrieval.passage set title = 'Fox and Cat' where passage_id = 1")
    weighted = "select word, occurrences from pgretrieval.words_of(%s, 'english', %s::real, array[1]) order by 1"
    for weight, expected in ((2.5, {"cat": 2.5, "fox": 3.5}), (0, {"fox": 1.0})):
        found = connection.execute(weighted, [held[0], weight]).fetchall()
        assert dict(found) == {"dog": 1.0, "quick": 2.0} | expected
    connection.execute("update pgretrieval.passage set title = null")

    def postings() -> list[tuple[str, int, list[int]]]:
        return connection.execute("select word, segment, passage_ids from pgretrieval.word_posting order by 1, 2").fetchall()

    def entries(word: str) -> list[tuple[list[int], int]]:
        entries = "select passage_ids, cardinality(weights) from pgretrieval.word_entries(%s, %s) order by 1"
        return connection.execute(entries, [held[0], word]).fetchall()

    connection.execute("select pgretrieval.index_words(%s, array[2])", [held[0]])
    assert postings() == []  # searches read the texts until all postings are written
    index_all_words(connection, held)
    shared = connection.execute("select word, segment, words, passage_ids from pgretrieval.word_posting order by words").fetchall()
    keys = [connection.execute("select pgretrieval.shared_word(%s)", [word]).fetchone()[0] for word in ("dog", "fox", "quick")]
    assert shared == [(keys[0], 0, ["dog", "dog"], [1, 2]), (keys[1], 0, ["fox"], [1]), (keys[2], 0, ["quick"], [1])]
    assert [entries(word) for word in ("dog", "fox", "cat", keys[0])] == [[([1, 2], 2)], [([1], 1)], [], []]
    assert connection.execute("select mean_words from pgretrieval.collection").fetchone() == (2.5,)
    add(connection, held, 3, [0], "cat")
    connection.execute("select pgretrieval.index_words(%s, array[3])", [held[0]])
    assert ("cat", 3, [3]) in postings()
    given = connection.execute("select pgretrieval.index_words(%s, array[2], 7.5, 9)", [held[0]])
    assert given.fetchone() == (7.5,)  # of the first build's later segments
    assert ("dog", 9, [2]) in postings()
    assert entries("dog") == [([1, 2], 2), ([2], 1)]


def test_words_of_more_than_four_passages_have_a_row_of_their_own(connection: Connection, held: tuple[int, int]):
    """Rarer words share rows in a build's first segment, in order of word and passage, and are found beside the others."""
    for number in range(1, 601):
        add(connection, held, number, [0], f"every w{number} w{number // 2} v{number // 5}")
    index_all_words(connection, held)
    own = connection.execute("select word, cardinality(passage_ids) from pgretrieval.word_posting where words is null").fetchall()
    assert dict(own)["everi"] == 600
    assert {passages for word, passages in own if word != "everi"} == {5}
    rows = connection.execute("select words, passage_ids from pgretrieval.word_posting where words is not null").fetchall()
    assert max(len(set(words)) for words, _ in rows) > 1
    for words, passages in rows:
        assert list(zip(words, passages, strict=True)) == sorted(zip(words, passages, strict=True))
    for word, expected in (("w1", [1, 2, 3]), ("v0", [1, 2, 3, 4]), ("v119", [595, 596, 597, 598, 599]), ("v120", [600])):
        found = connection.execute("select passage_ids from pgretrieval.word_entries(%s, %s)", [held[0], word]).fetchall()
        assert found == [(expected,)]
        listed = connection.execute(
            "select array_agg(passage_id order by passage_id) from pgretrieval.candidates_by_words("
            "(select c from pgretrieval.collection c), to_tsvector('simple', %s), 10, null, null)",
            [word],
        )
        assert listed.fetchone() == (expected,)
    assert connection.execute("select * from pgretrieval.check('docs', 'words')").fetchall() == []


def test_candidates_by_text(connection: Connection, held: tuple[int, int]):
    """Only passages with a word and within the restriction come; scores are tested with text_search."""
    for passage_id, body in ((1, "red fox"), (2, "fox"), (3, "dog")):
        add(connection, held, passage_id, [0], body)
    index_all_words(connection, held)
    row = "(select c from pgretrieval.collection c)"
    statement = f"select passage_id from pgretrieval.candidates_by_text({row}, 'fox', 9, %s::jsonpath, %s)"
    assert connection.execute(statement, [None, None]).fetchall() == [(2,), (1,)]
    assert connection.execute(statement, ["$.n == 1", None]).fetchall() == [(1,)]
    assert connection.execute(statement, [None, ["k2", "k3"]]).fetchall() == [(2,)]


def test_text_search_and_hybrid_search_have_the_columns_of_search(connection: Connection, held: tuple[int, int]):
    """All columns exist; results are tested in tests/integration/test_words.py."""
    connection.execute(INDEX_CENTROIDS, [held[0], DIM, held[1]])
    add(connection, held, 1, [0], "red fox")
    for call in (
        "pgretrieval.text_search('docs', 'fox')",
        f"pgretrieval.hybrid_search('docs', '{array(vector(1.0))}'::vector[], 'fox')",
    ):
        cursor = connection.execute(f"select * from {call}")
        assert [column.name for column in cursor.description or []] == ["rank", "id", "score", "title", "body", "metadata"]
        assert [row[:2] for row in cursor.fetchall()] == [(1, "k1")]
