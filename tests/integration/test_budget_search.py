"""Calls of a search by a cross-encoder, one by one, compared with estimates from the stored factorisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.anncur.solving import anchors_for
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import factorizations, passages
from pgretrieval.db.tables.factorizations import FactorizationRow
from tests.fixtures.collections import Corpus
from tests.support.cross_encoder import TableCrossEncoder, queries

Connection = psycopg.Connection[Any]
TRAIN = queries(range(60))
ANCHORS = 30


class Counted(TableCrossEncoder):
    """Records the numbers of the passages of each call."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.batches: list[list[int]] = []

    def predict(self, pairs: Any) -> Any:
        self.batches.append([int(text.split()[-1]) for _, text in pairs])
        return super().predict(pairs)


class Stored:
    """A factorised collection: its anchors in order by their numbers, and the stored row and embeddings."""

    def __init__(self, collection: pgretrieval.Collection, model: Counted, connection: Connection) -> None:
        self.collection, self.model, self._connection = collection, model, connection
        collection.factorize(model, TRAIN, ANCHORS)
        statement = "select key from pgretrieval.anchor_item join pgretrieval.passage using (bucket, passage_id) order by place"
        self.anchors = [int(key[1:]) for (key,) in connection.execute(statement).fetchall()]
        number = connection.execute("select collection_id from pgretrieval.collection").fetchone()[0]
        row = factorizations.active(CollectionTables(connection, number))
        assert row is not None
        self.row: FactorizationRow = row

    def embeddings(self) -> dict[int, np.ndarray]:
        """Embeddings of all passages, centred."""
        statement = (
            "select key, embedding::real[] from pgretrieval.item_embedding join pgretrieval.passage using (bucket, passage_id)"
        )
        return {int(key[1:]): np.array(embedding) for key, embedding in self._connection.execute(statement).fetchall()}

    def spent(self, query: int, k: int = 5, *, word: str = "query", **how: Any) -> list[list[int]]:
        """The passages of each call of one search; all contain the word "passage"."""
        self.model.batches.clear()
        self.collection.search(f"{word} {query}", k, scorer="cross_encoder", **how)
        return list(self.model.batches)

    def share(self, budget: int) -> int:
        """Number of calls for anchors."""
        return anchors_for(budget, self.row.split, ANCHORS)

    def best_by_estimate(self, query: int, places: list[int], count: int) -> list[int]:
        """Passages by the mean of the anchor scores at some places, each with the error of held-out queries."""
        scores = self.row.intersection
        expected, covariance = scores.mean(axis=0), np.cov(scores.T, bias=True)
        own = self.model.table[query, [self.anchors[place] for place in places]]
        known = covariance[np.ix_(places, places)] + self.row.held_out_error**2 * np.eye(len(places))
        vector = (expected + covariance[:, places] @ np.linalg.solve(known, own - expected[places])) @ self.row.directions
        scored = {self.anchors[place] for place in places}
        given = {number: float(vector @ row) for number, row in self.embeddings().items() if number not in scored}
        return sorted(given, key=lambda number: -given[number])[:count]


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.Collection:
    collection = database.create_collection("docs")
    collection.add(corpus.passages, vectors=corpus.vectors)
    return collection


@pytest.fixture
def noisy(docs: pgretrieval.Collection, connection: Connection) -> Stored:
    """Estimates with errors."""
    return Stored(docs, Counted(noise=0.3), connection)


@pytest.fixture
def exact(docs: pgretrieval.Collection, connection: Connection) -> Stored:
    """Estimates without errors once as many passages are scored as there are directions."""
    return Stored(docs, Counted(noise=0), connection)


@pytest.mark.parametrize("budget", [12, 30, 60])
def test_first_come_anchors_in_their_order_and_then_the_best_by_estimate(noisy: Stored, budget: int):
    """The anchors are scored in their order, then the passages with the best estimates."""
    count = noisy.share(budget)
    assert 0 < count < ANCHORS
    for query in (60, 66, 72):
        first, second = noisy.spent(query, budget=budget)
        assert first == noisy.anchors[:count]
        assert set(second) == set(noisy.best_by_estimate(query, list(range(count)), budget - count))


def test_anchors_that_are_gone_leave_the_others_their_places(noisy: Stored):
    """Each anchor score is assigned to its own anchor when others are missing."""
    gone = [0, 3, 4]
    noisy.collection.delete([f"p{noisy.anchors[place]}" for place in gone])
    left = [place for place in range(ANCHORS) if place not in gone]
    count = noisy.share(40)
    first, second = noisy.spent(63, budget=40)
    assert first == [noisy.anchors[place] for place in left[:count]]
    assert set(second) == set(noisy.best_by_estimate(63, left[:count], 40 - count))


@pytest.mark.parametrize("rounds", [None, 2, 4, 6])
def test_exact_estimates_find_exactly_the_best(exact: Stored, rounds: int | None):
    """Exact estimates find exactly the best, so embeddings match passages and anchors match places."""
    exact.collection.delete([f"p{exact.anchors[place]}" for place in (0, 2)])
    gone = {exact.anchors[place] for place in (0, 2)}
    left = [number for number in range(300) if number not in gone]
    for query in range(60, 70):
        hits = exact.collection.search(f"query {query}", 10, scorer="cross_encoder", budget=72, rounds=rounds)
        assert [int(hit.id[1:]) for hit in hits] == exact.model.best(query, 10, left)


