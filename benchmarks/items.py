"""A factorisation of many items with generated scores: its stages, and what the vector index finds of the best products.

    python benchmarks/items.py [--items 120000] [--anchor-items 12]

Minutes: scores are looked up. Writes benchmarks/results/items.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import machine
from benchmarks.run import RESULTS, say, serving
from pgretrieval.types import Passage

_TESTED = 5
_NUMBERS = (100, 500, 1000, 1001, 3000, 6000)
_BUDGETS = ((100, 1000), (100, 3000), (1000, 5000))
_CANDIDATES = "select id from pgretrieval.candidates_by_anchors('items', %s::real[], %s)"
_SCANS = "select sum(pg_stat_get_xact_numscans(oid)) from pg_class where relname ~ '^item_embedding_[0-9]+_hnsw$'"


class Scores:
    """A cross-encoder of texts that are numbers: a row and a column of a table of twelve decaying directions."""

    fingerprint = "items"

    def __init__(self, queries: int, items: int) -> None:
        rng = np.random.default_rng(0)
        asked = rng.standard_normal((queries, 12)) * np.exp(-np.arange(12) / 6)
        self.table: NDArray[np.float32] = (asked @ rng.standard_normal((12, items))).astype(np.float32)

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Look up the pairs' scores."""
        return self.table[[int(query) for query, _ in pairs], [int(text) for _, text in pairs]]


def stages(collection: Any, scorer: Scores, queries: int, anchor_items: int) -> dict[str, float]:
    """Seconds of the stages of a factorisation."""
    began: dict[str, float] = {}

    def stage(name: str, *_: int) -> None:
        began.setdefault(name, time.perf_counter())

    collection.factorize(scorer, [str(row) for row in range(queries)], anchor_items, stage=stage)
    ends = [*list(began.values())[1:], time.perf_counter()]
    return {name: end - start for (name, start), end in zip(began.items(), ends, strict=True)}


def products(database: Any, scorer: Scores, queries: int) -> list[str]:
    """Rows: number of candidates, share of the exact best, milliseconds, and how they are found."""
    lines = ["| candidates | share of the best | ms | by |", "|---|---|---|---|"]
    with psycopg.connect(database.url, autocommit=True) as connection:
        anchors = [int(key) for (key,) in connection.execute("select id from pgretrieval.anchor_items('items')")]
        for wanted in _NUMBERS:
            shares, spent, scans = [], [], 0
            for row in range(queries, queries + _TESTED):
                exact = np.argsort(-scorer.table[row])[:wanted].tolist()
                with connection.transaction():
                    began = time.perf_counter()
                    found = connection.execute(_CANDIDATES, [scorer.table[row, anchors].tolist(), wanted]).fetchall()
                    spent.append((time.perf_counter() - began) * 1e3)
                    scans = connection.execute(_SCANS).fetchall()[0][0]
                shares.append(len({int(key) for (key,) in found}.intersection(exact)) / wanted)
            way = "the index" if scans else "comparing all"
            lines.append(f"| {wanted:,} | {np.mean(shares):.3f} | {np.median(spent):.0f} | {way} |")
            say(lines[-1])
    return lines


def searches(collection: Any, scorer: Scores, queries: int) -> list[str]:
    """Rows: depth and budget, share of the exact best, milliseconds without the cross-encoder's."""
    lines = ["| k@calls | share of the best | ms |", "|---|---|---|"]
    for k, budget in _BUDGETS:
        shares, spent = [], []
        for row in range(queries, queries + _TESTED):
            explained = collection.explain(str(row), k, scorer="cross_encoder", budget=budget)
            exact = np.argsort(-scorer.table[row])[:k].tolist()
            shares.append(len({int(hit.id) for hit in explained.hits}.intersection(exact)) / k)
            spent.append(sum(value for name, value in explained.milliseconds.items() if name != "cross_encoder"))
        lines.append(f"| {k}@{budget} | {np.mean(shares):.3f} | {np.median(spent):.0f} |")
        say(lines[-1])
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=120_000)
    parser.add_argument("--anchor-items", type=int, default=12)
    options = parser.parse_args()
    queries = options.anchor_items + 2
    scorer = Scores(queries + _TESTED, options.items)
    with serving() as database:
        collection = database.create_collection("items", encoder="none")
        began = time.perf_counter()
        collection.add(Passage(str(number), str(number)) for number in range(options.items))
        seconds = {"add": time.perf_counter() - began, **stages(collection, scorer, queries, options.anchor_items)}
        say(seconds)
        rows = [*products(database, scorer, queries), "", *searches(collection, scorer, queries)]
    lines = [
        "# A factorisation of many items",
        "",
        f"`{' '.join(['python benchmarks/items.py', *sys.argv[1:]])}`",
        "",
        machine.as_lines(machine.describe()),
        "",
        f"{options.items:,} items, {queries} anchor queries, {options.anchor_items} anchor items, generated scores.",
        "",
        f"| {' | '.join(seconds)} |",
        "|---" * len(seconds) + "|",
        f"| {' | '.join(f'{value:.1f} s' for value in seconds.values())} |",
        "",
        *rows,
    ]
    (RESULTS / "items.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
