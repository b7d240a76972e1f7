"""What a collection does by a cross-encoder: factorise, search within a budget, rerank what another search found."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pgretrieval import validate
from pgretrieval.anncur.budget_search import DEFAULT_ROUNDS, AnchorSearcher, Request, rerank
from pgretrieval.anncur.factorize import (
    Costs,
    FactorizationReport,
    FactorizeOptions,
    check_options,
    distinct_queries,
    factorize,
)
from pgretrieval.db.connection import Database
from pgretrieval.db.tables.catalog import CollectionRow
from pgretrieval.errors import ConfigError, EncoderError, InputError, PgRetrievalWarning
from pgretrieval.index.coding import Coders
from pgretrieval.index.work import Stage
from pgretrieval.rerank import PairScorer, from_spec, load_cross_encoder
from pgretrieval.search.explain import Explanation
from pgretrieval.types import Hit, Restriction

DEFAULT_BUDGET = 500

Ordinary = Callable[[int, "str | int | None", Explanation], list[Hit]]
"""Another search for the same query: (hits, candidates, explanation) -> hits. Candidates "text" is the search by words."""


@dataclass(frozen=True, slots=True)
class CrossKnobs:
    """What a caller sets of a search by a cross-encoder; docs/guides/cross-encoders.md explains them."""

    scorer: str | None = None
    budget: int | None = None
    rounds: int | None = None
    rerank: str | os.PathLike[str] | object | None = None
    rerank_depth: int = 100

    @property
    def wanted(self) -> bool:
        """Whether a cross-encoder takes part. Raises ConfigError, naming the value, for what cannot be used."""
        if not (self.scorer is None or (isinstance(self.scorer, str) and self.scorer == "cross_encoder")):
            msg = f'scorer is {validate.shown(self.scorer)}; give "cross_encoder", or leave it out for the collection\'s own'
            raise ConfigError(msg)
        if self.scorer is None and (self.budget is not None or self.rounds is not None):
            msg = 'budget and rounds are of searches with scorer="cross_encoder"; give that, too'
            raise ConfigError(msg)
        if self.scorer is not None and self.rerank is not None:
            msg = 'scorer="cross_encoder" scores all that it finds exactly; leave rerank= out'
            raise ConfigError(msg)
        return self.scorer is not None or self.rerank is not None


class Crossing:
    """A collection's cross-encoder, and the factorisation of its scores; threads may share it."""

    def __init__(self, database: Database, row: CollectionRow, coders: Coders, device: str | None) -> None:
        self._database = database
        self._row = row
        self._coders = coders
        self._device = device
        self._searcher = AnchorSearcher(database, row.collection_id, row.name)
        self._scorer: PairScorer | None = None
        self._reranker: tuple[Any, PairScorer] | None = None

    def use(self, cross_encoder: str | os.PathLike[str] | object) -> PairScorer:
        """Remember a cross-encoder for the searches to come. An object is asked for its fingerprint here and not by a search."""
        named = validate.names_or_object("cross_encoder", cross_encoder, EncoderError)
        scorer = load_cross_encoder(named, self._device)
        if scorer.spec["kind"] == "object":
            _ = scorer.fingerprint
        self._scorer = scorer
        return scorer

    def factorize(
        self,
        row: CollectionRow,
        cross_encoder: str | os.PathLike[str] | object,
        queries: Sequence[str],
        options: FactorizeOptions,
        stage: Stage | None,
        costs: Callable[[Costs], None] | None,
    ) -> FactorizationReport:
        """Score, choose anchors, solve, embed, switch; `row` is the collection as it is now."""
        options = check_options(options)
        queries = list(validate.listed("anchor_queries", queries, "texts", InputError))
        distinct = distinct_queries(queries)
        validate.called("stage", stage)
        validate.called("costs", costs)
        scorer = self.use(cross_encoder)
        report = factorize(self._database, row, self._coders, scorer, distinct, options, stage or _silent, costs or _untold)
        repeated = len(queries) - len(distinct)
        if repeated:
            message = f"{repeated} of {len(queries)} anchor queries were there before and were left out"
            warnings.warn(message, PgRetrievalWarning, stacklevel=3)
        return report

    def explain(
        self,
        query: str | None,
        k: int,
        knobs: CrossKnobs,
        candidates: str | int | None,
        restriction: Restriction | None,
        ordinary: Ordinary,
    ) -> Explanation:
        """One search, by budget or as a rerank. Raises InputError without a query text, ConfigError."""
        query = validate.text("the query", query, InputError, remedy="a text that is not blank, since a cross-encoder reads texts")
        explained = Explanation()
        if knobs.rerank is not None:
            _at_least(k, "rerank_depth", knobs.rerank_depth)
            scorer = self._reranker_of(knobs.rerank)
            explained.hits = rerank(scorer, query, ordinary(knobs.rerank_depth, candidates, explained), k, explained)
            return explained
        budget = max(DEFAULT_BUDGET, k) if knobs.budget is None else knobs.budget
        _at_least(k, "budget", budget)
        rounds = DEFAULT_ROUNDS if knobs.rounds is None and candidates is not None else knobs.rounds
        if rounds is not None:
            rounds = min(validate.whole("rounds", rounds, 1 if candidates is not None else 2), budget)
        started = None
        if candidates is not None:
            first = -(-budget // (rounds or 1))
            started = [hit.id for hit in ordinary(first, candidates, explained)]
        request = Request(query, k, budget, rounds, restriction or Restriction())
        explained.hits = self._searcher.search(request, self._held_scorer(), started, explained)
        return explained

    def _held_scorer(self) -> PairScorer:
        """The one that was given, or that the factorisation names."""
        if self._scorer is None:
            self._scorer = from_spec(self._searcher.row().cross_encoder, self._device)
        return self._scorer

    def _reranker_of(self, given: str | os.PathLike[str] | object) -> PairScorer:
        if self._reranker is None or self._reranker[0] is not given:
            self._reranker = given, load_cross_encoder(validate.names_or_object("rerank", given, EncoderError), self._device)
        return self._reranker[1]


def _silent(_name: str, _done: int, _total: int) -> None:
    pass


def _untold(_costs: Costs) -> None:
    pass


def _at_least(k: int, name: str, given: int) -> None:
    if given < k:
        msg = f"{name} is {given}, less than the {k} hits asked for; give at least k"
        raise ConfigError(msg)
