"""Evaluation of a search on judged queries; takes callables and needs no database."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.evaluate.metrics import run_from_ranking
from pgretrieval.evaluate.timing import percentiles
from pgretrieval.types import Hit

Encode = Callable[[str], Any]
Search = Callable[[Any, int], list[Hit]]


@dataclass(slots=True)
class Outcome:
    """Rankings and times: `rankings[k][query id]` are the ids of the k hits, best first, and `scores` their scores.

    `encoded` is what the search takes for each query, such as token vectors (tokens, dim). `dropped` counts the queries whose own
    passage was removed from the hits of the deepest search.
    """

    rankings: dict[int, dict[str, list[str]]] = field(default_factory=dict)
    scores: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    encoded: dict[str, Any] = field(default_factory=dict)
    encode_ms: list[float] = field(default_factory=list)
    search_ms: dict[int, list[float]] = field(default_factory=dict)
    dropped: int = 0

    def runs(self) -> dict[int, dict[str, dict[str, float]]]:
        """Return the rankings as runs, by depth."""
        return {k: {query_id: run_from_ranking(ids) for query_id, ids in by_query.items()} for k, by_query in self.rankings.items()}

    def deepest(self) -> dict[str, list[tuple[str, float]]]:
        """Return ids and scores of the deepest search, best first, for a run file."""
        depth = max(self.rankings)
        return {
            query_id: list(zip(ids, self.scores[depth][query_id], strict=True)) for query_id, ids in self.rankings[depth].items()
        }

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Return p50 and p95 of encoding, of the search at the smallest depth ("search"), and of each depth ("search@k")."""
        by_depth = {f"search@{k}": percentiles(times) for k, times in sorted(self.search_ms.items())}
        smallest = percentiles(self.search_ms[min(self.search_ms)])
        return {"encode": percentiles(self.encode_ms), "search": smallest, **by_depth}


def evaluate_search(
    queries: Mapping[str, str],
    depths: Sequence[int],
    encode: Encode,
    search: Search,
    progress: Callable[[int], None] | None = None,
    *,
    drop_identical: bool = False,
) -> Outcome:
    """Encode and search every query at every depth, one at a time, as in interactive use.

    An unmeasured query comes first, so that loading the model and the codebook is not measured. `drop_identical` removes hits with
    the id of their query, for collections whose queries are passages; the search returns one more hit, so that k remain.
    """
    outcome, extra = Outcome(), int(drop_identical)
    for text in list(queries.values())[:1]:
        for k in depths:
            search(encode(text), k + extra)
    for query_id, text in queries.items():
        started = time.perf_counter()
        outcome.encoded[query_id] = encode(text)
        outcome.encode_ms.append((time.perf_counter() - started) * 1e3)
    for k in depths:
        for query_id, encoded in outcome.encoded.items():
            started = time.perf_counter()
            hits = search(encoded, k + extra)
            outcome.search_ms.setdefault(k, []).append((time.perf_counter() - started) * 1e3)
            if drop_identical:
                others = [hit for hit in hits if str(hit.id) != query_id]
                outcome.dropped += k == max(depths) and len(others) < len(hits)
                hits = others[:k]
            outcome.rankings.setdefault(k, {})[query_id] = [hit.id for hit in hits]
            outcome.scores.setdefault(k, {})[query_id] = [hit.score for hit in hits]
            if progress:
                progress(1)
    return outcome


def fidelities(outcome: Outcome, exact: Mapping[str, Sequence[str]], depths: Sequence[int]) -> dict[str, float]:
    """Return "fidelity@k" for each depth: the mean share of the exact top k that the search of depth k returned."""
    return {
        f"fidelity@{k}": fidelity([outcome.rankings[k][query_id] for query_id in exact], [exact[query_id] for query_id in exact], k)
        for k in depths
    }
