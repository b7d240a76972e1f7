"""Searches by `await` beside the same in threads, and the time for which the event loop does not answer.

    python benchmarks/awaited.py --cache DIR

SciFact, by the vectors of its queries. Each row is the median of rounds in which both ways alternate. Writes
benchmarks/results/awaited.md.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import pgretrieval
from benchmarks import machine, vectors
from benchmarks.run import RESULTS, serving
from pgretrieval.types import Float32Array

_AT_ONCE = 1, 4, 16
_ROUNDS = 3
_QUERIES = 100
_CONNECTIONS = 8
_SLEPT = 0.001  # seconds of each sleep of the task that measures the loop
_CALLS = 2000  # calls that do nothing


@dataclass
class Round:
    """One pass over the queries: milliseconds of each search, searches per second, and delays of the loop in milliseconds."""

    milliseconds: list[float]
    rate: float
    delays: list[float]


def by_threads(docs: pgretrieval.Collection, queries: list[Float32Array], at_once: int) -> Round:
    """Search from so many threads."""

    def search(query: Float32Array) -> float:
        began = time.perf_counter()
        docs.search(vectors=query)
        return 1000 * (time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        spent = list(threads.map(search, queries))
    return Round(spent, len(queries) / (time.perf_counter() - began), [])


async def by_tasks(docs: pgretrieval.AsyncCollection, queries: list[Float32Array], at_once: int, *, watched: bool) -> Round:
    """Search from so many tasks; if watched, beside a task that measures the loop and takes time of its own."""
    left, spent, delays = iter(queries), [], []

    async def search() -> None:
        for query in left:
            began = time.perf_counter()
            await docs.search(vectors=query)
            spent.append(1000 * (time.perf_counter() - began))

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_SLEPT)
            delays.append(1000 * (time.perf_counter() - began - _SLEPT))

    watching = asyncio.create_task(watch() if watched else asyncio.sleep(0))
    began = time.perf_counter()
    await asyncio.gather(*(search() for _ in range(at_once)))
    rate = len(queries) / (time.perf_counter() - began)
    watching.cancel()
    return Round(spent, rate, delays)


def idle_delays() -> list[float]:
    """Delays of a loop that does nothing else."""

    async def watch() -> list[float]:
        delays = []
        for _ in range(500):
            began = time.perf_counter()
            await asyncio.sleep(_SLEPT)
            delays.append(1000 * (time.perf_counter() - began - _SLEPT))
        return delays

    return asyncio.run(watch())


def overhead(docs: pgretrieval.AsyncCollection) -> float:
    """Microseconds of one awaited call that does nothing."""
    call = pgretrieval.asynchronous.in_thread(lambda _docs: None)

    async def repeat(calls: Callable[[pgretrieval.AsyncCollection], Awaitable[None]]) -> float:
        began = time.perf_counter()
        for _ in range(_CALLS):
            await calls(docs)
        return 1e6 * (time.perf_counter() - began) / _CALLS

    return asyncio.run(repeat(call))


def processor_time(docs: pgretrieval.Collection, queries: list[Float32Array]) -> float:
    """Milliseconds for which a search computes in its own thread: what it would take of an event loop that ran it."""
    began = time.thread_time()
    for query in queries:
        docs.search(vectors=query)
    return 1000 * (time.thread_time() - began) / len(queries)


def percentile(values: list[float], share: float) -> float:
    """A percentile, or 0 of nothing."""
    return float(np.percentile(values, share)) if values else 0.0


def row(at_once: int, way: str, rounds: list[Round]) -> str:
    """A line of the table: medians over the rounds."""

    def median(value: Callable[[Round], float]) -> float:
        return statistics.median(map(value, rounds))

    cells = [
        str(at_once),
        way,
        f"{median(lambda each: each.rate):.0f}",
        f"{median(lambda each: percentile(each.milliseconds, 50)):.2f}",
        f"{median(lambda each: percentile(each.milliseconds, 95)):.2f}",
    ]
    delays = list(itertools.chain.from_iterable(each.delays for each in rounds))
    cells += [f"{percentile(delays, share):.2f}" for share in (50, 99, 100)] if delays else ["", "", ""]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Build the collection, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    options = parser.parse_args()
    data = vectors.load("scifact", options.cache)
    queries = data.queries[:_QUERIES]
    with serving() as database:
        docs = database.create_collection("scifact")
        docs.add(data.passages, vectors=data.arrays())
        docs.build()
        awaited = pgretrieval.AsyncCollection(docs)
        by_threads(docs, queries, _CONNECTIONS)
        lines = []
        for at_once in _AT_ONCE:
            plain, tasks, beside = [], [], []
            for _ in range(_ROUNDS):
                plain.append(by_threads(docs, queries, min(at_once, _CONNECTIONS)))
                tasks.append(asyncio.run(by_tasks(awaited, queries, at_once, watched=False)))
                beside.append(asyncio.run(by_tasks(awaited, queries, at_once, watched=True)))
            lines += [
                row(min(at_once, _CONNECTIONS), "threads", plain),
                row(at_once, "await", tasks),
                row(at_once, "await, watched", beside),
            ]
            print(*lines[-3:], sep="\n")
        computing, calling, idle = processor_time(docs, queries), overhead(awaited), idle_delays()
    page = f"""# Awaited searches

`python benchmarks/awaited.py --cache DIR`: {len(data.passages):,} passages of SciFact, {len(queries)} queries by vectors,
ten hits, {_ROUNDS} alternating rounds. A handle has eight connections, so threads are at most eight. In the rows
"watched" a task on the same loop sleeps for a millisecond again and again; the loop's delay is the time beyond the millisecond.

{machine.as_lines(machine.describe())}

| at once | way | searches a second | p50 ms | p95 ms | loop p50 ms | p99 | longest |
|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

An awaited call that does nothing takes {calling:.0f} µs. The delay of an idle loop is {percentile(idle, 50):.2f} ms (p50) and
{percentile(idle, 99):.2f} ms (p99). A search computes {computing:.1f} ms in its own thread; a loop that ran it would not answer
meanwhile.
"""
    (RESULTS / "awaited.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
