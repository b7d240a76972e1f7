"""Modes of search: which of a collection's searches answers a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pgretrieval import validate
from pgretrieval.collection import Collection
from pgretrieval.db.selection import Ids
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.types import Hit

Mode = Literal["hybrid", "late", "words", "dense"]
"""Search by all that the collection has, by late interaction alone, by words alone, or by dense vectors alone."""

MODES: tuple[Mode, ...] = ("hybrid", "late", "words", "dense")
_METHODS = {"hybrid": "hybrid_search", "late": "search", "words": "text_search", "dense": "dense_search"}


def modes(row: CollectionRow) -> list[Mode]:
    """Return the modes of a collection's searches, the default first. Dense vectors count if the encoder computes the query's."""
    kinds: tuple[tuple[Mode, Any], ...] = ("words", row.language), ("dense", row.keeps_dense and not row.given_dense)
    parts = [mode for mode, has in kinds if has]
    if row.texts_alone:
        return parts
    return ["hybrid", "late", *parts] if parts else ["late"]


def search_by(
    mode: Mode,
    collection: Collection,
    query: str,
    k: int,
    where: Mapping[str, Any] | str | None = None,
    min_score: float | None = None,
    among: Ids | None = None,
) -> list[Hit]:
    """Return the k best passages by a mode. Raises the errors of its search."""
    method = _METHODS[validate.choice("mode", mode, MODES)]
    hits: list[Hit] = getattr(collection, method)(query, k, where=where, among=among, min_score=min_score)
    return hits
