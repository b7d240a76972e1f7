"""Tools that agents call: each once, with its request, its answer and the work between them. All of them only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pgretrieval.serve import endpoints
from pgretrieval.serve.requests import (
    Answer,
    CollectionAnswer,
    CollectionsAnswer,
    ComponentRank,
    ExplainRequest,
    Hit,
    Passage,
    PassagesRequest,
    Request,
    SearchRequest,
    TokenMatch,
    Where,
)
from pgretrieval.serve.service import Service
from pgretrieval.types import Mode

INSTRUCTIONS = (
    "Passages of text in collections of a Postgres database, found by meaning and by words. Call list_collections first. "
    "Search with a whole question or a phrase; hits are ordered by score, and scores of different searches cannot be compared. "
    "Cite passages by their id."
)

_COLLECTION = Field(description="Name of the collection, from list_collections.")


class ListRequest(Request):
    """No arguments."""


class FindRequest(Request):
    """A search."""

    collection: str = _COLLECTION
    query: str = Field(description="A question, a phrase or a few words.")
    k: int = Field(10, description="Number of passages to return.")
    mode: Mode | None = Field(
        None,
        description="What to compare: tokens by late interaction (late), words by BM25 (words), whole passages (dense), or all "
        "that the collection has (hybrid). Leave it out for the collection's best; stats names its modes.",
    )
    where: Where = None
    min_score: float | None = Field(None, description="Leave out passages with a lower score.")


class FindAnswer(Answer):
    """Passages, best first."""

    hits: list[Hit]


class GetRequest(Request):
    """Passages by id."""

    collection: str = _COLLECTION
    ids: list[str] = Field(description="Ids of passages.", min_length=1)


class GetAnswer(Answer):
    """Passages in the order of the ids, and the ids that the collection lacks."""

    passages: list[Passage]
    missing: list[str]


class WhyRequest(Request):
    """A passage, and the search that should return it."""

    collection: str = _COLLECTION
    query: str = Field(description="The query of the search.")
    id: str = Field(description="Id of the passage.")
    k: int = Field(10, description="Number of passages that the search returns.")
    mode: Mode | None = Field(None, description="Mode of the search; leave it out for the collection's best.")
    where: Where = None


class WhyAnswer(Answer):
    """Why a passage is found, or is not."""

    mode: Mode = Field(description="The search that rank is of.")
    rank: int | None = Field(description="Rank among the k passages; null if it is not one of them.")
    score: float | None = Field(description="Score by late interaction.")
    ranks: dict[str, ComponentRank] = Field(description="By each kind of score: late, words, dense.")
    lacks: list[str] = Field(description="What keeps the passage from a better rank.")
    matches: list[TokenMatch] = Field(description="For each token of the query, the passage's token that is most similar.")
    note: str | None


class StatsRequest(Request):
    """A collection."""

    collection: str = _COLLECTION


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: `work` gets the service and the request, and returns the answer."""

    name: str
    title: str
    description: str
    request: type[Request]
    answer: type[Answer]
    work: Callable[[Service, Any], dict[str, Any]]


def _list(service: Service, _asked: ListRequest) -> dict[str, Any]:
    return endpoints.list_collections(service)


def _find(service: Service, asked: FindRequest) -> dict[str, Any]:
    request = SearchRequest(**asked.model_dump(exclude={"collection"}))
    return {"hits": endpoints.search(service, asked.collection, request)["hits"]}


def _get(service: Service, asked: GetRequest) -> dict[str, Any]:
    found = endpoints.get_passages(service, asked.collection, PassagesRequest(id=asked.ids))
    there = {passage["id"] for passage in found["passages"]}
    return {**found, "missing": [id for id in asked.ids if id not in there]}


def _explain(service: Service, asked: WhyRequest) -> dict[str, Any]:
    request = ExplainRequest(**asked.model_dump(exclude={"collection"}))
    shown = endpoints.explain(service, asked.collection, request).as_dict()
    return {name: shown[name] for name in WhyAnswer.model_fields}


def _stats(service: Service, asked: StatsRequest) -> dict[str, Any]:
    return endpoints.show_collection(service, asked.collection)


TOOLS = (
    Tool(
        "list_collections",
        "List collections",
        "Return the names of all collections.",
        ListRequest,
        CollectionsAnswer,
        _list,
    ),
    Tool(
        "search",
        "Search",
        "Find the passages of a collection that answer a question or match a phrase.",
        FindRequest,
        FindAnswer,
        _find,
    ),
    Tool("get_passages", "Get passages", "Return passages by id.", GetRequest, GetAnswer, _get),
    Tool(
        "stats",
        "Show a collection",
        "Return the number of passages of a collection, its settings and sizes, and the modes of its searches.",
        StatsRequest,
        CollectionAnswer,
        _stats,
    ),
    Tool(
        "explain_match",
        "Explain a match",
        "Tell why a search returns a passage or does not: its ranks, what it lacks, and which tokens match.",
        WhyRequest,
        WhyAnswer,
        _explain,
    ),
)
