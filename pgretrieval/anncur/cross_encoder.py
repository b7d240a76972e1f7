"""Cross-encoder of a collection: factorise its scores, search within a call budget, rerank the hits of another search."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from pgretrieval import validate
from pgretrieval.anncur.budget_search import AnchorSearcher, Request, rerank
from pgretrieval.anncur.factorize import (
    Costs,
    FactorizationReport,
    FactorizeOptions,
    Retrieve,
    check_options,
    distinct_queries,
    factorize,
)
from pgretrieval.db.connection import Database
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.errors import EncoderError, InputError, PgRetrievalWarning
from pgretrieval.index.coding import Coders
from pgretrieval.index.work import Stage
from pgretrieval.rerank import PairScorer, from_spec, load_cross_encoder
from pgretrieval.search.explain import Explanation
from pgretrieval.search.options import SearchRequest
from pgretrieval.types import Restriction


class CollectionCrossEncoder:
    """Cross-encoder of a collection and the factorisation of its scores. Threads may share it."""

    def __init__(self, database: Database, row: CollectionRow, coders: Coders, device: str | None) -> None:
        self._database = database
        self._coders = coders
        self._device = device
        self._searcher = AnchorSearcher(database, row.collection_id, row.name)
        self._scorer: PairScorer | None = None
        self._reranker: tuple[Any, PairScorer] | None = None

    def use(self, cross_encoder: str | os.PathLike[str] | object) -> PairScorer:
        """Set the cross-encoder of later searches. The fingerprint of an object is computed here, not during a search."""
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
        retrieve: Retrieve,
    ) -> FactorizationReport:
        """Score, choose anchors, solve, embed and switch over; `row` is the current catalog row."""
        options = check_options(options)
        queries = list(validate.listed("anchor_queries", queries, "texts", InputError))
        distinct = distinct_queries(queries)
        validate.called("stage", stage)
        validate.called("costs", costs)
        scorer = self.use(cross_encoder)
        report = factorize(
            self._database, row, self._coders, scorer, distinct, options, stage or _no_progress, costs or _ignore_costs, retrieve
        )
        repeated = len(queries) - len(distinct)
        if repeated:
            message = f"{repeated} of {len(queries)} anchor queries are repetitions and were left out"
            warnings.warn(message, PgRetrievalWarning, stacklevel=3)
        return report

    def search(self, query: str, request: SearchRequest, started: Explanation) -> Explanation:
        """Continue the search `started`: rerank its hits, or find the best within the budget, starting with them.

        Raises IndexNotBuiltError without a factorisation, ConfigError if the factorisation is of another cross-encoder.
        """
        options = request.cross_encoder
        if options is None:
            return started
        if options.model is not None:
            return started.followed_by(rerank(self._reranker_of(options.model), query, started.hits, request.k))
        starting_ids = [hit.id for hit in started.hits] if request.scan.k else None
        searched = Request(query, request.k, options.budget, options.rounds, request.scan.restriction or Restriction())
        return started.followed_by(self._searcher.search(searched, self._current_scorer(), starting_ids))

    def _current_scorer(self) -> PairScorer:
        """Return the cross-encoder that was set, or else the one that the factorisation names."""
        if self._scorer is None:
            self._scorer = from_spec(self._searcher.row().cross_encoder, self._device)
        return self._scorer

    def _reranker_of(self, given: str | os.PathLike[str] | object) -> PairScorer:
        if self._reranker is None or self._reranker[0] is not given:
            self._reranker = given, load_cross_encoder(validate.names_or_object("rerank", given, EncoderError), self._device)
        return self._reranker[1]


def _no_progress(_name: str, _done: int, _total: int) -> None:
    pass


def _ignore_costs(_costs: Costs) -> None:
    pass
