"""Factorisation of a cross-encoder's scores: score, choose anchors, solve, embed, index, switch over.

Scores take hours and the rest minutes, so scores are committed block by block and stored. A call after an interruption, with other
anchors or after more passages were added computes only missing scores. The rest is rebuilt beside the factorisation in use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from pgretrieval import presets, validate
from pgretrieval.anncur.inverse import PLAIN, REGULARISATIONS, REGULARISING, Matrix, Regularising
from pgretrieval.anncur.selection import SELECTIONS, Selection, choose_anchors
from pgretrieval.anncur.solving import SPLITS, Solved, Split, all_anchors, informative_queries, solve
from pgretrieval.anncur.whitening import whiten
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import FactorizationTables
from pgretrieval.db.tables import collections, factorizations, passages
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.db.tables.factorizations import INDEXED_DIMENSIONS, FactorizationRow
from pgretrieval.errors import ConfigError, IndexNotBuiltError, InputError, SchemaError
from pgretrieval.importing import whole
from pgretrieval.index.coding import Coders
from pgretrieval.index.work import Stage
from pgretrieval.rerank import PairScorer
from pgretrieval.types import Element, Float32Array, Int32Array, Int64Array, Passage

QUERIES_AT_LEAST = 10

_PAIRS_PER_BLOCK = 4096  # scored, written and committed together: a minute on a processor
_PROBED_PAIRS = 64
_SAMPLE = 20_000  # passages that anchors and regularisation are chosen on: 80 MB for 500 queries
_VALUES_AT_ONCE = 2**22
_LOG = logging.getLogger("pgretrieval")


@dataclass(frozen=True, slots=True)
class FactorizeOptions:
    """Options of a factorisation; `element` is the type of the indexed embeddings."""

    anchor_items: int = 200
    selection: Selection = "greedy"
    seed: int = 0
    element: Element = "vector"
    regularisation: Regularising = "auto"
    split: Split = "auto"


@dataclass(frozen=True, slots=True)
class Costs:
    """Estimated cost of a factorisation.

    Attributes:
        pairs: Pairs that the cross-encoder scores.
        seconds: Estimated time; None if timing some pairs would cost more than it tells.
        bytes: Size of all tables of the factorisation.
    """

    pairs: int
    seconds: float | None
    bytes: int


@dataclass(frozen=True, slots=True)
class FactorizationReport:
    """Result of `factorize`.

    Attributes:
        calls: Calls of the cross-encoder.
        embedded: Passages that got embeddings.
        solved: Whether anchor items were chosen again.
        anchor_queries: Distinct anchor queries.
        constant_queries: Anchor queries with the same score for every passage, which take no part.
        anchor_items: Anchor items.
        rank: Rank that the regularised inverse keeps.
        condition: Condition number of the anchor items' scores.
        held_out_error: Error of the estimates for held-out queries.
        held_out_recall: Share of the best passages of held-out queries that the estimates find.
    """

    calls: int
    embedded: int
    solved: bool
    anchor_queries: int
    constant_queries: int
    anchor_items: int
    rank: int
    condition: float
    held_out_error: float
    held_out_recall: float


def with_preset(given: Mapping[str, Any], preset: Any, of_collection: str | None) -> dict[str, Any]:
    """Return the given options, completed by those of a preset, or else of the collection's. Raises ConfigError.

    Options of a preset that is asked for are logged.
    """
    known = presets.PRESETS.get(of_collection or "")
    options: Mapping[str, Any] = known.factorize if known else {}
    if preset is not None:
        options = presets.read_factorize(preset)
        _LOG.info("%s", presets.factorize_summary(preset, given))
    return {name: value for name, value in presets.completed(given, options).items() if value is not None}


def check_options(options: FactorizeOptions) -> FactorizeOptions:
    """Return the options as plain values. Raises ConfigError, naming the value, if one is invalid."""
    selection = validate.choice("selection", options.selection, SELECTIONS)
    element = validate.choice("element", options.element, tuple(INDEXED_DIMENSIONS))
    count = validate.whole("anchor_items", options.anchor_items)
    if count > INDEXED_DIMENSIONS[element]:
        msg = (
            f"anchor_items is {count}, and pgvector indexes up to {INDEXED_DIMENSIONS[element]:,} dimensions of "
            f'{element}; give fewer anchor items, at most 2,000, or at most 4,000 with element="halfvec"'
        )
        raise ConfigError(msg)
    regularisation = validate.choice("regularisation", options.regularisation, REGULARISING)
    split = validate.choice("split", options.split, SPLITS)
    return FactorizeOptions(count, selection, validate.whole("seed", options.seed, 0), element, regularisation, split)


def distinct_queries(queries: Sequence[str]) -> list[str]:
    """Return each query once, in order. Raises InputError for values that are not texts and for too few queries."""
    given = validate.listed("anchor_queries", queries, "texts", InputError)
    distinct = list(dict.fromkeys(validate.text("anchor_queries: one", query, InputError) for query in given))
    if len(distinct) < QUERIES_AT_LEAST:
        msg = (
            f"there are {len(distinct)} distinct anchor queries; give at least {QUERIES_AT_LEAST}, and a few hundred for a good "
            "estimate: as many as the score matrix has independent directions"
        )
        raise InputError(msg)
    return distinct


def factorize(
    database: Database,
    collection: CollectionRow,
    coders: Coders,
    scorer: PairScorer,
    queries: Sequence[str],
    options: FactorizeOptions,
    stage: Stage,
    costs: Callable[[Costs], None],
) -> FactorizationReport:
    """Create or complete the factorisation that searches use; `queries` and `options` are already checked.

    `costs` receives the estimate before scoring starts, except for a few pairs that time the cross-encoder, and may raise to stop.
    Raises IndexNotBuiltError without passages, EncoderError, SchemaError, and InputError if too few queries have varying scores.
    """
    doing = f"factorizing collection {collection.name!r}"
    with factorizations.exclusively(database, doing, collection.collection_id), database.dedicated(doing) as connection:
        state = collections.state(collection.tables(connection))
        if state.restricted:
            msg = (
                f"row-level security hides passages of collection {collection.name!r} from this role, so that they would not be "
                "scored; factorize as the owner of the schema, or as a role with BYPASSRLS"
            )
            raise SchemaError(msg)
        if not state.passages:
            msg = f"collection {collection.name!r} is empty; add passages, then factorize"
            raise IndexNotBuiltError(msg)
        work = _Factorizing(database, connection, collection, coders, scorer, list(queries), options, stage)
        return work.run(costs)


class _Factorizing:
    """One call of `factorize`: its stages in order."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        collection: CollectionRow,
        coders: Coders,
        scorer: PairScorer,
        queries: list[str],
        options: FactorizeOptions,
        stage: Stage,
    ) -> None:
        self._database = database
        self._tables = collection.tables(connection)
        self._collection = collection
        self._coders = coders
        self._scorer = scorer
        self._queries = queries
        self._options = options
        self._stage = stage
        self._matrix_id = factorizations.score_matrix(self._tables, scorer.spec, scorer.fingerprint, queries)

    def run(self, costs: Callable[[Costs], None]) -> FactorizationReport:
        """Run all stages; finished work is reused."""
        tables, connection = self._tables, self._tables.connection
        calls = self._score(costs)
        active = factorizations.active(tables)
        solves = active is None or not self._is_current(active)
        if solves or active is None:
            factorizations.drop_replaced(tables, active.factorization_id if active else None, self._matrix_id)
            made, inverse, centre = self._solve()
        else:
            made, inverse, centre = tables.factorization(active.factorization_id), active.inverse, active.centre
        embedded = self._embed(made, inverse, centre)
        self._stage("index", 0, 1)
        factorizations.index_embeddings(made)
        collections.analyze(connection, made.factorization_id, "item_embedding")
        self._stage("index", 1, 1)
        self._stage("switch", 0, 1)
        factorizations.switch(made, self._matrix_id)
        factorizations.drop_replaced(tables, made.factorization_id, self._matrix_id)
        collections.drop_leftovers(connection)
        self._stage("switch", 1, 1)
        return self._report(calls, embedded, solved=solves)

    def _is_current(self, active: FactorizationRow) -> bool:
        """Return whether the active factorisation has the requested options, so that only new passages need work."""
        options = self._options
        requested = (
            options.anchor_items,
            options.selection,
            options.seed,
            options.element,
            options.regularisation == "none",
            options.split == "all",
        )
        return active.matrix_id == self._matrix_id and requested == (
            active.asked_items,
            active.selection,
            active.seed,
            active.element,
            active.strength == PLAIN.strength,
            active.split.keys() == all_anchors(0).keys(),
        )

    def _score(self, costs: Callable[[Costs], None]) -> int:
        """Score passages without scores, in committed blocks; return the number of calls."""
        missing = factorizations.unscored(self._tables, self._matrix_id)
        before = self._scorer.calls
        pairs = len(missing) * len(self._queries)
        if not pairs:
            return 0
        seconds = self._seconds_per_pair(missing) * pairs if pairs > _PAIRS_PER_BLOCK else None
        costs(Costs(pairs, seconds, self._estimated_bytes(len(missing))))
        block = max(1, _PAIRS_PER_BLOCK // len(self._queries))
        self._stage("score", 0, pairs)
        for start in range(0, len(missing), block):
            self._score_block(missing[start : start + block])
            self._stage("score", min(start + block, len(missing)) * len(self._queries), pairs)
        return self._scorer.calls - before

    def _score_block(self, passage_ids: Int32Array) -> None:
        texts = self._texts(passage_ids)
        if not texts:
            return
        pairs = [(query, text) for text in texts.values() for query in self._queries]
        scores = self._scorer.predict(pairs).reshape(-1, len(self._queries))
        ids = np.array(list(texts), dtype=np.int32)
        with self._tables.connection.transaction():
            existing = factorizations.lock_passages(self._tables, ids)
            factorizations.copy_scores(self._tables, self._matrix_id, ids[existing], scores[existing])

    def _texts(self, passage_ids: Int32Array) -> dict[int, str]:
        found = passages.texts(self._tables, passage_ids.tolist())
        return {number: Passage(*row[:1], row[2], row[1]).encoded_text for number, row in sorted(found.items())}

    def _seconds_per_pair(self, missing: Int32Array) -> float:
        """Time a sample of the pairs to score; return seconds per pair. The first call loads the model and is not timed."""
        rng = np.random.default_rng(0)
        texts = list(self._texts(rng.choice(missing, min(len(missing), _PROBED_PAIRS), replace=False)).values()) or [""]
        queries = rng.choice(len(self._queries), _PROBED_PAIRS)
        pairs = [(self._queries[place], texts[number % len(texts)]) for number, place in enumerate(queries.tolist())]
        self._scorer.predict(pairs[:1])
        started = time.perf_counter()
        self._scorer.predict(pairs)
        return (time.perf_counter() - started) / len(pairs)

    def _estimated_bytes(self, missing: int) -> int:
        """Return the estimated size of scores, embeddings, their index and the factorisation's matrices."""
        queries, items = len(self._queries), self._options.anchor_items
        embedding = items * (4 + (4 if self._options.element == "vector" else 2))
        return missing * (4 * queries + embedding) + items * (8 * queries + 4 * queries + 4 * items)

    def _solve(self) -> tuple[FactorizationTables, Matrix, Matrix]:
        """Choose anchors, solve and write the factorisation; return its handle, M^-1 U and the mean embedding."""
        self._stage("solve", 0, 3)
        options = self._options
        ids, scores = self._sample()
        informative = informative_queries(scores)
        if len(informative) < QUERIES_AT_LEAST:
            msg = (
                f"{len(scores) - len(informative)} of {len(scores)} anchor queries have the same score for every passage; at least "
                f"{QUERIES_AT_LEAST} with varying scores are needed; check the cross-encoder {self._scorer.spec} and the queries"
            )
            raise InputError(msg)
        self._stage("solve", 1, 3)

        @cache
        def means(count: int) -> Int64Array:
            whole("torch")
            from pgretrieval.anncur.spread import spread

            return spread(self._tables, self._collection, self._coders, ids, count, options.seed)

        def choose(some: Matrix) -> Int64Array:
            return choose_anchors(some, options.anchor_items, options.selection, options.seed, means)

        solved = solve(scores, choose, options.seed, (PLAIN,) if options.regularisation == "none" else REGULARISATIONS)
        if options.split == "all":
            solved = replace(solved, split=all_anchors(len(solved.anchors)))
        self._stage("solve", 2, 3)
        directions, inverse = whiten(solved.inverse, scores)
        solved = replace(solved, inverse=inverse)
        centre = (inverse @ scores.mean(axis=1)).astype(np.float32)
        with self._tables.connection.transaction():
            made = self._write(solved, len(scores) - len(informative), centre)
            means_of_scores = solved.intersection[informative].mean(axis=0)
            factorizations.write_anchors(made, ids[solved.anchors], means_of_scores, directions)
        self._stage("solve", 3, 3)
        return made, inverse, centre.astype(np.float64)

    def _sample(self) -> tuple[Int32Array, Matrix]:
        """Return sampled passage ids, ascending, and their scores (queries, passages)."""
        ids = factorizations.scored(self._tables, self._matrix_id)
        if len(ids) > _SAMPLE:
            ids = np.sort(np.random.default_rng(self._options.seed).choice(ids, _SAMPLE, replace=False))
        found, scores = factorizations.scores_of(self._tables, self._matrix_id, ids, len(self._queries))
        return found, np.ascontiguousarray(scores.T)

    def _write(self, solved: Solved, constant: int, centre: Float32Array) -> FactorizationTables:
        options = self._options
        settings = {
            "matrix_id": self._matrix_id,
            "asked_items": options.anchor_items,
            "anchor_items": len(solved.inverse),
            "selection": options.selection,
            "seed": options.seed,
            "element": options.element,
            "constant_queries": constant,
            "regularisation": solved.regularisation.kind,
            "strength": solved.regularisation.strength,
            "rank": solved.rank,
            "condition": solved.condition,
            "held_out_error": solved.error,
            "held_out_recall": solved.recall,
            "split": {str(budget): count for budget, count in solved.split.items()},
        }
        return factorizations.create(self._tables, settings, solved.inverse, solved.intersection, centre)

    def _embed(self, made: FactorizationTables, inverse: Matrix, centre: Matrix) -> int:
        """Embed scored passages that have no embedding; return their number."""
        ids = factorizations.embeddable(made, self._matrix_id)
        block = max(1, _VALUES_AT_ONCE // max(inverse.shape))
        for start in range(0, len(ids), block):
            self._stage("embed", start, len(ids))
            found, scores = factorizations.scores_of(made, self._matrix_id, ids[start : start + block], len(self._queries))
            with made.connection.transaction():
                existing = factorizations.lock_passages(made, found)
                embeddings = (scores[existing] @ inverse.T - centre).astype(np.float32)
                factorizations.copy_embeddings(made, found[existing], embeddings)
        self._stage("embed", len(ids), len(ids))
        return len(ids)

    def _report(self, calls: int, embedded: int, *, solved: bool) -> FactorizationReport:
        solution = factorizations.solution(self._tables)
        return FactorizationReport(calls, embedded, solved, len(self._queries), *solution)
