"""Searches by words, alone and together with late interaction: the server does all of it (docs/sql.md)."""

from __future__ import annotations

from typing import Any

from typing_extensions import LiteralString

from pgretrieval.assets import statements
from pgretrieval.db.connection import Database
from pgretrieval.db.parameters import vector_array
from pgretrieval.errors import ConfigError
from pgretrieval.types import Float32Array, Hit, Restriction

_SQL = statements("words")


def text_search(database: Database, name: str, query_text: str, k: int, restriction: Restriction) -> list[Hit]:
    """The k best passages by BM25."""
    return _hits(database, name, _SQL["text_search"], {"query_text": query_text, "k": k}, restriction)


def hybrid_search(
    database: Database,
    name: str,
    query: Float32Array,
    query_text: str,
    k: int,
    restriction: Restriction,
    rank_constant: int,
    weights: tuple[float, float],
) -> list[Hit]:
    """The k best passages by reciprocal-rank fusion. Raises ConfigError for weights or a constant that cannot be used."""
    if len(weights) != 2 or rank_constant < 0:
        msg = f"weights are {weights!r} and rank_constant is {rank_constant!r}; give two weights and a constant of at least 0"
        raise ConfigError(msg)
    parameters: dict[str, Any] = {"query": vector_array(query), "query_text": query_text, "k": k}
    parameters |= {"rank_constant": rank_constant, "weights": list(weights)}
    return _hits(database, name, _SQL["hybrid_search"], parameters, restriction)


def _hits(
    database: Database, name: str, statement: LiteralString, parameters: dict[str, Any], restriction: Restriction
) -> list[Hit]:
    named = {"name": name, "filter": restriction.filter, **restriction.parameters, **parameters}
    with database.reading(f"searching collection {name!r}") as connection:
        rows = connection.execute(statement.format(among=restriction.ids), named).fetchall()
    return [Hit(*row) for row in rows]
