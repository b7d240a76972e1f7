"""Database connection and its collections."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import Self, Unpack

from pgretrieval import validate
from pgretrieval.db import schema
from pgretrieval.db.connection import Database, Reads
from pgretrieval.db.doctor import Finding, diagnose
from pgretrieval.db.embedded import EmbeddedServer, default_data_dir, open_server
from pgretrieval.db.tables import attachments, collections
from pgretrieval.db.urls import for_psycopg, readable, url_text
from pgretrieval.db.variables import DATA_DIR_VARIABLE, URL_VARIABLE
from pgretrieval.encode.registry import MINILM, load_encoder
from pgretrieval.errors import ConfigError, EncoderError
from pgretrieval.index.options import CollectionOptions, read_settings, with_encoder, with_preset, without_token_vectors
from pgretrieval.sync import attaching
from pgretrieval.types import WorkReport

if TYPE_CHECKING:
    from pgretrieval.collection import Collection
    from pgretrieval.db.urls import URL

CONNECTIONS = 8
POLL = 0.2  # seconds
MAX_POLL = 86_400.0


class RetrievalDatabase:
    """Open database. Use it in a `with` block or close it. Threads may share it."""

    def __init__(
        self,
        url: str,
        server: EmbeddedServer | None = None,
        device: str | None = None,
        connections: int = CONNECTIONS,
        reads: Reads | None = None,
    ) -> None:
        self._database = Database(server.conninfo if server else url, max_connections=connections, server=server, reads=reads)
        self._url = url
        self._server = server
        self._device = device

    @property
    def url(self) -> str:
        """Connection string of the server, in the form of `psycopg.connect`."""
        return self._url

    @property
    def data_dir(self) -> Path | None:
        """Data directory of the embedded server; None for a server given by URL."""
        return self._server.data_dir if self._server else None

    def create_collection(
        self, name: str, encoder: str | object | None = None, bits: int | None = None, **options: Unpack[CollectionOptions]
    ) -> Collection:
        """Create a collection.

        Args:
            name: 1 to 500 characters, not blank.
            encoder: "minilm" or "multilingual"; a hub name or folder that `MultiVectorEncoder` loads; an object with encode_query
                and encode_document; or "none" for texts only, which are found by words and by a cross-encoder. By default the first
                `add` decides: given vectors set the dimension, texts without vectors use "minilm".
            bits: Bits of a residual for each dimension: 1, 2 or 4. Default: the preset's, or 4.
            options: See `CollectionOptions`.

        Raises:
            CollectionExistsError: A collection of this name exists.
            EncoderError: The encoder cannot be loaded.
            DimensionMismatchError: The dimension is outside 48 to 1,024.
            ConfigError: Another argument is invalid.
        """
        encoder, bits, completed = with_preset(encoder, bits, options)
        settings = read_settings(name, bits, completed)
        encoder = validate.names_or_object("encoder", encoder, EncoderError)
        loaded = None
        if isinstance(encoder, str) and encoder == "none":
            settings = without_token_vectors(settings)
        else:
            if encoder is None and settings.token_pooling not in (None, 1):
                encoder = MINILM
            if encoder is not None:
                unit, pooling = settings.unit_vectors is not False, settings.token_pooling
                loaded = load_encoder(encoder, self._device, unit=unit, token_pooling=pooling)
            settings = with_encoder(settings, loaded)
        collections.create(self._database, settings)
        return _collection_class()(self._database, collections.find(self._database, settings.name), loaded, self._device)

    def get_collection(
        self, name: str, *, encoder: str | object | None = None, cross_encoder: str | object | None = None
    ) -> Collection:
        """Open a collection.

        Args:
            name: The collection's name.
            encoder: Needed if the collection was created with an encoder object, since the database stores names only.
            cross_encoder: Needed if the collection was factorised by a cross-encoder object.

        Raises:
            CollectionNotFoundError: No collection has this name.
            DimensionMismatchError: The dimensions of encoder and collection differ.
        """
        name = validate.collection_name(name)
        encoder = validate.names_or_object("encoder", encoder, EncoderError)
        row = collections.find(self._database, name)
        loaded = None
        if encoder is not None:
            loaded = load_encoder(encoder, self._device, unit=row.unit_vectors, token_pooling=row.token_pooling)
        collection = _collection_class()(self._database, row, loaded, self._device)
        if loaded is not None:
            collection._opened.check_encoder(loaded)
        if cross_encoder is not None:
            collection.use_cross_encoder(cross_encoder)
        return collection

    def list_collections(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return collections.names(self._database)

    def drop_collection(self, name: str) -> None:
        """Drop a collection with its contents and free its space.

        Raises:
            CollectionNotFoundError: No collection has this name.
        """
        name = validate.collection_name(name)
        collections.drop(self._database, name)

    def attach(
        self,
        name: str,
        table: str,
        *,
        id: str = "id",
        text: str | Sequence[str],
        metadata: str | Sequence[str] = (),
        query: str | None = None,
    ) -> int:
        """Attach a collection to a table. From now on, triggers queue each change of a row in the transaction that makes it.

        Args:
            name: The collection.
            table: The table, with its schema.
            id: The table's key column, used as the passages' id.
            text: The text column; or several: the first is the title, the others, joined by a blank line, are the text.
                Rows without text are skipped.
            metadata: Columns to store as metadata, for filters.
            query: A view or a select that returns the passages: `id`, the key of the table's row as `key`, and the columns
                for text and metadata. A row can have several passages. Qualify its tables and functions with their schema.

        Returns:
            Number of rows queued for `work`.

        Raises:
            ConfigError: A table or column does not exist, the collection is already attached, or it contains passages that are
                not in the table.
            CollectionNotFoundError: No collection has this name.
        """
        name = validate.collection_name(name)
        table = validate.text("table", table, most=validate.MAX_NAME)
        query = validate.text_or_none("query", query)
        return attaching.attach(self._database, name, table, id, text, metadata, query)

    def detach(self, name: str) -> None:
        """Remove the triggers and the queue of an attached collection. Its passages stay.

        Raises:
            ConfigError: The collection is not attached.
            CollectionNotFoundError: No collection has this name.
        """
        name = validate.collection_name(name)
        attaching.find(self._database, name)
        attachments.detach(self._database, name)

    def resync(self, name: str, ids: Sequence[str] | None = None) -> None:
        """Queue rows of an attached collection again.

        Use it after changes that no trigger detects, such as dropped partitions or changes of other tables in a query, and to
        retry parked rows.

        Args:
            name: The collection.
            ids: Keys of the rows; None for all.

        Raises:
            ConfigError: The collection is not attached.
            CollectionNotFoundError: No collection has this name.
        """
        name = validate.collection_name(name)
        keys = None if ids is None else validate.ids("ids", ids)
        attaching.find(self._database, name)
        attachments.resync(self._database, name, keys)

    def work(
        self,
        collections: Iterable[str | Collection] = (),
        *,
        once: bool = True,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] | None = None,
        poll: float = POLL,
    ) -> WorkReport:
        """Process the queues of attached collections, as `pgretrieval worker` does. Several workers share the work.

        Rows that fail are parked after five attempts, or at once if a retry cannot succeed; `stats` lists them.

        Args:
            collections: Names or open collections; by default all. Pass a collection with an encoder object as an open one.
            once: Stop when the queues are empty.
            stopped: Called after each batch; True stops a worker that runs without `once`.
            progress: Called with the number of queue entries just finished.
            poll: Seconds between two reads of the queues.

        Raises:
            PgRetrievalError: With `once`, errors that concern no single row, such as ConfigError, EncoderError,
                DatabaseUnavailableError.
        """
        of_collections = _collection_class()
        from pgretrieval.sync.worker import Worker

        named = list(validate.listed("collections", collections, "names of collections, or of open collections"))
        named = [each if isinstance(each, of_collections) else validate.collection_name(each) for each in named]
        once = validate.flag("once", once)
        if not callable(stopped):
            msg = f"stopped is {validate.shown(stopped)}; give a function that returns whether to stop"
            raise ConfigError(msg)
        progress = validate.called("progress", progress)
        poll = validate.number("poll", poll, 0.01, MAX_POLL)
        return Worker(self._database, named, self.get_collection).run(once=once, stopped=stopped, progress=progress, poll=poll)

    def migrate(self, *, distributed: bool = False) -> str:
        """Install or upgrade the schema, and return its revision.

        `distributed` also spreads its tables over the workers of a Citus coordinator (docs/guides/citus.md). Raises
        ConfigError if it is no bool.
        """
        return schema.migrate(self._database, distributed=validate.flag("distributed", distributed))

    def diagnose(self) -> list[Finding]:
        """Check server, schema and settings, as `pgretrieval doctor` does."""
        return diagnose(self._database)

    def close(self) -> None:
        """Close the connections. The embedded server stops when its last process closes it."""
        try:
            self._database.close()
        finally:
            if self._server is not None:
                self._server.close()
                self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def connect(
    url: str | URL | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    connections: int = CONNECTIONS,
    read_urls: Sequence[str | URL] = (),
    max_lag: float | None = None,
    read_your_writes: bool = False,
) -> RetrievalDatabase:
    """Open the database at `url`, or the embedded Postgres in `data_dir`.

    The defaults are PGRETRIEVAL_DATABASE_URL and PGRETRIEVAL_DATA_DIR of the environment, then the embedded server in the
    user's data directory. The schema of an embedded database is installed and upgraded automatically; on any other server its
    owner must have run `pgretrieval migrate`.

    Args:
        url: A connection string or a `sqlalchemy.URL`. A path is used as `data_dir`.
        data_dir: Directory of an embedded Postgres; created if it does not exist.
        device: Torch device for encoders, cross-encoders, codebooks and exact scores; by default a GPU if torch finds one.
        connections: Most connections that threads use at once, of each server.
        read_urls: Hot standbys of the server. Searches, `get` and `stats` read from each in turn; where none answers, from the
            server at `url`, where changes always go.
        max_lag: Most seconds that a standby may be behind; reads pass over one that is further behind.
        read_your_writes: Whether reads of this handle see its own changes: they wait up to a second for a standby to replay them,
            then go to the server at `url`. Changes in a transaction of the caller's count from its commit.

    Raises:
        DatabaseUnavailableError: The server at `url` cannot be reached.
        SchemaError: The schema is missing, or older or newer than the package.
        ConfigError: An argument or variable is invalid.
    """
    reads = read_from(read_urls, max_lag, read_your_writes)
    database = open_database(url, data_dir, device, connections, reads)
    try:
        if database.data_dir is None:
            schema.verify(database._database)
        else:
            install(database)
    except BaseException:
        database.close()
        raise
    return database


def read_from(urls: Any, max_lag: Any, read_your_writes: Any) -> Reads:
    """Check what `connect` is told about reads. Raises ConfigError."""
    if isinstance(urls, str):
        msg = f"read_urls is the text {validate.shown(urls)}; give a list of URLs"
        raise ConfigError(msg)
    given = [url_text(url) for url in validate.listed("read_urls", urls, "URLs of standbys")]
    limit = None if max_lag is None else validate.number("max_lag", max_lag, 0)
    ryw = validate.flag("read_your_writes", read_your_writes)
    if not given and (limit is not None or ryw):
        msg = "max_lag and read_your_writes concern standbys; give their URLs as read_urls"
        raise ConfigError(msg)
    return Reads(tuple(readable(for_psycopg(url)) for url in given if url is not None), limit, ryw)


def install(database: RetrievalDatabase) -> None:
    """Install or upgrade the schema of an embedded database.

    Functions of a newer package stay, and those of another copy of the package while it uses the server.
    """
    server = database._server
    if not schema.is_current(database._database, shared=server is not None and server.shared):
        database.migrate()


def open_database(
    url: str | URL | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    connections: int = CONNECTIONS,
    reads: Reads | None = None,
) -> RetrievalDatabase:
    """Like `connect`, but leaves the schema as it is."""
    if isinstance(url, os.PathLike) and data_dir is None:
        url, data_dir = None, url
    url, data_dir = url_text(url), None if data_dir is None else validate.path("data_dir", data_dir)
    device, connections = validate.text_or_none("device", device), validate.whole("connections", connections)
    if url is not None and data_dir is not None:
        msg = f"both a URL and a data directory ({data_dir}) are given; give one"
        raise ConfigError(msg)
    if url is None and data_dir is None:
        url = os.environ.get(URL_VARIABLE) or None
        data_dir = os.environ.get(DATA_DIR_VARIABLE) or None
        if url is not None and data_dir is not None:
            msg = f"both {URL_VARIABLE} and {DATA_DIR_VARIABLE} are set; unset one, or pass url= or data_dir="
            raise ConfigError(msg)
    server = None if url is not None else open_server(Path(data_dir) if data_dir is not None else default_data_dir())
    database = RetrievalDatabase(server.url if server else for_psycopg(url or ""), server, device, connections, reads)
    try:
        database._database.probe()
    except BaseException:
        database.close()
        raise
    return database


def _collection_class() -> type[Collection]:
    """Import `Collection` on first use; listing, migration and help do without it."""
    from pgretrieval.collection import Collection

    return Collection
