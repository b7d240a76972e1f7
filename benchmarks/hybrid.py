"""Words, single vectors, late interaction, each pair and all three, on four collections, by pgretrieval.hybrid_search.

    python benchmarks/hybrid.py --cache DIR

The encoder computes token vectors and the single vector in one pass. Writes benchmarks/results/hybrid.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psycopg

from benchmarks import machine, vectors
from benchmarks.filters import timed
from benchmarks.run import RESULTS, Measured, say, serving
from benchmarks.vectors import Vectors
from pgretrieval.db.parameters import vector
from pgretrieval.evaluate.metrics import mean_metrics, parse_metrics, run_from_ranking
from pgretrieval.sqlalchemy import vector_array

SETS = ("scifact", "stackexchange_small", "medquad", "cpp_docs")
DEFAULT = [1.0, 0.3, 0.3]
COMPONENTS = ("words", "single vector", "late interaction")
FUSIONS = {"scores": ("score", DEFAULT), "ranks": ("rank", [1.0, 1.0, 1.0]), "scores, equal weights": ("score", [1.0, 1.0, 1.0])}
METRICS = parse_metrics("nDCG@10 Success@5")
_QUERIES = 300
_SEED = 0
_SEARCH = """select id from pgretrieval.hybrid_search('measured', %(query)s::vector[], %(text)s,
    query_dense => %(dense)s::vector, fusion => %(fusion)s, weights => %(weights)s)"""


def ways() -> list[tuple[tuple[str, ...], str]]:
    """Single components, each pair and all three by the default fusion and by rank, and all three with equal weights."""
    alone = [((one,), "scores") for one in COMPONENTS]
    together = [some for size in (2, 3) for some in itertools.combinations(COMPONENTS, size)]
    return [*alone, *itertools.product(together, ("scores", "ranks")), (COMPONENTS, "scores, equal weights")]


def judge(data: Vectors, chosen: Sequence[int], rankings: Sequence[Sequence[str]]) -> Measured:
    """nDCG@10 and Success@5 of the chosen queries, at a depth of ten."""
    queries = [data.query_ids[number] for number in chosen]
    run = {query: run_from_ranking(ids) for query, ids in zip(queries, rankings, strict=True)}
    return mean_metrics(METRICS, {query: data.qrels[query] for query in queries}, {10: run})


def measure(name: str, cache: Path) -> list[Measured]:
    """Measure all combinations on one collection, with at most 300 of its judged queries."""
    data = vectors.load(name, cache)
    dense = vectors.load_dense(data, name)
    texts = vectors.query_texts(name)
    chosen = np.random.default_rng(_SEED).permutation(len(data.queries))[:_QUERIES].tolist()
    rows = []
    with serving() as database:
        collection = database.create_collection("measured", keep_vectors=True, dense="kept")
        collection.add(data.passages, vectors=data.arrays(), dense=dense.documents)
        collection.build()
        with psycopg.connect(database.url, autocommit=True) as connection:
            for components, fusion in ways():

                def search(number: int, components: tuple[str, ...] = components, fusion: str = fusion) -> list[str]:
                    by, weights = FUSIONS[fusion]
                    parts: dict[str, Any] = {
                        "query": vector_array(data.queries[number]) if "late interaction" in components else None,
                        "text": texts[data.query_ids[number]] if "words" in components else None,
                        "dense": vector(dense.queries[number]) if "single vector" in components else None,
                        "fusion": by,
                        "weights": weights,
                    }
                    return [key for (key,) in connection.execute(_SEARCH, parts).fetchall()]

                times, rankings = timed(search, chosen, rounds=1)
                row = {"set": name, "components": components, "fusion": fusion, **times, **judge(data, chosen, rankings)}
                say(row)
                rows.append(row)
    return rows


def table(rows: list[Measured]) -> list[str]:
    """One row per combination, one group of columns per collection, and the mean over the collections."""
    lines = [
        "| components | fusion | "
        + " | ".join(f"{name}: nDCG@10 | Success@5 | p50 ms" for name in SETS)
        + " | mean nDCG@10 | mean Success@5 | worst loss |",
        "|---|---" + "|---|---|---" * len(SETS) + "|---|---|---|",
    ]
    best = {name: max(row["nDCG@10"] for row in rows if row["set"] == name and len(row["components"]) == 1) for name in SETS}
    for components, fusion in ways():
        found = [row for row in rows if row["components"] == components and row["fusion"] == fusion]
        columns = [" + ".join(components), fusion if len(components) > 1 else "-"]
        for row in found:
            columns += [f"{row['nDCG@10']:.4f}", f"{row['Success@5']:.3f}", f"{row['p50']:.1f}"]
        columns += [f"{np.mean([row[metric] for row in found]):.4f}" for metric in ("nDCG@10", "Success@5")]
        columns.append(f"{max(best[row['set']] - row['nDCG@10'] for row in found):.4f}")
        lines.append("| " + " | ".join(columns) + " |")
    return lines


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors, kept between runs")
    options = parser.parse_args()
    rows = [row for name in SETS for row in measure(name, options.cache)]
    lines = [
        "# Hybrid searches",
        "",
        f"`python benchmarks/hybrid.py --cache DIR`; untrained MiniLM, at most {_QUERIES} judged queries per collection, k = 10,",
        "stored vectors, in SQL (`pgretrieval.hybrid_search`, other components null), one query at a time.",
        "Weights are 1 for late interaction, .3 for words and .3 for the single vector; the worst loss is the",
        "largest loss on a collection against its best component.",
        "",
        machine.as_lines(machine.describe()),
        "",
        *table(rows),
    ]
    text = "\n".join([*lines, ""])
    (RESULTS / "hybrid.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
