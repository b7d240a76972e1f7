"""Token vectors that are decoded from the tables, without search code."""

from __future__ import annotations

import numpy as np
import psycopg

from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import codebooks
from pgretrieval.index.coding import codebook_from_row
from pgretrieval.types import Float32Array


def decoded(url: str, name: str) -> dict[str, Float32Array]:
    """Id -> decoded token vectors, of unit length if the collection's are, read from the tables without search code."""
    with psycopg.connect(url) as connection:
        collection_id, codebook_id, unit = connection.execute(
            "select collection_id, codebook_id, unit_vectors from pgretrieval.collection where name = %s", [name]
        ).fetchone()
        codebook = codebook_from_row(codebooks.load(IndexTables(connection, collection_id, codebook_id)))
        rows = connection.execute(
            """select key, centroid_ids, residuals || tail
               from pgretrieval.token_code join pgretrieval.passage using (collection_id, passage_id)
               where collection_id = %s and codebook_id = %s""",
            [collection_id, codebook_id],
        ).fetchall()
    found = {}
    for key, ids, residuals in rows:
        centroid_ids = np.frombuffer(ids, dtype="<u2").astype(np.int32)
        packed = np.frombuffer(residuals, dtype=np.uint8).reshape(len(centroid_ids), -1).copy()
        vectors = codebook.decode(centroid_ids, packed).astype(np.float64)
        found[key] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if unit else vectors
    return found
