"""Search by a cross-encoder within a budget of calls.

A search holds no connection while the cross-encoder runs; each read is a snapshot of its own. Passages that are deleted meanwhile
are not found; scores already computed remain.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from pgretrieval.anncur.estimate import QueryModel
from pgretrieval.anncur.inverse import Matrix
from pgretrieval.anncur.solving import anchors_for, informative_queries
from pgretrieval.db.connection import Database
from pgretrieval.db.handles import CollectionTables, FactorizationTables
from pgretrieval.db.tables import factorizations, passages
from pgretrieval.db.tables.factorizations import Anchor, FactorizationRow, Item
from pgretrieval.errors import ConfigError, IndexNotBuiltError
from pgretrieval.rerank import PairScorer
from pgretrieval.search.explain import Explanation
from pgretrieval.search.options import DEFAULT_ROUNDS
from pgretrieval.types import CollectionId, Hit, Passage, Restriction

_REPLACED_AT_MOST = 5  # attempts of one search; each replacement of the factorisation starts another


@dataclass(frozen=True, slots=True)
class Request:
    """Parameters of one search. `rounds` None selects ANNCUR's two steps: score anchors, then the best by estimate;
    5 rounds where there are no anchor items.
    """

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
    """The factorisation that a search reads was replaced."""


class CallBudget:
    """Calls of one search: scores so far and the calls left. No pair is scored twice."""

    def __init__(self, scorer: PairScorer, query: str, budget: int) -> None:
        self.left = budget
        self.scores: dict[int, float] = {}
        self.items: dict[int, Passage] = {}
        self._scorer = scorer
        self._query = query

    def score(self, items: Sequence[Item]) -> int:
        """Score as many of the items as calls are left; return the number of calls."""
        new = list({item.passage_id: item for item in items if item.passage_id not in self.scores}.values())[: self.left]
        self.items.update((item.passage_id, item.passage) for item in items)
        if new:
            self.left -= len(new)
            scores = self._scorer.predict([(self._query, item.passage.encoded_text) for item in new])
            self.scores.update(zip((item.passage_id for item in new), scores.tolist(), strict=True))
        return len(new)


class AnchorSearcher:
    """Searcher of one collection by its factorisation, which is cached between searches. Threads may share it."""

    def __init__(self, database: Database, collection_id: CollectionId, name: str) -> None:
        self._database = database
        self._collection_id = collection_id
        self._name = name
        self._loaded: _Loaded | None = None
        self._loading = threading.Lock()

    def row(self) -> FactorizationRow:
        """Return the active factorisation. Raises IndexNotBuiltError if there is none."""
        return self._current().row

    def search(self, request: Request, scorer: PairScorer, starting_ids: Sequence[str] | None) -> Explanation:
        """Return the k best passages within the budget, with exact scores.

        `starting_ids` are the results of another search, best first. Raises IndexNotBuiltError without a factorisation, ConfigError
        if the factorisation is of another cross-encoder.
        """
        search = _Search(self._database, self._collection_id, request, scorer)
        for _ in range(_REPLACED_AT_MOST):
            with search.explanation.stage("load"):
                loaded = self._current()
            self._check(loaded.row, scorer)
            try:
                return search.run(loaded, starting_ids)
            except _ReplacedError:
                continue
        msg = f"the factorisation of collection {self._name!r} was replaced {_REPLACED_AT_MOST} times during a search; search again"
        raise ConfigError(msg)

    def _current(self) -> _Loaded:
        with self._loading, self._database.reading(f"searching collection {self._name!r}") as connection:
            tables = CollectionTables(connection, self._collection_id)
            active = factorizations.active_identity(tables)
            if self._loaded is None or self._loaded.row.identity != active:
                row = factorizations.active(tables)
                if row is None:
                    msg = f"collection {self._name!r} has no factorisation; call factorize(cross_encoder, anchor_queries)"
                    raise IndexNotBuiltError(msg)
                informative = row.intersection[informative_queries(row.intersection)]
                model = QueryModel(informative if len(informative) else row.intersection, row.held_out_error**2, row.directions)
                self._loaded = _Loaded(row, model)
            return self._loaded

    def _check(self, row: FactorizationRow, scorer: PairScorer) -> None:
        if scorer.fingerprint != row.fingerprint:
            msg = (
                f"the cross-encoder {scorer.spec} is not the one that collection {self._name!r} was factorized with, "
                f"{row.cross_encoder}, or it has changed (fingerprint {scorer.fingerprint!r:.60}, not {row.fingerprint!r:.60}); "
                "pass that one, or factorize with this one, which scores all passages again"
            )
            raise ConfigError(msg)


class _Search:
    """One search. `_calls` and `explanation` survive a restart with another factorisation."""

    _loaded: _Loaded
    """The factorisation of the current attempt."""

    def __init__(self, database: Database, collection_id: CollectionId, request: Request, scorer: PairScorer) -> None:
        self.explanation = Explanation()
        self._database = database
        self._collection_id = collection_id
        self._request = request
        self._calls = CallBudget(scorer, request.query, request.budget)
        self._features: dict[int, Matrix] = {}

    def run(self, loaded: _Loaded, starting_ids: Sequence[str] | None) -> Explanation:
        """Spend the budget and return the best scored passages. Raises _ReplacedError."""
        self._loaded = loaded
        with self._timed_snapshot("anchors") as tables:
            available = factorizations.anchors(tables, self._request.restriction)
            starting_items: list[Item] = []
            if starting_ids is not None:
                starting_items = factorizations.named(tables, list(starting_ids))
        self._features = {anchor.passage_id: loaded.model.anchor_vectors[anchor.place] for anchor in available}
        rounds = self._request.rounds
        if rounds is None and loaded.row.per_query is not None:
            rounds = DEFAULT_ROUNDS  # there are no anchor items for a first step
        if rounds is None:
            self._in_two_steps(available)
        elif rounds == 1 and starting_ids is not None:
            self._score_candidates(starting_items)  # a rerank of what the other search found
        else:
            self._in_rounds([anchor for anchor in available if anchor.searched], starting_items, rounds)
        self.explanation.hits = self._hits({anchor.passage_id for anchor in available if not anchor.searched})
        return self.explanation

    def _in_two_steps(self, available: list[Anchor]) -> None:
        """Score as many anchors as the learnt split gives for the budget, then the best by estimate."""
        calls, row, request = self._calls, self._loaded.row, self._request
        if request.restriction != Restriction():
            matching = self._nearest(self._loaded.model.mean, request.budget)
            if len(matching) < request.budget:  # all matching passages fit the budget, so no estimate is needed
                self._score(matching)
                return
        first = available[: anchors_for(request.budget, row.split, row.anchor_items)]
        left = request.budget - request.k  # reserve a call for each hit
        unaffordable = set([anchor for anchor in first if not anchor.searched][left:])
        self._score(self._anchor_items([anchor for anchor in first if anchor not in unaffordable]))
        known = [anchor for anchor in available if anchor.passage_id in calls.scores]
        places = np.array([anchor.place for anchor in known], dtype=np.int64)
        scores = np.array([calls.scores[anchor.passage_id] for anchor in known])
        self._score(self._nearest(self._loaded.model.of_anchors(places, scores), calls.left))

    def _in_rounds(self, available: list[Anchor], starting_items: list[Item], rounds: int) -> None:
        """Spend equal shares of the budget, each on the best by an estimate from all scores so far.

        Every call scores a candidate, never an anchor that the restriction excludes.
        """
        calls, budget = self._calls, self._request.budget
        for number in range(1, rounds + 1):
            before = len(calls.scores)
            wanted = calls.left - budget + round(budget * number / rounds)
            if number == 1:
                items = starting_items[:wanted] or self._anchor_items(available[:wanted])
                self._score_candidates(items)
                wanted -= len(items)
            if wanted > 0:
                self._score_candidates(self._nearest(self._vector(), wanted))
                if len(calls.scores) == before:
                    break  # no passage is left that has an embedding
        self._score_candidates(starting_items)

    def _score_candidates(self, items: Sequence[Item]) -> None:
        for item in items:
            if item.embedding is not None:
                self._features.setdefault(item.passage_id, item.embedding + self._loaded.row.centre)
        self._score(items)

    def _score(self, items: Sequence[Item]) -> None:
        with self.explanation.stage("cross_encoder"):
            self.explanation.cross_encoder_calls += self._calls.score(items)

    def _vector(self) -> Matrix:
        """Return the query vector estimated from all scores so far."""
        known = [passage_id for passage_id in self._calls.scores if passage_id in self._features]
        if not known:
            return self._loaded.model.mean
        features = np.stack([self._features[passage_id] for passage_id in known])
        return self._loaded.model.of_items(features, np.array([self._calls.scores[passage_id] for passage_id in known]))

    def _anchor_items(self, chosen: Sequence[Anchor]) -> list[Item]:
        ids = [anchor.passage_id for anchor in chosen if anchor.passage_id not in self._calls.scores]
        with self._timed_snapshot("anchors") as tables:
            found = passages.texts(tables, ids)
        return [
            Item(number, Passage(found[number][0], found[number][2], found[number][1], found[number][3]), None)
            for number in ids
            if number in found
        ]

    def _nearest(self, vector: Matrix, count: int) -> list[Item]:
        """Return the best unscored items by estimate. Raises _ReplacedError if the factorisation was dropped."""
        if count < 1:
            return []
        known = list(self._calls.scores)
        with self._timed_snapshot("candidates") as tables:
            found = factorizations.nearest(tables, vector, count, self._request.restriction, known)
            if not found and factorizations.active_identity(tables) != self._loaded.row.identity:
                raise _ReplacedError
        self.explanation.candidates += len(found)
        return found

    @contextmanager
    def _timed_snapshot(self, stage: str) -> Iterator[FactorizationTables]:
        self.explanation.round_trips += 1
        with self.explanation.stage(stage), self._database.reading("searching by a cross-encoder") as connection:
            yield FactorizationTables(connection, self._collection_id, self._loaded.row.factorization_id)

    def _hits(self, estimate_only: set[int]) -> list[Hit]:
        """Return the k best scored passages, best first, without those scored only for the estimate."""
        scores, items = self._calls.scores, self._calls.items
        ranked = sorted((-score, number) for number, score in scores.items() if number not in estimate_only)[: self._request.k]
        return [
            Hit(place, shown.id, -score, shown.title, shown.text, dict(shown.metadata))
            for place, (score, number) in enumerate(ranked, start=1)
            for shown in (items[number],)
        ]


def rerank(scorer: PairScorer, query: str, hits: Sequence[Hit], k: int) -> Explanation:
    """Rerank hits by exact scores and return the k best."""
    explanation = Explanation(cross_encoder_calls=len(hits))
    with explanation.stage("cross_encoder"):
        scores = scorer.predict([(query, hit.encoded_text) for hit in hits]).tolist()
    order = sorted(range(len(hits)), key=lambda place: (-scores[place], place))[:k]
    explanation.hits = [replace(hits[place], rank=number, score=scores[place]) for number, place in enumerate(order, start=1)]
    return explanation
