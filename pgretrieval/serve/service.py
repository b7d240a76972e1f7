"""What the service offers: each endpoint once, with its request, its answer and the work between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pgretrieval.collection import Collection
from pgretrieval.database import RetrievalDatabase
from pgretrieval.serve import requests
from pgretrieval.serve.calls import Calls
from pgretrieval.serve.handles import Handles
from pgretrieval.serve.options import ServiceOptions
from pgretrieval.serve.searching import modes, search


class Service:
    """State shared by all requests."""

    def __init__(self, database: RetrievalDatabase, options: ServiceOptions) -> None:
        self.database = database
        self.options = options
        self.handles = Handles(database)
        self.calls = Calls(options)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: `work` gets the service, the collection's name if the path has one, and the request if there is one."""

    method: str
    path: str
    summary: str
    work: Callable[..., Any]
    answer: type[requests.Answer]
    request: type[requests.Request] | None = None
    writes: bool = False


def _collections(service: Service) -> dict[str, Any]:
    return {"collections": service.database.list_collections()}


def _collection(service: Service, name: str) -> dict[str, Any]:
    def work(collection: Collection) -> dict[str, Any]:
        offered = {"modes": modes(collection.settings), "cross_encoders": list(service.options.cross_encoders)}
        return {**collection.stats(), **offered, "writable": service.options.write}

    return service.handles.use(name, work)


def _search(service: Service, name: str, asked: requests.SearchRequest) -> dict[str, Any]:
    return service.handles.use(name, partial(search, options=service.options, asked=asked))


ENDPOINTS = (
    Endpoint("GET", "/v1/collections", "List the collections.", _collections, requests.CollectionsAnswer),
    Endpoint("GET", "/v1/collections/{name}", "Show a collection.", _collection, requests.CollectionAnswer),
    Endpoint(
        "POST",
        "/v1/collections/{name}/search",
        "Search a collection.",
        _search,
        requests.SearchAnswer,
        requests.SearchRequest,
    ),
)
