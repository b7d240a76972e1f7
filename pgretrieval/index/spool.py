"""Spool of batches that wait to be written, in memory or, beyond a limit, in a temporary file."""

from __future__ import annotations

import pickle
import tempfile
from types import TracebackType
from typing import IO, Generic, TypeVar

from typing_extensions import Self

from pgretrieval.errors import StorageError

_IN_MEMORY = 2**26  # bytes

Item = TypeVar("Item")


class Spool(Generic[Item]):
    """List of items of which at most 64 MiB are in memory; the file is deleted at the end of the `with` block."""

    def __init__(self) -> None:
        self._items: list[Item | int] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: Item, size: int) -> None:
        """Append an item of about `size` bytes."""
        self._items.append(item)
        self._bytes += size
        if self._file is not None or self._bytes > _IN_MEMORY:
            self._spill()

    def __getitem__(self, place: int) -> Item:
        item = self._items[place]
        if isinstance(item, int) and self._file is not None:
            self._file.seek(item)
            read: Item = pickle.load(self._file)  # safe: written by this process to an unlinked file
            return read
        return item  # type: ignore[return-value]

    def replace(self, place: int, item: Item) -> None:
        """Replace the item at a place."""
        self._items[place] = item
        if self._file is not None:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="pgretrieval-")  # noqa: SIM115  # it is closed with the block
            for place, item in enumerate(self._items):
                if not isinstance(item, int):
                    self._items[place] = self._file.seek(0, 2)
                    pickle.dump(item, self._file, protocol=5)
        except OSError as error:
            msg = (
                f"batches cannot be written to the temporary directory {tempfile.gettempdir()}: {error}. "
                "Nothing of this call was stored. Free space there, set TMPDIR to another directory, or add fewer passages at once"
            )
            raise StorageError(msg) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
