"""Top-k-recall at a cost: the share of a cross-encoder's exact ranking that a search finds with a number of its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pgretrieval.evaluate.bootstrap import bootstrap_interval
from pgretrieval.evaluate.fidelity import fidelity

DEPTHS = (1, 10, 50, 100)

SearchWithin = Callable[[str, int, int], tuple[list[str], int]]
"""Given a query id, a budget of calls and k, returns the k best ids, best first, and the calls that were spent."""


@dataclass(slots=True)
class MethodResult:
    """Rankings of one method within one budget; each query is charged all calls of the cross-encoder that it needed."""

    method: str
    budget: int
    rankings: dict[str, list[str]] = field(default_factory=dict)
    spent: list[int] = field(default_factory=list)

    def recall(self, exact: Mapping[str, Sequence[str]], depth: int) -> tuple[float, float, float]:
        """Return the mean share of the exact top `depth` that was found, and the bounds of its interval."""
        shares = [fidelity([found[:depth]], [exact[query]], depth) for query, found in self.rankings.items()]
        return fmean(shares), *bootstrap_interval(shares)


def search_within(
    queries: Sequence[str],
    methods: Mapping[str, SearchWithin],
    budgets: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> list[MethodResult]:
    """Search for every query by every method within every budget, for as many hits as the deepest recall needs."""
    results = [MethodResult(method, budget) for method in methods for budget in budgets]
    for result in results:
        for query in queries:
            found, calls = methods[result.method](query, result.budget, min(result.budget, DEPTHS[-1]))
            result.rankings[query] = found
            result.spent.append(calls)
            if progress is not None:
                progress(1)
    return results
