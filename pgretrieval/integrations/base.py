"""Shared parts of the adapters: a collection by name, its searches, and changes as frameworks expect them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pgretrieval import importing, validate
from pgretrieval.asynchronous import AsyncCollection, finish
from pgretrieval.collection import Collection
from pgretrieval.database import RetrievalDatabase, connect
from pgretrieval.db.selection import Ids
from pgretrieval.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigError,
    UnknownOptionError,
)
from pgretrieval.modes import modes
from pgretrieval.types import MODES, Hit, Mode, Passage

if TYPE_CHECKING:
    from pgretrieval.db.urls import URL

_Result = TypeVar("_Result")


class Adapting(Protocol):
    """An adapter: it has an open collection."""

    @property
    def collection(self) -> Collection:
        """The collection."""


def extra(name: str) -> AbstractContextManager[None]:
    """Import a framework in this block. Raises MissingExtraError, which names the extra, if it is not installed."""
    return importing.extra(f"pgretrieval.integrations.{name}", name.replace("_", "-"))


def awaited(method: Callable[..., _Result]) -> Callable[..., Coroutine[Any, Any, _Result]]:
    """Return an adapter's method for asyncio: it runs in a thread of the collection, and a cancelled call ends on the server."""

    @wraps(method)
    async def call(self: Adapting, /, *args: Any, **kwargs: Any) -> _Result:
        return await finish(self.collection._database.submit, partial(method, self, *args, **kwargs))

    return call


def refuse(call: str, unknown: Iterable[str], known: Sequence[str]) -> None:
    """Raise UnknownOptionError for keyword arguments that a framework passes on and nothing reads, such as a misspelt filter."""
    for name in unknown:
        msg = f"{call} has no argument {name!r}; give one of {', '.join(known)}"
        raise UnknownOptionError(msg)


class AdaptedCollection:
    """Collection of an adapter, given or opened by name, and the mode of its searches."""

    def __init__(
        self,
        collection: Collection | AsyncCollection | str,
        *,
        url: str | URL | os.PathLike[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        encoder: str | object | None = None,
        mode: Mode | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._database: RetrievalDatabase | None = None
        if isinstance(collection, str):
            self._database = connect(url, data_dir)
            try:
                self.collection = _open_or_create(self._database, collection, encoder, options or {})
                self.mode = self._checked(mode)
            except BaseException:
                self.close()
                raise
            return
        for name, given in {"url": url, "data_dir": data_dir, "encoder": encoder, **(options or {})}.items():
            if given is not None:
                msg = f"{name} is {validate.shown(given)}, but the collection is open already; leave {name} out, or give a name"
                raise ConfigError(msg)
        self.collection = collection.sync if isinstance(collection, AsyncCollection) else collection
        if not isinstance(self.collection, Collection):
            msg = f"collection is {validate.shown(collection)}; give a Collection, or the name of one"
            raise ConfigError(msg)
        self.mode = self._checked(mode)

    def _checked(self, mode: Mode | None) -> Mode:
        """Return the mode of searches, by default hybrid where the collection has words or dense vectors."""
        possible = modes(self.collection._opened.refresh())
        if mode is not None and validate.choice("mode", mode, MODES) in possible:
            return mode
        if mode is None and possible:
            return possible[0]
        having = f"has {' and '.join(possible)}" if possible else "has neither token vectors nor words"
        msg = f"mode is {mode!r}, but collection {self.collection.name!r} {having}"
        raise ConfigError(msg)

    def search(
        self,
        query: str,
        k: int,
        where: Mapping[str, Any] | str | None = None,
        mode: Mode | None = None,
        min_score: float | None = None,
        among: Ids | None = None,
    ) -> list[Hit]:
        """Return the k best passages by the given mode or the adapter's."""
        mode = mode or self.mode
        return self.collection.explain(query, k, mode=mode, where=where, among=among, min_score=min_score).hits

    def put(self, passages: Sequence[Passage]) -> None:
        """Store passages, and replace those of the same ids. Of several with one id the last counts."""
        last = {passage.id: passage for passage in passages}
        self.collection.add(last.values(), on_conflict="update")

    def close(self) -> None:
        """Close the database, if it was opened by a name."""
        if self._database is not None:
            self._database.close()


class Adapter:
    """Adapter of a collection: the parts that are the same in every framework."""

    _adapted: AdaptedCollection

    @property
    def collection(self) -> Collection:
        """The collection, for what the framework has no method for, such as `build`."""
        return self._adapted.collection

    def close(self) -> None:
        """Close the database, if it was opened by a name."""
        self._adapted.close()


def _open_or_create(database: RetrievalDatabase, name: str, encoder: Any, options: Mapping[str, Any]) -> Collection:
    """Open a collection, or create it with these options if there is none of this name."""
    by_name = isinstance(encoder, str | os.PathLike)
    with suppress(CollectionNotFoundError):
        collection = database.get_collection(name, encoder=None if by_name else encoder)
        if by_name:
            collection._opened.require_encoder(os.fspath(encoder))
        return collection
    with suppress(CollectionExistsError):
        return database.create_collection(name, encoder=encoder, **options)
    return _open_or_create(database, name, encoder, options)  # another process was faster


def metadata_of(found: Hit | Passage) -> dict[str, Any]:
    """Return metadata for a framework that has no titles: the passage's, and its title where it has one."""
    return dict(found.metadata) if found.title is None else {"title": found.title, **found.metadata}


def like(text: Any) -> Any:
    """Return the pattern of `$like` for texts that contain this one."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%" if isinstance(text, str) else text
