"""Searching by a cross-encoder within a budget of its calls.

Nothing is read while the cross-encoder works: a search holds no connection through its calls, and each of its looks into the
database is a snapshot of its own. What was deleted in between is not found; what was scored stays scored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from pgretrieval.anncur.estimate import QueryModel
from pgretrieval.anncur.inverse import Matrix
from pgretrieval.anncur.solving import anchors_for, telling
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.tables import factorizations, passages
from pgretrieval.db.tables.factorizations import Anchor, FactorizationRow, Item
from pgretrieval.errors import ConfigError, IndexNotBuiltError
from pgretrieval.rerank import PairScorer
from pgretrieval.search.explain import Explanation
from pgretrieval.types import CollectionId, Hit, Passage, Restriction

_REPLACED_AT_MOST = 5  # times that a factorisation is replaced during one search


@dataclass(frozen=True, slots=True)
class Request:
    """One search; `rounds` None is ANNCUR's two steps, anchors and then the best by estimate."""

    query: str
    k: int
    budget: int
    rounds: int | None
    restriction: Restriction


@dataclass(frozen=True, slots=True)
class _Loaded:
    row: FactorizationRow
    model: QueryModel


class _ReplacedError(Exception):
    """Another factorisation took the place of the one that a search began with."""


class CallBudget:
    """The calls of one search: what was scored, and how many calls are left. No pair is scored twice."""

    def __init__(self, scorer: PairScorer, query: str, budget: int) -> None:
        self.left = budget
        self.scores: dict[int, float] = {}
        self.items: dict[int, Passage] = {}
        self._scorer = scorer
        self._query = query

    def score(self, items: Sequence[Item]) -> int:
        """Score as many of the items as there are calls left; return how many calls that took."""
        new = list({item.passage_id: item for item in items if item.passage_id not in self.scores}.values())[: self.left]
        self.items.update((item.passage_id, item.passage) for item in items)
        if new:
            self.left -= len(new)
            scores = self._scorer.predict([(self._query, item.passage.encoded_text) for item in new])
            self.scores.update(zip((item.passage_id for item in new), scores.tolist(), strict=True))
        return len(new)


class AnchorSearcher:
    """Searches one collection by the factorisation that it has; threads may share it. That is kept from one search to the next."""

    def __init__(self, database: Database, collection_id: CollectionId, name: str) -> None:
        self._database = database
        self._collection_id = collection_id
        self._name = name
        self._loaded: _Loaded | None = None
        self._loading = threading.Lock()

    def row(self) -> FactorizationRow:
        """The active factorisation. Raises IndexNotBuiltError where there is none."""
        return self._current().row

    def search(self, request: Request, scorer: PairScorer, started: Sequence[str] | None) -> Explanation:
        """The k best of what the budget pays for, with exact scores; `started` are ids that another search found, best first.

        Raises IndexNotBuiltError where there is no factorisation, ConfigError where it is one of another cross-encoder.
        """
        search = _Search(self._database, self._collection_id, request, scorer)
        for _ in range(_REPLACED_AT_MOST):
            with search.explanation.stage("load"):
                loaded = self._current()
            self._check(loaded.row, scorer)
            try:
                return search.run(loaded, started)
            except _ReplacedError:
                continue
        msg = f"the factorisation of collection {self._name!r} was replaced again and again during this search; do the same again"
        raise ConfigError(msg)

    def _current(self) -> _Loaded:
        with self._loading, self._database.reading(f"searching collection {self._name!r}") as connection:
            active = factorizations.active_identity(connection, self._collection_id)
            if self._loaded is None or self._loaded.row.identity != active:
                row = factorizations.active(connection, self._collection_id)
                if row is None:
                    msg = f"collection {self._name!r} has no factorisation; make one by factorize(cross_encoder, anchor_queries)"
                    raise IndexNotBuiltError(msg)
                told = row.intersection[telling(row.intersection)]
                model = QueryModel(told if len(told) else row.intersection, row.held_out_error**2, row.directions)
                self._loaded = _Loaded(row, model)
            return self._loaded

    def _check(self, row: FactorizationRow, scorer: PairScorer) -> None:
        if scorer.fingerprint != row.fingerprint:
            msg = (
                f"the cross-encoder {scorer.spec} is not the one whose scores collection {self._name!r} was factorized by, "
                f"{row.cross_encoder}, or has changed since (fingerprint {scorer.fingerprint!r:.60}, not {row.fingerprint!r:.60}); "
                "give that one, or factorize with this one, which scores all passages anew"
            )
            raise ConfigError(msg)


