"""Open collection of this process."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TypeVar

from pgretrieval import validate
from pgretrieval.db.connection import Database
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import collections
from pgretrieval.db.tables import passages as stored
from pgretrieval.db.tables.collections import KEPT, CollectionRow
from pgretrieval.encode import registry
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import ConfigError, DimensionMismatchError, EncoderChangedError, EncoderError, InputError
from pgretrieval.index.coding import Coders
from pgretrieval.index.options import makes_dense
from pgretrieval.types import Passage, Restriction

_Result = TypeVar("_Result")
_Wanted = TypeVar("_Wanted")
_Found = TypeVar("_Found", bound=Sized)


class OpenCollection:
    """Catalog row of a collection as last read, its encoder and its coders. Threads may share it."""

    def __init__(
        self, database: Database, row: CollectionRow, encoder: CollectionEncoder | None, device: str | None = None
    ) -> None:
        self.database = database
        self.row = row
        self.device = device
        self.coders = Coders(device, row.scoring)
        self._loaded = None if encoder is None else (row.encoding, encoder)

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self.row.name

    def refresh(self) -> CollectionRow:
        """Read the row again, since other processes may have changed it. Raises CollectionNotFoundError if it was dropped."""
        found = collections.find(self.database, self.name)
        if found.identity != self.row.identity:
            raise collections.dropped(self.row.collection_id)
        self.row = found
        return found

    def complete(self, found: _Found, wanted: int) -> _Found:
        """Return `found`. Raises CollectionNotFoundError if it is shorter than `wanted` because the collection was dropped."""
        if len(found) < wanted:
            self.refresh()
        return found

    def passages(self, keys: list[str]) -> dict[str, Passage]:
        """Return stored passages by id. Unknown ids are left out."""
        return self.complete(self.database.again(lambda: self._read(stored.existing, keys)), len(set(keys)))

    def passages_where(self, restriction: Restriction) -> dict[str, Passage]:
        """Return the stored passages of a restriction by id, in the order in which they were stored."""
        return self.complete(self.database.again(lambda: self._read(stored.matching, restriction)), 1)

    def _read(self, read: Callable[[CollectionTables, _Wanted], dict[str, Passage]], wanted: _Wanted) -> dict[str, Passage]:
        with self.database.looking(f"reading collection {self.name!r}") as connection:
            tables = self.row.tables(connection)
            collections.require(tables, self.row.identity)
            return read(tables, wanted)

    def encoder(self) -> tuple[int, CollectionEncoder]:
        """Return the encoder generation, which counts changes of the encoder, and the encoder.

        Raises InputError if there is none, EncoderError if it cannot be loaded.
        """
        loaded = self._loaded
        if loaded is None:
            row = self.refresh()
            if row.texts_alone:
                msg = (
                    f'collection {self.name!r} stores texts only (encoder="none"), which have no token vectors: search by words or '
                    "by a cross-encoder, or give it an encoder by rebuild(encoder=…)"
                )
                raise InputError(msg)
            if row.encoder is not None:
                encoder = registry.from_spec(row.encoder, self.device)
            elif row.dim is None:
                encoder = registry.load_encoder(registry.MINILM, self.device, unit=row.unit_vectors)
            else:
                msg = (
                    f"collection {self.name!r} contains given vectors and has no encoder; pass vectors=, or open it with encoder=…"
                )
                raise InputError(msg)
            loaded = self._loaded = row.encoding, encoder
        return loaded

    def encoder_or_none(self) -> CollectionEncoder | None:
        """Return the encoder, of the current generation, or None if there is none or it cannot be found again."""
        try:
            return self.encoder()[1]
        except (InputError, EncoderError):
            return None

    def encoder_of_texts(self) -> CollectionEncoder | None:
        """Return the encoder that can recompute vectors from texts, or None."""
        row = self.refresh()
        if row.texts_alone or row.given_vectors:
            return None
        loadable = self._loaded is not None or (row.encoder or {}).get("kind") not in (None, "object")
        return self.encoder()[1] if loadable else None

    def makes_dense(self, encoder: CollectionEncoder) -> bool:
        """Return whether the encoder computes the dense vectors of queries."""
        row = self.row
        return not row.given_dense and (row.dense_dim is not None or row.dense == KEPT) and makes_dense(row, encoder)

    def take_encoder(self, encoder: CollectionEncoder) -> None:
        """Use this encoder for the current generation."""
        self._loaded = self.row.encoding, encoder

    def forget_old_encoder(self) -> None:
        """Read the row again, and drop the encoder if a rebuild has changed it."""
        row = self.refresh()
        if self._loaded and self._loaded[0] != row.encoding:
            self._loaded = None

    def retry(self, work: Callable[[], _Result]) -> _Result:
        """Run `work`; if a rebuild changed the encoder, reload it and retry once."""
        try:
            return work()
        except EncoderChangedError:
            self.forget_old_encoder()
        return work()

    def is_of(self, row: CollectionRow) -> bool:
        """Return whether the row is of this collection, not of another one of the same name."""
        return self.row.identity == row.identity

    def check_encoder(self, encoder: CollectionEncoder) -> None:
        """Raise DimensionMismatchError if the dimensions of encoder and collection differ."""
        if not isinstance(encoder, CollectionEncoder):
            msg = f"encoder is {validate.shown(encoder)}; give an encoder such as the collection's property `encoder`"
            raise EncoderError(msg)
        if self.row.dim is not None and encoder.dim != self.row.dim:
            msg = f"encoder {encoder.spec} has {encoder.dim} dimensions, but collection {self.name!r} has {self.row.dim}"
            raise DimensionMismatchError(msg)

    def require_encoder(self, source: str) -> None:
        """Raise ConfigError if the collection was created with another encoder than `source`."""
        source = validate.path("source", source)
        held, unit = self.row.encoder, self.row.unit_vectors
        if held is None:
            return
        fits = self.row.texts_alone if source == "none" else registry.names(source, held, unit=unit)
        if not fits:
            msg = f"collection {self.name!r} was created with encoder {held}, not {source!r}; use that one, or change it by rebuild"
            raise ConfigError(msg)
