"""Changes and compaction on hand-made rows: removal, locks and merging."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
CENTROIDS, TRAINED_FOR = 3, 100


def add_codebook(connection: Connection, collection_id: int) -> int:
    """A codebook row without centroids."""
    return connection.execute(
        """insert into pgretrieval.codebook (collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
           values (%s, 48, 1, '{0}', '{-0.5,0.5}', %s, %s, 400) returning codebook_id""",
        [collection_id, CENTROIDS, TRAINED_FOR],
    ).fetchone()[0]


@pytest.fixture
def held(connection: Connection) -> tuple[int, int]:
    """A collection and its codebook, without passages."""
    number = connection.execute("select pgretrieval.create_collection('docs', 48, bits => 1)").fetchone()[0]
    codebook = add_codebook(connection, number)
    connection.execute("update pgretrieval.collection set codebook_id = %s", [codebook])
    return number, codebook


def add_postings(connection: Connection, held: tuple[int, int], *rows: tuple[int, int, list[int]]) -> None:
    """Rows of (centroid, segment, passages)."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids)
               values (%s, %s, %s, %s, %s)""",
            [(*held, *row) for row in rows],
        )


def add_words(connection: Connection, number: int, *rows: tuple[str, int, list[int], list[float]]) -> None:
    """Rows of (word, segment, passages, weights)."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """insert into pgretrieval.word_posting (collection_id, word, segment, passage_ids, weights)
               values (%s, %s, %s, %s, %s)""",
            [(number, *row) for row in rows],
        )


def add_segment(connection: Connection, held: tuple[int, int], segment: int, rows: int, compacting: bool = False) -> None:
    """A segment of two passages with ten tokens."""
    connection.execute(
        """insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows, compacting)
           values (%s, %s, %s, 2, 10, %s, %s)""",
        [*held, segment, rows, compacting],
    )


def remove(connection: Connection, number: int, passage_id: int, compacting: bool = False) -> None:
    """Record a passage as deleted."""
    connection.execute(
        "insert into pgretrieval.removed_passage (collection_id, passage_id, compacting) values (%s, %s, %s)",
        [number, passage_id, compacting],
    )


def postings(connection: Connection, codebook: int) -> list[tuple[int, int, list[int]]]:
    """(centroid, segment, passages)"""
    return connection.execute(
        "select centroid_id, segment, passage_ids from pgretrieval.posting where codebook_id = %s order by 1, 2", [codebook]
    ).fetchall()


def words(connection: Connection) -> list[tuple[str, int, list[int], list[float]]]:
    """(word, segment, passages, weights)"""
    return connection.execute("select word, segment, passage_ids, weights from pgretrieval.word_posting order by 1, 2").fetchall()


# ---- locks


def test_lock_for_change_gives_the_row_and_keeps_builds_away(connection: Connection, held: tuple[int, int], database_url: str):
    """The lock returns the current row, excludes builds and allows other adds."""
    change = "select name, codebook_id from pgretrieval.lock_for_change(%s)"
    other_id = connection.execute("select pgretrieval.create_collection('other', 48)").fetchone()[0]

    def may_switch(number: int) -> bool:
        try:
            connection.execute("set lock_timeout = '50ms'")
            connection.execute("select pgretrieval.lock_collection(%s, 'change', 'share row exclusive')", [number])
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    with psycopg.connect(database_url) as adding, psycopg.connect(database_url) as other:
        assert adding.execute("select codebook_id from pgretrieval.collection").fetchone() == (held[1],)
        second = add_codebook(connection, held[0])
        connection.execute("update pgretrieval.collection set codebook_id = %s where name = 'docs'", [second])
        assert adding.execute(change, [held[0]]).fetchone() == ("docs", second)
        assert not may_switch(held[0])
        assert may_switch(other_id)
        other.execute("set local lock_timeout = '2s'")
        assert other.execute(change, [held[0]]).fetchone() == ("docs", second)
        other.rollback()
        adding.rollback()
        assert may_switch(held[0])
    assert connection.execute(change, [999]).fetchone() == (None, None)


def test_lock_for_change_refuses_an_old_snapshot(connection: Connection, held: tuple[int, int], database_url: str):
    """A snapshot older than a switch is refused."""
    change = "select codebook_id from pgretrieval.lock_for_change(%s)"
    for level in (psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE):
        with psycopg.connect(database_url) as adding:
            adding.isolation_level = level
            adding.execute("select 1 from pgretrieval.collection").fetchone()
            second = add_codebook(connection, held[0])
            connection.execute("update pgretrieval.collection set codebook_id = %s", [second])
            with pytest.raises(psycopg.errors.SerializationFailure):
                adding.execute(change, [held[0]])
            adding.rollback()
            assert adding.execute(change, [held[0]]).fetchone() == (second,)
            adding.rollback()


# ---- deletes


def fill(connection: Connection, number: int, codebooks: list[int]) -> None:
    """Passages k1 to k4, with n 1 to 4, codes under each codebook, proxies of the first, and vectors of two encodings."""
    connection.execute(
        """insert into pgretrieval.passage (collection_id, passage_id, key, body, metadata, token_count)
           select %s, n, 'k' || n, 'text', jsonb_build_object('n', n), 1 from generate_series(1, 4) as n""",
        [number],
    )
    for encoding in (0, 1):
        connection.execute(
            """insert into pgretrieval.token_vector (collection_id, passage_id, vectors, encoding)
               select %s, n, array['[1,0]'::halfvec], %s from generate_series(1, 4) as n""",
            [number, encoding],
        )
    for place, codebook in enumerate(codebooks):
        connection.execute(
            """insert into pgretrieval.token_code (collection_id, codebook_id, passage_id, centroid_ids, residuals)
               select %s, %s, n, '', '' from generate_series(1, 4) as n""",
            [number, codebook],
        )
        if place == 0:
            connection.execute("select pgretrieval.create_partition('proxy', 'codebook_id', %s)", [codebook])
            connection.execute(
                """insert into pgretrieval.proxy (codebook_id, passage_id, vector)
                   select %s, n, array_fill(0, array[512])::halfvec from generate_series(1, 4) as n""",
                [codebook],
            )


@pytest.mark.parametrize(
    ("keys", "where", "gone"),
    [
        (["k1", "k3", "nobody"], None, [1, 3]),
        (None, "$.n >= 3", [3, 4]),
        (["k1", "k3"], "$.n >= 3", [3]),
        (["k1"], "$.n >= 3", []),
        ([], None, []),
        (None, None, [1, 2, 3, 4]),
    ],
)
def test_remove_passages(connection: Connection, held: tuple[int, int], keys: list[str] | None, where: str | None, gone: list[int]):
    """Only the given passages are removed, with all their rows."""
    number, codebook = held
    later = add_codebook(connection, number)
    other = connection.execute("select pgretrieval.create_collection('other', 48)").fetchone()[0]
    fill(connection, number, [codebook, later])
    fill(connection, other, [])
    found = connection.execute("select pgretrieval.remove_passages(%s, %s, %s::jsonpath)", [number, keys, where])
    assert found.fetchone() == (len(gone),)
    left = [passage_id for passage_id in (1, 2, 3, 4) if passage_id not in gone]

    def ids(table: str, condition: str) -> list[int]:
        return [row[0] for row in connection.execute(f"select passage_id from pgretrieval.{table} where {condition} order by 1")]

    assert ids("passage", f"collection_id = {number}") == left
    assert ids("token_vector", f"collection_id = {number}") == sorted(left * 2)
    assert ids("token_code", f"codebook_id = {codebook}") == left
    assert ids("token_code", f"codebook_id = {later}") == [1, 2, 3, 4]  # of a rebuild before its switch
    assert ids("proxy", f"codebook_id = {codebook}") == left
    assert ids("removed_passage", f"collection_id = {number} and not compacting") == gone
    assert ids("passage", f"collection_id = {other}") == [1, 2, 3, 4]
    assert ids("removed_passage", f"collection_id = {other}") == []


def test_remove_passages_before_the_first_build_leaves_nothing(connection: Connection):
    """Before the first build, nothing remains of removed passages."""
    number = connection.execute("select pgretrieval.create_collection('docs', 48, dense => 'kept')").fetchone()[0]
    fill(connection, number, [])
    connection.execute(
        "insert into pgretrieval.dense_vector (collection_id, passage_id, vector) values (%s, 1, '[1]'), (%s, 2, '[1]')",
        [number] * 2,
    )
    assert connection.execute("select pgretrieval.remove_passages(%s, array['k2'], null)", [number]).fetchone() == (1,)
    assert connection.execute("select passage_id from pgretrieval.dense_vector").fetchall() == [(1,)]
    assert connection.execute("select count(*) from pgretrieval.removed_passage").fetchone() == (0,)


# ---- compaction


def needed(connection: Connection, number: int) -> bool:
    return connection.execute("select pgretrieval.needs_compaction(%s)", [number]).fetchone()[0]


def test_needs_compaction_by_segments(connection: Connection, held: tuple[int, int]):
    """A compaction is needed from two extra segments per centroid of the active codebook."""
    assert not needed(connection, held[0])
    add_segment(connection, (held[0], add_codebook(connection, held[0])), 1, 1000)
    add_segment(connection, held, 0, 0)
    add_segment(connection, held, 1, CENTROIDS)
    add_segment(connection, held, 3, CENTROIDS)
    assert not needed(connection, held[0])
    add_segment(connection, held, 5, 1)
    assert needed(connection, held[0])
    connection.execute("update pgretrieval.collection set auto_compact = false")
    assert not needed(connection, held[0])


def test_needs_compaction_by_removed_passages(connection: Connection, held: tuple[int, int]):
    """A compaction is needed from a thousand removed passages and a tenth of all."""
    other = connection.execute("select pgretrieval.create_collection('other', 48)").fetchone()[0]
    connection.execute(
        """insert into pgretrieval.removed_passage (collection_id, passage_id)
           select collection_id, n from pgretrieval.collection, generate_series(1, 1000 + %s / 10) as n""",
        [TRAINED_FOR],
    )
    assert not needed(connection, held[0])
    for number in (held[0], other):
        remove(connection, number, 5000)
    assert needed(connection, held[0])
    assert not needed(connection, other)  # was never built
    assert not needed(connection, 999)


def test_needs_compaction_goes_on_with_one_under_way(connection: Connection, held: tuple[int, int]):
    """An interrupted compaction is continued."""
    connection.execute("insert into pgretrieval.compaction (collection_id, codebook_id) values (%s, %s)", held)
    assert needed(connection, held[0])


def test_compact_postings(connection: Connection, held: tuple[int, int]):
    """Only marked segments and removed passages of the range and the codebook are compacted."""
    number, codebook = held
    later = add_codebook(connection, number)
    rows = [(0, 0, [1, 2]), (0, 5, [6, 5]), (0, 9, [2, 9]), (1, 0, [2]), (1, 9, [9]), (2, 5, [5]), (2, 0, [2])]
    for each in (codebook, later):
        add_postings(connection, (number, each), *rows)
    add_segment(connection, held, 5, 2, compacting=True)
    add_segment(connection, held, 9, 2)
    remove(connection, number, 2, compacting=True)
    remove(connection, number, 6)
    connection.execute("select pgretrieval.compact_postings(%s, %s, 'posting', '-1', 2)", held)
    # centroid 0: 2 is dropped, 6 was removed later; centroid 1 is empty in segment 0; segment 9 is for the next compaction
    merged = [(0, 0, [1, 5, 6]), (0, 9, [2, 9]), (1, 9, [9])]
    assert postings(connection, codebook) == [*merged, (2, 0, [2]), (2, 5, [5])]
    assert postings(connection, later) == sorted(rows)
    connection.execute("select pgretrieval.compact_postings(%s, %s, 'posting', '1', 7)", held)
    assert postings(connection, codebook) == [*merged, (2, 0, [5])]


def test_compact_postings_leaves_rows_alone_that_stay(connection: Connection, held: tuple[int, int]):
    """Unchanged centroids are not rewritten."""
    add_postings(connection, held, (0, 0, [1]), (1, 0, [1, 2]))
    remove(connection, held[0], 2, compacting=True)
    place = "select ctid from pgretrieval.posting where centroid_id = %s"
    before = [connection.execute(place, [centroid]).fetchone() for centroid in (0, 1)]
    connection.execute("select pgretrieval.compact_postings(%s, %s, 'posting', '-1', 9)", held)
    after = [connection.execute(place, [centroid]).fetchone() for centroid in (0, 1)]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert postings(connection, held[1]) == [(0, 0, [1]), (1, 0, [1])]


def test_compact_postings_of_words(connection: Connection, held: tuple[int, int]):
    """Postings of words are merged in bounded steps, and the last step returns false."""
    rows = [
        ("ale", 0, [1, 2], [0.25, 0.5]),
        ("ale", 5, [6, 5], [0.75, 1.0]),
        ("ale", 9, [9], [2.0]),
        ("bun", 0, [2], [0.5]),
        ("tea", 0, [1], [0.25]),
        ("tea", 5, [5], [1.5]),
    ]
    add_words(connection, held[0], *rows)
    add_segment(connection, held, 5, 2, compacting=True)
    add_segment(connection, held, 9, 2)
    remove(connection, held[0], 2, compacting=True)
    remove(connection, held[0], 6)

    def step(last: str | None) -> str | None:
        call = "select pgretrieval.compact_postings(%s, %s, 'word_posting', %s, 2)"
        return connection.execute(call, [*held, last]).fetchone()[0]

    assert step(None) == "bun"
    merged = [("ale", 0, [1, 5, 6], [0.25, 1.0, 0.75]), ("ale", 9, [9], [2.0])]
    assert words(connection) == [*merged, *rows[4:]]
    assert step("bun") == "tea"
    assert words(connection) == [*merged, ("tea", 0, [1, 5], [0.25, 1.5])]
    assert step("tea") is None


def test_compaction_keeps_the_words_of_shared_rows(connection: Connection, held: tuple[int, int]):
    """Entries of removed passages leave a row that words share, with their words; later ones have rows of their own."""
    key = connection.execute("select pgretrieval.shared_word('bun')").fetchone()[0]
    connection.execute(
        """insert into pgretrieval.word_posting (collection_id, word, segment, passage_ids, weights, words)
           values (%s, %s, 0, %s, %s, %s)""",
        [held[0], key, [1, 2, 4, 1], [0.5, 1.5, 2.5, 3.5], ["bun", "bun", "rye", "tea"]],
    )
    add_words(connection, held[0], ("bun", 5, [5], [4.5]))
    add_segment(connection, held, 5, 1, compacting=True)
    remove(connection, held[0], 1, compacting=True)
    connection.execute("select pgretrieval.compact_postings(%s, %s, 'word_posting', null, 9)", [*held])
    kept = connection.execute(
        "select word, segment, passage_ids, weights, words from pgretrieval.word_posting order by segment, words"
    )
    assert kept.fetchall() == [(key, 0, [2, 4], [1.5, 2.5], ["bun", "rye"]), ("bun", 0, [5], [4.5], None)]


def compact(connection: Connection) -> bool:
    return connection.execute("select pgretrieval.compact('docs')").fetchone()[0]


def test_compact_merges_in_steps_what_there_was_when_it_began(connection: Connection, held: tuple[int, int]):
    """Steps merge the segments that existed at the start, and statistics of drift stay."""
    number, codebook = held
    add_postings(connection, held, (0, 0, [1, 2]), (0, 5, [5]), (2, 5, [5]))
    add_words(connection, number, ("ale", 0, [1, 2], [0.25, 0.5]), ("ale", 5, [5], [1.0]))
    for segment, rows in ((0, 0), (5, 2)):
        add_segment(connection, held, segment, rows)
    connection.execute("update pgretrieval.segment set tokens = 30, quantization_error = 0.5 where segment = 0")
    connection.execute("update pgretrieval.segment set quantization_error = 0.25 where segment = 5")
    remove(connection, number, 2)

    assert compact(connection) is True
    assert postings(connection, codebook) == [(0, 0, [1, 5]), (2, 0, [5])]
    state = "select codebook_id, next_centroid, next_word from pgretrieval.compaction"
    assert connection.execute(state).fetchall() == [(codebook, 512, None)]
    add_postings(connection, held, (0, 9, [9]))
    add_segment(connection, held, 9, 1)
    remove(connection, number, 1)  # both are for the next compaction
    assert compact(connection) is True
    assert words(connection) == [("ale", 0, [1, 5], [0.25, 1.0])]
    assert connection.execute(state).fetchall() == [(codebook, 512, "ale")]
    assert compact(connection) is False
    assert connection.execute(state).fetchall() == []
    noted = "select segment, passages, tokens, posting_rows, quantization_error, compacting from pgretrieval.segment order by 1"
    merged = (0, 4, 40, 0, pytest.approx((30 * 0.5 + 10 * 0.25) / 40), False)
    assert connection.execute(noted).fetchall() == [merged, (9, 2, 10, 1, None, False)]
    removed = "select passage_id, compacting from pgretrieval.removed_passage"
    assert connection.execute(removed).fetchall() == [(1, False)]
    assert postings(connection, codebook) == [(0, 0, [1, 5]), (0, 9, [9]), (2, 0, [5])]

    assert [compact(connection) for _ in range(4)] == [True, True, False, False]
    assert postings(connection, codebook) == [(0, 0, [5, 9]), (2, 0, [5])]
    assert words(connection) == [("ale", 0, [5], [1.0])]
    assert connection.execute(removed).fetchall() == []


def test_compact_begins_anew_after_a_rebuild(connection: Connection, held: tuple[int, int]):
    """A compaction starts over after a rebuild."""
    connection.execute("insert into pgretrieval.compaction (collection_id, codebook_id, next_centroid) values (%s, %s, 512)", held)
    later = add_codebook(connection, held[0])
    connection.execute("update pgretrieval.collection set codebook_id = %s", [later])
    add_postings(connection, (held[0], later), (0, 0, [1]), (0, 5, [5]))
    add_segment(connection, (held[0], later), 5, 1)
    assert [compact(connection) for _ in range(2)] == [True, False]
    assert postings(connection, later) == [(0, 0, [1, 5])]


def test_compact_where_there_is_nothing_to_do(connection: Connection, held: tuple[int, int], database_url: str):
    """A concurrent or needless call returns false, and an unknown name raises an error."""
    assert compact(connection) is False
    add_postings(connection, held, (0, 5, [5]))
    add_segment(connection, held, 5, 1)
    with psycopg.connect(database_url) as other:
        assert compact(other) is True
        assert compact(connection) is False
        other.rollback()
    assert postings(connection, held[1]) == [(0, 5, [5])]
    connection.execute("select pgretrieval.create_collection('fresh', 48)")
    assert connection.execute("select pgretrieval.compact('fresh')").fetchone() == (False,)
    with pytest.raises(psycopg.Error, match="no collection 'nobody'") as caught:
        connection.execute("select pgretrieval.compact('nobody')")
    assert caught.value.sqlstate == "PGR04"
