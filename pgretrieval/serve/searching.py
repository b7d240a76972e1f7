"""Searches: the mode decides which search of the library answers."""

from __future__ import annotations

from typing import Any

from pgretrieval.collection import Collection
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.modes import mode_of
from pgretrieval.search.explained import MatchExplanation
from pgretrieval.search.words import found_words
from pgretrieval.serve.requests import ExplainRequest, SearchRequest
from pgretrieval.serve.service import Service
from pgretrieval.types import Mode


def search(service: Service, asked: SearchRequest, collection: Collection) -> dict[str, Any]:
    """Return hits and milliseconds by stage. Raises the library's errors."""
    _check_k(service, asked.k)
    if asked.query is None and asked.vectors is None:
        raise InputError("the request has neither query nor vectors; give a query, or the vectors of one")
    mode = _mode(collection, asked)
    found = collection.explain(
        asked.query,
        asked.k,
        mode=mode,
        vectors=asked.vectors,
        where=asked.where,
        among=None if asked.among is None else list(map(str, asked.among)),
        min_score=asked.min_score,
        matches=asked.matches,
        rerank=None if asked.rerank is None else service.cross_encoder(asked.rerank),
    )
    service.metrics.searched(mode, found.milliseconds)
    hits = [hit.as_dict() for hit in found.hits]
    if mode == "words" and asked.matches:
        texts = [hit.encoded_text for hit in found.hits]
        places = found_words(service.database._database, collection._opened.row, asked.query or "", texts)
        hits = [{**hit, "words": each} for hit, each in zip(hits, places, strict=True)]
    return {"hits": hits, "milliseconds": found.milliseconds}


def explain(service: Service, asked: ExplainRequest, collection: Collection) -> MatchExplanation:
    """Return why a search returns a passage, or does not. Raises the library's errors."""
    _check_k(service, asked.k)
    return collection.explain_match(asked.query, asked.id, asked.k, mode=_mode(collection, asked), where=asked.where)


def _check_k(service: Service, k: int) -> None:
    if k > service.options.max_k:
        msg = f"k is {k}; give at most {service.options.max_k:,}, or start the service with a larger --max-k"
        raise ConfigError(msg)


def _mode(collection: Collection, asked: SearchRequest | ExplainRequest) -> Mode:
    """Return the mode that was asked for, or the collection's own. Raises ConfigError."""
    row = collection._opened.row
    if row.texts_alone:
        row = collection._opened.refresh()  # a rebuild may have given it an encoder
    return "late" if asked.mode is None and asked.query is None else mode_of(row, asked.mode)
