"""Search by dense vectors, computed on the server (docs/reference/sql.md)."""

from __future__ import annotations

import warnings
from typing import Any

from pgretrieval import validate
from pgretrieval.assets import statements
from pgretrieval.db.parameters import vector
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import ConfigError, DimensionMismatchError, EncoderChangedError, PgRetrievalWarning
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.vectors import dense_array, unit_rows
from pgretrieval.search.explain import Explanation
from pgretrieval.types import Float32Array, Hit, Restriction

_SQL = statements("dense")
_MOST = 100_000_000  # the function's maximum


def dense_search(opened: OpenCollection, query: Any, dense: Any, k: int, restriction: Restriction | None) -> Explanation:
    """Return the k best passages by their dense vectors; the query is a text or its vector.

    Raises CollectionNotFoundError if the collection was dropped, EncoderChangedError if a rebuild changed the encoder.
    """
    report = Explanation()
    with report.stage("encode"):
        encoding, row = _encode(opened, query, dense)
    restricted = restriction or Restriction()
    named = {"name": opened.name, "query": vector(row), "k": min(k, _MOST), **restricted.named}
    with report.stage("dense"), opened.database.reading(f"searching collection {opened.name!r}") as connection:
        state = collections.add_state(opened.row.tables(connection), opened.row.identity)
        if encoding not in (None, state.encoding):
            raise EncoderChangedError(opened.name)
        rows = connection.execute(_SQL["dense_search"].format(among=restricted.ids), named).fetchall()
    report.hits = [Hit(*row) for row in rows]
    return report


def read_dense(opened: OpenCollection, dense: Any) -> Float32Array:
    """Return a given dense vector of a query (dense dim,). Raises ConfigError if the collection has none, VectorError."""
    row = current_row(opened)
    if row.dense is None:
        msg = f"collection {row.name!r} has no dense vectors; create it with dense=, or leave dense= out of the search"
        raise ConfigError(msg)
    try:
        given = dense_array(dense, "the query", row.dense_dim)
    except DimensionMismatchError:  # a rebuild with another encoder may have changed the dimension
        given = dense_array(dense, "the query", opened.refresh().dense_dim)
    return unit_rows(given[None])[0] if row.keeps_dense else given  # other lengths may exceed half precision


def current_row(opened: OpenCollection) -> CollectionRow:
    """Return the collection's row, read again until its dense dimension is known."""
    row = opened.row
    return opened.refresh() if row.keeps_dense and row.dense_dim is None else row


def warn_if_truncated(texts: list[str], encoder: CollectionEncoder) -> None:
    """Warn about queries longer than the model's limit."""
    if cut := encoder.count_truncated_queries(texts):
        what = "the query was" if len(texts) == 1 else f"{cut} of {len(texts)} queries were"
        warnings.warn(f"{what} longer than the model's limit and truncated", PgRetrievalWarning, stacklevel=3)


def _encode(opened: OpenCollection, query: Any, dense: Any) -> tuple[int | None, Float32Array]:
    """Return the encoder generation, None for a given vector, and the dense vector of a query (dense dim,)."""
    if (query is None) == (dense is None):
        msg = "give either the query's text or dense="
        raise ConfigError(msg)
    if dense is not None:
        return None, read_dense(opened, dense)
    text, row = validate.query(query), current_row(opened)
    if row.dense is None:
        msg = f"collection {row.name!r} has no dense vectors; create it with dense=, or use another search"
        raise ConfigError(msg)
    if not row.keeps_dense or row.given_dense:
        source = "were given" if row.keeps_dense else f"are those of {row.dense}"
        msg = f"the dense vectors of collection {row.name!r} {source}, not computed by its encoder; give dense= for the query, too"
        raise ConfigError(msg)
    encoding, encoder = opened.encoder()
    warn_if_truncated([text], encoder)
    return encoding, encoder.encode_query_with_dense(text)[1][0]
