"""Minimum and measured time of each stage of a search on SciFact; the minimum follows from its counts and the machine's rates.

    python benchmarks/stages.py --cache DIR

Writes benchmarks/results/stages.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psycopg
import torch

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, build, serving
from pgretrieval.db import wire
from pgretrieval.numerics.hardware import quick

_QUERIES = 150
_ROUNDS = 30


def median(work: Callable[[], Any]) -> float:
    """Median in seconds."""
    spent = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return float(np.median(spent))


def rates(url: str, query_tokens: int, centroids: int, dim: int) -> dict[str, float]:
    """Measure this machine's rates for the shapes of a search: products, memory, and bytes from the server."""
    generator = np.random.default_rng(0)
    query = generator.standard_normal((query_tokens, dim), dtype=np.float32)
    block = generator.standard_normal((2048, dim), dtype=np.float32)
    table = quick(torch.from_numpy(generator.standard_normal((centroids, dim), dtype=np.float32)))
    quick_query = quick(torch.from_numpy(query))
    large = np.ones(2**24, dtype=np.float32)
    copied = np.empty_like(large)
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.cursor(binary=True)
        sent = 2**21
        connection.execute("create temporary table held (value bytea)")
        connection.execute("alter table held alter column value set storage external")
        connection.execute("insert into held values (%s)", [generator.bytes(sent)])
        trip = median(lambda: cursor.execute("select 1", prepare=True).fetchall())
        bulk = median(lambda: cursor.execute("select value from held", prepare=True).fetchall())
    return {
        "product": 2 * query_tokens * 2048 * dim / median(lambda: query @ block.T),
        "quick product": 2 * query_tokens * centroids * dim / median(lambda: quick_query @ table.T),
        "memory": 2 * large.nbytes / median(lambda: np.copyto(copied, large)),
        "wire": sent / (bulk - trip),
        "round trip": trip,
    }


def floors(
    rate: dict[str, float], query_tokens: float, centroids: int, dim: int, width: int, seen: dict[str, float]
) -> dict[str, tuple[str, float]]:
    """Stage -> (required work, milliseconds at these rates)."""
    decoded, compared, id_bytes = seen["tokens_decoded"], seen["tokens_compared"], wire.id_bytes(centroids)
    listed = seen["bytes_moved"] - decoded * (id_bytes + width)
    return {
        "probe": (
            f"{2 * query_tokens * centroids * dim / 1e6:.0f} Mflop in the quick format",
            2 * query_tokens * centroids * dim / rate["quick product"] * 1e3,
        ),
        "candidates": (
            f"{seen['postings_read']:,.0f} postings grouped, {seen['candidates']:,.0f} rows, {listed / 1e6:.2f} MB moved",
            (rate["round trip"] + listed / rate["wire"]) * 1e3,
        ),
        "interaction": (
            f"{query_tokens * compared / 1e6:.1f} million similarities looked up and compared",
            query_tokens * compared * 2 * 3 / rate["memory"] * 1e3,
        ),
        "codes": (
            f"{seen['passages_decoded']:,.0f} rows, {decoded * (id_bytes + width) / 1e6:.2f} MB moved",
            (rate["round trip"] + decoded * (id_bytes + width) / rate["wire"]) * 1e3,
        ),
        "maxsim": (
            f"{decoded * dim * 4 / 1e6:.1f} MB of vectors decoded, {2 * query_tokens * decoded * dim / 1e6:.0f} Mflop",
            (2 * query_tokens * decoded * dim / rate["product"] + 2 * decoded * dim * 4 / rate["memory"]) * 1e3,
        ),
        "texts": ("10 rows", rate["round trip"] * 1e3),
    }


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    options = parser.parse_args()
    data = vectors.load("scifact", options.cache)
    with serving() as database:
        collection, _ = build(database, data, "measured")
        for query in data.queries[:20]:
            collection.search(vectors=query)
        explained = [collection.explain(vectors=query) for query in data.queries[:_QUERIES]]
        stats = collection.stats()
        query_tokens = float(np.median([len(query) for query in data.queries[:_QUERIES]]))
        names = ("postings_read", "candidates", "passages_decoded", "tokens_decoded", "bytes_moved")
        seen = {name: float(np.median([getattr(one, name) for one in explained])) for name in names}
        # The client remembers centroids of passages, so that not all are moved.
        seen["tokens_compared"] = seen["candidates"] * stats["tokens"] / stats["passages"]
        rate = rates(database.url, int(query_tokens), stats["centroids"], stats["dim"])
    width = stats["dim"] * stats["bits"] // 8
    lines = [
        "# Stages of a search",
        "",
        "`python benchmarks/stages.py --cache DIR`; SciFact, candidates by postings, k = 10, medians.",
        "",
        machine.as_lines(machine.describe()),
        "",
        f"Rates of this machine in these shapes: {rate['product'] / 1e9:.0f} GFLOP/s in float32, "
        f"{rate['quick product'] / 1e9:.0f} GFLOP/s in the quick format, {rate['memory'] / 1e9:.1f} GB/s of memory "
        f"read and written, {rate['wire'] / 1e6:,.0f} MB/s from the server, {rate['round trip'] * 1e3:.2f} ms a round trip.",
        "",
        "| stage | must do | floor ms | measured ms |",
        "|---|---|---|---|",
    ]
    for stage, (work, floor) in floors(rate, query_tokens, stats["centroids"], stats["dim"], width, seen).items():
        measured = float(np.median([one.milliseconds.get(stage, 0.0) for one in explained]))
        lines.append(f"| {stage} | {work} | {floor:.2f} | {measured:.2f} |")
    text = "\n".join([*lines, ""])
    (RESULTS / "stages.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
