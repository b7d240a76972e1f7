"""Cost of changes in a large collection: single passages, batches, updates, deletes, and their compaction.

    python benchmarks/changes.py --cache DIR [--passages 100000]

Passages of the pile with given vectors; the last ones are added to a collection built from the others. Writes
benchmarks/results/changes.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import machine, vectors
from benchmarks.filters import timed
from benchmarks.run import RESULTS, build, serving
from benchmarks.vectors import Vectors
from pgretrieval.evaluate.timing import percentiles

_SINGLE = 200
_BATCH = 1000
_QUERIES = 100


def each(numbers: range, change: Callable[[int], Any]) -> str:
    """p50 and p95 of the milliseconds of one call, over a number of calls."""
    spent = []
    for number in numbers:
        started = time.perf_counter()
        change(number)
        spent.append((time.perf_counter() - started) * 1e3)
    found = percentiles(spent)
    return f"{found['p50']:.1f} (p95 {found['p95']:.1f})"


def first(data: Vectors, count: int) -> Vectors:
    """The first passages of a set."""
    return replace(data, passages=data.passages[:count], document_offsets=data.document_offsets[: count + 1])


def measure(data: Vectors) -> list[tuple[str, str]]:
    """Descriptions of the operations and their durations."""
    held = len(data.passages) - _SINGLE - _BATCH
    arrays = list(first(data, held + _SINGLE + _BATCH).arrays())[held:]
    new = data.passages[held:]
    rows = []
    with serving() as database:
        collection, _ = build(database, first(data, held), "measured")
        collection.auto_compact = False
        queries = [data.queries[number] for number in range(_QUERIES)]

        def searched() -> str:
            return f"{timed(lambda query: [hit.id for hit in collection.search(vectors=query)], queries)[0]['p50']:.1f}"

        def at(number: int, **options: Any) -> None:
            collection.add([new[number]], vectors=[arrays[number]], **options)

        rows.append((f"search of {held:,} passages, p50 ms", searched()))
        at(0)
        rows.append(("add of one passage, vectors given, ms", each(range(1, _SINGLE), at)))
        rows.append((f"search after {_SINGLE} single adds, p50 ms", searched()))
        started = time.perf_counter()
        collection.add(new[_SINGLE:], vectors=arrays[_SINGLE:])
        tokens = sum(map(len, arrays[_SINGLE:]))
        rows.append((f"add of {_BATCH:,} passages ({tokens:,} tokens), s", f"{time.perf_counter() - started:.2f}"))
        rows.append(("update of one passage, vectors given, ms", each(range(50), lambda n: at(n, on_conflict="update"))))
        changed = [{"id": passage.id, "metadata": {"changed": True}} for passage in data.passages[:50]]
        rows.append(("change of one passage's metadata, ms", each(range(50), lambda n: collection.update([changed[n]]))))
        rows.append(("delete of one passage, ms", each(range(100), lambda n: collection.delete([data.passages[1000 + n].id]))))
        some = [passage.id for passage in data.passages[2000:7000]]
        started = time.perf_counter()
        collection.delete(some)
        rows.append((f"delete of {len(some):,} passages, s", f"{time.perf_counter() - started:.2f}"))
        rows.append(("search after the deletes, p50 ms", searched()))
        steps: list[float] = [time.perf_counter()]
        collection.compact(stage=lambda *_: steps.append(time.perf_counter()))
        longest = np.diff(steps).max() if len(steps) > 1 else 0.0
        rows.append(("compaction, s", f"{time.perf_counter() - steps[0]:.1f} (longest of {len(steps) - 1} steps {longest:.2f})"))
        rows.append(("search after the compaction, p50 ms", searched()))
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--passages", type=int, default=100_000, help="how many passages of the pile")
    options = parser.parse_args()
    rows = measure(vectors.load_pile(options.cache, options.passages))
    lines = [
        "# Changes",
        "",
        f"`python benchmarks/changes.py --cache DIR --passages {options.passages}`; passages of the pile, vectors given, every",
        "call a transaction of its own, no compaction until it is called.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in rows),
    ]
    text = "\n".join([*lines, ""])
    (RESULTS / "changes.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
