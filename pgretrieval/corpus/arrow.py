"""Rows of Parquet and Arrow files, and of folders that the datasets library saved, by pyarrow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgretrieval import importing
from pgretrieval.corpus.columns import Columns
from pgretrieval.corpus.lines import unreadable
from pgretrieval.errors import InputError

ROWS = 1_000
"""Rows that are converted at a time."""
_FILE_FORMAT = b"ARROW1"

Row = tuple[str, dict[str, Any]]
"""Place of a row, and its values by column."""


def read_parquet(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    """Yield ("FILE: row N", row) of a Parquet file, with the columns of passages only."""
    with importing.extra(f"{name}: Parquet", "files"):
        from pyarrow import parquet
    with _reading(name, "Parquet"):
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    with file:
        kept = columns.check(file.schema_arrow.names, name)
        yield from rows_of_batches(file.iter_batches(batch_size=ROWS, columns=kept), name, "Parquet")


def read_arrow(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    """Yield ("FILE: row N", row) of an Arrow file in the file or the stream format."""
    with importing.extra(f"{name}: Arrow", "files"):
        import pyarrow
        from pyarrow import ipc
    with _reading(name, "Arrow"):
        with path.open("rb") as file:
            is_file = file.read(len(_FILE_FORMAT)) == _FILE_FORMAT
        mapped = pyarrow.memory_map(str(path))
    with mapped:
        with _reading(name, "Arrow"):
            reader = ipc.open_file(mapped) if is_file else ipc.open_stream(mapped)
        kept = columns.check(reader.schema.names, name)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)
        yield from rows_of_batches((batch.select(kept) for batch in batches), name, "Arrow")


def is_saved_dataset(path: Path) -> bool:
    """Return whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote a folder."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def read_saved_dataset(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a folder that `Dataset.save_to_disk` wrote, or of the only split of a `DatasetDict`."""
    if (path / "dataset_dict.json").is_file():
        with _reading_json(name):
            splits = list(json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"])
        if len(splits) != 1:
            folders = ", ".join(f"{name}/{split}" for split in splits)
            raise InputError(f"{name}: has {len(splits)} splits; name the folder of one: {folders}")
        path, name = path / splits[0], f"{name}/{splits[0]}"
    with _reading_json(name):
        files = [file["filename"] for file in json.loads((path / "state.json").read_text(encoding="utf-8"))["_data_files"]]
    for file in files:
        yield from read_arrow(path / file, f"{name}/{file}", columns)


def rows_of_batches(batches: Iterator[Any], name: str, kind: str) -> Iterator[Row]:
    """Yield ("NAME: row N", row) of batches or tables of pyarrow; `kind` is what errors call their format."""
    row = 0
    while True:
        with _reading(f"{name}: row {row + 1}", kind):
            batch = next(batches, None)
        if batch is None:
            return
        for start in range(0, batch.num_rows, ROWS):
            with _reading(f"{name}: row {row + 1}", kind):
                records = batch.slice(start, ROWS).to_pylist(maps_as_pydicts="strict")
            for record in records:
                row += 1
                yield f"{name}: row {row}", record


@contextmanager
def _reading_json(name: str) -> Iterator[None]:
    """Turn the errors of a saved folder's own files in this block into InputError."""
    try:
        yield
    except OSError as error:
        raise unreadable(name, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name}: is not a whole folder of save_to_disk ({error!r}); save the dataset again") from error


@contextmanager
def _reading(where: str, kind: str) -> Iterator[None]:
    """Turn the errors of pyarrow in this block into InputError."""
    import pyarrow

    try:
        yield
    except pyarrow.ArrowException as error:
        raise _damaged(where, kind, error) from error
    except OSError as error:
        if error.errno:
            raise unreadable(where, OSError(error.errno, os.strerror(error.errno))) from error
        raise _damaged(where, kind, error) from error
    except UnicodeDecodeError as error:
        raise _damaged(where, kind, error) from error


def _damaged(where: str, kind: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{where}: not a whole {kind} file ({reason}); fetch or write the file again")