class _Search:
    """One search. `calls` and `explanation` stay where the factorisation is replaced and the search begins again with another."""

    _loaded: _Loaded
    """The factorisation of the current attempt."""

    def __init__(self, database: Database, collection_id: CollectionId, request: Request, scorer: PairScorer) -> None:
        self.explanation = Explanation()
        self._database = database
        self._collection_id = collection_id
        self._request = request
        self._calls = CallBudget(scorer, request.query, request.budget)
        self._features: dict[int, Matrix] = {}

    def run(self, loaded: _Loaded, started: Sequence[str] | None) -> Explanation:
        """Spend the budget, and return the best of what was scored. Raises _ReplacedError."""
        self._loaded = loaded
        row = loaded.row
        with self._reading("anchors") as connection:
            there = factorizations.anchors(connection, self._collection_id, row.factorization_id, self._request.restriction)
            begun = (
                []
                if started is None
                else factorizations.named(connection, self._collection_id, row.factorization_id, list(started))
            )
        self._features = {anchor.passage_id: loaded.model.anchor_vectors[anchor.place] for anchor in there}
        rounds = self._request.rounds
        if rounds is None:
            self._in_two_steps(there)
        elif rounds == 1 and started is not None:
            self._take(begun)  # a rerank of what the other search found
        else:
            self._in_rounds([anchor for anchor in there if anchor.searched], begun, rounds)
        self.explanation.hits = self._hits({anchor.passage_id for anchor in there if not anchor.searched})
        return self.explanation

    def _in_two_steps(self, there: list[Anchor]) -> None:
        """Anchors, as many as the budget's learnt split says, and then the best by estimate."""
        calls, row, asked = self._calls, self._loaded.row, self._request
        if asked.restriction != Restriction():
            matching = self._nearest(self._loaded.model.mean, asked.budget)
            if len(matching) < asked.budget:  # these are all, so no estimate is needed
                self._score(matching)
                return
        first = there[: anchors_for(asked.budget, row.split, row.anchor_items)]
        left = asked.budget - asked.k  # a call for each hit stays
        outside = set([anchor for anchor in first if not anchor.searched][left:])
        self._score(self._anchor_items([anchor for anchor in first if anchor not in outside]))
        known = [anchor for anchor in there if anchor.passage_id in calls.scores]
        places = np.array([anchor.place for anchor in known], dtype=np.int64)
        scores = np.array([calls.scores[anchor.passage_id] for anchor in known])
        self._score(self._nearest(self._loaded.model.of_anchors(places, scores), calls.left))

    def _in_rounds(self, there: list[Anchor], begun: list[Item], rounds: int) -> None:
        """Equal shares of the budget, each for the best by an estimate from all scores so far; every call goes to a candidate."""
        calls, budget = self._calls, self._request.budget
        for number in range(1, rounds + 1):
            before = len(calls.scores)
            wanted = calls.left - budget + round(budget * number / rounds)
            if number == 1:
                items = begun[:wanted] or self._anchor_items(there[:wanted])
                self._take(items)
                wanted -= len(items)
            if wanted > 0:
                self._take(self._nearest(self._vector(), wanted))
                if len(calls.scores) == before:
                    break  # no passage is left that has an embedding
        self._take(begun)

    def _take(self, items: Sequence[Item]) -> None:
        for item in items:
            if item.embedding is not None:
                self._features.setdefault(item.passage_id, item.embedding + self._loaded.row.centre)
        self._score(items)

    def _score(self, items: Sequence[Item]) -> None:
        with self.explanation.stage("cross_encoder"):
            self.explanation.cross_encoder_calls += self._calls.score(items)

    def _vector(self) -> Matrix:
        """The query vector that all scores so far tell of."""
        known = [passage_id for passage_id in self._calls.scores if passage_id in self._features]
        if not known:
            return self._loaded.model.mean
        features = np.stack([self._features[passage_id] for passage_id in known])
        return self._loaded.model.of_items(features, np.array([self._calls.scores[passage_id] for passage_id in known]))

    def _anchor_items(self, chosen: Sequence[Anchor]) -> list[Item]:
        ids = [anchor.passage_id for anchor in chosen if anchor.passage_id not in self._calls.scores]
        with self._reading("anchors") as connection:
            found = passages.texts(connection, self._collection_id, ids)
        return [
            Item(number, Passage(found[number][0], found[number][2], found[number][1], found[number][3]), None)
            for number in ids
            if number in found
        ]

    def _nearest(self, vector: Matrix, count: int) -> list[Item]:
        """The best by estimate of those that are not scored. Raises _ReplacedError where their factorisation is gone."""
        if count < 1:
            return []
        row = self._loaded.row
        known = list(self._calls.scores)
        with self._reading("candidates") as connection:
            found = factorizations.nearest(
                connection, self._collection_id, row.factorization_id, vector, count, self._request.restriction, known
            )
            if not found and factorizations.active_identity(connection, self._collection_id) != row.identity:
                raise _ReplacedError
        self.explanation.candidates += len(found)
        return found

    @contextmanager
    def _reading(self, stage: str) -> Iterator[Connection]:
        self.explanation.round_trips += 1
        with self.explanation.stage(stage), self._database.reading("searching by a cross-encoder") as connection:
            yield connection

    def _hits(self, outside: set[int]) -> list[Hit]:
        """The k best of what was scored, best first, without the passages that were scored for the estimate alone."""
        scores, items = self._calls.scores, self._calls.items
        ranked = sorted((-score, number) for number, score in scores.items() if number not in outside)[: self._request.k]
        return [
            Hit(place, shown.id, -score, shown.title, shown.text, dict(shown.metadata))
            for place, (score, number) in enumerate(ranked, start=1)
            for shown in (items[number],)
        ]


def rerank(scorer: PairScorer, query: str, hits: Sequence[Hit], k: int) -> Explanation:
    """The k best of some hits by their exact scores."""
    explanation = Explanation(cross_encoder_calls=len(hits))
    with explanation.stage("cross_encoder"):
        texts = [Passage(hit.id, hit.text, hit.title).encoded_text for hit in hits]
        scores = scorer.predict([(query, text) for text in texts]).tolist()
    order = sorted(range(len(hits)), key=lambda place: (-scores[place], place))[:k]
    explanation.hits = [replace(hits[place], rank=number, score=scores[place]) for number, place in enumerate(order, start=1)]
    return explanation
