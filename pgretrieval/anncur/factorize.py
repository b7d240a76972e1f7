"""Factorisation of a cross-encoder's scores: score, choose anchors, solve, embed, index, switch over.

Scores take hours and the rest minutes, so scores are committed block by block and stored. A call after an interruption, with other
anchors or after more passages were added computes only missing scores. The rest is rebuilt beside the factorisation in use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from pgretrieval import presets, validate
from pgretrieval.anncur.inverse import PLAIN, REGULARISATIONS, REGULARISING, Matrix, Regularising
from pgretrieval.anncur.selection import AUTOMATIC, SELECTIONS, SELECTIONS_OF_PAIRS, Selection, choose_anchors
from pgretrieval.anncur.solving import SPLITS, Solved, Split, all_anchors, informative_queries, solve_best
from pgretrieval.anncur.sparse import Fitted, SparseScores, fit, item_vectors, pairs_of, random_pairs
from pgretrieval.anncur.whitening import whiten
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import FactorizationTables
from pgretrieval.db.tables import collections, factorizations, passages
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.db.tables.factorizations import INDEXED_DIMENSIONS, FactorizationRow, PairChoice, QueryScores
from pgretrieval.errors import ConfigError, IndexNotBuiltError, InputError, SchemaError
from pgretrieval.importing import whole
from pgretrieval.index.coding import Coders
from pgretrieval.index.work import Stage
from pgretrieval.rerank import PairScorer
from pgretrieval.types import Element, Float32Array, Int32Array, Int64Array, Passage

QUERIES_AT_LEAST = 10
ANCHOR_ITEMS = 200

Retrieve = Callable[[list[str], int], list[list[str]]]
"""Maps queries and a number to the ids of each query's hits by the collection's own search."""

_PAIRS_PER_BLOCK = 4096  # scored, written and committed together: a minute on a processor
_PROBED_PAIRS = 64
_SAMPLE = 20_000  # passages that anchors and regularisation are chosen on: 80 MB for 500 queries
_VALUES_AT_ONCE = 2**22
_LOG = logging.getLogger("pgretrieval")


@dataclass(frozen=True, slots=True)
class FactorizeOptions:
    """Options of a factorisation; `element` is the type of the indexed embeddings.

    With `per_query`, so many pairs are scored for each anchor query (AXN), and without, all (ANNCUR).
    """

    anchor_items: int = ANCHOR_ITEMS
    selection: Selection = "auto"
    seed: int = 0
    element: Element = "vector"
    regularisation: Regularising = "auto"
    split: Split = "auto"
    per_query: int | None = None


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
        anchor_items: Anchor items; with `per_query` there are none, and this is the dimension of the embeddings.
        rank: Rank that the regularised inverse keeps, or of the anchor queries' vectors.
        condition: Condition number of the anchor items' scores, or of the anchor queries' vectors.
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
    per_query = None if options.per_query is None else validate.whole("per_query", options.per_query)
    selection = validate.choice("selection", options.selection, SELECTIONS if per_query is None else SELECTIONS_OF_PAIRS)
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
    if per_query is not None and (count, regularisation, split) != (ANCHOR_ITEMS, "auto", "auto"):
        msg = "anchor_items, regularisation and split have no effect with per_query, which needs no anchor items; leave them out"
        raise ConfigError(msg)
    return FactorizeOptions(count, selection, validate.whole("seed", options.seed, 0), element, regularisation, split, per_query)


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
    retrieve: Retrieve,
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
        kind = _Factorizing if options.per_query is None else _SparseFactorizing
        work = kind(database, connection, collection, coders, scorer, list(queries), options, stage, retrieve)
        return work.run(costs)


_Embed = Callable[[Int32Array], tuple[Int32Array, Float32Array]]
"""Maps passages to those that can be embedded, and their embeddings."""


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
        retrieve: Retrieve,
    ) -> None:
        self._database = database
        self._tables = collection.tables(connection)
        self._collection = collection
        self._coders = coders
        self._scorer = scorer
        self._queries = queries
        self._options = options
        self._stage = stage
        self._retrieve = retrieve
        chosen = None if options.per_query is None else PairChoice(options.per_query, options.selection, options.seed)
        self._matrix_id = factorizations.score_matrix(self._tables, scorer.spec, scorer.fingerprint, queries, chosen)

    def run(self, costs: Callable[[Costs], None]) -> FactorizationReport:
        """Run all stages; finished work is reused."""
        tables, connection = self._tables, self._tables.connection
        calls = self._score(costs)
        active = factorizations.active(tables)
        solves = active is None or not self._is_current(active)
        if solves or active is None:
            factorizations.drop_replaced(tables, active.factorization_id if active else None, self._matrix_id)
            made, embed = self._solve()
        else:
            made, embed = tables.factorization(active.factorization_id), self._embedding(active)
        embedded = self._embed(made, embed)
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
            active.asked_selection,
            active.seed,
            active.element,
            active.strength == PLAIN.strength,
            active.split.keys() == all_anchors(0).keys(),
        )

    def _score(self, costs: Callable[[Costs], None]) -> int:
        """Score passages without scores, in committed blocks; return the number of calls."""
        missing = factorizations.unscored(self._tables, self._matrix_id)
        before = self._scorer.calls
        if not len(missing):
            return 0
        ends = self._ends_of_pairs(missing)
        pairs = int(ends[-1])
        seconds = self._seconds_per_pair(missing) * pairs if pairs > _PAIRS_PER_BLOCK else None
        costs(Costs(pairs, seconds, self._estimated_bytes(len(missing), pairs)))
        self._stage("score", 0, pairs)
        start, done = 0, 0
        while start < len(missing):
            stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_PER_BLOCK, side="right")))
            self._score_block(missing[start:stop])
            start, done = stop, int(ends[stop - 1])
            self._stage("score", done, pairs)
        return self._scorer.calls - before

    def _ends_of_pairs(self, missing: Int32Array) -> Int64Array:
        """Return for each passage the number of pairs to score up to and with it."""
        ends: Int64Array = len(self._queries) * np.arange(1, len(missing) + 1)
        return ends

    def _score_block(self, passage_ids: Int32Array) -> None:
        texts = self._texts(passage_ids)
        if not texts:
            return
        pairs = [(query, text) for text in texts.values() for query in self._queries]
        scores = self._scorer.predict(pairs).reshape(-1, len(self._queries))
        ids = np.array(list(texts), dtype=np.int32)
        with self._tables.connection.transaction():
            existing, exists = factorizations.lock_passages(self._tables, ids)
            factorizations.copy_scores(self._tables, self._matrix_id, existing, scores[exists])

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

    def _estimated_bytes(self, missing: int, _pairs: int) -> int:
        """Return the estimated size of scores, embeddings, their index and the factorisation's matrices."""
        queries, items = len(self._queries), self._options.anchor_items
        embedding = items * (4 + (4 if self._options.element == "vector" else 2))
        return missing * (2 * queries + embedding) + items * (8 * queries + 4 * queries + 4 * items)

    def _solve(self) -> tuple[FactorizationTables, _Embed]:
        """Choose anchors, solve and write the factorisation; return its handle and what computes embeddings."""
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

        def choose(selection: Selection, some: Matrix) -> Int64Array:
            return choose_anchors(some, options.anchor_items, selection, options.seed, means)

        selections = AUTOMATIC if options.selection == "auto" else (options.selection,)
        regularisations = (PLAIN,) if options.regularisation == "none" else REGULARISATIONS
        place, solved = solve_best(scores, [partial(choose, each) for each in selections], options.seed, regularisations)
        if options.split == "all":
            solved = replace(solved, split=all_anchors(len(solved.anchors)))
        self._stage("solve", 2, 3)
        directions, inverse = whiten(solved.inverse, scores)
        solved = replace(solved, inverse=inverse)
        centre = (inverse @ scores.mean(axis=1)).astype(np.float32)
        with self._tables.connection.transaction():
            made = self._write(solved, selections[place], len(scores) - len(informative), centre)
            means_of_scores = solved.intersection[informative].mean(axis=0)
            factorizations.write_anchors(made, ids[solved.anchors], means_of_scores, directions)
        self._stage("solve", 3, 3)
        return made, self._embed_by(inverse, centre.astype(np.float64))

    def _embedding(self, active: FactorizationRow) -> _Embed:
        return self._embed_by(active.inverse, active.centre)

    def _embed_by(self, inverse: Matrix, centre: Matrix) -> _Embed:
        def embed(passage_ids: Int32Array) -> tuple[Int32Array, Float32Array]:
            found, scores = factorizations.scores_of(self._tables, self._matrix_id, passage_ids, len(self._queries))
            return found, (scores @ inverse.T - centre).astype(np.float32)

        return embed

    def _sample(self) -> tuple[Int32Array, Matrix]:
        """Return sampled passage ids, ascending, and their scores (queries, passages)."""
        ids = factorizations.scored(self._tables, self._matrix_id)
        if len(ids) > _SAMPLE:
            ids = np.sort(np.random.default_rng(self._options.seed).choice(ids, _SAMPLE, replace=False))
        found, scores = factorizations.scores_of(self._tables, self._matrix_id, ids, len(self._queries))
        return found, np.ascontiguousarray(scores.T)

    def _write(self, solved: Solved, selection: Selection, constant: int, centre: Float32Array) -> FactorizationTables:
        options = self._options
        settings = {
            "matrix_id": self._matrix_id,
            "asked_items": options.anchor_items,
            "anchor_items": len(solved.inverse),
            "asked_selection": options.selection,
            "selection": selection,
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

    def _embed(self, made: FactorizationTables, embed: _Embed) -> int:
        """Embed scored passages that have no embedding; return their number."""
        ids = factorizations.embeddable(made, self._matrix_id)
        block = max(1, _VALUES_AT_ONCE // max(len(self._queries), self._options.anchor_items))
        embedded = 0
        for start in range(0, len(ids), block):
            self._stage("embed", start, len(ids))
            found, embeddings = embed(ids[start : start + block])
            embedded += len(found)
            with made.connection.transaction():
                existing, exists = factorizations.lock_passages(made, found)
                factorizations.copy_embeddings(made, existing, embeddings[exists])
        self._stage("embed", len(ids), len(ids))
        return embedded

    def _report(self, calls: int, embedded: int, *, solved: bool) -> FactorizationReport:
        solution = factorizations.solution(self._tables)
        return FactorizationReport(calls, embedded, solved, len(self._queries), *solution)


class _SparseFactorizing(_Factorizing):
    """The same with scores of some pairs only (AXN): item vectors begin as the collection's and are fitted to the scores."""

    _chosen: dict[int, Int64Array]  # of each passage without scores, the places of its queries

    def _is_current(self, active: FactorizationRow) -> bool:
        return (active.matrix_id, active.element) == (self._matrix_id, self._options.element)

    def _ends_of_pairs(self, missing: Int32Array) -> Int64Array:
        passage_ids, queries = self._choose_pairs(missing)
        order = np.argsort(passage_ids, kind="stable")
        starts, stops = (np.searchsorted(passage_ids[order], missing, side=side) for side in ("left", "right"))
        self._chosen = {
            number: queries[order[start:stop]]
            for number, start, stop in zip(missing.tolist(), starts.tolist(), stops.tolist(), strict=True)
        }
        ends: Int64Array = np.cumsum(stops - starts)
        return ends

    def _choose_pairs(self, missing: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Return passages and places of queries; a pair of a passage that is already scored counts for nothing."""
        wanted, options = self._options.per_query or 0, self._options
        if options.selection == "random":
            ids = np.sort(np.concatenate([missing, factorizations.scored(self._tables, self._matrix_id)]))
            places, queries = random_pairs(len(ids), len(self._queries), wanted, options.seed)
            return ids[places].astype(np.int64), queries
        hits = self._retrieve(self._queries, wanted)
        numbers = factorizations.numbers(self._tables, list({key for each in hits for key in each}))
        return pairs_of([[numbers[key] for key in each if key in numbers] for each in hits])

    def _score_block(self, passage_ids: Int32Array) -> None:
        texts = self._texts(passage_ids)
        pairs = [(self._queries[place], text) for number, text in texts.items() for place in self._chosen[number].tolist()]
        scores = self._scorer.predict(pairs).astype(np.float64) if pairs else np.empty(0)
        ids = np.array(list(texts), dtype=np.int32)
        queries = [self._chosen[number] for number in texts]
        parts = np.split(scores, np.cumsum([len(each) for each in queries])[:-1]) if queries else []
        with self._tables.connection.transaction():
            existing, exists = factorizations.lock_passages(self._tables, ids)
            kept = [QueryScores(*each) for each, there in zip(zip(queries, parts, strict=True), exists, strict=True) if there]
            factorizations.copy_some_scores(self._tables, self._matrix_id, existing, kept)

    def _estimated_bytes(self, missing: int, pairs: int) -> int:
        return 8 * pairs + missing * 4 * self._options.anchor_items

    def _solve(self) -> tuple[FactorizationTables, _Embed]:
        """Fit query and item vectors, and write the factorisation; return its handle and what computes embeddings."""
        self._stage("solve", 0, 3)
        ids = factorizations.scored(self._tables, self._matrix_id)
        if len(ids) > _SAMPLE:
            ids = np.sort(np.random.default_rng(self._options.seed).choice(ids, _SAMPLE, replace=False))
        found, initial = self._initial(ids)
        dims = initial.shape[1]
        if not len(found) or dims > INDEXED_DIMENSIONS[self._options.element]:
            msg = (
                f"per_query needs passages with vectors of at most {INDEXED_DIMENSIONS[self._options.element] - 1:,} dimensions; "
                f"collection {self._collection.name!r} has {'none' if not len(found) else f'{dims - 1:,}'}; leave per_query out"
            )
            raise ConfigError(msg)
        observed = self._observed(found)
        if len(np.unique(observed.queries)) < QUERIES_AT_LEAST:
            msg = f"fewer than {QUERIES_AT_LEAST} anchor queries have a scored passage; give more queries, or a higher per_query"
            raise InputError(msg)
        self._stage("solve", 1, 3)
        fitted = fit(initial, observed, len(self._queries), self._options.seed)
        self._stage("solve", 2, 3)
        centre = item_vectors(initial, fitted.queries, observed, fitted.ridge).mean(axis=0).astype(np.float32)
        with self._tables.connection.transaction():
            made = self._write_fitted(fitted, centre)
        self._stage("solve", 3, 3)
        return made, self._embed_by_fit(fitted.queries, fitted.ridge, centre.astype(np.float64))

    def _write_fitted(self, fitted: Fitted, centre: Float32Array) -> FactorizationTables:
        options, values = self._options, np.linalg.svd(fitted.queries, compute_uv=False)
        settings = {
            "matrix_id": self._matrix_id,
            "asked_items": options.anchor_items,
            "anchor_items": fitted.queries.shape[1],
            "asked_selection": options.selection,
            "selection": options.selection,
            "seed": options.seed,
            "element": options.element,
            "constant_queries": 0,
            "regularisation": "ridge",
            "strength": fitted.ridge,
            "rank": int(np.linalg.matrix_rank(fitted.queries)),
            "condition": float(values[0] / values[-1]) if values[-1] else float("inf"),
            "held_out_error": fitted.error,
            "held_out_recall": fitted.recall,
            "split": {},
        }
        return factorizations.create(self._tables, settings, np.empty((0, 0)), fitted.queries, centre)

    def _embedding(self, active: FactorizationRow) -> _Embed:
        return self._embed_by_fit(active.intersection, active.strength, active.centre)

    def _embed_by_fit(self, query_vectors: Matrix, ridge: float, centre: Matrix) -> _Embed:
        def embed(passage_ids: Int32Array) -> tuple[Int32Array, Float32Array]:
            found, initial = self._initial(passage_ids)
            if not len(found):
                return found, np.empty((0, len(centre)), dtype=np.float32)
            fitted = item_vectors(initial, query_vectors, self._observed(found), ridge)
            return found, (fitted - centre).astype(np.float32)

        return embed

    def _initial(self, passage_ids: Int32Array) -> tuple[Int32Array, Matrix]:
        """Return those of the passages that have vectors, ascending, and their unit vectors with a 1 for a common part."""
        whole("torch")
        from pgretrieval.anncur.spread import unit_vectors

        found, vectors = unit_vectors(self._tables, self._collection, self._coders, passage_ids)
        order = np.argsort(found)
        return found[order], np.hstack([vectors[order].astype(np.float64), np.ones((len(found), 1))])

    def _observed(self, passage_ids: Int32Array) -> SparseScores:
        """Return the scores of some passages, whose places are their items."""
        scored = factorizations.some_scores_of(self._tables, self._matrix_id, passage_ids)
        items = np.repeat(np.arange(len(scored)), [len(each.queries) for each in scored])
        return SparseScores(
            items, np.concatenate([each.queries for each in scored]), np.concatenate([each.scores for each in scored])
        )
