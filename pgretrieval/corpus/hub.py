"""Rows of datasets by name, by Hugging Face's datasets library: `hf:NAME`, `hf:NAME:CONFIGURATION`, `hf:NAME@SPLIT`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pgretrieval.corpus.arrow import ROWS, Row, rows_of_batches
from pgretrieval.corpus.columns import Columns
from pgretrieval.errors import InputError, MissingExtraError

_NAME = re.compile(r"hf:(?P<name>[^:@]+)(?::(?P<configuration>[^:@]+))?(?:@(?P<split>[^:@]+))?")


def is_dataset_name(path: Path) -> bool:
    """Return whether a path is the name of a dataset."""
    return str(path).startswith("hf:")


def read_dataset(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    """Yield ("NAME: row N", row) of a dataset, which the library downloads once and keeps."""
    asked = _NAME.fullmatch(str(path))
    if asked is None:
        raise InputError(f"{name}: is not the name of a dataset; write hf:NAME, hf:NAME:CONFIGURATION@SPLIT, or one of the two")
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{name}: datasets by name need {error.name}; install it: pip install datasets") from error
    try:
        found = datasets.load_dataset(asked["name"], asked["configuration"])
    except Exception as error:  # the library, its readers and the network raise anything
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: cannot be loaded ({type(error).__name__}: {reason}); check the name, and the network") from error
    if asked["split"] not in (None, *found) or (asked["split"] is None and len(found) > 1):
        splits = ", ".join(f"{name.partition('@')[0]}@{split}" for split in found)
        raise InputError(f"{name}: name one of the splits: {splits}")
    split = found[asked["split"] or next(iter(found))]
    kept = columns.check(split.column_names, name)
    yield from rows_of_batches(split.select_columns(kept).with_format("arrow").iter(ROWS), name, "Arrow")
