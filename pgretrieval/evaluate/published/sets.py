"""Passages and judged queries, as a reader of a layout returns them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pgretrieval.types import Passage

Qrels = dict[str, dict[str, int]]
"""Relevance by query id and passage id."""


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """Query texts by id with their judgements: `qrels`, or `answers` of which a relevant passage contains one."""

    texts: dict[str, str]
    qrels: Qrels = field(default_factory=dict)
    answers: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BenchmarkSet:
    """Passages of one set, and readers of its query sets by name."""

    passages: Callable[[], Iterator[Passage]]
    queries: Mapping[str, Callable[[], JudgedQueries]]
