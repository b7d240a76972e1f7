"""Exhaustive search: MaxSim of every passage over unquantised vectors, for evaluation and before the first build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pgretrieval.db import candidates as read
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import passages
from pgretrieval.errors import InputError
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.vectors import token_matrix
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import HybridScores
from pgretrieval.search.matches import best_by_vectors, shared, stored_similarity
from pgretrieval.search.maxsim import best_first, stored_maxsim
from pgretrieval.search.options import QueryVectors, ScanRequest
from pgretrieval.search.scanner import Ranking
from pgretrieval.search.watched import Watched
from pgretrieval.search.words import listed_by_words, unlisted_by_words
from pgretrieval.types import Float32Array, Int32Array, Int64Array, Restriction

_BATCH = 512


def exact_rankings(
    opened: OpenCollection, queries: Sequence[Float32Array], k: int, progress: Callable[[int], None] | None = None
) -> list[list[str]]:
    """Return the ids of the k best passages for each query (query tokens, dim), by encoding every stored text again in batches.

    `progress` is called with the number of passages just finished. Raises InputError if passages were added with given vectors.
    """
    row = opened.row
    if row.given_vectors:
        msg = f"collection {row.name!r} contains passages with given vectors; compute exact rankings from the originals"
        raise InputError(msg)
    encoder = opened.encoder()[1]
    scores = np.empty((len(queries), 0), dtype=np.float32)
    positions = np.empty((len(queries), 0), dtype=np.int64)
    keys: list[str] = []
    with opened.database.reading("reading all passages", dedicated=True) as connection:
        for batch in passages.stream(row.tables(connection), _BATCH):
            tokens = token_matrix(encoder.encode_document([passage.encoded_text for _, passage in batch]), unit=row.unit_vectors)
            added = maxsim_many(list(queries), tokens.vectors, tokens.offsets)
            scores = np.concatenate([scores, added], axis=1)
            added_positions = np.broadcast_to(np.arange(len(keys), len(keys) + len(batch)), added.shape)
            positions = np.concatenate([positions, added_positions], axis=1)
            keys.extend(passage.id for _, passage in batch)
            scores, positions = _keep_best(scores, positions, k)
            if progress:
                progress(len(batch))
    return [[keys[position] for position in row.tolist()] for row in positions]


def compare_all(
    tables: CollectionTables, queries: Sequence[Float32Array], request: ScanRequest
) -> tuple[list[Ranking], Explanation]:
    """Return the k best of all passages for each query, by their unquantised vectors."""
    report = Explanation(round_trips=1)
    restriction = request.restriction or Restriction()
    with report.stage("exhaustive"):
        passage_ids, scores = all_scores(tables, queries, restriction)
        scores /= np.array([[request.options.divisor(query)] for query in queries], dtype=np.float32)
        hybrid, late = None, scores
        if request.hybrid:
            hybrid = HybridScores(tables, request.hybrid, request.k, len(passage_ids), restriction)
            hybrid.join(passage_ids)
            scores = np.stack([hybrid.fuse(passage_ids, one) for one in late])
        orders = [best_first(one, passage_ids, request.k) for one in scores]
    report.candidates = report.passages_decoded = len(passage_ids)
    rankings = [Ranking(passage_ids[order].tolist(), one[order].tolist()) for one, order in zip(scores, orders, strict=True)]
    if request.watched:
        _look_at(tables, queries[0], request, request.watched)
    if request.matches and len(passage_ids):
        with report.stage("matches"):
            for number, (query, order) in enumerate(zip(queries, orders, strict=True)):
                ids, divisor = passage_ids[order], request.options.divisor(query)
                best = best_by_vectors(query, read.vectors_of(tables, ids).read(), ids)
                fused = hybrid.parts(passage_ids, late[number], order) if hybrid else None
                rankings[number] = replace(rankings[number], matches=shared(best, scores[number][order], divisor, fused))
                report.round_trips += 1
    return rankings, report


def compare_listed(tables: CollectionTables, queries: QueryVectors, request: ScanRequest) -> tuple[list[Ranking], Explanation]:
    """Return the k best for each query of the passages that the search by words lists, by their unquantised vectors."""
    report, rankings = Explanation(), []
    listed, restriction = listed_by_words(request.k, request.options), request.restriction or Restriction()
    with report.stage("exhaustive"):
        for query, text in zip(queries.vectors, queries.texts or [], strict=True):
            listed_ids = read.by_words(tables, restriction, text, listed).read()[0]
            if request.watched:
                request.watched.after(listed_ids, unlisted_by_words(len(listed_ids)))
                _look_at(tables, query, request, request.watched)
            found = read.vectors_of(tables, listed_ids).read()
            scores, divisor = stored_maxsim(query, found.tokens), request.options.divisor(query)
            scores /= np.float32(divisor)
            order = best_first(scores, found.passage_ids, request.k)
            ids, matches = found.passage_ids[order], None
            if request.matches and len(ids):
                matches = shared(best_by_vectors(query, found, ids), scores[order], divisor, None)
            rankings.append(Ranking(ids.tolist(), scores[order].tolist(), matches))
            report.candidates += len(found.passage_ids)
            report.round_trips += 2
    report.passages_decoded = report.candidates
    return rankings, report


def all_scores(
    tables: CollectionTables, queries: Sequence[Float32Array], restriction: Restriction
) -> tuple[Int32Array, Float32Array]:
    """Return ids (passages,), ascending, and exact MaxSim (queries, passages) of every passage that matches the restriction.

    Used before the first build. Token vectors are read in batches, the next while one is scored.
    """
    found = [np.empty(0, dtype=np.int32)]
    scores = [np.empty((len(queries), 0), dtype=np.float32)]
    batch = read.vectors_after(tables, 0, restriction, _BATCH).read()
    while len(batch.passage_ids):
        pending = read.vectors_after(tables, int(batch.passage_ids[-1]), restriction, _BATCH)
        found.append(batch.passage_ids)
        scores.append(maxsim_many(list(queries), batch.tokens.vectors, batch.tokens.offsets))
        batch = pending.read()
    return np.concatenate(found), np.concatenate(scores, axis=1)


def _look_at(tables: CollectionTables, query: Float32Array, request: ScanRequest, watched: Watched) -> None:
    """Compare the watched passage."""
    tokens = read.vectors_of(tables, watched.ids).read().tokens
    if len(tokens):
        watched.compared(stored_similarity(query, tokens), request.options.divisor(query))


def _keep_best(scores: Float32Array, positions: Int64Array, k: int) -> tuple[Float32Array, Int64Array]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)
