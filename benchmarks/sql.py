"""Searches in SQL, compared with the Python client and the pgvector recipe, on SciFact in one run.

    python benchmarks/sql.py --cache DIR [--recipe PYTHON]

PYTHON is that of pgretrieval's own environment (benchmarks/peers/README.md). Writes benchmarks/results/sql.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psycopg

from benchmarks import machine, vectors
from benchmarks.filters import timed
from benchmarks.run import RESULTS, Measured, best_of_all, build, peer, quality, say, serving
from benchmarks.vectors import Vectors
from pgretrieval.sqlalchemy import vector_array
from pgretrieval.types import Float32Array

CANDIDATES = (None, 64, 128)
_SETTINGS = """select probes, candidates, pruning from pgretrieval.known_collection('measured') as held,
    pgretrieval.plaid_settings(held, 10, null, null, cardinality(%(query)s::vector[]))"""
_PROBE = "select * from pgretrieval.probe(%(number)s, %(codebook)s, %(query)s::vector[], %(probes)s)"
_CANDIDATES = """select passage_id from pgretrieval.candidates_among(
        %(number)s, %(codebook)s, %(ids)s::integer[], %(scores)s::real[], %(n)s, null, null, %(tokens)s)"""
_PRUNE = """select scored.passage_id from pgretrieval.known_collection('measured') as held, pgretrieval.score_roughly(
        held, %(ids)s, %(query)s::vector[], %(centroids)s::integer[], %(floors)s::real[]) as scored order by scored.score desc"""
_SCORE = """select * from pgretrieval.known_collection('measured') as held,
    pgretrieval.score_passages(held, %(ids)s, %(query)s::vector[])"""
_PARTS = 60  # queries whose parts are timed one by one


def in_sql(connection: Any, data: Vectors, best: list[list[str]], candidates: int | None) -> Measured:
    """`pgretrieval.search` with a number of candidates."""

    def search(query: Float32Array) -> list[str]:
        statement = "select id from pgretrieval.search('measured', %s::vector[], candidates => %s)"
        return [key for (key,) in connection.execute(statement, [vector_array(query), candidates]).fetchall()]

    times, rankings = timed(search, data.queries)
    return {**times, **quality(data, best, rankings, 10)}


def parts(connection: Any, data: Vectors) -> dict[str, float]:
    """Median milliseconds of the parts of a search in SQL, each as a separate statement."""
    number, codebook, keeps = connection.execute(
        "select (held).collection_id, (held).codebook_id, (held).keep_vectors from pgretrieval.known_collection('measured') as held"
    ).fetchone()
    spent: dict[str, list[float]] = {"send": [], "probe": [], "candidates": [], "prune": [], "score": []}
    for query in data.queries[:_PARTS]:
        text = vector_array(query)

        def run(part: str, statement: str, **parameters: Any) -> Any:
            started = time.perf_counter()
            rows = connection.execute(statement, parameters).fetchall()
            spent[part].append((time.perf_counter() - started) * 1e3)
            return rows

        probes, n, whole = run("send", _SETTINGS, query=text)[0]
        where = {"number": number, "codebook": codebook}
        probed = run("probe", _PROBE, query=text, probes=probes, **where)
        tokens, ids, scores, _ = (list(column) for column in zip(*probed, strict=True))
        found = [row[0] for row in run("candidates", _CANDIDATES, ids=ids, scores=scores, n=n, tokens=tokens, **where)]
        if not keeps:
            floors = {token: floor for token, _, _, floor in probed}
            each = [floors[token] for token in sorted(floors)]
            pruned = run("prune", _PRUNE, ids=found, query=text, centroids=list({*ids}), floors=each)
            found = [row[0] for row in pruned[:whole]]
        run("score", _SCORE, ids=found, query=text)
    return {name: float(np.median(values or [0])) for name, values in spent.items()}


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for token vectors and the recipe's tables")
    parser.add_argument("--recipe", metavar="PYTHON", help="measure the pgvector recipe, too")
    options = parser.parse_args()
    data = vectors.load("scifact", options.cache)
    best = best_of_all(data)
    rows: list[tuple[str, Measured]] = []
    timings: dict[str, dict[str, float]] = {}
    for keep in (True, False):
        with serving() as database:
            collection, _ = build(database, data, "measured", keep_vectors=keep)
            kind = "kept vectors" if keep else "codes"
            times, rankings = timed(lambda query, held=collection: [hit.id for hit in held.search(vectors=query)], data.queries)
            rows.append((f"Python client, {kind}", {**times, **quality(data, best, rankings, 10)}))
            with psycopg.connect(database.url, autocommit=True) as connection:
                for candidates in CANDIDATES:
                    name = f"SQL, {kind}, {'default' if candidates is None else candidates} candidates"
                    rows.append((name, in_sql(connection, data, best, candidates)))
                    say({"engine": name, **rows[-1][1]})
                timings[kind] = parts(connection, data)
    if options.recipe:
        measured = peer("pgvector", options.recipe, data, best, options.cache)
        rows += [(f"{measured['peer']}, {row['name']}", row) for row in measured["settings"]]
    lines = [
        "# Searches in SQL",
        "",
        "`python benchmarks/sql.py --cache DIR --recipe PYTHON`; SciFact, vectors given, k = 10, one query at a time, one run.",
        "",
        machine.as_lines(machine.describe()),
        "",
        "| engine | nDCG@10 | fidelity@10 | p50 ms | p95 ms |",
        "|---|---|---|---|---|",
        *(f"| {name} | {row['ndcg']:.4f} | {row['fidelity']:.4f} | {row['p50']:.1f} | {row['p95']:.1f} |" for name, row in rows),
        "",
        "Parts of a search in SQL by default, median ms, each a statement of its own (all but candidates send the query):",
        "",
        "| | " + " | ".join(timings["codes"]) + " |",
        "|---" * 6 + "|",
        *(f"| {kind} | " + " | ".join(f"{spent:.1f}" for spent in parts_.values()) + " |" for kind, parts_ in timings.items()),
    ]
    text = "\n".join([*lines, ""])
    (RESULTS / "sql.md").write_text(text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