def test_rounds_have_equal_shares(noisy: Stored):
    """Each round spends its equal share, and the first takes no more anchors."""
    spent = noisy.spent(64, budget=50, rounds=4)
    assert [len(batch) for batch in spent] == [12, 13, 13, 12]  # 12.5, 25, 37.5 and 50 calls
    assert spent[0] == noisy.anchors[:12]
    assert set(spent[1]) == set(noisy.best_by_estimate(64, list(range(12)), 13))


def test_the_first_round_scores_hits_of_another_search(noisy: Stored):
    """The first round scores the other search's best within its share, and later rounds score no passage twice."""
    begun = [int(hit.id[1:]) for hit in noisy.collection.text_search("passage 65", 100)]
    assert len(begun) == 100
    spent = noisy.spent(65, word="passage", budget=48, rounds=4, generator="text")
    assert [len(batch) for batch in spent] == [12, 12, 12, 12]
    assert spent[0] == begun[:12]
    assert [hit.id for hit in noisy.collection.text_search("query 65", 100)] == ["p65"]
    spent = noisy.spent(65, budget=48, rounds=4, generator="text")
    assert [len(batch) for batch in spent] == [1, 11, 12, 12, 12]
    assert spent[0] == [65]


@pytest.mark.parametrize("budget", [18, 36])
def test_passages_without_embedding_are_scored_last(noisy: Stored, corpus: Corpus, budget: int):
    """Passages without an embedding are scored last, with remaining calls."""
    noisy.collection.add([{"id": f"p{n}", "text": f"passage {n}"} for n in (300, 301)], vectors=corpus.vectors[:2])
    among = [3, 4, 9, 12, 300, 301]
    where = {"word": "passage", "generator": "text", "among": [f"p{number}" for number in among]}
    spent = noisy.spent(65, 6, budget=budget, rounds=9, **where)
    assert sorted(number for batch in spent for number in batch) == among


def test_anchors_outside_of_a_filter_leave_a_call_for_each_hit(noisy: Stored):
    """Anchors excluded by a filter are scored only with calls that hits do not need."""
    outside = [number for number in noisy.anchors if number >= 100]
    for budget, k in ((30, 25), (30, 30), (30, 5), (60, 10)):
        paid = [n for n in noisy.anchors[: noisy.share(budget)] if n >= 100]
        spent = [number for batch in noisy.spent(62, k, budget=budget, where={"number": {"$lt": 100}}) for number in batch]
        assert [number for number in spent if number in outside] == paid[: budget - k]
        assert len(spent) == budget


def test_few_that_match_are_scored_and_nothing_else(noisy: Stored):
    """If few passages match, they alone are scored."""
    [spent] = noisy.spent(62, budget=40, where={"number": {"$lt": 39}})
    assert sorted(spent) == list(range(39))
    spent_on_40 = [number for batch in noisy.spent(62, budget=40, where={"number": {"$lt": 41}}) for number in batch]
    assert len(spent_on_40) == 40


@pytest.mark.parametrize("rounds", [None, 3])
def test_hits_show_the_passages_as_they_were_given(noisy: Stored, corpus: Corpus, rounds: int | None):
    """Anchors among the hits have their own title, text and metadata."""
    hits = noisy.collection.search("query 61", 300, scorer="cross_encoder", budget=300, rounds=rounds)
    shown = {hit.id: {"id": hit.id, "title": hit.title, "text": hit.text, "metadata": hit.metadata} for hit in hits}
    assert shown == {passage["id"]: passage for passage in corpus.passages}
    assert {text for _, text in noisy.model.asked} == {f"{one['title']} {one['text']}" for one in corpus.passages}


def test_anchors_that_are_deleted_before_they_are_read(noisy: Stored, monkeypatch: pytest.MonkeyPatch):
    """An anchor deleted during a search is skipped, and the others keep their scores."""
    read = passages.texts
    gone = [f"p{noisy.anchors[place]}" for place in (1, 2)]

    def deleting(*given: Any) -> Any:
        noisy.collection.delete(gone)
        return read(*given)

    monkeypatch.setattr(passages, "texts", deleting)
    count = noisy.share(40)
    first, second = noisy.spent(63, budget=40)
    left = [place for place in range(count) if place not in (1, 2)]
    assert first == [noisy.anchors[place] for place in left]
    assert set(second) == set(noisy.best_by_estimate(63, left, 40 - len(left)))


def test_an_object_is_identified_once(docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase):
    """An object without `fingerprint` is identified once, not at each search."""

    class Unmarked:
        def __init__(self) -> None:
            self.table, self.asked = TableCrossEncoder(), 0

        def predict(self, pairs: Any) -> Any:
            self.asked += len(pairs)
            numbered = all(text[-1].isdigit() for pair in pairs for text in pair)
            return self.table.predict(pairs) if numbered else np.arange(len(pairs), dtype=float)

    docs.factorize(Unmarked(), TRAIN, ANCHORS)
    model = Unmarked()
    other = database.get_collection("docs")
    other.use_cross_encoder(model)
    assert model.asked == 4
    assert other.explain("query 61", 5, scorer="cross_encoder", budget=40).cross_encoder_calls == 40
    assert model.asked == 44


def test_each_search_is_reranked_by_the_one_that_it_names(docs: pgretrieval.Collection, corpus: Corpus):
    """Each search uses the cross-encoder that it names."""
    models = [TableCrossEncoder(seed=seed) for seed in (0, 1)]
    found = [int(hit.id[1:]) for hit in docs.search(vectors=corpus.queries[0], k=20)]
    for model in (*models, models[0]):
        hits = docs.search("query 7", 5, vectors=corpus.queries[0], rerank=model, rerank_depth=20)
        assert [int(hit.id[1:]) for hit in hits] == model.best(7, 5, found)
