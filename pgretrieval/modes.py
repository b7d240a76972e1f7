"""Modes of search: which of a collection's searches answer a query."""

from __future__ import annotations

from typing import Any

from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.types import Mode


def modes(row: CollectionRow) -> list[Mode]:
    """Return the modes of a collection's searches, the default first. Dense vectors count if the encoder computes the query's."""
    kinds: tuple[tuple[Mode, Any], ...] = ("words", row.language), ("dense", row.keeps_dense and not row.given_dense)
    parts = [mode for mode, has in kinds if has]
    if row.texts_alone:
        return parts
    return ["hybrid", "late", *parts] if parts else ["late"]
