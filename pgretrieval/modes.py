"""Modes of search: which of a collection's searches answers a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgretrieval.collection import Collection
from pgretrieval.db.selection import Ids
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.types import Hit, Mode


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
    return collection.explain(query, k, mode=mode, where=where, among=among, min_score=min_score).hits
