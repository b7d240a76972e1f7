"""The best passages by words are those that scoring every passage gives, ties and their order included."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from tests.support.roles import isolate_tenants
from tests.support.vectors import clustered

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
PASSAGES = 6000
TENANTS = 3
VOCABULARY = 400
EVERYTHING = 10**6  # so many passages do not match: no passage can be left out


def texts(count: int, seed: int) -> list[str]:
    """Words by Zipf's law, w0 the commonest; every third text is one of twenty, so that many scores are equal."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, VOCABULARY + 1)
    lengths = rng.integers(3, 30, size=count)
    drawn = [" ".join(f"w{word}" for word in rng.choice(VOCABULARY, size=length, p=shares / shares.sum())) for length in lengths]
    return [drawn[place % 20] if place % 3 == 0 else text for place, text in enumerate(drawn)]


def queries(count: int, seed: int) -> list[str]:
    """Some words each, common and rare ones, a few of them twice or in no text."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        words = (VOCABULARY ** rng.random(rng.integers(1, 12))).astype(int)
        found.append(" ".join(f"w{word}" for word in [*words, *words[: rng.integers(3)]]) + " nowhere")
    return found


def best(connection: Connection, query: str, n: int, filter: str | None = None, among: list[str] | None = None):
    """Keys and scores of pgretrieval.candidates_by_text in their order."""
    return connection.execute(
        "select key, score from pgretrieval.candidates_by_text(pgretrieval.known_collection('docs'), %s, %s, %s::jsonpath, %s)"
        " with ordinality as found (bucket, passage_id, score, place) join pgretrieval.passage using (passage_id) order by place",
        [query, n, filter, among],
    ).fetchall()


def records(all_texts: list[str], start: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"p{number}", "text": text, "metadata": {"number": number, "tenant": f"tenant {number % TENANTS}"}}
        for number, text in enumerate(all_texts, start)
    ]


@pytest.fixture(scope="module")
def docs(module_database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    """6,000 passages after a build, and 200 in two later segments; every tenth was removed since."""
    collection = module_database.create_collection("docs", language="simple")
    collection.auto_compact = False
    collection.add(records(texts(PASSAGES, 1)), vectors=clustered(PASSAGES, tokens=(1, 1)))
    collection.build()
    for start in (PASSAGES, PASSAGES + 100):
        collection.add(records(texts(100, start), start), vectors=clustered(100, tokens=(1, 1)))
    collection.delete([f"p{number}" for number in range(0, PASSAGES, 10)])
    return collection


@pytest.fixture
def connection(docs: pgretrieval.Collection) -> Iterator[Connection]:
    """A connection to the database of docs."""
    with psycopg.connect(docs._database.url, autocommit=True) as opened:
        yield opened


def test_scores_are_bm25_of_all_that_are_there(connection: Connection):
    """The oracle: rarity and mean length as of the build and of what was added; removed passages count until they are compacted."""
    held = {
        record["id"]: Counter(record["text"].split())
        for start, count, seed in ((0, PASSAGES, 1), (PASSAGES, 100, PASSAGES), (PASSAGES + 100, 100, PASSAGES + 100))
        for record in records(texts(count, seed), start)
    }
    (total,) = connection.execute("select reltuples from pg_class where relname ~ '^passage_[0-9]+$'").fetchone()
    mean = np.mean([counts.total() for counts in list(held.values())[:PASSAGES]])
    for query in queries(10, 2):
        scores: Counter[str] = Counter()
        for word, times in Counter(query.split()).items():
            passages = sum(word in counts for counts in held.values())
            rarity = math.log(1 + (max(total - passages, 0) + 0.5) / (passages + 0.5))
            for key, counts in held.items():
                if counts[word]:
                    share = counts[word] * 2.2 / (counts[word] + 1.2 * (0.25 + 0.75 * counts.total() / mean))
                    scores[key] += times * rarity * share
        expected = {key: score for key, score in scores.items() if int(key[1:]) % 10 or int(key[1:]) >= PASSAGES}
        assert dict(best(connection, query, EVERYTHING)) == pytest.approx(expected, rel=1e-5)


RESTRICTIONS: list[dict[str, Any]] = [
    {},
    {"filter": "$.number >= 700"},
    {"filter": "$.number < 900"},
    {"filter": "$.number < 60"},
    {"filter": "$.nothing == 1"},
    {"among": [f"p{number}" for number in range(1, PASSAGES, 7)]},
    {"among": ["p3", "p13", "nobody"]},
]


def test_the_best_are_the_first_of_all(connection: Connection):
    """A passage is left out that later words would lift over the others, or one that is gone or does not match takes its place."""
    for restriction in RESTRICTIONS:
        for query in queries(30, 3):
            everything = best(connection, query, EVERYTHING, **restriction)
            for n in (1, 10, 50):
                assert best(connection, query, n, **restriction) == everything[:n]


def test_the_best_of_one_tenant_are_the_first_of_all_of_its(connection: Connection):
    """The same where row-level security hides the passages of others."""
    with connection.transaction(force_rollback=True):
        isolate_tenants(connection)
        connection.execute("create role pgretrieval_words_tenant")
        connection.execute("grant usage on schema pgretrieval to pgretrieval_words_tenant")
        connection.execute("grant select on all tables in schema pgretrieval to pgretrieval_words_tenant")
        connection.execute("grant execute on all functions in schema pgretrieval to pgretrieval_words_tenant")
        connection.execute("set local app.tenant = 'tenant 1'; set local role pgretrieval_words_tenant")
        for query in queries(10, 4):
            everything = best(connection, query, EVERYTHING)
            assert {int(key[1:]) % TENANTS for key, _ in everything} <= {1}
            assert best(connection, query, 10) == everything[:10]


def test_given_passages_score_as_among_all(connection: Connection):
    """The scores of given passages, in long and in short postings, are those that the whole search gives them."""
    held = "pgretrieval.known_collection('docs')"
    every = connection.execute(
        f"""select passage_id, score from pgretrieval.candidates_by_words(
            {held}, to_tsvector('simple', 'w1 w2 w300 w300'), {EVERYTHING}, null, null)"""
    ).fetchall()
    assert len(every) > 1000
    some = dict(every[::7])
    found = connection.execute(
        """select scored.passage_id, scored.score
           from (
               select array_agg(word order by word) as words, array_agg(times order by word) as times,
                      array_agg(ln(1 + (greatest(total - passages, 0) + 0.5) / (passages + 0.5))::double precision order by word)
                          as rarities
               from (
                   select asked.word, asked.times, sum(cardinality(posting.passage_ids)) as passages,
                          (select reltuples::bigint from pg_class where oid = 'pgretrieval.passage_1'::regclass)::numeric as total
                   from (values ('w1', 1), ('w2', 1), ('w300', 2)) as asked (word, times)
                   join pgretrieval.word_posting as posting on posting.collection_id = 1 and posting.word = asked.word
                   group by asked.word, asked.times
               ) as listed
           ) as asked, pgretrieval.score_words(1, asked.words, asked.times, asked.rarities, %s) as scored""",
        [list(some)],
    ).fetchall()
    assert {passage: pytest.approx(score, rel=1e-5) for passage, score in found} == some
