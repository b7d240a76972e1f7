"""Modes of search: which of a collection's searches answer a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgretrieval import validate
from pgretrieval.errors import ConfigError
from pgretrieval.types import MODES, Mode

if TYPE_CHECKING:
    from pgretrieval.db.tables.collections import CollectionRow


def modes(row: CollectionRow) -> list[Mode]:
    """Return the modes of a collection's searches, the default first. Dense vectors count if the encoder computes the query's."""
    kinds: tuple[tuple[Mode, Any], ...] = ("words", row.language), ("dense", row.keeps_dense and not row.given_dense)
    parts = [mode for mode, has in kinds if has]
    if row.texts_alone:
        return parts
    return ["hybrid", "late", *parts] if parts else ["late"]


def mode_of(row: CollectionRow, asked: Any) -> Mode:
    """Return the mode that was asked for, by default the collection's own. Raises ConfigError if the collection lacks it."""
    there = modes(row)
    if asked is None:
        return there[0] if there else "late"
    mode = validate.choice("mode", asked, MODES)
    if mode in ("words", "dense") and mode not in there:
        has = "language" if mode == "words" else "dense"
        msg = f"mode is {mode!r}, but collection {row.name!r} has none; choose {' or '.join(there)}, or create it with {has}="
        raise ConfigError(msg)
    return mode
