"""Factorisations as rows: score matrices that grow block by block, anchors, item embeddings, and what searches read of them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from pgretrieval.assets import statements
from pgretrieval.buckets import PassageIds
from pgretrieval.db import wire
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import CollectionTables, FactorizationTables
from pgretrieval.db.parameters import Float4Array, Int4Array
from pgretrieval.db.tables import passages, rebuilds
from pgretrieval.types import CollectionId, Element, Float32Array, Int32Array, Int64Array, Passage, Restriction

_SQL = statements("factorizations")
_TYPES = ["int4", "int2", "int4", "bytea"]
_ATTEMPTS = 20
_BETWEEN_ATTEMPTS = 0.5
_HALF, _SINGLE = np.dtype("<f2"), np.dtype("<f4")
_LARGEST_HALF = float(np.finfo(_HALF).max)
_LOST_AT_MOST = 0.01  # of the deviation of a query's scores

Matrix = NDArray[np.float64]

INDEXED_DIMENSIONS: dict[Element, int] = {"vector": 2000, "halfvec": 4000}
"""What pgvector's HNSW takes."""


@dataclass(frozen=True, slots=True)
class FactorizationRow:
    """Row of a factorisation. `inverse` (anchor items, anchor queries) computes embeddings from scores: M^-1 U.

    `intersection` is C (anchor queries, anchor items). `directions` is M (anchor items, anchor items), symmetric, by which anchor
    scores become query vectors. `centre` (anchor items,) is what all embeddings have in common and is not in them.

    If `per_query` passages were scored for each anchor query, instead of all, there are no anchor items: `anchor_items` is the
    dimension, `intersection` the anchor queries' vectors, `directions` the identity, and `strength` the ridge of an item's vector.
    """

    factorization_id: int
    matrix_id: int
    asked_items: int
    anchor_items: int
    asked_selection: str
    seed: int
    element: Element
    split: dict[int, int]
    inverse: Matrix
    intersection: Matrix
    directions: Matrix
    centre: Matrix
    held_out_error: float
    cross_encoder: dict[str, str]
    fingerprint: str
    identity: UUID
    strength: float
    per_query: int | None


class Anchor(NamedTuple):
    """An anchor item that the caller may see: its place, from 0, and whether it is among what is searched."""

    place: int
    passage_id: int
    searched: bool


class QueryScores(NamedTuple):
    """Scores of one passage: the places of the queries and the scores."""

    queries: Int64Array
    scores: Matrix


class Item(NamedTuple):
    """A passage to be scored, with its embedding (anchor items,) if it has one."""

    passage_id: int
    passage: Passage
    embedding: Float32Array | None


class PairChoice(NamedTuple):
    """How the scored pairs are chosen, if not all are scored."""

    per_query: int
    selection: str
    seed: int


class Solution(NamedTuple):
    """Figures of a solved factorisation."""

    constant_queries: int
    anchor_items: int
    rank: int
    condition: float
    held_out_error: float
    held_out_recall: float


@contextmanager
def exclusively(database: Database, doing: str, collection_id: CollectionId) -> Iterator[Connection]:
    """Wait for other factorisations of the collection, and keep new ones waiting."""
    with database.connection(doing) as connection:
        connection.execute(_SQL["create_lock"], {"collection_id": collection_id})
    with database.locking(doing) as connection:
        connection.execute(_SQL["lock"], {"collection_id": collection_id})
        connection.execute(_SQL["let_go"])
        yield connection


def score_matrix(
    tables: CollectionTables, spec: dict[str, str], fingerprint: str, queries: Sequence[str], pairs: PairChoice | None = None
) -> int:
    """The matrix of these queries and this cross-encoder, of all pairs or of chosen ones, begun where there is none."""
    described = list(queries) if pairs is None else [list(queries), *pairs]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    parameters = {
        "cross_encoder": Jsonb(spec),
        "fingerprint": fingerprint,
        "queries": list(queries),
        "queries_digest": digest,
        "per_query": pairs.per_query if pairs else None,
    }
    found = tables.value(_SQL["find_matrix"], **parameters)
    if found is not None:
        return int(found)
    with tables.connection.transaction():
        matrix_id = int(tables.value(_SQL["create_matrix"], **parameters))
        tables.execute(_SQL["create_scores"], matrix_id=matrix_id)
        tables.execute(_SQL["write_queries"], matrix_id=matrix_id, queries=list(queries))
    return matrix_id


