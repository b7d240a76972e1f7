"""The two main classes for asyncio: the synchronous methods in threads, so each is declared once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, overload

from typing_extensions import ParamSpec, Self

from pgretrieval.collection import Collection
from pgretrieval.database import CONNECTIONS, RetrievalDatabase, connect
from pgretrieval.db.cancelling import cancellable
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.types import CollectionSettings

if TYPE_CHECKING:
    from pgretrieval.db.urls import URL

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Wrapped = TypeVar("_Wrapped")


async def finish(submit: Callable[[Callable[[], _Result]], Future[_Result]], call: Callable[[], _Result]) -> _Result:
    """Await a call in a thread. If the task is cancelled, the call ends at its wait for the server, or before its next one."""
    cancelled = threading.Event()
    future = submit(partial(copy_context().run, cancellable, cancelled, call))
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        cancelled.set()
        raise


def apart(call: Callable[[], _Result]) -> Future[_Result]:
    """Start a call in a new thread."""
    threads = ThreadPoolExecutor(1, "pgretrieval")
    try:
        return threads.submit(call)
    finally:
        threads.shutdown(wait=False)


@overload
def in_thread(
    method: Callable[Concatenate[Any, _Arguments], _Result],
) -> Callable[Concatenate[Any, _Arguments], Coroutine[Any, Any, _Result]]: ...


@overload
def in_thread(
    method: Callable[Concatenate[Any, _Arguments], _Result], wrap: Callable[[_Result], _Wrapped]
) -> Callable[Concatenate[Any, _Arguments], Coroutine[Any, Any, _Wrapped]]: ...


def in_thread(
    method: Callable[Concatenate[Any, _Arguments], Any], wrap: Callable[[Any], Any] | None = None
) -> Callable[Concatenate[Any, _Arguments], Coroutine[Any, Any, Any]]:
    """Return a method's asynchronous form, with its parameters, docstring and type; `wrap` makes the result from the method's."""

    @wraps(method)
    async def call(self: Any, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Any:
        found = await finish(self.sync._database.submit, partial(method, self.sync, *args, **kwargs))
        return found if wrap is None else wrap(found)

    return call


class AsyncCollection:
    """Collection whose methods are awaited. Tasks and event loops may share it.

    The methods are those of `Collection`, with the same arguments, results and errors. `settings`, `encoder` and `auto_compact` are
    methods, too, and `set_auto_compact` sets the last. `sync` is the `Collection`. Callbacks, such as `progress`, are called in a
    thread.

    Calls run in threads, at most as many of a handle at once as it has connections; the others wait. A cancelled call cancels its
    statement on the server, and a change has then stored everything or nothing.
    """

    def __init__(self, collection: Collection) -> None:
        self.sync = collection

    def __repr__(self) -> str:
        return f"<AsyncCollection {self.name!r}>"

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self.sync.name

    async def settings(self) -> CollectionSettings:
        """Return the current settings of the collection."""
        return await finish(self.sync._database.submit, lambda: self.sync.settings)

    async def encoder(self) -> CollectionEncoder:
        """Return the encoder of queries and passages. Its methods are not awaited: they compute in the calling thread.

        Raises:
            EncoderError: The encoder cannot be loaded.
        """
        return await finish(self.sync._database.submit, lambda: self.sync.encoder)

    async def auto_compact(self) -> bool:
        """Return whether clients that change the collection compact it automatically."""
        return await finish(self.sync._database.submit, lambda: self.sync.auto_compact)

    async def set_auto_compact(self, wanted: bool) -> None:
        """Set whether clients that change the collection compact it automatically.

        Args:
            wanted: True or False.
        """
        await finish(self.sync._database.submit, partial(setattr, self.sync, "auto_compact", wanted))

    search = in_thread(Collection.search)
    search_many = in_thread(Collection.search_many)
    hybrid_search = in_thread(Collection.hybrid_search)
    text_search = in_thread(Collection.text_search)
    dense_search = in_thread(Collection.dense_search)
    explain = in_thread(Collection.explain)
    explain_match = in_thread(Collection.explain_match)
    exact_rankings = in_thread(Collection.exact_rankings)
    get = in_thread(Collection.get)
    add = in_thread(Collection.add)
    update = in_thread(Collection.update)
    delete = in_thread(Collection.delete)
    not_yet_added = in_thread(Collection.not_yet_added)
    build = in_thread(Collection.build)
    rebuild = in_thread(Collection.rebuild)
    compact = in_thread(Collection.compact)
    factorize = in_thread(Collection.factorize)
    use_cross_encoder = in_thread(Collection.use_cross_encoder)
    stats = in_thread(Collection.stats)
    check = in_thread(Collection.check)


class AsyncRetrievalDatabase:
    """Open database whose methods are awaited. Use it in an `async with` block or close it. Tasks and event loops may share it.

    The methods are those of `RetrievalDatabase`, with the same arguments and errors. Collections are `AsyncCollection`.
    `sync` is the `RetrievalDatabase`.
    """

    def __init__(self, database: RetrievalDatabase) -> None:
        self.sync = database

    @property
    def url(self) -> str:
        """Connection string of the server, in the form of `psycopg.connect`."""
        return self.sync.url

    @property
    def data_dir(self) -> Path | None:
        """Data directory of the embedded server; None for a server given by URL."""
        return self.sync.data_dir

    create_collection = in_thread(RetrievalDatabase.create_collection, AsyncCollection)
    get_collection = in_thread(RetrievalDatabase.get_collection, AsyncCollection)
    list_collections = in_thread(RetrievalDatabase.list_collections)
    drop_collection = in_thread(RetrievalDatabase.drop_collection)
    attach = in_thread(RetrievalDatabase.attach)
    detach = in_thread(RetrievalDatabase.detach)
    resync = in_thread(RetrievalDatabase.resync)
    work = in_thread(RetrievalDatabase.work)
    migrate = in_thread(RetrievalDatabase.migrate)
    diagnose = in_thread(RetrievalDatabase.diagnose)

    async def close(self) -> None:
        """Close the connections; running calls end with DatabaseUnavailableError. The embedded server stops with its last user."""
        await finish(apart, self.sync.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def connect_async(
    url: str | URL | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    connections: int = CONNECTIONS,
    read_urls: Sequence[str | URL] = (),
    max_lag: float | None = None,
    read_your_writes: bool = False,
) -> Connecting:
    """Open a database as `connect` does, for asyncio: `async with connect_async() as database:`, or `await connect_async()`.

    Args:
        url: As for `connect`.
        data_dir: As for `connect`.
        device: As for `connect`.
        connections: As for `connect`; also the most calls at once.
        read_urls: As for `connect`.
        max_lag: As for `connect`.
        read_your_writes: As for `connect`.

    Raises:
        PgRetrievalError: The errors of `connect`.
    """
    reads: dict[str, Any] = {"read_urls": read_urls, "max_lag": max_lag, "read_your_writes": read_your_writes}
    return Connecting(partial(connect, url, data_dir, device=device, connections=connections, **reads))


class Connecting:
    """Database that `connect_async` opens when it is awaited or entered; leaving the `async with` block closes it."""

    def __init__(self, opening: Callable[[], RetrievalDatabase]) -> None:
        self._opening = opening
        self._opened: AsyncRetrievalDatabase | None = None

    def __await__(self) -> Generator[Any, None, AsyncRetrievalDatabase]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncRetrievalDatabase:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _open(self) -> AsyncRetrievalDatabase:
        opening: list[Future[RetrievalDatabase]] = []

        def submit(call: Callable[[], RetrievalDatabase]) -> Future[RetrievalDatabase]:
            opening.append(apart(call))
            return opening[0]

        try:
            return AsyncRetrievalDatabase(await finish(submit, self._opening))
        except asyncio.CancelledError:
            opening[0].add_done_callback(_close_unused)
            raise


def _close_unused(opened: Future[RetrievalDatabase]) -> None:
    """Close a handle that was opened after its task was cancelled."""
    with suppress(BaseException):
        opened.result().close()
