"""Parts of a build's encoding and coding: rows that any number of processes claim, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pgretrieval.assets import statements
from pgretrieval.db.handles import CollectionTables, IndexTables
from pgretrieval.db.parameters import Int4Array
from pgretrieval.types import CodebookId

_SQL = statements("parts")


class Part(NamedTuple):
    """Passages with numbers from `first` to `last`, to encode or, with a codebook, to code from vectors of the encoding."""

    encoding: int
    codebook_id: CodebookId | None
    first: int
    last: int


class Left(NamedTuple):
    """Rest of a stage: parts that are not committed, and their passages."""

    parts: int
    passages: int


def plan_texts(tables: CollectionTables, encoding: int, size: int) -> None:
    """Divide the passages without vectors of an encoding, unless parts of an interrupted build are left."""
    with tables.connection.transaction():
        tables.execute(_SQL["forget"], encoding=encoding, codebook_id=None)
        if not left(tables, encoding, None).parts:
            tables.execute(_SQL["plan_texts"], encoding=encoding, size=size)


def plan_codes(tables: IndexTables, encoding: int, ranges: Sequence[tuple[int, int, int]]) -> None:
    """Write parts to code, as first and last passage and their number."""
    columns = np.array(ranges, dtype=np.int32).reshape(-1, 3).T
    first, last, passages = map(Int4Array, columns)
    tables.execute(_SQL["plan_codes"], encoding=encoding, first=first, last=last, passages=passages)


def forget_others(tables: CollectionTables, encoding: int, codebook_id: CodebookId | None) -> None:
    """Drop the parts of other stages, once the processes that are at one have finished."""
    tables.execute(_SQL["forget"], encoding=encoding, codebook_id=codebook_id)


def left(tables: CollectionTables, encoding: int, codebook_id: CodebookId | None) -> Left:
    """Return what is left of a stage."""
    return Left(*map(int, tables.rows(_SQL["left"], encoding=encoding, codebook_id=codebook_id)[0]))


def left_of_any(tables: CollectionTables) -> Left:
    """Return what is left of the stage of whichever build of the collection is under way."""
    return Left(*map(int, tables.rows(_SQL["left_of_any"])[0]))


def claim(tables: CollectionTables, encoding: int, *, texts: bool) -> Part | None:
    """Claim a part, to code or, with `texts`, to encode, in the transaction that writes its result; None if none is free."""
    row = tables.one(_SQL["claim"], encoding=encoding, texts=texts)
    return None if row is None else Part(*row[:4])