def unscored(tables: CollectionTables, matrix_id: int) -> Int32Array:
    """Passages without scores, ascending."""
    return _ids(tables, "unscored", matrix_id=matrix_id)


def scored(tables: CollectionTables, matrix_id: int) -> Int32Array:
    """Passages with scores, ascending."""
    return _ids(tables, "scored", matrix_id=matrix_id)


def embeddable(tables: FactorizationTables, matrix_id: int) -> Int32Array:
    """Passages with scores and without an embedding, ascending."""
    return _ids(tables, "embeddable", matrix_id=matrix_id)


def _ids(tables: CollectionTables, statement: str, **parameters: Any) -> Int32Array:
    return np.array([row[0] for row in tables.rows(_SQL[statement], **parameters)], dtype=np.int32)


def lock_passages(tables: CollectionTables, passage_ids: Int32Array) -> tuple[PassageIds, NDArray[np.bool_]]:
    """Return those of ascending passages that exist, and which they are; they stay until the transaction ends."""
    existing = PassageIds.of(tables.rows(_SQL["lock_passages"], passage_ids=Int4Array(passage_ids)))
    return existing, np.isin(passage_ids, existing.ids)


def copy_scores(tables: CollectionTables, matrix_id: int, scored: PassageIds, scores: Float32Array) -> None:
    """Write the scores (passages, queries) of some passages, all of a matrix in the precision of its first ones."""
    if not len(scores):
        return
    written = tables.value(_SQL["bytes_of_scores"], matrix_id=matrix_id)
    halved = rounds_to_half(scores) if written is None else written == _HALF.itemsize * scores.shape[1]
    narrowed = np.clip(scores, -_LARGEST_HALF, _LARGEST_HALF).astype(_HALF) if halved else scores.astype(_SINGLE)
    with tables.connection.cursor() as cursor, cursor.copy(_SQL["copy_scores"]) as stream:
        stream.set_types(_TYPES)
        for bucket, passage_id, row in zip(scored.buckets.tolist(), scored.ids.tolist(), narrowed, strict=True):
            stream.write_row((matrix_id, bucket, passage_id, row.tobytes()))


def rounds_to_half(scores: Float32Array) -> bool:
    """Return whether half precision rounds scores (passages, queries) by little, compared with how those of a query differ."""
    with np.errstate(over="ignore", invalid="ignore"):
        lost = scores.astype(_HALF).astype(np.float64) - scores
    deviations = scores - scores.mean(axis=0 if len(scores) > 1 else 1, keepdims=True, dtype=np.float64)
    return bool(np.mean(lost**2) <= _LOST_AT_MOST**2 * np.mean(deviations**2))


def copy_some_scores(tables: CollectionTables, matrix_id: int, scored: PassageIds, of_each: Sequence[QueryScores]) -> None:
    """Write the scores of some pairs, for each passage those of its queries."""
    with tables.connection.cursor() as cursor, cursor.copy(_SQL["copy_scores"]) as stream:
        stream.set_types(_TYPES)
        for bucket, passage_id, (queries, scores) in zip(scored.buckets.tolist(), scored.ids.tolist(), of_each, strict=True):
            stream.write_row((matrix_id, bucket, passage_id, queries.astype("<i4").tobytes() + scores.astype("<f4").tobytes()))


