"""Endpoints of the service: each once, with its request, its answer and the work between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from pgretrieval.collection import Collection
from pgretrieval.modes import modes
from pgretrieval.pages import heat_map
from pgretrieval.search.explained import MatchExplanation
from pgretrieval.serve import encoding, requests, searching
from pgretrieval.serve.errors import RequestError
from pgretrieval.serve.service import Service
from pgretrieval.types import Passage


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint.

    Attributes:
        method: Method of HTTP.
        path: Path; {name} is a collection's name, percent-encoded.
        summary: What it does.
        work: Gets the service, the collection's name if the path has one, and the request if there is one; returns the answer
            as a dictionary, as JSON, or as an explanation.
        answer: Form of the answer.
        request: Form of the request, in the body, or in the query of a GET.
        html: Function that writes the answer as HTML, for those who accept it.
    """

    method: str
    path: str
    summary: str
    work: Callable[..., Any]
    answer: type[requests.Answer]
    request: type[requests.Request] | None = None
    html: Callable[[Any], str] | None = None


def list_collections(service: Service) -> dict[str, Any]:
    """Return the names of all collections."""
    return {"collections": service.database.list_collections()}


def show_collection(service: Service, name: str) -> dict[str, Any]:
    """Return counts, settings and sizes of a collection, and the modes of its searches."""

    def work(collection: Collection) -> dict[str, Any]:
        stats = collection.stats()
        there = modes(collection._opened.row)
        return {**stats, "modes": there, "cross_encoders": service.options.cross_encoders, "writable": service.options.write}

    return service.handles.use(name, work)


def search(service: Service, name: str, asked: requests.SearchRequest) -> dict[str, Any]:
    """Return the hits of a search."""
    return service.handles.use(name, partial(searching.search, service, asked))


def explain(service: Service, name: str, asked: requests.ExplainRequest) -> MatchExplanation:
    """Return why a search returns a passage, or does not."""
    return service.handles.use(name, partial(searching.explain, service, asked))


def _encode(service: Service, asked: requests.EncodeRequest) -> bytes:
    return service.handles.use(asked.collection, partial(encoding.encode, asked))


def get_passages(service: Service, name: str, asked: requests.PassagesRequest) -> dict[str, Any]:
    """Return passages in the order of their ids."""
    found = service.handles.use(name, lambda collection: collection.get(asked.id))
    return {"passages": [_as_dict(found[id]) for id in dict.fromkeys(asked.id) if id in found]}


def _as_dict(passage: Passage) -> dict[str, Any]:
    return {"id": passage.id, "title": passage.title, "text": passage.text, "metadata": passage.metadata}


def _put(service: Service, name: str, asked: requests.PutRequest) -> dict[str, Any]:
    _check_writable(service)
    passages = [each.model_dump() for each in asked.passages]
    return asdict(service.handles.use(name, lambda collection: collection.add(passages, on_conflict=asked.on_conflict)))


def _delete(service: Service, name: str, asked: requests.DeleteRequest) -> dict[str, Any]:
    _check_writable(service)
    ids = None if asked.ids is None else list(map(str, asked.ids))
    return {"deleted": service.handles.use(name, lambda collection: collection.delete(ids, where=asked.where))}


def _check_writable(service: Service) -> None:
    if not service.options.write:
        raise RequestError(409, "ReadOnly", "this service changes nothing; start it with --write to allow changes of passages")


def _check(service: Service, name: str) -> dict[str, Any]:
    return {"violations": [asdict(each) for each in service.handles.use(name, lambda collection: collection.check())]}


_ONE = "/v1/collections/{name}"

ENDPOINTS = (
    Endpoint("GET", "/v1/collections", "List the collections.", list_collections, requests.CollectionsAnswer),
    Endpoint("GET", _ONE, "Show counts, settings and sizes of a collection.", show_collection, requests.CollectionAnswer),
    Endpoint("GET", f"{_ONE}/check", "Check the consistency of a collection.", _check, requests.CheckAnswer),
    Endpoint("POST", f"{_ONE}/search", "Search a collection.", search, requests.SearchAnswer, requests.SearchRequest),
    Endpoint(
        "POST",
        f"{_ONE}/explain",
        "Tell why a search returns a passage, or does not.",
        explain,
        requests.ExplainAnswer,
        requests.ExplainRequest,
        html=heat_map.fragment,
    ),
    Endpoint("GET", f"{_ONE}/passages", "Get passages by id.", get_passages, requests.PassagesAnswer, requests.PassagesRequest),
    Endpoint("PUT", f"{_ONE}/passages", "Add passages, all or none.", _put, requests.PutAnswer, requests.PutRequest),
    Endpoint("DELETE", f"{_ONE}/passages", "Delete passages.", _delete, requests.DeleteAnswer, requests.DeleteRequest),
    Endpoint("POST", "/v1/encode", "Encode texts to vectors.", _encode, requests.EncodeAnswer, requests.EncodeRequest),
)
