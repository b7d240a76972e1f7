"""Access of restricted roles to shared tables by tickets, and the settings that an add writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import pytest

import pgretrieval
from tests.fixtures.collections import Corpus
from tests.support.tokens import fill

Connection = psycopg.Connection[Any]

OWN = "(select row(array_agg(passage_id), array_agg(ticket))::pgretrieval.claims from pgretrieval.passage where {})"


@pytest.fixture(scope="module")
def tokens(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.Collection:
    """A collection scored by retrieved tokens; tests do not change it."""
    return fill(module_database, corpus)["xtr"]


@pytest.fixture
def reading(tokens: pgretrieval.Collection) -> Iterator[Connection]:
    """A connection that is rolled back."""
    with psycopg.connect(tokens._database.url) as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def held(reading: Connection) -> tuple[int, int]:
    """The numbers of the collection and its codebook."""
    return reading.execute("select collection_id, codebook_id from pgretrieval.collection where name = 'xtr'").fetchone()


def by_centroid(rows: Iterable[tuple[int, list[int], bytes]]) -> dict[int, list[tuple[int, bytes]]]:
    """Passage and residual of every token, by centroid, of rows that list many tokens each."""
    found: dict[int, list[tuple[int, bytes]]] = {}
    for centroid, passages, residuals in rows:
        width = len(residuals) // len(passages)
        pieces = [residuals[width * place : width * (place + 1)] for place in range(len(passages))]
        found.setdefault(centroid, []).extend(zip(passages, pieces, strict=True))
    return found


def listed(reading: Connection, held: tuple[int, int]) -> dict[int, list[tuple[int, bytes]]]:
    """Passage and residual of every token, by centroid, as posting_code has them."""
    rows = reading.execute(
        """select centroid_id, passage_ids, residuals from pgretrieval.posting_code
           where collection_id = %s and codebook_id = %s order by centroid_id, segment""",
        held,
    )
    return by_centroid(rows)


def even(reading: Connection, held: tuple[int, int]) -> tuple[set[int], str]:
    """The existing passages with even numbers, and the claims of a role that sees only these."""
    where = f"collection_id = {held[0]} and mod(passage_id, 2) = 0"
    rows = reading.execute(f"select passage_id from pgretrieval.passage where {where}").fetchall()
    return {row[0] for row in rows}, OWN.format(where)


def test_own_entries_asks_for_right_tickets(reading: Connection, held: tuple[int, int]):
    """Only right tickets give access to postings."""
    where = f"collection_id = {held[0]} and passage_id in (1, 2, 3)"

    def seen(claims: str) -> set[int]:
        statement = f"select passage_ids from pgretrieval.own_entries('posting_code', %s, %s, null, {claims})"
        return {number for (passages,) in reading.execute(statement, held) for number in passages}

    assert seen(OWN.format(where)) == {1, 2, 3}
    wrong = f"""(select row(array[1, 2], array[ticket, ticket])::pgretrieval.claims
                 from pgretrieval.passage where collection_id = {held[0]} and passage_id = 1)"""
    assert seen(wrong) == {1}
    assert seen("null") == set()


def test_own_entries_of_tokens_are_those_of_claimed_passages(reading: Connection, held: tuple[int, int]):
    """Exactly the tokens of claimed passages are returned, with their residuals."""
    every = listed(reading, held)
    centroids = [centroid for centroid, _ in sorted(every.items(), key=lambda item: -len(item[1]))[:5]]
    own, claims = even(reading, held)
    asked = (
        "select centroid_id, passage_ids, residuals from pgretrieval.own_entries('posting_code', %s, %s, %s::integer[]::text[], {})"
    )
    rows = reading.execute(asked.format(claims), [*held, centroids]).fetchall()
    found = by_centroid(rows)
    wanted = {centroid: sorted(token for token in every[centroid] if token[0] in own) for centroid in centroids}
    assert {centroid: sorted(each) for centroid, each in found.items()} == {c: each for c, each in wanted.items() if each}
    assert any(wanted.values())


def test_own_entries_without_contents(reading: Connection, held: tuple[int, int]):
    """The entries of every centroid are counted without their residuals."""
    own, claims = even(reading, held)
    asked = f"""select centroid_id, sum(cardinality(passage_ids)), count(residuals)
                from pgretrieval.own_entries('posting_code', %s, %s, null, {claims}, false) group by 1"""
    rows = reading.execute(asked, held).fetchall()
    counted = {centroid: tokens for centroid, tokens, _ in rows}
    assert not any(residuals for _, _, residuals in rows)
    every = listed(reading, held)
    wanted = {centroid: sum(passage in own for passage, _ in each) for centroid, each in every.items()}
    assert counted == {centroid: count for centroid, count in wanted.items() if count}


def test_own_entries_of_words_and_of_centroids(connection: Connection):
    """Entries keep their weights, rows without any entry are left out, and other tables are refused."""
    number = connection.execute("select pgretrieval.create_collection('docs', 48)").fetchone()[0]
    connection.execute(
        """insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count)
           select %s, n, n::text, 'text', 1 from generate_series(1, 4) as n""",
        [number],
    )
    connection.execute(
        """insert into pgretrieval.word_posting (collection_id, word, bucket, segment, passage_ids, weights)
           values (%(c)s, 'tea', 0, 0, '{1,2,3}', '{0.5,0.25,0.125}'), (%(c)s, 'tea', 0, 4, '{4}', '{2}'),
                  (%(c)s, 'milk', 0, 0, '{2}', '{4}'), (%(c)s, 'cup', 0, 0, '{1}', '{8}')""",
        {"c": number},
    )
    connection.execute(
        """insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids)
           values (%(c)s, 7, 0, 0, '{1,2,3}'), (%(c)s, 7, 1, 0, '{3}'), (%(c)s, 7, 2, 0, '{2}'), (%(c)s, 8, 0, 0, '{2}')""",
        {"c": number},
    )
    claims = OWN.format("passage_id in (2, 3)")
    words = f"""select word, passage_ids, weights, centroid_id, residuals
                from pgretrieval.own_entries('word_posting', %s, null, '{{tea,cup}}', {claims})"""
    assert connection.execute(words, [number]).fetchall() == [("tea", [2, 3], [0.25, 0.125], None, None)]
    connection.execute(
        """insert into pgretrieval.word_posting (collection_id, word, segment, passage_ids, weights, words)
           values (%s, pgretrieval.shared_word('cup'), 0, '{2,3,3}', '{16,32,64}', '{cup,cup,jug}')""",
        [number],
    )
    tea, cup = ("tea", [2, 3], [0.25, 0.125], None, None), ("cup", [2, 3], [16, 32], None, None)
    assert sorted(connection.execute(words, [number]).fetchall()) == [cup, tea]
    every = connection.execute(words.replace("'{tea,cup}'", "null"), [number]).fetchall()
    assert sorted(every) == [cup, ("jug", [3], [64], None, None), ("milk", [2], [4], None, None), tea]
    postings = "select centroid_id, passage_ids, word, weights from pgretrieval.own_entries('posting', %s, 7, {}, {}) order by 1"
    assert connection.execute(postings.format("'{0,1}'", claims), [number]).fetchall() == [
        (0, [2, 3], None, None),
        (1, [3], None, None),
    ]
    assert [row[0] for row in connection.execute(postings.format("null", claims), [number])] == [0, 1, 2]
    with pytest.raises(psycopg.errors.CaseNotFound):
        connection.execute(f"select * from pgretrieval.own_entries('segment', %s, 7, null, {claims})", [number])


def test_centroid_sizes_are_of_all_for_who_sees_all(reading: Connection, held: tuple[int, int]):
    """Sizes of centroids count each token once."""
    every = listed(reading, held)
    width = len(next(iter(every.values()))[0][1])
    found: dict[int, int] = {}
    for centroid, tokens in reading.execute("select * from pgretrieval.centroid_sizes(%s, %s, %s)", [*held, width]):
        found[centroid] = found.get(centroid, 0) + tokens
    assert found == {centroid: len(each) for centroid, each in every.items()}


def test_settle_writes_what_is_open_and_nothing_twice(connection: Connection):
    """Encoder and dimensions are written once."""
    number = connection.execute("select pgretrieval.create_collection('open')").fetchone()[0]
    settle = "select pgretrieval.settle(%s, %s, %s, %s, %s, %s)"
    held = "select dim, encoder ->> 'kind', given_vectors, dense_dim, given_dense from pgretrieval.collection where name = 'open'"
    connection.execute(settle, [number, 64, '{"kind": "object"}', False, None, None])
    assert connection.execute(held).fetchone() == (64, "object", False, None, False)
    connection.execute(settle, [number, 96, '{"kind": "minilm"}', True, 16, True])
    assert connection.execute(held).fetchone() == (64, "object", True, 16, True)
    connection.execute(settle, [number, None, None, False, 32, False])
    assert connection.execute(held).fetchone() == (64, "object", True, 16, True)
