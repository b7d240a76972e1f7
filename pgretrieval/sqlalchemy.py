"""SQLAlchemy constructs: tables of the schema, and search functions as table-valued expressions.

    found = search("docs", query_vectors, k=20).alias("found")
    select(Article, found.c.score).join(found, found.c.id == Article.slug).order_by(found.c.rank)

They work with synchronous and asynchronous engines and with any Postgres driver, because token vectors are sent as text,
which the server converts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.selectable import TableValuedAlias

from pgretrieval import validate
from pgretrieval.db import parameters
from pgretrieval.index.vectors import dense_array, token_array
from pgretrieval.search.filters import predicate
from pgretrieval.search.fusion import read_fusion
from pgretrieval.search.options import read_k, read_min_score, read_reduction
from pgretrieval.types import Reduction

metadata = sa.MetaData(schema="pgretrieval")
"""Metadata of these tables; not for `create_all`, since migrations create them."""

collections = sa.Table(
    "collections",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("dim", sa.Integer),
    sa.Column("bits", sa.SmallInteger),
    sa.Column("levels", sa.Text),
    sa.Column("encoder", postgresql.JSONB),
    sa.Column("generator", sa.Text),
    sa.Column("keep_vectors", sa.Boolean),
    sa.Column("language", sa.Text),
    sa.Column("title_weight", sa.REAL),
    sa.Column("dense", sa.Text),
    sa.Column("dense_key", sa.Text),
    sa.Column("dense_dim", sa.Integer),
    sa.Column("built", sa.Boolean),
    sa.Column("created_at", sa.DateTime(timezone=True)),
    sa.Column("vectors_per_passage", sa.Integer),
    sa.Column("buckets", sa.SmallInteger),
)
"""View of all collections."""

collection = sa.Table(
    "collection",
    metadata,
    sa.Column("collection_id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text),
)
"""Collections, to join from a name to `passage.collection_id`."""

passage = sa.Table(
    "passage",
    metadata,
    sa.Column("collection_id", sa.Integer, primary_key=True),
    sa.Column("bucket", sa.SmallInteger, primary_key=True),
    sa.Column("passage_id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text),
    sa.Column("title", sa.Text),
    sa.Column("body", sa.Text),
    sa.Column("metadata", postgresql.JSONB, key="metadata_"),
    sa.Column("token_count", sa.Integer),
)
"""Passages; `key` is the application's id."""

centroid = sa.Table(
    "centroid",
    metadata,
    sa.Column("collection_id", sa.Integer, primary_key=True),
    sa.Column("codebook_id", sa.Integer, primary_key=True),
    sa.Column("centroid_id", sa.Integer, primary_key=True),
    sa.Column("vector", HALFVEC),
)
"""Centroids of token vectors."""

dense_vector = sa.Table(
    "dense_vector",
    metadata,
    sa.Column("collection_id", sa.Integer, primary_key=True),
    sa.Column("bucket", sa.SmallInteger, primary_key=True),
    sa.Column("passage_id", sa.Integer, primary_key=True),
    sa.Column("vector", HALFVEC),
)
"""Dense vectors of passages, if the collection stores them."""

item_embedding = sa.Table(
    "item_embedding",
    metadata,
    sa.Column("factorization_id", sa.Integer, primary_key=True),
    sa.Column("bucket", sa.SmallInteger, primary_key=True),
    sa.Column("passage_id", sa.Integer, primary_key=True),
    sa.Column("embedding", VECTOR),
)
"""Item embeddings of passages, from a factorisation of a cross-encoder's scores."""


def token_vectors(vectors: Any, what: str = "the query") -> sa.ColumnElement[Any]:
    """Return an array of shape (tokens, dim) as a `vector[]` expression. Raises VectorError, naming `what`, for other shapes."""
    return sa.func.pgretrieval.as_vectors(sa.literal(vector_array(vectors, what), sa.Text))


def vector_array(vectors: Any, what: str = "the query") -> str:
    """Return an array of shape (tokens, dim) as text for `pgretrieval.as_vectors` or a cast to `vector[]`, for other drivers."""
    return parameters.vector_array(token_array(vectors, validate.text("what", what, most=validate.MAX_NAME), None))


def search(
    collection: str,
    query: Any,
    k: int = 10,
    *,
    where: Mapping[str, Any] | str | None = None,
    among: Iterable[str] | sa.Select[Any] | None = None,
    probes: int | None = None,
    candidates: int | None = None,
    reduction: Reduction | None = None,
    min_score: float | None = None,
) -> TableValuedAlias:
    """Return a call of `pgretrieval.search` with columns rank, id, score, title, body and metadata.

    Name it by `.alias(…)` and join on `c.id`.
    """
    options: dict[str, sa.ColumnElement[Any]] = {
        "probes": sa.literal(validate.whole_or_none("probes", probes), sa.Integer),
        "candidates": sa.literal(validate.whole_or_none("candidates", candidates), sa.Integer),
        "reduction": sa.literal(read_reduction(reduction), sa.Text),
    }
    return _hits("search", collection, [token_vectors(query)], k, where, among, min_score, options)


