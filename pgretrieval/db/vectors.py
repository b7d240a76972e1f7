"""Half-precision vectors: of the tokens of passages that wait for a build or stay, and dense ones, one a passage."""

from __future__ import annotations

import numpy as np

from pgretrieval.assets import statements
from pgretrieval.db import wire
from pgretrieval.db.connection import Connection, value
from pgretrieval.db.parameters import Int4Array
from pgretrieval.types import CollectionId, Float32Array, Int32Array, Int64Array, TokenMatrix

_SQL = statements("vectors")


def copy(connection: Connection, collection_id: CollectionId, passage_ids: Int32Array, tokens: TokenMatrix) -> None:
    """Write one `halfvec[]` a passage by binary COPY."""
    element_type = int(value(connection, _SQL["element_type"]))
    fields = wire.halfvec_array_fields(tokens.vectors, tokens.offsets, element_type)
    with connection.cursor() as cursor, cursor.copy(_SQL["copy"]) as stream:
        stream.set_types(["int4", "int4", "bytea"])
        for passage_id, field in zip(passage_ids.tolist(), fields, strict=True):
            stream.write_row((collection_id, passage_id, field))


def copy_dense(connection: Connection, collection_id: CollectionId, passage_ids: Int32Array, rows: Float32Array) -> None:
    """Write one `halfvec` a passage by binary COPY; rows are (passages, dense dim)."""
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_dense"]) as stream:
        stream.set_types(["int4", "int4", "bytea"])
        for passage_id, field in zip(passage_ids.tolist(), wire.halfvec_fields(rows), strict=True):
            stream.write_row((collection_id, passage_id, field))


def index_dense(connection: Connection, collection_id: CollectionId) -> None:
    """The vector index over the dense vectors, where the collection keeps them."""
    connection.execute(_SQL["index_dense"], {"collection_id": collection_id})


def staged(connection: Connection, collection_id: CollectionId) -> tuple[Int32Array, Int64Array]:
    """Passage ids that have vectors, ascending, and the number of tokens of each."""
    rows = connection.execute(_SQL["staged_ids"], {"collection_id": collection_id}).fetchall()
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return table[:, 0].astype(np.int32), table[:, 1]


def read(connection: Connection, collection_id: CollectionId, passage_ids: Int32Array) -> TokenMatrix:
    """The vectors of some passages, in the order given."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL["read"], {"collection_id": collection_id, "passage_ids": Int4Array(passage_ids)})
        fields = [row[1] for row in cursor.fetchall()]
    vectors, offsets = wire.read_halfvec_arrays(fields)
    return TokenMatrix(vectors, offsets)


def clear(connection: Connection, collection_id: CollectionId) -> None:
    """Drop all of a collection's vectors and free their space at once."""
    connection.execute(_SQL["clear"], {"collection_id": collection_id})