def some_scores_of(tables: CollectionTables, matrix_id: int, passage_ids: Int32Array) -> list[QueryScores]:
    """Return the scores of some pairs, for each of the passages; none for a passage that is gone."""
    rows: dict[int, bytes] = dict(tables.binary_rows(_SQL["scores"], matrix_id=matrix_id, passage_ids=Int4Array(passage_ids)))
    fields = [rows.get(number, b"") for number in passage_ids.tolist()]
    return [
        QueryScores(
            np.frombuffer(field[: len(field) // 2], dtype="<i4").astype(np.int64),
            np.frombuffer(field[len(field) // 2 :], dtype="<f4").astype(np.float64),
        )
        for field in fields
    ]


def numbers(tables: CollectionTables, keys: Sequence[str]) -> dict[str, int]:
    """Passage ids by the passages' own ids."""
    return dict(tables.rows(_SQL["numbers"], keys=list(keys)))


def scores_of(tables: CollectionTables, matrix_id: int, passage_ids: Int32Array, queries: int) -> tuple[Int32Array, Matrix]:
    """Return the passages with scores, ascending, and the scores (passages, queries)."""
    rows = tables.binary_rows(_SQL["scores"], matrix_id=matrix_id, passage_ids=Int4Array(passage_ids))
    ids = np.array([row[0] for row in rows], dtype=np.int32)
    fields = b"".join(row[1] for row in rows)
    element = _HALF if len(fields) == _HALF.itemsize * queries * len(rows) else _SINGLE
    scores = np.frombuffer(fields, dtype=element).reshape(-1, queries).astype(np.float64)
    order = np.argsort(ids)
    return ids[order], scores[order]


def create(
    tables: CollectionTables, settings: dict[str, Any], inverse: Matrix, intersection: Matrix, centre: Float32Array
) -> FactorizationTables:
    """Write a factorisation that no search uses yet, and make room for its embeddings; returns its handle."""
    parameters = {
        **settings,
        "split": Jsonb(settings["split"]),
        "inverse": inverse.astype("<f8").tobytes(),
        "intersection": intersection.astype("<f4").tobytes(),
        "centre": Float4Array(centre),
    }
    made = tables.factorization(int(tables.value(_SQL["create_factorization"], **parameters)))
    made.execute(_SQL["create_embeddings"])
    return made


def write_anchors(tables: FactorizationTables, passage_ids: Int32Array, mean_scores: Matrix, directions: Float32Array) -> None:
    """The anchor items in their order, the means of their scores, and their directions (anchor items, anchor items)."""
    items = passages.in_buckets(tables, passage_ids)
    with tables.connection.cursor() as cursor, cursor.copy(_SQL["copy_anchors"]) as stream:
        stream.set_types(["int4", "int4", "int2", "int4", "float4", "bytea"])
        rows = zip(items.buckets.tolist(), items.ids.tolist(), mean_scores.tolist(), wire.vector_fields(directions), strict=True)
        for place, row in enumerate(rows, start=1):
            stream.write_row((tables.factorization_id, place, *row))


def copy_embeddings(tables: FactorizationTables, embedded: PassageIds, embeddings: Float32Array) -> None:
    """Write the embeddings (passages, anchor items) of some passages by binary COPY."""
    with tables.connection.cursor() as cursor, cursor.copy(_SQL["copy_embeddings"]) as stream:
        stream.set_types(_TYPES)
        rows = zip(embedded.buckets.tolist(), embedded.ids.tolist(), wire.vector_fields(embeddings), strict=True)
        for bucket, passage_id, field in rows:
            stream.write_row((tables.factorization_id, bucket, passage_id, field))


def index_embeddings(tables: FactorizationTables) -> None:
    """Make the vector index unless it is there."""
    tables.execute(_SQL["index_embeddings"])


def switch(tables: FactorizationTables, matrix_id: int) -> None:
    """Let searches use a factorisation, once nobody changes the collection; what was deleted meanwhile goes from it."""
    switched = False
    while not switched:
        with rebuilds.trying_to_switch(tables) as alone_with_it:
            if alone_with_it:
                for statement in ("drop_embeddings_of_removed", "drop_scores_of_removed", "switch"):
                    tables.execute(_SQL[statement], matrix_id=matrix_id)
                switched = True
        if not switched:
            time.sleep(_BETWEEN_ATTEMPTS)


def drop_replaced(tables: CollectionTables, factorization_id: int | None, matrix_id: int | None) -> bool:
    """Drop other factorisations and matrices of the collection; False where something is in use for long and was left."""
    for _ in range(_ATTEMPTS):
        with suppress(pg.LockNotAvailable), tables.connection.transaction():
            for statement in ("empty_replaced", "drop_replaced", "drop_replaced_matrices"):
                tables.execute(_SQL[statement], kept_factorization=factorization_id, kept_matrix=matrix_id)
            return True
        time.sleep(_BETWEEN_ATTEMPTS)
    return False


def active(tables: CollectionTables) -> FactorizationRow | None:
    """The factorisation that searches use."""
    row = tables.one(_SQL["active"])
    if row is None:
        return None
    items = row[3]
    fields = [field for (field,) in tables.factorization(row[0]).binary_rows(_SQL["directions"])]
    return FactorizationRow(
        factorization_id=row[0],
        matrix_id=row[1],
        asked_items=row[2],
        anchor_items=row[3],
        asked_selection=row[4],
        seed=row[5],
        element=row[6],
        split={int(budget): int(count) for budget, count in row[7].items()},
        inverse=np.frombuffer(row[8], dtype="<f8").astype(np.float64).reshape(items, -1),
        intersection=np.frombuffer(row[9], dtype="<f4").astype(np.float64).reshape(-1, items),
        directions=wire.read_vectors(fields).astype(np.float64) if fields else np.eye(items),
        centre=np.array(row[10], dtype=np.float64),
        held_out_error=row[11],
        cross_encoder=row[12],
        fingerprint=row[13],
        identity=row[14],
        strength=row[15],
        per_query=row[16],
    )


def active_identity(tables: CollectionTables) -> UUID | None:
    """Return the globally unique id of the active factorisation."""
    found: UUID | None = tables.value(_SQL["active_identity"])
    return found


def anchors(tables: FactorizationTables, restriction: Restriction) -> list[Anchor]:
    """The anchor items that the caller may see, in their order."""
    rows = tables.rows(_SQL["anchors"].format(among=restriction.ids), **restriction.named)
    return [Anchor(row[0] - 1, row[1], bool(row[2])) for row in rows]


def nearest(
    tables: FactorizationTables, query: Matrix, limit: int, restriction: Restriction, passed_over: Sequence[int]
) -> list[Item]:
    """The `limit` passages with the highest inner product with a query vector, but those that are passed over."""
    rows = tables.binary_rows(
        _SQL["nearest"].format(among=restriction.ids),
        query=Float4Array(query.astype(np.float32)),
        n=limit,
        passed_over=Int4Array(np.array(passed_over, dtype=np.int32)),
        **restriction.named,
    )
    return _items([(row[0], *row[2:]) for row in rows])


def named(tables: FactorizationTables, keys: Sequence[str]) -> list[Item]:
    """Passages by their ids, in the order of these."""
    found = {item.passage.id: item for item in _items(tables.binary_rows(_SQL["named"], keys=list(keys)))}
    return [found[key] for key in keys if key in found]


def _items(rows: Sequence[Any]) -> list[Item]:
    embedded = [row[5] for row in rows if row[5] is not None]
    vectors = iter(wire.read_vectors(embedded)) if embedded else iter(())
    return [Item(row[0], Passage(row[1], row[3], row[2], row[4]), None if row[5] is None else next(vectors)) for row in rows]


def solution(tables: CollectionTables) -> Solution:
    """Return what is known of the collection's factorisation since it was solved."""
    return Solution(*tables.rows(_SQL["solution"])[0])


def dense(tables: CollectionTables, passage_ids: Int32Array) -> tuple[Int32Array, Float32Array]:
    """Kept dense vectors of some passages, with their ids."""
    rows = tables.binary_rows(_SQL["dense"], passage_ids=Int4Array(passage_ids))
    ids = np.array([row[0] for row in rows], dtype=np.int32)
    return ids, wire.read_halfvecs([row[1] for row in rows]) if rows else np.empty((0, 1), dtype=np.float32)
