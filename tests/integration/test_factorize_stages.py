"""Stages of a factorisation: scoring, progress, the sample for solving, and stored rows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.anncur import factorize as stages
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import factorizations
from tests.fixtures.collections import Corpus
from tests.support.cross_encoder import TableCrossEncoder, queries

Connection = psycopg.Connection[Any]
TRAIN = queries(range(60))
PROBED = 65  # pairs that time the cross-encoder: one that loads it, and 64


@pytest.fixture
def model() -> TableCrossEncoder:
    return TableCrossEncoder()


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.Collection:
    """300 passages with titles."""
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    return collection


def some(database: pgretrieval.RetrievalDatabase, corpus: Corpus, count: int) -> pgretrieval.Collection:
    collection = database.create_collection("some")
    collection.add(corpus.passages[:count], vectors=corpus.vectors[:count])
    return collection


def stored_scores(connection: Connection, element: str = "<f2") -> dict[int, np.ndarray]:
    """The score row of each passage, by the number in its id."""
    statement = """select key, scores from pgretrieval.anchor_score join pgretrieval.passage using (bucket, passage_id)"""
    return {int(key[1:]): np.frombuffer(row, dtype=element) for key, row in connection.execute(statement).fetchall()}


def anchor_rows(connection: Connection) -> list[tuple[int, float]]:
    """The number in the id of each anchor item, in order, and its mean score."""
    statement = """
        select key, mean_score from pgretrieval.anchor_item join pgretrieval.passage using (bucket, passage_id) order by place
    """
    return [(int(key[1:]), mean) for key, mean in connection.execute(statement).fetchall()]


def test_every_pair_is_scored_by_its_whole_text(docs: pgretrieval.Collection, model: TableCrossEncoder, connection: Connection):
    """Each pair is scored with title and text and stored at its passage and query."""
    docs.factorize(model, TRAIN, 30)
    stored = stored_scores(connection)
    assert set(stored) == set(range(300))
    for number, row in stored.items():
        np.testing.assert_array_equal(row, model.table[:60, number].astype(np.float32).astype(np.float16))
    texts = {f"title {number} text of passage {number}" for number in range(300)}
    assert set(model.asked) == {(query, text) for query in TRAIN for text in texts}


@pytest.mark.parametrize(("offset", "element"), [(0, "<f2"), (1000, "<f4"), (1e5, "<f4")])
def test_scores_take_two_bytes_where_that_is_enough(
    docs: pgretrieval.Collection, model: TableCrossEncoder, connection: Connection, corpus: Corpus, offset: float, element: str
):
    """Half precision is chosen by the first scores, and later passages follow; a score out of its range becomes its largest."""
    model.table += offset
    model.table[5, 350] = 1e6
    assert docs.factorize(model, TRAIN, 30).held_out_recall > 0.9
    docs.add([{"id": "p350", "text": "another passage 350"}], vectors=corpus.vectors[:1])
    docs.factorize(model, TRAIN, 30)
    expected = model.table[:60].clip(-1e6, 65504 if element == "<f2" else 1e6).astype(np.float32).astype(element)
    for number, row in stored_scores(connection, element).items():
        np.testing.assert_array_equal(row, expected[:, number])
    assert docs.check() == []


@pytest.mark.parametrize(
    ("scores", "rounds"),
    [
        ([[1, 2], [3, 5]], True),
        ([[1000, 2], [1000.4, 2]], False),  # 1,000.5 is the next
        ([[1e5, 2], [3, 4]], False),
        ([[0.1, 0.1], [0.1, 0.1]], False),
        ([[0.5, 0.5], [0.5, 0.5]], True),
        ([[0.1, 0.2]], True),  # one passage: how its scores differ
        ([[1000.1, 1000.2]], False),
        ([[float("nan"), 1], [1, 2]], False),
    ],
)
def test_rounding_to_half_precision(scores: list[list[float]], rounds: bool):
    """Rounding may cost a hundredth of how the scores of a query differ."""
    assert factorizations.rounds_to_half(np.array(scores, dtype=np.float32)) is rounds


def test_progress_counts_pairs_by_block(docs: pgretrieval.Collection, model: TableCrossEncoder):
    """Progress counts pairs, also in the last block, and is reported after each commit."""
    told: list[tuple[str, int, int]] = []
    report = docs.factorize(model, TRAIN, 30, stage=lambda *step: told.append(step))
    # Blocks of 4,096 pairs at most are of 68 passages, and 300 passages are four of them and 28 passages.
    assert [step for step in told if step[0] == "score"] == [("score", done * 60, 300 * 60) for done in (0, 68, 136, 204, 272, 300)]
    assert report.calls == len(model.asked) == 300 * 60 + PROBED


def test_a_block_is_committed_before_the_next_one_is_scored(docs: pgretrieval.Collection, connection: Connection):
    """Each block is committed before the next one is scored."""
    there: list[int] = []

    class Watching(TableCrossEncoder):
        def predict(self, pairs: Any) -> Any:
            there.append(connection.execute("select count(*) from pgretrieval.anchor_score").fetchone()[0])
            return super().predict(pairs)

    docs.factorize(Watching(), TRAIN, 30)
    assert sorted(set(there)) == [0, 68, 136, 204, 272]


@pytest.mark.parametrize(("passages", "timed"), [(64, False), (65, True)])
def test_few_pairs_are_not_timed(
    database: pgretrieval.RetrievalDatabase, corpus: Corpus, model: TableCrossEncoder, passages: int, timed: bool
):
    """Short runs are not timed in advance; long ones are."""
    told: list[Any] = []
    report = some(database, corpus, passages).factorize(model, queries(range(64)), 20, costs=told.append)
    [costs] = told
    assert (costs.pairs, costs.seconds is not None) == (64 * passages, timed)
    assert costs.bytes == passages * (64 * 2 + 20 * 8) + 20 * (64 * 12 + 20 * 4)
    assert report.calls == len(model.asked) == 64 * passages + (PROBED if timed else 0)


def test_stored_scores_cost_nothing(docs: pgretrieval.Collection, model: TableCrossEncoder, corpus: Corpus):
    """Costs do not include pairs that are already scored."""
    docs.factorize(model, TRAIN, 30)
    told: list[Any] = []
    stage: list[tuple[str, int, int]] = []
    report = docs.factorize(model, TRAIN, 25, costs=told.append, stage=lambda *step: stage.append(step))
    assert (report.calls, told) == (0, [])
    assert "score" not in {name for name, _, _ in stage}
    docs.add([{"id": "p300", "text": "another passage 300"}], vectors=corpus.vectors[:1])
    report = docs.factorize(model, TRAIN, 25, element="halfvec", costs=told.append)
    assert report.calls == 60
    assert [(costs.pairs, costs.seconds, costs.bytes) for costs in told] == [(60, None, 60 * 2 + 25 * 6 + 25 * (60 * 12 + 25 * 4))]


def test_estimated_time_covers_all_pairs_without_loading(docs: pgretrieval.Collection):
    """The estimated time is that of all pairs, without loading the model."""

    class Slow(TableCrossEncoder):
        def predict(self, pairs: Any) -> Any:
            time.sleep(0.002 * len(pairs) if self.asked else 1)
            return super().predict(pairs)

    told: list[Any] = []

    def decline(costs: Any) -> None:
        told.append(costs)
        raise KeyboardInterrupt

    model = Slow()
    with pytest.raises(KeyboardInterrupt):
        docs.factorize(model, TRAIN, 30, costs=decline)
    assert 0.002 <= told[0].seconds / (300 * 60) < 0.01
    assert len(model.asked) == PROBED


def test_a_passage_that_is_deleted_while_it_is_scored(docs: pgretrieval.Collection, connection: Connection):
    """Scores of a passage deleted during scoring are dropped, and the others keep theirs."""

    class Deleting(TableCrossEncoder):
        def predict(self, pairs: Any) -> Any:
            if len(pairs) > PROBED and not self.asked[PROBED:]:
                docs.delete(["p10", "p11"])
            return super().predict(pairs)

    model = Deleting()
    docs.factorize(model, TRAIN, 30)
    stored = stored_scores(connection)
    assert set(stored) == set(range(300)) - {10, 11}
    for number, row in stored.items():
        np.testing.assert_array_equal(row, model.table[:60, number].astype(np.float32).astype(np.float16))
    assert not docs.check()


def test_more_queries_than_pairs_of_a_block(database: pgretrieval.RetrievalDatabase, corpus: Corpus, connection: Connection):
    """More queries than pairs in a block give blocks of one passage."""
    model = TableCrossEncoder(4200, 12, rank=4)
    report = some(database, corpus, 12).factorize(model, queries(range(4100)), 6)
    assert report.calls == 12 * 4100 + PROBED
    stored = stored_scores(connection)
    for number in range(12):
        np.testing.assert_array_equal(stored[number], model.table[:4100, number].astype(np.float32).astype(np.float16))


def test_other_settings_are_solved_again(docs: pgretrieval.Collection, model: TableCrossEncoder, connection: Connection):
    """Other settings cause a new solution; equal settings do not."""
    first = {"anchor_items": 30, "selection": "random"}
    assert docs.factorize(model, TRAIN, **first).solved
    drawn = [number for number, _ in anchor_rows(connection)]
    assert not docs.factorize(model, TRAIN, **first).solved
    assert docs.factorize(model, TRAIN, **first, seed=1).solved
    assert [number for number, _ in anchor_rows(connection)] != drawn
    assert docs.factorize(model, TRAIN, **first, seed=1, element="halfvec").solved
    other = queries(range(5, 65))
    assert docs.factorize(model, other, **first, seed=1, element="halfvec").solved
    for number, row in stored_scores(connection).items():
        np.testing.assert_array_equal(row, model.table[5:65, number].astype(np.float32).astype(np.float16))


def test_mean_anchor_scores_ignore_constant_queries(docs: pgretrieval.Collection, model: TableCrossEncoder, connection: Connection):
    """The mean score of an anchor ignores constant queries."""
    model.table[[3, 8]] = 1e5
    assert docs.factorize(model, TRAIN, 30).constant_queries == 2
    told = np.delete(np.arange(60), [3, 8])
    for number, mean in anchor_rows(connection):
        assert mean == pytest.approx(model.table[told, number].mean(), rel=1e-4)


def test_ten_informative_queries_are_enough(docs: pgretrieval.Collection, model: TableCrossEncoder):
    """The minimum number of informative queries named in the error is accepted."""
    model.table[:2] = 7
    report = docs.factorize(model, queries(range(12)), 8)
    assert (report.constant_queries, report.anchor_items) == (2, 8)


def test_a_large_collection_is_solved_on_a_sample(
    docs: pgretrieval.Collection, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    """A large collection is solved on a random sample, and all passages get embeddings."""
    monkeypatch.setattr(stages, "_SAMPLE", 120)
    model = TableCrossEncoder(noise=0)
    report = docs.factorize(model, TRAIN, 30)
    assert report.embedded == 300
    numbers = [number for number, _ in anchor_rows(connection)]
    assert max(numbers) > 200
    for query in (61, 65, 70):
        hits = docs.search(f"query {query}", 10, scorer="cross_encoder", budget=60)
        assert [int(hit.id[1:]) for hit in hits] == model.best(query, 10)
    docs.factorize(model, TRAIN, 30, seed=1)
    assert [number for number, _ in anchor_rows(connection)] != numbers


def embedded_scores(connection: Connection, number: int, model: TableCrossEncoder) -> dict[int, float]:
    """Estimates of the stored embeddings for a query with exact anchor scores, by the number of each passage."""
    collection_id = connection.execute("select collection_id from pgretrieval.collection").fetchone()[0]
    row = factorizations.active(CollectionTables(connection, collection_id))
    assert row is not None
    vector = model.table[number, [anchor for anchor, _ in anchor_rows(connection)]] @ row.directions
    statement = "select key, embedding::real[] from pgretrieval.item_embedding join pgretrieval.passage using (bucket, passage_id)"
    rows = connection.execute(statement).fetchall()
    return {int(key[1:]): float(vector @ (np.array(embedding) + row.centre)) for key, embedding in rows}


def test_embeddings_are_centred_and_give_the_scores(docs: pgretrieval.Collection, connection: Connection):
    """Embeddings are centred, and the mean is part of the estimate."""
    model = TableCrossEncoder(noise=0)
    docs.factorize(model, TRAIN, 30)
    for query in (62, 75):
        given = embedded_scores(connection, query, model)
        assert len(given) == 300
        np.testing.assert_allclose([given[number] for number in range(300)], model.table[query, :300], atol=5e-3)
    means = connection.execute("select avg(embedding)::real[] from pgretrieval.item_embedding").fetchone()[0]
    np.testing.assert_allclose(means, 0, atol=1e-4)


def test_a_passage_that_is_deleted_while_it_is_embedded(
    docs: pgretrieval.Collection, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    """A passage deleted during embedding gets none, and the others keep theirs."""
    read = factorizations.scores_of
    reads = []

    def deleting(*given: Any) -> Any:
        found = read(*given)
        reads.append(len(found[0]))
        if len(reads) == 2:
            docs.delete(["p10", "p11"])
        return found

    monkeypatch.setattr(factorizations, "scores_of", deleting)
    model = TableCrossEncoder(noise=0)
    docs.factorize(model, TRAIN, 30)
    assert reads == [300, 300]
    given = embedded_scores(connection, 70, model)
    assert set(given) == set(range(300)) - {10, 11}
    np.testing.assert_allclose(list(given.values()), model.table[70, list(given)], atol=5e-3)
    assert not docs.check()