def text_search(
    collection: str,
    query_text: str,
    k: int = 10,
    *,
    where: Mapping[str, Any] | str | None = None,
    among: Iterable[str] | sa.Select[Any] | None = None,
    min_score: float | None = None,
) -> TableValuedAlias:
    """Return a call of `pgretrieval.text_search`, with the columns of `search`."""
    query_arguments: list[sa.ColumnElement[Any]] = [sa.literal(validate.query(query_text), sa.Text)]
    return _hits("text_search", collection, query_arguments, k, where, among, min_score, {})


def dense_search(
    collection: str,
    query: Any,
    k: int = 10,
    *,
    where: Mapping[str, Any] | str | None = None,
    among: Iterable[str] | sa.Select[Any] | None = None,
    min_score: float | None = None,
) -> TableValuedAlias:
    """Return a call of `pgretrieval.dense_search` for the query's dense vector, with the columns of `search`."""
    return _hits("dense_search", collection, [_dense_vector(query)], k, where, among, min_score, {})


def hybrid_search(
    collection: str,
    query: Any,
    query_text: str,
    k: int = 10,
    *,
    dense: Any = None,
    where: Mapping[str, Any] | str | None = None,
    among: Iterable[str] | sa.Select[Any] | None = None,
    fusion: str = "score",
    weights: tuple[float, float, float] = (1.0, 0.3, 0.3),
    rank_constant: int = 60,
    min_score: float | None = None,
) -> TableValuedAlias:
    """Return a call of `pgretrieval.hybrid_search`, with the columns of `search`; `dense` is the query's dense vector."""
    fusing = read_fusion(fusion, weights, rank_constant)
    options: dict[str, sa.ColumnElement[Any]] = {
        "fusion": sa.literal(fusing.by, sa.Text),
        "weights": sa.cast(sa.literal(list(fusing.weights), postgresql.ARRAY(sa.Double)), postgresql.ARRAY(sa.Double)),
        "rank_constant": sa.literal(fusing.rank_constant, sa.Integer),
    }
    if dense is not None:
        options["query_dense"] = _dense_vector(dense)
    query_arguments = [token_vectors(query), sa.literal(validate.query(query_text), sa.Text)]
    return _hits("hybrid_search", collection, query_arguments, k, where, among, min_score, options)


def _dense_vector(dense: Any) -> sa.ColumnElement[Any]:
    """Return a row of numbers as a `vector` expression. Raises VectorError for other values."""
    return sa.func.pgretrieval.as_vector(sa.literal(parameters.vector(dense_array(dense, "the query", None)), sa.Text))


def _hits(
    function: str,
    collection: str,
    query: list[sa.ColumnElement[Any]],
    k: int,
    where: Mapping[str, Any] | str | None,
    among: Iterable[str] | sa.Select[Any] | None,
    min_score: float | None,
    options: Mapping[str, sa.ColumnElement[Any]],
) -> TableValuedAlias:
    """Return a call with later arguments by name. `metadata` is `c.metadata_`, since `c.metadata` is SQLAlchemy's own."""
    named = {
        "filter": sa.cast(sa.literal(predicate(where), sa.Text), postgresql.JSONPATH()),
        "among": _ids(among),
        "min_score": sa.literal(read_min_score(min_score), sa.Double),
        **options,
    }
    name = validate.collection_name(collection)
    arguments = [sa.literal(name, sa.Text), *query, sa.literal(read_k(k), sa.Integer)]
    arguments += [sa.literal_column(f"{name} =>").op("")(value) for name, value in named.items()]
    hits: TableValuedAlias = getattr(sa.func.pgretrieval, function)(*arguments).table_valued(
        sa.column("rank", sa.Integer),
        sa.column("id", sa.Text),
        sa.column("score", sa.REAL),
        sa.column("title", sa.Text),
        sa.column("body", sa.Text),
        sa.column("metadata", postgresql.JSONB),
    )
    return hits


def _ids(among: Iterable[str] | sa.Select[Any] | None) -> sa.ColumnElement[Any]:
    if isinstance(among, sa.Select):
        return sa.func.array(among.scalar_subquery(), type_=postgresql.ARRAY(sa.Text))
    return sa.cast(
        sa.literal(None if among is None else validate.ids("among", among), postgresql.ARRAY(sa.Text)), postgresql.ARRAY(sa.Text)
    )
