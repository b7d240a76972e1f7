"""Hits of searches that compare no token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pgretrieval.types import Hit

_WHY = {
    "cross_encoder": "A cross-encoder reads query and passage together and returns one score, so there are no token matches.",
    "dense": "A search by dense vectors compares one vector of each passage, so there are no token matches.",
    "words": "A search by words compares no token vectors, so there are no token matches.",
}


def without_matches(hits: Sequence[Hit], component: Literal["cross_encoder", "dense", "words"]) -> list[Hit]:
    """Return hits without token matches, whose score is all of one component, with a note that says why."""
    note = _WHY[component]
    return [replace(hit, matches=(), components={component: hit.score}, note=note) for hit in hits]
