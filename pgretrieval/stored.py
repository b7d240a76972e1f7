"""Stored part of a collection: its passages, its index and its settings. `Collection` adds the searches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgretrieval import validate
from pgretrieval.db.connection import Database
from pgretrieval.db.joining import Joined
from pgretrieval.db.selection import Ids
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.encode.pooling import MAX_POOLING
from pgretrieval.errors import ConfigError
from pgretrieval.index import changes
from pgretrieval.index.build_workers import read_processes
from pgretrieval.index.check import check
from pgretrieval.index.compaction import compact
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.rebuild import build_collection, rebuild_with
from pgretrieval.index.work import Stage
from pgretrieval.search.filters import read_restriction
from pgretrieval.types import AddReport, CollectionSettings, OnConflict, Passage, Restriction, Violation

if TYPE_CHECKING:
    from pgretrieval.index.build import BuildReport


class StoredCollection:
    """Changes of passages, builds of the index, settings and checks of a collection."""

    def __init__(
        self, database: Database, row: CollectionRow, encoder: CollectionEncoder | None, device: str | None = None
    ) -> None:
        self._database = database
        self._opened = OpenCollection(database, row, encoder, device)

    @property
    def _row(self) -> CollectionRow:
        return self._opened.row

    def __repr__(self) -> str:
        return f"<Collection {self.name!r}>"

    if not TYPE_CHECKING:  # type checkers report unknown attributes only without `__getattr__`

        def __getattr__(self, name: str) -> Any:
            setting = "generator" if name == "candidates" else name
            hint = f"; use settings.{setting}" if setting in CollectionSettings.__annotations__ else ""
            msg = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
            raise AttributeError(msg)

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self._row.name

    @property
    def settings(self) -> CollectionSettings:
        """Current settings of the collection."""
        return self._opened.refresh().settings

    @property
    def encoder(self) -> CollectionEncoder:
        """Encoder of queries and passages.

        Raises:
            EncoderError: The encoder cannot be loaded.
        """
        return self._opened.encoder()[1]

    def add(
        self,
        passages: Iterable[Mapping[str, Any] | Passage],
        vectors: Iterable[Any] | None = None,
        *,
        dense: Iterable[Any] | None = None,
        on_conflict: OnConflict = "error",
        connection: Joined | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> AddReport:
        """Store passages, all or none.

        After an error, even a lost connection, the call can be repeated. Iterables are read in batches, so a
        generator over a large file needs little memory. The encoder reads the title, a space and the text; texts beyond its limit
        are truncated, counted and reported by a warning.

        Args:
            passages: Mappings with id, text, and optionally title and metadata; or `Passage` objects.
            vectors: A (tokens, dim) array for each passage, instead of the encoder's; scaled to unit length. The text may then be
                empty, as for an image.
            dense: A dense vector for each passage, if the collection stores them and the encoder does not compute them.
            on_conflict: Action for an id that exists: "error"; "update", which replaces the passage and encodes it again
                only if title or text differ; or "skip".
            connection: A psycopg or SQLAlchemy connection, or a Session. The passages become visible when its transaction commits.
            progress: Called with the number of passages just finished.

        Raises:
            InputError: A passage is invalid.
            DuplicateIdError: An id occurs twice, or exists in the collection.
            VectorError: Vectors are invalid; DimensionMismatchError if only their dimension is wrong.
            ConflictError: Another transaction changed the same passages.
            ConfigError: Another argument is invalid.
        """
        return changes.add(self._opened, passages, vectors, dense, on_conflict, connection, progress)

    def update(
        self,
        passages: Iterable[Mapping[str, Any] | Passage],
        vectors: Iterable[Any] | None = None,
        *,
        dense: Iterable[Any] | None = None,
        connection: Joined | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> AddReport:
        """Change existing passages, all or none.

        Fields that a mapping omits are unchanged. A passage is encoded again only if title or text differ.

        Args:
            passages: Mappings with id and the fields to change, or `Passage` objects.
            vectors: As for `add`.
            dense: As for `add`.
            connection: As for `add`.
            progress: As for `add`.

        Raises:
            PassageNotFoundError: An id is not in the collection; `add` with on_conflict="update" also stores new passages.
            PgRetrievalError: The errors of `add`.
        """
        return changes.update(self._opened, passages, vectors, dense, connection, progress)

    def delete(
        self,
        ids: Ids | None = None,
        *,
        where: Mapping[str, Any] | str | None = None,
        all: bool = False,
        connection: Joined | None = None,
    ) -> int:
        """Delete passages by ids, by metadata or by both, or delete all.

        Args:
            ids: A list or a SQLAlchemy select; unknown ids are ignored.
            where: A filter as for `search`; an empty one is an error.
            all: Delete every passage and keep the collection.
            connection: As for `add`.

        Returns:
            Number of deleted passages.

        Raises:
            ConfigError: No argument is given, or `all` is combined with another.
            ConflictError: Another transaction changed the same passages.
        """
        changes.check_deletion(ids, where, all)
        return changes.remove(self._opened, read_restriction(self._database, where, ids, "ids") or Restriction(), connection)

    def get(self, ids: Sequence[str] | None = None, *, where: Mapping[str, Any] | str | None = None) -> dict[str, Passage]:
        """Return passages by ids, by metadata or by both. Unknown ids are left out.

        Args:
            ids: A list of ids.
            where: A filter as for `search`; `{}` returns every passage.

        Raises:
            ConfigError: No argument is given, or one is invalid.
            InputError: An id is invalid.
        """
        if where is not None:
            return self._opened.passages_where(read_restriction(self._database, where, ids, "ids") or Restriction())
        if ids is None:
            msg = "get needs ids or where=; where={} returns every passage"
            raise ConfigError(msg)
        return self._opened.passages(validate.ids("ids", ids))

    def compact(self, *, stage: Stage | None = None) -> None:
        """Merge posting segments of adds and remove entries of deleted passages.

        Searches and changes continue. If it is interrupted, call it again: it resumes. Clients compact automatically
        unless `auto_compact` is off.

        Args:
            stage: Called with the name, centroids done and total.
        """
        compact(self._database, self._opened.refresh(), validate.called("stage", stage))

    @property
    def auto_compact(self) -> bool:
        """True if clients that change the collection compact it automatically. Writable."""
        return self._opened.refresh().auto_compact

    @auto_compact.setter
    def auto_compact(self, wanted: bool) -> None:
        wanted = validate.flag("auto_compact", wanted)
        with self._database.writing(f"setting up collection {self.name!r}") as connection:
            collections.set_auto_compact(self._row.tables(connection), auto_compact=wanted)

    def not_yet_added(self, passages: Sequence[Passage]) -> list[Passage]:
        """Return the passages that the collection does not contain, to resume an interrupted load.

        Raises:
            DuplicateIdError: The collection contains an id with different content.
        """
        return changes.not_yet_added(self._opened, passages)

    def build(self, *, workers: int | None = None, devices: Sequence[str] = (), stage: Stage | None = None) -> BuildReport:
        """Train the codebook and write codes and postings. Searches and changes continue.

        A built collection is unchanged until it has more than twice the tokens of its training. If the build is interrupted, call
        it again: it continues after the last committed stage, and in encoding and coding after the last committed part. While
        another process or machine builds the collection, the call takes parts of that build.

        Args:
            workers: Number of processes that encode and code. They share the threads of torch, and are replaced if they are killed.
                The result is the same as that of one process. Default: one for each of `devices`, or none besides this process.
            devices: Torch devices that the workers take in turn, such as ["cuda:0", "cuda:1"]; the first also trains.
            stage: Called with the name, done and total of each stage: help (of another process's build), encode, train, proxies,
                code, postings, words, index, switch, drop.

        Raises:
            IndexNotBuiltError: The collection has no vectors and no texts to build from.
            BuildWorkerError: A worker ended again and again.
            ConfigError: `workers` or `devices` are invalid, or a device cannot be used.
        """
        processes = read_processes(workers, devices)
        return build_collection(self._opened, validate.called("stage", stage), processes)

    def rebuild(
        self,
        *,
        encoder: str | object | None = None,
        token_pooling: int | None = None,
        workers: int | None = None,
        devices: Sequence[str] = (),
        stage: Stage | None = None,
    ) -> BuildReport:
        """Train a new codebook and code every passage again. Searches and changes continue.

        One short transaction switches to the new index, and the old one is dropped. If the rebuild is interrupted, call it again:
        it continues after the last committed stage.

        Args:
            encoder: New encoder; all stored texts are encoded again.
            token_pooling: New factor of token pooling; all stored texts are encoded again. Default: the collection's.
            workers: As for `build`. An encoder object stays in this process, which then encodes alone.
            devices: As for `build`.
            stage: As for `build`.

        Raises:
            IndexNotBuiltError: Passages have neither stored vectors nor an encoder to compute them.
            EncoderError: The encoder cannot be loaded.
            BuildWorkerError: A worker ended again and again.
            ConfigError: `workers` or `devices` are invalid, or a device cannot be used.
        """
        stage, processes = validate.called("stage", stage), read_processes(workers, devices)
        token_pooling = validate.whole_or_none("token_pooling", token_pooling, most=MAX_POOLING)
        if encoder is None and token_pooling in (None, self._opened.refresh().token_pooling):
            return build_collection(self._opened, stage, processes, anew=True)
        return rebuild_with(self._opened, encoder, token_pooling, stage, processes)

    def stats(self) -> dict[str, Any]:
        """Return counts, settings and sizes of the collection by name.

        "bytes" contains the size of each table with its indexes, "index_bytes" that of the indexes.
        """
        self._opened.refresh()
        return collections.stats(self._database, self.name)

    def check(self, *, stage: Stage | None = None) -> list[Violation]:
        """Check the consistency of the collection. Reads one snapshot; changes and locks nothing.

        Args:
            stage: Called with the name, done and total of each part.

        Returns:
            Violations; an empty list for a sound collection.

        Raises:
            SchemaError: Row-level security hides passages from the caller.
        """
        return check(self._database, self._opened.refresh(), validate.called("stage", stage))
