"""Searches that tell which tokens matched beside searches that do not.

    python benchmarks/matches.py --cache DIR

SciFact, by the texts of its queries. Rounds of both alternate. Writes benchmarks/results/matches.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pgretrieval
from benchmarks import machine, vectors
from benchmarks.run import RESULTS, serving

_QUERIES = 100
_ROUNDS = 5


def median(search: Callable[[str], list[pgretrieval.Hit]], queries: list[str]) -> float:
    """Return the median milliseconds of a search, one query at a time."""
    spent = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent)


def row(way: str, docs: pgretrieval.Collection, queries: list[str]) -> str:
    """Measure one way of searching; return a line of the table, with medians over the rounds."""
    search = docs.search if way == "search" else docs.hybrid_search
    rounds = [(median(search, queries), median(lambda query: search(query, matches=True), queries)) for _ in range(_ROUNDS + 1)]
    plain, told = (statistics.median(each) for each in zip(*rounds[1:], strict=True))
    ratio = statistics.median(told / plain for plain, told in rounds[1:])
    return f"| `{way}` | {plain:.1f} | {told:.1f} | {ratio:.2f} |"


def main() -> None:
    """Build the collection, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    options = parser.parse_args()
    data, texts = vectors.load("scifact", options.cache), vectors.query_texts("scifact")
    queries = [texts[query_id] for query_id in data.query_ids[:_QUERIES]]
    with serving() as database:
        database.create_collection("scifact").add(data.passages, vectors=data.arrays())
        docs = database.get_collection("scifact", encoder=vectors.ENCODER)
        docs.build()
        (best,) = docs.search(queries[0], 1, matches=True)
        if not any(match.start is not None for match in best.matches or ()):
            sys.exit("the encoder told no offsets")
        lines = [row(way, docs, queries) for way in ("search", "hybrid_search")]
    page = f"""# Token matches

`python benchmarks/matches.py --cache DIR`: {len(data.passages):,} passages of SciFact, {len(queries)} queries by text, ten hits,
one search at a time. Each number is the median of {_ROUNDS} rounds, in which searches with and without `matches=True`
alternate, after one that does not count.

{machine.as_lines(machine.describe())}

| search | p50 ms | with matches | ratio |
|---|---|---|---|
{chr(10).join(lines)}
"""
    (RESULTS / "matches.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
