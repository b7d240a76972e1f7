"""Searches: the mode decides which search of the library answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pgretrieval.collection import Collection
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.modes import modes
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import read_fusion
from pgretrieval.search.words import found_words
from pgretrieval.serve.requests import SearchRequest
from pgretrieval.serve.service import Service
from pgretrieval.types import Hit

_DEFAULTS = Collection.hybrid_search.__kwdefaults__ or {}
_FUSION = read_fusion(*(_DEFAULTS[name] for name in ("fusion", "weights", "rank_constant")))


def search(service: Service, asked: SearchRequest, collection: Collection) -> dict[str, Any]:
    """Return hits and milliseconds by stage. Raises the library's errors."""
    if asked.k > service.options.max_k:
        msg = f"k is {asked.k}; give at most {service.options.max_k:,}, or start the service with a larger --max-k"
        raise ConfigError(msg)
    if asked.query is None and asked.vectors is None:
        raise InputError("the request has neither query nor vectors; give a query, or the vectors of one")
    common: Any = {
        "where": asked.where,
        "among": asked.among,
        "min_score": asked.min_score,
        "matches": asked.matches,
    }
    mode = _mode(collection, asked)
    query: Any = asked.query
    found = Explanation()
    if mode == "late":
        common["rerank"] = None if asked.rerank is None else service.cross_encoder(asked.rerank)
        found = collection.explain(query, asked.k, vectors=asked.vectors, **common)
    elif mode == "hybrid":
        found = collection._hybrid(query, asked.k, asked.vectors, None, _FUSION, common)
    else:
        search_alone: Any = collection.text_search if mode == "words" else collection.dense_search
        with found.stage(mode):
            found.hits = search_alone(query, asked.k, **common)
    service.metrics.searched(mode, found.milliseconds)
    hits = [_as_dict(hit, matches=asked.matches) for hit in found.hits]
    if mode == "words" and asked.matches:
        places = found_words(service.database._database, collection._opened.row, query, [hit.encoded_text for hit in found.hits])
        hits = [{**hit, "words": each} for hit, each in zip(hits, places, strict=True)]
    return {"hits": hits, "milliseconds": found.milliseconds}


def _mode(collection: Collection, asked: SearchRequest) -> str:
    """Return the mode that was asked for, or the collection's own. Raises ConfigError."""
    row = collection._opened.row
    if row.texts_alone:
        row = collection._opened.refresh()  # a rebuild may have given it an encoder
    there = modes(row)
    if asked.mode is None:
        return "late" if asked.query is None or asked.rerank is not None or not there else there[0]
    if asked.mode in ("words", "dense") and asked.mode not in there:
        has = "language" if asked.mode == "words" else "dense"
        msg = f"mode is {asked.mode!r}, but collection {row.name!r} has none; choose {' or '.join(there)}, or create it with {has}="
        raise ConfigError(msg)
    if asked.mode in ("words", "dense") and asked.vectors is not None:
        raise ConfigError(f"mode is {asked.mode!r}, which reads no token vectors; leave vectors out, or choose another mode")
    return asked.mode


def _as_dict(hit: Hit, *, matches: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "metadata": hit.metadata,
    }
    if matches:
        shown |= {"matches": [asdict(each) for each in hit.matches or ()], "components": hit.components, "note": hit.note}
    return shown
