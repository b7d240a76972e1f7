"""Searches: the mode decides which search of the library answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pgretrieval.collection import Collection
from pgretrieval.errors import ConfigError
from pgretrieval.serve.options import ServiceOptions
from pgretrieval.serve.requests import SearchRequest
from pgretrieval.types import CollectionSettings, Hit


def modes(settings: CollectionSettings) -> list[str]:
    """Return the modes of a collection's searches, the default first."""
    if settings.texts_alone:
        return ["words"] if settings.language else []
    parts = [mode for mode, has in (("words", settings.language), ("dense", settings.dense)) if has]
    return ["hybrid", "late", *parts] if parts else ["late"]


def search(collection: Collection, options: ServiceOptions, asked: SearchRequest) -> dict[str, Any]:
    """Return hits and milliseconds by stage. Raises the library's errors."""
    if asked.k > options.max_k:
        msg = f"k is {asked.k}; this service returns at most {options.max_k:,} hits"
        raise ConfigError(msg)
    common: dict[str, Any] = {"where": asked.where, "among": asked.among}
    mode = asked.mode or modes(collection.settings)[0]
    milliseconds: Mapping[str, float]
    started = time.perf_counter()
    if mode == "late":
        found = collection.explain(asked.query, asked.k, vectors=asked.vectors, **common)
        hits, milliseconds = found.hits, found.milliseconds
    else:
        if mode == "words":
            hits = collection.text_search(asked.query, asked.k, **common)  # type: ignore[arg-type]
        else:
            hits = collection.hybrid_search(asked.query, asked.k, vectors=asked.vectors, **common)  # type: ignore[arg-type]
        milliseconds = {mode: (time.perf_counter() - started) * 1e3}
    return {"hits": [_as_dict(hit) for hit in hits], "milliseconds": milliseconds}


def _as_dict(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "metadata": hit.metadata,
    }
