"""Presets of the papers beside the defaults: fidelity, nDCG@10, passages scored, bytes moved and processor time.

    python benchmarks/presets.py --cache DIR [--queries N]

SciFact. Also shown: for XTR and ColXTR, fewer or more tokens, and without the reranking. Writes benchmarks/results/presets.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import machine, vectors
from benchmarks.run import RESULTS, Measured, best_of_all, build, quality, say, serving
from benchmarks.vectors import Vectors

NAME = "scifact"
COLLECTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "defaults": ({},),
    "colbertv2": ({}, {"probes": 4}, {"candidates": 1024}, {"generator": "auto"}),
    "plaid": ({}, {"generator": "auto"}),
    "xtr": ({}, {"k_tokens": 1000}, {"k_tokens": 300}),
    "colxtr": ({}, {"rerank": "none"}, {"k_tokens": 10_000}, {"k_tokens": 10_000, "rerank": "none"}),
}
"""Presets, and options of the searches measured in their collection."""

DEPTHS = (10, 100)


def measure(collection: Any, data: Vectors, best: list[list[str]], name: str, given: dict[str, Any], k: int) -> Measured:
    """Run every query once, sequentially."""
    for query in data.queries[:5]:
        collection.search(vectors=query, k=k, **given)
    started = time.process_time()
    explained = [collection.explain(vectors=query, k=k, **given) for query in data.queries]
    spent = time.process_time() - started
    row: Measured = {
        "preset": name,
        "given": given,
        "k": k,
        **quality(data, best, [[hit.id for hit in one.hits] for one in explained], k),
        "cpu_ms": 1e3 * spent / len(explained),
        "candidates": float(np.mean([one.candidates for one in explained])),
        "scored": float(np.mean([one.passages_decoded for one in explained])),
        "mb": float(np.mean([one.bytes_moved for one in explained])) / 1e6,
    }
    say(row)
    return row


def table(rows: list[Measured]) -> list[str]:
    """One row for each preset, options and k."""
    lines = [
        "| preset | given | k | fidelity | nDCG@10 | candidates | scored exactly | MB moved | client's processor, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        given = ", ".join(f"`{name}={value}`" for name, value in row["given"].items())
        lines.append(
            f"| {row['preset']} | {given} | {row['k']} | {row['fidelity']:.3f} | {row['ndcg']:.4f} | {row['candidates']:,.0f} | "
            f"{row['scored']:,.0f} | {row['mb']:.2f} | {row['cpu_ms']:.1f} |"
        )
    return lines


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    parser.add_argument("--queries", type=int, help="how many of the judged queries; all by default")
    options = parser.parse_args()
    whole = vectors.load(NAME, options.cache)
    some = vectors.first_queries(whole, options.queries)
    data = replace(some, qrels={query: some.qrels[query] for query in some.query_ids})
    best = best_of_all(whole)[: options.queries]
    rows, asked = [], "" if options.queries is None else f" --queries {options.queries}"
    with serving() as database:
        for name, searches in COLLECTIONS.items():
            collection, _ = build(database, data, name, **({} if name == "defaults" else {"preset": name}))
            rows += [measure(collection, data, best, name, given, k) for given in searches for k in DEPTHS]
            database.drop_collection(name)
    text = "\n".join(
        [
            "# Presets of the papers",
            "",
            f"`python benchmarks/presets.py --cache DIR{asked}`, encoder {vectors.ENCODER}; {NAME}, {len(data.passages):,} "
            f"passages, {int(data.document_offsets[-1]):,} tokens, {len(data.queries)} queries. "
            "Fidelity is the share of the exact top k by MaxSim over unquantised vectors; XTR, and ColXTR without reranking, "
            "have other scores. nDCG@10 is of the first ten of k hits. Means over the queries.",
            "",
            machine.as_lines(machine.describe()),
            "",
            *table(rows),
            "",
        ]
    )
    (RESULTS / "presets.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
