"""Half-precision vectors: of the tokens of passages that wait for a build or stay, and dense ones, one a passage.

Those of another encoder, which a rebuild makes beside the ones that searches use, have another number for their encoding.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from psycopg import errors as pg
from psycopg import sql

from pgretrieval.assets import statements
from pgretrieval.buckets import PassageIds
from pgretrieval.db import wire
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.parameters import Int4Array
from pgretrieval.db.writing import write_rows
from pgretrieval.types import Float32Array, Int32Array, Int64Array, TokenMatrix

_SQL = statements("vectors")
_TYPES = ["int4", "int4", "int2", "int4", "bytea"]


def copy(tables: CollectionTables, encoding: int, passages: PassageIds, tokens: TokenMatrix) -> None:
    """Write one `halfvec[]` a passage by binary COPY, as vectors of one of the collection's encodings."""
    element_type = int(tables.value(_SQL["element_type"]))
    fields = wire.halfvec_array_fields(tokens.vectors, tokens.offsets, element_type)
    rows = (
        (tables.collection_id, encoding, bucket, passage_id, field)
        for bucket, passage_id, field in zip(passages.buckets.tolist(), passages.ids.tolist(), fields, strict=True)
    )
    write_rows(tables.connection, "pgretrieval.token_vector", _SQL["copy"], _SQL["insert"], _TYPES, rows)


def copy_dense(tables: CollectionTables, encoding: int, passages: PassageIds, rows: Float32Array) -> None:
    """Write one `halfvec` a passage by binary COPY; rows are (passages, dense dim)."""
    written = (
        (tables.collection_id, encoding, bucket, passage_id, field)
        for bucket, passage_id, field in zip(
            passages.buckets.tolist(), passages.ids.tolist(), wire.halfvec_fields(rows), strict=True
        )
    )
    write_rows(tables.connection, "pgretrieval.dense_vector", _SQL["copy_dense"], _SQL["insert_dense"], _TYPES, written)


def index_dense(tables: CollectionTables, encoding: int, dim: int | None) -> None:
    """Make the vector index over one encoding of the dense vectors unless it is there; without a dimension there are none yet."""
    tables.execute(_SQL["index_dense"], encoding=encoding, dim=dim)


def staged(tables: CollectionTables, encoding: int, dim: int) -> tuple[Int32Array, Int64Array]:
    """Passage ids that have vectors of an encoding, ascending, and the number of tokens of each."""
    table = np.array(tables.rows(_SQL["staged_ids"], encoding=encoding, dim=dim), dtype=np.int64).reshape(-1, 2)
    return table[:, 0].astype(np.int32), table[:, 1]


def read(tables: CollectionTables, encoding: int, passage_ids: Int32Array) -> tuple[PassageIds, TokenMatrix]:
    """The vectors of those of some passages that are still there, with their ids, in the order given."""
    rows = tables.binary_rows(_SQL["read"], encoding=encoding, passage_ids=Int4Array(passage_ids))
    if not rows:
        return PassageIds.of([]), TokenMatrix(np.empty((0, 1), dtype=np.float32), np.zeros(1, dtype=np.int64))
    vectors, offsets = wire.read_halfvec_arrays([row[2] for row in rows])
    return PassageIds.of(rows), TokenMatrix(vectors, offsets)


def drop_removed(tables: CollectionTables, encoding: int) -> None:
    """Remove an encoding's vectors of passages that are gone."""
    for statement in ("drop_vectors_of_removed", "drop_dense_of_removed"):
        tables.execute(_SQL[statement], encoding=encoding)


def clear(tables: CollectionTables) -> None:
    """Free the space of token vectors where none are left, unless somebody is in the way for half a second."""
    with suppress(pg.LockNotAvailable), tables.connection.transaction():
        if tables.one(_SQL["lock_where_empty"]) is not None:
            partition = sql.Identifier("pgretrieval", f"token_vector_{tables.collection_id}")
            tables.connection.execute(sql.SQL(_SQL["truncate"]).format(partition=partition))
